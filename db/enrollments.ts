import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import { providerOf } from '../domain/addresses';
import { allowsNudges, type ConsentEvidence } from '../domain/consent';
import { planDue } from '../domain/planner';
import { Problem } from '../domain/problem';
import { lockAddresses, type Suppression, suppressionOf } from './addresses';
import { versionOf } from './campaigns';
import { type Db, inTransaction, type Tx } from './client';
import { type NewEvent, recordEvents } from './events';
import { signalStamp } from './outbox';
import { giveBackSlots, keptSlotDay } from './quota';
import type { EnrollmentTable } from './schema';
import { forgetSoftBounces } from './soft-bounces';

/** One person's request for the information of a campaign. */
export interface EnrollRequest {
  /** As `hashAddress` returns it, all keys, newest first. */
  hashes: [string, ...string[]];
  email: string;
  name?: string | undefined;
  locale?: string | undefined;
  timeZone?: string | undefined;
  attributes?: Record<string, unknown> | undefined;
  /** When they asked; null when nobody knows. */
  requestedAt: Date | null;
  consent: ConsentEvidence | null;
}

export interface EnrollOptions {
  campaignId: string;
  now: Date;
  /** 1 first, 5 last: a person who waits goes before a file of leads. */
  priority: number;
  /** Where the requests come from, for the timeline: `api`, `import:<id>` … */
  via: string;
  /** A person asked in person, so whoever asks again gets the information again (promise P1); a file doesn't ask. */
  asksInPerson: boolean;
  timeFactor: number;
}

export type EnrollResult =
  | { kind: 'created' | 'existing'; enrollmentId: string; leadId: string }
  | { kind: 'refused'; because: Refusal };

/** Why somebody is not enrolled: mail to them is suppressed, or a file's line is about one who has bought since they asked. */
export type Refusal = Suppression | { reason: 'bought'; since: Date };

/** The information is sent again at most once in this time (ms). */
const INFO_AGAIN_MS = 24 * 60 * 60 * 1000;

/**
 * Enrolls people in a campaign's latest version, in one transaction: all of them, or none. For each it keeps at most one
 * open enrollment (promise P1), however many ask at the same time, and refuses suppressed addresses (P6). A line of a file
 * about somebody who has bought since they asked is refused too.
 *
 * @param requests no address twice
 * @returns for each request, in the order given, what became of it
 * @throws Problem `not-found`, `not-published`, `campaign-cancelled`
 */
export async function enroll(
  db: Db,
  requests: readonly EnrollRequest[],
  options: EnrollOptions,
): Promise<EnrollResult[]> {
  return await inTransaction(db, (tx) => enrollIn(tx, requests, options));
}

/** `enroll` as a part of a larger transaction, in which no other row is locked yet. */
export async function enrollIn(
  tx: Tx,
  requests: readonly EnrollRequest[],
  options: EnrollOptions,
): Promise<EnrollResult[]> {
  const addresses = await lockAddresses(
    tx,
    requests.map((request) => request.hashes),
  );
  const version = await openCampaign(tx, options.campaignId);
  const welcome = requests.flatMap((request, index) => {
    const address = addresses[index];
    if (address === undefined || suppressionOf(address, options.campaignId) !== null) return [];
    return [{ request, hash: address.hash }];
  });
  const leads = await upsertLeads(tx, welcome, options.now);
  const earlier = await enrollmentsOf(tx, options.campaignId, [...leads.values()]);
  const bought = options.asksInPerson ? new Map<string, Date>() : await lastPurchases(tx, requests, options.campaignId);

  const fresh: Fresh[] = [];
  const again: { request: EnrollRequest; enrollment: EarlierEnrollment }[] = [];
  const results = requests.map((request, index): EnrollResult => {
    const address = addresses[index];
    if (address === undefined) throw new Error('every request has an address');
    const suppression = suppressionOf(address, options.campaignId);
    if (suppression !== null) return { kind: 'refused', because: suppression };
    const leadId = leads.get(address.hash);
    if (leadId === undefined) throw new Error('every welcome address has a lead');
    const known = earlier.get(leadId) ?? [];
    const open = known.find((enrollment) => enrollment.outcome === null);
    if (open !== undefined) {
      if (options.asksInPerson) again.push({ request, enrollment: open });
      return { kind: 'existing', enrollmentId: open.id, leadId };
    }
    const last = known.at(-1);
    if (last !== undefined && !options.asksInPerson && !isNewer(request, last)) {
      return { kind: 'existing', enrollmentId: last.id, leadId };
    }
    const boughtAt = request.hashes.map((hash) => bought.get(hash)).find((at) => at !== undefined);
    if (boughtAt !== undefined && request.requestedAt !== null && boughtAt >= request.requestedAt) {
      return { kind: 'refused', because: { reason: 'bought', since: boughtAt } };
    }
    const id = randomUUID();
    fresh.push({ id, leadId, hash: address.hash, request });
    return { kind: 'created', enrollmentId: id, leadId };
  });

  if (options.asksInPerson)
    await forgetSoftBounces(
      tx,
      welcome.map(({ hash }) => hash),
    );
  await insertFresh(tx, fresh, version, options);
  for (const { request, enrollment } of again) await askAgain(tx, request, enrollment, options);
  return results;
}

