import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { countedAs } from '../domain/frequency';
import type { JourneyKind } from '../domain/journeys';
import type { Outcome } from '../domain/outcomes';
import type { Plan } from '../domain/plan';
import { type Db, inTransaction } from './client';
import { recordEvents } from './events';
import { signalStamp } from './outbox';
import { keepBack } from './request-withdrawal';
import type { MessageState } from './schema';

// What an audit reads of Postgres, and how it mends what a restored database, or a restored store of Temporal's, has lost.
// Nothing here asks the engine; temporal/audit.ts compares.

/** An enrollment as the audit compares it with its journey. */
export interface DriftRow {
  enrollmentId: string;
  journey: JourneyKind;
  campaignId: string;
  version: number;
  leadId: string;
  step: number;
  nextDueAt: Date;
  outcome: Outcome | null;
  startedAt: Date | null;
  signalAt: Date | null;
  heldAt: Date | null;
  heldFor: string | null;
  infoDueAt: Date | null;
  infoCopies: number;
  enrolledAt: Date;
  timeZone: string | null;
  /** Its own numbering of steps, where it was moved to another version. */
  plan: Plan | null;
  /** The ledger's row of its current step. */
  message: MessageState | null;
}

const drift = sql`e.id as "enrollmentId", e.journey, e.campaign_id as "campaignId", e.version, e.lead_id as "leadId", e.step,
  e.next_due_at as "nextDueAt", e.outcome, e.started_at as "startedAt", e.signal_at as "signalAt", e.held_at as "heldAt",
  e.held_for as "heldFor", e.info_due_at as "infoDueAt", e.info_copies as "infoCopies", e.enrolled_at as "enrolledAt", e.plan,
  (select l.time_zone from lead l where l.id = e.lead_id) as "timeZone",
  (select m.state from message m where m.enrollment_id = e.id and m.step = e.step and m.copy = 0) as message`;

export async function driftRows(db: Db, enrollmentIds: readonly string[]): Promise<Map<string, DriftRow>> {
  const { rows } = await sql<DriftRow>`
    select ${drift} from enrollment e where e.id = any(${enrollmentIds}::uuid[])`.execute(db);
  return new Map(rows.map((row) => [row.enrollmentId, row]));
}

/** Open enrollments whose journey should be there, in the order of their ids. @param after the last of the page before */
export async function openEnrollments(db: Db, after: string | null, limit: number): Promise<DriftRow[]> {
  const { rows } = await sql<DriftRow>`
    select ${drift} from enrollment e
    where e.outcome is null and e.started_at is not null and (${after}::uuid is null or e.id > ${after}::uuid)
    order by e.id limit ${limit}`.execute(db);
  return rows;
}

/** A mail of a journey, as its Message-ID is made from it. */
export interface MailOf {
  enrollmentId: string;
  journey: JourneyKind;
  step: number;
  copy: number;
}

/** A message that the engine knows to be dealt with and the ledger does not. */
export interface LostMessage {
  step: number;
  copy: number;
  messageId: string;
}

/**
 * Enters messages as `unknown`, so that they are never sent again (promise P3), and moves their enrollment on.
 *
 * @param expected the step at which its row was found: where it has moved meanwhile, nothing is changed
 * @param move null: it stays at its step
 * @param counted they count towards the frequency cap
 */
export async function enterUnknown(
  db: Db,
  row: Pick<DriftRow, 'enrollmentId' | 'leadId'> & { expected: number },
  lost: readonly LostMessage[],
  move: { step: number; dueAt: Date } | null,
  counted: boolean,
  now: Date,
): Promise<boolean> {
  const { enrollmentId, leadId, expected } = row;
  return await inTransaction(db, async (tx) => {
    // Addresses are locked first, everywhere.
    if (counted) {
      const keys = lost.filter(({ step }) => step > 0).map(({ step }) => countedAs(enrollmentId, step));
      await sql`
        update address set recent_marketing = recent_marketing || (
          select coalesce(jsonb_object_agg(key, ${now.toISOString()}::text), '{}') from unnest(${keys}::text[]) key)
        where hash = (select address_hash from enrollment where id = ${enrollmentId})`.execute(tx);
    }
    const found = await tx
      .selectFrom('enrollment')
      .select('id')
      .where('id', '=', enrollmentId)
      .where('step', '=', expected)
      .where('outcome', 'is', null)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (found === undefined) return false;
    for (const { step, copy, messageId } of lost) {
      await sql`
        insert into message as m (enrollment_id, step, copy, message_id, state, token, first_claimed_at, claimed_at,
                                  settled_at, code)
        values (${enrollmentId}, ${step}, ${copy}, ${messageId}, 'unknown', ${randomUUID()}::uuid, ${now}, ${now}, ${now},
                'restored')
        on conflict (enrollment_id, step, copy) do update set
          state = 'unknown', settled_at = excluded.settled_at, code = excluded.code
        where m.state in ('claimed', 'handing_over', 'deferred', 'withdrawn')`.execute(tx);
    }
    const copied = lost.some(({ copy }) => copy > 0);
    await tx
      .updateTable('enrollment')
      .set({
        ...(move === null ? {} : { step: move.step, next_due_at: move.dueAt, slot_day: null, slot_taken: false }),
        ...(lost.some(({ step }) => step === 0) ? { last_info_at: now } : {}),
        ...(copied ? { info_due_at: null } : {}),
      })
      .where('id', '=', enrollmentId)
      .execute();
    await recordEvents(
      tx,
      lost.map(({ step, copy }) => ({
        at: now,
        leadId,
        enrollmentId,
        kind: 'message-unknown' as const,
        step,
        detail: { code: 'restored', copy, ...(move === null ? {} : { dueAt: move.dueAt }) },
      })),
    );
    return true;
  });
}

