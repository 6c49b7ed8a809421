import { sql } from 'kysely';
import type { Tx } from './client';
import type { AddressTable } from './schema';

/** Why an address may not be written to, if so. */
export interface Suppression {
  reason: 'objection' | 'complaint' | 'undeliverable' | 'campaign';
  since: Date | null;
}

type AddressRow = Pick<AddressTable, 'hash' | 'suppressed_at' | 'suppressed_reason' | 'undeliverable_at'> & {
  suppressed_campaigns: string[];
};

/**
 * Locks the rows of these people, adding those that are new, always in the order of their hashes (so that two batches
 * can't wait for each other).
 *
 * @param people for each person, the hashes under all keys, newest first (`hashAddress`)
 * @returns for each person, in the order given, their row; where a change of keys has left several, the newest with
 *   the suppressions of all
 */
export async function lockAddresses(
  tx: Tx,
  people: readonly (readonly [string, ...string[]])[],
): Promise<AddressRow[]> {
  const known = await selectForUpdate(tx, people.flat());
  const missing = people.filter((hashes) => !hashes.some((hash) => known.has(hash))).map((hashes) => hashes[0]);
  if (missing.length > 0) {
    const rows = [...new Set(missing)].sort().map((hash) => ({ hash }));
    const added = await tx
      .insertInto('address')
      .values(rows)
      .onConflict((conflict) => conflict.doNothing())
      .returning(COLUMNS)
      .execute();
    for (const row of added) known.set(row.hash, row);
    // Whoever came between was waited for, and has added theirs.
    const theirs = rows.flatMap(({ hash }) => (known.has(hash) ? [] : [hash]));
    if (theirs.length > 0) for (const [hash, row] of await selectForUpdate(tx, theirs)) known.set(hash, row);
  }
  return people.map((hashes) => {
    const [row, ...older] = hashes.flatMap((hash) => known.get(hash) ?? []);
    if (row === undefined) throw new Error('an address row vanished while it was being locked');
    return older.reduce(merged, row);
  });
}

/** Whatever stands against one row of a person stands against the person. */
function merged(row: AddressRow, older: AddressRow): AddressRow {
  const complaint = [row, older].find((one) => one.suppressed_reason === 'complaint');
  const { suppressed_at, suppressed_reason } = complaint ?? (row.suppressed_at === null ? older : row);
  return {
    hash: row.hash,
    suppressed_at,
    suppressed_reason,
    undeliverable_at: row.undeliverable_at ?? older.undeliverable_at,
    suppressed_campaigns: [...new Set([...row.suppressed_campaigns, ...older.suppressed_campaigns])],
  };
}

const COLUMNS = ['hash', 'suppressed_at', 'suppressed_reason', 'undeliverable_at', 'suppressed_campaigns'] as const;

async function selectForUpdate(tx: Tx, hashes: readonly string[]): Promise<Map<string, AddressRow>> {
  const rows = await tx
    .selectFrom('address')
    .select(COLUMNS)
    .where('hash', '=', sql<string>`any(${hashes}::text[])`)
    .orderBy('hash')
    .forUpdate()
    .execute();
  return new Map(rows.map((row) => [row.hash, row]));
}

/** What stands against mail of this campaign to the address, or null (promise P6). */
export function suppressionOf(row: Omit<AddressRow, 'hash'>, campaignId: string): Suppression | null {
  if (row.suppressed_reason !== null) return { reason: row.suppressed_reason, since: row.suppressed_at };
  if (row.undeliverable_at !== null) return { reason: 'undeliverable', since: row.undeliverable_at };
  if (row.suppressed_campaigns.includes(campaignId)) return { reason: 'campaign', since: null };
  return null;
}
