import { sql } from 'kysely';
import type { Db, Tx } from './client';

export type SettledState = 'accepted' | 'rejected' | 'deferred' | 'unknown';

/**
 * Records the fate of mails outside any journey for good, and erases what is no longer needed of them.
 *
 * @param condition in which they must be, on their rows
 * @returns false where one was not in it, and is left as it was
 */
export async function settleWhere(
  db: Db | Tx,
  ids: readonly string[],
  condition: ReturnType<typeof sql>,
  fate: { state: SettledState; code: string; providerId: string | null; now: Date },
): Promise<boolean> {
  const result = await sql`
    with settled as (
      update transactional set
        state = ${fate.state}, code = ${fate.code}, provider_id = ${fate.providerId}, settled_at = ${fate.now},
        not_before = null, content = null,
        email = case when kind = 'shop' and not erase_when_settled then email end,
        address_hash = case when not erase_when_settled then address_hash end
      where id = any(${ids}::uuid[]) and (${condition})
      returning id
    ), erased as (
      delete from transactional_attachment where transactional_id in (select id from settled)
    )
    select id from settled`.execute(db);
  return result.rows.length === ids.length;
}
