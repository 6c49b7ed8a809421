import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createApiKey } from '../../db/api-keys';
import { hashAddress } from '../../domain/address-hash';
import { SCOPES, type Scope } from '../../domain/scopes';
import { signUnsubscribeToken } from '../../domain/unsubscribe-token';
import { publishForTests } from '../support/campaigns';
import { classified, receive, stepRef } from '../support/inbound';
import { TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { type ApiUnderTest, AUTH, apiUnderTest, bodyFor, get, ledgerRow, post, until } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db);
});
afterAll(() => api.close());

async function lead(email = `${randomUUID()}@shop.example`) {
  const { leadId, enrollmentId } = (
    await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email))
  ).json();
  return { leadId: leadId as string, enrollmentId: enrollmentId as string, email };
}

const erase = (leadId: string, app = api.app, headers: Record<string, string> = AUTH) =>
  app.inject({ method: 'DELETE', url: `/v1/leads/${leadId}`, headers });

async function keyWith(...scopes: Scope[]) {
  const by = { kind: 'cli' as const, id: 'test', scopes: SCOPES };
  const { key } = await createApiKey(api.db, { name: 'k', scopes, by, now: new Date() });
  return { authorization: `Bearer ${key}` };
}

async function audited(target: string) {
  const rows = await api.db
    .selectFrom('audit')
    .select(['action', 'actor_kind', 'detail'])
    .where('target', '=', target)
    .orderBy('id')
    .execute();
  return rows.map((row) => row.action);
}

describe('DELETE /v1/leads/{id}', () => {
  test('P2 stops, erases, tells the engine, and is written down; again it changes nothing, and names what is in flight still', async () => {
    const { leadId, enrollmentId, email } = await lead();
    const messageId = await ledgerRow(api.db, enrollmentId, 'handing_over');
    const answer = await erase(leadId);
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({
      erased: true,
      sealed: false,
      stopped: [enrollmentId],
      inFlight: [{ enrollmentId, step: 0, messageId }],
    });
    await until(() => api.asked.told.includes(enrollmentId));
    const again = { erased: false, sealed: false, stopped: [] };
    expect((await erase(leadId)).json()).toEqual({ ...again, inFlight: [{ enrollmentId, step: 0, messageId }] });
    await api.db.updateTable('message').set({ state: 'accepted' }).where('message_id', '=', messageId).execute();
    expect((await erase(leadId)).json()).toEqual({ ...again, inFlight: [] });
    expect(await audited(leadId)).toEqual(['lead.erased']);

    const shell = (await get(api.app, `/v1/leads/${leadId}`)).json();
    expect(shell).toMatchObject({
      leadId,
      email: null,
      name: '',
      locale: null,
      timeZone: null,
      attributes: {},
      erasedAt: expect.any(String),
      erasedAfter: null,
      consents: [],
      suppression: { reason: null, since: null, campaigns: [] },
      enrollments: [{ enrollmentId, state: 'ended', outcome: 'erased' }],
    });
    expect(shell.timeline.slice(-1)).toMatchObject([
      { kind: 'erased', text: 'Erased by our staff: nothing of this person is kept but what is counted.' },
    ]);
    expect((await get(api.app, `/v1/enrollments/${enrollmentId}`)).json()).toMatchObject({ outcome: 'erased' });
    expect((await get(api.app, `/v1/leads?email=${encodeURIComponent(email)}`)).json().items).toEqual([]);
    expect((await get(api.app, `/v1/leads/${leadId}/export`)).statusCode).toBe(404);
    expect(api.logged.join('')).not.toContain(email);
  });

  test('seals the evidence where there is a key to seal it to', async () => {
    const { publicKey } = generateKeyPairSync('x25519');
    const app = await api.another({ config: { evidencePublicKey: publicKey } });
    const { leadId, email } = await lead();
    expect((await erase(leadId, app)).json()).toMatchObject({ erased: true, sealed: true });
    const [hash] = hashAddress(email, TEST_ADDRESS_KEYS);
    const kept = api.db.selectFrom('sealed_evidence').select('destroy_at').where('address_hash', '=', hash);
    expect(await kept.execute()).toHaveLength(1);
  });

  test('finds nobody who is not there', async () => {
    expect((await erase(randomUUID())).statusCode).toBe(404);
    expect((await erase('nobody')).statusCode).toBe(400);
  });

  test('what a purchase, an unsubscribe or a resume says of an erased lead changes nothing and is no fault', async () => {
    const { leadId, enrollmentId } = await lead();
    await erase(leadId);
    const purchase = await post(api.app, '/v1/purchases', { leadId, orderId: randomUUID() });
    expect([purchase.statusCode, purchase.json().stopped]).toEqual([202, []]);
    const unsubscribe = await post(api.app, '/v1/unsubscribes', { leadId });
    expect([unsubscribe.statusCode, unsubscribe.json().stopped]).toEqual([202, []]);
    expect((await post(api.app, `/v1/enrollments/${enrollmentId}/resume`)).statusCode).toBeLessThan(500);
    expect((await get(api.app, `/v1/leads/${leadId}`)).json().email).toBeNull();
  });

  test('P13 the unsubscribe link of an old mail works afterwards, and P6 keeps them out', async () => {
    const { leadId, enrollmentId, email } = await lead();
    const [addressHash] = hashAddress(email, TEST_ADDRESS_KEYS);
    const token = signUnsubscribeToken({ addressHash, campaignId, enrollmentId, locale: 'es' }, TEST_TOKEN_KEYS);
    await erase(leadId);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const page = await api.app.inject({ method: 'GET', url: `/u/${token}` });
    expect(page.statusCode).toBe(200);
    const done = await api.app.inject({
      method: 'POST',
      url: `/u/${token}`,
      headers,
      payload: 'List-Unsubscribe=One-Click',
    });
    expect(done.statusCode).toBe(200);
    const again = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email));
    expect(again.statusCode).toBe(409);
    expect(again.json().type).toContain('/problems/address-suppressed');
  });
});

