import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKey, listKeys, revokeKey } from '../../cli/keys';
import { useApiKey } from '../../db/api-keys';
import { listAudit } from '../../db/audit';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
let refusals: jest.SpyInstance;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => {
  await database.drop();
  rmSync(NOWHERE, { recursive: true });
});
beforeEach(() => {
  refusals = jest.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => refusals.mockRestore());

const NOWHERE = mkdtempSync(join(tmpdir(), 'recuerda-keys-'));

/** What a command prints, and its exit code. */
async function run(
  work: (command: Parameters<typeof listKeys>[0]) => Promise<number>,
  env: NodeJS.ProcessEnv = { DATABASE_URL: database.url },
): Promise<{ code: number; printed: string; said: string }> {
  const lines: string[] = [];
  const output = { write: (text: string) => void lines.push(text) };
  const code = await work({ env: { RECUERDA_HOME: NOWHERE, ...env }, root: NOWHERE, output });
  return { code, printed: lines.join(''), said: refusals.mock.calls.flat().join('\n') };
}

test('a key is printed once, alone; it works until it is revoked', async () => {
  const made = await run((command) => createKey(command, { name: 'checkout', scopes: 'forms, checkout' }));
  expect([made.code, made.printed]).toEqual([0, expect.stringMatching(/^rk_[\w-]{43}\n$/)]);
  expect(made.said).toContain('may: checkout, forms');
  const key = made.printed.trim();
  const used = await useApiKey(database.db, key, new Date());
  expect(used?.scopes).toEqual(['checkout', 'forms']);

  const listed = await run(listKeys);
  expect(listed.code).toBe(0);
  expect(listed.printed).toContain(`${used?.id}  ${key.slice(0, 9)}…  checkout,forms`);
  expect(listed.printed).not.toContain(key);

  const revoked = await run((command) => revokeKey(command, used?.id ?? ''));
  expect([revoked.code, revoked.printed]).toEqual([0, `Revoked: ${key.slice(0, 9)}… (checkout)\n`]);
  expect(await useApiKey(database.db, key, new Date())).toBeNull();
  expect((await run(listKeys)).printed).toContain('revoked 20');

  const audit = await listAudit(database.db, 2, null);
  expect(audit.map(({ action, actor }) => [action, actor.kind])).toEqual([
    ['key.revoked', 'cli'],
    ['key.created', 'cli'],
  ]);
});

test.each([
  ['a scope that there is not', { name: 'x', scopes: 'forms,everything' }, /^everything: there are marketing, /],
  ['no scope', { name: 'x', scopes: '' }, /there are marketing/],
  ['no name', { name: ' ', scopes: 'forms' }, /A name has/],
])('a key with %s is refused', async (_, options, words) => {
  const answer = await run((command) => createKey(command, options));
  expect([answer.code, answer.printed, answer.said]).toEqual([1, '', expect.stringMatching(words)]);
});

test('a key that there is not is not revoked', async () => {
  const unknown = await run((command) => revokeKey(command, '00000000-0000-4000-8000-000000000000'));
  expect([unknown.code, unknown.said]).toEqual([1, 'There is no such key.']);
  const noId = await run((command) => revokeKey(command, 'rk_abcdef'));
  expect([noId.code, noId.said]).toEqual([1, expect.stringContaining('Give the id')]);
});

test('the database is that of DATABASE_URL, or of a file that DATABASE_URL_FILE names', async () => {
  const file = join(NOWHERE, 'database-url');
  writeFileSync(file, `${database.url}\n`);
  expect((await run(listKeys, { DATABASE_URL_FILE: file })).code).toBe(0);
  const nowhere = await run(listKeys, {});
  expect([nowhere.code, nowhere.said]).toEqual([1, expect.stringContaining('Set DATABASE_URL')]);
  await expect(run(listKeys, { DATABASE_URL_FILE: join(NOWHERE, 'nothing') })).rejects.toThrow('DATABASE_URL_FILE');
});
