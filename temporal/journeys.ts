import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import type { Db } from '../db/client';
import { markRequestsTold, pendingRequest } from '../db/confirmation-outbox';
import { markImportsStarted } from '../db/imports';
import { currentLimits, readLimits } from '../db/limits';
import {
  LEASE_MS,
  leaseSignal,
  markSignalled,
  markStarted,
  type PendingSignal,
  type StartableJourney,
  startableJourney,
  unstartedJourney,
} from '../db/outbox';
import { stopEnrollments } from '../db/stops';
import { markTestSendsStarted } from '../db/test-sends';
import { markTransactionalStarted, startableTransactional } from '../db/transactional';
import { errorCode } from '../domain/error-code';
import type { JourneyKind } from '../domain/journeys';
import { type SendingLimits, unlimited } from '../domain/limits';
import { OUTCOMES, type Outcome } from '../domain/outcomes';
import {
  campaignIdAttribute,
  type Doing,
  doingAttribute,
  importWorkflowId,
  JOURNEY_WORKFLOWS,
  JOURNEYS_QUEUE,
  journeyWorkflowId,
  type LeadImport,
  type LeadJourney,
  MAIL_QUEUES,
  routeOf,
  stopSignal,
  type TestSend,
  type TestSendInput,
  type TransactionalInput,
  type TransactionalMail,
  testSendWorkflowId,
  transactionalWorkflowId,
  wakeSignal,
} from '../workflows/contract';
import { call } from './client';
import { keepRequestGoing } from './confirmations';
import { gathered } from './gathered';
import { createLanes, type Lanes, LanesFull } from './lanes';
import { applyLimits, transactionalWeight } from './limits';
import type { Log } from './log';

/**
 * What the API may ask of the engine once its answer is safe in Postgres. Nothing here throws or is waited for: the row
 * is its own outbox, and what does not reach Temporal now is delivered by the reconciler (promise P4).
 */
export interface Journeys {
  /** Starts the journeys of new enrollments. */
  start(enrollmentIds: readonly string[]): void;
  /** Tells journeys of a stop, a resume or a new request; what it is stands in their rows. */
  tell(enrollmentIds: readonly string[]): void;
  /** Starts taking in an uploaded file. */
  startImport(importId: string): void;
  /** Starts sending a test. */
  startTestSend(test: TestSendInput): void;
  /** Starts sending mail outside any journey. */
  startTransactional(transactionalIds: readonly string[]): void;
  /** Starts asking for confirmations, and tells those that wait for one how it ended; what it is stands in their rows. */
  startConfirmations(requestIds: readonly string[]): void;
  /** Sets the limits of the mail queues as they stand in Postgres now. */
  applyLimits(): void;
  /** Resolves when everything that was asked so far is done or left to the reconciler. */
  settled(): Promise<void>;
}

const ENDS_WHEN: Record<JourneyKind, string> = {
  lead: 'the lead buys, replies or unsubscribes',
  buyer: 'the buyer replies, unsubscribes or is given the money back',
};

/**
 * Starts the workflow of an enrollment at its row's step; when it runs already, nothing happens. Starting too often is
 * harmless: the ledger, not the workflow, knows what was sent.
 *
 * @param limits give its first send the weight of its provider
 * @returns false when it has ended well already, which is not undone here
 */
export async function startJourney(
  client: Client,
  journey: StartableJourney,
  limits: SendingLimits = unlimited(),
): Promise<boolean> {
  const { enrollmentId, journey: kind = 'lead', campaignId, step } = journey;
  const start = () =>
    client.workflow.start<LeadJourney>(JOURNEY_WORKFLOWS[kind], {
      workflowId: journeyWorkflowId(enrollmentId, kind),
      taskQueue: JOURNEYS_QUEUE,
      args: [{ enrollmentId, step, route: routeOf(journey, limits) }],
      workflowIdConflictPolicy: 'USE_EXISTING',
      // A journey that was terminated, or whose close is forgotten, may start again; one that ended well stays ended.
      workflowIdReusePolicy: 'ALLOW_DUPLICATE_FAILED_ONLY',
      typedSearchAttributes: [
        { key: campaignIdAttribute, value: campaignId },
        // Told with the start, it is not written a second time by the journey's first task.
        { key: doingAttribute, value: 'sending' satisfies Doing },
      ],
      memo: { step },
      staticSummary:
        kind === 'lead' ? `Follows one lead through ${journey.steps} steps` : 'Follows one buyer after the purchase',
      staticDetails: `Enrollment \`${enrollmentId}\` in campaign \`${campaignId}\`. Sends a step, waits for the next, ends when ${ENDS_WHEN[kind]}. Why and until when it waits stands in the current details.`,
    });
  try {
    await call(client, start);
    return true;
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    return false;
  }
}

