import { constants } from 'node:os';
import { ConfigError } from '../config';
import { StartError } from '../stack/start-error';
import { lockHome, removeStackInfo, type StackInfo, writeStackInfo } from './home';
import type { Killable, StackOptions } from './stack';

export interface ForegroundOptions<Running extends Runnable> {
  /** The last line after an orderly stop. */
  farewell: string;
  home: string;
  root: string;
  env: NodeJS.ProcessEnv;
  /** Done under the home's lock, before anything is started. */
  prepare?: () => void;
  /** Starts everything. */
  launch: (options: StackOptions) => Promise<Running>;
  /** Done once everything is up; what it does ends when `signal` aborts. True: stop now, false: wait for Ctrl-C. */
  work: (running: Running, signal: AbortSignal) => Promise<boolean>;
}

/** What is run: where it is found, and its end. */
interface Runnable {
  info: StackInfo;
  stop(): Promise<void>;
}

/** Writes a line for the person at the terminal. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/**
 * Runs a whole stack until Ctrl-C, SIGTERM or the end of the terminal, then stops it in order. A second Ctrl-C ends
 * everything at once.
 *
 * @returns the exit code: 0 after an orderly stop, 1 when something could not be started or broke
 */
export async function runInForeground<Running extends Runnable>(options: ForegroundOptions<Running>): Promise<number> {
  const { home, root, env } = options;
  const stopping = new AbortController();
  const processes: Killable[] = [];
  let brokenBy: string | undefined;
  const onBroken = (why: string) => {
    brokenBy ??= why;
    if (!stopping.signal.aborted) say(`${why}. Stopping everything.`);
    stopping.abort();
  };
  handleSignals(stopping, processes);
  // Who reads our lines may be gone before us; that must not keep us from stopping in order.
  process.stdout.on('error', () => {});

  let release = () => {};
  try {
    const lock = await lockHome(home, say);
    release = () => lock.release();
    options.prepare?.();
    const { signal } = stopping;
    const onProcess = (child: Killable) => processes.push(child);
    const stack = await options.launch({ home, lock, root, env, say, signal, onBroken, onProcess });
    try {
      writeStackInfo(home, stack.info);
      const done = await options.work(stack, signal);
      if (!done && !signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
    } finally {
      removeStackInfo(home);
      await stack.stop();
    }
  } catch (error) {
    if (!stopping.signal.aborted) {
      // What a person can mend is told in words; anything else with where it came from.
      const plain = error instanceof StartError || error instanceof ConfigError || !(error instanceof TypeError);
      say(`\n${plain ? (error as Error).message : (error as Error).stack}`);
      return 1;
    }
  } finally {
    release();
  }
  if (brokenBy !== undefined) return 1;
  say(options.farewell);
  return 0;
}

/** The first signal asks for an orderly stop, the second one kills: what is left of the servers then ends by itself. */
function handleSignals(stopping: AbortController, processes: readonly Killable[]): void {
  const onSignal = (signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') => {
    if (!stopping.signal.aborted) {
      say(signal === 'SIGINT' ? '\nStopping … (Ctrl-C again to force)' : '\nStopping …');
      stopping.abort();
      return;
    }
    if (signal !== 'SIGINT') return;
    for (const child of processes) {
      const pid = child.pid();
      if (pid === undefined) continue;
      try {
        process.kill(process.platform === 'win32' ? pid : -pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    process.exit(128 + constants.signals.SIGINT);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
}
