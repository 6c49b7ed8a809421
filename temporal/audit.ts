import type { Client, WorkflowExecutionInfo } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { versionOf } from '../db/campaigns';
import type { Db } from '../db/client';
import {
  type DriftMail,
  type DriftRequest,
  type DriftRow,
  driftMails,
  driftRequests,
  driftRows,
  enterUnknown,
  type LostMessage,
  lastDoing,
  type MailOf,
  moveDue,
  noteRequestMails,
  openEnrollments,
  openMails,
  openRequests,
  startAgain,
  startMailAgain,
  startRequestAgain,
  tellAgain,
  tellRequestAgain,
  withdrawRequest,
} from '../db/drift';
import { stopEnrollments } from '../db/stops';
import { settleLost } from '../db/transactional';
import { cadenceBefore, type PublishedCampaign } from '../domain/campaign';
import { OUTCOMES, type Outcome } from '../domain/outcomes';
import { endPosition, versionAt } from '../domain/plan';
import { planDue } from '../domain/planner';
import {
  doubleOptInWorkflowId,
  JOURNEYS_QUEUE,
  type JourneyResult,
  journeyWorkflowId,
  MAIL_QUEUES,
  transactionalWorkflowId,
} from '../workflows/contract';
import { call } from './client';
import { attemptOf, childrenOf, type JourneyRun, listRuns, newestRun, readJourney } from './runs';

/** In what Postgres and Temporal differ. */
export type DifferenceKind =
  /** The engine has dealt with steps of which the ledger knows nothing: they are entered as `unknown`. */
  | 'lost-steps'
  /** The same of a further copy of the information. */
  | 'lost-copy'
  /** The journey has ended, its row is open: the row ends as the journey did. */
  | 'lost-ending'
  /** The row falls due before the journey does: it is moved. */
  | 'due-too-early'
  /** The journey waits to be woken, and its row does not know: it is woken. */
  | 'held'
  /** The row has ended, the journey runs: it is told. */
  | 'not-told'
  /** A row whose workflow the engine does not have: it is started again. */
  | 'missing'
  /** A workflow whose row is gone: it is terminated. */
  | 'orphan'
  /** A mail outside journeys that the engine has sent, or asked others to send, and its row does not know. */
  | 'lost-mail';

export interface Difference {
  kind: DifferenceKind;
  workflowId: string;
  /** Codes, counts and times. */
  detail: Record<string, unknown>;
  mended: boolean;
  /** Why it was not mended although that was asked for. */
  because?: string;
}

export interface AuditReport {
  /** How many were compared. */
  compared: { journeys: number; mails: number; requests: number };
  /** Ended workflows whose rows are gone: what came and went after the backup was made. */
  forgotten: { journeys: number; mails: number; requests: number };
  differences: Difference[];
  /** When the database last took part in anything. */
  databaseOf: Date | null;
  /** For how long the engine remembers what has ended (days). */
  retentionDays: number;
}

export interface AuditOptions {
  client: Client;
  db: Db;
  /** The Message-ID of a mail of a journey: the same that it was sent under. */
  messageIdOf: (mail: MailOf, campaign: PublishedCampaign) => string;
  timeFactor: number;
  /** Nudges that are entered count towards a frequency cap. */
  counted: boolean;
  /** Write, and not only look. */
  mend: boolean;
  /**
   * The database comes from a backup: what was being sent when everything stopped counts as sent. Otherwise the ledger knows
   * better than the engine whether an attempt got as far.
   */
  restored: boolean;
  /** Mend also what is too old to be told from what the engine has forgotten. */
  evenIfOld: boolean;
  now: Date;
  onProgress?: (compared: number) => void;
}

interface Audit extends AuditOptions {
  report: AuditReport;
  /** Started again, what the engine has merely forgotten would be sent again. */
  mayBeForgotten: boolean;
}

