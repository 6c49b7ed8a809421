import type { StaffToken } from '../domain/staff-token';
import { versionOf } from './campaigns';
import type { Db } from './client';
import { recordEvents } from './events';

/** What a salesperson's link is about, as it stands now. */
export interface StaffView {
  company: string;
  product: string;
  leadName: string;
  /** Language of its page: the campaign's. */
  locale: string;
  /** Whose days count: the lead's. */
  timeZone: string;
  /** Null while it is open. */
  outcome: string | null;
  /** The open enrollment of this lead in this campaign, this one or one that goes on from it. */
  openEnrollmentId: string | null;
  /** Mail to them waits until somebody has decided what the message is. */
  inReview: boolean;
}

/** Null once the lead was erased. */
export async function staffView(db: Db, token: StaffToken): Promise<StaffView | null> {
  const row = await db
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .leftJoin('enrollment as open', (join) =>
      join
        .onRef('open.lead_id', '=', 'e.lead_id')
        .onRef('open.campaign_id', '=', 'e.campaign_id')
        .onRef('open.journey', '=', 'e.journey')
        .on('open.outcome', 'is', null),
    )
    .leftJoin('inbound as i', (join) => join.on('i.id', '=', token.inboundId))
    .select([
      'e.campaign_id',
      'e.version',
      'e.outcome',
      'l.name',
      'l.time_zone',
      'open.id as open_id',
      'i.review_until',
      'i.decided_at',
    ])
    .where('e.id', '=', token.enrollmentId)
    .executeTakeFirst();
  if (row === undefined) return null;
  const { definition } = await versionOf(db, row.campaign_id, row.version);
  return {
    company: definition.sender.legalName,
    product: definition.product.name,
    leadName: row.name,
    locale: definition.locale,
    timeZone: row.time_zone ?? definition.timeZone,
    outcome: row.outcome,
    openEnrollmentId: row.open_id,
    inReview: row.review_until !== null && row.decided_at === null,
  };
}

/** A salesperson has seen the answer and leaves it at that. */
export async function noteLeftEnded(db: Db, token: StaffToken, now: Date): Promise<void> {
  const row = await db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('id', '=', token.enrollmentId)
    .executeTakeFirst();
  if (row === undefined) return;
  const { enrollmentId, inboundId } = token;
  await recordEvents(db, [
    { at: now, leadId: row.lead_id, enrollmentId, kind: 'left-ended', detail: { via: 'staff-link', inboundId } },
  ]);
}
