import { type Db, inTransaction } from './client';
import { recordEvents } from './events';
import { lockOrder } from './purchases';
import { type StopResult, stopIn } from './stops';

export interface Refund {
  /** The shop's own number, as the purchase had it. */
  orderId: string;
  /** Now, where it is left out. */
  refundedAt?: Date | undefined;
  now: Date;
}

/**
 * Keeps that an order was refunded and ends the buyer's journey that it began, as `cancelled`; the follow-up that had ended
 * by the purchase stays ended. An order that is not known yet is kept too, and begins no journey when it comes. Told again,
 * it changes nothing.
 */
export async function recordRefund(db: Db, { orderId, refundedAt, now }: Refund): Promise<StopResult> {
  return await inTransaction(db, async (tx) => {
    await lockOrder(tx, orderId);
    const { numInsertedOrUpdatedRows = 0n } = await tx
      .insertInto('refund')
      .values({ order_id: orderId, refunded_at: refundedAt ?? now })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst();
    const repeated = numInsertedOrUpdatedRows === 0n;
    const enrollments = await tx
      .selectFrom('enrollment')
      .select(['id', 'lead_id'])
      .where('order_id', '=', orderId)
      .orderBy('id')
      .execute();
    const all: StopResult = { stopped: [], inFlight: [] };
    for (const { id: enrollmentId } of enrollments) {
      const { stopped, inFlight } = await stopIn(tx, {
        who: { enrollmentId },
        outcome: 'cancelled',
        detail: { by: 'refund', orderId },
        repeated: true,
        now,
      });
      all.stopped.push(...stopped);
      all.inFlight.push(...inFlight);
    }
    if (repeated) return all;
    const buyer = await tx
      .selectFrom('purchase as p')
      .innerJoin('lead as l', 'l.address_hash', 'p.address_hash')
      .select('l.id')
      .where('p.order_id', '=', orderId)
      .executeTakeFirst();
    const [first] = enrollments;
    const leadId = first?.lead_id ?? buyer?.id;
    if (leadId !== undefined) {
      await recordEvents(tx, [
        { at: now, leadId, enrollmentId: first?.id ?? null, kind: 'refunded', detail: { orderId } },
      ]);
    }
    return all;
  });
}
