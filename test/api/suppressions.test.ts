import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiKey } from '../../db/api-keys';
import { inTransaction } from '../../db/client';
import { noteForJournal } from '../../db/journal';
import { SCOPES, type Scope } from '../../domain/scopes';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { type ApiUnderTest, apiUnderTest, bodyFor, get, post } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db, definitionForTests(3));
});
afterAll(async () => await api.close());

const address = () => `${randomUUID()}@correo.example`;
const historyOf = async (email: string) =>
  (await get(api.app, `/v1/suppressions?email=${encodeURIComponent(email)}`)).json().items;
const keyWith = async (...scopes: Scope[]) => {
  const by = { kind: 'cli', id: 'test', scopes: SCOPES } as const;
  const { key } = await createApiKey(api.db, { name: 'test', scopes, by, now: new Date() });
  return { authorization: `Bearer ${key}` };
};

test('P6 who is in charge of privacy voids what was entered in error, with a reason, which is kept and audited', async () => {
  const email = address();
  await post(api.app, '/v1/unsubscribes', { email });
  expect(await historyOf(email)).toMatchObject([{ kind: 'objection', by: 'api', liftedAt: null }]);
  expect((await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email))).statusCode).toBe(409);

  const reason = 'typed into the wrong form, ticket 4711';
  const answer = await post(api.app, '/v1/suppressions/void', { email, kind: 'objection', reason });
  expect(answer.statusCode).toBe(200);
  expect(answer.json().items).toMatchObject([{ kind: 'objection', liftedBy: 'privacy', liftedBecause: reason }]);
  const audit = await api.db.selectFrom('audit').selectAll().where('action', '=', 'suppression.voided').execute();
  expect(audit).toMatchObject([{ actor_kind: 'key', detail: { kind: 'objection', reason } }]);
  expect(JSON.stringify(audit)).not.toContain(email);
  expect((await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email))).statusCode).toBe(202);

  const again = await post(api.app, '/v1/suppressions/void', { email, kind: 'objection', reason });
  expect([again.statusCode, again.json().type]).toEqual([404, 'https://recuerda.test/problems/not-found']);
});

test('P6 nothing else that staff or programs can do lifts an objection', async () => {
  const email = address();
  const request = requestBy(email);
  await enrollForTests(api.db, campaignId, request);
  await post(api.app, '/v1/unsubscribes', { email });
  await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email));
  await post(api.app, '/v1/purchases', { email, orderId: randomUUID() });
  await post(api.app, '/v1/replies', { email });
  expect(await historyOf(email)).toMatchObject([{ kind: 'objection', liftedAt: null }]);
});

test('by the hash alone, where the address is not known any more', async () => {
  const email = address();
  const [addressHash] = requestBy(email).hashes;
  await post(api.app, '/v1/unsubscribes', { email });
  const byHash = (await get(api.app, `/v1/suppressions?addressHash=${addressHash}`)).json();
  expect(byHash.items).toMatchObject([{ kind: 'objection' }]);
  const body = { addressHash, kind: 'objection', reason: 'was somebody else' };
  expect((await post(api.app, '/v1/suppressions/void', body)).statusCode).toBe(200);
  expect(await historyOf(email)).toMatchObject([{ liftedBy: 'privacy' }]);
});

test.each([
  ['neither address nor hash', { kind: 'objection', reason: 'an error' }],
  ['both', { email: 'a@b.example', addressHash: `1.${'a'.repeat(43)}`, kind: 'objection', reason: 'an error' }],
  ['no reason', { email: 'a@b.example', kind: 'objection' }],
  ['an address in the reason', { email: 'a@b.example', kind: 'objection', reason: 'ana@example.com called' }],
  ['no such kind', { email: 'a@b.example', kind: 'whim', reason: 'an error' }],
  [
    'a campaign for another kind',
    { email: 'a@b.example', kind: 'objection', campaignId: randomUUID(), reason: 'error' },
  ],
  ['no address', { email: 'nonsense', kind: 'objection', reason: 'an error' }],
])('refused: %s', async (_, body) => {
  expect((await post(api.app, '/v1/suppressions/void', body)).statusCode).toBe(400);
});

test('only privacy voids; privacy and operators look', async () => {
  const email = address();
  await post(api.app, '/v1/unsubscribes', { email });
  const body = { email, kind: 'objection', reason: 'an error' };
  for (const scope of SCOPES) {
    const headers = await keyWith(scope);
    const look = await api.app.inject({ url: `/v1/suppressions?email=${encodeURIComponent(email)}`, headers });
    expect([scope, look.statusCode]).toEqual([scope, scope === 'privacy' || scope === 'operator' ? 200 : 403]);
    if (scope === 'privacy') continue;
    const answer = await post(api.app, '/v1/suppressions/void', body, headers);
    expect([scope, answer.statusCode]).toEqual([scope, 403]);
  }
  expect(await historyOf(email)).toMatchObject([{ liftedAt: null }]);
});

describe('the journal', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'journal-'));
  });
  afterEach(async () => await rm(directory, { recursive: true, force: true }));
  const written = async () =>
    (await Promise.all((await readdir(directory)).map((name) => readFile(join(directory, name), 'utf8'))))
      .join('')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));

  test('P2 knows of a stop before it is answered, by whichever way', async () => {
    await api.db.deleteFrom('journal_outbox').execute();
    const app = await api.another({ config: { journal: directory } });
    const email = address();
    const request = requestBy(email);
    const enrollmentId = await enrollForTests(api.db, campaignId, request);
    await post(app, `/v1/enrollments/${enrollmentId}/pause`);
    expect(await written()).toMatchObject([{ kind: 'pause', enrollmentId }]);
    await post(app, '/v1/unsubscribes', { email });
    expect((await written()).slice(1)).toMatchObject([
      { kind: 'stop', enrollmentId, outcome: 'unsubscribed' },
      { kind: 'suppress', hashes: request.hashes, reason: 'objection' },
    ]);
    await post(app, '/v1/suppressions/void', { email, kind: 'objection', reason: 'an error' });
    expect((await written()).at(-1)).toMatchObject({ kind: 'lift', by: 'privacy' });
    expect((await app.inject('/readyz')).json()).toMatchObject({ status: 'ready', journal: 'written' });
    expect(JSON.stringify(await written())).not.toMatch(/correo|@|an error/);
  });

  test('P4 that can not be written holds nobody up: what is missing waits, is told, and follows', async () => {
    await api.db.deleteFrom('journal_outbox').execute();
    const missing = join(directory, 'not-mounted');
    const late = new Date(Date.now() + 120_000);
    const broken = await api.another({ config: { journal: missing }, clock: () => late });
    const email = address();
    expect((await post(broken, '/v1/unsubscribes', { email })).statusCode).toBe(202);
    expect(await historyOf(email)).toMatchObject([{ kind: 'objection' }]);
    expect(api.logged.some((line) => line.includes('the journal could not be written'))).toBe(true);
    await inTransaction(api.db, (tx) =>
      noteForJournal(tx, [{ kind: 'pause', enrollmentId: randomUUID() }], new Date()),
    );
    expect((await broken.inject('/readyz')).json()).toMatchObject({ status: 'ready', journal: 'behind' });
    const mended = await api.another({ config: { journal: directory } });
    await post(mended, '/v1/unsubscribes', { email: address() });
    expect(await written()).toHaveLength(3);
    expect(await api.db.selectFrom('journal_outbox').select('id').execute()).toEqual([]);
  });
});
