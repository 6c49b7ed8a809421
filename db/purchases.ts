import { sql } from 'kysely';
import type { SoftOptIn } from '../domain/consent';
import { endedBy } from '../domain/purchases';
import { lockAddresses } from './addresses';
import {
  type Bought,
  type Buyer,
  beginBuyersJourneys,
  campaignsOf,
  dropMarketing,
  type KnownCampaign,
  type Person,
} from './buyers';
import { versionOf } from './campaigns';
import { type Db, inTransaction, type Tx } from './client';
import { appendEvidence } from './evidence';
import { type StopResult, stopIn } from './stops';
import { liftSuppressions } from './suppressions';

export interface Purchase {
  /** The buyer: a lead, or the hashes of an address (`hashAddress`), newest first. */
  who: { leadId: string } | { hashes: [string, ...string[]] };
  /** The shop's own number; a purchase is kept once for each. */
  orderId: string;
  campaignId?: string | undefined;
  /** The shop's codes of what was bought. */
  products?: readonly string[] | undefined;
  /** What the shop's notice offered, and what the buyer chose. */
  softOptIn?: SoftOptIn | undefined;
  /** Who bought, so that one who was never a lead can be thanked. */
  buyer?: Buyer | undefined;
  purchasedAt?: Date | undefined;
  /** A decimal number, kept as it was given. */
  amount?: string | undefined;
  /** ISO 4217. */
  currency?: string | undefined;
  /** Of the installation; 1 where it is left out. */
  timeFactor?: number;
  now: Date;
}

/** What has ended, what was past its gate, and the buyer's journeys that were begun: `journeys.start` is to start them. */
export type PurchaseResult = StopResult & { begun: string[] };

/**
 * Keeps a purchase, ends the buyer's follow-ups that are about what was bought (`endedBy`) as `purchased`, and begins what
 * comes after a purchase, in one transaction. A purchase that is older than a request for information is no answer to it
 * and leaves that one open. Told again, it changes nothing: an enrollment that began since is not ended by the same order.
 * A buyer's address works, so it is not `undeliverable` any more.
 */
export async function recordPurchase(db: Db, purchase: Purchase): Promise<PurchaseResult> {
  return await inTransaction(db, async (tx) => {
    const { who, orderId, campaignId, products, softOptIn, now } = purchase;
    await lockOrder(tx, orderId);
    const person = await lockPerson(tx, purchase);
    const known = await tx
      .selectFrom('purchase')
      .select(['address_hash', 'purchased_at'])
      .where('order_id', '=', orderId)
      .executeTakeFirst();
    // Of somebody who was erased since, nobody knows any more whose it was.
    const repeated = known !== undefined && (known.address_hash === null || person.hashes.includes(known.address_hash));
    const bought = await whatWasBought(tx, person, purchase);
    const named = campaignId !== undefined || (products ?? []).length > 0;
    const purchasedAt = purchase.purchasedAt ?? now;
    if (known === undefined && softOptIn?.optedOut === true) await dropMarketing(tx, person, purchasedAt, now);
    const result = await stopIn(tx, {
      who,
      outcome: 'purchased',
      journey: 'lead',
      campaignIds: named ? bought.map(({ campaign }) => campaign.campaignId) : undefined,
      // Without a time it has just happened, and ends whatever is open, however far apart two machines' clocks are.
      happenedAt: repeated ? earlier(purchase.purchasedAt, known.purchased_at) : purchase.purchasedAt,
      detail: { by: 'purchase', orderId },
      repeated,
      now,
    });
    if (known !== undefined || person.hash === null) return { ...result, begun: [] };

    await tx
      .insertInto('purchase')
      .values({
        order_id: orderId,
        address_hash: person.hash,
        campaign_id: campaignId ?? null,
        purchased_at: purchasedAt,
        amount: purchase.amount ?? null,
        currency: purchase.currency ?? null,
        products: products === undefined || products.length === 0 ? null : [...products],
        soft_opt_in: softOptIn === undefined ? null : JSON.stringify(softOptIn),
      })
      .execute();
    const { begun, leadId } = await beginBuyersJourneys(tx, {
      ...purchase,
      purchasedAt,
      person,
      bought,
      ended: new Set(result.stopped.map((one) => one.campaignId)),
    });
    if (leadId !== null && softOptIn !== undefined) {
      await appendEvidence(tx, [{ leadId, kind: 'soft-opt-in', at: purchasedAt, detail: { orderId, ...softOptIn } }]);
    }
    return { ...result, begun };
  });
}

function earlier(told: Date | undefined, known: Date): Date {
  return told !== undefined && told < known ? told : known;
}

