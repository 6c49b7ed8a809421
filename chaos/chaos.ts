import { setMaxListeners } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createDb } from '../db/client';
import { startCluster } from '../stack/cluster';
import { emptyFolder } from '../stack/empty-folder';
import { withoutSettings } from '../stack/without-settings';
import { createTemporalClient } from '../temporal/client';
import { audit } from './audit';
import { publishCampaign } from './campaign';
import type { Apis } from './client';
import { readLedger, runningJourneys } from './collect';
import type { Facts } from './facts';
import { ALL_FAULTS, type FaultRates, QUICK_FAULTS } from './faults';
import { keepAlive, killInTurn, noDeaths } from './killer';
import { machine } from './machine';
import { type ChaosRun, chaosReport, faultsIn } from './report';
import { STOP_KINDS, writeScript } from './script';
import { waitUntilSettled } from './settled';
import { startSinkProcess } from './sink-process';
import { deliveriesIn, readSinkRecords } from './sink-records';
import { runWorkload } from './workload';

// Leads come in and leave, mail goes out, and all the while one process after the other is killed and the mail server fails in
// every way that it can. Then an audit compares what that server was given with the ledger, the plan and the answers.
// docs/reliability.md tells what is proved, and what a seed repeats.

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    seed: { type: 'string' },
    leads: { type: 'string' },
    kills: { type: 'string' },
    'time-factor': { type: 'string' },
    /** Where the cluster keeps its data and logs; a folder of its own that goes afterwards where it is left out. */
    home: { type: 'string' },
    report: { type: 'string' },
    json: { type: 'boolean', default: false },
    /** One line `ok` or `not ok` for each promise, for a test run. */
    tap: { type: 'boolean', default: false },
  },
});

interface Profile {
  leads: number;
  kills: number;
  timeFactor: number;
  spreadMs: number;
  longestGapMs: number;
  longestDownMs: number;
  faults: FaultRates;
  /** How often, and for how long at most, the mail server takes no connections (ms). */
  closings: number;
  longestClosingMs: number;
  /** How long a mail past the gate, whose attempt died after a stop, is waited for (ms). The reconciler takes 6 minutes. */
  leftBehindMs: number;
  /** How long after the last kill everything may take to come to rest (ms). */
  restMs: number;
}

const LONG: Profile = {
  leads: 1_000,
  kills: 52,
  timeFactor: 75_000,
  spreadMs: 60_000,
  longestGapMs: 5_000,
  longestDownMs: 4_000,
  faults: ALL_FAULTS,
  closings: 4,
  longestClosingMs: 12_000,
  leftBehindMs: 7 * 60_000,
  restMs: 30 * 60_000,
};
const SHORT: Profile = {
  leads: 60,
  kills: 8,
  timeFactor: 700_000,
  spreadMs: 15_000,
  longestGapMs: 2_500,
  longestDownMs: 1_500,
  faults: QUICK_FAULTS,
  closings: 1,
  longestClosingMs: 1_500,
  leftBehindMs: 15_000,
  restMs: 300_000,
};
const ROOT = path.join(__dirname, '..');
/** What falls due later than this after everything else came to rest waits for a retry of the recipient's; it is due in the future (ms). */
const HORIZON_MS = 120_000;

const profile: Profile = {
  ...(values.short ? SHORT : LONG),
  ...(values.leads === undefined ? {} : { leads: Number(values.leads) }),
  ...(values.kills === undefined ? {} : { kills: Number(values.kills) }),
  ...(values['time-factor'] === undefined ? {} : { timeFactor: Number(values['time-factor']) }),
};
const seed = values.seed === undefined ? Math.floor(Math.random() * 1e6) : Number(values.seed);
for (const [name, value] of Object.entries({
  seed,
  leads: profile.leads,
  kills: profile.kills,
  'time-factor': profile.timeFactor,
}))
  if (!Number.isFinite(value) || value < 0) throw new Error(`--${name} is not a number`);

/** For people; what machines read goes to standard output. */
const say = (line: string) => void process.stderr.write(`${line}\n`);
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort());

