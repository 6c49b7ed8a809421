import { type Migration, Migrator } from 'kysely';
import type { Db } from './client';
import * as spine from './migrations/0001-spine';
import * as mail from './migrations/0002-mail';
import * as people from './migrations/0003-people';
import * as campaignMigrations from './migrations/0004-campaign-migrations';

const MIGRATIONS: Record<string, Migration> = {
  '0001-spine': spine,
  '0002-mail': mail,
  '0003-people': people,
  '0004-campaign-migrations': campaignMigrations,
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
