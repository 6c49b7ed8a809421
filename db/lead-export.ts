import { sql } from 'kysely';
import type { JourneyKind } from '../domain/journeys';
import type { Outcome } from '../domain/outcomes';
import { Problem } from '../domain/problem';
import type { Db } from './client';
import { erasedAfter } from './retention';
import type { MessageReport, MessageState } from './schema';

/**
 * Everything that is kept of a person, for the person (GDPR, art. 15 and 20). Texts are as they are kept; a mail's subject is
 * that of its campaign, in which names may still stand as `{{ lead.firstName }}`: bodies are not kept.
 */
export interface LeadExport {
  format: 'recuerda-lead';
  version: 1;
  exportedAt: Date;
  person: {
    leadId: string;
    email: string;
    name: string;
    locale: string | null;
    timeZone: string | null;
    attributes: Record<string, unknown>;
    since: Date;
    updatedAt: Date;
  };
  /** When all of this is erased, as things stand; null while a journey is open. */
  erasedAfter: Date | null;
  consents: {
    campaignId: string;
    purpose: string;
    text: string;
    textVersion: string | null;
    givenAt: Date;
    source: string;
    ip: string | null;
    userAgent: string | null;
    withdrawnAt: Date | null;
  }[];
  /** The chain of what they agreed to and took back, as it is kept as evidence. */
  evidence: { seq: number; entry: unknown; hash: string }[];
  enrollments: {
    enrollmentId: string;
    campaignId: string;
    campaign: string;
    product: string;
    journey: JourneyKind;
    orderId: string | null;
    requestedAt: Date;
    enrolledAt: Date;
    agreedAt: Date | null;
    basis: string | null;
    /** Form, page and UTM parameters that the request came with. */
    source: unknown;
    referralCode: string | null;
    outcome: Outcome | null;
    endedAt: Date | null;
    nextMailAt: Date | null;
    messages: {
      step: number;
      copy: number;
      subject: string | null;
      messageId: string;
      state: MessageState;
      at: Date;
      code: string | null;
      report: MessageReport | null;
    }[];
  }[];
  /** Mail outside any journey: orders, invoices, confirmations. What was in it is not kept. */
  otherMails: { kind: string; template: string | null; state: string; createdAt: Date; settledAt: Date | null }[];
  received: {
    inboundId: string;
    receivedAt: Date;
    kind: string | null;
    from: string | null;
    subject: string | null;
    text: string | null;
    /** The message as it came, where it is still kept; of very large ones the newest (`RAW_EXPORTED_BYTES`). */
    raw: string | null;
  }[];
  purchases: {
    orderId: string;
    purchasedAt: Date;
    amount: string | null;
    currency: string | null;
    products: string[] | null;
    softOptIn: unknown;
    refundedAt: Date | null;
  }[];
  /** What mail is kept from them, and what was. */
  suppressions: {
    kind: string;
    campaignId: string | null;
    since: Date;
    by: string;
    liftedAt: Date | null;
    liftedBy: string | null;
  }[];
  formRequests: {
    campaignId: string;
    purpose: string;
    state: string;
    requestedAt: Date;
    expiresAt: Date;
    content: unknown;
  }[];
  privacyRequests: { kind: string; source: string; receivedAt: Date; dueAt: Date; doneAt: Date | null }[];
  referralLinks: { code: string; campaignId: string; createdAt: Date }[];
  softBounces: { at: Date; code: string | null }[];
  timeline: { at: Date; enrollmentId: string | null; kind: string; step: number | null; detail: unknown }[];
}

/**
 * So much (bytes) of what somebody wrote is handed over as it came. A file is made in memory, and whoever sends us large
 * mails and then asks for them must not be able to end the process.
 */
export const RAW_EXPORTED_BYTES = 16 * 1024 * 1024;

/**
 * Exports a person, in one snapshot.
 *
 * @param timeFactor planned time per real time
 * @throws Problem `not-found`, also once the lead was erased
 */
