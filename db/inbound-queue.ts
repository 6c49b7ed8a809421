import { sql } from 'kysely';
import type { ProviderEvent } from '../domain/inbound';
import type { Db } from './client';

// Every received message is a row that waits to be understood. A lease keeps two workers from the same row; what is done
// about it is one transaction that looks again, so nothing happens twice even if a lease runs out.

/** A received message that is to be understood and acted upon. */
export interface LeasedInbound {
  id: string;
  raw: Buffer | null;
  event: ProviderEvent | null;
  envelope: { sender: string | null; recipient: string | null } | null;
  /** This one included. */
  attempts: number;
}

/** After so many attempts that failed or died a message is given up, and shown as such. */
export const MAX_ATTEMPTS = 6;

/** Rows that wait, leased to the caller; what came first is first. */
export async function leaseInbound(db: Db, limit: number, leaseMs: number): Promise<LeasedInbound[]> {
  const result = await sql<LeasedInbound & { receivedAt: Date }>`
    update inbound i set leased_until = now() + ${leaseMs} * interval '1 millisecond', attempts = attempts + 1
    where i.id = any(array(
      select id from inbound
      where state = 'new' and next_at <= now() and attempts < ${MAX_ATTEMPTS}
        and (leased_until is null or leased_until < now())
      order by next_at, received_at limit ${limit} for update skip locked
    ))
    returning i.id, i.raw, i.event, i.envelope, i.attempts, i.received_at as "receivedAt"`.execute(db);
  return result.rows.sort((a, b) => a.receivedAt.getTime() - b.receivedAt.getTime());
}

/** How long to wait after the first, second … failure (ms). */
const WAITS = [5_000, 60_000, 10 * 60_000, 60 * 60_000, 6 * 60 * 60_000];

/**
 * Puts a message back that could not be dealt with, or gives it up.
 *
 * @param code what failed, as a code: never a text, which may quote the message
 */
export async function putBackInbound(db: Db, row: Pick<LeasedInbound, 'id' | 'attempts'>, code: string): Promise<void> {
  const wait = WAITS[row.attempts - 1] ?? 0;
  await sql`
    update inbound set failure = ${code}, leased_until = null,
      next_at = now() + ${wait} * interval '1 millisecond',
      state = case when attempts >= ${MAX_ATTEMPTS} then 'failed' else 'new' end,
      processed_at = case when attempts >= ${MAX_ATTEMPTS} then now() end,
      needs_review = attempts >= ${MAX_ATTEMPTS}
    where id = ${row.id} and state = 'new'`.execute(db);
}

/** Gives up messages whose every attempt has died with its worker. @returns how many */
export async function giveUpInbound(db: Db): Promise<number> {
  const result = await db
    .updateTable('inbound')
    .set({ state: 'failed', failure: 'attempts_died', needs_review: true, processed_at: sql<Date>`now()` })
    .where('state', '=', 'new')
    .where('attempts', '>=', MAX_ATTEMPTS)
    .where((eb) => eb.or([eb('leased_until', 'is', null), eb('leased_until', '<', sql<Date>`now()`)]))
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}

/** Messages in doubt that nobody has decided about in time; they count as replies from now on. */
export async function dueReviews(db: Db, now: Date, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('inbound')
    .select('id')
    .where('needs_review', '=', true)
    .where('decided_at', 'is', null)
    .where('review_until', '<=', now)
    .orderBy('review_until')
    .limit(limit)
    .execute();
  return rows.map((row) => row.id);
}

/**
 * Erases what was written in messages received so long ago or earlier; what they were and what followed stays.
 *
 * @param keep ISO 8601
 * @returns how many
 */
export async function eraseOldInbound(db: Db, now: Date, keep: string): Promise<number> {
  const result = await db
    .updateTable('inbound')
    .set({
      raw: null,
      event: null,
      envelope: null,
      summary: null,
      message_id: null,
      mentions: null,
      classification: sql`jsonb_set(jsonb_set(classification, '{evidence}', '[]'), '{bounce}',
        case when jsonb_typeof(classification->'bounce') = 'object'
             then classification->'bounce' || '{"recipient": null}' else 'null' end)`,
    })
    .where('received_at', '<', sql<Date>`${now}::timestamptz - ${keep}::interval`)
    .where('state', '!=', 'new')
    .where((eb) => eb.or([eb('raw', 'is not', null), eb('event', 'is not', null), eb('summary', 'is not', null)]))
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}
