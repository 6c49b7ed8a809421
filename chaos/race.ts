import { setMaxListeners } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Client } from '@temporalio/client';
import { sql } from 'kysely';
import { createDb, type Db } from '../db/client';
import { seeded } from '../domain/seeded-random';
import { startCluster } from '../stack/cluster';
import { emptyFolder } from '../stack/empty-folder';
import { withoutSettings } from '../stack/without-settings';
import { createTemporalClient } from '../temporal/client';
import { journeyWorkflowId } from '../workflows/contract';
import { audit } from './audit';
import { publishCampaign } from './campaign';
import type { Apis } from './client';
import { readLedger, runningJourneys } from './collect';
import type { AcknowledgedStop, EnrolledLead, Facts } from './facts';
import { machine } from './machine';
import { fatesOf, type RaceRun, raceReport } from './race-report';
import { isKept } from './report';
import { STOP_KINDS } from './script';
import { waitUntilSettled } from './settled';
import { startSinkProcess } from './sink-process';
import { deliveriesIn, readSinkRecords } from './sink-records';
import { stopLead } from './stop';
import { ask } from './workload';

// Thousands of stops, so many a second, each around the moment at which its lead's next mail falls due, on a whole cluster. What
// the mail server is given after an answer, and was not named in it, is counted; and how fast answers and workflows are.

