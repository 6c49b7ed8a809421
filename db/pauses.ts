import { type SqlBool, sql } from 'kysely';
import { Problem } from '../domain/problem';
import { type Db, inTransaction } from './client';
import { recordEvents } from './events';
import { noteForJournal } from './journal';
import { signalStamp } from './outbox';
import { handingOver, type InFlight, withdraw } from './stops';

/**
 * Pauses an enrollment: none of its messages is handed over any more but those named in the answer. Pausing again
 * changes nothing.
 *
 * @param replayed it stands in the journal already
 * @throws Problem `not-found`, `already-ended`
 */
export async function pauseEnrollment(db: Db, enrollmentId: string, now: Date, replayed = false): Promise<InFlight[]> {
  return await inTransaction(db, async (tx) => {
    const row = await tx
      .updateTable('enrollment')
      .set((eb) => ({ paused_at: eb.fn.coalesce('paused_at', eb.val(now)) }))
      .where('id', '=', enrollmentId)
      .returning(['lead_id', 'outcome', 'step'])
      .executeTakeFirst();
    assertOpen(row, enrollmentId);
    if (!replayed) await noteForJournal(tx, [{ kind: 'pause', enrollmentId }], now);
    await withdraw(tx, sql<SqlBool>`e.id = ${enrollmentId}`, now);
    await recordEvents(tx, [{ at: now, leadId: row.lead_id, enrollmentId, kind: 'paused', step: row.step }]);
    return await handingOver(tx, sql<SqlBool>`enrollment.id = ${enrollmentId}`);
  });
}

/**
 * Lets an enrollment go on. Due times are absolute: what fell due while it was paused goes out in the next window.
 *
 * @throws Problem `not-found`, `already-ended`
 */
export async function resumeEnrollment(db: Db, enrollmentId: string, now: Date, replayed = false): Promise<void> {
  await inTransaction(db, async (tx) => {
    const row = await tx
      .updateTable('enrollment')
      .set({ paused_at: null, held_at: null, signal_at: signalStamp(now) })
      .where('id', '=', enrollmentId)
      .returning(['lead_id', 'outcome', 'step'])
      .executeTakeFirst();
    assertOpen(row, enrollmentId);
    if (!replayed) await noteForJournal(tx, [{ kind: 'resume', enrollmentId }], now);
    await recordEvents(tx, [{ at: now, leadId: row.lead_id, enrollmentId, kind: 'resumed', step: row.step }]);
  });
}

/**
 * Pauses a whole campaign, as `pauseEnrollment` does one of its enrollments.
 *
 * @throws Problem `not-found`
 */
export async function pauseCampaign(db: Db, campaignId: string, now: Date, replayed = false): Promise<InFlight[]> {
  return await inTransaction(db, async (tx) => {
    const row = await tx
      .updateTable('campaign')
      .set((eb) => ({ paused_at: eb.fn.coalesce('paused_at', eb.val(now)) }))
      .where('id', '=', campaignId)
      .returning('id')
      .executeTakeFirst();
    if (row === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
    if (!replayed) await noteForJournal(tx, [{ kind: 'campaign-paused', campaignId }], now);
    await withdraw(tx, sql<SqlBool>`e.campaign_id = ${campaignId}`, now);
    return await handingOver(tx, sql<SqlBool>`enrollment.campaign_id = ${campaignId}`);
  });
}

/**
 * Lets a paused campaign go on; journeys that were told to hold are woken, the others never noticed.
 *
 * @throws Problem `not-found`
 */
export async function resumeCampaign(db: Db, campaignId: string, now: Date, replayed = false): Promise<void> {
  await inTransaction(db, async (tx) => {
    const row = await tx
      .updateTable('campaign')
      .set({ paused_at: null })
      .where('id', '=', campaignId)
      .returning('id')
      .executeTakeFirst();
    if (row === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
    if (!replayed) await noteForJournal(tx, [{ kind: 'campaign-resumed', campaignId }], now);
    await tx
      .updateTable('enrollment')
      .set({ held_at: null, signal_at: signalStamp(now) })
      .where('campaign_id', '=', campaignId)
      .where('outcome', 'is', null)
      .where('held_at', 'is not', null)
      .execute();
  });
}

/**
 * Notes that a journey is being told to hold, so that resuming, or the decision that a review waits for, will wake it. Null
 * when nothing holds it any more: then it must look again instead.
 */
export async function holdWhilePaused(
  db: Db,
  enrollmentId: string,
  now: Date,
): Promise<'campaign' | 'enrollment' | 'review' | null> {
  return await inTransaction(db, async (tx) => {
    // Campaign before enrollment, as everywhere; holding both locks, neither resume can slip in between.
    const campaign = await tx
      .selectFrom('campaign')
      .select('paused_at')
      .where('id', '=', (eb) => eb.selectFrom('enrollment').select('campaign_id').where('id', '=', enrollmentId))
      .forShare()
      .executeTakeFirst();
    const enrollment = await tx
      .selectFrom('enrollment')
      .select(['paused_at', 'review_since'])
      .where('id', '=', enrollmentId)
      .forNoKeyUpdate()
      .executeTakeFirst();
    const paused = campaign?.paused_at != null ? 'campaign' : enrollment?.paused_at != null ? 'enrollment' : null;
    const by = paused ?? (enrollment?.review_since != null ? 'review' : null);
    if (by !== null) {
      await tx.updateTable('enrollment').set({ held_at: now }).where('id', '=', enrollmentId).execute();
    }
    return by;
  });
}

function assertOpen<T extends { outcome: string | null }>(row: T | undefined, enrollmentId: string): asserts row is T {
  if (row === undefined) throw new Problem('not-found', `there is no enrollment ${enrollmentId}`);
  if (row.outcome !== null) throw new Problem('already-ended', `the enrollment has ended as ${row.outcome}`);
}
