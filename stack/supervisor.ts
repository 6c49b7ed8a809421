import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { endChild, isRunning } from './leash';

/** What to keep running, and how. */
export interface SupervisedCommand {
  /** Short name, for the output lines. */
  name: string;
  /** A Node program that calls `exitWithParent`, for example `process.execPath` with `['--import', 'tsx', file]`. */
  command: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  cwd: string;
  /** Receives every line the child writes, and what the supervisor does about it. */
  onLine: (line: string, name: string) => void;
  /** Milliseconds before the first restart; doubles with each early death up to `maxBackoffMs`. */
  minBackoffMs?: number;
  maxBackoffMs?: number;
}

/** A process that is kept running. */
export interface Supervised {
  name: string;
  /** The present child's process id; undefined while it is waiting to be restarted, and after `stop`. */
  pid(): number | undefined;
  /** How many times it was restarted. */
  restarts(): number;
  /** SIGTERM, then SIGKILL after the grace time (milliseconds). No restart after it; safe to call twice. */
  stop(graceMs: number): Promise<void>;
}

/** A child that lived this long was healthy: the next restart is a quick one again. */
const HEALTHY_AFTER_MS = 60_000;

/**
 * Starts a child process and starts it again, with back-off from 1 to 30 seconds, whenever it ends without being asked
 * to. The child runs in its own process group, so a Ctrl-C in the terminal reaches it only through `stop`.
 */
export function supervise(options: SupervisedCommand): Supervised {
  const { name, onLine, minBackoffMs = 1_000, maxBackoffMs = 30_000 } = options;
  let child: ChildProcess | undefined;
  let timer: NodeJS.Timeout | undefined;
  let backoffMs = minBackoffMs;
  let restarts = 0;
  let stopping = false;

  function start(): void {
    const startedAt = Date.now();
    let ended = false;
    const started = spawnTied({ ...options, onLine: (line) => onLine(line, name) });
    child = started;
    const onEnd = (how: string): void => {
      if (ended) return;
      ended = true;
      if (child === started) child = undefined;
      if (stopping) return;
      if (Date.now() - startedAt >= HEALTHY_AFTER_MS) backoffMs = minBackoffMs;
      onLine(`ended unexpectedly (${how}); starting it again in ${backoffMs / 1_000} s`, name);
      timer = setTimeout(() => {
        timer = undefined;
        restarts += 1;
        start();
      }, backoffMs);
      backoffMs = Math.min(backoffMs * 2, maxBackoffMs);
    };
    started.once('error', (error: NodeJS.ErrnoException) => {
      if (started.pid === undefined) onEnd(error.code ?? error.message);
    });
    started.once('exit', (code, signal) => onEnd(signal ?? `code ${code}`));
  }

  start();
  return {
    name,
    pid: () => (child !== undefined && isRunning(child) ? child.pid : undefined),
    restarts: () => restarts,
    async stop(graceMs) {
      stopping = true;
      clearTimeout(timer);
      timer = undefined;
      if (child !== undefined) await endChild(child, [['SIGTERM', graceMs]]);
    },
  };
}

/** How to start a Node program that calls `exitWithParent`. */
export interface TiedCommand {
  command: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  cwd: string;
  /** Receives every line it writes. */
  onLine: (line: string) => void;
}

/** Starts a Node program in its own process group, tied to this process by the channel that `exitWithParent` watches. */
export function spawnTied({ command, args, env, cwd, onLine }: TiedCommand): ChildProcess {
  const child = spawn(command, args, {
    cwd,
    env,
    detached: process.platform !== 'win32',
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on('line', onLine);
  }
  return child;
}

/**
 * To be called once in a supervised child: when its parent is gone, however it ended, the child sends itself SIGTERM, so
 * that its own shutdown runs, and exits for good after the grace time (milliseconds). Without a supervising parent it
 * does nothing.
 */
export function exitWithParent(graceMs: number): void {
  if (process.channel === undefined || process.channel === null) return;
  process.once('disconnect', () => {
    setTimeout(() => process.exit(1), graceMs).unref();
    process.kill(process.pid, 'SIGTERM');
  });
  // Listening to `disconnect` would otherwise keep the event loop alive for ever.
  process.channel.unref();
}
