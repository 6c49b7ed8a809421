import { sql } from 'kysely';
import type { Tx } from './client';

/**
 * When these people last took back what they had agreed to: by an objection or a complaint, or in this campaign alone. It
 * stands when the suppression was lifted since: a consent from before is gone, and only a newer one carries anything
 * (promise P7). What was entered in error took nothing back.
 *
 * @param hashes of any number of people
 * @returns by address hash
 */
export async function lastWithdrawals(
  tx: Tx,
  hashes: readonly string[],
  campaignId: string,
): Promise<Map<string, Date>> {
  const { rows } = await sql<{ address_hash: string; at: Date }>`
    select address_hash, max(since) as at from suppression
    where address_hash = any(${hashes}::text[]) and lifted_by is distinct from 'privacy'
      and (kind in ('objection', 'complaint') or (kind = 'campaign' and campaign_id = ${campaignId}))
    group by address_hash`.execute(tx);
  return new Map(rows.map((row) => [row.address_hash, row.at]));
}
