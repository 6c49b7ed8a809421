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
import { appendEvidence } from './evidence';
import { excludeListed } from './exclusions';
import { signalStamp } from './outbox';
import { lastPurchasesAbout } from './purchases';
import { giveBackSlots, keptSlotDay } from './quota';
import { type ReferralRefusal, refuseReferral } from './referrals';
import type { EnrollmentTable, RequestSource } from './schema';
import { forgetSoftBounces } from './soft-bounces';
import { lastWithdrawals } from './withdrawals';

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
  /** What else they agreed to at the same time, purpose by purpose. */
  furtherConsents?: readonly ConsentEvidence[] | undefined;
  /** Where the request came from, as far as a form told. */
  source?: RequestSource | undefined;
  /** Whose link they came by. */
  referralCode?: string | undefined;
  /** They have confirmed by a link in a mail to this very address (double opt-in). */
  confirmation?: Confirmation | undefined;
}

/** That the reader of an address confirmed a request, and how. */
export interface Confirmation {
  /** Of the request that was confirmed. */
  requestId: string;
  at: Date;
  ip: string | null;
  userAgent: string | null;
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

/**
 * Why somebody is not enrolled: mail to them is suppressed, or a file's line is about one who has bought, or taken back
 * what they had agreed to, since they asked.
 */
export type Refusal = Suppression | { reason: 'bought' | 'withdrawn'; since: Date };

/** The information is sent again at most once in this time (ms). */
const INFO_AGAIN_MS = 24 * 60 * 60 * 1000;

/**
 * Enrolls people in a campaign's latest version, in one transaction: all of them, or none. For each it keeps at most one
 * open enrollment (promise P1), however many ask at the same time, and refuses suppressed addresses (P6). A line of a file
 * about somebody who has bought since they asked, or has withdrawn and not asked anew, is refused too.
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
  const { leads, added } = await upsertLeads(tx, welcome, options.now);
  // Who is new has none, and nobody else can have seen them yet.
  const known = [...leads.values()].filter((id) => !added.has(id));
  const earlier = await enrollmentsOf(tx, options.campaignId, known);
  const everyHash = requests.flatMap((request) => request.hashes);
  const bought = options.asksInPerson
    ? new Map<string, Date>()
    : await lastPurchasesAbout(tx, options.campaignId, everyHash);

  const hashes = welcome.flatMap(({ request, hash }) => [hash, ...request.hashes]);
  const withdrawals = await lastWithdrawals(tx, hashes, options.campaignId);

  const fresh: Fresh[] = [];
  const again: Again[] = [];
  const results = requests.map((request, index): EnrollResult => {
    const address = addresses[index];
    if (address === undefined) throw new Error('every request has an address');
    const suppression = suppressionOf(address, options.campaignId);
    if (suppression !== null) return { kind: 'refused', because: suppression };
    const withdrawnAt = latest([address.hash, ...request.hashes].map((hash) => withdrawals.get(hash)));
    const agreedAt = agreedSince(request, withdrawnAt);
    const leadId = leads.get(address.hash);
    if (leadId === undefined) throw new Error('every welcome address has a lead');
    const own = earlier.get(leadId) ?? [];
    const open = own.find((enrollment) => enrollment.outcome === null);
    if (open !== undefined) {
      again.push({ request, enrollment: open, agreedAt });
      return { kind: 'existing', enrollmentId: open.id, leadId };
    }
    const last = own.at(-1);
    if (last !== undefined && !options.asksInPerson && !isNewer(request, last)) {
      return { kind: 'existing', enrollmentId: last.id, leadId };
    }
    if (!options.asksInPerson && withdrawnAt !== null && !hasAskedSince(request, withdrawnAt)) {
      return { kind: 'refused', because: { reason: 'withdrawn', since: withdrawnAt } };
    }
    const boughtAt = request.hashes.map((hash) => bought.get(hash)).find((at) => at !== undefined);
    if (boughtAt !== undefined && request.requestedAt !== null && boughtAt >= request.requestedAt) {
      return { kind: 'refused', because: { reason: 'bought', since: boughtAt } };
    }
    const id = randomUUID();
    fresh.push({ id, leadId, hash: address.hash, request, agreedAt });
    return { kind: 'created', enrollmentId: id, leadId };
  });

  // Of whoever is refused nothing is kept: without an enrollment nothing would ever tell when to erase them.
  const strangers = addresses.flatMap(({ hash }, index) => {
    const leadId = leads.get(hash);
    return results[index]?.kind === 'refused' && leadId !== undefined && added.has(leadId) ? [leadId] : [];
  });
  if (strangers.length > 0) await tx.deleteFrom('lead').where('id', 'in', strangers).execute();

  if (options.asksInPerson)
    await forgetSoftBounces(
      tx,
      welcome.map(({ hash }) => hash),
    );
  const referrals = await referralsOf(tx, fresh);
  await insertFresh(tx, fresh, version, referrals, options);
  if (options.asksInPerson) for (const one of again) await askAgain(tx, one, options);
  else await addEvidence(tx, again, options);
  // Whoever has an enrollment was looked up when they came, and by every list that came since.
  const maybeNew = welcome.filter(({ hash }) => !earlier.has(leads.get(hash) ?? ''));
  await excludeListed(
    tx,
    maybeNew.map(({ request, hash }) => ({ addressHash: hash, email: request.email })),
    options.now,
  );
  return results;
}

interface Fresh {
  id: string;
  leadId: string;
  hash: string;
  request: EnrollRequest;
  /** Since when they agree to nudges; null: they don't. */
  agreedAt: Date | null;
}

