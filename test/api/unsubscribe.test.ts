import { randomUUID } from 'node:crypto';
import { createDb } from '../../db/client';
import { removeEvidence } from '../../db/evidence';
import { signUnsubscribeToken, type UnsubscribeToken } from '../../domain/unsubscribe-token';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy, TEST_TOKEN_KEYS } from '../support/leads';
import { type ApiUnderTest, apiUnderTest, bodyFor, ledgerRow, post, until } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;
let otherCampaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db, definitionForTests(3));
  otherCampaignId = await publishForTests(api.db, definitionForTests(3));
});
afterAll(async () => await api.close());

async function linked(locale = 'es') {
  const request = requestBy(`${randomUUID()}@example.com`);
  const enrollmentId = await enrollForTests(api.db, campaignId, request);
  const otherId = await enrollForTests(api.db, otherCampaignId, request);
  const claims: UnsubscribeToken = { addressHash: request.hashes[0], campaignId, enrollmentId, locale };
  const token = signUnsubscribeToken(claims, TEST_TOKEN_KEYS);
  return { request, enrollmentId, otherId, claims, token, url: `/u/${token}` };
}

const outcomesOf = async (...ids: string[]) => {
  const rows = await api.db.selectFrom('enrollment').select(['id', 'outcome']).where('id', 'in', ids).execute();
  return ids.map((id) => rows.find((row) => row.id === id)?.outcome ?? null);
};
const addressOf = async (hash: string) =>
  await api.db
    .selectFrom('address')
    .select(['suppressed_reason', 'suppressed_campaigns'])
    .where('hash', '=', hash)
    .executeTakeFirst();
const everything = async () => ({
  addresses: await api.db.selectFrom('address').selectAll().orderBy('hash').execute(),
  enrollments: await api.db.selectFrom('enrollment').selectAll().orderBy('id').execute(),
  events: await api.db.selectFrom('event').selectAll().orderBy('id').execute(),
});
const ONE_CLICK = {
  payload: 'List-Unsubscribe=One-Click',
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
};

test('P13 GET and HEAD show a page and change nothing', async () => {
  const { url } = await linked();
  const before = await everything();
  for (let i = 0; i < 3; i++) {
    const page = await api.app.inject({ method: 'GET', url });
    expect(page.statusCode).toBe(200);
    expect(page.headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'x-robots-tag': 'noindex, nofollow',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'content-security-policy': expect.stringContaining("default-src 'none'"),
    });
    expect(page.headers['set-cookie']).toBeUndefined();
    expect(page.body).toContain('<html lang="es">');
    expect(page.body).toContain('Casa Brava, S.L.');
    expect(page.body).toContain('Cafetera Brava');
    expect(page.body.match(/<form method="post">/g)).toHaveLength(2);
    const head = await api.app.inject({ method: 'HEAD', url: `${url}?scope=all&List-Unsubscribe=One-Click` });
    expect([head.statusCode, head.body]).toEqual([200, '']);
  }
  expect(await everything()).toEqual(before);
});

const BOUNDARY = 'b0undary';
const multipart = (name: string, value: string) => ({
  payload: `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n--${BOUNDARY}--\r\n`,
  headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
});

