import { isWornOut } from '../domain/inbound-actions';
import { lockAddresses } from './addresses';
import type { Db, Tx } from './client';

/**
 * Counts a soft bounce of one step, once.
 *
 * @returns whether the address is worn out by now: soft bounces in 3 different steps or more, over 30 days or more
 */
export async function countSoftBounce(
  tx: Tx,
  bounce: { addressHash: string; enrollmentId: string; step: number; at: Date; code: string | null },
): Promise<boolean> {
  // First of all locks: two reports about one address must see each other's rows.
  await lockAddresses(tx, [[bounce.addressHash]]);
  await tx
    .insertInto('soft_bounce')
    .values({
      address_hash: bounce.addressHash,
      enrollment_id: bounce.enrollmentId,
      step: bounce.step,
      at: bounce.at,
      code: bounce.code,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const rows = await tx.selectFrom('soft_bounce').select('at').where('address_hash', '=', bounce.addressHash).execute();
  return isWornOut(rows.map((row) => row.at));
}

/** The address was shown to work, or its owner has asked anew. */
export async function forgetSoftBounces(tx: Db | Tx, addressHashes: readonly string[]): Promise<void> {
  if (addressHashes.length === 0) return;
  await tx
    .deleteFrom('soft_bounce')
    .where('address_hash', 'in', [...addressHashes])
    .execute();
}
