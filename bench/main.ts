import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { createDb } from '../db/client';
import { emptyFolder } from '../stack/empty-folder';
import type { Sizes, Workload } from './bench';
import { connectTemporal } from './engine';
import { machine } from './machine';
import { type Line, printTable } from './report';
import { createShop } from './shop';
import { startSink } from './sink';
import { type BenchStack, type StackKind, startBenchStack } from './stack';
import { herd } from './workloads/herd';
import { imports } from './workloads/imports';
import { journeys } from './workloads/journeys';
import { sender } from './workloads/sender';
import { sleepers } from './workloads/sleepers';
import { stops } from './workloads/stops';

// `npm run bench`: how fast the product is, and what it holds, on a stack of its own. bench/README.md explains the lines.

/** In this order: what must not meet a hundred thousand sleeping leads comes before them. */
const WORKLOADS: readonly Workload[] = [sender, journeys, stops, imports, herd, sleepers];

const { values: options } = parseArgs({
  options: {
    stack: { type: 'string', default: 'cluster' },
    /** Only these workloads. */
    only: { type: 'string', multiple: true, default: [] },
    /** JSON on standard output in place of the table. */
    json: { type: 'boolean', default: false },
    /** Also keep the JSON here, after each workload. */
    out: { type: 'string' },
    /** Keep data and logs here. */
    home: { type: 'string' },
    apis: { type: 'string', default: '2' },
    workers: { type: 'string', default: '2' },
    /** SMTP connections of a worker to each stream. */
    connections: { type: 'string', default: '10' },
    'own-sink': { type: 'boolean', default: false },
    /** A setting of every API and worker, NAME=VALUE. */
    set: { type: 'string', multiple: true, default: [] },
    leads: { type: 'string', default: '1000' },
    stops: { type: 'string', default: '500' },
    rounds: { type: 'string', default: '3' },
    width: { type: 'string', default: '32' },
    rows: { type: 'string', default: '20000' },
    messages: { type: 'string', default: '2000' },
    herd: { type: 'string', default: '10000' },
    'herd-rate': { type: 'string', default: '50' },
    'herd-starts': { type: 'string', default: '50' },
    sizes: { type: 'string', default: '1000,10000' },
    /** The leads of `sleepers` are not sent their information first. */
    asleep: { type: 'boolean', default: false },
  },
});

async function main(): Promise<void> {
  const chosen = WORKLOADS.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
  const unknown = options.only.filter((name) => !WORKLOADS.some((workload) => workload.name === name));
  if (unknown.length > 0 || chosen.length === 0) {
    throw new Error(`--only knows ${WORKLOADS.map(({ name }) => name).join(', ')}, not ${unknown.join(', ')}`);
  }
  const sizes = sizesOf();
  const about = { ...machine(process.argv.slice(2)), stack: kindOf(), apis: count('apis'), workers: sizes.workers };
  const start = performance.now();
  const lines: Line[] = [];
  const done = async (found: readonly Line[]) => {
    lines.push(...found);
    const result = { machine: about, seconds: Math.round((performance.now() - start) / 1000), lines };
    if (options.out !== undefined) await writeFile(options.out, `${JSON.stringify(result, null, 2)}\n`);
    return result;
  };
  say(JSON.stringify(about));
  for (const { name, alone } of chosen) {
    if (alone !== undefined) await unlessItFails(name, async () => void (await done(await alone(sizes, say))));
  }
  const rest = chosen.filter(({ run }) => run !== undefined);
  const together = rest.filter(({ fresh }) => fresh !== true);
  if (together.length > 0) await onStack(together, sizes, done);
  for (const workload of rest.filter(({ fresh }) => fresh === true)) await onStack([workload], sizes, done);
  const result = await done([]);
  if (options.json) console.log(JSON.stringify(result, null, 2));
  else printTable(lines);
}

const STOPPING = ['SIGINT', 'SIGTERM'] as const;

/** Runs workloads one after the other on a stack of their own. What fails is told, and the others run all the same. */
async function onStack(
  workloads: readonly Workload[],
  sizes: Sizes,
  done: (lines: readonly Line[]) => Promise<unknown>,
): Promise<void> {
  const kept =
    options.home === undefined ? undefined : path.join(options.home, workloads.map(({ name }) => name).join('-'));
  const home = await emptyFolder(kept, 'recuerda-bench-');
  const sink = await startSink(options['own-sink']);
  let started: BenchStack | undefined;
  const breakOff = () => {
    say('Stopping …');
    void (started?.stop() ?? Promise.resolve())
      .then(() => (kept === undefined ? rm(home, { recursive: true, force: true }) : undefined))
      .finally(() => process.exit(1));
  };
  for (const signal of STOPPING) process.once(signal, breakOff);
  try {
    const stack = await startBenchStack({
      kind: kindOf(),
      home,
      apis: count('apis'),
      workers: sizes.workers,
      settings: { RECUERDA_SMTP_CONNECTIONS: options.connections, ...settings() },
      smtpUrl: sink.url,
      say,
    });
    started = stack;
    const db = createDb({ url: stack.databaseUrl, maxConnections: 4, onError: () => {} });
    const client = await connectTemporal(stack.temporalAddress);
    const shop = createShop(stack);
    try {
      for (const { name, run } of workloads) {
        say(`${name} …`);
        await unlessItFails(
          name,
          async () => void (await done((await run?.({ stack, shop, client, db, sizes, say })) ?? [])),
        );
      }
    } finally {
      shop.close();
      await client.connection.close();
      await db.destroy();
      await stack.stop();
    }
  } finally {
    sink.stop();
    for (const signal of STOPPING) process.off(signal, breakOff);
    if (kept === undefined) await rm(home, { recursive: true, force: true });
  }
}

/** What fails is told, and what comes after it runs all the same. */
async function unlessItFails(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    process.exitCode = 1;
    say(`${name} failed: ${(error as Error).stack ?? error}`);
  }
}

function sizesOf(): Sizes {
  return {
    leads: count('leads'),
    stops: count('stops'),
    rounds: count('rounds'),
    width: count('width'),
    rows: count('rows'),
    messages: count('messages'),
    herd: count('herd'),
    herdRate: count('herd-rate'),
    herdStarts: count('herd-starts'),
    sleepers: options.sizes.split(',').map((size) => positive('sizes', size)),
    asleep: options.asleep,
    workers: count('workers'),
  };
}

function kindOf(): StackKind {
  if (options.stack !== 'cluster' && options.stack !== 'embedded') throw new Error('--stack is cluster or embedded');
  return options.stack;
}

function count(
  name:
    | 'apis'
    | 'workers'
    | 'leads'
    | 'stops'
    | 'rounds'
    | 'width'
    | 'rows'
    | 'messages'
    | 'herd'
    | 'herd-rate'
    | 'herd-starts',
): number {
  return positive(name, options[name]);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes whole numbers from 1 on, not ${text}`);
  return value;
}

function settings(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    options.set.map((text) => {
      const at = text.indexOf('=');
      if (at < 1) throw new Error(`--set takes NAME=VALUE, not ${text}`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** On standard error, so that standard output holds the result alone. */
function say(line: string): void {
  console.error(`${new Date().toISOString().slice(11, 19)} ${line}`);
}

main().catch((error: unknown) => {
  console.error((error as Error).message);
  process.exitCode = 1;
});
