import fastify from 'fastify';
import { demandScopes } from '../../api/auth';
import type { Api } from '../../api/context';
import { createApiKey } from '../../db/api-keys';
import { SCOPES, type Scope } from '../../domain/scopes';
import { API_KEY, type ApiUnderTest, AUTH, apiUnderTest, bodyFor, get, post } from './api-under-test';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

const NOBODY = '00000000-0000-4000-8000-000000000000';
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

async function keyWith(...scopes: Scope[]): Promise<string> {
  const by = { kind: 'cli' as const, id: 'test', scopes: SCOPES };
  return (await createApiKey(api.db, { name: scopes.join(), scopes, by, now: new Date() })).key;
}

interface Operation {
  path: string;
  method: 'GET';
  operationId: string;
  scopes: Scope[] | undefined;
}

/** Everything under /v1; that the document lists every route that is served is proven beside the document. */
async function operations(): Promise<Operation[]> {
  const { paths } = (await api.app.inject('/openapi.json')).json<{
    paths: Record<string, Record<string, { operationId: string; 'x-scopes'?: Scope[] }>>;
  }>();
  return Object.entries(paths)
    .filter(([path]) => path.startsWith('/v1/'))
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        path: path.replace(/\{\w+\}/g, NOBODY),
        method: method.toUpperCase() as 'GET',
        operationId: operation.operationId,
        scopes: operation['x-scopes'],
      })),
    );
}

test('every route under /v1 says who may call it: nobody else may, whatever else they may', async () => {
  const all = await operations();
  expect(all.length).toBeGreaterThan(50);
  expect(all.filter(({ scopes }) => scopes === undefined).map(({ operationId }) => operationId)).toEqual(['signIn']);
  const keys = new Map<string, string>();
  for (const { path, method, scopes } of all) {
    if (scopes === undefined) continue;
    const where = `${method} ${path}`;
    const anonymous = await api.app.inject({ method, url: path });
    expect([where, anonymous.statusCode]).toEqual([where, 401]);
    const others = SCOPES.filter((scope) => !scopes.includes(scope));
    if (others.length === 0) continue;
    const key = keys.get(others.join()) ?? (await keyWith(...others));
    keys.set(others.join(), key);
    const answer = await api.app.inject({ method, url: path, headers: bearer(key) });
    expect([where, answer.statusCode]).toEqual([where, 403]);
    expect(answer.json()).toMatchObject({ type: 'https://recuerda.test/problems/forbidden', scopes });
    // HEAD is the same route.
    if (method === 'GET') {
      expect((await api.app.inject({ method: 'HEAD', url: path, headers: bearer(key) })).statusCode).toBe(403);
    }
  }
});

test('any one of the scopes that a route names suffices', async () => {
  const keys = Object.fromEntries(await Promise.all(SCOPES.map(async (scope) => [scope, await keyWith(scope)])));
  for (const { path, method, scopes = [], operationId } of await operations()) {
    // Only people have sessions; that is told as forbidden too.
    if (['signOut', 'changeOwnPassword'].includes(operationId)) continue;
    for (const scope of scopes) {
      const answer = await api.app.inject({ method, url: path, headers: bearer(keys[scope] ?? '') });
      const refused = answer.statusCode === 401 || answer.statusCode === 403;
      expect([method, path, scope, refused]).toEqual([method, path, scope, false]);
    }
  }
});

test.each([
  ['forms', 'enroll', true],
  ['forms', 'findLeads', false],
  ['forms', 'listEnrollments', false],
  ['checkout', 'recordPurchase', true],
  ['checkout', 'sendTransactional', true],
  ['checkout', 'findLeads', false],
  ['checkout', 'unsubscribe', false],
  ['marketing', 'publishCampaign', true],
  ['marketing', 'sendTransactional', false],
  ['marketing', 'putSendingLimits', false],
  ['marketing', 'createKey', false],
  ['marketing', 'listPrivacyRequests', false],
  ['operator', 'pauseCampaign', true],
  ['operator', 'putSendingLimits', true],
  ['operator', 'publishCampaign', false],
  ['operator', 'listPrivacyRequests', false],
  ['privacy', 'getLead', true],
  ['privacy', 'listAudit', false],
  ['privacy', 'createStaffUser', false],
] as const)('a key with %s may %s: %s', async (scope, operationId, allowed) => {
  const operation = (await operations()).find((one) => one.operationId === operationId);
  expect(operation?.scopes?.includes(scope)).toBe(allowed);
});

