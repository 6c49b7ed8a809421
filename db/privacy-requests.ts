import { randomUUID } from 'node:crypto';
import type { RequestKind } from '../domain/inbound';
import { requestDueAt } from '../domain/inbound-actions';
import { Problem } from '../domain/problem';
import type { Db, Tx } from './client';

export interface PrivacyRequestView {
  requestId: string;
  kind: RequestKind;
  inboundId: string;
  leadId: string | null;
  enrollmentId: string | null;
  receivedAt: Date;
  dueAt: Date;
  doneAt: Date | null;
}

/** Keeps what somebody asked of their data, once for each message and kind. @returns its id and when it is due; null: known */
export async function keepPrivacyRequest(
  tx: Tx,
  request: {
    inboundId: string;
    leadId: string | null;
    enrollmentId: string | null;
    kind: RequestKind;
    receivedAt: Date;
    timeZone: string;
  },
): Promise<{ id: string; dueAt: Date } | null> {
  const { inboundId, leadId, enrollmentId, kind, receivedAt, timeZone } = request;
  const dueAt = requestDueAt(receivedAt, timeZone);
  const row = await tx
    .insertInto('privacy_request')
    .values({
      id: randomUUID(),
      inbound_id: inboundId,
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

const COLUMNS = [
  'id as requestId',
  'kind',
  'inbound_id as inboundId',
  'lead_id as leadId',
  'enrollment_id as enrollmentId',
  'received_at as receivedAt',
  'due_at as dueAt',
  'done_at as doneAt',
] as const;

/** Requests about personal data, the most urgent first. @param done only those that are, or are not, dealt with */
export async function listPrivacyRequests(
  db: Db,
  done: boolean | undefined,
  limit: number,
  after: { dueAt: Date; id: string } | null,
): Promise<PrivacyRequestView[]> {
  let query = db.selectFrom('privacy_request').select(COLUMNS).orderBy('due_at').orderBy('id').limit(limit);
  if (done !== undefined) query = query.where('done_at', done ? 'is not' : 'is', null);
  if (after !== null) {
    query = query.where((eb) =>
      eb.or([eb('due_at', '>', after.dueAt), eb.and([eb('due_at', '=', after.dueAt), eb('id', '>', after.id)])]),
    );
  }
  return await query.execute();
}

/** Notes that a request was dealt with. Doing it again keeps the first time. @throws Problem `not-found` */
export async function finishPrivacyRequest(db: Db, id: string, now: Date): Promise<PrivacyRequestView> {
  const row = await db
    .updateTable('privacy_request')
    .set((eb) => ({ done_at: eb.fn.coalesce('done_at', eb.val(now)) }))
    .where('id', '=', id)
    .returning(COLUMNS)
    .executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no request ${id}`);
  return row;
}
