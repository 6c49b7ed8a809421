import { sql } from 'kysely';
import type { JourneyKind } from '../domain/journeys';
import type { Outcome } from '../domain/outcomes';
import { Problem } from '../domain/problem';
import type { Db } from './client';
import type { EventKind } from './events';
import type { MessageReport, MessageState } from './schema';

// What the API tells of leads and their enrollments. Reads only, and from Postgres only.

type EnrollmentState = 'active' | 'paused' | 'ended';

export interface MessageView {
  step: number;
  copy: number;
  messageId: string;
  state: MessageState;
  at: Date;
  code: string | null;
  /** What was heard of it after the mail server had taken it. */
  report: MessageReport | null;
}

export interface EnrollmentView {
  enrollmentId: string;
  leadId: string;
  campaignId: string;
  version: number;
  /** Whether it follows a lead, or a buyer after the purchase. */
  journey: JourneyKind;
  /** Of a buyer's: what was bought. */
  orderId: string | null;
  state: EnrollmentState;
  pausedBy: 'campaign' | 'enrollment' | null;
  outcome: Outcome | null;
  step: number;
  /** Null when it has ended. */
  nextDueAt: Date | null;
  requestedAt: Date;
  enrolledAt: Date;
  endedAt: Date | null;
  /** No nudge is sent while a person must decide what a message of theirs is. */
  inReview: boolean;
  /** The enrollment that this one goes on from. */
  reopenedFrom: string | null;
  /** Oldest first. */
  messages: MessageView[];
}

/** @throws Problem `not-found` */
export async function findEnrollment(db: Db, id: string): Promise<EnrollmentView> {
  const [row] = await withMessages(db, await enrollmentRows(db).where('e.id', '=', id).execute());
  if (row === undefined) throw new Problem('not-found', `there is no enrollment ${id}`);
  return row;
}

export interface EnrollmentFilter {
  state?: EnrollmentState | undefined;
  outcome?: Outcome | undefined;
  journey?: JourneyKind | undefined;
}

/**
 * Enrollments of a campaign, in the order of their ids, which never changes.
 *
 * @param after the last of the page before
 * @throws Problem `not-found` when there is no such campaign
 */
