import { Webhook } from 'standardwebhooks';
import { deriveKey } from '../../config';
import { endpointSecret, OUTGOING_WEBHOOKS } from '../../domain/webhook-signature';
import { type ApiUnderTest, AUTH, apiUnderTest, get, post } from './api-under-test';

let api: ApiUnderTest;
let app: ApiUnderTest['app'];

beforeAll(async () => {
  api = await apiUnderTest();
  app = api.app;
});
afterAll(async () => await api.close());
afterEach(async () => {
  await api.db.deleteFrom('webhook_endpoint').execute();
  await api.db.deleteFrom('webhook_delivery').execute();
  await api.db.deleteFrom('audit').execute();
});

const URL_ = 'https://crm.shop.example/hooks/recuerda';
const create = async (body: object = {}) => (await post(app, '/v1/webhook-endpoints', { url: URL_, ...body })).json();
const patch = async (id: string, body: object) =>
  await app.inject({
    method: 'PATCH',
    url: `/v1/webhook-endpoints/${id}`,
    headers: { ...AUTH, 'content-type': 'application/json' },
    payload: JSON.stringify(body),
  });
const audited = async () => await api.db.selectFrom('audit').selectAll().orderBy('id').execute();

test('an endpoint is created with a secret that is shown once, derived, and kept nowhere', async () => {
  const response = await post(app, '/v1/webhook-endpoints', {
    url: URL_,
    events: ['lead.replied'],
    description: 'CRM',
  });
  expect(response.statusCode).toBe(201);
  const { secret, endpointId, ...rest } = response.json();
  expect(rest).toEqual({
    url: URL_,
    events: ['lead.replied'],
    description: 'CRM',
    secretVersion: 1,
    rotatedAt: null,
    disabledAt: null,
    disabledBecause: null,
    createdAt: expect.any(String),
  });
  expect(secret).toBe(endpointSecret(deriveKey(Buffer.alloc(32, 7), OUTGOING_WEBHOOKS), endpointId, 1));
  expect(new Webhook(secret)).toBeDefined();
  const again = await get(app, `/v1/webhook-endpoints/${endpointId}`);
  expect(again.json()).toEqual({ endpointId, ...rest });
  const kept = JSON.stringify([
    await api.db.selectFrom('webhook_endpoint').selectAll().execute(),
    await api.db.selectFrom('idempotency').selectAll().execute(),
    await audited(),
    api.logged,
  ]);
  expect(kept).toContain(endpointId);
  expect(kept).not.toContain(secret.slice(6));
});

test('an Idempotency-Key keeps no secret either', async () => {
  const response = await post(app, '/v1/webhook-endpoints', { url: URL_ }, { 'idempotency-key': 'k-1' });
  expect(response.statusCode).toBe(201);
  await post(app, `/v1/webhook-endpoints/${response.json().endpointId}/rotate`, undefined, {
    'idempotency-key': 'k-2',
  });
  expect(await api.db.selectFrom('idempotency').select('key').where('key', 'in', ['k-1', 'k-2']).execute()).toEqual([]);
});

test.each([
  ['http://crm.shop.example/'],
  ['ftp://crm.shop.example/'],
  ['crm.shop.example'],
  ['https://user:password@crm.shop.example/'],
  ['https://127.0.0.1/'],
  ['https://2130706433/'],
  ['https://0x7f.1/'],
  ['https://[::1]/'],
  ['https://[::ffff:10.0.0.1]/'],
  ['https://169.254.169.254/latest/meta-data'],
  ['https://192.168.1.1/'],
  ['https://100.64.0.1/'],
  ['https://localhost/'],
  ['https://api.localhost./'],
])('refused: %s', async (url) => {
  const response = await post(app, '/v1/webhook-endpoints', { url });
  expect([response.statusCode, response.json().errors?.[0]?.pointer]).toEqual([400, '/url']);
  const { endpointId } = await create();
  expect((await patch(endpointId, { url })).statusCode).toBe(400);
});