/**
 * Looks after an open enrollment that is overdue, whatever became of its journey: starts it where there is none, wakes it
 * where it sleeps, and leaves it alone while its send waits for its turn or is tried again. A journey that has ended
 * behind its row (stopped by hand, or the row comes from a backup) ends the row too: nobody is mailed whom the engine
 * knows as stopped.
 */
export async function lookAfter(client: Client, db: Db, journey: StartableJourney, log: Log): Promise<void> {
  const { enrollmentId } = journey;
  if (!(await startJourney(client, journey, await currentLimits(db))))
    return await adoptEnding(client, db, journey, log);
  const handle = client.workflow.getHandle(journeyWorkflowId(enrollmentId, journey.journey));
  const { raw } = await call(client, () => handle.describe());
  // It will look at its row by itself, and a wake would cost a needless touch afterwards.
  if (raw.pendingWorkflowTask != null || (raw.pendingActivities ?? []).length > 0) return;
  await signalJourney(client, { ...journey, outcome: null, signalAt: new Date() });
}

async function adoptEnding(
  client: Client,
  db: Db,
  { enrollmentId, journey }: StartableJourney,
  log: Log,
): Promise<void> {
  // It may just have ended together with its row.
  if ((await startableJourney(db, enrollmentId)) === null) return;
  const handle = client.workflow.getHandle<LeadJourney>(journeyWorkflowId(enrollmentId, journey));
  const result = await call(client, () => handle.result());
  const outcome: Outcome = OUTCOMES.find((known) => known === result?.outcome) ?? 'cancelled';
  await stopEnrollments(db, {
    who: { enrollmentId },
    outcome,
    byJourney: true,
    detail: { by: 'engine' },
    now: new Date(),
  });
  log.warn({ enrollmentId, outcome }, 'its journey had ended in the engine, so its row has ended too');
}

