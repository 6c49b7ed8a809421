import { randomUUID } from 'node:crypto';
import type { RequestKind } from '../domain/inbound';
import { requestDueAt } from '../domain/inbound-actions';
import { Problem } from '../domain/problem';
import { type Db, inTransaction, type Tx } from './client';
import { type Erased, type Erasure, eraseLead } from './erasure';

/** How a request reached us: in a mail, by the person's own page, or entered by our staff (telephone, letter). */
export type RequestSource = 'mail' | 'page' | 'api';

/** What became of it; `not-confirmed`: whoever asked did not prove to be the person. */
export type RequestAnswer = 'done' | 'refused' | 'not-confirmed';

/** Why a request may be refused: art. 11.2 and 12.6, 12.5, 17.3 GDPR; or it is about nobody we know. */
export const REFUSALS = [
  'not-identified',
  'unfounded',
  'excessive',
  'legal-obligation',
  'legal-claims',
  'no-data',
] as const;
export type Refusal = (typeof REFUSALS)[number];

export interface PrivacyRequestView {
  requestId: string;
  kind: RequestKind;
  source: RequestSource;
  /** Null where it did not come by mail. */
  inboundId: string | null;
  leadId: string | null;
  enrollmentId: string | null;
  receivedAt: Date;
  dueAt: Date;
  doneAt: Date | null;
  answer: RequestAnswer | null;
  /** Why it was refused, as a code. */
  because: string | null;
}

export interface NewPrivacyRequest {
  /** The message that asks; null where it did not come by mail. */
  inboundId: string | null;
  /** `mail` where it is left out. */
  source?: RequestSource;
  leadId: string | null;
  enrollmentId: string | null;
  kind: RequestKind;
  receivedAt: Date;
  /** Whose calendar counts. */
  timeZone: string;
}

/** Keeps what somebody asked of their data, once for each message and kind. @returns its id and when it is due; null: known */
export async function keepPrivacyRequest(
  tx: Tx,
  request: NewPrivacyRequest,
): Promise<{ id: string; dueAt: Date } | null> {
  const { inboundId, source = 'mail', leadId, enrollmentId, kind, receivedAt, timeZone } = request;
  const dueAt = requestDueAt(receivedAt, timeZone);
  const row = await tx
    .insertInto('privacy_request')
    .values({
      id: randomUUID(),
      inbound_id: inboundId,
      source,
      lead_id: leadId,
      enrollment_id: enrollmentId,
      kind,
      received_at: receivedAt,
      due_at: dueAt,
      done_at: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst();
  return row === undefined ? null : { id: row.id, dueAt };
}

/**
 * Enters a request that reached our staff in another way: by telephone, by letter.
 *
 * @throws Problem `not-found` when there is no such lead
 */
export async function enterPrivacyRequest(
  db: Db,
  request: { leadId: string | null; kind: RequestKind; receivedAt: Date; timeZone: string },
): Promise<PrivacyRequestView> {
  return await inTransaction(db, async (tx) => {
    const { leadId } = request;
    if (leadId !== null) {
      const lead = await tx.selectFrom('lead').select('id').where('id', '=', leadId).executeTakeFirst();
      if (lead === undefined) throw new Problem('not-found', `there is no lead ${leadId}`);
    }
    const kept = await keepPrivacyRequest(tx, { ...request, source: 'api', inboundId: null, enrollmentId: null });
    if (kept === null) throw new Error('a request without a message is always new');
    return await findPrivacyRequest(tx, kept.id);
  });
}

const COLUMNS = [
  'id as requestId',
  'kind',
  'source',
  'inbound_id as inboundId',
  'lead_id as leadId',
  'enrollment_id as enrollmentId',
  'received_at as receivedAt',
  'due_at as dueAt',
  'done_at as doneAt',
  'answer',
  'because',
] as const;

/** @throws Problem `not-found` */
export async function findPrivacyRequest(db: Db | Tx, id: string): Promise<PrivacyRequestView> {
  const row = await db.selectFrom('privacy_request').select(COLUMNS).where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no request ${id}`);
  return row;
}

export interface PrivacyRequestFilter {
  /** Only those that are, or are not, dealt with. */
  done?: boolean | undefined;
  /** Only those that are open and were due before this. */
  overdueAt?: Date | undefined;
}

/** Requests about personal data, the most urgent first. */
export async function listPrivacyRequests(
  db: Db,
  { done, overdueAt }: PrivacyRequestFilter,
  limit: number,
  after: { dueAt: Date; id: string } | null,
): Promise<PrivacyRequestView[]> {
  let query = db.selectFrom('privacy_request').select(COLUMNS).orderBy('due_at').orderBy('id').limit(limit);
  if (done !== undefined) query = query.where('done_at', done ? 'is not' : 'is', null);
  if (overdueAt !== undefined) query = query.where('done_at', 'is', null).where('due_at', '<', overdueAt);
  if (after !== null) {
    query = query.where((eb) =>
      eb.or([eb('due_at', '>', after.dueAt), eb.and([eb('due_at', '=', after.dueAt), eb('id', '>', after.id)])]),
    );
  }
  return await query.execute();
}

/**
 * Notes what became of a request. Saying the same again keeps the first time.
 *
 * @param because why it was refused, as a code
 * @throws Problem `not-found`; `already-answered` when it was answered otherwise
 */
export async function answerPrivacyRequest(
  db: Db | Tx,
  id: string,
  answer: RequestAnswer,
  now: Date,
  because: Refusal | null = null,
): Promise<PrivacyRequestView> {
  const row = await db
    .updateTable('privacy_request')
    .set({ done_at: now, answer, because })
    .where('id', '=', id)
    .where('done_at', 'is', null)
    .returning(COLUMNS)
    .executeTakeFirst();
  if (row !== undefined) return row;
  const known = await findPrivacyRequest(db, id);
  if (known.answer !== null && known.answer !== answer) {
    throw new Problem('already-answered', `this request was answered already: ${known.answer}`, {
      answer: known.answer,
    });
  }
  return known;
}

/** Notes that a request was dealt with. Doing it again keeps the first time. @throws Problem `not-found`, `already-answered` */
export async function finishPrivacyRequest(db: Db, id: string, now: Date): Promise<PrivacyRequestView> {
  return await answerPrivacyRequest(db, id, 'done', now);
}

/**
 * Does what somebody asked for who wants to be erased, once a person has confirmed that it was them: erases the lead, which
 * answers this request and every other one of theirs to be erased or left alone.
 *
 * @param erasure without `leadId`: that of the request
 * @throws Problem `not-found`; `not-erasable` when it asks for something else, or it is not known who asks; `already-answered`
 */
export async function eraseAsRequested(
  db: Db,
  id: string,
  erasure: Omit<Erasure, 'leadId' | 'by'>,
): Promise<Erased & { request: PrivacyRequestView }> {
  const { kind, leadId, source, answer } = await findPrivacyRequest(db, id);
  if (kind !== 'erasure') throw new Problem('not-erasable', `this request asks for something else: ${kind}`);
  if (leadId === null) {
    throw new Problem('not-erasable', 'it is not known who asks; erase the lead with DELETE /v1/leads/{id}');
  }
  if (answer !== null && answer !== 'done') {
    throw new Problem('already-answered', `this request was answered already: ${answer}`, { answer });
  }
  const erased = await eraseLead(db, { ...erasure, leadId, by: source === 'mail' ? 'reply' : 'staff' });
  return { ...erased, request: await finishPrivacyRequest(db, id, erasure.now) };
}
