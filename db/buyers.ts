import { randomUUID } from 'node:crypto';
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { providerOf } from '../domain/addresses';
import { type CampaignDefinition, cadenceBefore, endStep, firstBuyerStep } from '../domain/campaign';
import { NUDGE_PURPOSES, type SoftOptIn } from '../domain/consent';
import { afterWait, nextOpening, planDue } from '../domain/planner';
import { type AboutProduct, type EndsBecause, sameProduct } from '../domain/purchases';
import { suppressionOf } from './addresses';
import type { Tx } from './client';
import { recordEvents } from './events';
import { excludeListed } from './exclusions';
import { noteForJournal } from './journal';
import type { MarketingBasis } from './schema';
import { withdraw } from './stops';
import { lastWithdrawals } from './withdrawals';

// What follows a purchase: an enrollment of its own kind in the ledger of all, so that whatever holds for a lead's holds for it.

/** Who bought, as the shop told. */
export interface Buyer {
  email: string;
  name?: string | undefined;
  locale?: string | undefined;
}

/** A buyer, as far as the database knows them. */
export interface Person {
  /** Under which the address may be known. */
  hashes: readonly string[];
  /** Under which it is known, or would be; null for a lead that nobody knows. */
  hash: string | null;
  leadId: string | null;
}

/** A campaign as it stands: its latest version. */
export interface KnownCampaign extends AboutProduct {
  version: number;
  definition: CampaignDefinition;
  cancelled: boolean;
}

/** A campaign that a purchase is about, and why. */
export interface Bought {
  campaign: KnownCampaign;
  because: EndsBecause;
}

/** Campaigns that were published, in the order of their ids. @param how `locked`: not to be cancelled before this transaction ends */
export async function campaignsOf(tx: Tx, ids: readonly string[], how?: 'locked'): Promise<KnownCampaign[]> {
  if (ids.length === 0) return [];
  const rows = await tx
    .selectFrom('campaign as c')
    .innerJoin('campaign_version as v', (join) =>
      join.onRef('v.campaign_id', '=', 'c.id').onRef('v.version', '=', 'c.latest_version'),
    )
    .select(['c.id', 'c.cancelled_at', 'v.version', 'v.definition'])
    .where('c.id', '=', sql<string>`any(${ids}::uuid[])`)
    .orderBy('c.id')
    .$if(how === 'locked', (query) => query.forKeyShare('c'))
    .execute();
  return rows.map(({ id, cancelled_at, version, definition }) => ({
    campaignId: id,
    version,
    definition,
    product: definition.product,
    endsOnAnyPurchase: definition.endsOnAnyPurchase,
    cancelled: cancelled_at !== null,
  }));
}

/** An order that is told later than this (ms) after it was made is nothing to thank for any more. */
const TOLD_TOO_LATE_MS = 30 * 24 * 3_600_000;

interface NewPurchase {
  orderId: string;
  purchasedAt: Date;
  campaignId?: string | undefined;
  softOptIn?: SoftOptIn | undefined;
  buyer?: Buyer | undefined;
  person: Person;
  bought: readonly Bought[];
  /** The campaigns whose follow-ups have just ended by it. */
  ended: ReadonlySet<string>;
  timeFactor?: number;
  now: Date;
}

/**
 * Begins the journeys that follow a purchase, one for each product that was bought: of campaigns whose follow-up it has
 * ended, and of those that it is certainly about while the buyer had no such journey in them before. None where one is open,
 * the order was refunded, or it was told a month late. The caller holds the locks of the order and of the address row.
 *
 * @returns the new enrollments, and the lead that the buyer is
 */
