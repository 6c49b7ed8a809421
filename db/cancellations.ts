import { type SqlBool, sql } from 'kysely';
import { Problem } from '../domain/problem';
import { type Db, inTransaction } from './client';
import { noteForJournal } from './journal';
import { signalStamp } from './outbox';
import { giveBackSlots } from './quota';
import { withdrawPending } from './request-withdrawal';
import { handingOver, type InFlight, withdraw } from './stops';

export interface Cancellation {
  /** How many enrollments have ended by it. */
  stopped: number;
  /** Messages that were past the gate at this moment: the only ones that may still arrive (promise P2). */
  inFlight: InFlight[];
}

/**
 * Cancels a campaign for good: it takes no more leads, and all its open enrollments end as `cancelled`. Cancelling again
 * changes nothing. Their journeys are told by the reconciler, since there may be very many.
 *
 * A statement for all of them, unlike `stopEnrollments`, which reads and tells them one by one.
 *
 * @param replayed it stands in the journal already
 * @throws Problem `not-found`
 */
export async function cancelCampaign(db: Db, campaignId: string, now: Date, replayed = false): Promise<Cancellation> {
  const cancelled = await inTransaction(db, async (tx) => {
    // First, and under its lock: an enrollment that is just being written is waited for and ended below, and every later
    // one finds the campaign cancelled.
    await tx.selectFrom('campaign').select('id').where('id', '=', campaignId).forUpdate().execute();
    const campaign = await tx
      .updateTable('campaign')
      .set((eb) => ({ cancelled_at: eb.fn.coalesce('cancelled_at', eb.val(now)) }))
      .where('id', '=', campaignId)
      .returning('id')
      .executeTakeFirst();
    if (campaign === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
    if (!replayed) await noteForJournal(tx, [{ kind: 'campaign-cancelled', campaignId }], now);
    const ended = await sql<{ count: number }>`
      with ended as (
        update enrollment
        set outcome = 'cancelled', ended_at = ${now}, signal_at = ${signalStamp(now)}, info_due_at = null
        where campaign_id = ${campaignId} and outcome is null
        returning id, lead_id
      ), told as (
        insert into event (at, lead_id, enrollment_id, kind, detail)
        select ${now}::timestamptz, lead_id, id, 'ended', '{"by": "campaign", "outcome": "cancelled"}'::jsonb from ended
      )
      select count(*)::int as count from ended`.execute(tx);
    // A statement of its own, so with a snapshot of its own: claims that were waited for above are seen here.
    await withdraw(tx, sql<SqlBool>`e.campaign_id = ${campaignId}`, now);
    const inFlight = await handingOver(tx, sql<SqlBool>`enrollment.campaign_id = ${campaignId}`);
    await giveBackSlots(tx, sql<SqlBool>`e.campaign_id = ${campaignId} and e.ended_at = ${now}`, now);
    return { stopped: ended.rows[0]?.count ?? 0, inFlight };
  });
  // Only now: requests are locked before campaigns, and whoever looks at one meanwhile finds the campaign cancelled.
  await inTransaction(db, (tx) => withdrawPending(tx, sql<SqlBool>`r.campaign_id = ${campaignId}`, now));
  return cancelled;
}
