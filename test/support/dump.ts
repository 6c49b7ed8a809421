import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { Db } from '../../db/client';

/** All rows of a database, as JSON has them. */
export type Dump = Record<string, Record<string, unknown>[]>;

/** Tables of Kysely's migrator. */
const OWN_TABLES = /^kysely_/;

/** Reads everything; empty tables are left out. */
export async function dumpDatabase(db: Db): Promise<Dump> {
  const dump: Dump = {};
  for (const table of await tablesInOrder(db)) {
    const rows = await sql<{
      row: Record<string, unknown>;
    }>`select to_jsonb(t) as row from ${sql.table(table)} t`.execute(db);
    if (rows.rows.length > 0) dump[table] = rows.rows.map(({ row }) => row);
  }
  return dump;
}

/**
 * Inserts the rows of a dump, with the columns that the dump has: what was added since gets its default. References are
 * checked; our triggers do not run.
 */
export async function loadDump(db: Db, dump: Dump): Promise<void> {
  await db.transaction().execute(async (trx) => {
    for (const table of await tablesInOrder(trx)) {
      const rows = dump[table] ?? [];
      if (rows.length === 0) continue;
      const name = sql.table(table);
      const columns = sql.join(Object.keys(rows[0] ?? {}).map((column) => sql.ref(column)));
      await sql`alter table ${name} disable trigger user`.execute(trx);
      await sql`insert into ${name} (${columns}) overriding system value
        select ${columns} from jsonb_populate_recordset(null::${name}, ${JSON.stringify(rows)})`.execute(trx);
      await sql`alter table ${name} enable trigger user`.execute(trx);
      await moveOn(trx, table);
    }
  });
}

/** Lets the numbers that a table gives out go on after those it has. */
async function moveOn(db: Db, table: string): Promise<void> {
  const { rows } = await sql<{ column: string }>`select column_name as column from information_schema.columns
    where table_schema = 'public' and table_name = ${table} and is_identity = 'YES'`.execute(db);
  for (const { column } of rows) {
    await sql`select setval(pg_get_serial_sequence(${table}, ${column}), max(${sql.ref(column)}))
      from ${sql.table(table)}`.execute(db);
  }
}

/** Our tables, each after those it refers to. */
export async function tablesInOrder(db: Db): Promise<string[]> {
  const tables = await sql<{ name: string }>`select table_name as name from information_schema.tables
    where table_schema = 'public' and table_type = 'BASE TABLE' order by 1`.execute(db);
  const references = await sql<{ of: string; to: string }>`
    select conrelid::regclass::text as of, confrelid::regclass::text as to from pg_constraint
    where contype = 'f' and conrelid <> confrelid`.execute(db);
  const left = new Set(tables.rows.map(({ name }) => name).filter((name) => !OWN_TABLES.test(name)));
  const ordered: string[] = [];
  while (left.size > 0) {
    const next = [...left].filter((table) => !references.rows.some(({ of, to }) => of === table && left.has(to)));
    if (next.length === 0) throw new Error(`these tables refer to each other: ${[...left].join(', ')}`);
    for (const table of next) {
      left.delete(table);
      ordered.push(table);
    }
  }
  return ordered;
}

/** The state of a text, to tell whether it was changed. */
export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
