import { randomUUID } from 'node:crypto';
import { referralCodeOf } from '../../db/referrals';
import { publishForTests } from '../support/campaigns';
import { type ApiUnderTest, apiUnderTest, bodyFor, get, post } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;
let buyer: { leadId: string; enrollmentId: string; email: string };
let code: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db);
  const email = `buyer-${randomUUID()}@shop.example`;
  const enrolled = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email));
  buyer = { ...enrolled.json<{ leadId: string; enrollmentId: string }>(), email };
  code = await referralCodeOf(api.db, { ...buyer, campaignId }, new Date());
});
afterAll(async () => await api.close());

test('a link leads to the product where there is no form, with the code, and leaves nothing behind', async () => {
  const answer = await api.app.inject({ method: 'GET', url: `/r/${code}` });
  expect(answer.statusCode).toBe(303);
  expect(answer.headers).toMatchObject({
    location: `https://shop.example/cafetera?ref=${code}`,
    'referrer-policy': 'no-referrer',
  });
  expect(answer.headers['set-cookie']).toBeUndefined();
  expect(JSON.stringify(answer.headers) + answer.body).not.toContain(buyer.leadId);
});

test('a link that is none leads to a page that says so', async () => {
  for (const wrong of ['aaaaaaaaaaaaaaaa', 'x', '%00', encodeURIComponent('<script>')]) {
    const answer = await api.app.inject({ method: 'GET', url: `/r/${wrong}`, headers: { 'accept-language': 'es' } });
    expect([answer.statusCode, answer.headers['content-type']]).toEqual([404, 'text/html; charset=utf-8']);
    expect(answer.body).not.toContain('<script>');
  }
});

test('who is enrolled with the code is put down to the buyer; their own counts for nothing', async () => {
  const source = { page: 'https://shop.example/cafetera', utm: { source: 'whatsapp' } };
  const friend = bodyFor(`friend-${randomUUID()}@shop.example`, { referralCode: code, source });
  const enrolled = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, friend);
  expect(enrolled.statusCode).toBe(202);
  const row = await api.db
    .selectFrom('enrollment')
    .select(['referral_code', 'source'])
    .where('id', '=', enrolled.json<{ enrollmentId: string }>().enrollmentId)
    .executeTakeFirstOrThrow();
  expect(row).toEqual({ referral_code: code, source });

  const listed = await get(api.app, `/v1/campaigns/${campaignId}/referrals`);
  expect(listed.json()).toMatchObject({
    totals: { links: 1, leads: 1, bought: 0 },
    items: [{ leadId: buyer.leadId, code, leads: 1, bought: 0 }],
    nextCursor: null,
  });
  const own = await post(api.app, '/v1/purchases', { email: buyer.email, orderId: randomUUID() });
  expect(own.statusCode).toBe(202);
  const again = await post(
    api.app,
    `/v1/campaigns/${campaignId}/enrollments`,
    bodyFor(buyer.email, { referralCode: code }),
  );
  expect(again.json()).toMatchObject({ created: true });
  expect((await get(api.app, `/v1/campaigns/${campaignId}/referrals`)).json().totals.leads).toBe(1);
});

test('refuses what is no code, no source, no campaign and no cursor', async () => {
  const url = `/v1/campaigns/${campaignId}/enrollments`;
  const body = bodyFor('x@shop.example');
  expect((await post(api.app, url, { ...body, referralCode: 'UPPER' })).statusCode).toBe(400);
  expect((await post(api.app, url, { ...body, source: { utm: { other: 'x' } } })).statusCode).toBe(400);
  expect((await post(api.app, url, { ...body, source: { page: 'line\nbreak' } })).statusCode).toBe(400);
  expect((await get(api.app, `/v1/campaigns/${randomUUID()}/referrals`)).statusCode).toBe(404);
  expect((await get(api.app, `/v1/campaigns/${campaignId}/referrals?cursor=x`)).statusCode).toBe(400);
});
