import { sql } from 'kysely';
import type { Db, Tx } from './client';

/** How long an event is known, days; every shop has given up repeating it long before. */
const KNOWN_DAYS = 90;

/** Whether an event was taken already. @param ids its names: one that is known is enough */
export async function isSeen(db: Db | Tx, source: string, ids: readonly string[]): Promise<boolean> {
  const row = await db
    .selectFrom('webhook_seen')
    .select('event_id')
    .where('source', '=', source)
    .where('event_id', '=', sql<string>`any(${ids}::text[])`)
    .executeTakeFirst();
  return row !== undefined;
}

/** Keeps that an event was taken. */
export async function markSeen(db: Db | Tx, source: string, ids: readonly string[], now: Date): Promise<void> {
  await sql`
    insert into webhook_seen (source, event_id, received_at)
    select ${source}, id, ${now}::timestamptz from unnest(${ids}::text[]) id
    on conflict do nothing`.execute(db);
}

/** Forgets events of long ago. Told again even then, they would change nothing: orders are kept by their number. */
export async function forgetSeen(db: Db): Promise<number> {
  const result = await sql`
    delete from webhook_seen where received_at < now() - ${KNOWN_DAYS} * interval '1 day'`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}