const CONCURRENCY = 8;
const PAGE = 500;
/** A due time within this (ms) of the other is the same. */
const SAME_MS = 1_000;
/** By how much (ms) the clocks of a worker and of the engine may differ. */
const SKEW_MS = 30_000;

const STATUS = temporal.api.enums.v1.WorkflowExecutionStatus;

/**
 * Compares what Postgres and Temporal know of each other's journeys, mails and requests, and mends what differs where that is
 * asked for. No worker may run meanwhile. Mending again changes nothing.
 *
 * @throws what Postgres or Temporal said; what was mended before stays mended, and another run goes on
 */
export async function audit(options: AuditOptions): Promise<AuditReport> {
  const { client, db, now } = options;
  const [databaseOf, retentionDays] = await Promise.all([lastDoing(db), retentionOf(client)]);
  const zero = { journeys: 0, mails: 0, requests: 0 };
  const report: AuditReport = {
    compared: { ...zero },
    forgotten: { ...zero },
    differences: [],
    databaseOf,
    retentionDays,
  };
  const age = databaseOf === null ? 0 : now.getTime() - databaseOf.getTime();
  const running: Audit = {
    ...options,
    report,
    mayBeForgotten: options.restored && retentionDays > 0 && age > retentionDays * 86_400_000,
  };
  await auditJourneys(running);
  await auditMails(running);
  await auditRequests(running);
  return report;
}

/** Processes that take tasks of ours, by how many seconds ago they last asked for one. */
export async function activeWorkers(client: Client, now: Date): Promise<number[]> {
  const { TASK_QUEUE_TYPE_ACTIVITY, TASK_QUEUE_TYPE_WORKFLOW } = temporal.api.enums.v1.TaskQueueType;
  const queues = [
    [JOURNEYS_QUEUE, TASK_QUEUE_TYPE_WORKFLOW],
    ...[JOURNEYS_QUEUE, ...Object.values(MAIL_QUEUES)].map((name) => [name, TASK_QUEUE_TYPE_ACTIVITY] as const),
  ] as const;
  const answers = await Promise.all(
    queues.map(([name, taskQueueType]) =>
      call(client, () =>
        client.workflowService.describeTaskQueue({
          namespace: client.options.namespace,
          taskQueue: { name },
          taskQueueType,
        }),
      ),
    ),
  );
  return answers
    .flatMap(({ pollers }) => pollers ?? [])
    .map(({ lastAccessTime }) => Math.round(now.getTime() / 1000 - Number(lastAccessTime?.seconds ?? 0)))
    .sort((a, b) => a - b);
}

async function retentionOf(client: Client): Promise<number> {
  const { config } = await call(client, () =>
    client.workflowService.describeNamespace({ namespace: client.options.namespace }),
  );
  return Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0) / 86_400;
}

// ---- journeys --------------------------------------------------------------------------------------------------------

async function auditJourneys(audit: Audit): Promise<void> {
  const { client, db, report } = audit;
  const seen = new Set<string>();
  for await (const page of listRuns(client, ['leadJourney', 'buyerJourney'])) {
    const rows = await driftRows(db, page.map(idOf));
    await each(page, async (run) => {
      const id = idOf(run);
      const row = rows.get(id);
      if (run.status.name !== 'RUNNING' && (row === undefined || row.outcome !== null)) {
        // Ended on both sides. Where it runs again, that is listed too.
        if (row === undefined) report.forgotten.journeys += 1;
        report.compared.journeys += 1;
        return;
      }
      // A workflow that was started again is listed more than once.
      if (seen.has(id)) return;
      seen.add(id);
      await compareJourney(audit, run.workflowId, row);
    });
    audit.onProgress?.(seen.size);
  }
  // What the engine does not list it may not have, or have listed late.
  for (let after: string | null = null; ; ) {
    const rows: DriftRow[] = await openEnrollments(db, after, PAGE);
    const unseen = rows.filter(({ enrollmentId }) => !seen.has(enrollmentId));
    await each(unseen, (row) => compareJourney(audit, journeyWorkflowId(row.enrollmentId, row.journey), row));
    after = rows.at(-1)?.enrollmentId ?? null;
    if (rows.length < PAGE) return;
  }
}

