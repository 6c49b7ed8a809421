import { sql } from 'kysely';
import type { Db } from './client';

/** How long an answer is kept for a request that comes again. */
export const KEEP_ANSWERS_MS = 48 * 60 * 60 * 1000;

/** A request that has held its key for this long without an answer has crashed: whoever comes next takes the key over. */
const HOLDER_LOST_MS = 60_000;

/** The right to work on a request; it is lost to whoever takes the key over. */
export interface Reservation {
  key: string;
  scope: string;
  fingerprint: string;
  /** When it was reserved, to the millisecond: tells this holder from the one before. */
  reservedAt: Date;
}

export interface StoredAnswer {
  status: number;
  body: string;
  contentType: string | null;
}

export type ReserveResult =
  | { kind: 'reserved'; reservation: Reservation }
  /** The request was dealt with before, and this was the answer. */
  | { kind: 'answered'; answer: StoredAnswer }
  /** The key belongs to another request. */
  | { kind: 'mismatch' }
  | { kind: 'in-progress' };

/**
 * Takes an idempotency key for a request, if nobody has it.
 *
 * @param scope whose key it is; the same key in two scopes is two keys
 * @param fingerprint what the request asks for, hashed
 */
export async function reserveKey(db: Db, key: string, scope: string, fingerprint: string): Promise<ReserveResult> {
  for (;;) {
    const taken = await sql<{ reservedAt: Date }>`
      insert into idempotency as i (key, scope, fingerprint, created_at)
      values (${key}, ${scope}, ${fingerprint}, date_trunc('milliseconds', clock_timestamp()))
      on conflict (key, scope) do update
        set fingerprint = excluded.fingerprint, created_at = excluded.created_at, status = null, body = null,
            content_type = null
        where i.created_at < excluded.created_at - ${KEEP_ANSWERS_MS} * interval '1 millisecond'
           or i.status is null and i.fingerprint = excluded.fingerprint
              and i.created_at < excluded.created_at - ${HOLDER_LOST_MS} * interval '1 millisecond'
      returning created_at as "reservedAt"`.execute(db);
    const reservedAt = taken.rows[0]?.reservedAt;
    if (reservedAt !== undefined) return { kind: 'reserved', reservation: { key, scope, fingerprint, reservedAt } };

    const held = await db
      .selectFrom('idempotency')
      .select(['fingerprint', 'status', 'body', 'content_type as contentType'])
      .where('key', '=', key)
      .where('scope', '=', scope)
      .executeTakeFirst();
    if (held === undefined) continue; // its holder gave it back this very moment
    if (held.fingerprint !== fingerprint) return { kind: 'mismatch' };
    if (held.status === null) return { kind: 'in-progress' };
    return {
      kind: 'answered',
      answer: { status: held.status, body: held.body ?? '', contentType: held.contentType },
    };
  }
}

/** Keeps the answer for those who ask again; nothing happens when the key was taken over meanwhile. */
export async function storeAnswer(db: Db, reservation: Reservation, answer: StoredAnswer): Promise<void> {
  await db
    .updateTable('idempotency')
    .set({ status: answer.status, body: answer.body, content_type: answer.contentType })
    .where('key', '=', reservation.key)
    .where('scope', '=', reservation.scope)
    .where('created_at', '=', reservation.reservedAt)
    .where('status', 'is', null)
    .execute();
}

/** Gives a key back unused, so that the same request can be tried again at once. */
export async function releaseKey(db: Db, reservation: Reservation): Promise<void> {
  await db
    .deleteFrom('idempotency')
    .where('key', '=', reservation.key)
    .where('scope', '=', reservation.scope)
    .where('created_at', '=', reservation.reservedAt)
    .where('status', 'is', null)
    .execute();
}

/** Deletes keys that are older than this (`KEEP_ANSWERS_MS` unless there is a reason). @returns how many */
export async function forgetIdempotencyKeys(db: Db, olderThanMs: number): Promise<number> {
  const result = await sql`
    delete from idempotency where created_at < now() - ${olderThanMs} * interval '1 millisecond'`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}