/** Held by whoever tells of an order, so that its purchase and its refund see each other, whichever comes first. */
export async function lockOrder(tx: Tx, orderId: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`order ${orderId}`}, 0))`.execute(tx);
}

/** Locks the buyer's address row, where there is one or will have to be one, and lifts what it proves wrong. */
async function lockPerson(tx: Tx, { who, orderId, campaignId, buyer, purchasedAt, now }: Purchase): Promise<Person> {
  const hashes = 'hashes' in who ? who.hashes : await hashesOfLead(tx, who.leadId);
  if (hashes === null) return { hashes: [], hash: null, leadId: null };
  const theirs = sql<string>`any(${hashes}::text[])`;
  const rows = await tx
    .selectFrom('address')
    .select(['hash', 'undeliverable_at'])
    .where('hash', '=', theirs)
    .orderBy('hash')
    .forUpdate()
    .execute();
  const told = await tx.selectFrom('purchase').select('order_id').where('order_id', '=', orderId).executeTakeFirst();
  // An old order, told now, says nothing about an address that has bounced since.
  const worksSince = purchasedAt ?? now;
  if (told === undefined && rows.some(({ undeliverable_at: at }) => at !== null && at <= worksSince)) {
    await liftSuppressions(tx, { hashes, by: 'proof-of-life', because: null, kinds: ['undeliverable'], now });
  }
  if (rows.length === 0 && buyer !== undefined && campaignId !== undefined && told === undefined) {
    const [campaign] = await campaignsOf(tx, [campaignId]);
    if (campaign?.definition.afterPurchase !== undefined) await lockAddresses(tx, [hashes]);
  }
  const leads = await tx.selectFrom('lead').select(['id', 'address_hash']).where('address_hash', '=', theirs).execute();
  const known = (hash: string) => rows.some((row) => row.hash === hash);
  const lead = hashes.flatMap((hash) => leads.find((one) => one.address_hash === hash) ?? [])[0];
  return {
    hashes,
    hash: lead?.address_hash ?? hashes.find(known) ?? hashes[0],
    leadId: lead?.id ?? null,
  };
}

async function hashesOfLead(tx: Tx, leadId: string): Promise<[string, ...string[]] | null> {
  const lead = await tx.selectFrom('lead').select('address_hash').where('id', '=', leadId).executeTakeFirst();
  return lead === undefined || lead.address_hash === null ? null : [lead.address_hash];
}

/**
 * Which campaigns the purchase is about: of those that the buyer was ever a lead of, and the one that it names. What is open
 * under an earlier version is also about what that one names: its mails go on speaking of it.
 */
async function whatWasBought(tx: Tx, { hashes }: Person, { campaignId, products }: Purchase): Promise<Bought[]> {
  const enrollments = await tx
    .selectFrom('enrollment')
    .select(['campaign_id', 'version', sql<boolean>`bool_or(outcome is null)`.as('open')])
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .where('journey', '=', 'lead')
    .groupBy(['campaign_id', 'version'])
    .execute();
  const ids = new Set(enrollments.map((row) => row.campaign_id));
  if (campaignId !== undefined) ids.add(campaignId);
  const campaigns = await campaignsOf(tx, [...ids], 'locked');
  const what = { campaignId, campaign: campaigns.find((one) => one.campaignId === campaignId), products };
  const earlierProduct = async (campaign: KnownCampaign) => {
    for (const { campaign_id: id, version, open } of enrollments) {
      if (!open || id !== campaign.campaignId || version === campaign.version) continue;
      const { definition } = await versionOf(tx, id, version);
      if (endedBy({ campaignId: id, product: definition.product }, what) === 'same-product') return 'same-product';
    }
    return null;
  };
  const bought: Bought[] = [];
  for (const campaign of campaigns) {
    const because = endedBy(campaign, what) ?? (await earlierProduct(campaign));
    if (because !== null) bought.push({ campaign, because });
  }
  return bought;
}

/**
 * When these people last bought what ends a follow-up of this campaign, by the hash that the purchase is kept under.
 *
 * @param hashes of all of them, under every key
 */
export async function lastPurchasesAbout(
  tx: Tx,
  campaignId: string,
  hashes: readonly string[],
): Promise<Map<string, Date>> {
  const rows = await tx
    .selectFrom('purchase')
    .select(['address_hash', 'campaign_id', 'products', 'purchased_at'])
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .orderBy('purchased_at')
    .execute();
  if (rows.length === 0) return new Map();
  const ids = rows.flatMap((row) => row.campaign_id ?? []);
  const campaigns = await campaignsOf(tx, [...new Set([campaignId, ...ids])]);
  const find = (id: string | null) => campaigns.find((one) => one.campaignId === id);
  const about = find(campaignId);
  return new Map(
    rows.flatMap((row): [string, Date][] => {
      const what = {
        campaignId: row.campaign_id ?? undefined,
        campaign: find(row.campaign_id),
        products: row.products ?? undefined,
      };
      if (row.address_hash === null || about === undefined || endedBy(about, what) === null) return [];
      return [[row.address_hash, row.purchased_at]];
    }),
  );
}