export async function beginBuyersJourneys(
  tx: Tx,
  purchase: NewPurchase,
): Promise<{ begun: string[]; leadId: string | null }> {
  const { person, orderId, purchasedAt, now } = purchase;
  const none = { begun: [], leadId: person.leadId };
  if (now.getTime() - purchasedAt.getTime() > TOLD_TOO_LATE_MS || (await isRefunded(tx, orderId))) return none;
  const before = await journeysBefore(tx, person);
  const eligible = purchase.bought.filter(({ campaign: { campaignId, product }, because }) => {
    // Whichever of the campaigns about a product has thanked them for it.
    const alike = purchase.bought.filter(({ campaign }) => sameProduct(campaign.product, product));
    const had = (what: 'hadBuyers' | 'buyersOpen') =>
      alike.some(({ campaign }) => before.get(campaign.campaignId)?.[what] === true);
    if (had('buyersOpen')) return false;
    const open = before.get(campaignId)?.open === true;
    return purchase.ended.has(campaignId) || (because === 'same-product' && !open && !had('hadBuyers'));
  });
  const chosen = onePerProduct(purchase, certain(eligible), before);

  let { leadId } = person;
  const begun: string[] = [];
  for (const campaign of chosen) {
    const plan = await planOf(tx, purchase, campaign, leadId);
    if (plan === null) continue;
    leadId ??= await newLead(tx, purchase);
    if (leadId === null) break;
    begun.push(await begin(tx, purchase, { ...plan, campaign, leadId }));
  }
  const [first] = begun;
  if (first !== undefined) {
    await tx.updateTable('purchase').set({ enrollment_id: first }).where('order_id', '=', orderId).execute();
  }
  return { begun, leadId };
}

async function isRefunded(tx: Tx, orderId: string): Promise<boolean> {
  const row = await tx.selectFrom('refund').select('order_id').where('order_id', '=', orderId).executeTakeFirst();
  return row !== undefined;
}

interface Before {
  /** A follow-up of theirs is still open. */
  open: boolean;
  hadBuyers: boolean;
  buyersOpen: boolean;
  lastEnrolled: Date;
}

async function journeysBefore(tx: Tx, { hashes }: Person): Promise<Map<string, Before>> {
  const rows = await sql<Before & { campaignId: string }>`
    select campaign_id as "campaignId", bool_or(journey = 'lead' and outcome is null) as open,
      bool_or(journey = 'buyer') as "hadBuyers", bool_or(journey = 'buyer' and outcome is null) as "buyersOpen",
      max(enrolled_at) as "lastEnrolled"
    from enrollment where address_hash = any(${hashes}::text[]) group by campaign_id`.execute(tx);
  return new Map(rows.rows.map((row) => [row.campaignId, row]));
}

/** What was bought for certain; where that is not known, what all the follow-ups were about, if that is one product. */
function certain(eligible: readonly Bought[]): KnownCampaign[] {
  const same = eligible.filter(({ because }) => because === 'same-product');
  if (same.length > 0) return same.map(({ campaign }) => campaign);
  const unknown = eligible.filter(({ because }) => because === 'unknown-product').map(({ campaign }) => campaign);
  const [first] = unknown;
  return first !== undefined && unknown.every(({ product }) => sameProduct(product, first.product)) ? unknown : [];
}

/** Nobody is thanked twice for one thing: of several campaigns about a product, the one that was named, or was last. */
function onePerProduct(
  { campaignId }: NewPurchase,
  campaigns: readonly KnownCampaign[],
  before: ReadonlyMap<string, Before>,
): KnownCampaign[] {
  const weight = (campaign: KnownCampaign) =>
    campaign.campaignId === campaignId
      ? Number.POSITIVE_INFINITY
      : (before.get(campaign.campaignId)?.lastEnrolled.getTime() ?? 0);
  const inOrder = campaigns
    .filter(({ cancelled, definition }) => !cancelled && definition.afterPurchase !== undefined)
    .sort((a, b) => (weight(a) > weight(b) ? -1 : 1));
  return inOrder.filter(
    (campaign, index) => !inOrder.slice(0, index).some((other) => sameProduct(other.product, campaign.product)),
  );
}

interface Plan {
  step: 0 | 1;
  basis: MarketingBasis | null;
  agreedAt: Date | null;
}

