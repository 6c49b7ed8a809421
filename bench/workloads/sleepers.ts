import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import type { Bench, Workload } from '../bench';
import { withCpu } from '../bench';
import { informOne, putToSleep } from '../informed';
import { acceptedOf, until } from '../ledger';
import type { Line } from '../report';
import { importLeads, publishCampaign } from '../shop';
import type { BenchStack } from '../stack';
import { residentBytes } from '../usage';

/** A stack that sends nothing for so long (ms) has a fault. */
const PATIENCE_MS = 120_000;
/** What is still being written when the last mail was accepted (ms). */
const SETTLE_MS = 10_000;
/** A month: not while anybody measures. */
const FIRST_NUDGE_MS = 30 * 24 * 60 * 60_000;
/** Leads that are put to sleep before a word is said about it. */
const AT_ONCE = 5_000;

interface Held {
  leads: number;
  /** Resident memory of all worker processes. */
  workerBytes: number;
  apiBytes: number;
  /** On disk, by database, after a vacuum. */
  bytes: Record<string, number>;
}

/**
 * What a sleeping lead costs: memory of the workers, and bytes that Postgres holds for us and for Temporal, at growing
 * numbers. Leads come by import, each is sent the information, and sleeps until its first nudge; or with `asleep`, where there is
 * no time for so many mails, they are put to sleep as if that had been.
 */
export const sleepers: Workload = {
  name: 'sleepers',
  fresh: true,
  run: async (bench) => {
    const { sizes, say, shop, db, stack } = bench;
    const campaignId = await publishCampaign(shop, 'sleepers');
    const before = await measureHeld(stack, 0);
    const lines: Line[] = [];
    let there = 0;
    let firstWorkers = 0;
    for (const leads of [...sizes.sleepers].sort((a, b) => a - b)) {
      const more = leads - there;
      if (more <= 0) continue;
      say(`sleepers: ${more} more leads, ${leads} in all`);
      const { result: ms, cpuMs } = await withCpu(stack, more, () => grow(bench, campaignId, more));
      there = leads;
      await sleep(SETTLE_MS);
      if ((await acceptedOf(db, campaignId)) !== leads) throw new Error('not every lead was sent the information');
      const held = await measureHeld(stack, leads);
      firstWorkers ||= held.workerBytes;
      const grown = linesOf(before, held, firstWorkers, (more * 1000) / ms, cpuMs, sizes.asleep);
      for (const { what, value, unit } of grown) say(`sleepers: ${what}: ${Math.round(value)} ${unit}`);
      lines.push(...grown);
    }
    return lines;
  },
};

async function grow(bench: Bench, campaignId: string, more: number): Promise<number> {
  const start = performance.now();
  if (bench.sizes.asleep) await growAsleep(bench, campaignId, more);
  else await growMailed(bench, campaignId, more);
  return performance.now() - start;
}

/** One is sent the information; the others are given what that one has. */
async function growAsleep(bench: Bench, campaignId: string, more: number): Promise<void> {
  const like = await informOne(bench, campaignId);
  const due = new Date(Date.now() + FIRST_NUDGE_MS);
  for (let left = more - 1; left > 0; left -= AT_ONCE) {
    bench.say(`sleepers: ${left} to go`);
    await putToSleep(bench, campaignId, { count: Math.min(left, AT_ONCE), dueAt: () => due, like });
  }
}

async function growMailed({ shop, db, say }: Bench, campaignId: string, more: number): Promise<void> {
  const already = await acceptedOf(db, campaignId);
  await importLeads(shop, campaignId, more);
  let told = Date.now();
  await until(already + more, () => acceptedOf(db, campaignId), {
    // Counting a hundred thousand mails is work for the database too.
    everyMs: 5_000,
    patienceMs: PATIENCE_MS,
    onMove: (accepted) => {
      if (Date.now() - told < 30_000) return;
      told = Date.now();
      say(`sleepers: ${accepted - already} of ${more} were sent the information`);
    },
  });
}

function linesOf(
  before: Held,
  held: Held,
  firstWorkers: number,
  perSecond: number,
  cpuMsEach: Record<string, number>,
  asleep: boolean,
): Line[] {
  const at = `at ${held.leads.toLocaleString('en')} sleeping leads`;
  const perLead = (names: readonly string[]) =>
    names.reduce((sum, name) => sum + (held.bytes[name] ?? 0) - (before.bytes[name] ?? 0), 0) / held.leads;
  const temporal = Object.keys(held.bytes).filter((name) => name !== OURS);
  return [
    {
      workload: 'sleepers',
      what: `memory of all workers ${at}`,
      value: held.workerBytes / 2 ** 20,
      unit: 'MB',
      beside: { what: 'at the first size', value: firstWorkers / 2 ** 20 },
      budget: 'flat',
      more: { beforeMb: before.workerBytes / 2 ** 20, apiMb: held.apiBytes / 2 ** 20 },
    },
    {
      workload: 'sleepers',
      what: `bytes a lead in our database ${at}`,
      value: perLead([OURS]),
      unit: 'bytes',
      budget: 'flat',
      more: { bytes: held.bytes, before: before.bytes },
    },
    {
      workload: 'sleepers',
      what: `bytes a lead in Temporal’s ${at}`,
      value: perLead(temporal),
      unit: 'bytes',
      budget: 'flat',
    },
    {
      workload: 'sleepers',
      what: `${asleep ? 'leads put to sleep/s' : 'imported leads/s, upload to mail accepted'}, up to ${held.leads.toLocaleString('en')}`,
      value: perSecond,
      unit: '/s',
      more: { cpuMsEach },
    },
  ];
}

/** The name of our database on every stack. */
const OURS = 'recuerda';

async function measureHeld(stack: BenchStack, leads: number): Promise<Held> {
  const { worker = [], api = [] } = stack.pids();
  const memory = { workerBytes: residentBytes(worker), apiBytes: residentBytes(api) };
  const bytes: Record<string, number> = {};
  for (const name of stack.temporalDatabases === null ? [OURS] : [OURS, ...stack.temporalDatabases]) {
    const url = new URL(stack.databaseUrl);
    url.pathname = `/${name}`;
    bytes[name] = await sizeOf(url.href);
  }
  if (stack.temporalFile !== null) bytes.temporalFile = statSync(stack.temporalFile).size;
  return { leads, ...memory, bytes };
}

/** On disk, once dead rows have been cleared; what was let go within a file stays in it. */
async function sizeOf(url: string): Promise<number> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('vacuum (analyze)');
    const { rows } = await client.query<{ size: string }>('select pg_database_size(current_database()) as size');
    return Number(rows[0]?.size);
  } finally {
    await client.end();
  }
}