test('an API with a route under /v1 that says nothing about scopes is not built', async () => {
  for (const config of [undefined, {}, { scopes: [] }]) {
    const app = fastify() as unknown as Api;
    demandScopes(app);
    const options = config === undefined ? {} : { config };
    expect(() => app.get('/v1/open', options, async () => 'open')).toThrow('GET /v1/open has no config.scopes');
    await expect(
      app.register(async (scope) => void scope.post('/open', options, async () => 'open'), { prefix: '/v1' }),
    ).rejects.toThrow('POST /v1/open has no config.scopes');
  }
  const app = fastify() as unknown as Api;
  demandScopes(app);
  app.get('/elsewhere', async () => 'open');
  app.get('/v1/closed', { config: { scopes: ['operator'] } }, async () => 'closed');
  await app.ready();
});

test('a key is made, shown once, used, listed and revoked', async () => {
  const made = await post(api.app, '/v1/keys', { name: ' checkout ', scopes: ['checkout', 'forms'] });
  expect(made.statusCode).toBe(201);
  const { key, keyId, ...shown } = made.json();
  expect(key).toMatch(/^rk_[\w-]{43}$/);
  expect(shown).toEqual({
    name: 'checkout',
    prefix: key.slice(0, 9),
    scopes: ['checkout', 'forms'],
    createdAt: expect.any(String),
    lastUsedAt: null,
    revokedAt: null,
  });

  const who = await api.app.inject({ url: '/v1/session', headers: bearer(key) });
  expect(who.json()).toEqual({
    kind: 'key',
    id: keyId,
    scopes: ['checkout', 'forms'],
    email: null,
    name: null,
    expiresAt: null,
  });
  const listed = await get(api.app, '/v1/keys?limit=1');
  expect(listed.json()).toMatchObject({ items: [{ keyId, lastUsedAt: expect.any(String) }] });
  expect(listed.body).not.toContain(key);

  for (let time = 0; time < 2; time++) {
    const revoked = await api.app.inject({ method: 'DELETE', url: `/v1/keys/${keyId}`, headers: AUTH });
    expect([revoked.statusCode, revoked.json()]).toMatchObject([200, { keyId, revokedAt: expect.any(String) }]);
  }
  expect((await api.app.inject({ url: '/v1/session', headers: bearer(key) })).statusCode).toBe(401);
  const unknown = await api.app.inject({ method: 'DELETE', url: `/v1/keys/${NOBODY}`, headers: AUTH });
  expect(unknown.statusCode).toBe(404);

  const audit = (await get(api.app, '/v1/audit?limit=2')).json();
  expect(audit.items).toMatchObject([
    { action: 'key.revoked', target: keyId, actor: { kind: 'key', id: expect.stringMatching(/^[0-9a-f]{16}$/) } },
    { action: 'key.created', target: keyId, detail: { scopes: ['checkout', 'forms'] } },
  ]);
});

test('what is sent or answered with a secret is kept for no idempotency key', async () => {
  const headers = { 'idempotency-key': 'make-a-key' };
  const body = { name: 'twice', scopes: ['forms'] };
  const [one, two] = [await post(api.app, '/v1/keys', body, headers), await post(api.app, '/v1/keys', body, headers)];
  expect(one.json().key).not.toBe(two.json().key);
  const person = { email: 'kept@shop.example', roles: ['forms'], password: 'never kept as a fingerprint' };
  expect((await post(api.app, '/v1/staff', person, headers)).statusCode).toBe(201);
  const { email, password } = person;
  expect((await post(api.app, '/v1/session', { email, password }, headers)).statusCode).toBe(200);
  expect(await api.db.selectFrom('idempotency').selectAll().where('key', '=', 'make-a-key').execute()).toEqual([]);
});

