import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { createDb, type Db } from '../../db/client';

/** A database of one test file's own, cloned from the migrated template. */
export interface TestDatabase {
  db: Db;
  url: string;
  drop(): Promise<void>;
}

/**
 * Clones the template. Call `drop` when done; it fails if the test left connections open.
 *
 * @param template `template1` for an empty one, without our tables
 */
export async function createTestDatabase(maxConnections = 20, template = 'recuerda'): Promise<TestDatabase> {
  const serverUrl = process.env.TEST_POSTGRES_URL;
  if (serverUrl === undefined) throw new Error('TEST_POSTGRES_URL is set by test/support/global-setup.ts');
  return await clone(serverUrl, template, maxConnections);
}

/** A copy of a database as it is now, as a backup has it. Whoever is connected to the original is cut off, and may connect again. */
export async function backUp(original: TestDatabase): Promise<TestDatabase> {
  const name = new URL(original.url).pathname.slice(1);
  await admin(original.url, `alter database ${name} allow_connections false`);
  try {
    await admin(original.url, `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`);
    return await clone(original.url, name, 20);
  } finally {
    await admin(original.url, `alter database ${name} allow_connections true`);
  }
}

async function clone(serverUrl: string, template: string, maxConnections: number): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await admin(serverUrl, `create database ${name} template ${template}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const db = createDb({ url: url.href, maxConnections, onError: () => {} });
  return {
    db,
    url: url.href,
    async drop() {
      await db.destroy();
      await admin(serverUrl, `drop database ${name} with (force)`);
    },
  };
}

async function admin(serverUrl: string, statement: string): Promise<void> {
  const url = new URL(serverUrl);
  url.pathname = '/postgres';
  const client = new Client({ connectionString: url.href });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
