import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';

/** How to start a server that must not outlive this process. */
export interface LeashedCommand {
  command: string;
  args: string[];
  /** What the server gets when this process is gone: the signal for a quick and clean shutdown. */
  signal: 'SIGINT' | 'SIGTERM';
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  uid?: number;
  gid?: number;
  /** File descriptor for standard output and error; without it they are pipes. */
  outputFd?: number;
}

/**
 * `$1` is the signal, the rest is the command. The watcher reads the pipe on descriptor 3: an end of file means that the
 * parent died, a line means that the server is already gone. It is forked twice, so that it is not a child of the
 * server, and lets go of its output, so that nobody waits for it. `exec` keeps the process id.
 */
const WATCH_AND_EXEC =
  'signal=$1; shift; ( ( read -r _ <&3 || kill -s "$signal" $$ ) </dev/null >/dev/null 2>&1 & ); exec "$@" 3<&-';

/**
 * Starts a server in its own process group (a Ctrl-C in the terminal is ours to handle, in our order) on a leash: when
 * this process ends, by SIGKILL too, the server gets its signal. Windows has no such leash; there it is a plain child.
 */
export function spawnLeashed(command: LeashedCommand): ChildProcess {
  const output = command.outputFd ?? 'pipe';
  const options = {
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    ...(command.env === undefined ? {} : { env: command.env }),
    ...(command.uid === undefined ? {} : { uid: command.uid }),
    ...(command.gid === undefined ? {} : { gid: command.gid }),
  };
  if (process.platform === 'win32') {
    return spawn(command.command, command.args, { ...options, stdio: ['ignore', output, output], windowsHide: true });
  }
  const signal = command.signal.slice('SIG'.length);
  const child = spawn('/bin/sh', ['-c', WATCH_AND_EXEC, 'leash', signal, command.command, ...command.args], {
    ...options,
    detached: true,
    stdio: ['ignore', output, output, 'pipe'],
  });
  const leash = child.stdio[3] as Writable;
  leash.on('error', () => {}); // the watcher may be gone first, when the whole process group was killed
  child.once('exit', () => leash.end('\n'));
  return child;
}

/** Whether a child process has not ended yet. */
export function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** Resolves once the child has ended, or with false after `ms` milliseconds. */
async function endsWithin(child: ChildProcess, ms: number): Promise<boolean> {
  if (!isRunning(child)) return true;
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), ms);
  try {
    await once(child, 'exit', { signal: deadline.signal });
    return true;
  } catch {
    return !isRunning(child);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Ends a child: each signal in turn, with its time in milliseconds to act, and SIGKILL for its process group (or itself)
 * when none did.
 */
export async function endChild(child: ChildProcess, signals: [signal: NodeJS.Signals, ms: number][]): Promise<void> {
  for (const [signal, ms] of signals) {
    if (!isRunning(child)) return;
    child.kill(signal);
    if (await endsWithin(child, ms)) return;
  }
  if (!isRunning(child) || child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL');
  }
  await endsWithin(child, 5_000);
}
