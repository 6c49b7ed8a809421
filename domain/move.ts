import { type CampaignDefinition, MAX_STEPS } from './campaign';
import type { Plan, PlannedStep, VersionStep } from './plan';
import { type PlanningClock, planDue } from './planner';

/** What a lead's way becomes in another version. All numbers are steps of a version, not positions. */
export interface Move {
  plan: Plan;
  /** Steps of the new version that lie ahead, in its order. */
  ahead: number[];
  /** Steps of the old version that lay ahead and are none of the new one. */
  dropped: number[];
  /** Of `ahead`: those that the old version did not hold for this lead. */
  added: number[];
  /** Steps of the new version that the lead has not had, and does not get: they are new, and stand before its place. */
  passedOver: number[];
}

export interface MoveRequest {
  /** The lead's positions until now. */
  positions: readonly PlannedStep[];
  /** How many of them were dealt with: sent, or given up for good. At least 1. */
  had: number;
  toVersion: number;
  /** How many steps the new version has. */
  steps: number;
  /** Which steps of the new version are the same mail as this one. */
  same: (step: VersionStep) => readonly number[];
}

/**
 * Moves a lead to another version. Of the new version they get, in its order, every step that they have not had and that
 * lay ahead of them before or stands after their place. Their place is the last mail they had that the new version still has.
 *
 * @returns null where they would get more than `MAX_STEPS` mails in all
 */
export function planMove({ positions, had, toVersion, steps, same }: MoveRequest): Move | null {
  const targetsOf = ({ as = [], ...own }: PlannedStep): number[] => {
    const known = [own, ...as].flatMap((one) => (one.version === toVersion ? [one.step] : same(one)));
    return [...new Set(known)].filter((step) => step < steps);
  };
  const behind = positions.slice(0, had).map((position, at) => {
    // The information is the information, whatever it says today.
    const targets = at === 0 ? [...new Set([0, ...targetsOf(position)])] : targetsOf(position);
    return { position, targets };
  });
  const before = positions.slice(had).map((position) => ({ position, targets: targetsOf(position) }));
  const done = new Set(behind.flatMap(({ targets }) => targets));
  const planned = new Set(before.flatMap(({ targets }) => targets));
  const place = Math.max(...(behind.findLast(({ targets }) => targets.length > 0)?.targets ?? [0]));

  const open = Array.from({ length: steps }, (_, step) => step).filter((step) => step > 0 && !done.has(step));
  const ahead = open.filter((step) => planned.has(step) || step > place);
  if (had + ahead.length > MAX_STEPS) return null;
  return {
    plan: [
      ...behind.map(({ position, targets }) => renamed(position, toVersion, targets)),
      ...ahead.map((step) => ({ version: toVersion, step })),
    ],
    ahead,
    dropped: before.filter(({ targets }) => targets.length === 0).map(({ position }) => position.step),
    added: ahead.filter((step) => !planned.has(step)),
    passedOver: open.filter((step) => !ahead.includes(step)),
  };
}

/** A position that is behind the lead, and what it counts as in the version they are moved to. */
function renamed(position: PlannedStep, toVersion: number, targets: readonly number[]): PlannedStep {
  const { version, step, as = [] } = position;
  const fresh = targets
    .map((target) => ({ version: toVersion, step: target }))
    .filter((one) => ![position, ...as].some((known) => known.version === one.version && known.step === one.step));
  return as.length + fresh.length === 0 ? { version, step } : { version, step, as: [...as, ...fresh] };
}

export interface DueRequest {
  enrollmentId: string;
  /** The position that comes next. */
  position: number;
  /** Of the lead, where they brought one. */
  timeZone: string | null;
  clock: PlanningClock;
  /** When the mail before it was handed over; null where that is not known. */
  lastMailAt: Date | null;
  /** When it is due until now. */
  due: Date;
  from: Pick<CampaignDefinition, 'cadence' | 'sendWindow' | 'timeZone'>;
  to: Pick<CampaignDefinition, 'cadence' | 'sendWindow' | 'timeZone'>;
  now: Date;
}

/** Who would come due sooner than a day from now is spread over this time instead (ISO 8601 durations). */
const CATCHING_UP = { min: 'P1D', max: 'P8D' };
const DAY_MS = 24 * 60 * 60_000;

/**
 * When the next mail of a moved lead is due: as the new version's cadence and window say, counted from the last mail. A date
 * that something else had moved away (an absence, a new request, a cap, another try) is not made sooner; and nobody who was
 * not due anyway comes due within a day.
 */
export function dueAfterMove(request: DueRequest): Date {
  const { enrollmentId, position, clock, lastMailAt, due, from, to, now } = request;
  if (position === 0 || lastMailAt === null || sameRhythm(from, to)) return due;
  const by = ({ cadence, sendWindow, timeZone }: DueRequest['from'], after: Date) =>
    planDue({
      enrollmentId,
      step: position,
      after,
      cadence,
      sendWindow,
      timeZone: request.timeZone ?? timeZone,
      clock,
    });
  const planned = by(to, lastMailAt);
  const movedAway = by(from, lastMailAt).getTime() !== due.getTime();
  if (planned >= due) return planned;
  if (movedAway) return due;
  if (planned.getTime() >= now.getTime() + DAY_MS / clock.factor) return planned;
  const spread = by({ ...to, cadence: CATCHING_UP }, now);
  return new Date(Math.min(spread.getTime(), due.getTime()));
}

function sameRhythm(from: DueRequest['from'], to: DueRequest['to']): boolean {
  const rhythmOf = ({ cadence, sendWindow, timeZone }: DueRequest['from']) =>
    JSON.stringify([
      cadence.min,
      cadence.max,
      sendWindow.days,
      sendWindow.from,
      sendWindow.to,
      sendWindow.blackouts ?? [],
      timeZone,
    ]);
  return rhythmOf(from) === rhythmOf(to);
}