async function compareJourney(audit: Audit, workflowId: string, row: DriftRow | undefined): Promise<void> {
  const { client, db, report, now } = audit;
  report.compared.journeys += 1;
  const run = await newestRun(client, workflowId);
  const isRunning = run?.status.name === 'RUNNING';
  if (row === undefined) {
    if (isRunning) await mendOrphan(audit, workflowId, { step: run.memo?.step ?? null });
    return;
  }
  if (row.outcome !== null) {
    if (isRunning && row.signalAt === null) {
      await differ(audit, 'not-told', workflowId, { outcome: row.outcome }, () =>
        tellAgain(db, [row.enrollmentId], now),
      );
    }
    return;
  }
  if (run === null) return await mendMissing(audit, workflowId, row, 'unknown to the engine');
  const journey = await readJourney(client, workflowId, run);
  if (isRunning) return await compareRunning(audit, workflowId, row, journey);
  if (run.raw.workflowExecutionInfo?.status !== STATUS.WORKFLOW_EXECUTION_STATUS_COMPLETED) {
    await compareSteps(audit, workflowId, row, journey);
    return await mendMissing(audit, workflowId, row, run.status.name.toLowerCase());
  }
  const result = await call(client, () => client.workflow.getHandle(workflowId, run.runId).result());
  await mendEnding(audit, workflowId, row, result as JourneyResult | null, journey.step);
}

async function compareRunning(audit: Audit, workflowId: string, row: DriftRow, run: JourneyRun): Promise<void> {
  const { db, now } = audit;
  if (await compareSteps(audit, workflowId, row, run)) return;
  const { enrollmentId, step } = row;
  if (row.signalAt !== null || run.toldSince) return;
  if (run.holding && row.heldAt === null && row.heldFor === null) {
    return await differ(audit, 'held', workflowId, { step }, () => tellAgain(db, [enrollmentId], now));
  }
  // One that wakes too early looks at its row and sleeps again, so only the other way round matters.
  const waitsFor = row.infoDueAt === null && run.step === step ? run.dueAt : null;
  if (waitsFor !== null && waitsFor > row.nextDueAt.getTime() + SAME_MS) {
    const dueAt = new Date(waitsFor);
    await differ(audit, 'due-too-early', workflowId, { step, row: row.nextDueAt, journey: dueAt }, () =>
      moveDue(db, enrollmentId, step, dueAt),
    );
  }
}

/** @returns whether the engine was ahead */
async function compareSteps(audit: Audit, workflowId: string, row: DriftRow, run: JourneyRun): Promise<boolean> {
  const { db, now, restored } = audit;
  const { step, infoDueAt, infoCopies } = row;
  const campaign = await versionOf(db, row.campaignId, row.version);
  const inDoubt = restored && run.attempt?.mayHaveSent === true;
  const copySent = infoDueAt !== null && hasSentCopy(row, run, infoDueAt, restored);
  const copyInDoubt = inDoubt && infoDueAt !== null && infoDueAt <= now && run.step > 0;
  if (copySent || copyInDoubt) {
    await differ(audit, 'lost-copy', workflowId, { copy: infoCopies, inDoubt: !copySent }, () =>
      enter(audit, row, campaign, [{ step: 0, copy: infoCopies }], null),
    );
  }
  const stepInDoubt = inDoubt && !copyInDoubt && maySendNow(row, run, campaign);
  const reached = stepInDoubt ? run.step + 1 : run.step;
  if (reached <= step) return copySent || copyInDoubt;
  const lost = Array.from({ length: reached - step }, (_, index) => ({ step: step + index, copy: 0 }));
  const dueAt = stepInDoubt ? dueAfter(audit, row, campaign, reached) : new Date(run.dueAt ?? run.startedAt.getTime());
  const detail = { from: step, to: reached - 1, dueAt, inDoubt: stepInDoubt };
  await differ(audit, 'lost-steps', workflowId, detail, () =>
    enter(audit, row, campaign, lost, { step: reached, dueAt }),
  );
  return true;
}