test.each([
  ['DELETE', '/v1/leads/ID'],
  ['GET', '/v1/leads/ID/export'],
  ['GET', '/v1/privacy-requests'],
  ['POST', '/v1/privacy-requests'],
  ['POST', '/v1/privacy-requests/ID/erase'],
  ['POST', '/v1/privacy-requests/ID/refuse'],
  ['POST', '/v1/privacy-requests/ID/done'],
] as const)('%s %s takes the scope privacy', async (method, url) => {
  const { leadId } = await lead();
  const others = await keyWith(...SCOPES.filter((scope) => scope !== 'privacy'));
  const request = { method, url: url.replace('ID', leadId) };
  expect((await api.app.inject({ ...request, headers: others })).statusCode).toBe(403);
  expect((await api.app.inject(request)).statusCode).toBe(401);
  expect((await get(api.app, `/v1/leads/${leadId}`)).json().erasedAt).toBeNull();
  const answer = await api.app.inject({ ...request, headers: await keyWith('privacy') });
  expect([401, 403]).not.toContain(answer.statusCode);
});

test('GET /v1/leads/{id}/export gives everything as a file, and is written down', async () => {
  const { leadId, email, enrollmentId } = await lead();
  await receive(api.db, classified({ kind: 'reply' }), { from: email, proven: stepRef(enrollmentId) });
  const answer = await get(api.app, `/v1/leads/${leadId}/export`);
  expect(answer.statusCode).toBe(200);
  expect(answer.headers['content-disposition']).toBe(`attachment; filename="lead-${leadId}.json"`);
  expect(answer.json()).toMatchObject({
    format: 'recuerda-lead',
    version: 1,
    person: { leadId, email, name: 'Íñigo Núñez', locale: 'es-ES', attributes: { city: 'Bilbao' } },
    erasedAfter: expect.any(String),
    consents: [{ text: 'Sí, escríbanme sobre la cafetera.', ip: '2001:db8::1' }],
    enrollments: [{ enrollmentId, outcome: 'replied', product: 'Cafetera Brava' }],
    received: [{ kind: 'reply', from: email, text: 'Gracias, ¿me llaman el lunes?' }],
  });
  expect(await audited(leadId)).toEqual(['lead.exported']);
  expect((await get(api.app, `/v1/leads/${randomUUID()}/export`)).statusCode).toBe(404);
});

test('GET /v1/retention counts, and a lead says when it is erased', async () => {
  const { leadId, enrollmentId } = await lead();
  expect((await get(api.app, `/v1/leads/${leadId}`)).json()).toMatchObject({ erasedAfter: null, erasedAt: null });
  const before = (await get(api.app, '/v1/retention')).json();
  const ended = await post(api.app, '/v1/unsubscribes', { leadId });
  expect(ended.json().stopped).toMatchObject([{ enrollmentId }]);
  const { endedAt } = (await get(api.app, `/v1/enrollments/${enrollmentId}`)).json();
  const due = new Date(Date.parse(endedAt) + 30 * 86_400_000).toISOString();
  expect((await get(api.app, `/v1/leads/${leadId}`)).json().erasedAfter).toBe(due);
  const after = (await get(api.app, '/v1/retention')).json();
  expect(after.leads.open).toBe(before.leads.open - 1);
  expect(after.leads.within30Days).toBe(before.leads.within30Days + 1);
  const operator = await api.app.inject({ method: 'GET', url: '/v1/retention', headers: await keyWith('operator') });
  expect(operator.statusCode).toBe(200);
  const marketing = await api.app.inject({ method: 'GET', url: '/v1/retention', headers: await keyWith('marketing') });
  expect(marketing.statusCode).toBe(403);
});

