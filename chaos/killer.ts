import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../stack/cluster';
import type { Member } from '../stack/member';
import type { Death } from './facts';
import type { ScriptedKill } from './script';

/** Who has died so far. */
export interface Deaths {
  list: Death[];
  /** Kills of the script that are done. */
  kills(): number;
}

interface KillerOptions {
  cluster: Cluster;
  deaths: Deaths & { count(): void };
  say: (line: string) => void;
  signal: AbortSignal;
}

export function noDeaths(): Deaths & { count(): void } {
  let kills = 0;
  return {
    list: [],
    kills: () => kills,
    count: () => {
      kills += 1;
    },
  };
}

/**
 * Kills one member after the other with SIGKILL, as the script says, starts each again after its pause, and goes on when it
 * serves.
 *
 * @throws what kept a member from coming back
 */
export async function killInTurn(kills: readonly ScriptedKill[], options: KillerOptions): Promise<void> {
  const { cluster, deaths, say, signal } = options;
  for (const [index, { kind, which, gapMs, downMs }] of kills.entries()) {
    await sleep(gapMs, undefined, { signal });
    const candidates = cluster.members.filter((member) => member.kind === kind);
    const member = candidates[which % candidates.length];
    if (member === undefined) throw new Error(`the cluster has no ${kind}`);
    const death = await withLock(member, async () => {
      const death = note(deaths, member, false);
      await member.kill();
      death.deadAt = Date.now();
      await sleep(downMs, undefined, { signal });
      await startAgain(member, death);
      return death;
    });
    deaths.count();
    const backMs = (death.servesAt ?? 0) - death.at;
    say(`kill ${index + 1} of ${kills.length}: ${member.name}, back after ${(backMs / 1000).toFixed(1)} s`);
  }
}

const LOOK_EVERY_MS = 500;

/** Starts again what has ended by itself, as a process manager would. Ends with `signal`. */
export async function keepAlive({ cluster, deaths, say, signal }: KillerOptions): Promise<void> {
  while (!signal.aborted) {
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
    for (const member of cluster.members) {
      if (signal.aborted || member.isRunning() || locked.has(member)) continue;
      await withLock(member, async () => {
        const death = note(deaths, member, true);
        say(`${member.name} has ended by itself and is started again`);
        await startAgain(member, death).catch((error: unknown) =>
          say(`${member.name} does not start: ${String(error)}`),
        );
      });
    }
  }
}

/** Members that somebody is just ending or starting. */
const locked = new Set<Member>();

async function withLock<T>(member: Member, work: () => Promise<T>): Promise<T> {
  while (locked.has(member)) await sleep(100);
  locked.add(member);
  try {
    return await work();
  } finally {
    locked.delete(member);
  }
}

function note(deaths: Deaths, member: Member, byItself: boolean): Death {
  const at = Date.now();
  const death: Death = {
    member: member.name,
    kind: member.kind,
    at,
    deadAt: at,
    startedAt: null,
    servesAt: null,
    byItself,
  };
  deaths.list.push(death);
  return death;
}

async function startAgain(member: Member, death: Death): Promise<void> {
  death.startedAt = Date.now();
  await member.start();
  death.servesAt = Date.now();
}