/**
 * Has the journey's last touch dealt with the copy that the row has as due? One of before the row's last word to the journey
 * has not. Nor has one that ended in a hold: a journey touches once a run. But a restored row must know of that very hold, or
 * an earlier run, since the backup, may have sent the copy.
 */
function hasSentCopy(row: DriftRow, run: JourneyRun, infoDueAt: Date, restored: boolean): boolean {
  if (run.answeredAt === null || run.toldSince) return false;
  const lastWord = Math.max(infoDueAt.getTime(), row.signalAt?.getTime() ?? 0);
  if (run.answeredAt.getTime() <= lastWord) return false;
  if (!run.holding) return true;
  const knowsOfHold = row.heldAt !== null && row.heldAt.getTime() >= run.startedAt.getTime() - SKEW_MS;
  return restored && !knowsOfHold;
}

/**
 * Can the attempt that is under way have sent its step, for all that the row says? Whether that was due, the row can't tell: it
 * may have been moved since the backup.
 */
function maySendNow(row: DriftRow, run: JourneyRun, campaign: PublishedCampaign): boolean {
  if (run.step >= endPosition(row.plan, campaign, row.journey) || run.step < row.step) return false;
  if (run.step > row.step) return true;
  return row.message === null || ['claimed', 'deferred', 'withdrawn'].includes(row.message);
}

async function enter(
  { db, messageIdOf, counted, now }: Audit,
  row: DriftRow,
  campaign: PublishedCampaign,
  lost: readonly { step: number; copy: number }[],
  move: { step: number; dueAt: Date } | null,
): Promise<void> {
  const { enrollmentId, journey, leadId, step, campaignId, plan, version } = row;
  const messages: LostMessage[] = [];
  for (const mail of lost) {
    // A mail of before the lead was moved went out in the name of that version's sender. Copies are of today's.
    const sentUnder = mail.copy === 0 ? await versionOf(db, campaignId, versionAt(plan, mail.step, version)) : campaign;
    messages.push({ ...mail, messageId: messageIdOf({ enrollmentId, journey, ...mail }, sentUnder) });
  }
  await enterUnknown(db, { enrollmentId, leadId, expected: step }, messages, move, counted, now);
}

/** When a step is due if the mail before it went out now. */
function dueAfter({ timeFactor, now }: Audit, row: DriftRow, { definition }: PublishedCampaign, step: number): Date {
  const { enrollmentId, journey, enrolledAt } = row;
  return planDue({
    enrollmentId,
    step,
    after: now,
    cadence: cadenceBefore(definition, journey, step),
    sendWindow: definition.sendWindow,
    timeZone: row.timeZone ?? definition.timeZone,
    clock: { origin: enrolledAt.getTime(), factor: timeFactor },
  });
}

async function mendEnding(
  audit: Audit,
  workflowId: string,
  row: DriftRow,
  result: JourneyResult | null,
  reached: number,
): Promise<void> {
  const { db, now } = audit;
  const outcome: Outcome = OUTCOMES.find((known) => known === result?.outcome) ?? 'cancelled';
  const { enrollmentId, step } = row;
  const sent = Math.max(result?.step ?? 0, reached);
  await differ(audit, 'lost-ending', workflowId, { outcome, step: sent }, async () => {
    if (sent > step) {
      const campaign = await versionOf(db, row.campaignId, row.version);
      const lost = Array.from({ length: sent - step }, (_, index) => ({ step: step + index, copy: 0 }));
      await enter(audit, row, campaign, lost, { step: sent, dueAt: row.nextDueAt });
    }
    await stopEnrollments(db, {
      who: { enrollmentId },
      outcome,
      // How far they wanted to be left alone, only the journal knows; the engine knows that they did.
      ...(outcome === 'unsubscribed' ? { suppress: 'objection' as const } : {}),
      ...(outcome === 'complained' ? { suppress: 'complaint' as const } : {}),
      byJourney: true,
      detail: { by: 'engine' },
      now,
    });
  });
}

