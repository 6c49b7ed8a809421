import { type Kysely, sql } from 'kysely';

/**
 * How far this database is in its journal, so that one that was restored from a backup is noticed. `turn` counts the writes to
 * the journal, which stand in its entries too.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const statements = `
    create table journal_state (
      one boolean primary key default true check (one),
      turn bigint not null default 0,
      turned_at timestamptz,
      restored_at timestamptz               -- since when it is known to be older than its journal; null once it was audited
    );
    insert into journal_state default values;
  `;
  await sql.raw(statements).execute(db);
}
