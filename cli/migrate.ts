import { readConfig } from '../config';
import { createDb } from '../db/client';
import { migrate } from '../db/migrate';

/** `recuerda migrate`: applies what is missing and says what it did. */
export async function runMigrate(env: NodeJS.ProcessEnv): Promise<void> {
  const applied = await migrateDatabase(readConfig(env).databaseUrl);
  console.log(applied.length === 0 ? 'The database is up to date.' : `Applied: ${applied.join(', ')}`);
}

/** Brings a database to this release's schema. @returns the names of the migrations that were applied */
export async function migrateDatabase(url: string): Promise<string[]> {
  const db = createDb({ url, maxConnections: 2, onError: () => {} });
  try {
    return await migrate(db);
  } finally {
    await db.destroy();
  }
}