/** @returns null when there is nothing that this buyer may be sent */
async function planOf(
  tx: Tx,
  purchase: NewPurchase,
  campaign: KnownCampaign,
  leadId: string | null,
): Promise<Plan | null> {
  const { definition } = campaign;
  const { afterPurchase } = definition;
  if (afterPurchase === undefined) return null;
  const step = firstBuyerStep(afterPurchase);
  const hasMarketing = endStep({ definition, steps: [] }, 'buyer') > 1;
  const basis = hasMarketing ? await basisFor(tx, purchase, campaign, leadId) : null;
  if (step > 0 && basis === null) return null;
  return { step, basis: basis?.basis ?? null, agreedAt: basis?.agreedAt ?? null };
}

/** What marketing mail to this buyer may rest on (promise P7): a consent that stands, or what the shop recorded (LSSI 21.2). */
async function basisFor(
  tx: Tx,
  { person, softOptIn, bought, purchasedAt }: NewPurchase,
  { campaignId, product }: KnownCampaign,
  leadId: string | null,
): Promise<{ basis: MarketingBasis; agreedAt: Date } | null> {
  const rows = await tx
    .selectFrom('address')
    .selectAll()
    .where('hash', '=', sql<string>`any(${person.hashes}::text[])`)
    .execute();
  if (rows.some((row) => suppressionOf(row, campaignId) !== null)) return null;
  // Their latest word on it, whatever they agreed to before.
  if (softOptIn?.optedOut === true) return null;
  const refusedAt = await lastRefusal(tx, person.hashes, campaignId);
  const consent =
    leadId === null
      ? undefined
      : await tx
          .selectFrom('consent')
          .select('captured_at')
          .where('lead_id', '=', leadId)
          .where('campaign_id', '=', campaignId)
          .where('purpose', 'in', [...NUDGE_PURPOSES])
          .where('withdrawn_at', 'is', null)
          .$if(refusedAt !== null, (query) => query.where('captured_at', '>', refusedAt))
          .orderBy('captured_at', 'desc')
          .executeTakeFirst();
  if (consent !== undefined) return { basis: 'consent', agreedAt: consent.captured_at };
  if (softOptIn?.optOutOffered !== true || rows.some((row) => row.excluded_at !== null)) return null;
  if (refusedAt !== null && refusedAt >= purchasedAt) return null;
  const similar =
    product.group === undefined
      ? bought.some((one) => one.because === 'same-product' && one.campaign.campaignId === campaignId)
      : product.group === softOptIn.productGroup;
  return similar ? { basis: 'soft-opt-in', agreedAt: purchasedAt } : null;
}

/** When they last refused advertising: by a withdrawal, also one that was lifted since, or at a checkout. */
async function lastRefusal(tx: Tx, hashes: readonly string[], campaignId: string): Promise<Date | null> {
  const withdrawals = await lastWithdrawals(tx, hashes, campaignId);
  const { rows } = await sql<{ at: Date | null }>`
    select max(purchased_at) as at from purchase
    where address_hash = any(${hashes}::text[]) and soft_opt_in->>'optedOut' = 'true'`.execute(tx);
  const all = [...withdrawals.values(), ...rows.flatMap(({ at }) => at ?? [])];
  return all.length === 0 ? null : new Date(Math.max(...all.map((at) => at.getTime())));
}

/**
 * Who chooses at a checkout to get no advertising gets no more of what an earlier purchase began: it ends as `informed`, after
 * its thanks where they are still to come. `agreed_at` stands in the row that the claim locks.
 */
export async function dropMarketing(tx: Tx, { hashes }: Person, optedOutAt: Date, now: Date): Promise<void> {
  const theirs = sql<SqlBool>`e.address_hash = any(${hashes}::text[])`;
  const ids = await withdrawConsents(tx, theirs, optedOutAt, { by: 'checkout' }, now);
  const fact = { kind: 'consent-withdrawn' as const, optedOutAt: optedOutAt.toISOString() };
  await noteForJournal(
    tx,
    ids.map((enrollmentId) => ({ ...fact, enrollmentId })),
    now,
  );
}

