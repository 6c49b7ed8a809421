import { type Audit, countBy } from './audit';
import type { Facts } from './facts';
import { breachLists, findingsTable, isKept, percentile, table } from './report';

/** What a race has to tell. Times in ms. */
export interface RaceRun {
  seed: number;
  beganAt: number;
  endedAt: number;
  machine: string;
  jitterMs: number;
  /** As it came about. */
  ratePerSecond: number;
  /** From the request to the first byte of its answer, by kind of stop. */
  acked: Record<string, number[]>;
  /** Stops whose answer took more than one try; they count from the first. */
  triedAgain: number;
  /** How far behind its plan the program that stops was. */
  lateMs: number[];
  /** From the answer to the end of the workflow; apart where the answer named a mail. */
  closed: { idle: number[]; inFlight: number[] };
  /** Where stop and mail met. */
  fates: Record<string, number>;
  settled: boolean;
  audit: Audit;
}

/** What had become of the lead's last mail when the stop was answered. */
export function fatesOf({ stops, messages }: Pick<Facts, 'stops' | 'messages'>): Record<string, number> {
  const rows = new Map<string, Facts['messages']>();
  for (const message of messages) rows.set(message.enrollmentId, [...(rows.get(message.enrollmentId) ?? []), message]);
  return countBy(stops, ({ enrollmentId, at, named }) => {
    if (named.length > 0) return 'on its way, and named in the answer';
    const last = (rows.get(enrollmentId) ?? []).reduce((a, b) => (b.claimedAt > a.claimedAt ? b : a));
    if (last.state === 'withdrawn') return 'claimed, and taken back by the stop';
    return at - last.claimedAt < RECENT_MS ? 'gone shortly before' : 'not begun';
  });
}

/** A mail of the race, and not the one before it. */
const RECENT_MS = 15_000;

/** Of design.md, section 6: p99 in ms. */
const ACK_BUDGET_MS = 250;
const CLOSE_BUDGET_MS = 1_000;

export function raceReport(run: RaceRun): string {
  const all = Object.values(run.acked).flat();
  const spread = (values: readonly number[]) =>
    [0.5, 0.95, 0.99, 1].map((share) => percentile(values, share).toFixed(0));
  const budget = (values: readonly number[], ms: number) =>
    `${ms} ms: ${percentile(values, 0.99) < ms ? 'within' : 'NOT within'}`;
  return [
    `# Race, seed ${run.seed}: ${isKept(run) ? 'every promise held' : 'BROKEN'}`,
    `${new Date(run.beganAt).toISOString()}, ${((run.endedAt - run.beganAt) / 60_000).toFixed(1)} min, on ${run.machine}. ` +
      `${all.length} stops, ${run.ratePerSecond.toFixed(0)} a second, each within ${run.jitterMs} ms of its lead’s due mail.`,
    findingsTable(run),
    ...breachLists(run),
    table(
      ['what, in ms', 'count', 'p50', 'p95', 'p99', 'most', 'budget for p99'],
      [
        ['stop acknowledged', String(all.length), ...spread(all), budget(all, ACK_BUDGET_MS)],
        ...Object.entries(run.acked).map(([kind, values]) => [
          `– ${kind}`,
          String(values.length),
          ...spread(values),
          '',
        ]),
        [
          'workflow closed after the answer, nothing in flight',
          String(run.closed.idle.length),
          ...spread(run.closed.idle),
          budget(run.closed.idle, CLOSE_BUDGET_MS),
        ],
        ['– a mail in flight', String(run.closed.inFlight.length), ...spread(run.closed.inFlight), ''],
        ['the program was behind its plan', String(run.lateMs.length), ...spread(run.lateMs), ''],
      ],
    ),
    `${run.triedAgain} stops had to be asked again; they count from the first try. ${run.closed.idle.length + run.closed.inFlight.length} of ` +
      `${all.length - (run.acked.pause?.length ?? 0)} stopped workflows had closed when they were counted (a pause closes none).`,
    table(
      ['the lead’s mail when the stop was answered', 'stops'],
      Object.entries(run.fates).map(([fate, count]) => [fate, String(count)]),
    ),
  ].join('\n\n');
}