const { values } = parseArgs({
  options: {
    stops: { type: 'string', default: '10000' },
    /** Leads a second, and so mails that fall due, and stops. */
    rate: { type: 'string', default: '100' },
    /** A stop comes at most so many ms before or after its lead's mail falls due. */
    jitter: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
    home: { type: 'string' },
    report: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const STOPS = positive('stops', values.stops);
const RATE = positive('rate', values.rate);
const JITTER_MS = positive('jitter', values.jitter);
const SEED = positive('seed', values.seed);

function positive(name: string, text: string): number {
  const number = Number(text);
  if (Number.isFinite(number) && number > 0) return number;
  throw new Error(`--${name} is not a number above 0`);
}

/** A few more leads than stops: those whose mail falls due at midnight are spread over the day after, and take no part. */
const LEADS = Math.ceil(STOPS * 1.01) + 5;
const DAY_MS = 24 * 60 * 60_000;
/** A slow machine informs no more leads than this in a second. All must have come to rest before the first mail of the race is due. */
const SLOWEST_PER_SECOND = 6;
/** Leads who wait for their information at the same time. A crowd of thousands would only slow a small machine down. */
const MOST_WAITING = 300;
/** How long one planned day takes (ms): the next mail of each falls due that long after the information. */
const INTERVAL_MS = 30_000 + (LEADS / Math.min(RATE, SLOWEST_PER_SECOND)) * 1_000;
/** How long everything may take to come to rest after the last stop (ms). */
const REST_MS = 10 * 60_000 + (STOPS / SLOWEST_PER_SECOND) * 1_000;
/** Thousands who ask again every two seconds would keep an API that is too busy from ever getting on (ms). */
const LONGEST_PAUSE_MS = 60_000;
const AT_ONCE = 32;
/** What is handed over late would be seen within this time (ms). */
const AFTERMATH_MS = 20_000;

const say = (line: string) => void process.stderr.write(`${line}\n`);
const stopping = new AbortController();
// Thousands of waits listen to it.
setMaxListeners(0, stopping.signal);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort());

async function race(home: string): Promise<RaceRun> {
  const beganAt = Date.now();
  const { signal } = stopping;
  const journal = path.join(home, 'mail-server.jsonl');
  const sink = await startSinkProcess({ seed: SEED, journal });
  const timeFactor = DAY_MS / INTERVAL_MS;
  const settings = { SMTP_URL: sink.smtpUrl, RECUERDA_TIME_FACTOR: String(timeFactor), LOG_LEVEL: 'warn' };
  const root = path.join(__dirname, '..');
  const cluster = await startCluster({
    home: path.join(home, 'cluster'),
    root,
    env: withoutSettings(process.env, root),
    settings,
    say,
    signal,
  }).catch(async (error: unknown) => {
    await sink.stop();
    throw error;
  });
  const db = createDb({ url: cluster.databaseUrl, maxConnections: 4, onError: () => {} });
  const client = createTemporalClient({ address: cluster.temporalAddress, namespace: 'default' });
  const apis: Apis = { urls: cluster.apiUrls, key: cluster.apiKey };
  try {
    const campaign = await publishCampaign(apis, {
      cadence: { min: 'P1D', max: 'P1D' },
      sendWindow: { days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'], from: '00:00', to: '24:00' },
    });
    const { campaignId } = campaign;
    const outside = { apis, campaignId, signal };
    say(
      `${LEADS} leads come in, ${RATE} a second at most, and are sent their information; so their next mails fall due.`,
    );
    const leads = await enrollAll(outside, () => informedOf(db, campaignId));
    const order = await racers(db, campaignId, leads);
    const firstDue = order[0]?.due ?? Date.now();
    say(`The first falls due in ${Math.round((firstDue - Date.now()) / 1000)} s; then ${STOPS} stops follow.`);
    const { stops, acked, lateMs, again } = await stopAll(apis, order);
    await sleep(AFTERMATH_MS, undefined, { signal });
    // Those who take no part are mailed too, the last of them after the last stop.
    const rest = { campaignId, horizonMs: AFTERMATH_MS, leftBehindMs: AFTERMATH_MS, withinMs: REST_MS, signal };
    const settled = await waitUntilSettled(db, rest);
    const ledger = await readLedger(db, campaignId);
    const facts: Facts = {
      ...ledger,
      timeFactor,
      definition: campaign.definition,
      steps: campaign.steps,
      leads,
      stops,
      tooLate: [],
      deaths: [],
      deliveries: deliveriesIn(await readSinkRecords(journal)),
      runningJourneys: await runningJourneys(client, ledger.enrollments),
    };
    const first = Math.min(...stops.map(({ at }) => at));
    return {
      seed: SEED,
      beganAt,
      endedAt: Date.now(),
      machine: machine(),
      jitterMs: JITTER_MS,
      ratePerSecond: (stops.length - 1) / ((Math.max(...stops.map(({ at }) => at)) - first) / 1000),
      acked,
      lateMs,
      closed: await closings(client, stops),
      triedAgain: again,
      fates: fatesOf(facts),
      settled,
      audit: audit(facts),
    };
  } finally {
    // Where something has failed, thousands still wait for their moment.
    stopping.abort();
    await db.destroy();
    await client.connection.close();
    await cluster.stop();
    await sink.stop();
  }
}

type Outside = Parameters<typeof ask>[1];

/** So many a second, or as fast as they are sent their information. @returns the leads, once all of them were */
async function enrollAll(outside: Outside, informed: () => Promise<number>): Promise<EnrolledLead[]> {
  const numbers = Array.from({ length: LEADS }, (_, index) => index + 1).values();
  const leads: EnrolledLead[] = [];
  const beganAt = Date.now();
  let were = 0;
  const looking = (async () => {
    for (let told = Date.now(); were < LEADS; ) {
      await sleep(500, undefined, { signal: stopping.signal });
      were = await informed();
      if (Date.now() - told < 30_000) continue;
      told = Date.now();
      say(`  ${LEADS - were} to go`);
    }
  })();
  const lanes = Array.from({ length: AT_ONCE }, async () => {
    for (const number of numbers) {
      await sleep(beganAt + (number / RATE) * 1000 - Date.now(), undefined, { signal: stopping.signal });
      while (number - were > MOST_WAITING) await sleep(100, undefined, { signal: stopping.signal });
      const email = `lead${String(number).padStart(6, '0')}@race.example`;
      const person = { email, name: 'Lead', timeZone: 'Europe/Madrid', agrees: true };
      const enrolled = await ask(person, outside);
      const { enrollmentId } = enrolled;
      leads.push({ ...person, ...enrolled, unknownMailbox: false, enrollmentIds: [enrollmentId] });
    }
  });
  await Promise.all([looking, ...lanes]);
  return leads;
}

async function informedOf(db: Db, campaignId: string): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from enrollment where campaign_id = ${campaignId} and step > 0`.execute(db);
  return rows[0]?.n ?? 0;
}

/** Those who take part, in the order in which their mail falls due. */
async function racers(
  db: Db,
  campaignId: string,
  leads: readonly EnrolledLead[],
): Promise<{ lead: EnrolledLead; due: number }[]> {
  const rows = await db
    .selectFrom('enrollment')
    .select(['id', 'next_due_at'])
    .where('campaign_id', '=', campaignId)
    .execute();
  const due = new Map(rows.map((row) => [row.id, row.next_due_at.getTime()]));
  return leads
    .map((lead) => ({ lead, due: due.get(lead.enrollmentId) ?? 0 }))
    .sort((a, b) => a.due - b.due)
    .slice(0, STOPS);
}

async function stopAll(apis: Apis, order: readonly { lead: EnrolledLead; due: number }[]) {
  const random = seeded(SEED);
  const stops: AcknowledgedStop[] = [];
  const acked: Record<string, number[]> = {};
  const lateMs: number[] = [];
  let again = 0;
  const { signal } = stopping;
  const plan = order.map(({ lead, due }, index) => ({
    lead,
    kind: STOP_KINDS[index % STOP_KINDS.length] ?? ('purchase' as const),
    at: due + Math.round((2 * random() - 1) * JITTER_MS),
  }));
  await Promise.all(
    plan.map(async ({ lead, kind, at }) => {
      await sleep(at - Date.now(), undefined, { signal });
      lateMs.push(Date.now() - at);
      const stopped = await stopLead(apis, kind, lead, {
        patienceMs: REST_MS,
        longestPauseMs: LONGEST_PAUSE_MS,
        signal,
      });
      if (stopped === null) throw new Error(`a ${kind} was refused`);
      stops.push(stopped.stop);
      if (stopped.answer.tries > 1) again += 1;
      acked[kind] = [...(acked[kind] ?? []), stopped.answer.tookMs];
    }),
  );
  return { stops, acked, lateMs, again };
}

/** How long after the answer each stopped workflow closed (ms), as Temporal has it; where a mail was in flight, apart. */
async function closings(client: Client, stops: readonly AcknowledgedStop[]): Promise<RaceRun['closed']> {
  const byWorkflow = new Map(stops.map((stop) => [journeyWorkflowId(stop.enrollmentId), stop]));
  const closed: RaceRun['closed'] = { idle: [], inFlight: [] };
  const query = `WorkflowType = 'leadJourney' AND ExecutionStatus = 'Completed'`;
  for await (const { workflowId, closeTime } of client.workflow.list({ query })) {
    const stop = byWorkflow.get(workflowId);
    if (stop === undefined || closeTime === undefined) continue;
    closed[stop.named.length > 0 ? 'inFlight' : 'idle'].push(closeTime.getTime() - stop.at);
  }
  return closed;
}

async function main(): Promise<number> {
  const home = await emptyFolder(values.home, 'recuerda-race-');
  try {
    const result = await race(home);
    const report = raceReport(result);
    if (values.report !== undefined) await writeFile(values.report, `${report}\n`);
    process.stdout.write(values.json ? `${JSON.stringify(result, null, 2)}\n` : `${report}\n`);
    return isKept(result) ? 0 : 1;
  } finally {
    if (values.home === undefined) await rm(home, { recursive: true, force: true });
  }
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    process.exitCode = 1;
  },
);
