import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Tx } from './client';
import { signalStamp } from './outbox';
import { settleWhere } from './transactional-fate';

/**
 * Withdraws requests that wait to be confirmed, erases what was sent with them, and keeps their mails back that have not
 * passed the gate: nobody is asked to confirm what they no longer want. Requests are locked before mails, everywhere.
 *
 * @param requests which, as a condition on `r`
 * @param but a mail that is left to the caller
 * @returns the requests, for `Journeys.startConfirmations`
 */
export async function withdrawPending(
  tx: Tx,
  requests: RawBuilder<SqlBool>,
  now: Date,
  but?: string,
): Promise<string[]> {
  const { rows } = await sql<{ id: string; mail_id: string | null; reminder_id: string | null }>`
    update form_request r set state = 'withdrawn', ended_at = ${now}, content = null, signal_at = ${signalStamp(now)}
    where r.state = 'pending' and (${requests}) returning id, mail_id, reminder_id`.execute(tx);
  await keepBack(
    tx,
    rows.flatMap((row) => [row.mail_id, row.reminder_id]).filter((id) => id !== but),
    now,
  );
  return rows.map((row) => row.id);
}

/** Takes mails outside any journey back that have not passed the gate. A claim is taken back too: its gate then refuses. */
export async function keepBack(tx: Tx, mailIds: readonly (string | null)[], now: Date): Promise<void> {
  const ids = mailIds.filter((id) => id !== null);
  if (ids.length === 0) return;
  const fate = { state: 'rejected', code: 'withdrawn', providerId: null, now } as const;
  await settleWhere(tx, ids, sql`state in ('queued', 'claimed')`, fate);
}
