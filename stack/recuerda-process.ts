import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WORKER_READY } from '../cli/log';
import { childOutput } from './child-output';
import { endChild, isRunning } from './leash';
import type { OnExit, RunningProcess } from './member';
import { killTree } from './process-tree';
import { spawnTied } from './supervisor';

export interface RecuerdaProcessOptions {
  command: 'api' | 'worker';
  /** In its lines and of its log file. */
  name: string;
  /** The checkout. */
  root: string;
  /** Folder of its log file. */
  logDir: string;
  /** All of its settings. */
  env: NodeJS.ProcessEnv;
  /** Of an API: where it answers. */
  url?: string;
  /** Shows a person what needs one. */
  say: (line: string) => void;
  onExit: OnExit;
  /** Gives the start up. */
  signal: AbortSignal;
}

/** A worker puts the workflow code together first, which takes a busy machine minutes. */
const START_TIMEOUT_MS = 300_000;
/** How long a stop waits before it kills, ms; longer than each needs by itself. */
const GRACE_MS = { api: 30_000, worker: 80_000 };

/**
 * Starts `recuerda api` or `recuerda worker` and waits until the one answers, or the other takes tasks. It ends with this
 * process, however that ends. Throws when it does not come up in five minutes, which a worker does not while Postgres or
 * Temporal is away.
 */
export async function startRecuerda(options: RecuerdaProcessOptions): Promise<RunningProcess> {
  const { command, name, root, logDir, env, url, say, onExit, signal: givenUp } = options;
  const logFile = join(logDir, `${name}.log`);
  let takesTasks = false;
  const output = childOutput(name, logFile, say, (message) => {
    takesTasks ||= message === WORKER_READY;
  });
  const child = spawnTied({
    command: process.execPath,
    args: [join(root, 'cli', 'recuerda.js'), command],
    env,
    cwd: root,
    onLine: output.onLine,
  });
  let ended: string | undefined;
  child.once('error', (error) => {
    ended ??= error.message;
  });
  child.once('exit', (code, signal) => {
    ended ??= signal ?? `code ${code}`;
  });
  // What it wrote last comes after its exit.
  child.once('close', () => output.close());
  const stop = () => endChild(child, [['SIGTERM', GRACE_MS[command]]]);
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    if (url === undefined ? takesTasks : await isAlive(url)) break;
    if (ended !== undefined || givenUp.aborted || Date.now() > deadline) {
      await stop();
      if (givenUp.aborted) throw new Error('the start was given up');
      throw new Error(
        `${name} did not start (${ended === undefined ? 'in time' : `ended with ${ended}`}); see ${logFile}`,
      );
    }
    await sleep(50);
  }
  const { pid } = child;
  if (pid === undefined || !isRunning(child)) throw new Error(`${name} ended at once with ${ended}`);
  child.once('exit', (code, signal) => onExit(signal ?? `code ${code}`));
  return { pid, stop, kill: () => killTree(pid) };
}

async function isAlive(url: string): Promise<boolean> {
  return fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) }).then(
    (answer) => answer.ok,
    () => false,
  );
}