test('where it is allowed, they may be private and without TLS', async () => {
  const other = await api.another({ config: { webhooksToPrivate: true } });
  for (const url of ['http://127.0.0.1:8080/hook', 'https://10.0.0.1/', 'http://localhost/']) {
    expect((await post(other, '/v1/webhook-endpoints', { url })).statusCode).toBe(201);
  }
});

test.each([
  [{ events: [] }],
  [{ events: ['lead.unknown'] }],
  [{ events: ['lead.replied', 'lead.replied'] }],
  [{ secret: 'mine' }],
  [{ url: '' }],
  [{ description: 'x'.repeat(201) }],
])('refused: %j', async (body) => {
  expect((await post(app, '/v1/webhook-endpoints', { url: URL_, ...body })).statusCode).toBe(400);
});

test('they are listed in pages, the newest first, without secrets', async () => {
  for (const description of ['a', 'b', 'c']) await create({ description });
  const first = (await get(app, '/v1/webhook-endpoints?limit=2')).json();
  const second = (await get(app, `/v1/webhook-endpoints?limit=2&cursor=${first.nextCursor}`)).json();
  expect([...first.items, ...second.items].map((one: { description: string }) => one.description)).toEqual([
    'c',
    'b',
    'a',
  ]);
  expect(second.nextCursor).toBeNull();
  expect(JSON.stringify([first, second])).not.toContain('whsec_');
});

test('one is changed, switched off and on, and deleted; who did it is in the audit log, without the URL', async () => {
  const { endpointId } = await create();
  const changed = await patch(endpointId, { url: 'https://other.example/x#y', events: ['message.bounced'] });
  expect(changed.json()).toMatchObject({ url: 'https://other.example/x', events: ['message.bounced'] });
  expect((await patch(endpointId, { disabled: true })).json()).toMatchObject({
    disabledAt: expect.any(String),
    disabledBecause: 'by-hand',
  });
  expect((await patch(endpointId, { disabled: true })).statusCode).toBe(200);
  expect((await patch(endpointId, { disabled: false })).json()).toMatchObject({
    disabledAt: null,
    disabledBecause: null,
  });
  expect((await patch(endpointId, {})).statusCode).toBe(400);
  const gone = await app.inject({ method: 'DELETE', url: `/v1/webhook-endpoints/${endpointId}`, headers: AUTH });
  expect(gone.statusCode).toBe(204);
  expect((await get(app, `/v1/webhook-endpoints/${endpointId}`)).statusCode).toBe(404);
  const rows = await audited();
  expect(rows.map((row) => row.action)).toEqual([
    'webhook-endpoint.created',
    'webhook-endpoint.changed',
    'webhook-endpoint.disabled',
    'webhook-endpoint.enabled',
    'webhook-endpoint.deleted',
  ]);
  expect(new Set(rows.map((row) => [row.actor_kind, row.target].join()))).toEqual(new Set([`key,${endpointId}`]));
  expect(JSON.stringify(rows)).not.toContain('example');
});

test('a rotation shows the new secret, once', async () => {
  const { endpointId, secret } = await create();
  const rotated = (await post(app, `/v1/webhook-endpoints/${endpointId}/rotate`)).json();
  expect(rotated).toMatchObject({ endpointId, secretVersion: 2, rotatedAt: expect.any(String) });
  expect(rotated.secret).toMatch(/^whsec_/);
  expect(rotated.secret).not.toBe(secret);
  expect((await audited()).at(-1)).toMatchObject({ action: 'webhook-endpoint.rotated', detail: { version: 2 } });
});