export async function exportLead(db: Db, leadId: string, timeFactor: number, now: Date): Promise<LeadExport> {
  return await db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const lead = await tx.selectFrom('lead').selectAll().where('id', '=', leadId).executeTakeFirst();
      if (lead === undefined) throw new Problem('not-found', `there is no lead ${leadId}`);
      if (lead.email === null || lead.address_hash === null) {
        throw new Problem('not-found', `lead ${leadId} was erased: nothing of the person is kept`);
      }
      const hash = lead.address_hash;
      const consents = await tx
        .selectFrom('consent')
        .select(['campaign_id as campaignId', 'purpose', 'text', 'text_version as textVersion'])
        .select(['captured_at as givenAt', 'source', sql<string | null>`host(ip)`.as('ip')])
        .select(['user_agent as userAgent', 'withdrawn_at as withdrawnAt'])
        .where('lead_id', '=', leadId)
        .orderBy('captured_at')
        .execute();
      const evidence = await tx
        .selectFrom('evidence')
        .select(['seq', 'body', 'hash'])
        .where('lead_id', '=', leadId)
        .orderBy('seq')
        .execute();
      const enrollments = await tx
        .selectFrom('enrollment as e')
        .innerJoin('campaign_version as v', (join) =>
          join.onRef('v.campaign_id', '=', 'e.campaign_id').onRef('v.version', '=', 'e.version'),
        )
        .selectAll('e')
        .select([sql<string>`v.definition->>'name'`.as('campaign')])
        .select([sql<string>`v.definition->'product'->>'name'`.as('product')])
        .where('e.lead_id', '=', leadId)
        .orderBy('e.enrolled_at')
        .execute();
      const messages = await tx
        .selectFrom('message as m')
        .innerJoin('enrollment as e', 'e.id', 'm.enrollment_id')
        .innerJoin('campaign_version as v', (join) =>
          join
            .onRef('v.campaign_id', '=', 'e.campaign_id')
            // What it said stands in the version that the lead was in when it went out.
            .on('v.version', '=', sql<number>`coalesce((e.plan->(m.step::int)->>'version')::int, e.version)`),
        )
        .select((eb) => [
          'm.enrollment_id as enrollmentId',
          'm.step',
          'm.copy',
          'm.message_id as messageId',
          'm.state',
          eb.fn.coalesce('m.settled_at', 'm.handing_over_at', 'm.claimed_at').as('at'),
          'm.code',
          'm.report',
          // A buyer's steps begin with 0 only where the first of them is the thanks.
          sql<
            string | null
          >`case when e.journey = 'lead' then v.steps->coalesce((e.plan->(m.step::int)->>'step')::int, m.step)->>'subject'
            else v.after_purchase->(m.step - (v.definition->'afterPurchase'->'steps'->0->>'kind' is distinct from 'thanks')::int)
                 ->>'subject' end`.as('subject'),
        ])
        .where('e.lead_id', '=', leadId)
        .orderBy('m.first_claimed_at')
        .orderBy('m.step')
        .execute();
      const otherMails = await tx
        .selectFrom('transactional')
        .select(['kind', 'template', 'state', 'created_at as createdAt', 'settled_at as settledAt'])
        // Written down under the newest key, whichever the lead was first known by.
        .where((eb) =>
          eb.or([
            eb('address_hash', '=', hash),
            eb.and([eb('email', 'is not', null), eb(eb.fn('lower', ['email']), '=', lead.email?.toLowerCase() ?? '')]),
          ]),
        )
        .orderBy('created_at')
        .execute();
      const received = await tx
        .selectFrom('inbound')
        .select(['id as inboundId', 'received_at as receivedAt', 'kind', 'summary'])
        .select(
          sql<Buffer | null>`case when sum(length(raw)) over (order by received_at desc, id) <= ${RAW_EXPORTED_BYTES}
            then raw end`.as('raw'),
        )
        .where('lead_id', '=', leadId)
        .orderBy('received_at')
        .execute();
      const purchases = await tx
        .selectFrom('purchase as p')
        .leftJoin('refund as r', 'r.order_id', 'p.order_id')
        .select(['p.order_id as orderId', 'p.purchased_at as purchasedAt', 'p.amount', 'p.currency', 'p.products'])
        .select(['p.soft_opt_in as softOptIn', 'r.refunded_at as refundedAt'])
        .where('p.address_hash', '=', hash)
        .orderBy('p.purchased_at')
        .execute();
      return {
        format: 'recuerda-lead',
        version: 1,
        exportedAt: now,
        person: {
          leadId,
          email: lead.email,
          name: lead.name,
          locale: lead.locale,
          timeZone: lead.time_zone,
          attributes: lead.attributes,
          since: lead.created_at,
          updatedAt: lead.updated_at,
        },
        erasedAfter: await erasedAfter(tx, leadId, timeFactor),
        consents,
        evidence: evidence.map(({ body, ...link }) => ({ ...link, entry: JSON.parse(body) })),
        enrollments: enrollments.map((row) => ({
          enrollmentId: row.id,
          campaignId: row.campaign_id,
          campaign: row.campaign,
          product: row.product,
          journey: row.journey,
          orderId: row.order_id,
          requestedAt: row.requested_at,
          enrolledAt: row.enrolled_at,
          agreedAt: row.agreed_at,
          basis: row.basis,
          source: row.source,
          referralCode: row.referral_code,
          outcome: row.outcome,
          endedAt: row.ended_at,
          nextMailAt: row.outcome === null ? row.next_due_at : null,
          messages: messages.flatMap(({ enrollmentId, ...message }) => (enrollmentId === row.id ? [message] : [])),
        })),
        otherMails,
        received: received.map(({ summary, raw, ...row }) => ({
          ...row,
          from: summary?.from ?? null,
          subject: summary?.subject ?? null,
          text: summary?.excerpt ?? null,
          raw: raw?.toString('utf8') ?? null,
        })),
        purchases,
        suppressions: await tx
          .selectFrom('suppression')
          .select(['kind', 'campaign_id as campaignId', 'since', 'by', 'lifted_at as liftedAt'])
          .select('lifted_by as liftedBy')
          .where('address_hash', '=', hash)
          .orderBy('since')
          .execute(),
        formRequests: await tx
          .selectFrom('form_request')
          .select(['campaign_id as campaignId', 'purpose', 'state', 'requested_at as requestedAt'])
          .select(['expires_at as expiresAt', 'content'])
          .where('address_hash', '=', hash)
          .orderBy('requested_at')
          .execute(),
        privacyRequests: await tx
          .selectFrom('privacy_request')
          .select(['kind', 'source', 'received_at as receivedAt', 'due_at as dueAt', 'done_at as doneAt'])
          .where('lead_id', '=', leadId)
          .orderBy('received_at')
          .execute(),
        referralLinks: await tx
          .selectFrom('referral_link')
          .select(['code', 'campaign_id as campaignId', 'created_at as createdAt'])
          .where('lead_id', '=', leadId)
          .orderBy('created_at')
          .execute(),
        softBounces: await tx
          .selectFrom('soft_bounce')
          .select(['at', 'code'])
          .where('address_hash', '=', hash)
          .orderBy('at')
          .execute(),
        timeline: await tx
          .selectFrom('event')
          .select(['at', 'enrollment_id as enrollmentId', 'kind', 'step', 'detail'])
          .where('lead_id', '=', leadId)
          .orderBy('id')
          .execute(),
      };
    });
}