describe('the register of requests', () => {
  const enter = (body: unknown) => post(api.app, '/v1/privacy-requests', body);

  test('takes those that came by telephone or letter, with the month of their calendar', async () => {
    const { leadId } = await lead();
    const answer = await enter({
      kind: 'access',
      leadId,
      receivedAt: '2026-01-31T10:00:00Z',
      timeZone: 'Europe/Madrid',
    });
    expect(answer.statusCode).toBe(201);
    const { requestId } = answer.json();
    expect(answer.json()).toMatchObject({
      kind: 'access',
      source: 'api',
      leadId,
      inboundId: null,
      dueAt: '2026-02-28T22:59:59.999Z',
      doneAt: null,
      answer: null,
    });
    expect(await audited(requestId)).toEqual(['privacy-request.entered']);
    expect((await enter({ kind: 'access', leadId: randomUUID() })).statusCode).toBe(404);
    expect((await enter({ kind: 'gossip' })).statusCode).toBe(400);
    expect((await enter({ kind: 'access', receivedAt: '2999-01-01T00:00:00Z' })).statusCode).toBe(400);
    expect((await enter({ kind: 'access', timeZone: '+01:00' })).statusCode).toBe(400);
    expect((await enter({ kind: 'rectification' })).json()).toMatchObject({ leadId: null, overdue: false });
  });

  test('shows those that are overdue', async () => {
    const late = (await enter({ kind: 'access', receivedAt: '2020-01-01T00:00:00Z' })).json();
    const early = (await enter({ kind: 'access' })).json();
    expect(late.overdue).toBe(true);
    const ids = async () =>
      (await get(api.app, '/v1/privacy-requests?overdue=true&limit=100'))
        .json()
        .items.map((item: { requestId: string }) => item.requestId);
    expect(await ids()).toContain(late.requestId);
    expect(await ids()).not.toContain(early.requestId);
    expect((await post(api.app, `/v1/privacy-requests/${late.requestId}/done`)).json()).toMatchObject({
      answer: 'done',
      overdue: false,
    });
    expect(await ids()).not.toContain(late.requestId);
  });

  test('a wish to be erased that came in a mail is confirmed and done, once', async () => {
    const { leadId, enrollmentId, email } = await lead();
    await receive(api.db, classified({ kind: 'reply', requests: ['erasure', 'access'] }), {
      from: email,
      proven: stepRef(enrollmentId),
    });
    const { items } = (await get(api.app, '/v1/privacy-requests?limit=100')).json();
    const of = (kind: string) =>
      items.find((item: { leadId: string; kind: string }) => item.leadId === leadId && item.kind === kind).requestId;
    const wrong = await post(api.app, `/v1/privacy-requests/${of('access')}/erase`);
    expect([wrong.statusCode, wrong.json().type]).toEqual([409, expect.stringContaining('/problems/not-erasable')]);
    expect((await get(api.app, `/v1/leads/${leadId}`)).json().email).toBe(email);

    const done = await post(api.app, `/v1/privacy-requests/${of('erasure')}/erase`);
    expect(done.statusCode).toBe(200);
    expect(done.json()).toMatchObject({
      erased: true,
      request: { answer: 'done', doneAt: expect.any(String), leadId },
    });
    const { timeline } = (await get(api.app, `/v1/leads/${leadId}`)).json();
    expect(timeline).toMatchObject([{ kind: 'erased', detail: { by: 'reply' } }]);
    const again = await post(api.app, `/v1/privacy-requests/${of('erasure')}/erase`);
    expect(again.json()).toMatchObject({ erased: false, request: { doneAt: done.json().request.doneAt } });
    // They had objected by asking, so this stays.
    const back = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email));
    expect(back.statusCode).toBe(409);
  });

  test('what nobody is known for can not be done by erasing', async () => {
    const { requestId } = (await enter({ kind: 'erasure' })).json();
    expect((await post(api.app, `/v1/privacy-requests/${requestId}/erase`)).statusCode).toBe(409);
    expect((await post(api.app, `/v1/privacy-requests/${randomUUID()}/erase`)).statusCode).toBe(404);
  });

  test('is refused with a reason, and what was refused is not done', async () => {
    const { leadId, email } = await lead();
    const { requestId } = (await enter({ kind: 'erasure', leadId })).json();
    const refuse = (body: unknown) => post(api.app, `/v1/privacy-requests/${requestId}/refuse`, body);
    expect((await refuse({})).statusCode).toBe(400);
    expect((await refuse({ because: 'I would rather not' })).statusCode).toBe(400);
    expect((await refuse({ because: 'not-identified' })).json()).toMatchObject({
      answer: 'refused',
      because: 'not-identified',
    });
    expect((await refuse({ because: 'unfounded' })).json()).toMatchObject({ because: 'not-identified' });
    for (const way of ['done', 'erase']) {
      const answer = await post(api.app, `/v1/privacy-requests/${requestId}/${way}`);
      expect([answer.statusCode, answer.json().type]).toEqual([
        409,
        expect.stringContaining('/problems/already-answered'),
      ]);
    }
    expect((await get(api.app, `/v1/leads/${leadId}`)).json().email).toBe(email);
    expect(await audited(requestId)).toEqual([
      'privacy-request.entered',
      'privacy-request.refused',
      'privacy-request.refused',
    ]);
  });
});
