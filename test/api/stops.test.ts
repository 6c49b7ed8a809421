import { randomUUID } from 'node:crypto';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { type ApiUnderTest, apiUnderTest, bodyFor, get, ledgerRow, post, until } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;
let otherCampaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db, definitionForTests(3));
  const product = { name: 'Té verde', url: 'https://shop.example/te' };
  otherCampaignId = await publishForTests(api.db, definitionForTests(3, { product }));
});
afterAll(async () => await api.close());

async function lead(requestedAt = new Date(Date.now() - 3_600_000)) {
  const email = `${randomUUID()}@example.com`;
  const request = requestBy(email, { requestedAt });
  const enrollmentId = await enrollForTests(api.db, campaignId, request);
  const otherId = await enrollForTests(api.db, otherCampaignId, request);
  const { lead_id: leadId } = await api.db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('id', '=', enrollmentId)
    .executeTakeFirstOrThrow();
  return { email, hash: request.hashes[0], leadId, enrollmentId, otherId };
}

const idsOf = (answer: { json<T>(): T }) =>
  answer
    .json<{ stopped: { enrollmentId: string }[] }>()
    .stopped.map(({ enrollmentId }) => enrollmentId)
    .sort();
const NOTHING = { stopped: [], inFlight: [] };
const NOTHING_BOUGHT = { ...NOTHING, begun: [] };

test('P2 a purchase ends every open enrollment, and the answer names what is being handed over', async () => {
  const { email, enrollmentId, otherId } = await lead();
  const messageId = await ledgerRow(api.db, enrollmentId, 'handing_over');
  await ledgerRow(api.db, otherId, 'claimed');
  const answer = await post(api.app, '/v1/purchases', {
    email: email.toUpperCase(),
    orderId: randomUUID(),
    amount: 129.9,
    currency: 'EUR',
  });
  expect(answer.statusCode).toBe(202);
  expect(idsOf(answer)).toEqual([enrollmentId, otherId].sort());
  expect(answer.json()).toMatchObject({
    stopped: [{ outcome: 'purchased' }, { outcome: 'purchased' }],
    inFlight: [{ enrollmentId, step: 0, messageId }],
  });
  const row = await api.db
    .selectFrom('message')
    .select('state')
    .where('enrollment_id', '=', otherId)
    .executeTakeFirst();
  expect(row).toEqual({ state: 'withdrawn' });
  await until(() => api.asked.told.includes(enrollmentId) && api.asked.told.includes(otherId));

  const again = await post(api.app, '/v1/replies', { email });
  expect(again.json()).toEqual({ stopped: [], inFlight: [{ enrollmentId, step: 0, messageId }] });
});

test('a purchase within one campaign leaves the others open', async () => {
  const { leadId, otherId, enrollmentId } = await lead();
  const answer = await post(api.app, '/v1/purchases', { leadId, orderId: randomUUID(), campaignId: otherCampaignId });
  expect(idsOf(answer)).toEqual([otherId]);
  expect((await get(api.app, `/v1/enrollments/${enrollmentId}`)).json()).toMatchObject({ state: 'active' });
});

test('a purchase that is older than the request ends nothing', async () => {
  const { email } = await lead(new Date('2026-03-01T10:00:00Z'));
  const orderId = randomUUID();
  const older = await post(api.app, '/v1/purchases', { email, orderId, purchasedAt: '2026-03-01T10:59:59+01:00' });
  expect(older.json()).toEqual(NOTHING_BOUGHT);
  const newer = await post(api.app, '/v1/purchases', {
    email,
    orderId: randomUUID(),
    purchasedAt: '2026-03-01T11:00:01+01:00',
  });
  expect(idsOf(newer)).toHaveLength(2);
});

test('an order is kept once, and told again it does not end an enrollment that began since', async () => {
  const { email, hash } = await lead();
  const orderId = randomUUID();
  const first = { email, orderId, amount: '10.00', currency: 'EUR' };
  const answers = await Promise.all(Array.from({ length: 10 }, () => post(api.app, '/v1/purchases', first)));
  expect(answers.map((answer) => answer.statusCode)).toEqual(Array(10).fill(202));
  expect(answers.flatMap(idsOf)).toHaveLength(2);
  const rows = await api.db.selectFrom('purchase').selectAll().where('order_id', '=', orderId).execute();
  expect(rows).toMatchObject([{ address_hash: hash, amount: '10.00', currency: 'EUR', campaign_id: null }]);

  // Asked after the order was kept, by the clock that both share.
  await api.db
    .updateTable('purchase')
    .set({ purchased_at: new Date(Date.now() - 60_000) })
    .where('order_id', '=', orderId)
    .execute();
  const back = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email));
  expect(back.json().created).toBe(true);
  expect((await post(api.app, '/v1/purchases', first)).json()).toEqual(NOTHING_BOUGHT);
  expect(idsOf(await post(api.app, '/v1/purchases', { email, orderId: randomUUID() }))).toEqual([
    back.json().enrollmentId,
  ]);
});

