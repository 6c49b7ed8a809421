import { createHash } from 'node:crypto';
import { DateTime, Duration } from 'luxon';
import { type CampaignDefinition, WEEKDAYS } from './campaign';
import { zoneOf } from './time-zone';

type SendWindow = CampaignDefinition['sendWindow'];
type Cadence = CampaignDefinition['cadence'];

/**
 * Compressed time, for demonstrations: `factor` planned milliseconds pass in each real one, counted from `origin`
 * (ms since the epoch), where both clocks show the same. Production runs at factor 1.
 */
export interface PlanningClock {
  origin: number;
  factor: number;
}

export interface PlanRequest {
  enrollmentId: string;
  /** The step that is to be planned. */
  step: number;
  /** When the mail before it was handed over, in UTC. */
  after: Date;
  cadence: Cadence;
  sendWindow: SendWindow;
  /** IANA zone of the lead. */
  timeZone: string;
  clock: PlanningClock;
}

/**
 * A nudge that starts within this time (ms) after it fell due counts as punctual, so its way through the queue never
 * makes it miss a window. Windows are used up to `CLOSING_MARGIN_MS` before their end, which leaves room for it; one that
 * is open all day has no end before a day on which nothing is sent.
 */
export const PUNCTUAL_MS = 60_000;
const CLOSING_MARGIN_MS = 2 * PUNCTUAL_MS;

/** How far ahead an opening is looked for before a window counts as never open: two years and a leap day. */
const HORIZON_DAYS = 732;

/**
 * When a step falls due: between `cadence.min` and `cadence.max` after the mail before it, in calendar months of the
 * lead's zone, moved forward (never back) into the send window. The draw depends on enrollment and step only, so asking
 * again gives the same instant.
 *
 * @throws RangeError if the send window never opens within two years.
 */
export function planDue(request: PlanRequest): Date {
  const { clock, cadence, sendWindow, timeZone } = request;
  const after = DateTime.fromMillis(toPlanned(request.after.getTime(), clock), { zone: zoneOf(timeZone) });
  const earliest = after.plus(Duration.fromISO(cadence.min)).toMillis();
  const latest = after.plus(Duration.fromISO(cadence.max)).toMillis();
  const drawn = earliest + draw(request, 'interval') * (latest - earliest);
  const due = intoWindow(drawn, sendWindow, timeZone, draw(request, 'hour'));
  return new Date(toReal(due, clock));
}

/** The instant a wait (ISO 8601 duration) after another, in the calendar of the zone, whatever the hour. */
export function afterWait(request: Pick<PlanRequest, 'after' | 'timeZone' | 'clock'> & { wait: string }): Date {
  const { clock, wait, timeZone } = request;
  const after = DateTime.fromMillis(toPlanned(request.after.getTime(), clock), { zone: zoneOf(timeZone) });
  return new Date(toReal(after.plus(Duration.fromISO(wait)).toMillis(), clock));
}

/**
 * The instant at or after `now` at which a nudge may go out: `now` itself while it is punctual or the window is open,
 * otherwise a moment within the next opening (spread by lead, so that not everybody wakes on the hour).
 */
export function nextOpening(
  request: Pick<PlanRequest, 'enrollmentId' | 'step' | 'sendWindow' | 'timeZone' | 'clock'> & { due: Date; now: Date },
): Date {
  const { clock, due, now, sendWindow, timeZone } = request;
  if (now.getTime() - due.getTime() <= PUNCTUAL_MS) return now;
  const planned = toPlanned(now.getTime(), clock);
  const opening = intoWindow(planned, sendWindow, timeZone, draw(request, 'hour'));
  return opening === planned ? now : new Date(toReal(opening, clock));
}

/** Real instant → the instant that the plan's calendar shows (both ms since the epoch). */
export function toPlanned(at: number, clock: PlanningClock): number {
  return clock.factor === 1 ? at : clock.origin + (at - clock.origin) * clock.factor;
}

function toReal(at: number, clock: PlanningClock): number {
  return clock.factor === 1 ? Math.ceil(at) : Math.ceil(clock.origin + (at - clock.origin) / clock.factor);
}

/** A number in [0, 1) that is the same for the same enrollment, step and purpose, on every machine. */
function draw(of: { enrollmentId: string; step: number }, purpose: string): number {
  const digest = createHash('sha256').update(`${of.enrollmentId}/${of.step}/${purpose}`).digest();
  return digest.readUIntBE(0, 6) / 2 ** 48;
}

function intoWindow(at: number, window: SendWindow, timeZone: string, spread: number): number {
  const local = DateTime.fromMillis(at, { zone: zoneOf(timeZone) });
  for (let day = 0; day < HORIZON_DAYS; day++) {
    const date = local.startOf('day').plus({ days: day });
    if (!isSendable(date, window)) continue;
    const opens = atTime(date, window.from).toMillis();
    const closes = atTime(date, window.to).toMillis() - CLOSING_MARGIN_MS;
    if (at >= opens && (at <= closes || isOpenOverMidnight(date, window))) return at;
    if (at < opens) return opens + Math.floor(spread * Math.max(0, closes - opens));
  }
  throw new RangeError('the send window has no opening within two years');
}

/** Open all this day, and the next one too? */
function isOpenOverMidnight(date: DateTime, window: SendWindow): boolean {
  return window.from === '00:00' && window.to === '24:00' && isSendable(date.plus({ days: 1 }), window);
}

function isSendable(date: DateTime, window: SendWindow): boolean {
  const weekday = WEEKDAYS[date.weekday - 1];
  return weekday !== undefined && window.days.includes(weekday) && !isBlackout(date, window.blackouts ?? []);
}

function isBlackout(date: DateTime, blackouts: readonly string[]): boolean {
  const iso = date.toFormat('yyyy-MM-dd');
  return blackouts.some((blackout) => {
    const [from, to] = blackout.split('/');
    if (from === undefined) return false;
    if (to !== undefined) return iso >= from && iso <= to;
    return from.length === 5 ? iso.slice(5) === from : iso === from;
  });
}

function atTime(date: DateTime, time: string): DateTime {
  if (time === '24:00') return date.plus({ days: 1 }).startOf('day');
  const [hour, minute] = time.split(':').map(Number);
  return date.set({ hour: hour ?? 0, minute: minute ?? 0, second: 0, millisecond: 0 });
}
