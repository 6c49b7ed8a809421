import type { Client, WorkflowHandle } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import type { Config } from '../../config';
import type { Db } from '../../db/client';
import { startableJourney } from '../../db/outbox';
import { freePort } from '../../stack/ports';
import { startTemporal } from '../../stack/temporal-server';
import { createTemporalClient } from '../../temporal/client';
import { startJourney } from '../../temporal/journeys';
import type { Log } from '../../temporal/log';
import { startWorker } from '../../worker';
import { type JourneyResult, journeyWorkflowId, type LeadJourney } from '../../workflows/contract';
import { TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from './leads';
import { createTestDatabase, type TestDatabase } from './postgres';
import { NO_WEBHOOKS, PEOPLE_SETTINGS } from './settings';
import { type SmtpSink, startSmtpSink } from './smtp-sink';

/** A log that says nothing; tests that read the log bring their own. */
export const silent: Log = { info() {}, warn() {}, error() {} };

/** Database, mail server, Temporal and a worker, all real. */
export interface Engine {
  db: Db;
  sink: SmtpSink;
  client: Client;
  config: Config;
  /** Starts an enrollment's journey as the reconciler does. */
  start(enrollmentId: string): Promise<WorkflowHandle<LeadJourney>>;
  /** Runs a journey to its end. */
  run(enrollmentId: string): Promise<JourneyResult>;
  stop(): Promise<void>;
}

const TEST_SERVER_TRIES = 5;
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
    temporalTls: null,
    temporalApiKey: null,
    deployment: null,
    smtp: smtpForTests(sink.url),
    mailBlocked: null,
    replyAddress: null,
    dkimKeys: [],
    inboxes: [],
    webhooks: NO_WEBHOOKS,
    staffFrom: null,
    operators: [],
    publicUrl: 'http://localhost:3000',
    host: '127.0.0.1',
    port: 0,
    drainMs: 0,
    metrics: null,
    tracing: null,
    apiKeys: ['test-key-0123456789'],
    addressKeys: TEST_ADDRESS_KEYS,
    tokenKeys: TEST_TOKEN_KEYS,
    ...PEOPLE_SETTINGS,
    timeFactor: 1,
    logLevel: 'silent',
  };
}

/** All streams over one server. */
export function smtpForTests(url: string): Config['smtp'] {
  const settings = { url, connections: 5, oauth2: null, returnPath: null };
  return { transactional: settings, requested: settings, marketing: settings };
}

export function workflowBundle(): { codePath: string } {
  const codePath = process.env.TEST_WORKFLOW_BUNDLE;
  if (codePath === undefined) throw new Error('TEST_WORKFLOW_BUNDLE is set by test/support/global-setup.ts');
  return { codePath };
}

/** A Temporal server for tests: one that skips time wherever nothing is under way, or the dev server in real time. */
interface TestServer {
  address: string;
  client: Client;
  stop(): Promise<void>;
}

async function timeSkippingServer(): Promise<TestServer> {
  const path = process.env.TEST_TEMPORAL_TEST_SERVER;
  if (path === undefined) throw new Error('TEST_TEMPORAL_TEST_SERVER is set by test/support/global-setup.ts');
  for (let tries = 1; ; tries++) {
    try {
      const env = await TestWorkflowEnvironment.createTimeSkipping({
        server: { executable: { type: 'existing-path', path } },
      });
      return { address: env.address, client: env.client, stop: () => env.teardown() };
    } catch (error) {
      // The SDK gives it 5 s and no more, and on a busy machine a JVM may need longer.
      if (tries >= TEST_SERVER_TRIES || !String(error).includes('did not start within')) throw error;
    }
  }
}

async function devServer(): Promise<TestServer> {
  const cli = process.env.TEST_TEMPORAL_CLI;
  if (cli === undefined) throw new Error('TEST_TEMPORAL_CLI is set by test/support/global-setup.ts');
  const server = await startTemporal({ cli, port: await freePort() });
  const client = createTemporalClient({ address: server.address, namespace: 'default' });
  return {
    address: server.address,
    client,
    stop: async () => {
      await client.connection.close();
      await server.stop();
    },
  };
}

/** Everything a journey needs. The time-skipping server is for whole journeys, run to their end one after another. */
export async function startEngine(kind: 'time-skipping' | 'real-time'): Promise<Engine> {
  installRuntime();
  const database = await createTestDatabase();
  const sink = await startSmtpSink();
  const server = await (kind === 'time-skipping' ? timeSkippingServer() : devServer());
  const config = configForTests(database, sink, server.address);
  const worker = await startWorker(config, silent, workflowBundle());
  const { db } = database;
  const { client } = server;
  const start = async (enrollmentId: string) => {
    const journey = await startableJourney(db, enrollmentId);
    if (journey !== null) await startJourney(client, journey);
    return client.workflow.getHandle<LeadJourney>(journeyWorkflowId(enrollmentId, journey?.journey));
  };
  return {
    db,
    sink,
    client,
    config,
    start,
    run: async (enrollmentId) => await (await start(enrollmentId)).result(),
    stop: async () => {
      await worker.stop();
      await server.stop();
      await sink.close();
      await database.drop();
    },
  };
}
