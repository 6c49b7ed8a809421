import { sql } from 'kysely';
import { type Db, inTransaction, type Tx } from './client';
import { type StopResult, stopIn } from './stops';

export interface Purchase {
  /** The buyer: a lead, or the hashes of an address (`hashAddress`), newest first. */
  who: { leadId: string } | { hashes: [string, ...string[]] };
  /** The shop's own number; a purchase is kept once for each. */
  orderId: string;
  campaignId?: string | undefined;
  purchasedAt?: Date | undefined;
  /** A decimal number, kept as it was given. */
  amount?: string | undefined;
  /** ISO 4217. */
  currency?: string | undefined;
  now: Date;
}

/**
 * Keeps a purchase and ends the buyer's enrollments as `purchased`, in one transaction. A purchase that is older than a
 * request for information is no answer to it and leaves that one open. Told again, it changes nothing: an enrollment
 * that began since is not ended by the same order.
 */
export async function recordPurchase(db: Db, purchase: Purchase): Promise<StopResult> {
  return await inTransaction(db, async (tx) => {
    const { who, orderId, campaignId, now } = purchase;
    const buyer = await buyerHash(tx, who);
    const known = await tx
      .selectFrom('purchase')
      .select(['address_hash', 'purchased_at'])
      .where('order_id', '=', orderId)
      .executeTakeFirst();
    const repeated = known !== undefined && known.address_hash === buyer;
    const result = await stopIn(tx, {
      who,
      outcome: 'purchased',
      campaignId,
      // Without a time it has just happened, and ends whatever is open, however far apart two machines' clocks are.
      happenedAt: purchase.purchasedAt ?? (repeated ? known.purchased_at : undefined),
      detail: { by: 'purchase', orderId },
      now,
    });
    if (known === undefined && buyer !== null) {
      await tx
        .insertInto('purchase')
        .values({
          order_id: orderId,
          address_hash: buyer,
          campaign_id: campaignId ?? null,
          purchased_at: purchase.purchasedAt ?? now,
          amount: purchase.amount ?? null,
          currency: purchase.currency ?? null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
    return result;
  });
}

/** The hash under which the buyer's address is known, or would be; null for a lead that nobody knows. */
async function buyerHash(tx: Tx, who: Purchase['who']): Promise<string | null> {
  if ('leadId' in who) {
    const lead = await tx.selectFrom('lead').select('address_hash').where('id', '=', who.leadId).executeTakeFirst();
    return lead?.address_hash ?? null;
  }
  const address = await tx
    .selectFrom('address')
    .select('hash')
    .where('hash', '=', sql<string>`any(${who.hashes}::text[])`)
    .executeTakeFirst();
  return address?.hash ?? who.hashes[0];
}
