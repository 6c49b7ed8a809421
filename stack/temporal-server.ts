import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endChild, isRunning, spawnLeashed } from './leash';
import { freePort } from './ports';
import { closeServerLog, endOfServerLog, lastLines, lastLinesOf, openServerLog } from './server-log';
import { run } from './tool-cache';

/** How to start the Temporal dev server. */
export interface TemporalServerOptions {
  /** Path of the CLI; see `resolveTemporalCli`. */
  cli: string;
  /** SQLite file that keeps the engine's store between starts; in memory without it. */
  dbFile?: string;
  /** Port of the gRPC front end. */
  port: number;
  /** Port of the web UI; no UI without it. */
  uiPort?: number;
  /** File for the server's own log lines. */
  logFile?: string;
  /** How long closed workflows stay readable in the `default` namespace, as a CLI duration. */
  namespaceRetention?: string;
  /** Environment of the server and of the calls to it; without it, this process's own. */
  env?: NodeJS.ProcessEnv;
  /** Called once when the server ends without `stop`. */
  onExit?: (how: string) => void;
}

/** A running Temporal dev server. */
export interface TemporalServer {
  /** `host:port` for clients and workers. */
  address: string;
  uiUrl?: string;
  pid: number;
  /** Ends the server; what it has stored is on disk then. Safe to call twice. */
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 15_000;
/**
 * How often a server is started that ends of itself while it comes up. The CLI gives its inner services ports that are free
 * at that moment; another process may take one of them first (seen once in 300 starts beside a busy machine).
 */
const STARTS = 3;
/** What a Go program exits with that was ended by a panic; an error that the CLI can name ends it with 1. */
const CRASHED = 'code 2';
const PORT_TAKEN = 'address already in use';

/**
 * What the engine needs for the limits of the mail queues: fairness keys, and one partition for each queue, because a key's
 * limit is divided among the partitions.
 */
const DYNAMIC_CONFIG = [
  'matching.useNewMatcher=true',
  'matching.enableFairness=true',
  'matching.numTaskqueueReadPartitions=1',
  'matching.numTaskqueueWritePartitions=1',
];

/** Calls to the server are about this server, whatever a person's own CLI profile says. */
const OWN_CONFIG_ONLY = ['--disable-config-file', '--disable-config-env', '--color', 'never'];

/** The server ended while it came up, of something that another start may not meet. */
class BadLuck extends Error {}

/**
 * Starts `temporal server start-dev` on loopback, waits until it answers and knows its `default` namespace, and sets how long
 * that keeps closed workflows (30 days unless told otherwise). The server ends with this process, however that ends. One that
 * crashes while it comes up, or finds a port taken that was free, is started again, twice at most.
 * Throws when the port is taken or the server does not come up, with its last log lines.
 */
export async function startTemporal(options: TemporalServerOptions): Promise<TemporalServer> {
  for (let start = 1; ; start++) {
    try {
      return await startOnce(options);
    } catch (error) {
      if (!(error instanceof BadLuck) || start === STARTS) throw error;
    }
  }
}

async function startOnce(options: TemporalServerOptions): Promise<TemporalServer> {
  const { cli, dbFile, port, uiPort, logFile, namespaceRetention = '30d', onExit } = options;
  if ((await freePort(port)) !== port) throw new Error(`Port ${port} for the Temporal server is already in use`);
  if (dbFile !== undefined) mkdirSync(dirname(dbFile), { recursive: true });

  const args = ['server', 'start-dev', ...OWN_CONFIG_ONLY, '--ip', '127.0.0.1', '--port', String(port)];
  args.push('--log-level', 'warn');
  args.push(...(uiPort === undefined ? ['--headless'] : ['--ui-port', String(uiPort)]));
  if (dbFile !== undefined) args.push('--db-filename', dbFile);
  for (const value of DYNAMIC_CONFIG) args.push('--dynamic-config-value', value);

  const outputFd = logFile === undefined ? undefined : openServerLog(logFile);
  const logStart = outputFd === undefined ? 0 : endOfServerLog(outputFd);
  const child = spawnLeashed({
    command: cli,
    args,
    signal: 'SIGTERM',
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(outputFd === undefined ? {} : { outputFd }),
  });
  if (outputFd !== undefined) closeServerLog(outputFd);
  let output = '';
  const collect = (chunk: Buffer): void => {
    output = (output + chunk.toString('utf8')).slice(-10_000);
  };
  child.stdout?.on('data', collect);
  child.stderr?.on('data', collect);

  let started = false;
  let stopping = false;
  let ended: string | undefined;
  child.once('error', (error) => {
    ended ??= error.message;
  });
  child.once('exit', (code, signal) => {
    ended ??= signal ?? `code ${code}`;
    if (started && !stopping) onExit?.(ended);
  });
  const stop = async (): Promise<void> => {
    stopping = true;
    await endChild(child, [['SIGTERM', STOP_TIMEOUT_MS]]);
  };

  const address = `127.0.0.1:${port}`;
  const setRetention = ['operator', 'namespace', 'update', '--namespace', 'default', '--retention', namespaceRetention];
  const call = (args: string[]): Promise<string> =>
    run(cli, [...args, '--address', address, ...OWN_CONFIG_ONLY, '--command-timeout', '10s'], {
      ...(options.env === undefined ? {} : { env: options.env }),
      timeoutMs: 15_000,
    });
  const deadline = Date.now() + START_TIMEOUT_MS;
  let reason = 'no answer yet';
  for (;;) {
    try {
      // The namespace is registered a moment before the server calls itself healthy; a store from an earlier start has it.
      const health = await call(['operator', 'cluster', 'health']);
      if (!health.includes('SERVING')) throw new Error('it is not serving yet');
      await call(setRetention);
      break;
    } catch (error) {
      reason = (error as Error).message;
    }
    if (ended !== undefined || Date.now() > deadline) {
      await stop();
      const log = logFile === undefined ? lastLines(output) : lastLinesOf(logFile, logStart);
      const message = `The Temporal server did not start (${ended === undefined ? reason : `ended with ${ended}`})\n${log}`;
      throw ended === CRASHED || (ended !== undefined && log.includes(PORT_TAKEN))
        ? new BadLuck(message)
        : new Error(message);
    }
    await sleep(100);
  }
  if (!isRunning(child) || child.pid === undefined) throw new Error(`The Temporal server ended at once with ${ended}`);
  started = true;
  return {
    address,
    ...(uiPort === undefined ? {} : { uiUrl: `http://127.0.0.1:${uiPort}` }),
    pid: child.pid,
    stop,
  };
}
