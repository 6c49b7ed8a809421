import { DateTime, Duration } from 'luxon';
import { type CampaignDefinition, WEEKDAYS, type Weekday } from './campaign';
import { planDue } from './planner';

export interface RehearsalRequest {
  /** The waits are drawn as for this enrollment. */
  enrollmentId: string;
  /** When the initial information goes out. */
  startAt: Date;
  /** How many steps the campaign has, the initial information included. */
  stepCount: number;
  cadence: CampaignDefinition['cadence'];
  sendWindow: CampaignDefinition['sendWindow'];
  erasure: CampaignDefinition['erasure'];
  /** IANA zone of the lead. */
  timeZone: string;
}

/** An instant of the plan, as the lead's own calendar and clock show it. */
export interface PlannedMoment {
  at: Date;
  /** ISO 8601 with the offset that the lead's zone has at that moment. */
  localTime: string;
  weekday: Weekday;
}

interface RehearsedStep extends PlannedMoment {
  step: number;
  /** Days of the lead's calendar since the mail before; null for the initial information. */
  intervalDays: number | null;
}

export interface Rehearsal {
  steps: RehearsedStep[];
  /** When a lead who never answered is given up. */
  exhausted: PlannedMoment;
  /** When that lead is erased. */
  erased: PlannedMoment;
}

/**
 * The whole journey of a lead who agrees to nudges and never answers, planned as the journey itself plans it (`planDue`,
 * each step from the mail before it), with every mail taken at the moment it falls due. In real time, never compressed.
 *
 * @throws RangeError if the send window never opens within two years of a step
 */
export function rehearseJourney(request: RehearsalRequest): Rehearsal {
  const { enrollmentId, startAt, stepCount, cadence, sendWindow, timeZone } = request;
  const clock = { origin: startAt.getTime(), factor: 1 };
  const due = (step: number, after: Date) =>
    planDue({ enrollmentId, step, after, cadence, sendWindow, timeZone, clock });

  const steps: RehearsedStep[] = [{ step: 0, ...momentOf(startAt, timeZone), intervalDays: null }];
  let last = startAt;
  for (let step = 1; step < stepCount; step++) {
    const at = due(step, last);
    steps.push({ step, ...momentOf(at, timeZone), intervalDays: calendarDays(last, at, timeZone) });
    last = at;
  }
  // One more interval for a late answer.
  const exhausted = due(stepCount, last);
  const erased = DateTime.fromJSDate(exhausted, { zone: timeZone })
    .plus(Duration.fromISO(request.erasure.afterExhausted))
    .toJSDate();
  return { steps, exhausted: momentOf(exhausted, timeZone), erased: momentOf(erased, timeZone) };
}

function momentOf(at: Date, timeZone: string): PlannedMoment {
  const local = DateTime.fromJSDate(at, { zone: timeZone });
  const weekday = WEEKDAYS[local.weekday - 1];
  const localTime = local.toISO();
  if (weekday === undefined || localTime === null) throw new RangeError('not an instant of the calendar');
  return { at, localTime, weekday };
}

function calendarDays(from: Date, to: Date, timeZone: string): number {
  const day = (at: Date) => DateTime.fromJSDate(at, { zone: timeZone }).startOf('day');
  return Math.round(day(to).diff(day(from), 'days').days);
}