async function mendMissing(audit: Audit, workflowId: string, row: DriftRow, found: string): Promise<void> {
  // It is started in any case.
  if (row.startedAt === null) return;
  await differ(
    audit,
    'missing',
    workflowId,
    { found, step: row.step },
    () => startAgain(audit.db, [row.enrollmentId]),
    {
      old: true,
    },
  );
}

async function mendOrphan(audit: Audit, workflowId: string, detail: Record<string, unknown>): Promise<void> {
  await differ(audit, 'orphan', workflowId, detail, async () => {
    const handle = audit.client.workflow.getHandle(workflowId);
    await call(audit.client, () => handle.terminate('recuerda audit: its row was lost with the database'));
  });
}

// ---- mail outside journeys -------------------------------------------------------------------------------------------

async function auditMails(audit: Audit): Promise<void> {
  const { client, db, report } = audit;
  const seen = new Set<string>();
  for await (const page of listRuns(client, ['transactionalMail'])) {
    const rows = await driftMails(db, page.map(idOf));
    await each(page, async (run) => {
      const id = idOf(run);
      const row = rows.get(id);
      if (run.status.name !== 'RUNNING' && (row === undefined || isSettled(row))) {
        if (row === undefined) report.forgotten.mails += 1;
        report.compared.mails += 1;
        return;
      }
      if (seen.has(id)) return;
      seen.add(id);
      await compareMail(audit, run.workflowId, row);
    });
  }
  for (let after: string | null = null; ; ) {
    const rows: DriftMail[] = await openMails(db, after, PAGE);
    const unseen = rows.filter(({ id }) => !seen.has(id));
    await each(unseen, (row) => compareMail(audit, transactionalWorkflowId(row.id), row));
    after = rows.at(-1)?.id ?? null;
    if (rows.length < PAGE) return;
  }
}

const SETTLED = ['accepted', 'rejected', 'deferred', 'unknown'] as const;

function isSettled(row: DriftMail): boolean {
  return SETTLED.some((state) => state === row.state);
}

async function compareMail(audit: Audit, workflowId: string, row: DriftMail | undefined): Promise<void> {
  const { client, db, report, restored, now } = audit;
  report.compared.mails += 1;
  const run = await newestRun(client, workflowId);
  const isRunning = run?.status.name === 'RUNNING';
  if (row === undefined) {
    if (isRunning) await mendOrphan(audit, workflowId, {});
    return;
  }
  if (isSettled(row)) return;
  const settle = (state: (typeof SETTLED)[number]) =>
    differ(audit, 'lost-mail', workflowId, { state }, async () => {
      await settleLost(db, row.id, state, now);
    });
  if (isRunning) {
    const attempt = attemptOf(run.raw.pendingActivities?.[0]);
    // One that is past its gate in the ledger too becomes `unknown` by itself.
    if (restored && attempt?.mayHaveSent === true && row.state !== 'handing_over') await settle('unknown');
    return;
  }
  if (run?.raw.workflowExecutionInfo?.status === STATUS.WORKFLOW_EXECUTION_STATUS_COMPLETED) {
    const result = await call(client, () => client.workflow.getHandle(workflowId, run.runId).result());
    const state = SETTLED.find((known) => known === (result as { state?: string } | null)?.state);
    // As `erased` ends what had no row any more.
    await settle(state ?? 'unknown');
    return;
  }
  if (row.startedAt === null) return;
  const found = run === null ? 'unknown to the engine' : run.status.name.toLowerCase();
  await differ(audit, 'missing', workflowId, { found }, () => startMailAgain(db, row.id), { old: true });
}

// ---- requests that wait for a confirmation -----------------------------------------------------------------------------