test.each<[string, object]>([
  ['a form, as RFC 8058 says', ONE_CLICK],
  ['a multipart form, as RFC 8058 says', multipart('List-Unsubscribe', 'One-Click')],
  ['no body', {}],
  ['no body, but a type', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
  ['no type', { payload: 'List-Unsubscribe=One-Click', headers: {} }],
  ['another type', { payload: '{"a":', headers: { 'content-type': 'application/json' } }],
  ['a type that is none', { payload: 'List-Unsubscribe=One-Click', headers: { 'content-type': 'nonsense' } }],
  ['bytes that are no text', { payload: Buffer.from([0, 255, 254]), headers: { 'content-type': 'text/plain' } }],
])('P13 a bare POST with %s unsubscribes from all marketing, with no key, cookie or redirect', async (_, body) => {
  const { url, request, enrollmentId, otherId } = await linked();
  const answer = await api.app.inject({ method: 'POST', url, ...body });
  expect(answer.statusCode).toBe(200);
  expect(answer.headers.location).toBeUndefined();
  expect(answer.headers['set-cookie']).toBeUndefined();
  expect(await outcomesOf(enrollmentId, otherId)).toEqual(['unsubscribed', 'unsubscribed']);
  expect(await addressOf(request.hashes[0])).toMatchObject({ suppressed_reason: 'objection' });
  await until(() => api.asked.told.includes(enrollmentId) && api.asked.told.includes(otherId));
});

test.each<[string, object]>([
  ['urlencoded', { payload: 'scope=campaign', headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
  ['multipart', multipart('scope', 'campaign')],
])('P13 the second button leaves this campaign only (%s)', async (_, body) => {
  const { url, request, enrollmentId, otherId } = await linked('en-GB');
  const answer = await api.app.inject({ method: 'POST', url, ...body });
  expect(answer.statusCode).toBe(200);
  expect(answer.body).toContain('You will get no more mail about Cafetera Brava.');
  expect(await outcomesOf(enrollmentId, otherId)).toEqual(['unsubscribed', null]);
  expect(await addressOf(request.hashes[0])).toEqual({ suppressed_reason: null, suppressed_campaigns: [campaignId] });

  const everythingToo = await api.app.inject({ method: 'POST', url, payload: 'scope=all', headers: ONE_CLICK.headers });
  expect(everythingToo.body).toContain('You will get no more offers from Casa Brava, S.L.');
  expect(await outcomesOf(enrollmentId, otherId)).toEqual(['unsubscribed', 'unsubscribed']);
});

test('P13 doing it twice, and at the same time, changes nothing more', async () => {
  const { url, request, enrollmentId } = await linked();
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => api.app.inject({ method: 'POST', url, ...ONE_CLICK })),
  );
  expect(answers.map((answer) => answer.statusCode)).toEqual(Array(10).fill(200));
  const ended = api.db.selectFrom('enrollment').select(['ended_at', 'outcome']).where('id', '=', enrollmentId);
  const [first, address] = [await ended.execute(), await addressOf(request.hashes[0])];
  await api.app.inject({ method: 'POST', url, ...ONE_CLICK });
  expect([await ended.execute(), await addressOf(request.hashes[0])]).toEqual([first, address]);
});

test('P13 forged and garbled links are answered 404, and change nothing', async () => {
  const { token, claims } = await linked();
  const bytes = Buffer.from(token, 'base64url');
  const flipped = [0, 1, 2, 10, 40, 60, bytes.length - 20, bytes.length - 1].map((at) => {
    const copy = Buffer.from(bytes);
    copy[at] = (copy[at] ?? 0) ^ 1;
    return copy.toString('base64url');
  });
  const stranger = signUnsubscribeToken(claims, [{ version: 1, secret: Buffer.alloc(32, 99) }]);
  const unknownKey = signUnsubscribeToken(claims, [{ version: 7, secret: Buffer.alloc(32, 2) }]);
  const before = await everything();
  for (const forged of [
    ...flipped,
    stranger,
    unknownKey,
    token.slice(0, -1),
    `${token}A`,
    `${token}=`,
    'x',
    '%00',
    '..%2f',
    'a'.repeat(400),
  ]) {
    for (const method of ['GET', 'POST'] as const) {
      const answer = await api.app.inject({
        method,
        url: `/u/${forged}`,
        headers: { 'accept-language': 'fr-FR,fr;q=0.9' },
      });
      expect([forged, method, answer.statusCode]).toEqual([forged, method, 404]);
      expect(answer.headers['content-type']).toContain('text/html');
      expect(answer.body).toContain('<html lang="fr">');
    }
  }
  expect(await everything()).toEqual(before);
});

test('P13 a link signed with an older key works after keys were rotated', async () => {
  const { url, enrollmentId } = await linked();
  const rotated = await api.another({
    config: { tokenKeys: [{ version: 2, secret: Buffer.alloc(32, 9) }, ...TEST_TOKEN_KEYS] },
  });
  expect((await rotated.inject({ method: 'POST', url, ...ONE_CLICK })).statusCode).toBe(200);
  expect(await outcomesOf(enrollmentId)).toEqual(['unsubscribed']);
});

test('P13 the link works after everything about the lead was deleted, and the address stays suppressed', async () => {
  const { url, request, enrollmentId, otherId, claims } = await linked();
  const ids = [enrollmentId, otherId];
  const lead = await api.db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('id', '=', enrollmentId)
    .executeTakeFirstOrThrow();
  await api.db.deleteFrom('event').where('lead_id', '=', lead.lead_id).execute();
  await api.db.deleteFrom('consent').where('lead_id', '=', lead.lead_id).execute();
  await api.db.transaction().execute((tx) => removeEvidence(tx, lead.lead_id));
  await api.db.deleteFrom('enrollment').where('id', 'in', ids).execute();
  await api.db.deleteFrom('lead').where('id', '=', lead.lead_id).execute();
  await api.db.deleteFrom('address').where('hash', '=', claims.addressHash).execute();

  const page = await api.app.inject({ method: 'GET', url });
  expect(page.body).toContain('Casa Brava, S.L.');
  const answer = await api.app.inject({ method: 'POST', url, ...ONE_CLICK });
  expect([answer.statusCode, answer.body.includes('<html lang="es">')]).toEqual([200, true]);
  expect(await addressOf(claims.addressHash)).toMatchObject({ suppressed_reason: 'objection' });
  const back = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(request.email));
  expect([back.statusCode, back.json().reason]).toEqual([409, 'objection']);
});

