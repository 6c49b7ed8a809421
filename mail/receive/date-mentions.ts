import { DateTime } from 'luxon';
import {
  DAY_WORDS,
  END_OF,
  FIRST,
  IN_A_WHILE,
  MONTHS,
  NEXT_WEEK,
  NUMBERS,
  THIS_WEEK,
  TODAY,
  TOMORROW,
  WEEK_WORDS,
  WEEKDAYS,
} from './words/dates';

/** A day that a text names. */
export interface DateMention {
  start: number;
  end: number;
  /** The days that it can mean: two where day and month can change places, the one by day and month first. */
  days: readonly DateTime[];
  /**
   * `date` names a month or the whole; `day` is a number alone, `weekday` its name alone; `open` is a stretch of time that is
   * over on the day given (a month, a week, "the end of …"), so there is no day to add.
   */
  kind: 'date' | 'day' | 'weekday' | 'open';
}

/** A day as it is written, before it is known which year is meant. */
interface Written {
  day: number;
  month: number;
  year: number | null;
}

const MONTH_NUMBERS = numbered(Object.values(MONTHS));
const WEEKDAY_NUMBERS = numbered(Object.values(WEEKDAYS));
/** Short forms that are common words of another language stand for a month only after "de". */
const AMBIGUOUS_MONTHS = new Set(['out', 'des', 'ag', 'may', 'mai', 'mar']);
const MONTH = anyOf([...MONTH_NUMBERS.keys()]);
const ENGLISH_MONTH = anyOf(MONTHS.en.flat());
const LONG_MONTH = anyOf([...MONTH_NUMBERS.keys()].filter((name) => name.length >= 4 || name === 'mei'));
const WEEKDAY = anyOf([...WEEKDAY_NUMBERS.keys()]);
const LONG_WEEKDAY = anyOf([...WEEKDAY_NUMBERS.keys()].filter((name) => name.length >= 5 || name === 'mardi'));
const ORDINAL = '(?:st|nd|rd|th|er|ero|ro|eme|ste|de|o|a|e|°|\\.)?';
const NO_TIME =
  '(?![\\d%€$£]|[:.]\\d\\d(?!\\d)|[/-]\\d| ?(?:uhr|h|hs|hrs|horas|hores|heures|uur|ore|am|pm|a\\.m|p\\.m|dias|days|tage|jours|giorni|dies|dagen|semanas|weeks|wochen|semaines|settimane|setmanes|weken|anos|anys|years|euros?)\\b| ?(?:bis|-|–|a|to|till|until|tot|alle|as|y|and|und|i|e)(?: las)? \\d{1,2} ?(?:[:.]\\d\\d|uhr|h|hs|am|pm|uur|horas|heures))';
const OF = "(?: ?(?:de|del|of|d'|d|di|du|van|dell'|do|of the)[ ]?)?";
/** An article or a weekday, before a number that stands for a day of the month. */
const LEAD = `(?:(?:the|el|dia|al|zum|am|dem|den|le|au|il|lo|no|ao|o|de|op|l'|ab)[ ])?(?:(?:${LONG_WEEKDAY})[,.]?[ ](?:(?:the|el|dia|den|dem|le|il|dia|de|al)[ ])?)?`;

