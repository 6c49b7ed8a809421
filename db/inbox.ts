import { sql } from 'kysely';
import type { Classification, InboundKind, MatchedBy } from '../domain/inbound';
import { Problem } from '../domain/problem';
import type { Db } from './client';

// What the API tells of received mail. Reads only.

export interface InboxItem {
  inboundId: string;
  source: string;
  receivedAt: Date;
  bytes: number;
  state: 'new' | 'done' | 'failed';
  failure: string | null;
  processedAt: Date | null;
  /** Erased with the message. */
  from: string | null;
  fromName: string | null;
  subject: string | null;
  excerpt: string | null;
  /** What a provider told, in place of a message. */
  event: { provider: string; kind: string } | null;
  /** As it stands: a person's word, else the rules'. */
  kind: InboundKind | null;
  classifiedAs: InboundKind | null;
  subtype: string | null;
  classification: Classification | null;
  enrollmentId: string | null;
  campaignId: string | null;
  leadId: string | null;
  transactionalId: string | null;
  step: number | null;
  matchedBy: MatchedBy | null;
  proven: boolean;
  needsReview: boolean;
  reviewUntil: Date | null;
  decidedAt: Date | null;
  actions: Record<string, unknown>[];
  duplicateOf: string | null;
  rawKept: boolean;
}

export interface InboxFilter {
  kind?: InboundKind | undefined;
  /** A person should look, and nobody has decided. */
  needsReview?: boolean | undefined;
  enrollmentId?: string | undefined;
  campaignId?: string | undefined;
  /** It belongs to nobody that we know. */
  unmatched?: boolean | undefined;
  since?: Date | undefined;
}

function items(db: Db) {
  return db
    .selectFrom('inbound as i')
    .leftJoin('enrollment as e', 'e.id', 'i.enrollment_id')
    .select((eb) => [
      'i.id as inboundId',
      'i.source',
      'i.received_at as receivedAt',
      'i.bytes',
      'i.state',
      'i.failure',
      'i.processed_at as processedAt',
      'i.summary',
      'i.event',
      eb.fn.coalesce('i.decided_kind', 'i.kind').as('kind'),
      'i.kind as classifiedAs',
      'i.subtype',
      'i.classification',
      'i.enrollment_id as enrollmentId',
      'e.campaign_id as campaignId',
      'i.lead_id as leadId',
      'i.transactional_id as transactionalId',
      'i.step',
      'i.matched_by as matchedBy',
      'i.proven',
      'i.needs_review as needsReview',
      'i.review_until as reviewUntil',
      'i.decided_at as decidedAt',
      'i.actions',
      'i.duplicate_of as duplicateOf',
      sql<boolean>`i.raw is not null`.as('rawKept'),
    ]);
}

type Row = Awaited<ReturnType<ReturnType<typeof items>['execute']>>[number];

function itemOf({ summary, event, ...row }: Row): InboxItem {
  return {
    ...row,
    from: summary?.from ?? null,
    fromName: summary?.fromName ?? null,
    subject: summary?.subject ?? null,
    excerpt: summary?.excerpt ?? null,
    event: event === null ? null : { provider: event.provider, kind: event.kind },
  };
}

/** What was received, newest first. @param after the last of the page before */
export async function listInbox(
  db: Db,
  filter: InboxFilter,
  limit: number,
  after: { createdAt: Date; id: string } | null,
): Promise<InboxItem[]> {
  let query = items(db).orderBy('i.received_at', 'desc').orderBy('i.id', 'desc').limit(limit);
  const { kind, needsReview, enrollmentId, campaignId, unmatched, since } = filter;
  if (kind !== undefined) query = query.where((eb) => eb(eb.fn.coalesce('i.decided_kind', 'i.kind'), '=', kind));
  if (needsReview !== undefined) {
    query = query.where(sql<boolean>`(i.needs_review and i.decided_at is null)`, '=', needsReview);
  }
  if (enrollmentId !== undefined) query = query.where('i.enrollment_id', '=', enrollmentId);
  if (campaignId !== undefined) query = query.where('e.campaign_id', '=', campaignId);
  if (unmatched !== undefined) {
    query = query.where(
      sql<boolean>`(i.state <> 'new' and i.enrollment_id is null and i.transactional_id is null)`,
      '=',
      unmatched,
    );
  }
  if (since !== undefined) query = query.where('i.received_at', '>=', since);
  if (after !== null) {
    query = query.where((eb) =>
      eb.or([
        eb('i.received_at', '<', after.createdAt),
        eb.and([eb('i.received_at', '=', after.createdAt), eb('i.id', '<', after.id)]),
      ]),
    );
  }
  return (await query.execute()).map(itemOf);
}

/** @throws Problem `not-found` */
export async function findInboxItem(db: Db, id: string): Promise<InboxItem> {
  const row = await items(db).where('i.id', '=', id).executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `nothing was received as ${id}`);
  return itemOf(row);
}

/** The message as it came. @throws Problem `not-found`, also when it was erased or was no message */
export async function rawOf(db: Db, id: string): Promise<Buffer> {
  const row = await db.selectFrom('inbound').select('raw').where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `nothing was received as ${id}`);
  if (row.raw === null)
    throw new Problem('not-found', 'it is not kept any more, or came as an event and not as a message');
  return row.raw;
}