async function run(home: string): Promise<ChaosRun> {
  const beganAt = Date.now();
  const { signal } = stopping;
  const script = writeScript({ seed, ...profile });
  const journal = path.join(home, 'mail-server.jsonl');
  let onMail = (_to: string): void => {};
  const sink = await startSinkProcess({ seed, journal, onMail: ({ to }) => onMail(to) });
  const smtp = { SMTP_URL: sink.smtpUrl, RECUERDA_TIME_FACTOR: String(profile.timeFactor), LOG_LEVEL: 'warn' };
  const cluster = await startCluster({
    home: path.join(home, 'cluster'),
    root: ROOT,
    env: withoutSettings(process.env, ROOT),
    settings: smtp,
    supervised: false,
    historyShards: 4,
    say,
    signal,
  }).catch(async (error: unknown) => {
    await sink.stop();
    throw error;
  });
  const startMs = Date.now() - beganAt;
  const db = createDb({ url: cluster.databaseUrl, maxConnections: 4, onError: () => {} });
  const client = createTemporalClient({ address: cluster.temporalAddress, namespace: 'default' });
  const apis: Apis = { urls: cluster.apiUrls, key: cluster.apiKey };
  const over = new AbortController();
  const ended = AbortSignal.any([signal, over.signal]);
  // Every lead listens to it.
  setMaxListeners(0, ended);
  const deaths = noDeaths();
  try {
    const campaign = await publishCampaign(apis);
    const { campaignId } = campaign;
    say(`Seed ${seed}: ${profile.leads} leads come in, ${profile.kills} kills follow.`);
    const { timeFactor, spreadMs } = profile;
    const workload = runWorkload(script.leads, { apis, campaignId, timeFactor, spreadMs, signal: ended });
    onMail = workload.onMail;
    sink.fail(profile.faults);
    const watching = keepAlive({ cluster, deaths, say, signal: ended });
    const killing = killInTurn(script.kills, { cluster, deaths, say, signal: ended });
    const closing = closeNowAndThen(killing, (ms) => sink.closeFor(ms), ended);
    await Promise.all([workload.enrolled, killing, closing]);
    say('Everybody is enrolled and every kill is done; waiting until everything has come to rest.');
    // A paused lead is not waited for until it is resumed, and then has mails to come.
    let settled: boolean;
    do {
      settled = await waitUntilSettled(db, {
        campaignId,
        horizonMs: HORIZON_MS,
        leftBehindMs: profile.leftBehindMs,
        withinMs: profile.restMs,
        onLook: ({ open, delivering, untold }) => say(`open ${open}, delivering ${delivering}, to be told ${untold}`),
        signal,
      });
    } while (settled && (await workload.idle()));
    over.abort();
    await watching;
    const ledger = await readLedger(db, campaignId);
    const records = await readSinkRecords(journal);
    const facts: Facts = {
      ...ledger,
      timeFactor,
      definition: campaign.definition,
      steps: campaign.steps,
      leads: workload.leads,
      stops: workload.stops,
      tooLate: workload.tooLate,
      deaths: deaths.list,
      deliveries: deliveriesIn(records),
      runningJourneys: await runningJourneys(client, ledger.enrollments),
    };
    if (values.home !== undefined) await writeFile(path.join(home, 'facts.json'), JSON.stringify(facts));
    return {
      seed,
      short: values.short,
      beganAt,
      endedAt: Date.now(),
      startMs,
      machine: machine(),
      timeFactor,
      leads: workload.leads.length,
      kills: deaths.kills(),
      deaths: deaths.list,
      ...faultsIn(records),
      tooLate: workload.tooLate.length,
      settled,
      audit: audit(facts),
    };
  } finally {
    over.abort();
    await db.destroy();
    await client.connection.close();
    await cluster.stop();
    await sink.stop();
  }
}

/** Spreads the closings over the kills. */
async function closeNowAndThen(
  killing: Promise<void>,
  close: (ms: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const done = killing.then(
    () => true,
    () => true,
  );
  for (let closing = 0; closing < profile.closings; closing++) {
    const share = (closing + 1) / (profile.closings + 1);
    const pauseMs = (profile.kills * profile.longestGapMs * 1.5 * share) / (closing + 1);
    if (await Promise.race([done, sleep(pauseMs, false, { signal })])) return;
    close(profile.longestClosingMs * share);
  }
}

async function main(): Promise<number> {
  const home = await emptyFolder(values.home, 'recuerda-chaos-');
  try {
    const result = await run(home);
    const report = chaosReport(result);
    if (values.report !== undefined) await writeFile(values.report, `${report}\n`);
    if (values.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    else process.stdout.write(`${report}\n`);
    const criteria = criteriaOf(result);
    if (values.tap) process.stdout.write(`\n${criteria.map(tapLine).join('\n')}\n`);
    const missed = criteria.filter(({ holds }) => !holds);
    for (const { what } of missed) say(`not so: ${what}`);
    return missed.length === 0 ? 0 : 1;
  } finally {
    if (values.home === undefined) await rm(home, { recursive: true, force: true });
  }
}

interface Criterion {
  holds: boolean;
  what: string;
}

/** The promises, and that enough was done to them: a run without faults or stops proves nothing. */
function criteriaOf(result: ChaosRun): Criterion[] {
  const { kills, seed, settled, leads, audit } = result;
  const faults = Object.values(result.faults).reduce((sum, count) => sum + count, 0);
  const { stops } = audit.counts;
  return [
    { holds: kills >= profile.kills, what: `${kills} kills, seed ${seed}` },
    { holds: settled, what: 'everything came to rest in time' },
    {
      holds: STOP_KINDS.every((kind) => (stops[kind] ?? 0) > 0),
      what: `stops of every kind: ${Object.values(stops).join(' + ')}`,
    },
    { holds: faults >= leads / 4, what: `${faults} faults of the mail server` },
    ...audit.findings.map(({ promise, says, breaches }) => ({
      holds: breaches.length === 0,
      what: `${promise} ${says}`,
    })),
  ];
}

function tapLine({ holds, what }: Criterion): string {
  return `${holds ? 'ok' : 'not ok'} chaos: ${what}`;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    if (values.tap) process.stdout.write('not ok chaos: the run broke off\n');
    process.exitCode = 1;
  },
);