/** Moves a due time that a restore has set back; never nearer. */
export async function moveDue(db: Db, enrollmentId: string, step: number, dueAt: Date): Promise<void> {
  await sql`
    update enrollment set next_due_at = greatest(next_due_at, ${dueAt}::timestamptz)
    where id = ${enrollmentId} and step = ${step} and outcome is null`.execute(db);
}

/** Has journeys told of what their rows say: of a stop, or to look again. */
export async function tellAgain(db: Db, enrollmentIds: readonly string[], now: Date): Promise<void> {
  await sql`
    update enrollment set signal_at = ${signalStamp(now)}, leased_until = null
    where id = any(${enrollmentIds}::uuid[])`.execute(db);
}

/** Has the reconciler start journeys that the engine has lost, at once and at their steps. */
export async function startAgain(db: Db, enrollmentIds: readonly string[]): Promise<void> {
  await sql`
    update enrollment set started_at = null, leased_until = null
    where id = any(${enrollmentIds}::uuid[]) and outcome is null`.execute(db);
}

// ---- mail outside journeys, and requests -----------------------------------------------------------------------------

export interface DriftMail {
  id: string;
  state: string;
  startedAt: Date | null;
}

export async function driftMails(db: Db, ids: readonly string[]): Promise<Map<string, DriftMail>> {
  const rows = await db
    .selectFrom('transactional')
    .select(['id', 'state', 'started_at as startedAt'])
    .where('id', '=', sql<string>`any(${ids}::uuid[])`)
    .execute();
  return new Map(rows.map((row) => [row.id, row]));
}

/** Mails whose workflow should be there. */
export async function openMails(db: Db, after: string | null, limit: number): Promise<DriftMail[]> {
  return await db
    .selectFrom('transactional')
    .select(['id', 'state', 'started_at as startedAt'])
    .where('state', 'in', ['queued', 'claimed', 'handing_over'])
    .where('started_at', 'is not', null)
    .where('id', '>', after ?? NO_ID)
    .orderBy('id')
    .limit(limit)
    .execute();
}

const NO_ID = '00000000-0000-0000-0000-000000000000';

export async function startMailAgain(db: Db, id: string): Promise<void> {
  await db.updateTable('transactional').set({ started_at: null, leased_until: null }).where('id', '=', id).execute();
}

export interface DriftRequest {
  id: string;
  state: 'pending' | 'confirmed' | 'expired' | 'withdrawn';
  startedAt: Date | null;
  signalAt: Date | null;
  mailId: string | null;
  reminderId: string | null;
}

const REQUEST = [
  'id',
  'state',
  'started_at as startedAt',
  'signal_at as signalAt',
  'mail_id as mailId',
  'reminder_id as reminderId',
] as const;

export async function driftRequests(db: Db, ids: readonly string[]): Promise<Map<string, DriftRequest>> {
  const rows = await db
    .selectFrom('form_request')
    .select(REQUEST)
    .where('id', '=', sql<string>`any(${ids}::uuid[])`)
    .execute();
  return new Map(rows.map((row) => [row.id, row]));
}

/** Requests whose workflow should be there. */
export async function openRequests(db: Db, after: string | null, limit: number): Promise<DriftRequest[]> {
  return await db
    .selectFrom('form_request')
    .select(REQUEST)
    .where('state', '=', 'pending')
    .where('started_at', 'is not', null)
    .where('id', '>', after ?? NO_ID)
    .orderBy('id')
    .limit(limit)
    .execute();
}

/** Notes mails that have gone out for a request, so that they do not go out again. */
export async function noteRequestMails(db: Db, id: string, mails: readonly string[], now: Date): Promise<void> {
  const [mailId = null, reminderId = null] = mails;
  await sql`
    update form_request set
      mail_id = coalesce(mail_id, ${mailId}::uuid),
      remind_at = case when reminder_id is null and ${reminderId}::uuid is not null then ${now}::timestamptz else remind_at end,
      reminder_id = coalesce(reminder_id, ${reminderId}::uuid)
    where id = ${id} and state = 'pending'`.execute(db);
}

/** Unlike `withdrawPending` it tells nobody: the request's workflow has ended. */
export async function withdrawRequest(db: Db, id: string, now: Date): Promise<void> {
  await inTransaction(db, async (tx) => {
    const row = await tx
      .updateTable('form_request')
      .set({ state: 'withdrawn', ended_at: now, content: null })
      .where('id', '=', id)
      .where('state', '=', 'pending')
      .returning(['mail_id', 'reminder_id'])
      .executeTakeFirst();
    if (row !== undefined) await keepBack(tx, [row.mail_id, row.reminder_id], now);
  });
}

export async function startRequestAgain(db: Db, id: string): Promise<void> {
  await db.updateTable('form_request').set({ started_at: null, leased_until: null }).where('id', '=', id).execute();
}

export async function tellRequestAgain(db: Db, id: string, now: Date): Promise<void> {
  await db
    .updateTable('form_request')
    .set({ signal_at: signalStamp(now), leased_until: null })
    .where('id', '=', id)
    .execute();
}

// ---- how old it is ---------------------------------------------------------------------------------------------------

/**
 * When this database last took part in anything: of a restored one, about the time of its backup. What a replay of the journal
 * writes does not count. Null where nothing has happened yet.
 */
export async function lastDoing(db: Db): Promise<Date | null> {
  const { rows } = await sql<{ at: Date | null }>`
    select greatest((select max(enrolled_at) from enrollment), (select max(claimed_at) from message where state <> 'unknown'),
                    (select max(created_at) from transactional)) as at`.execute(db);
  return rows[0]?.at ?? null;
}
