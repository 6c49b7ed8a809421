import { setTimeout as sleep } from 'node:timers/promises';
import { type Migration, Migrator, sql } from 'kysely';
import type { Db } from './client';
import * as spine from './migrations/0001-spine';
import * as mail from './migrations/0002-mail';
import * as people from './migrations/0003-people';
import * as campaignMigrations from './migrations/0004-campaign-migrations';
import * as figures from './migrations/0005-figures';
import * as journalState from './migrations/0006-journal-state';
import * as answersOfPeople from './migrations/0007-answers-of-people';

const MIGRATIONS: Record<string, Migration> = {
  '0001-spine': spine,
  '0002-mail': mail,
  '0003-people': people,
  '0004-campaign-migrations': campaignMigrations,
  '0005-figures': figures,
  '0006-journal-state': journalState,
  '0007-answers-of-people': answersOfPeople,
};

/** Postgres: a lock was not to be had within `lock_timeout`. */
const LOCK_NOT_AVAILABLE = '55P03';
/** Between two tries for a lock (ms), so that whoever waited behind the last try gets on. */
const AGAIN_MS = 1_000;
/** Somebody who holds a lock for longer than this (ms) must be looked at by a person. */
const PATIENCE_MS = 15 * 60_000;

/**
 * Brings the database to this release's schema, each migration in a transaction of its own; safe to run from several processes at
 * once and when there is nothing to do. Where `db` waits for locks for a limited time, a migration that does not get one is tried
 * again for a quarter of an hour: while it waits, everybody else waits behind it.
 *
 * @param upTo the name of the last migration to apply, for the schema of a former release; all of them when left out
 * @param onWait told of each try that got no lock
 * @returns the names of the migrations that were applied
 * @throws what Postgres said of the first that failed; everything before it stays applied, and nothing of it
 */
export async function migrate(db: Db, upTo?: string, onWait: () => void = () => {}): Promise<string[]> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
  const applied: string[] = [];
  for (const giveUpAt = Date.now() + PATIENCE_MS; ; ) {
    if (upTo !== undefined && (await isApplied(migrator, upTo))) return applied;
    const { error, results = [] } = await migrator.migrateUp();
    if (error === undefined) {
      if (results.length === 0) return applied;
      applied.push(...results.map((result) => result.migrationName));
      continue;
    }
    if ((error as { code?: string }).code !== LOCK_NOT_AVAILABLE || Date.now() > giveUpAt) throw error;
    onWait();
    await sleep(AGAIN_MS);
  }
}

async function isApplied(migrator: Migrator, name: string): Promise<boolean> {
  return (await migrator.getMigrations()).some((known) => known.name === name && known.executedAt !== undefined);
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