/**
 * Takes the consent of before `optedOutAt` out of what purchases have begun and has not ended.
 *
 * @param enrollments which, as a condition on `e`
 * @param by what the timeline says of it
 * @returns their ids
 */
export async function withdrawConsents(
  tx: Tx,
  enrollments: RawBuilder<SqlBool>,
  optedOutAt: Date,
  by: Record<string, string>,
  now: Date,
): Promise<string[]> {
  const { rows } = await sql<{ id: string; lead_id: string; order_id: string | null }>`
    update enrollment e set agreed_at = null
    where ${enrollments} and e.journey = 'buyer' and e.outcome is null and e.agreed_at <= ${optedOutAt}
    returning id, lead_id, order_id`.execute(tx);
  const ids = rows.map(({ id }) => id);
  await withdraw(tx, sql<SqlBool>`e.id = any(${ids}::uuid[])`, now);
  await recordEvents(
    tx,
    rows.map(({ id, lead_id, order_id }) => ({
      at: now,
      leadId: lead_id,
      enrollmentId: id,
      kind: 'consent-withdrawn' as const,
      detail: { ...by, orderId: order_id },
    })),
  );
  return ids;
}

/** @returns null when nobody has told who bought */
async function newLead(tx: Tx, { person, buyer, now }: NewPurchase): Promise<string | null> {
  if (buyer === undefined || person.hash === null) return null;
  const { id } = await tx
    .insertInto('lead')
    .values({
      id: randomUUID(),
      address_hash: person.hash,
      email: buyer.email,
      name: buyer.name ?? '',
      locale: buyer.locale ?? null,
      time_zone: null,
      attributes: '{}',
    })
    .returning('id')
    .executeTakeFirstOrThrow();
  await excludeListed(tx, [{ addressHash: person.hash, email: buyer.email }], now);
  return id;
}

async function begin(
  tx: Tx,
  { orderId, purchasedAt, timeFactor = 1, now }: NewPurchase,
  { campaign, leadId, step, basis, agreedAt }: Plan & { campaign: KnownCampaign; leadId: string },
): Promise<string> {
  const { campaignId, version, definition } = campaign;
  const lead = await tx
    .selectFrom('lead')
    .select(['email', 'time_zone', 'address_hash'])
    .where('id', '=', leadId)
    .executeTakeFirstOrThrow();
  const id = randomUUID();
  const cadence = cadenceBefore(definition, 'buyer', step);
  const planning = {
    after: purchasedAt,
    timeZone: lead.time_zone ?? definition.timeZone,
    clock: { origin: now.getTime(), factor: timeFactor },
  };
  const draw = { enrollmentId: id, step, sendWindow: definition.sendWindow };
  const dueAt = step === 0 ? afterWait({ ...planning, wait: cadence.min }) : planDue({ ...planning, ...draw, cadence });
  // Told late, a nudge is not punctual: it waits for the window too.
  const earliest = step === 0 ? now : nextOpening({ ...planning, ...draw, due: new Date(0), now });
  await tx
    .insertInto('enrollment')
    .values({
      id,
      campaign_id: campaignId,
      version,
      lead_id: leadId,
      address_hash: lead.address_hash,
      journey: 'buyer',
      order_id: orderId,
      basis,
      agreed_at: agreedAt,
      requested_at: purchasedAt,
      enrolled_at: now,
      step,
      next_due_at: dueAt > now ? dueAt : earliest,
      fairness_key: providerOf(lead.email ?? ''),
      priority: BUYERS_PRIORITY,
    })
    .execute();
  await recordEvents(tx, [
    {
      at: now,
      leadId,
      enrollmentId: id,
      kind: 'enrolled',
      step,
      detail: { via: 'purchase', journey: 'buyer', orderId, version, basis },
    },
  ]);
  return id;
}

/** As a person who asked through the API. */
const BUYERS_PRIORITY = 2;
