import { setTimeout as sleep } from 'node:timers/promises';
import { buildApp } from '../api/app';
import { readConfig } from '../config';
import { createDb, poolLoad } from '../db/client';
import { noticeRestore, RestoredDatabase } from '../db/restored';
import { errorCode } from '../domain/error-code';
import { exitWithParent } from '../stack/supervisor';
import { addPoolMetrics, addRequestMetrics } from '../telemetry/metrics';
import { call, createTemporalClient, temporalOptions } from '../temporal/client';
import { createJourneys } from '../temporal/journeys';
import { createDns } from './dns';
import { createLog } from './log';
import { stopSignal } from './stop-signal';
import { startTelemetry, startTracing, tellOfLostTraces } from './telemetry';

/** How long a stop waits for requests under way and for calls to Temporal, ms. */
const SHUTDOWN_MS = 20_000;

/** `recuerda api`: serves until it is told to stop, then finishes what it has begun. */
export async function runApi(env: NodeJS.ProcessEnv): Promise<void> {
  const config = readConfig(env);
  exitWithParent(config.drainMs + SHUTDOWN_MS + 5_000);
  const stopped = stopSignal();
  const tracing = startTracing('api', config.tracing);
  const log = createLog('api', config.logLevel, tracing?.logFields);
  tellOfLostTraces(tracing, log);
  const db = createDb({
    url: config.databaseUrl,
    maxConnections: config.databaseConnections,
    onError: (error) => log.warn({ code: (error as { code?: string }).code }, 'a database connection was lost'),
  });
  const client = createTemporalClient(temporalOptions(config), tracing?.client);
  const journeys = createJourneys(client, db, log);
  let draining = false;
  const app = await buildApp({
    db,
    isDraining: () => draining,
    journeys,
    config,
    clock: () => new Date(),
    dns: createDns(),
    logger: log,
    beginRequest: tracing?.beginRequest,
    pingTemporal: async () => {
      await call(client, () => client.connection.workflowService.getSystemInfo({}));
    },
  });
  const telemetry = await startTelemetry('api', config.metrics, log, {
    ready: async () => {
      const { statusCode, body } = await app.inject('/readyz');
      const { status: _, ...checks } = JSON.parse(body) as Record<string, string>;
      return { ready: statusCode === 200, checks };
    },
  });
  if (telemetry !== null) {
    addRequestMetrics(telemetry);
    addPoolMetrics(telemetry, () => poolLoad(db));
  }
  // It serves all the same, since people must be able to leave; the workers are what must not start.
  await noticeRestore(db, config.journal).then(
    (restored) => restored && log.error({}, new RestoredDatabase(restored.behindJournal).message),
    (error) => log.warn({ code: errorCode(error) }, 'could not compare the database with its journal'),
  );
  await app.listen({ host: config.host, port: config.port });
  log.info({ port: config.port }, 'serving');

  log.info({ signal: await stopped }, 'stopping');
  draining = true;
  // Requests are still taken, while whoever asks /readyz learns to send them elsewhere.
  await sleep(config.drainMs);
  const finished = (async () => {
    await app.close();
    await journeys.settled();
    await client.connection.close();
    await db.destroy();
    await tracing?.close();
  })();
  // What is left then is in Postgres, and the reconciler delivers it.
  await Promise.race([finished, sleep(SHUTDOWN_MS, undefined, { ref: false })]);
  log.info({}, 'stopped');
  process.exit(0);
}