interface Fresh {
  id: string;
  leadId: string;
  hash: string;
  request: EnrollRequest;
}

type EarlierEnrollment = Pick<
  EnrollmentTable,
  'id' | 'lead_id' | 'outcome' | 'agreed_at' | 'last_info_at' | 'info_due_at' | 'ended_at'
> & { step: number; version: number; time_zone: string | null; enrolled_at: Date };

async function openCampaign(tx: Tx, campaignId: string): Promise<number> {
  const campaign = await tx
    .selectFrom('campaign')
    .select(['latest_version', 'cancelled_at'])
    .where('id', '=', campaignId)
    // Waits for a cancellation, which locks for update; a pause need not wait for a gap between the batches of imports.
    .forKeyShare()
    .executeTakeFirst();
  if (campaign === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
  if (campaign.cancelled_at !== null) {
    throw new Problem('campaign-cancelled', 'the campaign was cancelled; enroll the lead in another one');
  }
  if (campaign.latest_version === null) {
    throw new Problem(
      'not-published',
      'the campaign is a draft; publish it with POST /v1/campaigns/{id}/publish first',
    );
  }
  return campaign.latest_version;
}

async function upsertLeads(
  tx: Tx,
  people: readonly { request: EnrollRequest; hash: string }[],
  now: Date,
): Promise<Map<string, string>> {
  if (people.length === 0) return new Map();
  const rows = await tx
    .insertInto('lead')
    .values(
      people.map(({ request, hash }) => ({
        id: randomUUID(),
        address_hash: hash,
        email: request.email,
        name: request.name ?? '',
        locale: request.locale ?? null,
        time_zone: request.timeZone ?? null,
        attributes: JSON.stringify(request.attributes ?? {}),
      })),
    )
    .onConflict((conflict) =>
      conflict.column('address_hash').doUpdateSet((eb) => ({
        // What a new request leaves out stays as it was.
        name: sql<string>`coalesce(nullif(excluded.name, ''), lead.name)`,
        locale: eb.fn.coalesce('excluded.locale', 'lead.locale'),
        time_zone: eb.fn.coalesce('excluded.time_zone', 'lead.time_zone'),
        attributes: sql`lead.attributes || excluded.attributes`,
        updated_at: now,
      })),
    )
    .returning(['id', 'address_hash'])
    .execute();
  return new Map(rows.map((row) => [row.address_hash, row.id]));
}

/** By lead, oldest first; the open ones locked. */
async function enrollmentsOf(
  tx: Tx,
  campaignId: string,
  leadIds: readonly string[],
): Promise<Map<string, EarlierEnrollment[]>> {
  const rows = await tx
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .select([
      'e.id',
      'e.lead_id',
      'e.outcome',
      'e.agreed_at',
      'e.last_info_at',
      'e.info_due_at',
      'e.ended_at',
      'e.step',
      'e.version',
      'e.enrolled_at',
      'l.time_zone',
    ])
    .where('e.campaign_id', '=', campaignId)
    .where('e.lead_id', '=', sql<string>`any(${leadIds}::uuid[])`)
    .orderBy('e.enrolled_at')
    .forNoKeyUpdate('e')
    .execute();
  const byLead = new Map<string, EarlierEnrollment[]>();
  for (const row of rows) byLead.set(row.lead_id, [...(byLead.get(row.lead_id) ?? []), row]);
  return byLead;
}

/** When these people last bought, by address hash: of this campaign, or of the shop without saying which. */
async function lastPurchases(
  tx: Tx,
  requests: readonly EnrollRequest[],
  campaignId: string,
): Promise<Map<string, Date>> {
  const hashes = requests.flatMap((request) => request.hashes);
  const rows = await tx
    .selectFrom('purchase')
    .select((eb) => ['address_hash', eb.fn.max('purchased_at').as('at')])
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .where((eb) => eb.or([eb('campaign_id', 'is', null), eb('campaign_id', '=', campaignId)]))
    .groupBy('address_hash')
    .execute();
  return new Map(rows.map((row) => [row.address_hash, row.at]));
}

/** Has this person asked since their last enrollment ended? Only then does a line of a file start them anew. */
function isNewer(request: EnrollRequest, last: EarlierEnrollment): boolean {
  return request.requestedAt !== null && last.ended_at !== null && request.requestedAt > last.ended_at;
}

async function insertFresh(tx: Tx, fresh: readonly Fresh[], version: number, options: EnrollOptions): Promise<void> {
  if (fresh.length === 0) return;
  const { now } = options;
  await tx
    .insertInto('enrollment')
    .values(
      fresh.map(({ id, leadId, hash, request }) => ({
        id,
        campaign_id: options.campaignId,
        version,
        lead_id: leadId,
        address_hash: hash,
        requested_at: request.requestedAt ?? now,
        enrolled_at: now,
        agreed_at: agreedAt(request),
        next_due_at: now,
        fairness_key: providerOf(request.email),
        priority: options.priority,
      })),
    )
    .execute();
  await insertConsents(
    tx,
    fresh.map(({ id, leadId, request }) => ({ enrollmentId: id, leadId, consent: request.consent })),
    options.campaignId,
  );
  await recordEvents(
    tx,
    fresh.map(
      ({ id, leadId, request }): NewEvent => ({
        at: now,
        leadId,
        enrollmentId: id,
        kind: 'enrolled',
        detail: { via: options.via, version, consent: request.consent?.purpose ?? null },
      }),
    ),
  );
}

/** Asked again while the enrollment is open: the information once more, and the next nudge a full interval away. */
async function askAgain(
  tx: Tx,
  request: EnrollRequest,
  enrollment: EarlierEnrollment,
  options: EnrollOptions,
): Promise<void> {
  const { now } = options;
  const started = enrollment.step > 0;
  const lastInfo = enrollment.last_info_at?.getTime() ?? 0;
  const infoAgain = started && enrollment.info_due_at === null && now.getTime() - lastInfo >= INFO_AGAIN_MS;
  const definition = (await versionOf(tx, options.campaignId, enrollment.version)).definition;
  const nextDue = started
    ? planDue({
        enrollmentId: enrollment.id,
        step: enrollment.step,
        after: now,
        cadence: definition.cadence,
        sendWindow: definition.sendWindow,
        timeZone: enrollment.time_zone ?? definition.timeZone,
        clock: { origin: enrollment.enrolled_at.getTime(), factor: options.timeFactor },
      })
    : null;
  if (nextDue !== null) await giveBackSlots(tx, sql<SqlBool>`e.id = ${enrollment.id}`, now);
  await tx
    .updateTable('enrollment')
    .set((eb) => ({
      agreed_at: enrollment.agreed_at ?? agreedAt(request),
      ...(nextDue === null ? {} : { next_due_at: nextDue, slot_day: keptSlotDay, signal_at: signalStamp(now) }),
      ...(infoAgain ? { info_due_at: now, info_copies: eb('info_copies', '+', 1) } : {}),
    }))
    .where('id', '=', enrollment.id)
    .execute();
  await insertConsents(
    tx,
    [{ enrollmentId: enrollment.id, leadId: enrollment.lead_id, consent: request.consent }],
    options.campaignId,
  );
  await recordEvents(tx, [
    {
      at: now,
      leadId: enrollment.lead_id,
      enrollmentId: enrollment.id,
      kind: 'asked-again',
      step: enrollment.step,
      detail: { via: options.via, infoAgain, nextDueAt: nextDue },
    },
  ]);
}

function agreedAt(request: EnrollRequest): Date | null {
  return request.consent !== null && allowsNudges(request.consent.purpose) ? request.consent.capturedAt : null;
}

async function insertConsents(
  tx: Tx,
  given: readonly { enrollmentId: string; leadId: string; consent: ConsentEvidence | null }[],
  campaignId: string,
): Promise<void> {
  const rows = given.flatMap(({ enrollmentId, leadId, consent }) =>
    consent === null
      ? []
      : [
          {
            id: randomUUID(),
            lead_id: leadId,
            campaign_id: campaignId,
            enrollment_id: enrollmentId,
            purpose: consent.purpose,
            text: consent.text,
            captured_at: consent.capturedAt,
            source: consent.source,
            ip: consent.ip ?? null,
            user_agent: consent.userAgent ?? null,
          },
        ],
  );
  if (rows.length > 0) await tx.insertInto('consent').values(rows).execute();
}
