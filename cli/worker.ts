import { setTimeout as sleep } from 'node:timers/promises';
import { Runtime, type Logger as SdkLogger } from '@temporalio/worker';
import { sql } from 'kysely';
import type { Logger } from 'pino';
import { type Config, readConfig } from '../config';
import { createDb } from '../db/client';
import { RestoredDatabase } from '../db/restored';
import { freePort } from '../stack/ports';
import { exitWithParent } from '../stack/supervisor';
import { deliveries } from '../telemetry/channels';
import { addFigures } from '../telemetry/figures';
import { addConnectionMetrics, addPoolMetrics, addWorkerMetrics } from '../telemetry/metrics';
import { NOT_STARTED } from '../telemetry/readiness';
import { type RunningWorker, startWorker } from '../worker';
import { withBundle } from './bundle';
import { createLog, WORKER_READY } from './log';
import { stopSignal } from './stop-signal';
import { startTelemetry, startTracing, tellOfLostTraces } from './telemetry';

/** A worker takes up to 65 s to let deliveries finish. */
const SHUTDOWN_MS = 75_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/**
 * `recuerda worker`: sends what is due until it is told to stop, then lets deliveries under way finish. While Postgres or
 * Temporal are not up it says so and waits.
 */
export async function runWorker(env: NodeJS.ProcessEnv): Promise<void> {
  const config = readConfig(env);
  exitWithParent(SHUTDOWN_MS);
  const tracing = startTracing('worker', config.tracing);
  const log = createLog('worker', config.logLevel, tracing?.logFields);
  tellOfLostTraces(tracing, log);
  // The engine's SDK serves its own metrics; ours fetches them from there, so that there is one place to ask.
  const sdkPort = config.metrics === null ? null : await freePort();
  Runtime.install({
    logger: sdkLogger(log),
    // Ours to handle: the SDK would stop its workers at once, and leave what is around them running.
    shutdownSignals: [],
    telemetryOptions: { logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} }, ...sdkMetrics(sdkPort) },
  });
  deliveries.subscribe(({ at, ...told }) => log.info({ ...told, ms: at.ended - at.asked }, 'delivery'));
  let worker: RunningWorker | undefined;
  const telemetry = await startTelemetry('worker', config.metrics, log, {
    ready: async () => (await worker?.ready()) ?? NOT_STARTED,
    more: sdkPort === null ? undefined : `http://127.0.0.1:${sdkPort}/metrics`,
  });
  if (telemetry !== null) addWorkerMetrics(telemetry);
  const stopped = new AbortController();
  const signalled = stopSignal().then((signal) => {
    log.info({ signal }, 'stopping');
    stopped.abort();
  });

  await whenUp('Postgres', { log, stopped: stopped.signal, isPassing: () => true }, () => pingDatabase(config));
  // A restored database is waited for too: once somebody has brought it up to date, this starts by itself.
  const isPassing = (error: unknown) => isConnectionFault(error) || error instanceof RestoredDatabase;
  const whenTemporal = { log, stopped: stopped.signal, isPassing };
  if (stopped.signal.aborted) process.exit(0);
  worker = await withBundle((bundle) =>
    whenUp('Temporal', whenTemporal, () => startWorker(config, log, bundle, tracing)),
  );
  if (worker === undefined) process.exit(0);
  if (telemetry !== null) {
    addPoolMetrics(telemetry, worker.load.pool);
    addConnectionMetrics(telemetry, worker.load.connections);
    addFigures(telemetry, worker.load);
  }
  log.child({}, { level: 'info' }).info({}, WORKER_READY);
  await Promise.race([signalled, worker.finished.catch(() => {})]);
  await stop(worker, log, async () => await tracing?.close());
}

/** Of the SDK: how long tasks wait, how they fail, how busy the slots are. On loopback, whoever may reach ours. */
function sdkMetrics(port: number | null) {
  if (port === null) return {};
  const prometheus = { bindAddress: `127.0.0.1:${port}`, countersTotalSuffix: true, useSecondsForDurations: true };
  return { metrics: { prometheus } };
}

async function stop(worker: RunningWorker, log: Logger, afterwards: () => Promise<void>): Promise<never> {
  try {
    await worker.stop();
    await afterwards();
    log.info({}, 'stopped');
    process.exit(0);
  } catch (error) {
    log.fatal({ err: error }, 'the worker failed');
    await afterwards();
    process.exit(1);
  }
}

interface Waiting {
  log: Logger;
  stopped: AbortSignal;
  /** Is this a fault that may pass by itself? */
  isPassing: (error: unknown) => boolean;
}

/** Tries until it works, with growing pauses; undefined when the process was told to stop meanwhile. */
async function whenUp<T>(what: string, waiting: Waiting, attempt: () => Promise<T>): Promise<T | undefined> {
  const { log, stopped, isPassing } = waiting;
  for (let waitMs = FIRST_WAIT_MS; !stopped.aborted; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
    try {
      return await attempt();
    } catch (error) {
      if (!isPassing(error)) throw error;
      const reason = (error as { code?: unknown }).code ?? (error as Error).message;
      if (error instanceof RestoredDatabase) log.error({ againInMs: waitMs }, error.message);
      else log.warn({ reason, againInMs: waitMs }, `${what} is not ready; will try again`);
    }
    await sleep(waitMs, undefined, { signal: stopped }).catch(() => {});
  }
  return undefined;
}

/** What the SDK throws when the server can't be reached or does not answer; workflow code that can't be bundled is none. */
function isConnectionFault(error: unknown): boolean {
  const { name, code } = error as { name?: string; code?: unknown };
  return name === 'TransportError' || name === 'ServiceError' || code !== undefined;
}

/** Can it be reached, and has it our tables? */
async function pingDatabase(config: Config): Promise<void> {
  const db = createDb({ url: config.databaseUrl, maxConnections: 1, onError: () => {} });
  try {
    await sql`select 1 from enrollment limit 1`.execute(db);
  } catch (error) {
    if ((error as { code?: string }).code !== '42P01') throw error;
    throw new Error('the database has no tables yet: run `recuerda migrate`');
  } finally {
    await db.destroy();
  }
}

function sdkLogger(log: Logger): SdkLogger {
  const sdk = log.child({ from: 'temporal' });
  const write = (level: string, message: string, meta: object = {}) => {
    const name = level.toLowerCase();
    // Each mail queue's worker says that it has no workflows, which is meant so; webpack tells a page about its work.
    const isNoise = message.startsWith('No workflows registered') || message.startsWith('asset workflow-bundle');
    if (isNoise || name === 'trace' || name === 'debug') sdk.debug(meta, message);
    else if (name === 'warn' || name === 'error') sdk[name](meta, message);
    else sdk.info(meta, message);
  };
  return {
    log: write,
    trace: (message, meta) => write('trace', message, meta),
    debug: (message, meta) => write('debug', message, meta),
    info: (message, meta) => write('info', message, meta),
    warn: (message, meta) => write('warn', message, meta),
    error: (message, meta) => write('error', message, meta),
  };
}
