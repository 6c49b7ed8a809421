import { NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import { createActivities } from './activities';
import type { StreamExit } from './activities/send-message';
import { type Config, deriveKey, erasureSettings } from './config';
import { createDb, type Db, poolLoad } from './db/client';
import { type Figures, readFigures } from './db/figures';
import { journalIn } from './db/journal-file';
import { pingDb } from './db/reachability';
import { assertNotRestored } from './db/restored';
import { STREAMS, type Stream } from './domain/streams';
import { OUTGOING_WEBHOOKS } from './domain/webhook-signature';
import { composeForward } from './mail/compose/forward';
import { type Carrier, createCarrier } from './mail/deliver/connections';
import { createSigner } from './mail/deliver/signing';
import { createUnderstand, createUnderstandEvent } from './mail/receive/understand';
import { checkReadiness, type Readiness } from './telemetry/readiness';
import type { Tracing } from './telemetry/tracing';
import { type Backlog, readBacklogs } from './temporal/backlog';
import { call, createTemporalClient, temporalOptions } from './temporal/client';
import { tellWhetherCurrent } from './temporal/deployment';
import { runInbound } from './temporal/inbound';
import { createJourneys } from './temporal/journeys';
import type { Log } from './temporal/log';
import { runMigrations } from './temporal/migrations';
import { runReconciler } from './temporal/reconciler';
import { registerSearchAttributes } from './temporal/search-attributes';
import { createPostWebhook } from './temporal/webhook-post';
import { runWebhooks } from './temporal/webhooks';
import { JOURNEYS_QUEUE, MAIL_QUEUES } from './workflows/contract';

export interface RunningWorker {
  /** Takes no new work, lets deliveries under way finish, and closes every connection. */
  stop(): Promise<void>;
  /** Resolves when it was stopped; rejects when a worker failed. */
  readonly finished: Promise<void>;
  /** Does it poll, and does it reach what it works with? @param now ms since the epoch; the clock's where it is left out */
  ready(now?: number): Promise<Readiness>;
  /** What metrics are kept of. */
  readonly load: {
    pool(): ReturnType<typeof poolLoad>;
    connections(): ({ stream: Stream } & ReturnType<Carrier['stats']>)[];
    figures(): Promise<Figures>;
    backlogs(): Promise<Backlog[]>;
  };
}

/** The reconciler goes round every two seconds; one that got nowhere for so long (ms) is stuck, or something is away. */
const RECONCILER_STUCK_MS = 2 * 60_000;

/** Always there, so that no recorded history depends on whether traces are kept. */
const WORKFLOW_INTERCEPTORS = require.resolve('./workflows/trace-headers');

/** A cached workflow costs about 220 KB and gains a sleeping lead nothing. */
const CACHED_WORKFLOWS = 200;
/** By default heartbeats are held back for 8 of their 10 s, and a busy moment then looks like a dead worker. */
const HEARTBEAT_THROTTLE_MS = 3_000;
/** The API starts what it enrolls by itself, in less than this unless something is wrong. */
const FRESH_MS = 3_000;
/** Longer than one delivery may take; the process manager must wait longer still. */
const SHUTDOWN_GRACE_MS = 65_000;

/**
 * Starts one worker process: a Worker for each task queue, and the reconciler. Resolves when all of them poll.
 *
 * @throws RestoredDatabase when the database comes from a backup and nobody has brought it up to date
 *
 * @param bundle workflow code that was bundled before; made from the sources when left out
 * @param tracing where traces are kept
 */
export async function startWorker(
  config: Config,
  log: Log,
  bundle?: { codePath: string },
  tracing: Tracing | null = null,
): Promise<RunningWorker> {
  const { namespace, ...connect } = temporalOptions(config);
  const connection = await NativeConnection.connect(connect);
  const client = createTemporalClient({ namespace, ...connect }, tracing?.client);
  const db = createDb({
    url: config.databaseUrl,
    maxConnections: config.databaseConnections,
    onError: (error) => log.warn({ code: (error as { code?: string }).code }, 'a database connection was lost'),
  });
  const carriers: Carrier[] = [];
  const exits: StreamExit[] = [];
  const workers: Worker[] = [];
  const reconciling = new AbortController();
  const cleanUp = async () => {
    await Promise.all(carriers.map((carrier) => carrier.close()));
    await client.connection.close();
    await connection.close();
    await db.destroy();
  };

  try {
    await assertNotRestored(db, config.journal);
    await registerSearchAttributes(client, config.temporalNamespace);
    if (config.mailBlocked !== null) log.error({}, config.mailBlocked);
    for (const stream of [null, ...STREAMS]) {
      const exit = stream === null ? null : exitOf(config, stream);
      if (exit !== null) {
        carriers.push(exit.carrier);
        exits.push(exit);
      }
      workers.push(
        await Worker.create({
          connection,
          namespace: config.temporalNamespace,
          taskQueue: stream === null ? JOURNEYS_QUEUE : MAIL_QUEUES[stream],
          activities: createActivities({ ...depsOf(config, db, exit), stopping: reconciling.signal }),
          shutdownGraceTime: SHUTDOWN_GRACE_MS,
          maxHeartbeatThrottleInterval: HEARTBEAT_THROTTLE_MS,
          ...versioningOptions(config),
          // Transactional mail brings its own workflows along, so that no backlog of journeys stands before it (promise P8).
          ...(stream === null || stream === 'transactional' ? workflowOptions(bundle) : {}),
          interceptors: {
            activity: tracing === null ? [] : [tracing.activities],
            // Bundled with the workflows otherwise.
            ...(bundle === undefined ? { workflowModules: [WORKFLOW_INTERCEPTORS] } : {}),
          },
          ...(stream === null ? {} : mailOptions(config, stream)),
        }),
      );
    }
  } catch (error) {
    await Promise.allSettled([...carriers.map((carrier) => carrier.close()), client.connection.close(), db.destroy()]);
    // A worker holds the connection until it has run. Nobody waits for that: the server may be the one that is gone.
    void Promise.allSettled(workers.map((worker) => worker.runUntil(Promise.resolve())))
      .then(() => connection.close())
      .catch(() => {});
    throw error;
  }

  const runs = workers.map((worker) => worker.run());
  if (config.deployment !== null) void tellWhetherCurrent(client, config.temporalNamespace, config.deployment, log);
  const stop = () => {
    reconciling.abort();
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  let reconciledAt = Date.now();
  const journal = config.journal === null ? undefined : journalIn(db, config.journal, log, true);
  const reconciler = runReconciler(
    {
      client,
      db,
      log,
      alertMail: { operators: config.operators, from: config.staffFrom },
      unconfirmedKept: config.retention.unconfirmed,
      freshMs: FRESH_MS,
      journal,
      onRound: () => {
        reconciledAt = Date.now();
      },
      retention: { erasure: erasureSettings(config), timeFactor: config.timeFactor },
    },
    reconciling.signal,
  );
  const journeys = createJourneys(client, db, log);
  const inbound = runInbound(
    {
      db,
      journeys,
      log,
      understand: createUnderstand(config.tokenKeys),
      understandEvent: createUnderstandEvent(config.tokenKeys),
      deps: { ...config, composeForward },
      rawKept: config.retention.rawMail,
      journal,
    },
    reconciling.signal,
  );
  const webhooks = runWebhooks(
    {
      db,
      log,
      post: createPostWebhook({ toPrivate: config.webhooksToPrivate }),
      key: deriveKey(config.masterKey, OUTGOING_WEBHOOKS),
    },
    reconciling.signal,
  );
  const migrations = runMigrations({ db, log, timeFactor: config.timeFactor }, reconciling.signal);
  const finished = Promise.all(runs)
    .then(() => {})
    .finally(async () => {
      // One that fails takes the others down, so that whoever started this process notices and starts it again.
      stop();
      await Promise.allSettled([...runs, reconciler, inbound, webhooks, migrations]);
      await journeys.settled();
      await journal?.close();
      await cleanUp();
    });
  return {
    stop: async () => {
      stop();
      await finished;
    },
    finished,
    ready: async (now = Date.now()) =>
      await checkReadiness({
        polling: async () => {
          const idle = workers.find((worker) => worker.getState() !== 'RUNNING');
          if (idle !== undefined) throw new Error(idle.getState().toLowerCase());
        },
        postgres: (ms) => pingDb(db, ms),
        temporal: () => call(client, () => client.connection.workflowService.getSystemInfo({})),
        reconciler: async () => {
          if (now - reconciledAt > RECONCILER_STUCK_MS) throw new Error('stuck');
        },
      }),
    load: {
      pool: () => poolLoad(db),
      connections: () => exits.map(({ stream, carrier }) => ({ stream, ...carrier.stats() })),
      figures: () => readFigures(db),
      backlogs: () => readBacklogs(client),
    },
  };
}

function exitOf(config: Config, stream: Stream): StreamExit {
  const { url, oauth2, connections, returnPath } = config.smtp[stream];
  return {
    stream,
    carrier: createCarrier({ url, oauth2, maxConnections: connections }),
    sign: createSigner(config.dkimKeys, url),
    returnPath,
  };
}

function depsOf(config: Config, db: Db, exit: StreamExit | null) {
  const { publicUrl, replyAddress, tokenKeys, addressKeys, timeFactor, frequencyCap, mailBlocked } = config;
  return { db, exit, publicUrl, replyAddress, tokenKeys, addressKeys, timeFactor, frequencyCap, mailBlocked };
}

/**
 * With a deployment, the version that every Worker of this process is. All of them, since a task goes to the current version of
 * its queue's deployment, that of an activity too.
 *
 * Every workflow type is AUTO_UPGRADE: a task goes to what is current at that time, so that nothing depends on workers of a
 * former release. Pinned, a sleeping run would need its own release running for up to 90 days, and where that is gone it
 * would hang. The price is that its code must replay runs that the former release began (docs/versioning.md).
 */
function versioningOptions({ deployment }: Config): Pick<WorkerOptions, 'workerDeploymentOptions'> {
  if (deployment === null) return {};
  return {
    workerDeploymentOptions: {
      version: { deploymentName: deployment.name, buildId: deployment.buildId },
      useWorkerVersioning: true,
      defaultVersioningBehavior: 'AUTO_UPGRADE',
    },
  };
}

function workflowOptions(bundle: { codePath: string } | undefined): Partial<WorkerOptions> {
  return {
    ...(bundle === undefined ? { workflowsPath: require.resolve('./workflows') } : { workflowBundle: bundle }),
    maxCachedWorkflows: CACHED_WORKFLOWS,
    maxConcurrentActivityTaskExecutions: 20,
  };
}

function mailOptions(config: Config, stream: Stream): Partial<WorkerOptions> {
  // Twice the connections: one message is composed and claimed while another is on the wire.
  return { maxConcurrentActivityTaskExecutions: config.smtp[stream].connections * 2 };
}