/** Somebody of whom an enrollment is open already. */
interface Again {
  request: EnrollRequest;
  enrollment: EarlierEnrollment;
  agreedAt: Date | null;
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

/** @returns the leads by address hash, and which of them are new */
async function upsertLeads(
  tx: Tx,
  people: readonly { request: EnrollRequest; hash: string }[],
  now: Date,
): Promise<{ leads: Map<string, string>; added: Set<string> }> {
  if (people.length === 0) return { leads: new Map(), added: new Set() };
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
    // A row that was inserted has no version before it.
    .returning(['id', 'address_hash', sql<boolean>`xmax = 0`.as('is_new')])
    .execute();
  return {
    leads: new Map(rows.flatMap((row) => (row.address_hash === null ? [] : [[row.address_hash, row.id]]))),
    added: new Set(rows.flatMap((row) => (row.is_new ? [row.id] : []))),
  };
}

/** By lead, oldest first; the open ones locked. */
async function enrollmentsOf(
  tx: Tx,
  campaignId: string,
  leadIds: readonly string[],
): Promise<Map<string, EarlierEnrollment[]>> {
  if (leadIds.length === 0) return new Map();
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
    .where('e.journey', '=', 'lead')
    .orderBy('e.enrolled_at')
    .forNoKeyUpdate('e')
    .execute();
  const byLead = new Map<string, EarlierEnrollment[]>();
  for (const row of rows) byLead.set(row.lead_id, [...(byLead.get(row.lead_id) ?? []), row]);
  return byLead;
}

/** Has this person asked since their last enrollment ended? Only then does a line of a file start them anew. */
function isNewer(request: EnrollRequest, last: EarlierEnrollment): boolean {
  return last.ended_at !== null && hasAskedSince(request, last.ended_at);
}

/** Who asked nobody knows when is not known to have asked since. */
function hasAskedSince({ requestedAt }: EnrollRequest, then: Date): boolean {
  return requestedAt !== null && requestedAt > then;
}

/** Whose link each of them came by, or why nobody is thanked for it; by enrollment. */
async function referralsOf(tx: Tx, fresh: readonly Fresh[]): Promise<Map<string, Referral>> {
  const referrals = new Map<string, Referral>();
  for (const { id, leadId, request } of fresh) {
    const { referralCode: code, hashes } = request;
    if (code === undefined) continue;
    const refused = await refuseReferral(tx, code, { leadId, hashes });
    referrals.set(id, refused === null ? { code, refused: null } : { code: null, refused });
  }
  return referrals;
}

type Referral = { code: string; refused: null } | { code: null; refused: ReferralRefusal };

async function insertFresh(
  tx: Tx,
  fresh: readonly Fresh[],
  version: number,
  referrals: ReadonlyMap<string, Referral>,
  options: EnrollOptions,
): Promise<void> {
  if (fresh.length === 0) return;
  const { now } = options;
  await tx
    .insertInto('enrollment')
    .values(
      fresh.map(({ id, leadId, hash, request, agreedAt }) => ({
        id,
        campaign_id: options.campaignId,
        version,
        lead_id: leadId,
        address_hash: hash,
        requested_at: request.requestedAt ?? now,
        enrolled_at: now,
        agreed_at: agreedAt,
        basis: agreedAt === null ? null : ('consent' as const),
        source: request.source === undefined ? null : JSON.stringify(request.source),
        referral_code: referrals.get(id)?.code ?? null,
        next_due_at: now,
        fairness_key: providerOf(request.email),
        priority: options.priority,
      })),
    )
    .execute();
  await insertConsents(
    tx,
    fresh.map(({ id, leadId, request }) => ({ enrollmentId: id, leadId, request })),
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
        detail: {
          via: options.via,
          version,
          consent: request.consent?.purpose ?? null,
          ...(referrals.has(id) ? { referral: referrals.get(id)?.refused ?? 'counted' } : {}),
        },
      }),
    ),
  );
}

/** Asked again while the enrollment is open: the information once more, and the next nudge a full interval away. */
async function askAgain(tx: Tx, { request, enrollment, agreedAt }: Again, options: EnrollOptions): Promise<void> {
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
      agreed_at: enrollment.agreed_at ?? agreedAt,
      ...(enrollment.agreed_at === null && agreedAt !== null ? { basis: 'consent' as const } : {}),
      ...(nextDue === null ? {} : { next_due_at: nextDue, slot_day: keptSlotDay, signal_at: signalStamp(now) }),
      ...(infoAgain ? { info_due_at: now, info_copies: eb('info_copies', '+', 1) } : {}),
    }))
    .where('id', '=', enrollment.id)
    .execute();
  await insertConsents(tx, [{ enrollmentId: enrollment.id, leadId: enrollment.lead_id, request }], options.campaignId);
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