const ISO = /(?<!\d)(20\d\d)[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)/g;
const DAY_MONTH = new RegExp(
  `(?<![\\d/.:])(?:(\\d{1,2})${ORDINAL}|(${anyOf(FIRST)}))[ .-]{0,2}${OF}(${MONTH})(?![a-z])\\.?(?:,?[ ]?(?:de |del |d'|of |di )?(20\\d\\d|'?\\d\\d(?![\\d:.h%€]| ?(?:uhr|h|euro|am|pm))))?`,
  'g',
);
const MONTH_DAY = new RegExp(
  `(?<![a-z])(${ENGLISH_MONTH})\\.?[ ](?:the )?(\\d{1,2})(?:st|nd|rd|th)?(?![\\d]|[:.]\\d\\d)(?![ .]{0,2}${OF}(?:${MONTH})(?![a-z]))(?:[ ]?(?:-|–|to|through|until|till|thru|and|&)[ ]?(?:the )?(\\d{1,2})(?:st|nd|rd|th)?(?!\\d|[:./]\\d|[ ]?(?:${MONTH})(?![a-z])))?(?:,?[ ](20\\d\\d))?`,
  'g',
);
const NUMERIC = /(?<![\d/.,:+-])(\d{1,2})([/.-]) ?(\d{1,2})(?:\2 ?(20\d\d|\d\d)(?![\d:]))?(\.)?(?![\d/:%€]|-\d)/g;
const LONE_DAY = new RegExp(`(?<![a-z\\d])${LEAD}(\\d{1,2})(st|nd|rd|th|er|e|\\.)?(?![a-z\\d])${NO_TIME}`, 'g');
const LONE_WEEKDAY = new RegExp(`(?<![a-z])(${LONG_WEEKDAY})(?![a-z])`, 'g');
const LONE_MONTH = new RegExp(
  `(?<![a-z])((?:${anyOf(END_OF)})[ ])?(?:(?:de|del|of|d'|di|des|van|mes de|month of|monats?)[ ]?)*(${LONG_MONTH}|may(?= 20\\d\\d)|(?<=(?:until|till|in|through) )may)(?![a-z])(?:[ ](?:de |del |of )?(20\\d\\d))?`,
  'g',
);
const NEXT_WEEK_WORDS = new RegExp(
  `(?<![a-z])((?:${anyOf(END_OF)})[ ])?(?:(?:de|of|der|d')[ ]?)?(?:${anyOf(NEXT_WEEK)})(?![a-z])`,
  'g',
);
const THIS_WEEK_WORDS = new RegExp(`(?<![a-z])(?:${anyOf(THIS_WEEK)})(?![a-z])`, 'g');
const TODAY_WORDS = new RegExp(`(?<![a-z])(?:${anyOf(TODAY)})(?![a-z])`, 'g');
const TOMORROW_WORDS = new RegExp(
  `(?<![a-z]|pasado |depois de |apres[- ]|day after |la |am |goede |guten )(?:${anyOf(TOMORROW)})(?![a-z])`,
  'g',
);
const IN_A_TIME = new RegExp(
  `(?<![a-z])(?:${anyOf(IN_A_WHILE)})[ ](\\d{1,2}|${anyOf(Object.keys(NUMBERS))})[ ](?:(${anyOf(WEEK_WORDS)})|(?:${anyOf(DAY_WORDS)}))(?![a-z])`,
  'g',
);

