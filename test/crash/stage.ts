import type { Client } from '@temporalio/client';
import type { EnrollRequest } from '../../db/enrollments';
import { steadyPort } from '../../stack/ports';
import { startTemporal, type TemporalServer } from '../../stack/temporal-server';
import { createTemporalClient } from '../../temporal/client';
import { type ReconcilerOptions, type Round, reconcileOnce } from '../../temporal/reconciler';
import { registerSearchAttributes } from '../../temporal/search-attributes';
import type { leadJourney } from '../../workflows';
import { journeyWorkflowId, progressQuery } from '../../workflows/contract';
import { installRuntime, silent } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, startSmtpSink } from '../support/smtp-sink';
import { startWorkerProcess, type WorkerProcess, type WorkerSettings } from '../support/worker-process';

/** Everything real: Temporal's dev server, a database, a mail server, and workers in processes of their own. */
export interface Stage {
  database: TestDatabase;
  db: TestDatabase['db'];
  sink: SmtpSink;
  client: Client;
  temporalAddress: string;
  /** Ends the Temporal server; its store is kept where it was started with a file. */
  stopTemporal(): Promise<void>;
  /** Starts it again at the same address. @param dbFile its store; a new and empty one in memory when left out */
  startTemporal(dbFile?: string): Promise<void>;
  /** Starts a worker process; the stage ends it when it closes. */
  work(settings?: Partial<WorkerSettings>): Promise<WorkerProcess>;
  enroll(campaignId: string, email: string, change?: Partial<EnrollRequest>): Promise<string>;
  /** One round of the reconciler, as any worker makes it. */
  reconcile(options?: Partial<ReconcilerOptions>): Promise<Round>;
  journey(enrollmentId: string): ReturnType<typeof journeyHandle>;
  row(enrollmentId: string): Promise<EnrollmentRow>;
  messages(enrollmentId: string): Promise<LedgerRow[]>;
  /** The kinds of the enrollment's events in the timeline, in their order. */
  timeline(enrollmentId: string): Promise<string[]>;
  mailsTo(email: string): { subject: string; messageId: string }[];
  close(): Promise<void>;
}

interface EnrollmentRow {
  step: number;
  outcome: string | null;
  next_due_at: Date;
  started_at: Date | null;
  signal_at: Date | null;
  leased_until: Date | null;
}
interface LedgerRow {
  step: number;
  copy: number;
  state: string;
  code: string | null;
  attempts: number;
  message_id: string;
}

/** Sets the stage, without a worker. @param dbFile SQLite file of Temporal's store; in memory when left out */
export async function setStage(dbFile?: string): Promise<Stage> {
  installRuntime();
  const cli = process.env.TEST_TEMPORAL_CLI;
  if (cli === undefined) throw new Error('TEST_TEMPORAL_CLI is set by test/support/global-setup.ts');
  const port = await steadyPort(new Set());
  const start = (file?: string) => startTemporal({ cli, port, ...(file === undefined ? {} : { dbFile: file }) });
  let temporal: TemporalServer = await start(dbFile);
  const database = await createTestDatabase();
  const sink = await startSmtpSink();
  const client = createTemporalClient({ address: temporal.address, namespace: 'default' });
  const workers: WorkerProcess[] = [];
  const { db } = database;
  // Each worker registers them too; here the test may start journeys before there is a worker.
  await registerSearchAttributes(client, 'default');

  return {
    database,
    db,
    sink,
    client,
    temporalAddress: temporal.address,
    stopTemporal: () => temporal.stop(),
    startTemporal: async (file) => {
      temporal = await start(file);
    },
    work: async (settings) => {
      const worker = await startWorkerProcess({
        databaseUrl: database.url,
        temporalAddress: temporal.address,
        smtpUrl: sink.url,
        ...settings,
      });
      workers.push(worker);
      return worker;
    },
    enroll: (campaignId, email, change) => enrollForTests(db, campaignId, requestBy(email, change)),
    reconcile: (options) => reconcileOnce({ client, db, log: silent, ...options }),
    journey: (enrollmentId) => journeyHandle(client, enrollmentId),
    row: (enrollmentId) =>
      db
        .selectFrom('enrollment')
        .select(['step', 'outcome', 'next_due_at', 'started_at', 'signal_at', 'leased_until'])
        .where('id', '=', enrollmentId)
        .executeTakeFirstOrThrow(),
    messages: (enrollmentId) =>
      db
        .selectFrom('message')
        .select(['step', 'copy', 'state', 'code', 'attempts', 'message_id'])
        .where('enrollment_id', '=', enrollmentId)
        .orderBy('step')
        .orderBy('copy')
        .execute(),
    timeline: async (enrollmentId) => {
      const events = await db
        .selectFrom('event')
        .select('kind')
        .where('enrollment_id', '=', enrollmentId)
        .orderBy('id')
        .execute();
      return events.map((event) => event.kind);
    },
    mailsTo: (email) => sink.messages.filter((message) => message.to === email),
    close: async () => {
      await Promise.all(workers.map((worker) => worker.stop()));
      await client.connection.close();
      await temporal.stop();
      await sink.close();
      await database.drop();
    },
  };
}

function journeyHandle(client: Client, enrollmentId: string) {
  const handle = client.workflow.getHandle<typeof leadJourney>(journeyWorkflowId(enrollmentId));
  const progress = async () => await handle.query(progressQuery).catch(() => null);
  return {
    ...handle,
    /** What it is doing; null while nobody can answer. */
    progress,
    /** Its progress while it waits; null while it does anything else. */
    waiting: async () => {
      const told = await progress();
      return told?.doing === 'waiting' ? told : null;
    },
    /** Why its activity is being retried, as the Temporal UI shows it; null when it is not, or nobody can answer. */
    pendingFailure: async () => {
      const described = await handle.describe().catch(() => null);
      const failure = described?.raw.pendingActivities?.[0]?.lastFailure;
      if (failure == null) return null;
      return { type: failure.applicationFailureInfo?.type ?? null, message: failure.message ?? '' };
    },
    /** Has the workflow asked an activity to give up, whether or not it has heard of it? */
    isSendCancelled: async () => {
      const { events } = await handle.fetchHistory();
      return events?.some((event) => event.activityTaskCancelRequestedEventAttributes != null) ?? false;
    },
    status: async () => (await handle.describe()).status.name,
  };
}
