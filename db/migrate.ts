import { type Migration, Migrator, sql } from 'kysely';
import type { Db } from './client';
import * as spine from './migrations/0001-spine';
import * as mail from './migrations/0002-mail';
import * as people from './migrations/0003-people';
import * as campaignMigrations from './migrations/0004-campaign-migrations';
import * as figures from './migrations/0005-figures';
import * as journalState from './migrations/0006-journal-state';

const MIGRATIONS: Record<string, Migration> = {
  '0001-spine': spine,
  '0002-mail': mail,
  '0003-people': people,
  '0004-campaign-migrations': campaignMigrations,
  '0005-figures': figures,
  '0006-journal-state': journalState,
};

/**
 * Brings the database to this release's schema; safe to run from several processes at once and when there is nothing to do.
 *
 * @param upTo the name of the last migration to apply, for the schema of a former release; all of them when left out
 * @returns the names of the migrations that were applied
 * @throws what Postgres said of the first that failed; everything before it stays applied, and nothing of it
 */
export async function migrate(db: Db, upTo?: string): Promise<string[]> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
  const { error, results } = await (upTo === undefined ? migrator.migrateToLatest() : migrator.migrateTo(upTo));
  if (error !== undefined) throw error;
  return (results ?? []).map((result) => result.migrationName);
}

/**
 * Whether every migration of this release was applied. A newer database, as a rolling upgrade has it for a while, is current too.
 *
 * @throws what Postgres said
 */
export async function isMigrated(db: Db): Promise<boolean> {
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
  const applied = new Set(rows.map(({ name }) => name));
  return Object.keys(MIGRATIONS).every((name) => applied.has(name));
}
