import { sql } from 'kysely';
import { type AddressKey, hashAddress } from '../domain/address-hash';
import { normaliseAddress, parseAddress } from '../domain/addresses';
import { isAll, type ShopEvent, type ShopPurchase, type ShopRefund } from '../domain/shop-events';
import { type Db, inTransaction } from './client';
import { type PurchaseResult, recordPurchase } from './purchases';
import { recordRefund } from './refunds';
import { isSeen, markSeen } from './webhook-seen';

export interface ShopDeps {
  addressKeys: readonly AddressKey[];
  /** Of the installation. */
  timeFactor: number;
}

/** `ignored`: nothing follows from it, and `why` is a code. `known`: it was taken before. */
export type ShopResult =
  | ({ result: 'kept'; orderId: string } & PurchaseResult)
  | { result: 'ignored'; why: string; orderId: string | null }
  | { result: 'known' };

/**
 * Does what a shop's event says, once. That it was taken is written after its effect and not with it: a crash between the
 * two lets the shop's next try repeat the effect, which changes nothing, since an order is kept once by its number.
 *
 * @param source whose event ids these are
 */
export async function takeShopEvent(
  db: Db,
  deps: ShopDeps,
  { source, ids, event }: { source: string; ids: readonly string[]; event: ShopEvent },
  now: Date,
): Promise<ShopResult> {
  if (event.kind === 'nothing') return { result: 'ignored', why: event.why, orderId: event.orderId };
  if (await isSeen(db, source, ids)) return { result: 'known' };
  const orderId = await orderOf(db, event.orderIds);
  const result =
    event.kind === 'purchase'
      ? await purchase(db, deps, event, orderId, now)
      : event.kind === 'refund'
        ? await refund(db, event, orderId, now)
        : { result: 'ignored' as const, why: 'names', orderId };
  await markSeen(db, source, ids, now);
  return result;
}

async function purchase(
  db: Db,
  { addressKeys, timeFactor }: ShopDeps,
  event: ShopPurchase,
  orderId: string,
  now: Date,
): Promise<ShopResult> {
  const parsed = event.email === null ? null : parseAddress(event.email);
  const email = parsed === null || 'problem' in parsed ? null : parsed.address;
  const lead = event.leadId !== null && (await isLead(db, event.leadId));
  if (!lead && email === null) return { result: 'ignored', why: 'no-address', orderId };
  const { softOptIn, amount, currency, campaignId, products, purchasedAt, name, locale } = event;
  const result = await recordPurchase(db, {
    who: lead ? { leadId: event.leadId ?? '' } : { hashes: hashAddress(normaliseAddress(email ?? ''), addressKeys) },
    orderId,
    campaignId: campaignId ?? undefined,
    purchasedAt,
    amount: amount ?? undefined,
    currency: currency ?? undefined,
    products,
    softOptIn: softOptIn ?? undefined,
    ...(email === null ? {} : { buyer: { email, name: name ?? undefined, locale: locale ?? undefined } }),
    timeFactor,
    now,
  });
  return { result: 'kept', orderId, ...result };
}

async function refund(db: Db, { refundedAt, amount }: ShopRefund, orderId: string, now: Date): Promise<ShopResult> {
  if (amount !== null) {
    const known = await db.selectFrom('purchase').select('amount').where('order_id', '=', orderId).executeTakeFirst();
    // Without knowing what was paid, nobody can tell a part from the whole; the shop tells of a whole one in other ways too.
    if (known?.amount == null || !isAll(amount, known.amount)) {
      return { result: 'ignored', why: 'partial-refund', orderId };
    }
  }
  return { result: 'kept', orderId, ...(await recordRefund(db, { orderId, refundedAt, now })), begun: [] };
}

/**
 * The name that an order is kept under: the one that any of its names has led to before, else the first. All of them lead there
 * from now on: Stripe tells of one order by its payment, its invoice and its checkout, and each event knows only some of these.
 * Of two events at the same time, the second waits for what the first has made of the names that they share.
 */
async function orderOf(db: Db, names: [string, ...string[]]): Promise<string> {
  return await inTransaction(db, async (tx) => {
    const [first] = names;
    const { rows: added } = await sql<{ name: string }>`
      insert into order_name (name, order_id)
      select name, ${first} from (select distinct unnest(${names}::text[]) as name) own order by name
      on conflict do nothing returning name`.execute(tx);
    const isNew = added.map((row) => row.name);
    // A purchase may also have been told by the API, under one of these.
    const { rows: known } = await sql<{ order_id: string }>`
      select order_id from (
        select name, order_id from order_name where name = any(${names}::text[]) and name <> all(${isNew}::text[])
        union all select order_id, order_id from purchase where order_id = any(${names}::text[])
      ) led order by array_position(${names}::text[], name) limit 1`.execute(tx);
    const orderId = known[0]?.order_id ?? first;
    if (orderId !== first && isNew.length > 0) {
      await sql`update order_name set order_id = ${orderId} where name = any(${isNew}::text[])`.execute(tx);
    }
    return orderId;
  });
}

async function isLead(db: Db, leadId: string): Promise<boolean> {
  const row = await db
    .selectFrom('lead')
    .select('id')
    .where('id', '=', leadId)
    .where('address_hash', 'is not', null)
    .executeTakeFirst();
  return row !== undefined;
}