test('a test is queued, seen among the deliveries, and can be tried again', async () => {
  const { endpointId } = await create({ events: ['lead.replied'] });
  const queued = await post(app, `/v1/webhook-endpoints/${endpointId}/test`);
  expect(queued.statusCode).toBe(202);
  expect(queued.json()).toMatchObject({ type: 'webhook.test', state: 'pending', attempts: 0, status: null });
  for (let i = 0; i < 2; i++) await post(app, `/v1/webhook-endpoints/${endpointId}/test`);
  const first = (await get(app, `/v1/webhook-endpoints/${endpointId}/deliveries?limit=2`)).json();
  const second = (
    await get(app, `/v1/webhook-endpoints/${endpointId}/deliveries?limit=2&cursor=${first.nextCursor}`)
  ).json();
  const ids = [...first.items, ...second.items].map((one: { deliveryId: string }) => one.deliveryId);
  expect(new Set(ids).size).toBe(3);
  await api.db.updateTable('webhook_delivery').set({ state: 'failed', attempts: 9, finished_at: new Date() }).execute();
  const retried = await post(app, `/v1/webhook-endpoints/deliveries/${ids[0]}/retry`);
  expect([retried.statusCode, retried.json()]).toMatchObject([
    202,
    { deliveryId: ids[0], state: 'pending', attempts: 0 },
  ]);
});

test('to one that is switched off nothing is sent', async () => {
  const { endpointId } = await create();
  const { deliveryId } = (await post(app, `/v1/webhook-endpoints/${endpointId}/test`)).json();
  await patch(endpointId, { disabled: true });
  for (const url of [
    `/v1/webhook-endpoints/${endpointId}/test`,
    `/v1/webhook-endpoints/deliveries/${deliveryId}/retry`,
  ]) {
    const response = await post(app, url);
    expect([response.statusCode, response.json().type]).toEqual([
      409,
      'https://recuerda.test/problems/endpoint-disabled',
    ]);
  }
});

test('what there is not: 404', async () => {
  const id = '00000000-0000-4000-8000-000000000000';
  expect((await get(app, `/v1/webhook-endpoints/${id}`)).statusCode).toBe(404);
  expect((await get(app, `/v1/webhook-endpoints/${id}/deliveries`)).statusCode).toBe(404);
  expect((await patch(id, { disabled: true })).statusCode).toBe(404);
  expect((await post(app, `/v1/webhook-endpoints/${id}/rotate`)).statusCode).toBe(404);
  expect((await post(app, `/v1/webhook-endpoints/${id}/test`)).statusCode).toBe(404);
  expect((await post(app, `/v1/webhook-endpoints/deliveries/${id}/retry`)).statusCode).toBe(404);
  const gone = await app.inject({ method: 'DELETE', url: `/v1/webhook-endpoints/${id}`, headers: AUTH });
  expect(gone.statusCode).toBe(404);
  expect((await get(app, '/v1/webhook-endpoints/none')).statusCode).toBe(400);
});

test('only operators may, and nobody without a key', async () => {
  const { endpointId } = await create();
  const { key } = (
    await post(app, '/v1/keys', { name: 'marketing', scopes: ['marketing', 'checkout', 'privacy'] })
  ).json();
  const calls = [
    ['POST', ''],
    ['GET', ''],
    ['GET', `/${endpointId}`],
    ['PATCH', `/${endpointId}`],
    ['DELETE', `/${endpointId}`],
    ['POST', `/${endpointId}/rotate`],
    ['POST', `/${endpointId}/test`],
    ['GET', `/${endpointId}/deliveries`],
    ['POST', `/deliveries/${endpointId}/retry`],
  ] as const;
  for (const [method, path] of calls) {
    const url = `/v1/webhook-endpoints${path}`;
    const body = method === 'PATCH' || path === '' ? { payload: '{"url":"https://a.example/"}' } : {};
    const headers = 'payload' in body && method !== 'GET' ? { 'content-type': 'application/json' } : {};
    const call = async (authorization: object) =>
      await app.inject({ method, url, headers: { ...headers, ...authorization }, ...(method === 'GET' ? {} : body) });
    expect([url, (await call({ authorization: `Bearer ${key}` })).statusCode]).toEqual([url, 403]);
    expect([url, (await call({})).statusCode]).toEqual([url, 401]);
  }
  expect((await get(app, `/v1/webhook-endpoints/${endpointId}`)).statusCode).toBe(200);
});
