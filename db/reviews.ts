import { type SqlBool, sql } from 'kysely';
import type { Tx } from './client';
import { signalStamp } from './outbox';
import { withdraw } from './stops';

/** Whose mail waits for a person's decision: one campaign's to a lead, or all of it. */
export interface ReviewScope {
  leadId: string;
  /** Null: the message answers no campaign in particular. */
  campaignId: string | null;
}

/**
 * Keeps mail back until a person has decided what a message is: from now on no message of these enrollments is handed over,
 * and what is claimed but not past the gate is taken back.
 *
 * @returns the open enrollments that wait now
 */
export async function holdForReview(tx: Tx, { leadId, campaignId }: ReviewScope, now: Date): Promise<string[]> {
  const held = await tx
    .updateTable('enrollment')
    .set((eb) => ({ review_since: eb.fn.coalesce('review_since', eb.val(now)) }))
    .where('lead_id', '=', leadId)
    .where('outcome', 'is', null)
    .where((eb) => (campaignId === null ? eb.lit(true) : eb('campaign_id', '=', campaignId)))
    .returning('id')
    .execute();
  const ids = held.map((row) => row.id);
  // A second statement, so with a snapshot of its own: claims that were waited for above are seen here.
  await withdraw(tx, sql<SqlBool>`e.id = any(${ids}::uuid[])`, now);
  return ids;
}

/**
 * Lets the lead's enrollments go on that no undecided message holds back any more. Due times are absolute: what fell due
 * meanwhile goes out in the next window.
 *
 * @returns those whose journeys must be woken
 */
export async function releaseReviews(tx: Tx, leadId: string, now: Date): Promise<string[]> {
  const released = await tx
    .updateTable('enrollment as e')
    .set({ review_since: null, held_at: null, signal_at: signalStamp(now) })
    .where('e.lead_id', '=', leadId)
    .where('e.outcome', 'is', null)
    .where('e.review_since', 'is not', null)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('inbound as i')
            .leftJoin('enrollment as about', 'about.id', 'i.enrollment_id')
            .select('i.id')
            .where('i.lead_id', '=', leadId)
            .where('i.review_until', 'is not', null)
            .where('i.decided_at', 'is', null)
            .where((eb) =>
              eb.or([eb('i.matched_by', '=', 'address'), eb('about.campaign_id', '=', eb.ref('e.campaign_id'))]),
            ),
        ),
      ),
    )
    .returning('e.id')
    .execute();
  return released.map((row) => row.id);
}
