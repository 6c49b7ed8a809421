import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { freePort } from '../../stack/ports';
import { type RunningCommand, runCommand } from './running-command';

let home: string;
let settings: NodeJS.ProcessEnv;
let worker: RunningCommand | undefined;
const name = `empty_${randomBytes(6).toString('hex')}`;

async function admin(statement: string): Promise<void> {
  const url = new URL(process.env.TEST_POSTGRES_URL as string);
  url.pathname = '/postgres';
  const client = new Client({ connectionString: url.href });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'recuerda-worker-'));
  await admin(`create database ${name}`);
  const url = new URL(process.env.TEST_POSTGRES_URL as string);
  url.pathname = `/${name}`;
  settings = {
    DATABASE_URL: url.href,
    TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}`,
    SMTP_URL: `smtp://127.0.0.1:${await freePort()}`,
    RECUERDA_PUBLIC_URL: 'http://127.0.0.1:3000',
    RECUERDA_SECRET: 'only-for-this-test-only-for-this-test',
  };
});

afterAll(async () => {
  worker?.child.kill('SIGKILL');
  await worker?.ends();
  await admin(`drop database ${name} with (force)`);
  await rm(home, { recursive: true, force: true });
});

test('a worker waits for its tables, then for Temporal, says so, and stops when it is told to', async () => {
  worker = runCommand(['worker'], home, settings);
  await worker.prints('run `recuerda migrate`');
  const migration = runCommand(['migrate'], home, settings);
  expect(await migration.ends()).toBe(0);
  expect(migration.output()).toMatch(/^Applied: /);
  await worker.prints('Temporal is not ready; will try again', 280_000);
  worker.child.kill('SIGTERM');
  expect(await worker.ends()).toBe(0);

  const again = runCommand(['migrate'], home, settings);
  expect(await again.ends()).toBe(0);
  expect(again.output()).toBe('The database is up to date.\n');
});

test('missing settings are all named at once', async () => {
  const lost = runCommand(['worker'], home);
  expect(await lost.ends()).toBe(1);
  for (const setting of ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'SMTP_URL', 'RECUERDA_SECRET', 'RECUERDA_PUBLIC_URL']) {
    expect(lost.output()).toContain(`${setting} must be set`);
  }
});