async function auditRequests(audit: Audit): Promise<void> {
  const { client, db, report } = audit;
  const seen = new Set<string>();
  for await (const page of listRuns(client, ['doubleOptIn'])) {
    const rows = await driftRequests(db, page.map(idOf));
    await each(page, async (run) => {
      const id = idOf(run);
      const row = rows.get(id);
      if (run.status.name !== 'RUNNING' && row?.state !== 'pending') {
        if (row === undefined) report.forgotten.requests += 1;
        report.compared.requests += 1;
        return;
      }
      if (seen.has(id)) return;
      seen.add(id);
      await compareRequest(audit, run.workflowId, row);
    });
  }
  for (let after: string | null = null; ; ) {
    const rows: DriftRequest[] = await openRequests(db, after, PAGE);
    const unseen = rows.filter(({ id }) => !seen.has(id));
    await each(unseen, (row) => compareRequest(audit, doubleOptInWorkflowId(row.id), row));
    after = rows.at(-1)?.id ?? null;
    if (rows.length < PAGE) return;
  }
}

async function compareRequest(audit: Audit, workflowId: string, row: DriftRequest | undefined): Promise<void> {
  const { client, db, report, now } = audit;
  report.compared.requests += 1;
  const run = await newestRun(client, workflowId);
  const isRunning = run?.status.name === 'RUNNING';
  if (row === undefined) {
    if (isRunning) await mendOrphan(audit, workflowId, {});
    return;
  }
  if (row.state !== 'pending') {
    if (isRunning && row.signalAt === null) {
      await differ(audit, 'not-told', workflowId, { state: row.state }, () => tellRequestAgain(db, row.id, now));
    }
    return;
  }
  if (run !== null) {
    const mails = (await childrenOf(client, workflowId, run.runId)).map((id) => id.slice(id.indexOf('/') + 1));
    const known = [row.mailId, row.reminderId].filter((id) => id !== null).length;
    if (mails.length > known) {
      await differ(audit, 'lost-mail', workflowId, { mails: mails.length }, () =>
        noteRequestMails(db, row.id, mails, now),
      );
    }
  }
  if (isRunning) return;
  if (run?.raw.workflowExecutionInfo?.status === STATUS.WORKFLOW_EXECUTION_STATUS_COMPLETED) {
    const result = await call(client, () => client.workflow.getHandle(workflowId, run.runId).result());
    const state = (result as { state?: string } | null)?.state;
    // One that was confirmed lost its enrollment with the database: its page works again until the link expires.
    if (state !== 'withdrawn') return;
    return await differ(audit, 'lost-ending', workflowId, { state }, () => withdrawRequest(db, row.id, now));
  }
  if (row.startedAt === null) return;
  const found = run === null ? 'unknown to the engine' : run.status.name.toLowerCase();
  await differ(audit, 'missing', workflowId, { found }, () => startRequestAgain(db, row.id), { old: true });
}

// ---- together ----------------------------------------------------------------------------------------------------------

/** Notes a difference, and mends it where that is asked for. @param old it may be one that the engine has merely forgotten */
async function differ(
  { report, mend, mayBeForgotten, evenIfOld }: Audit,
  kind: DifferenceKind,
  workflowId: string,
  detail: Record<string, unknown>,
  work: () => Promise<void>,
  { old = false }: { old?: boolean } = {},
): Promise<void> {
  const difference: Difference = { kind, workflowId, detail, mended: false };
  report.differences.push(difference);
  if (!mend) return;
  if (old && mayBeForgotten && !evenIfOld) {
    difference.because = 'the database is older than what the engine remembers, so it may have ended there';
    return;
  }
  await work();
  difference.mended = true;
}

/** What stands behind the workflow id's prefix. */
function idOf({ workflowId }: Pick<WorkflowExecutionInfo, 'workflowId'>): string {
  return workflowId.slice(workflowId.indexOf('/') + 1);
}

async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: Math.min(CONCURRENCY, items.length) }, async () => {
      for (const item of queue) await work(item);
    }),
  );
}
