import { type Audit, countBy } from './audit';
import type { Death } from './facts';
import type { SinkRecord } from './sink-records';

/** Everything that a run has to tell. */
export interface ChaosRun {
  seed: number;
  short: boolean;
  beganAt: number;
  endedAt: number;
  /** Until the cluster served (ms). */
  startMs: number;
  machine: string;
  timeFactor: number;
  leads: number;
  kills: number;
  deaths: Death[];
  /** Sink records of the kinds that are counted. */
  faults: Record<string, number>;
  closedMs: number;
  tooLate: number;
  /** Whether everything had come to rest when it was audited. */
  settled: boolean;
  audit: Audit;
}

/** Counts what the mail server did to whom. */
export function faultsIn(records: readonly SinkRecord[]): { faults: Record<string, number>; closedMs: number } {
  const injected = records.flatMap((record) => (record.kind === 'fault' ? [record.fault] : []));
  const closed = records.flatMap((record) => (record.kind === 'closed' ? [record.until - record.from] : []));
  return { faults: countBy(injected, (fault) => fault), closedMs: closed.reduce((sum, ms) => sum + ms, 0) };
}

/** @returns whether every promise held */
export function isKept({ audit, settled }: Pick<ChaosRun, 'audit' | 'settled'>): boolean {
  return settled && audit.findings.every(({ breaches }) => breaches.length === 0);
}

/** Most breaches that a report spells out, of each promise. */
const SHOWN = 20;

export function findingsTable({ audit, settled }: Pick<ChaosRun, 'audit' | 'settled'>): string {
  return table(
    ['promise', 'what must hold', 'breaches'],
    [
      ...audit.findings.map(({ promise, says, breaches }) => [promise, says, String(breaches.length)]),
      ['', 'everything came to rest in time', settled ? '0' : '1'],
    ],
  );
}

export function breachLists({ audit }: Pick<ChaosRun, 'audit'>): string[] {
  return audit.findings.flatMap(({ says, breaches }) =>
    breaches.length === 0
      ? []
      : [
          `**${says}**\n\n${breaches
            .slice(0, SHOWN)
            .map((one) => `- ${one}`)
            .join('\n')}`,
        ],
  );
}

export function chaosReport(run: ChaosRun): string {
  const { audit, deaths } = run;
  const minutes = ((run.endedAt - run.beganAt) / 60_000).toFixed(1);
  const killed = deaths.filter(({ byItself }) => !byItself);
  const alone = deaths.filter(({ byItself }) => byItself);
  const had = audit.unknowns.filter(({ serverHad }) => serverHad).length;
  return [
    `# Chaos, seed ${run.seed}${run.short ? ' (short)' : ''}: ${isKept(run) ? 'every promise held' : 'BROKEN'}`,
    `${new Date(run.beganAt).toISOString()}, ${minutes} min (${(run.startMs / 1000).toFixed(0)} s of them to start), on ${run.machine}. ` +
      `${run.leads} leads, time compressed ${run.timeFactor} times, ${run.kills} kills.`,
    findingsTable(run),
    ...breachLists(run),
    '## What was done to it',
    table(
      ['killed with SIGKILL', 'times', 'median until it served again, s', 'ended by itself meanwhile'],
      Object.entries(countBy(killed, ({ kind }) => kind)).map(([kind, times]) => [
        kind,
        String(times),
        seconds(
          median(killed.flatMap((one) => (one.kind === kind && one.servesAt !== null ? [one.servesAt - one.at] : []))),
        ),
        String(alone.filter((one) => one.kind === kind).length),
      ]),
    ),
    table(
      ['the mail server', 'times'],
      [
        ...Object.entries(run.faults)
          .sort(([a], [b]) => a.localeCompare(b))
          .map(([fault, times]) => [fault, String(times)]),
        ['refused every connection', `${(run.closedMs / 1000).toFixed(1)} s`],
      ],
    ),
    '## What came of it',
    table(
      ['stops answered with 2xx', 'times'],
      [
        ...entriesOf(audit.counts.stops),
        ['named as in flight', String(audit.counts.named)],
        ['came after the end', String(run.tooLate)],
      ],
    ),
    table(['enrollments ended as', String(audit.counts.enrollments)], entriesOf(audit.counts.outcomes)),
    table(
      ['messages in the ledger', String(sum(audit.counts.messages))],
      [...entriesOf(audit.counts.messages), ['kept by the mail server', String(audit.counts.kept)]],
    ),
    `${audit.unknowns.length} messages are \`unknown\`: the mail server had ${had} of them, and never had ${audit.unknowns.length - had}.`,
    ...(audit.unknowns.length === 0
      ? []
      : [
          table(
            ['unknown because of', 'times', 'the server had it', 'it never had it'],
            Object.keys(countBy(audit.unknowns, ({ because }) => because ?? 'nothing known')).map((cause) => {
              const of = audit.unknowns.filter(({ because }) => (because ?? 'nothing known') === cause);
              const there = of.filter(({ serverHad }) => serverHad).length;
              return [cause, String(of.length), String(there), String(of.length - there)];
            }),
          ),
        ]),
  ].join('\n\n');
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function entriesOf(counts: Record<string, number>): string[][] {
  return Object.entries(counts)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, count]) => [name, String(count)]);
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Nearest rank; 0 of nothing. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * share) - 1))] ?? 0;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}