test('unknown people are no error: a purchase is kept, an unsubscribed address suppressed', async () => {
  const email = `${randomUUID()}@example.com`;
  const orderId = randomUUID();
  expect((await post(api.app, '/v1/purchases', { email, orderId })).json()).toEqual(NOTHING_BOUGHT);
  expect((await post(api.app, '/v1/purchases', { leadId: randomUUID(), orderId: randomUUID() })).json()).toEqual(
    NOTHING_BOUGHT,
  );
  expect((await post(api.app, '/v1/replies', { email })).json()).toEqual(NOTHING);
  expect((await post(api.app, '/v1/replies', { enrollmentId: randomUUID() })).json()).toEqual(NOTHING);
  expect((await post(api.app, '/v1/unsubscribes', { leadId: randomUUID() })).json()).toEqual(NOTHING);
  const kept = await api.db
    .selectFrom('purchase')
    .select('address_hash')
    .where('order_id', '=', orderId)
    .executeTakeFirst();
  expect(kept?.address_hash).toBe(requestBy(email).hashes[0]);

  expect((await post(api.app, '/v1/unsubscribes', { email })).json()).toEqual(NOTHING);
  const refused = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email));
  expect([refused.statusCode, refused.json().reason]).toEqual([409, 'objection']);
});

test('P2 a reply ends one enrollment, those of a campaign, or all', async () => {
  const one = await lead();
  expect(idsOf(await post(api.app, '/v1/replies', { enrollmentId: one.enrollmentId }))).toEqual([one.enrollmentId]);
  const two = await lead();
  expect(idsOf(await post(api.app, '/v1/replies', { leadId: two.leadId, campaignId }))).toEqual([two.enrollmentId]);
  const three = await lead();
  const answer = await post(api.app, '/v1/replies', { email: three.email, messageId: '<x@shop.example>' });
  expect(answer.json()).toMatchObject({ stopped: [{ outcome: 'replied' }, { outcome: 'replied' }] });
});

test('P2 P6 unsubscribing ends everything and keeps the address from mail, or one campaign', async () => {
  const all = await lead();
  const answer = await post(api.app, '/v1/unsubscribes', { email: all.email, reason: 'too-many' });
  expect(answer.json()).toMatchObject({
    stopped: [{ outcome: 'unsubscribed' }, { outcome: 'unsubscribed' }],
    inFlight: [],
  });
  expect((await post(api.app, '/v1/unsubscribes', { email: all.email })).json()).toEqual(NOTHING);
  const shown = (await get(api.app, `/v1/leads/${all.leadId}`)).json();
  expect(shown.suppression).toMatchObject({ reason: 'objection', since: expect.any(String), campaigns: [] });
  expect(shown.consents.map((consent: { withdrawnAt: unknown }) => typeof consent.withdrawnAt)).toEqual([
    'string',
    'string',
  ]);

  const one = await lead();
  const only = await post(api.app, '/v1/unsubscribes', { leadId: one.leadId, scope: 'campaign', campaignId });
  expect(idsOf(only)).toEqual([one.enrollmentId]);
  expect((await get(api.app, `/v1/leads/${one.leadId}`)).json().suppression).toEqual({
    reason: null,
    since: null,
    campaigns: [campaignId],
  });
});

test.each([
  ['/v1/purchases', { orderId: 'a' }, ''],
  ['/v1/purchases', { orderId: 'a', email: 'a@example.com', leadId: randomUUID() }, ''],
  ['/v1/purchases', { email: 'a@example.com' }, '/orderId'],
  ['/v1/purchases', { email: 'a@example.com', orderId: 'a', amount: 'ten' }, '/amount'],
  ['/v1/purchases', { email: 'a@example.com', orderId: 'a', purchasedAt: '2999-01-01T00:00:00Z' }, '/purchasedAt'],
  ['/v1/purchases', { email: 'a@example.com', orderId: 'a', purchasedAt: '1970-01-01T00:00:00Z' }, '/purchasedAt'],
  ['/v1/purchases', { email: 'nobody', orderId: 'a' }, '/email'],
  ['/v1/replies', {}, ''],
  ['/v1/unsubscribes', { email: 'a@example.com', scope: 'campaign' }, '/campaignId'],
  ['/v1/unsubscribes', { email: 'a@example.com', scope: 'some' }, '/scope'],
])('%s with %j is refused with a pointer to what is wrong', async (url, body, pointer) => {
  const answer = await post(api.app, url, body);
  expect(answer.statusCode).toBe(400);
  expect(answer.json().errors).toEqual([{ pointer, in: 'body', detail: expect.any(String) }]);
});
