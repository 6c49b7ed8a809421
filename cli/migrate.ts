import { readConfig } from '../config';
import { createDb } from '../db/client';
import { migrate } from '../db/migrate';

/** `recuerda migrate`: applies what is missing and says what it did. */
export async function runMigrate(env: NodeJS.ProcessEnv): Promise<void> {
  const applied = await migrateDatabase(readConfig(env).databaseUrl);
  console.log(applied.length === 0 ? 'The database is up to date.' : `Applied: ${applied.join(', ')}`);
}

/** A migration waits no longer than this (ms) for a lock at a time: whatever comes after it waits behind it. */
const LOCK_MS = 3_000;

/** Brings a database to this release's schema, however long that takes. @returns the names of the migrations that were applied */
export async function migrateDatabase(url: string): Promise<string[]> {
  const db = createDb({ url, maxConnections: 2, statementMs: 0, lockMs: LOCK_MS, onError: () => {} });
  try {
    let told = false;
    return await migrate(db, undefined, () => {
      if (!told) console.error('Waiting for a table that a long transaction or another migration holds …');
      told = true;
    });
  } finally {
    await db.destroy();
  }
}