test('P13 the link works when the campaign is gone too', async () => {
  const { claims } = await linked();
  const token = signUnsubscribeToken(
    { ...claims, campaignId: randomUUID(), enrollmentId: randomUUID() },
    TEST_TOKEN_KEYS,
  );
  expect((await api.app.inject({ method: 'GET', url: `/u/${token}` })).statusCode).toBe(200);
  expect((await api.app.inject({ method: 'POST', url: `/u/${token}` })).body).toContain(
    'No recibirá más ofertas nuestras.',
  );
  expect(await addressOf(claims.addressHash)).toMatchObject({ suppressed_reason: 'objection' });
});

test('P13 while Postgres is away the answer is 503, so that the sender tries again', async () => {
  const { url, enrollmentId } = await linked('de');
  const away = createDb({ url: 'postgres://nobody@127.0.0.1:1/none', maxConnections: 1, onError: () => {} });
  try {
    const app = await api.another({ db: away });
    const answer = await app.inject({ method: 'POST', url, ...ONE_CLICK });
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '60']);
    expect(answer.body).toContain('<html lang="de">');
    expect((await app.inject({ method: 'GET', url })).statusCode).toBe(200);
    expect(await outcomesOf(enrollmentId)).toEqual([null]);
    const api503 = await post(app, '/v1/unsubscribes', { email: 'a@example.com' });
    expect([api503.statusCode, api503.headers['retry-after'], api503.json().title]).toEqual([
      503,
      '5',
      'Not available at the moment',
    ]);
    expect((await app.inject('/readyz')).json()).toMatchObject({ status: 'not-ready', postgres: 'down' });
    expect((await app.inject('/healthz')).statusCode).toBe(200);
  } finally {
    await away.destroy();
  }
});

test('P2 a message that is past the gate is told of on the page', async () => {
  const { url, enrollmentId } = await linked();
  await ledgerRow(api.db, enrollmentId, 'handing_over');
  const answer = await api.app.inject({ method: 'POST', url, ...ONE_CLICK });
  expect(answer.body).toContain('Un correo ya estaba en camino');
});

test.each(['es', 'en', 'fr', 'de', 'it', 'pt', 'ca'])(
  'the page speaks %s, and English where it does not know better',
  async (locale) => {
    const { claims, url } = await linked(locale);
    const pages = [await api.app.inject(url), await api.app.inject({ method: 'POST', url, ...ONE_CLICK })];
    for (const page of pages) expect(page.body).toContain(`<html lang="${locale}">`);
    const finnish = signUnsubscribeToken({ ...claims, locale: 'fi' }, TEST_TOKEN_KEYS);
    expect((await api.app.inject(`/u/${finnish}`)).body).toContain('<html lang="en">');
  },
);

test('names on the page are escaped', async () => {
  const nasty = definitionForTests(2, {
    product: { name: '<img src=x onerror=alert(1)> & "Co"', url: 'https://shop.example' },
  });
  const id = await publishForTests(api.db, nasty);
  const token = signUnsubscribeToken(
    { addressHash: requestBy('n@example.com').hashes[0], campaignId: id, enrollmentId: randomUUID(), locale: 'en' },
    TEST_TOKEN_KEYS,
  );
  const page = await api.app.inject(`/u/${token}`);
  expect(page.body).not.toContain('<img');
  expect(page.body).toContain('&lt;img src=x onerror=alert(1)&gt; &amp; &quot;Co&quot;');
});

test('P5 neither the link nor an address reaches the log', async () => {
  const { token, url, request } = await linked();
  await api.app.inject(url);
  await api.app.inject({ method: 'POST', url, ...ONE_CLICK });
  await api.app.inject({
    method: 'GET',
    url: `/v1/leads?email=${request.email}`,
    headers: { authorization: 'Bearer nope' },
  });
  const log = api.logged.join('');
  expect(log).toContain('/u/:token');
  expect(log).not.toContain(token);
  expect(log).not.toContain(request.email);
});
