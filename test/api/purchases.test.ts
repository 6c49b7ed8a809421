import { randomUUID } from 'node:crypto';
import type { AfterPurchase } from '../../domain/campaign';
import { afterPurchaseForTests, definitionForTests, publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { type ApiUnderTest, apiUnderTest, get, post, until } from './api-under-test';
import { mjmlWith, publishableDraft } from './publishable-draft';

let api: ApiUnderTest;
let campaignId: string;

const PRODUCT = { name: 'Cafetera', url: 'https://shop.example/cafetera', codes: ['C-1'], group: 'coffee' };
const SOFT = { optOutOffered: true, optedOut: false, noticeVersion: '2026-1', productGroup: 'coffee' };

beforeAll(async () => {
  api = await apiUnderTest();
  const afterPurchase = afterPurchaseForTests();
  campaignId = await publishForTests(api.db, definitionForTests(3, { product: PRODUCT, afterPurchase }));
});
afterAll(async () => await api.close());

async function lead() {
  const email = `${randomUUID()}@example.com`;
  return { email, enrollmentId: await enrollForTests(api.db, campaignId, requestBy(email, { consent: null })) };
}

test('P4 a purchase begins what follows it, and a refund ends that', async () => {
  const { email, enrollmentId } = await lead();
  const orderId = randomUUID();
  const answer = await post(api.app, '/v1/purchases', { email, orderId, products: ['c-1'], softOptIn: SOFT });
  expect(answer.statusCode).toBe(202);
  const { stopped, begun } = answer.json();
  expect(stopped).toMatchObject([{ enrollmentId, outcome: 'purchased' }]);
  expect(begun).toHaveLength(1);
  await until(() => api.asked.started.includes(begun[0]) && api.asked.told.includes(enrollmentId));
  const view = (await get(api.app, `/v1/enrollments/${begun[0]}`)).json();
  expect(view).toMatchObject({ journey: 'buyer', orderId, state: 'active', step: 0, campaignId });

  const refund = await post(api.app, '/v1/refunds', { orderId });
  expect(refund.statusCode).toBe(202);
  expect(refund.json().stopped).toMatchObject([{ enrollmentId: begun[0], outcome: 'cancelled' }]);
  await until(() => api.asked.told.includes(begun[0]));
  expect((await post(api.app, '/v1/refunds', { orderId })).json()).toEqual({ stopped: [], inFlight: [] });
});

test('a refund of an order that nobody knows is kept', async () => {
  const orderId = randomUUID();
  const answer = await post(api.app, '/v1/refunds', { orderId, refundedAt: '2026-01-02T03:04:05Z' });
  expect([answer.statusCode, answer.json()]).toEqual([202, { stopped: [], inFlight: [] }]);
  const kept = await api.db.selectFrom('refund').selectAll().where('order_id', '=', orderId).execute();
  expect(kept).toMatchObject([{ refunded_at: new Date('2026-01-02T03:04:05Z') }]);
  expect((await post(api.app, '/v1/refunds', { orderId, refundedAt: '2100-01-01T00:00:00Z' })).statusCode).toBe(400);
  expect((await post(api.app, '/v1/refunds', {})).statusCode).toBe(400);
});

test('a buyer who was never a lead is thanked where the campaign is named', async () => {
  const email = `${randomUUID()}@example.com`;
  const body = { email: `Eva Pérez <${email}>`, orderId: randomUUID(), campaignId, softOptIn: SOFT, locale: 'ES' };
  const { begun, stopped } = (await post(api.app, '/v1/purchases', body)).json();
  expect(stopped).toEqual([]);
  const { leadId } = (await get(api.app, `/v1/enrollments/${begun[0]}`)).json();
  expect((await get(api.app, `/v1/leads/${leadId}`)).json()).toMatchObject({ email, name: 'Eva Pérez', locale: 'es' });
});

test('a soft opt-in that leaves something open is refused', async () => {
  const { email } = await lead();
  for (const softOptIn of [
    { ...SOFT, optedOut: undefined },
    { ...SOFT, optOutOffered: 'yes' },
    { ...SOFT, more: 1 },
  ]) {
    const answer = await post(api.app, '/v1/purchases', { email, orderId: randomUUID(), softOptIn });
    expect(answer.statusCode).toBe(400);
  }
});

test('leads and buyers are listed and counted apart', async () => {
  const own = await publishForTests(
    api.db,
    definitionForTests(3, { product: PRODUCT, afterPurchase: afterPurchaseForTests() }),
  );
  const email = `${randomUUID()}@example.com`;
  await enrollForTests(api.db, own, requestBy(email));
  await enrollForTests(api.db, own, requestBy(`${randomUUID()}@example.com`));
  await post(api.app, '/v1/purchases', { email, orderId: randomUUID(), campaignId: own });
  const listed = async (query: string) =>
    (await get(api.app, `/v1/campaigns/${own}/enrollments${query}`))
      .json<{ items: { journey: string; orderId: string | null }[] }>()
      .items.map(({ journey }) => journey)
      .sort();
  expect(await listed('')).toEqual(['buyer', 'lead', 'lead']);
  expect(await listed('?journey=buyer')).toEqual(['buyer']);
  expect(await listed('?journey=lead')).toEqual(['lead', 'lead']);
  const stats = (await get(api.app, `/v1/campaigns/${own}/stats`)).json();
  expect(stats).toMatchObject({ enrolled: 2, open: 1, outcomes: { purchased: 1 } });
  expect(stats.buyers).toMatchObject({ enrolled: 1, open: 1, onConsent: 1, onSoftOptIn: 0 });
});

describe('a campaign with mails to buyers', () => {
  const thanks: AfterPurchase['steps'][number] = {
    kind: 'thanks',
    after: 'PT0S',
    containsOffer: false,
    subject: 'Gracias por {{ order.number }}',
    mjml: mjmlWith('Gracias').replace(' <a href="{{ unsubscribeUrl }}">Baja</a>', ''),
  };
  const referral: AfterPurchase['steps'][number] = {
    kind: 'referral',
    after: 'P7D',
    subject: 'Pásalo',
    mjml: mjmlWith('<a href="{{ referral.url }}">Tu enlace</a>'),
  };
  const draftWith = (address: string) =>
    publishableDraft(2, {
      afterPurchase: afterPurchaseForTests({
        steps: [thanks, referral],
        thanksFrom: { name: 'Casa Brava', address },
      }),
    });
  const created = async (draft: unknown) => (await post(api.app, '/v1/campaigns', draft)).json<{ id: string }>().id;

  test('is published with them, and shows each as its buyers would get it', async () => {
    const id = await created(draftWith('pedidos@pedidos.shop.example'));
    expect((await post(api.app, `/v1/campaigns/${id}/publish`)).statusCode).toBe(201);
    for (const version of ['draft', 1]) {
      const mail = (await post(api.app, `/v1/campaigns/${id}/preview`, { step: 0, journey: 'buyer', version })).json();
      expect(mail).toMatchObject({ subject: 'Gracias por A-1001', from: 'Casa Brava <pedidos@pedidos.shop.example>' });
      expect(mail.headers).not.toHaveProperty('List-Unsubscribe');
      const second = (
        await post(api.app, `/v1/campaigns/${id}/preview`, { step: 1, journey: 'buyer', version })
      ).json();
      expect(second.html).toContain('/r/preview');
      expect(second.headers['Reply-To']).toBe('ayuda@shop.example');
      const none = await post(api.app, `/v1/campaigns/${id}/preview`, { step: 2, journey: 'buyer', version });
      expect(none.statusCode).toBe(400);
    }
  });

  test('never thanks from an address that a campaign writes from, and the reverse', async () => {
    const writer = await created(
      publishableDraft(2, { sender: { ...publishableDraft(1).sender, address: 'ana@news.example' } }),
    );
    expect((await post(api.app, `/v1/campaigns/${writer}/publish`)).statusCode).toBe(201);
    const thanking = await created(draftWith('ANA@news.example'));
    const refused = await post(api.app, `/v1/campaigns/${thanking}/publish`);
    expect(refused.statusCode).toBe(422);
    expect(refused.json().errors).toMatchObject([{ pointer: '/afterPurchase/thanksFrom/address' }]);

    const other = await created(draftWith('gracias@orders.example'));
    expect((await post(api.app, `/v1/campaigns/${other}/publish`)).statusCode).toBe(201);
    const late = await created(
      publishableDraft(2, { sender: { ...publishableDraft(1).sender, address: 'gracias@orders.example' } }),
    );
    const answer = await post(api.app, `/v1/campaigns/${late}/publish`);
    expect(answer.json().errors).toMatchObject([{ pointer: '/sender/address' }]);
  });
});