export async function listEnrollments(
  db: Db,
  campaignId: string,
  filter: EnrollmentFilter,
  limit: number,
  after: string | null,
): Promise<EnrollmentView[]> {
  const campaign = await db.selectFrom('campaign').select('id').where('id', '=', campaignId).executeTakeFirst();
  if (campaign === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
  let query = enrollmentRows(db).where('e.campaign_id', '=', campaignId).orderBy('e.id').limit(limit);
  if (after !== null) query = query.where('e.id', '>', after);
  if (filter.journey !== undefined) query = query.where('e.journey', '=', filter.journey);
  if (filter.outcome !== undefined) query = query.where('e.outcome', '=', filter.outcome);
  if (filter.state === 'ended') query = query.where('e.outcome', 'is not', null);
  else if (filter.state !== undefined) {
    const paused = filter.state === 'paused';
    query = query
      .where('e.outcome', 'is', null)
      .where((eb) => eb(eb.or([eb('e.paused_at', 'is not', null), eb('c.paused_at', 'is not', null)]), '=', paused));
  }
  return await withMessages(db, await query.execute());
}

function enrollmentRows(db: Db) {
  return db
    .selectFrom('enrollment as e')
    .innerJoin('campaign as c', 'c.id', 'e.campaign_id')
    .select([
      'e.id',
      'e.lead_id',
      'e.campaign_id',
      'e.version',
      'e.journey',
      'e.order_id',
      'e.outcome',
      'e.step',
      'e.next_due_at',
      'e.requested_at',
      'e.enrolled_at',
      'e.ended_at',
      'e.paused_at',
      'e.review_since',
      'e.reopened_from',
      'c.paused_at as campaign_paused_at',
    ]);
}

async function withMessages(
  db: Db,
  rows: Awaited<ReturnType<ReturnType<typeof enrollmentRows>['execute']>>,
): Promise<EnrollmentView[]> {
  if (rows.length === 0) return [];
  const messages = await db
    .selectFrom('message')
    .select((eb) => [
      'enrollment_id',
      'step',
      'copy',
      'message_id as messageId',
      'state',
      eb.fn.coalesce('settled_at', 'handing_over_at', 'claimed_at').as('at'),
      'code',
      'report',
    ])
    .where('enrollment_id', '=', sql<string>`any(${rows.map((row) => row.id)}::uuid[])`)
    .orderBy('first_claimed_at')
    .orderBy('step')
    .orderBy('copy')
    .execute();
  return rows.map((row): EnrollmentView => {
    const pausedBy = row.campaign_paused_at !== null ? 'campaign' : row.paused_at !== null ? 'enrollment' : null;
    const ended = row.outcome !== null;
    return {
      enrollmentId: row.id,
      leadId: row.lead_id,
      campaignId: row.campaign_id,
      version: row.version,
      journey: row.journey,
      orderId: row.order_id,
      state: ended ? 'ended' : pausedBy !== null ? 'paused' : 'active',
      pausedBy: ended ? null : pausedBy,
      outcome: row.outcome,
      step: row.step,
      nextDueAt: ended ? null : row.next_due_at,
      requestedAt: row.requested_at,
      enrolledAt: row.enrolled_at,
      endedAt: row.ended_at,
      inReview: !ended && row.review_since !== null,
      reopenedFrom: row.reopened_from,
      messages: messages
        .filter((message) => message.enrollment_id === row.id)
        .map(({ enrollment_id: _, ...message }) => message),
    };
  });
}

interface ConsentView {
  campaignId: string;
  enrollmentId: string;
  purpose: string;
  text: string;
  capturedAt: Date;
  source: string;
  ip: string | null;
  userAgent: string | null;
  withdrawnAt: Date | null;
}

export interface LeadEvent {
  at: Date;
  enrollmentId: string | null;
  kind: EventKind;
  step: number | null;
  detail: Record<string, unknown>;
}

export interface LeadView {
  leadId: string;
  /** Null once the lead was erased. */
  email: string | null;
  name: string;
  locale: string | null;
  timeZone: string | null;
  attributes: Record<string, unknown>;
  createdAt: Date;
  updatedAt: Date;
  erasedAt: Date | null;
  /** What keeps mail of every campaign from the address, if anything. */
  suppression: 'objection' | 'complaint' | 'undeliverable' | null;
  suppressedSince: Date | null;
  /** The campaigns whose mail alone is kept from it. */
  suppressedCampaigns: string[];
  consents: ConsentView[];
  /** Oldest first. */
  enrollments: EnrollmentView[];
  /** Oldest first; the last `MAX_EVENTS`. */
  events: LeadEvent[];
  /** Whether there were more events than are told. */
  eventsCut: boolean;
}

/** A journey leaves about fifty events in two years; this is for one that a defect keeps writing to. */
const MAX_EVENTS = 1000;

/** What is known of a person; of one who was erased: that, and what became of their enrollments. @throws Problem `not-found` */
export async function findLead(db: Db, id: string): Promise<LeadView> {
  // One snapshot, so that the timeline and the states it explains agree.
  return await db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const lead = await tx
        .selectFrom('lead as l')
        .leftJoin('address as a', 'a.hash', 'l.address_hash')
        .selectAll('l')
        .select(['a.suppressed_at', 'a.suppressed_reason', 'a.undeliverable_at', 'a.suppressed_campaigns'])
        .where('l.id', '=', id)
        .executeTakeFirst();
      if (lead === undefined) throw new Problem('not-found', `there is no lead ${id}`);
      const consents = await tx
        .selectFrom('consent')
        .select([
          'campaign_id as campaignId',
          'enrollment_id as enrollmentId',
          'purpose',
          'text',
          'captured_at as capturedAt',
          'source',
          sql<string | null>`host(ip)`.as('ip'),
          'user_agent as userAgent',
          'withdrawn_at as withdrawnAt',
        ])
        .where('lead_id', '=', id)
        .orderBy('captured_at')
        .orderBy('created_at')
        .execute();
      const enrollments = await enrollmentRows(tx).where('e.lead_id', '=', id).orderBy('e.enrolled_at').execute();
      const events = await tx
        .selectFrom('event')
        .select(['at', 'enrollment_id as enrollmentId', 'kind', 'step', 'detail'])
        .where('lead_id', '=', id)
        .orderBy('id', 'desc')
        .limit(MAX_EVENTS + 1)
        .execute();
      return {
        leadId: lead.id,
        email: lead.email,
        name: lead.name,
        locale: lead.locale,
        timeZone: lead.time_zone,
        attributes: lead.attributes,
        createdAt: lead.created_at,
        updatedAt: lead.updated_at,
        erasedAt: lead.erased_at,
        suppression: lead.suppressed_reason ?? (lead.undeliverable_at === null ? null : 'undeliverable'),
        suppressedSince: lead.suppressed_at ?? lead.undeliverable_at,
        suppressedCampaigns: lead.suppressed_campaigns ?? [],
        consents,
        enrollments: await withMessages(tx, enrollments),
        events: events.slice(0, MAX_EVENTS).reverse() as LeadEvent[],
        eventsCut: events.length > MAX_EVENTS,
      };
    });
}

/** The lead with this address, or null. @param hashes as `hashAddress` returns them */
export async function findLeadByAddress(
  db: Db,
  hashes: readonly string[],
): Promise<{ leadId: string; createdAt: Date } | null> {
  const row = await db
    .selectFrom('lead')
    .select(['id as leadId', 'created_at as createdAt'])
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .executeTakeFirst();
  return row ?? null;
}
