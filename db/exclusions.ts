import { createHash, randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { normaliseAddress } from '../domain/addresses';
import { Problem } from '../domain/problem';
import { type Db, inTransaction, type Tx } from './client';

// Lists of people who want no advertising from anybody, such as the Lista Robinson (LOPDGDD art. 23), as hashes. What holds is a
// column of the address row, since the claim locks that one; a list is the reason for it. A list arrives hidden, in as
// many statements as it takes, and takes the place of the one before in one.

/** An entry: SHA-256 of the address in lower case. */
export type ExclusionHash = Buffer;

/** Small enough for a statement, large enough to be few. */
const ENTRIES_A_STATEMENT = 10_000;
const LEADS_A_LOOK = 5_000;
/** What is taken away at once of a list that no longer holds. */
const DELETE_AT_ONCE = 50_000;
/** A list that has not arrived after this never will: whoever sent it was cut off, or our process was. */
const ABANDONED = '1 day';
/** Key of the advisory lock that lets a list wait for those who looked before it held. */
const LOOKING = 5_202_611;
const ALIGNING = 5_202_612;

export interface ExclusionList {
  name: string;
  entries: number;
  importedAt: Date;
  /** Null: the addresses that it is about are still being looked for, or that broke off; send it again. */
  appliedAt: Date | null;
}

/** The lists that hold, by name. */
export async function exclusionLists(db: Db): Promise<ExclusionList[]> {
  const rows = await db
    .selectFrom('exclusion_list')
    .select(['name', 'entries', 'imported_at', 'applied_at'])
    .where('imported_at', 'is not', null)
    .orderBy('name')
    .execute();
  return rows.map((row) => ({
    name: row.name,
    entries: row.entries,
    importedAt: row.imported_at as Date,
    appliedAt: row.applied_at,
  }));
}

/**
 * Puts a list in the place of the one of this name, in constant memory: the next entries are asked for when the ones before
 * are stored. Until all have come the one before holds; when the source throws, it goes on holding.
 *
 * @returns the list, and how many of our addresses are on any list now
 */
export async function replaceExclusionList(
  db: Db,
  name: string,
  source: AsyncIterable<ExclusionHash>,
  now: Date,
): Promise<{ list: ExclusionList; excluded: number }> {
  await removeHidden(db, sql<boolean>`imported_at is null and created_at < now() - ${ABANDONED}::interval`);
  const id = randomUUID();
  await db.insertInto('exclusion_list').values({ id, name, imported_at: null, applied_at: null }).execute();
  try {
    await store(db, id, source);
  } catch (error) {
    await removeHidden(db, sql<boolean>`id = ${id}`).catch(() => {});
    throw error;
  }
  const entries = await inTransaction(db, async (tx) => {
    const counted = await sql<{ n: number }>`select count(*)::int as n from exclusion where list = ${id}`.execute(tx);
    const n = counted.rows[0]?.n ?? 0;
    await tx
      .updateTable('exclusion_list')
      .set({ imported_at: null })
      .where('name', '=', name)
      .where('imported_at', 'is not', null)
      .execute();
    await tx.updateTable('exclusion_list').set({ imported_at: now, entries: n }).where('id', '=', id).execute();
    return n;
  });
  const excluded = await applyLists(db, now);
  await removeHidden(db, sql<boolean>`name = ${name} and imported_at is null and entries > 0`);
  return { list: { name, entries, importedAt: now, appliedAt: now }, excluded };
}

/** Takes a list away; who is on no other one is free again. @throws Problem `not-found` */
export async function deleteExclusionList(db: Db, name: string, now: Date): Promise<void> {
  const retired = await db
    .updateTable('exclusion_list')
    .set({ imported_at: null })
    .where('name', '=', name)
    .where('imported_at', 'is not', null)
    .returning('id')
    .executeTakeFirst();
  if (retired === undefined) throw new Problem('not-found', 'there is no exclusion list of this name');
  await applyLists(db, now);
  await removeHidden(db, sql<boolean>`id = ${retired.id}`);
}

/**
 * Notes which of these people are on a list. For whoever writes down an address that may be new: it is looked up once, and
 * whatever list comes later finds it. The caller holds the locks of their address rows.
 */
export async function excludeListed(
  tx: Tx,
  people: readonly { addressHash: string; email: string }[],
  now: Date,
): Promise<void> {
  if (people.length === 0) return;
  // Held to the end of this transaction: a list that begins to hold meanwhile waits for it, and then sees what it wrote.
  await sql`select pg_advisory_xact_lock_shared(${LOOKING})`.execute(tx);
  const listed = await listedOf(tx, people);
  if (listed.length === 0) return;
  await tx
    .updateTable('address')
    .set({ excluded_at: now })
    .where('hash', '=', sql<string>`any(${listed}::text[])`)
    .where('excluded_at', 'is', null)
    .execute();
}

/** The hash under which an address stands on a list. */
export function exclusionHash(email: string): ExclusionHash {
  return createHash('sha256').update(normaliseAddress(email)).digest();
}

async function store(db: Db, list: string, source: AsyncIterable<ExclusionHash>): Promise<void> {
  let waiting: ExclusionHash[] = [];
  const flush = async () => {
    await sql`insert into exclusion (list, hash) select ${list}, unnest(${waiting}::bytea[]) on conflict do nothing`.execute(
      db,
    );
    waiting = [];
  };
  for await (const entry of source) {
    waiting.push(entry);
    if (waiting.length >= ENTRIES_A_STATEMENT) await flush();
  }
  if (waiting.length > 0) await flush();
}

/** Makes `address.excluded_at` what the lists say. @returns how many addresses are on one */
async function applyLists(db: Db, now: Date): Promise<number> {
  // Whoever looked before the lists changed and has not committed yet would be missed by what follows.
  await db.transaction().execute((tx) => sql`select pg_advisory_xact_lock(${LOOKING})`.execute(tx));
  let excluded = 0;
  let after = '00000000-0000-0000-0000-000000000000';
  for (;;) {
    const leads = await db
      .selectFrom('lead')
      .select(['id', 'address_hash', 'email'])
      .where('id', '>', after)
      .where('email', 'is not', null)
      .where('address_hash', 'is not', null)
      .orderBy('id')
      .limit(LEADS_A_LOOK)
      .execute();
    const people = leads.map((lead) => ({ addressHash: lead.address_hash as string, email: lead.email as string }));
    excluded += await inTransaction(db, (tx) => alignAddresses(tx, people, now));
    const last = leads.at(-1);
    if (last === undefined || leads.length < LEADS_A_LOOK) break;
    after = last.id;
  }
  await db
    .updateTable('exclusion_list')
    .set({ applied_at: now })
    .where('imported_at', 'is not', null)
    .where('applied_at', 'is', null)
    .execute();
  return excluded;
}

async function alignAddresses(
  tx: Tx,
  people: readonly { addressHash: string; email: string }[],
  now: Date,
): Promise<number> {
  if (people.length === 0) return 0;
  // One at a time: what was read before another list began to hold must not be written after.
  await sql`select pg_advisory_xact_lock(${ALIGNING})`.execute(tx);
  const listed = await listedOf(tx, people);
  const theirs = people.map(({ addressHash }) => addressHash);
  const { rows } = await sql<{ hash: string }>`
    select hash from address where hash = any(${theirs}::text[]) and (excluded_at is not null) <> (hash = any(${listed}::text[]))
    order by hash for no key update`.execute(tx);
  const changed = rows.map(({ hash }) => hash);
  await sql`
    update address set excluded_at = case when hash = any(${listed}::text[]) then ${now}::timestamptz end
    where hash = any(${changed}::text[])`.execute(tx);
  return listed.length;
}

/** The address hashes of those who are on a list. */
async function listedOf(tx: Tx, people: readonly { addressHash: string; email: string }[]): Promise<string[]> {
  const entries = people.map(({ email }) => exclusionHash(email));
  const { rows } = await sql<{ hash: Buffer }>`
    select e.hash from exclusion_list l cross join unnest(${entries}::bytea[]) as asked (hash)
    join exclusion e on e.list = l.id and e.hash = asked.hash
    where l.imported_at is not null`.execute(tx);
  const listed = new Set(rows.map(({ hash }) => hash.toString('hex')));
  return people
    .filter((_, index) => listed.has((entries[index] as Buffer).toString('hex')))
    .map((one) => one.addressHash);
}

/** Removes lists that do not hold, and their entries before them, a part at a time. */
async function removeHidden(db: Db, which: ReturnType<typeof sql<boolean>>): Promise<void> {
  const lists = await db
    .selectFrom('exclusion_list')
    .select('id')
    .where('imported_at', 'is', null)
    .where(which)
    .execute();
  for (const { id } of lists) {
    // In the order of the index, each part after the last, so that none looks again at what is gone.
    for (let after: Buffer | undefined = Buffer.alloc(0); after !== undefined; ) {
      const { rows }: { rows: { hash: Buffer }[] } = await sql<{ hash: Buffer }>`
        with part as (
          select hash from exclusion where list = ${id} and hash > ${after} order by hash limit ${DELETE_AT_ONCE}
        ), gone as (
          delete from exclusion e using part where e.list = ${id} and e.hash = part.hash
        )
        select hash from part order by hash desc limit 1`.execute(db);
      after = rows[0]?.hash;
    }
    await db.deleteFrom('exclusion_list').where('id', '=', id).where('imported_at', 'is', null).execute();
  }
}