/**
 * Lines of a file about people whose enrollment is open: what they agreed to is kept with it, and carries nudges from now
 * on where nothing did before. They have not asked again, so nothing is sent for it and no date moves.
 */
async function addEvidence(tx: Tx, lines: readonly Again[], { campaignId, via, now }: EnrollOptions): Promise<void> {
  const consented = await unknownConsents(tx, lines);
  for (const { enrollment, agreedAt } of consented) {
    if (enrollment.agreed_at !== null || agreedAt === null) continue;
    await tx
      .updateTable('enrollment')
      .set({ agreed_at: agreedAt, basis: 'consent' })
      .where('id', '=', enrollment.id)
      .execute();
  }
  await insertConsents(
    tx,
    consented.map(({ request, enrollment }) => ({ enrollmentId: enrollment.id, leadId: enrollment.lead_id, request })),
    campaignId,
  );
  await recordEvents(
    tx,
    consented.map(
      ({ request, enrollment }): NewEvent => ({
        at: now,
        leadId: enrollment.lead_id,
        enrollmentId: enrollment.id,
        kind: 'consent-added',
        detail: { via, consent: request.consent?.purpose ?? null },
      }),
    ),
  );
}

/** The lines that bring a consent which is not on record in just these words and of just this time. */
async function unknownConsents(tx: Tx, lines: readonly Again[]): Promise<Again[]> {
  const bringing = lines.filter(({ request }) => request.consent !== null);
  if (bringing.length === 0) return [];
  const ids = bringing.map(({ enrollment }) => enrollment.id);
  const known = await tx
    .selectFrom('consent')
    .select(['enrollment_id', 'purpose', 'text', 'source', 'captured_at'])
    .where('enrollment_id', '=', sql<string>`any(${ids}::uuid[])`)
    .execute();
  return bringing.filter(
    ({ request: { consent }, enrollment }) =>
      !known.some(
        (one) =>
          one.enrollment_id === enrollment.id &&
          one.purpose === consent?.purpose &&
          one.text === consent.text &&
          one.source === consent.source &&
          one.captured_at.getTime() === consent.capturedAt.getTime(),
      ),
  );
}

/**
 * Since when somebody agrees to nudges; null where they don't, or have withdrawn since. Of a consent without a date of its
 * own nobody knows which was first, so a withdrawal counts as the later.
 */
function agreedSince({ consent, requestedAt }: EnrollRequest, withdrawnAt: Date | null): Date | null {
  if (consent === null || !allowsNudges(consent.purpose)) return null;
  const undated = consent.file !== undefined && requestedAt === null;
  return withdrawnAt === null || (!undated && consent.capturedAt > withdrawnAt) ? consent.capturedAt : null;
}

function latest(dates: readonly (Date | undefined)[]): Date | null {
  return dates.reduce<Date | null>((last, at) => (at !== undefined && (last === null || at > last) ? at : last), null);
}

async function insertConsents(
  tx: Tx,
  given: readonly { enrollmentId: string; leadId: string; request: EnrollRequest }[],
  campaignId: string,
): Promise<void> {
  const consented = given.flatMap(({ request, ...whose }) =>
    [...(request.consent === null ? [] : [request.consent]), ...(request.furtherConsents ?? [])].map((consent) => ({
      ...whose,
      consent,
    })),
  );
  const rows = consented.map(({ enrollmentId, leadId, consent }) => ({
    id: randomUUID(),
    lead_id: leadId,
    campaign_id: campaignId,
    enrollment_id: enrollmentId,
    purpose: consent.purpose,
    text: consent.text,
    text_version: consent.textVersion ?? null,
    captured_at: consent.capturedAt,
    source: consent.source,
    ip: consent.ip ?? null,
    user_agent: consent.userAgent ?? null,
  }));
  if (rows.length > 0) await tx.insertInto('consent').values(rows).execute();
  await appendEvidence(tx, [
    ...consented.map(({ enrollmentId, leadId, consent }) => ({
      leadId,
      kind: 'consent' as const,
      at: consent.capturedAt,
      detail: {
        campaignId,
        enrollmentId,
        purpose: consent.purpose,
        text: consent.text,
        textVersion: consent.textVersion ?? null,
        source: consent.source,
        ip: consent.ip ?? null,
        userAgent: consent.userAgent ?? null,
        ...(consent.file === undefined ? {} : { file: consent.file }),
      },
    })),
    ...given.flatMap(({ enrollmentId, leadId, request: { confirmation } }) =>
      confirmation === undefined
        ? []
        : [
            {
              leadId,
              kind: 'confirmed' as const,
              at: confirmation.at,
              detail: {
                campaignId,
                enrollmentId,
                requestId: confirmation.requestId,
                ip: confirmation.ip,
                userAgent: confirmation.userAgent,
              },
            },
          ],
    ),
  ]);
}