/** "Mid-July" is no day. */
const VAGUE =
  /(?:mitte|mid|mediados|mi|meta|meados|mitjans?|half|medio|anfang|early|principios|debut|inizio|inicios?|begin|principis)[ -](?:de |del |di |d'|des )?$/;
/** What may stand between a weekday and its date. */
const BEFORE_DATE = /^[ ,.]{0,3}(?:(?:the|el|dia|den|dem|le|il|dia|a|de|al|d|l')[ ]?){0,2}$/;

/**
 * The days that a piece of text names, in their order, no two overlapping.
 *
 * @param folded as `fold` gives it
 * @param today the day on which it was written
 * @param anchor the last day that the text before it names: numbers and weekdays alone are counted from there
 */
export function dateMentions(folded: string, today: DateTime, anchor: DateTime): DateMention[] {
  const found: DateMention[] = [];
  const add = (match: RegExpExecArray, kind: DateMention['kind'], days: readonly (DateTime | null)[]) => {
    const valid = days.filter((day): day is DateTime => day?.isValid === true);
    const start = match.index;
    const end = start + match[0].trimEnd().length;
    if (valid.length === 0 || found.some((other) => start < other.end && other.start < end)) return;
    found.push({ start, end, days: valid, kind });
  };
  for (const match of folded.matchAll(ISO)) {
    add(match, 'date', [resolved({ year: Number(match[1]), month: Number(match[2]), day: Number(match[3]) }, today)]);
  }
  for (const match of folded.matchAll(MONTH_DAY)) addMonthDay(match, add, today);
  for (const match of folded.matchAll(DAY_MONTH)) {
    const name = match[3] as string;
    if (AMBIGUOUS_MONTHS.has(name) && !monthIsMeant(match[0], name)) continue;
    const day = match[1] === undefined ? 1 : Number(match[1]);
    add(match, 'date', [
      resolved({ day, month: MONTH_NUMBERS.get(name) as number, year: yearOf(match[4], today) }, today),
    ]);
  }
  for (const match of folded.matchAll(NUMERIC)) add(match, 'date', numericDays(match, today));
  for (const match of folded.matchAll(IN_A_TIME)) {
    const count = NUMBERS[match[1] as string] ?? Number(match[1]);
    add(match, 'open', [today.plus(match[2] === undefined ? { days: count } : { weeks: count })]);
  }
  for (const match of folded.matchAll(NEXT_WEEK_WORDS)) {
    add(match, 'open', [nextWeekday(today, 1).plus({ weeks: match[1] === undefined ? 0 : 1 })]);
  }
  for (const match of folded.matchAll(THIS_WEEK_WORDS)) add(match, 'open', [nextWeekday(today, 1)]);
  for (const match of folded.matchAll(LONE_MONTH)) {
    if (VAGUE.test(folded.slice(Math.max(0, match.index - 16), match.index))) continue;
    const first = resolved(
      { day: 1, month: MONTH_NUMBERS.get(match[2] as string) as number, year: yearOf(match[3], today) },
      today.startOf('month'),
    );
    add(match, 'open', [match[1] === undefined ? first : (first?.plus({ months: 1 }) ?? null)]);
  }
  const dates = [...found];
  const anchorAt = (index: number): DateTime =>
    dates.reduce(
      (latest, { start, kind, days }) =>
        start < index && kind === 'date' && days[0] !== undefined && days[0] > latest ? days[0] : latest,
      anchor,
    );
  for (const match of folded.matchAll(LONE_DAY)) {
    const hasLead = match[0].trim() !== `${match[1]}${match[2] ?? ''}`;
    if (hasLead) add(match, 'day', [nextDayOfMonth(match[0], Number(match[1]), anchorAt(match.index))]);
  }
  for (const match of folded.matchAll(LONE_WEEKDAY)) {
    if (
      dates.some(
        ({ start }) => BEFORE_DATE.test(folded.slice(match.index + match[0].length, start)) && start > match.index,
      )
    )
      continue;
    add(match, 'weekday', [nextWeekday(anchorAt(match.index), WEEKDAY_NUMBERS.get(match[1] as string) as number)]);
  }
  for (const match of folded.matchAll(TODAY_WORDS)) add(match, 'weekday', [today]);
  for (const match of folded.matchAll(TOMORROW_WORDS)) add(match, 'weekday', [today.plus({ days: 1 })]);
  return found.sort((a, b) => a.start - b.start);
}

/** A text without its weekday at the end: "until Friday," is "until". */
export function withoutWeekday(words: string): string {
  return words.replace(new RegExp(`(?:^| )(?:${WEEKDAY})$`), '').trim();
}

type Add = (match: RegExpExecArray, kind: DateMention['kind'], days: readonly (DateTime | null)[]) => void;

function addMonthDay(match: RegExpExecArray, add: Add, today: DateTime): void {
  const month = MONTH_NUMBERS.get(match[1] as string) as number;
  const year = yearOf(match[4], today);
  if (match[3] === undefined) {
    add(match, 'date', [resolved({ day: Number(match[2]), month, year }, today)]);
    return;
  }
  // "August 3 to 17": two days in one; the second begins at its own number, so that what joins them is seen.
  const joiner = /(?:-|–|to|through|until|till|thru|and|&)/.exec(match[0].slice((match[1] as string).length));
  const cut = (match[1] as string).length + (joiner?.index ?? 0);
  const first = Object.assign([match[0].slice(0, cut)], { index: match.index, input: match.input }) as RegExpExecArray;
  const secondAt = match[0].indexOf(match[3], cut);
  const second = Object.assign([match[0].slice(secondAt)], {
    index: match.index + secondAt,
    input: match.input,
  }) as RegExpExecArray;
  add(first, 'date', [resolved({ day: Number(match[2]), month, year }, today)]);
  add(second, 'date', [resolved({ day: Number(match[3]), month, year }, today)]);
}

function numericDays(match: RegExpExecArray, today: DateTime): (DateTime | null)[] {
  const [, first, separator, second, yearText, dot] = match;
  const [a, b, year] = [Number(first), Number(second), yearOf(yearText, today)];
  // Without a year "3-17" is a range, "10.30" a time and "24/7" means always.
  if (year === null && (separator === '-' || (a === 24 && b === 7))) return [];
  if (year === null && separator === '.' && dot === undefined && (second as string).length < 2) return [];
  const dayFirst = resolved({ day: a, month: b, year }, today);
  if (separator === '.') return [dayFirst];
  const monthFirst = a === b ? null : resolved({ day: b, month: a, year }, today);
  return [dayFirst, monthFirst];
}

/** The day with its year: the one given, or that of the next such day. */
function resolved({ day, month, year }: Written, today: DateTime): DateTime | null {
  if (month < 1 || month > 12 || day < 1 || day > 31) return null;
  if (year !== null) return DateTime.utc(year, month, day);
  // The 29th of February is up to eight years away.
  for (let ahead = 0; ahead <= 8; ahead++) {
    const candidate = DateTime.utc(today.year + ahead, month, day);
    if (candidate.isValid && candidate >= today) return candidate;
  }
  return null;
}

function yearOf(text: string | undefined, today: DateTime): number | null {
  if (text === undefined) return null;
  const year = Number(text.replace("'", ''));
  if (year >= 100) return year;
  // Two digits are a year where they name one that is near; "15 August 10" may be the start of a time.
  const full = 2000 + year;
  return Math.abs(full - today.year) <= 2 ? full : null;
}

function monthIsMeant(text: string, name: string): boolean {
  return new RegExp(
    `(?:de |d'|/|-)${name}|\\d\\.? ${name}\\.|^\\d{1,2}(?:st|nd|rd|th|er|\\.)? (?:may|mai)(?![a-z])|\\d ${name},? (?:de )?20`,
  ).test(text);
}

/** The next day of the month with this number; where a weekday stands before it, the next on which both are true. */
function nextDayOfMonth(text: string, day: number, today: DateTime): DateTime | null {
  const name = new RegExp(`(?<![a-z])(${LONG_WEEKDAY})(?![a-z])`).exec(text)?.[1];
  const weekday = name === undefined ? null : WEEKDAY_NUMBERS.get(name);
  for (let month = 0; month < 3; month++) {
    const first = today.startOf('month').plus({ months: month });
    const candidate = DateTime.utc(first.year, first.month, day);
    if (!candidate.isValid || candidate < today) continue;
    if (weekday === null || candidate.weekday === weekday) return candidate;
  }
  return null;
}

function nextWeekday(today: DateTime, weekday: number): DateTime {
  const ahead = (weekday - today.weekday + 7) % 7;
  return today.plus({ days: ahead === 0 ? 7 : ahead });
}

function numbered(languages: readonly (readonly (readonly string[])[])[]): Map<string, number> {
  const names = new Map<string, number>();
  for (const language of languages) {
    for (const [index, forms] of language.entries()) {
      for (const form of forms) if (!names.has(form)) names.set(form, index + 1);
    }
  }
  return names;
}

function anyOf(words: readonly string[]): string {
  return [...words]
    .sort((a, b) => b.length - a.length)
    .map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('|');
}
