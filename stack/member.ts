import { setTimeout as sleep } from 'node:timers/promises';

/** Told once how a process ended: a signal, or `code 1`. */
export type OnExit = (how: string) => void;

/** A process, or a server of several, that is up. */
export interface RunningProcess {
  pid: number;
  /** Ends it gracefully. */
  stop(): Promise<void>;
  /** SIGKILL for it and everything that it started; resolves when nothing of it is left. */
  kill(): Promise<void>;
}

/** What a member is. */
export type MemberKind = 'postgres' | 'frontend' | 'history' | 'matching' | 'internal-worker' | 'api' | 'worker';

/** A part of a cluster, which can be killed and started again by itself. */
export interface Member {
  name: string;
  kind: MemberKind;
  /** Of the process that does the work; undefined while there is none. */
  pid(): number | undefined;
  isRunning(): boolean;
  /** SIGKILL, to all of its processes; resolves when nothing of it runs any more. A supervised one is started again later. */
  kill(): Promise<void>;
  /** Starts it (again) with the same ports and settings; resolves when it serves. Does nothing where it runs. */
  start(): Promise<void>;
  /** Gracefully; and it is not started again by itself. */
  stop(): Promise<void>;
}

export interface MemberOptions {
  name: string;
  kind: MemberKind;
  /** Starts its processes; rejects, with nothing left of them, when they do not come up or the signal aborts. */
  launch: (onExit: OnExit, signal: AbortSignal) => Promise<RunningProcess>;
  /** Start it again, after 1 to 30 s, when it dies? */
  supervised: boolean;
  say: (line: string) => void;
}

const MIN_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 30_000;
/** One that lived this long was healthy: the next restart is a quick one again. */
const HEALTHY_AFTER_MS = 60_000;

/** A member that is not started yet. */
export function createMember({ name, kind, launch, supervised, say }: MemberOptions): Member {
  let running: RunningProcess | undefined;
  let starting: Promise<void> | undefined;
  let wanted = false;
  let backoffMs = MIN_BACKOFF_MS;
  let waiting = new AbortController();
  let launching = new AbortController();

  async function launchOnce(): Promise<void> {
    const startedAt = Date.now();
    let ended: string | undefined;
    launching = new AbortController();
    const launched = await launch((how) => {
      ended = how;
      if (running === undefined || running !== launched) return;
      running = undefined;
      if (Date.now() - startedAt >= HEALTHY_AFTER_MS) backoffMs = MIN_BACKOFF_MS;
      if (wanted && supervised) void startAgain(`ended unexpectedly (${how})`);
    }, launching.signal);
    if (ended !== undefined) throw new Error(`${name} ended at once (${ended})`);
    running = launched;
  }

  async function startAgain(why: string): Promise<void> {
    const pauseMs = backoffMs;
    backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
    say(`${name}: ${why}; starting it again in ${pauseMs / 1_000} s`);
    waiting = new AbortController();
    await sleep(pauseMs, undefined, { signal: waiting.signal }).catch(() => {});
    if (!wanted || running !== undefined || starting !== undefined) return;
    try {
      await start();
      say(`${name}: is up again`);
    } catch (error) {
      if (wanted) void startAgain((error as Error).message);
    }
  }

  async function start(): Promise<void> {
    wanted = true;
    waiting.abort();
    if (running !== undefined) return;
    starting ??= launchOnce().finally(() => {
      starting = undefined;
    });
    await starting;
  }

  /** One that is being started is waited for. */
  async function present(): Promise<RunningProcess | undefined> {
    await starting?.catch(() => {});
    return running;
  }

  return {
    name,
    kind,
    pid: () => running?.pid,
    isRunning: () => running !== undefined,
    start,
    kill: async () => {
      const victim = await present();
      await victim?.kill();
      // Its end is told a moment after.
      while (victim !== undefined && running === victim) await sleep(5);
    },
    stop: async () => {
      wanted = false;
      waiting.abort();
      launching.abort();
      await (await present())?.stop();
      running = undefined;
    },
  };
}
