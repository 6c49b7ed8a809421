import { isWornOut } from '../domain/inbound-actions';
import { lockAddresses } from './addresses';
import type { Db, Tx } from './client';
import { type StopResult, stopIn } from './stops';

export interface SoftBounce {
  addressHash: string;
  enrollmentId: string;
  step: number;
  at: Date;
  code: string | null;
}

/**
 * Counts a soft bounce of one step, once, whether the server said it at once or in a report; with it an address may be worn
 * out: soft bounces in 3 different steps or more, over 30 days or more. Then everything of it ends as `bounced`.
 *
 * @param detail who says so, for the timeline
 * @returns what has ended; null while the address may still come back to life
 */
export async function softBounceIn(
  tx: Tx,
  bounce: SoftBounce,
  detail: Record<string, unknown>,
  now: Date,
): Promise<StopResult | null> {
  if (!(await countSoftBounce(tx, bounce))) return null;
  return await stopIn(tx, {
    who: { enrollmentId: bounce.enrollmentId },
    outcome: 'bounced',
    suppress: 'undeliverable',
    detail: { ...detail, code: bounce.code, reason: 'soft-bounces' },
    now,
  });
}

async function countSoftBounce(tx: Tx, bounce: SoftBounce): Promise<boolean> {
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
