import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { createApiKey, listApiKeys, revokeApiKey, useApiKey } from '../../db/api-keys';
import { type Caller, listAudit } from '../../db/audit';
import { SCOPES } from '../../domain/scopes';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => await database.drop());

const T0 = new Date('2026-03-01T10:00:00Z');
const later = (ms: number) => new Date(T0.getTime() + ms);
const ROOT: Caller = { kind: 'cli', id: 'root', scopes: SCOPES };

test('a key is kept as its hash, with its beginning and nothing else of it', async () => {
  const { db } = database;
  const made = await createApiKey(db, { name: 'checkout', scopes: ['checkout', 'checkout'], by: ROOT, now: T0 });
  expect(made.key).toMatch(/^rk_[\w-]{43}$/);
  expect(made.prefix).toBe(made.key.slice(0, 9));
  const row = await db.selectFrom('api_key').selectAll().where('id', '=', made.id).executeTakeFirstOrThrow();
  expect(row.hash).toEqual(createHash('sha256').update(made.key).digest());
  expect(row.scopes).toEqual(['checkout']);
  expect(row.created_by).toBe('cli:root');
  const everything = JSON.stringify([row, await db.selectFrom('audit').selectAll().execute()]);
  expect(everything).not.toContain(made.key.slice(10));
});

test('nobody makes a key that may do more than they may', async () => {
  const { db } = database;
  const by: Caller = { kind: 'key', id: 'k', scopes: ['operator', 'forms'] };
  const before = await listApiKeys(db, 100, null);
  await expect(createApiKey(db, { name: 'x', scopes: ['forms', 'privacy'], by, now: T0 })).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('you lack privacy'),
  });
  expect(await listApiKeys(db, 100, null)).toEqual(before);
  await expect(createApiKey(db, { name: 'x', scopes: ['forms'], by, now: T0 })).resolves.toBeDefined();
});

test('a key is known until it is revoked, and another is not', async () => {
  const { db } = database;
  const { id, key } = await createApiKey(db, { name: 'a', scopes: ['forms'], by: ROOT, now: T0 });
  expect(await useApiKey(db, key, T0)).toEqual({ id, scopes: ['forms'] });
  for (const wrong of [key.slice(0, -1), `${key}a`, key.toUpperCase(), 'rk_', '']) {
    expect(await useApiKey(db, wrong, T0)).toBeNull();
  }
  expect(await revokeApiKey(db, id, ROOT, later(1))).toMatchObject({ id, revokedAt: later(1) });
  expect(await useApiKey(db, key, later(2))).toBeNull();
  // Once more changes nothing, neither the time nor the log.
  expect(await revokeApiKey(db, id, ROOT, later(9))).toMatchObject({ revokedAt: later(1) });
  const entries = (await listAudit(db, 100, null)).filter(({ target }) => target === id);
  expect(entries.map(({ action, actor }) => [action, actor])).toEqual([
    ['key.revoked', { kind: 'cli', id: 'root' }],
    ['key.created', { kind: 'cli', id: 'root' }],
  ]);
  await expect(revokeApiKey(db, '00000000-0000-4000-8000-000000000000', ROOT, T0)).rejects.toMatchObject({
    code: 'not-found',
  });
});

test('the last use is noted, at most once a minute', async () => {
  const { db } = database;
  const { id, key } = await createApiKey(db, { name: 'b', scopes: ['forms'], by: ROOT, now: T0 });
  const lastUsed = async () => (await listApiKeys(db, 100, null)).find((one) => one.id === id)?.lastUsedAt;
  const written = async () => {
    const { rows } = await sql<{ xmin: string }>`select xmin::text from api_key where id = ${id}`.execute(db);
    return rows[0]?.xmin;
  };
  expect(await lastUsed()).toBeNull();
  await useApiKey(db, key, later(1_000));
  expect(await lastUsed()).toEqual(later(1_000));
  const version = await written();
  await useApiKey(db, key, later(60_999));
  expect([await lastUsed(), await written()]).toEqual([later(1_000), version]);
  await useApiKey(db, key, later(61_000));
  expect(await lastUsed()).toEqual(later(61_000));
});

test('keys are listed newest first, page by page', async () => {
  const { db } = database;
  await db.deleteFrom('api_key').execute();
  for (const [i, name] of ['one', 'two', 'three'].entries()) {
    await createApiKey(db, { name, scopes: ['forms'], by: ROOT, now: later(i) });
  }
  const first = await listApiKeys(db, 2, null);
  expect(first.map(({ name }) => name)).toEqual(['three', 'two']);
  expect((await listApiKeys(db, 2, first[1] ?? null)).map(({ name }) => name)).toEqual(['one']);
});
