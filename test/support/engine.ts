import type { Client } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import type { Config } from '../../config';
import type { Db } from '../../db/client';
import { startableJourney } from '../../db/outbox';
import { startJourney } from '../../temporal/journeys';
import type { Log } from '../../temporal/log';
import { type RunningWorker, startWorker } from '../../worker';
import type { leadJourney } from '../../workflows';
import { journeyWorkflowId } from '../../workflows/contract';
import { TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from './leads';
import { createTestDatabase, type TestDatabase } from './postgres';
import { type SmtpSink, startSmtpSink } from './smtp-sink';

/** A log that says nothing; tests that read the log bring their own. */
export const silent: Log = { info() {}, warn() {}, error() {} };

/** Database, mail server, time-skipping Temporal and a worker, all real. */
export interface Engine {
  db: Db;
  sink: SmtpSink;
  client: Client;
  env: TestWorkflowEnvironment;
  config: Config;
  worker: RunningWorker;
  /** Starts an enrollment's journey as the reconciler does. */
  start(enrollmentId: string): Promise<ReturnType<Client['workflow']['getHandle']>>;
  /** Runs a journey to its end, skipping time. */
  run(enrollmentId: string): Promise<Awaited<ReturnType<typeof leadJourney>>>;
  stop(): Promise<void>;
}

let installed = false;

/** To be called before anything else of Temporal's, once in a test process. */
export function installRuntime(): void {
  if (installed) return;
  installed = true;
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
}

export function configForTests(database: TestDatabase, sink: SmtpSink, temporalAddress: string): Config {
  return {
    databaseUrl: database.url,
    databaseConnections: 20,
    temporalAddress,
    temporalNamespace: 'default',
    smtpUrl: sink.url,
    mailBlocked: null,
    smtpConnections: 5,
    publicUrl: 'http://localhost:3000',
    host: '127.0.0.1',
    port: 0,
    apiKeys: ['test-key-0123456789'],
    addressKeys: TEST_ADDRESS_KEYS,
    tokenKeys: TEST_TOKEN_KEYS,
    timeFactor: 1,
    logLevel: 'silent',
  };
}

export function workflowBundle(): { codePath: string } {
  const codePath = process.env.TEST_WORKFLOW_BUNDLE;
  if (codePath === undefined) throw new Error('TEST_WORKFLOW_BUNDLE is set by test/support/global-setup.ts');
  return { codePath };
}

/** Everything a journey needs, with time skipped wherever nothing is under way. */
export async function startEngine(): Promise<Engine> {
  installRuntime();
  const database = await createTestDatabase();
  const sink = await startSmtpSink();
  const path = process.env.TEST_TEMPORAL_TEST_SERVER;
  if (path === undefined) throw new Error('TEST_TEMPORAL_TEST_SERVER is set by test/support/global-setup.ts');
  const env = await TestWorkflowEnvironment.createTimeSkipping({
    server: { executable: { type: 'existing-path', path } },
  });
  const config = configForTests(database, sink, env.address);
  const worker = await startWorker(config, silent, workflowBundle());
  const { db } = database;
  const { client } = env;
  const start = async (enrollmentId: string) => {
    const journey = await startableJourney(db, enrollmentId);
    if (journey !== null) await startJourney(client, journey);
    return client.workflow.getHandle<typeof leadJourney>(journeyWorkflowId(enrollmentId));
  };
  return {
    db,
    sink,
    client,
    env,
    config,
    worker,
    start,
    run: async (enrollmentId) =>
      (await (await start(enrollmentId)).result()) as Awaited<ReturnType<typeof leadJourney>>,
    stop: async () => {
      await worker.stop();
      await env.teardown();
      await sink.close();
      await database.drop();
    },
  };
}