test.each([
  [{ name: 'x', scopes: ['everything'] }, '/scopes/0'],
  [{ name: 'x', scopes: [] }, '/scopes'],
  [{ name: '  ', scopes: ['forms'] }, '/name'],
  [{ scopes: ['forms'] }, '/name'],
  [{ name: 'x', scopes: ['forms'], key: 'rk_mine' }, '/key'],
])('a key as in %j is refused', async (body, pointer) => {
  const answer = await post(api.app, '/v1/keys', body);
  expect([answer.statusCode, answer.json().errors?.[0]?.pointer]).toEqual([400, pointer]);
});

test('nobody gives a key, or a person, more than they have', async () => {
  const operator = bearer(await keyWith('operator', 'forms'));
  const beyond = await post(api.app, '/v1/keys', { name: 'x', scopes: ['forms', 'privacy'] }, operator);
  expect([beyond.statusCode, beyond.json().type]).toEqual([403, 'https://recuerda.test/problems/forbidden']);
  expect((await post(api.app, '/v1/keys', { name: 'x', scopes: ['forms'] }, operator)).statusCode).toBe(201);
  const person = { email: 'more@shop.example', roles: ['privacy'], password: 'long enough for all' };
  expect((await post(api.app, '/v1/staff', person, operator)).statusCode).toBe(403);
});

test('the keys of the settings have every scope', async () => {
  const answer = await get(api.app, '/v1/session');
  expect(answer.json()).toMatchObject({ kind: 'key', scopes: [...SCOPES] });
  expect(JSON.stringify(answer.json())).not.toContain(API_KEY);
});

test('the same idempotency key of two keys is two requests', async () => {
  const campaign = await post(api.app, '/v1/campaigns', { name: 'x' });
  const body = bodyFor('idempotent@example.com');
  const answers = await Promise.all(
    [await keyWith('forms'), await keyWith('forms')].map((key) =>
      post(api.app, `/v1/campaigns/${campaign.json().id ?? NOBODY}/enrollments`, body, {
        ...bearer(key),
        'idempotency-key': 'the-same',
      }),
    ),
  );
  for (const answer of answers) expect(answer.headers['idempotency-replayed']).toBeUndefined();
  const kept = await api.db.selectFrom('idempotency').select('scope').where('key', '=', 'the-same').execute();
  expect(new Set(kept.map(({ scope }) => scope)).size).toBe(2);
});

test('wrong keys are counted by where they come from; right ones pass all the same, and so do others', async () => {
  const now = new Date();
  const app = await api.another({ clock: () => now });
  const right = bearer(await keyWith('forms'));
  const ask = async (headers: Record<string, string>, remoteAddress: string) =>
    await app.inject({ url: '/v1/session', headers, remoteAddress });
  const wrong = bearer('rk_guessed');
  for (let i = 0; i < 30; i++) {
    // One customer's network: whichever of its addresses it is.
    expect((await ask(wrong, `2001:db8:1:2::${i.toString(16)}`)).statusCode).toBe(401);
  }
  const refused = await ask(wrong, '2001:db8:1:2:ffff::1');
  expect([refused.statusCode, refused.json()]).toMatchObject([
    429,
    { type: 'https://recuerda.test/problems/too-many-requests', retryAfter: expect.any(Number) },
  ]);
  expect(Number(refused.headers['retry-after'])).toBe(refused.json().retryAfter);
  expect(refused.json().retryAfter).toBeGreaterThan(0);
  expect((await ask(right, '2001:db8:1:2::1')).statusCode).toBe(200);
  expect((await ask(AUTH, '2001:db8:1:2::1')).statusCode).toBe(200);
  expect((await ask(wrong, '2001:db8:1:3::1')).statusCode).toBe(401);
  now.setTime(now.getTime() + refused.json().retryAfter * 1000);
  expect((await ask(wrong, '2001:db8:1:2::1')).statusCode).toBe(401);
  // No header at all is no guess.
  expect((await ask({}, '2001:db8:1:2::1')).statusCode).toBe(401);
  const buckets = await api.db.selectFrom('throttle').select('bucket').execute();
  expect(JSON.stringify(buckets)).not.toMatch(/2001|db8/);
});
