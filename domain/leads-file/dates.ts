import { DateTime } from 'luxon';

/** Which comes first in a date such as 03/09/2025. */
export type DateOrder = 'dmy' | 'mdy';

export interface ReadDate {
  /** The instant, RFC 3339 in UTC. */
  iso: string;
  /** Only a day was given, so the time is noon of that day. */
  dayOnly: boolean;
}

/** Nobody asked a shop for information by e-mail before this year: such a date is a mistake. */
const FIRST_YEAR = 1990;
const LAST_YEAR = 2100;

const TIME =
  '(?:[T,\\s]\\s*(\\d{1,2}):(\\d{2})(?::(\\d{2})(?:[.,]\\d+)?)?\\s*([ap]\\.?\\s?m\\.?)?\\s*(Z|UTC|GMT|[+-]\\d{2}:?\\d{2})?)?';
const YEAR_FIRST = new RegExp(`^(\\d{4})([-/.])(\\d{1,2})\\2(\\d{1,2})${TIME}$`, 'i');
const YEAR_LAST = new RegExp(`^(\\d{1,2})([-/.])(\\d{1,2})\\2(\\d{4}|\\d{2})${TIME}$`, 'i');
const COMPACT = /^(\d{4})(\d{2})(\d{2})$/;
const SERIAL = /^\d{5}$/;

/**
 * Reads a date as spreadsheets have them: `dd/mm/yyyy`, `d-m-yy`, `yyyy-mm-dd`, all three with a time and a zone, and
 * Excel's day numbers. `order` decides between day and month where both could be; a value that can only be the other
 * way round is read so. A day without a time is noon of that day in `timeZone` (IANA), a time without a zone is local
 * to it. Undefined for anything else, and for days that don't exist.
 */
export function readDate(cell: string, timeZone: string, order: DateOrder): ReadDate | undefined {
  const text = cell.trim();
  const yearFirst = YEAR_FIRST.exec(text);
  if (yearFirst) {
    const [, year, , month, day, ...time] = yearFirst;
    return instant(Number(year), Number(month), Number(day), time, timeZone);
  }
  const yearLast = YEAR_LAST.exec(text);
  if (yearLast) {
    const [, first, , second, year, ...time] = yearLast;
    const [a, b] = [Number(first), Number(second)];
    const dayFirst = order === 'dmy' ? b <= 12 : a > 12;
    const full = (year ?? '').length === 2 ? 2000 + Number(year) : Number(year);
    return instant(full, dayFirst ? b : a, dayFirst ? a : b, time, timeZone);
  }
  const compact = COMPACT.exec(text);
  if (compact) return instant(Number(compact[1]), Number(compact[2]), Number(compact[3]), [], timeZone);
  if (SERIAL.test(text)) {
    const day = DateTime.utc(1899, 12, 30).plus({ days: Number(text) });
    return instant(day.year, day.month, day.day, [], timeZone);
  }
  return undefined;
}

function instant(
  year: number,
  month: number,
  day: number,
  [hourText, minute, second, half, offset]: (string | undefined)[],
  timeZone: string,
): ReadDate | undefined {
  if (year < FIRST_YEAR || year > LAST_YEAR) return undefined;
  const dayOnly = hourText === undefined;
  let hour = dayOnly ? 12 : Number(hourText);
  if (half !== undefined) {
    if (hour < 1 || hour > 12) return undefined;
    hour = (hour % 12) + (/^p/i.test(half) ? 12 : 0);
  }
  const zone = offset === undefined ? timeZone : /^[+-]/.test(offset) ? `UTC${offset}` : 'UTC';
  const at = DateTime.fromObject(
    { year, month, day, hour, minute: Number(minute ?? 0), second: Number(second ?? 0) },
    { zone: zone.replace(/^(UTC[+-]\d{2})(\d{2})$/, '$1:$2') },
  );
  const iso = at.toUTC().toISO();
  return at.isValid && iso !== null ? { iso, dayOnly } : undefined;
}