/** Tells the workflow of an enrollment what its row says. A workflow that has closed, or never started, needs no telling. */
export async function signalJourney(client: Client, signal: PendingSignal): Promise<void> {
  // By workflow id only: a run id would miss the run that has continued as new meanwhile.
  const handle = client.workflow.getHandle(journeyWorkflowId(signal.enrollmentId, signal.journey));
  const { outcome } = signal;
  try {
    await call(client, () => (outcome === null ? handle.signal(wakeSignal) : handle.signal(stopSignal, { outcome })));
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}

/** Starts the workflow that sends a test to its author; a person waits for it, so it goes first. */
export async function startTestSend(client: Client, test: TestSendInput): Promise<void> {
  await call(client, () =>
    client.workflow.start<TestSend>('testSend', {
      workflowId: testSendWorkflowId(test.testSendId),
      taskQueue: JOURNEYS_QUEUE,
      args: [test],
      workflowIdConflictPolicy: 'USE_EXISTING',
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      priority: { priorityKey: 1 },
      staticSummary: 'Sends one step of a campaign to its author',
    }),
  );
}

/**
 * Starts the workflow of a mail outside any journey; when it runs already, nothing happens. Starting too often is harmless:
 * its row knows what was sent.
 */
export async function startTransactional(client: Client, mail: TransactionalInput): Promise<void> {
  const { transactionalId, stream = 'transactional', priority, fairnessKey } = mail;
  await call(client, () =>
    client.workflow.start<TransactionalMail>('transactionalMail', {
      workflowId: transactionalWorkflowId(transactionalId),
      // An invoice's workflow tasks run on its queue too: on the journeys' queue a backlog could stand before it (promise P8).
      taskQueue: stream === 'transactional' ? MAIL_QUEUES.transactional : JOURNEYS_QUEUE,
      args: [mail],
      workflowIdConflictPolicy: 'USE_EXISTING',
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      priority: { priorityKey: priority, fairnessKey },
      staticSummary: 'Sends one mail outside any journey',
      staticDetails: `Mail \`${transactionalId}\`. What became of it stands under \`GET /v1/transactional/${transactionalId}\`.`,
    }),
  );
}

/** Starts the workflow of an import; when it runs already, nothing happens. One that has ended does nothing again. */
export async function startImport(client: Client, importId: string): Promise<void> {
  await call(client, () =>
    client.workflow.start<LeadImport>('leadImport', {
      workflowId: importWorkflowId(importId),
      taskQueue: JOURNEYS_QUEUE,
      args: [{ importId }],
      workflowIdConflictPolicy: 'USE_EXISTING',
      staticSummary: 'Takes in a file of leads',
      staticDetails: `Import \`${importId}\`. How far it is, and which lines were refused, stands under \`GET /v1/imports/${importId}\`.`,
    }),
  );
}

/**
 * Starts, and beside them tellings, that a process has under way at the same time. More make a busy server no faster, and wait for
 * each other until the deadline of each call is over.
 */
const LANES = 8;
/** What would wait longer than this line takes is done sooner by the reconciler. */
const MOST_WAITING = 500;

/** `Journeys` on a real engine. @param log told of what was left to the reconciler, by ids and codes only */
export function createJourneys(client: Client, db: Db, log: Log): Journeys {
  const running = new Set<Promise<void>>();
  const later = (what: string, id: string, work: () => Promise<void>): void => {
    const promise = work()
      .catch((error: unknown) => {
        // Of a crowd, most are; nothing is wrong then.
        const level = error instanceof LanesFull ? 'info' : 'warn';
        log[level]({ what, id, code: errorCode(error) }, 'left to the reconciler');
      })
      .finally(() => running.delete(promise));
    running.add(promise);
  };
  const inTurn = (lanes: Lanes, what: string, id: string, work: () => Promise<void>): void =>
    later(what, id, () => lanes.run(work));
  // A stop waits for no crowd of new leads.
  const [starts, tellings] = [createLanes(LANES, MOST_WAITING), createLanes(LANES, MOST_WAITING)];
  const started = gathered<string>((ids) => markStarted(db, ids));
  const signalled = gathered<PendingSignal>((signals) => markSignalled(db, signals));
  return {
    start: (ids) => {
      for (const id of ids) {
        inTurn(starts, 'start', id, async () => {
          const journey = await unstartedJourney(db, id);
          if (journey === null) return;
          await startJourney(client, journey, await currentLimits(db));
          await started(id);
        });
      }
    },
    tell: (ids) => {
      for (const id of ids) {
        inTurn(tellings, 'tell', id, async () => {
          const signal = await leaseSignal(db, id, LEASE_MS);
          if (signal === null) return;
          await signalJourney(client, signal);
          await signalled(signal);
        });
      }
    },
    startImport: (id) => {
      later('import', id, async () => {
        await startImport(client, id);
        await markImportsStarted(db, [id]);
      });
    },
    startTestSend: (test) => {
      later('test-send', test.testSendId, async () => {
        await startTestSend(client, test);
        await markTestSendsStarted(db, [test.testSendId]);
      });
    },
    startTransactional: (ids) => {
      for (const id of ids) {
        later('transactional', id, async () => {
          const mail = await startableTransactional(db, id);
          if (mail === null) return;
          const weight = transactionalWeight(await currentLimits(db), mail);
          await startTransactional(client, { ...mail, ...weight });
          await markTransactionalStarted(db, [id]);
        });
      }
    },
    startConfirmations: (ids) => {
      for (const id of ids) {
        later('confirmation', id, async () => {
          const request = await pendingRequest(db, id);
          if (request === null) return;
          await keepRequestGoing(client, request);
          await markRequestsTold(db, [request]);
        });
      }
    },
    applyLimits: () => {
      later('limits', '', async () => await applyLimits(client, client.options.namespace, await readLimits(db)));
    },
    settled: async () => {
      while (running.size > 0) await Promise.all(running);
    },
  };
}
