import type { Client } from '@temporalio/client';
import type { Db } from '../db/client';
import type { Line } from './report';
import type { Shop } from './shop';
import type { BenchStack } from './stack';
import { cpuSeconds } from './usage';

/** How much is measured. */
export interface Sizes {
  /** Leads in a round of `journeys`. */
  leads: number;
  /** Stops in a round of `stops`. */
  stops: number;
  /** Rounds that count, of whatever is measured in turns. */
  rounds: number;
  /** Requests, or calls of Temporal, under way at the same time. */
  width: number;
  /** Lines of the imported file. */
  rows: number;
  /** Mails in a round of `sender`. */
  messages: number;
  /** Leads that fall due in one minute. */
  herd: number;
  /** Their limit (mails a second). */
  herdRate: number;
  /** How many of them go to sleep in a second at least, so that all do before the first falls due. */
  herdStarts: number;
  /** Sleeping leads at which memory and bytes are looked at, growing. */
  sleepers: number[];
  /** Whether they are put to sleep without being sent anything. */
  asleep: boolean;
  /** Worker processes, of ours and of the bare workflows. */
  workers: number;
}

/** What every workload is given. */
export interface Bench {
  stack: BenchStack;
  shop: Shop;
  client: Client;
  db: Db;
  sizes: Sizes;
  /** One line for the person who waits. */
  say: (line: string) => void;
}

export interface Workload {
  /** As `--only` names it. */
  name: string;
  /** It brings what it needs, and runs before anything else is started. */
  alone?: (sizes: Sizes, say: (line: string) => void) => Promise<Line[]>;
  run?: (bench: Bench) => Promise<Line[]>;
  /** On a stack that nothing else has run on: what was freed there would be filled up before files grow. */
  fresh?: boolean;
}

/** CPU by kind of process (ms for each of `count`), while `work` runs; the program that makes the load is `bench`. */
export async function withCpu<T>(
  stack: BenchStack,
  count: number,
  work: () => Promise<T>,
  others: Record<string, number[]> = {},
): Promise<{ result: T; cpuMs: Record<string, number> }> {
  const groups = { ...stack.pids(), ...others };
  const before = Object.entries(groups).map(([name, pids]) => [name, pids, cpuSeconds(pids)] as const);
  const own = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(own);
  const cpuMs = Object.fromEntries(
    before.map(([name, pids, seconds]) => [name, inMs(cpuSeconds(pids) - seconds, count)] as const),
  );
  return { result, cpuMs: { ...cpuMs, bench: inMs((user + system) / 1e6, count) } };
}

function inMs(seconds: number, count: number): number {
  return Number(((seconds * 1000) / count).toFixed(2));
}
