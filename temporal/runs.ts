import { type Client, type WorkflowExecutionInfo, WorkflowNotFoundError } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { temporal } from '@temporalio/proto';
import type { JourneyInput, SendStepResult } from '../workflows/contract';
import { call } from './client';

// What the engine knows of a run without replaying it: from its history, which is short, and from what is pending.

type HistoryEvent = temporal.api.history.v1.IHistoryEvent;
type Payloads = temporal.api.common.v1.IPayloads | null | undefined;

/** How far a journey is, as its newest run tells. */
export interface JourneyRun {
  /** The first step that has not been dealt with. */
  step: number;
  /** Until when it waits for that (ms since the epoch); null where it waits for no time. */
  dueAt: number | null;
  startedAt: Date;
  /** When a touch of this run last answered; null: none has. */
  answeredAt: Date | null;
  /** It was told to hold, and waits to be woken. */
  holding: boolean;
  /** It has been told of something since then, and not looked yet. */
  toldSince: boolean;
  attempt: Attempt | null;
}

/** An activity that was begun and has not answered. */
export interface Attempt {
  /** It is not certain that the mail server accepted nothing under it. */
  mayHaveSent: boolean;
}

/** Workflows of these types, each once and in pages, but for runs that another has gone on from. */
export async function* listRuns(client: Client, types: readonly string[]): AsyncGenerator<WorkflowExecutionInfo[]> {
  const query = `WorkflowType IN (${types.map((type) => `'${type}'`).join(', ')}) AND ExecutionStatus != 'ContinuedAsNew'`;
  let page: WorkflowExecutionInfo[] = [];
  for await (const run of client.workflow.list({ query, pageSize: PAGE })) {
    page.push(run);
    if (page.length >= PAGE) {
      yield page;
      page = [];
    }
  }
  if (page.length > 0) yield page;
}

const PAGE = 200;

/** The newest run of a workflow; null where the engine knows none. */
export async function newestRun(client: Client, workflowId: string) {
  try {
    return await call(client, () => client.workflow.getHandle(workflowId).describe());
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return null;
    throw error;
  }
}

/** Reads how far the newest run of a journey is. @param described by `newestRun` */
export async function readJourney(
  client: Client,
  workflowId: string,
  described: NonNullable<Awaited<ReturnType<typeof newestRun>>>,
): Promise<JourneyRun> {
  const events = await historyOf(client, workflowId, described.runId);
  const started = events[0]?.workflowExecutionStartedEventAttributes;
  const input: Pick<JourneyInput, 'step' | 'waitUntil'> = decoded<JourneyInput>(started?.input) ?? { step: 0 };
  const run: JourneyRun = {
    step: input.step,
    dueAt: input.waitUntil ?? null,
    startedAt: described.startTime,
    answeredAt: null,
    holding: false,
    toldSince: false,
    attempt: attemptOf(described.raw.pendingActivities?.[0]),
  };
  const sends = scheduledOf(events, 'sendStep');
  for (const event of events) {
    if (event.workflowExecutionSignaledEventAttributes != null) run.toldSince = true;
    const { scheduledEventId, result } = event.activityTaskCompletedEventAttributes ?? {};
    if (scheduledEventId == null || !sends.has(String(scheduledEventId))) continue;
    const answer = decoded<SendStepResult>(result);
    if (answer === undefined) continue;
    run.answeredAt = timeOf(event.eventTime);
    run.holding = answer.kind === 'hold';
    run.toldSince = false;
    run.dueAt = answer.kind === 'next' ? answer.dueAt : null;
    if (answer.kind !== 'hold') run.step = answer.step;
  }
  return run;
}

/** The mails that a workflow has asked others to send, in their order, by workflow id. */
export async function childrenOf(client: Client, workflowId: string, runId: string): Promise<string[]> {
  return (await historyOf(client, workflowId, runId))
    .map((event) => event.startChildWorkflowExecutionInitiatedEventAttributes?.workflowId)
    .filter((id): id is string => id != null);
}

async function historyOf(client: Client, workflowId: string, runId: string): Promise<HistoryEvent[]> {
  const history = await call(client, () => client.workflow.getHandle(workflowId, runId).fetchHistory());
  return history.events ?? [];
}

/** Ids of the events by which activities of that type were scheduled. */
function scheduledOf(events: readonly HistoryEvent[], type: string): Set<string> {
  return new Set(
    events
      .filter((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === type)
      .map((event) => String(event.eventId)),
  );
}

const { PENDING_ACTIVITY_STATE_SCHEDULED } = temporal.api.enums.v1.PendingActivityState;

/** Failures of a send after which it is certain that nothing was accepted (docs/architecture.md, "What SMTP answers mean"). */
const NOTHING_SENT: ReadonlySet<string> = new Set([
  'smtp_refused',
  'smtp_unsent',
  'smtp_busy',
  'mail_blocked',
  'not_signed',
  'gate_failed',
  'contended',
]);

export function attemptOf(pending: temporal.api.workflow.v1.IPendingActivityInfo | undefined): Attempt | null {
  if (pending == null) return null;
  const { state, attempt, lastStartedTime, lastFailure } = pending;
  if (state !== PENDING_ACTIVITY_STATE_SCHEDULED) return { mayHaveSent: true };
  const begun = lastStartedTime != null || (attempt ?? 1) > 1;
  return { mayHaveSent: begun && !NOTHING_SENT.has(lastFailure?.applicationFailureInfo?.type ?? '') };
}

function decoded<T>(payloads: Payloads): T | undefined {
  const payload = payloads?.payloads?.[0];
  return payload == null ? undefined : defaultPayloadConverter.fromPayload<T>(payload);
}

function timeOf(time: { seconds?: unknown; nanos?: number | null } | null | undefined): Date {
  return new Date(Number(time?.seconds ?? 0) * 1_000 + Math.floor((time?.nanos ?? 0) / 1e6));
}
