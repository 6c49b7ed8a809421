import { createHmac } from 'node:crypto';
import { nothing, type ShopMessage } from '../../../api/webhooks/shop-message';
import { isFromShopify, shopifyMessage } from '../../../api/webhooks/shopify';
import { standardMessage } from '../../../api/webhooks/standard';
import { isFromStripe, stripeMessage } from '../../../api/webhooks/stripe';
import { isFromWooCommerce, isPing, wooCommerceMessage } from '../../../api/webhooks/woocommerce';
import { softOptInOf } from '../../../domain/shop-events';

// Payloads of the forms that the shop systems document, with names and ids of our own.

const NOW = new Date('2026-03-02T12:00:00Z');
const AT = 1772452800; // 2026-03-02T12:00:00Z
const LEAD = '0b3a7c1e-52d4-4f0c-9a3e-6a1f5d8e2b47';
const CAMPAIGN = '5a0c4f0e-8f0b-4a6e-9b8f-0d6f0b6f7a11';

const METADATA = {
  recuerda_notice_version: '2026-01',
  recuerda_product_group: 'coffee',
  recuerda_opt_out_offered: 'yes',
  recuerda_opted_out: 'no',
};
const SOFT_OPT_IN = { optOutOffered: true, optedOut: false, noticeVersion: '2026-01', productGroup: 'coffee' };

const why = ({ event }: ShopMessage) => (event.kind === 'nothing' ? event.why : event.kind);

describe('Stripe', () => {
  // Made with: printf %s '<t>.<body>' | openssl dgst -sha256 -hmac whsec_test_secret
  const BODY = Buffer.from('{"id":"evt_1","object":"event","note":"café"}');
  const V1 = 'f92facbe6cf804c8ea121e18b5602955ee12c51b8b4cbc066e48a5c9bf45c51e';
  const signedAt = new Date(1614265330 * 1000);
  /** From the documentation of Stripe; made with a secret that nobody knows. */
  const EXAMPLE =
    't=1492774577,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39';

  /** As `generateTestHeaderString` of Stripe's own library makes it. */
  const header = (payload: Buffer, secret: string, t: number, scheme = 'v1') =>
    `t=${t},${scheme}=${createHmac('sha256', secret)
      .update(`${t}.${payload.toString('utf8')}`, 'utf8')
      .digest('hex')}`;

  test('a signature that another tool has made', () => {
    expect(isFromStripe(`t=1614265330,v1=${V1}`, BODY, 'whsec_test_secret', signedAt)).toBe(true);
  });

  test('as the test header of its own library is made', () => {
    expect(isFromStripe(header(BODY, 'whsec_x', AT), BODY, 'whsec_x', NOW)).toBe(true);
  });

  test('one of several v1 is enough while a secret is rolled; v0 counts for nothing', () => {
    const other = EXAMPLE.replace('t=1492774577,', '');
    expect(isFromStripe(`t=1614265330,${other},v1=${V1}`, BODY, 'whsec_test_secret', signedAt)).toBe(true);
    expect(isFromStripe(`t=1614265330,v0=${V1}`, BODY, 'whsec_test_secret', signedAt)).toBe(false);
  });

  test.each([
    ['another secret', `t=1614265330,v1=${V1}`, BODY, 'whsec_other', signedAt],
    ['another body', `t=1614265330,v1=${V1}`, Buffer.from(`${BODY} `), 'whsec_test_secret', signedAt],
    ['another time', `t=1614265331,v1=${V1}`, BODY, 'whsec_test_secret', signedAt],
    ['six minutes later', `t=1614265330,v1=${V1}`, BODY, 'whsec_test_secret', new Date(signedAt.getTime() + 360_000)],
    ['six minutes before', `t=1614265330,v1=${V1}`, BODY, 'whsec_test_secret', new Date(signedAt.getTime() - 360_000)],
    ['the example of the documentation', EXAMPLE, BODY, 'whsec_test_secret', new Date(1492774577 * 1000)],
    ['no time', `v1=${V1}`, BODY, 'whsec_test_secret', signedAt],
    ['nothing', undefined, BODY, 'whsec_test_secret', signedAt],
    ['nonsense', 'v1,t,=,,', BODY, 'whsec_test_secret', signedAt],
  ])('refused: %s', (_, given, body, secret, now) => {
    expect(isFromStripe(given, body, secret, now)).toBe(false);
  });

  const event = (type: string, object: object) =>
    stripeMessage({ id: 'evt_1', object: 'event', type, created: AT - 60, livemode: true, data: { object } }, NOW);

  const SESSION = {
    id: 'cs_1',
    object: 'checkout.session',
    mode: 'payment',
    payment_status: 'paid',
    payment_intent: 'pi_1',
    invoice: null,
    client_reference_id: 'cart-1',
    customer_email: null,
    customer_details: { email: 'ana@example.com', name: 'Ana López' },
    amount_total: 12990,
    currency: 'eur',
    locale: 'es',
    metadata: {},
    consent: null,
    created: AT - 600,
  };

  test('a paid session is a purchase, under the payment that a refund will name', () => {
    expect(event('checkout.session.completed', SESSION)).toEqual({
      ids: ['evt_1'],
      event: {
        kind: 'purchase',
        orderIds: ['stripe:pi_1', 'stripe:cs_1'],
        leadId: null,
        email: 'ana@example.com',
        name: 'Ana López',
        locale: 'es',
        campaignId: null,
        purchasedAt: new Date((AT - 60) * 1000),
        amount: '129.90',
        currency: 'EUR',
        products: [],
        softOptIn: null,
      },
    });
  });

  test.each([
    [12990, 'eur', '129.90'],
    [5, 'usd', '0.05'],
    [0, 'eur', '0.00'],
    [500, 'jpy', '500'],
    [500, 'krw', '500'],
    [0, 'jpy', '0'],
    [5120, 'kwd', '5.120'],
    [7, 'bhd', '0.007'],
    [500, 'isk', '5.00'],
    [500, 'ugx', '5.00'],
    [1000, 'huf', '10.00'],
  ])('%i of %s is %s', (amount_total, currency, amount) => {
    expect(event('checkout.session.completed', { ...SESSION, amount_total, currency }).event).toMatchObject({
      amount,
      currency: currency.toUpperCase(),
    });
  });

  test('money that comes later counts when it has come', () => {
    const unpaid = { ...SESSION, payment_status: 'unpaid' };
    expect(why(event('checkout.session.completed', unpaid))).toBe('unpaid');
    expect(why(event('checkout.session.async_payment_succeeded', SESSION))).toBe('purchase');
    expect(why(event('checkout.session.async_payment_failed', unpaid))).toBe('type');
  });

  test('a free order is a purchase, a card that is only left is none', () => {
    const free = { ...SESSION, payment_status: 'no_payment_required', payment_intent: null, amount_total: 0 };
    expect(event('checkout.session.completed', free).event).toMatchObject({
      kind: 'purchase',
      orderIds: ['stripe:cs_1'],
    });
    expect(why(event('checkout.session.completed', { ...free, mode: 'setup' }))).toBe('setup');
  });

  test('metadata name lead, campaign, products and soft opt-in; a payment link carries the lead in its address', () => {
    const metadata = {
      ...METADATA,
      recuerda_lead_id: LEAD.toUpperCase(),
      recuerda_campaign_id: CAMPAIGN,
      recuerda_products: 'BRAVA-1, MOLINO-2,,BRAVA-1',
    };
    expect(event('checkout.session.completed', { ...SESSION, metadata }).event).toMatchObject({
      leadId: LEAD,
      campaignId: CAMPAIGN,
      products: ['BRAVA-1', 'MOLINO-2'],
      softOptIn: SOFT_OPT_IN,
    });
    expect(event('checkout.session.completed', { ...SESSION, client_reference_id: LEAD }).event).toMatchObject({
      leadId: LEAD,
    });
  });

  test('its box for promotions decides where there is a notice on record, and says nothing without', () => {
    const { recuerda_opt_out_offered: _, recuerda_opted_out: __, ...notice } = METADATA;
    const softOptIn = (promotions: string | null, metadata: object) =>
      (
        event('checkout.session.completed', { ...SESSION, metadata, consent: { promotions } }).event as {
          softOptIn: unknown;
        }
      ).softOptIn;
    expect(softOptIn('opt_in', notice)).toEqual(SOFT_OPT_IN);
    expect(softOptIn('opt_out', notice)).toEqual({ ...SOFT_OPT_IN, optedOut: true });
    expect(softOptIn('opt_out', METADATA)).toEqual({ ...SOFT_OPT_IN, optedOut: true });
    expect(softOptIn(null, notice)).toBeNull();
    expect(softOptIn('opt_in', {})).toBeNull();
  });

  test('a subscription is bought once: its session and its first invoice are one order, a renewal is none', () => {
    const session = { ...SESSION, mode: 'subscription', payment_intent: null, invoice: 'in_1' };
    expect(event('checkout.session.completed', session).event).toMatchObject({
      orderIds: ['stripe:in_1', 'stripe:cs_1'],
    });
    const invoice = {
      id: 'in_1',
      billing_reason: 'subscription_create',
      customer_email: 'ana@example.com',
      amount_paid: 900,
      currency: 'eur',
      status_transitions: { paid_at: AT - 120 },
      lines: { data: [{ price: { product: 'prod_1' } }, { pricing: { price_details: { product: 'prod_2' } } }] },
      metadata: {},
    };
    expect(event('invoice.paid', invoice).event).toMatchObject({
      kind: 'purchase',
      orderIds: ['stripe:in_1'],
      email: 'ana@example.com',
      amount: '9.00',
      purchasedAt: new Date((AT - 120) * 1000),
      products: ['prod_1', 'prod_2'],
    });
    expect(why(event('invoice.paid', { ...invoice, id: 'in_2', billing_reason: 'subscription_cycle' }))).toBe(
      'renewal',
    );
  });

  test('only a full refund is one', () => {
    const charge = {
      id: 'ch_1',
      payment_intent: 'pi_1',
      invoice: null,
      amount: 12990,
      amount_refunded: 12990,
      refunded: true,
    };
    expect(event('charge.refunded', charge)).toEqual({
      ids: ['evt_1'],
      event: {
        kind: 'refund',
        orderIds: ['stripe:pi_1', 'stripe:ch_1'],
        refundedAt: new Date((AT - 60) * 1000),
        amount: null,
      },
    });
    expect(why(event('charge.refunded', { ...charge, amount_refunded: 100, refunded: false }))).toBe('partial-refund');
  });

  test.each([
    [{ id: 'evt_1', type: 'customer.created', data: { object: {} } }, 'type'],
    [{ id: 'evt_1', type: 'toString', data: { object: {} } }, 'type'],
    [{ id: 'evt_1', type: ['checkout.session.completed'] }, 'type'],
    [{ id: 'evt_1', type: 'checkout.session.completed', data: null }, 'no-order'],
    [{ type: 'checkout.session.completed' }, 'no-event-id'],
    [[], 'no-event-id'],
    [null, 'no-event-id'],
  ])('nothing follows from %j', (payload, because) => {
    expect(why(stripeMessage(payload, NOW))).toBe(because);
  });
});

describe('WooCommerce', () => {
  test('a signature that another tool has made, and none other', () => {
    // Made with: printf %s '<body>' | openssl dgst -sha256 -hmac 'a&b<woo' -binary | base64
    const body = Buffer.from('{"id":727,"status":"processing"}');
    expect(isFromWooCommerce('lGxzXYci2eUaL1f0e1vPW0fs2HBRb2rn79ZN5uinq98=', body, 'a&b<woo')).toBe(true);
    expect(isFromWooCommerce('lGxzXYci2eUaL1f0e1vPW0fs2HBRb2rn79ZN5uinq98=', Buffer.from(`${body}\n`), 'a&b<woo')).toBe(
      false,
    );
    expect(isFromWooCommerce('lGxzXYci2eUaL1f0e1vPW0fs2HBRb2rn79ZN5uinq98=', body, 'a&b<')).toBe(false);
    expect(isFromWooCommerce(undefined, body, 'a&b<woo')).toBe(false);
    expect(isFromWooCommerce('', Buffer.alloc(0), 'a&b<woo')).toBe(false);
  });

  test('its ping is known by its form alone', () => {
    expect(isPing(Buffer.from('webhook_id=12'))).toBe(true);
    for (const body of ['webhook_id=', 'webhook_id=1&a=2', '{"webhook_id":1}', '', 'webhook_id=12\n']) {
      expect(isPing(Buffer.from(body))).toBe(false);
    }
  });

  const ORDER = {
    id: 727,
    number: '727',
    status: 'processing',
    currency: 'EUR',
    date_created_gmt: '2026-03-02T10:00:00',
    date_paid_gmt: '2026-03-02T10:05:00',
    date_modified_gmt: '2026-03-02T11:00:00',
    total: '29.35',
    billing: { first_name: 'Ana', last_name: 'López', email: 'ana@example.com' },
    line_items: [
      { product_id: 93, variation_id: 0, sku: 'BRAVA-1', quantity: 2 },
      { product_id: 22, variation_id: 23, sku: '' },
    ],
    meta_data: [
      { id: 1, key: '_private', value: { a: 1 } },
      ...Object.entries(METADATA).map(([key, value]) => ({ id: 2, key, value })),
    ],
  };
  const message = (change: object, topic: unknown = 'order.updated') =>
    wooCommerceMessage(topic, Buffer.from(JSON.stringify(change)), { ...ORDER, ...change }, NOW);

  test.each(['processing', 'completed'])('%s: a purchase', (status) => {
    const { ids, event } = message({ status });
    expect(ids).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    expect(event).toEqual({
      kind: 'purchase',
      orderIds: ['woocommerce:727'],
      leadId: null,
      email: 'ana@example.com',
      name: 'Ana López',
      locale: null,
      campaignId: null,
      purchasedAt: new Date('2026-03-02T10:05:00Z'),
      amount: '29.35',
      currency: 'EUR',
      products: ['BRAVA-1', '93', '22', '23'],
      softOptIn: SOFT_OPT_IN,
    });
  });

  test.each(['refunded', 'cancelled'])('%s: a refund', (status) => {
    expect(message({ status }).event).toEqual({
      kind: 'refund',
      orderIds: ['woocommerce:727'],
      refundedAt: new Date('2026-03-02T11:00:00Z'),
      amount: null,
    });
  });

  test.each(['pending', 'on-hold', 'failed', 'checkout-draft', 'trash', undefined, null])('%s: nothing', (status) => {
    expect(why(message({ status }))).toBe('status');
  });

  test.each(['order.deleted', 'product.updated', 'action.woocommerce_x', null])('the topic %s: nothing', (topic) => {
    expect(why(message({}, topic))).toBe('type');
  });

  test('what is no order: nothing', () => {
    for (const payload of [{ id: 'x' }, {}, [], null, { id: 1.5 }]) {
      expect(wooCommerceMessage('order.updated', Buffer.alloc(0), payload, NOW)).toEqual(nothing('no-order'));
    }
  });
});

describe('Shopify', () => {
  test('a published signature, and none other', () => {
    // From the tests of SQLPage.
    const body = Buffer.from('{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}');
    const signature = 'QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=';
    expect(isFromShopify(signature, body, 'test-webhook-secret')).toBe(true);
    expect(isFromShopify(signature, Buffer.from(`${body} `), 'test-webhook-secret')).toBe(false);
    expect(isFromShopify(signature, body, 'test-webhook-secre')).toBe(false);
    expect(isFromShopify(signature.toLowerCase(), body, 'test-webhook-secret')).toBe(false);
    expect(isFromShopify(undefined, body, 'test-webhook-secret')).toBe(false);
  });

  const ORDER = {
    id: 450789469,
    name: '#1001',
    email: 'ana@example.com',
    contact_email: 'ana@example.com',
    financial_status: 'paid',
    cancelled_at: null,
    created_at: '2026-03-02T10:00:00+01:00',
    processed_at: '2026-03-02T10:05:00+01:00',
    updated_at: '2026-03-02T12:30:00+01:00',
    total_price: '199.00',
    currency: 'EUR',
    customer_locale: 'es-ES',
    buyer_accepts_marketing: false,
    customer: { email: 'ana@example.com', first_name: 'Ana', last_name: null },
    line_items: [{ id: 1, sku: 'BRAVA-1', product_id: 632910392, variant_id: 808950810 }],
    note_attributes: [],
  };
  const message = (topic: string | undefined, change: object = {}, headers: object = {}) =>
    shopifyMessage(
      { 'x-shopify-topic': topic, 'x-shopify-event-id': 'e-1', ...headers },
      Buffer.from(JSON.stringify(change)),
      { ...ORDER, ...change },
      NOW,
    );

  test('a paid order is a purchase', () => {
    const { ids, event } = message('orders/paid');
    expect(ids).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/), 'orders/paid 450789469 e-1']);
    expect(event).toEqual({
      kind: 'purchase',
      orderIds: ['shopify:450789469'],
      leadId: null,
      email: 'ana@example.com',
      name: 'Ana',
      locale: 'es-ES',
      campaignId: null,
      purchasedAt: new Date('2026-03-02T09:05:00Z'),
      amount: '199.00',
      currency: 'EUR',
      products: ['BRAVA-1', '632910392', '808950810'],
      softOptIn: null,
    });
  });

  test('what has happened is read from the body, which is signed, and not from the topic, which is not', () => {
    expect(why(message('orders/cancelled'))).toBe('purchase');
    expect(message('orders/paid', { cancelled_at: '2026-03-02T11:00:00Z' }).event).toEqual({
      kind: 'refund',
      orderIds: ['shopify:450789469'],
      refundedAt: new Date('2026-03-02T11:00:00Z'),
      amount: null,
    });
    expect(message('orders/updated', { financial_status: 'refunded' }).event).toMatchObject({
      kind: 'refund',
      refundedAt: new Date('2026-03-02T11:30:00Z'),
    });
    expect(why(message('orders/updated', { financial_status: 'partially_refunded' }))).toBe('purchase');
    for (const financial_status of ['pending', 'authorized', 'partially_paid', 'voided', null]) {
      expect(why(message('orders/paid', { financial_status }))).toBe('status');
    }
  });

  test('its box for marketing mail decides where a notice is on record, and says nothing without', () => {
    const { recuerda_opt_out_offered: _, recuerda_opted_out: __, ...notice } = METADATA;
    const note_attributes = Object.entries(notice).map(([name, value]) => ({ name, value }));
    const softOptIn = (change: object) => (message('orders/paid', change).event as { softOptIn: unknown }).softOptIn;
    expect(softOptIn({ note_attributes, buyer_accepts_marketing: true })).toEqual(SOFT_OPT_IN);
    expect(softOptIn({ note_attributes, buyer_accepts_marketing: false })).toEqual({ ...SOFT_OPT_IN, optedOut: true });
    expect(softOptIn({ buyer_accepts_marketing: true })).toBeNull();
  });

  test('a refund tells how much it is', () => {
    const refund = {
      id: 509562969,
      order_id: 450789469,
      created_at: '2026-03-02T11:00:00Z',
      processed_at: '2026-03-02T11:00:01Z',
      transactions: [
        { kind: 'refund', status: 'success', amount: '100.10' },
        { kind: 'refund', status: 'success', amount: '98.90' },
        { kind: 'refund', status: 'failure', amount: '50.00' },
        { kind: 'void', status: 'success', amount: '1.00' },
      ],
    };
    expect(message('refunds/create', refund).event).toEqual({
      kind: 'refund',
      orderIds: ['shopify:450789469'],
      refundedAt: new Date('2026-03-02T11:00:01Z'),
      amount: '199.000000',
    });
    expect(why(message('refunds/create', { ...refund, transactions: [] }))).toBe('no-money-back');
  });

  test('one action of the merchant has one id for all that it touches, and is not taken for a repetition', () => {
    const ids = [
      message('orders/updated', { id: 1 }).ids,
      message('orders/updated', { id: 2 }).ids,
      message('orders/paid', { id: 1, updated_at: 'x' }).ids,
    ].flat();
    expect(new Set(ids).size).toBe(ids.length);
  });

  test.each(['products/update', 'app/uninstalled', 'customers/redact', undefined])('the topic %s: nothing', (topic) => {
    expect(why(message(topic))).toBe('type');
  });
});

describe('Standard Webhooks', () => {
  const message = (type: unknown, data: unknown) =>
    standardMessage('msg_1', { type, timestamp: '2026-03-02T11:00:00Z', data }, NOW);

  test.each(['order.paid', 'purchase.created'])('%s: a purchase', (type) => {
    const data = {
      orderId: 'A-1001',
      email: 'ana@example.com',
      amount: 129.9,
      currency: 'EUR',
      products: ['BRAVA-1'],
      softOptIn: SOFT_OPT_IN,
      ours: 'something else',
    };
    expect(message(type, data)).toEqual({
      ids: ['msg_1'],
      event: {
        kind: 'purchase',
        orderIds: ['A-1001'],
        leadId: null,
        email: 'ana@example.com',
        name: null,
        locale: null,
        campaignId: null,
        purchasedAt: new Date('2026-03-02T11:00:00Z'),
        amount: '129.9',
        currency: 'EUR',
        products: ['BRAVA-1'],
        softOptIn: SOFT_OPT_IN,
      },
    });
  });

  test('order.refunded: a refund', () => {
    expect(message('order.refunded', { orderId: 'A-1001', refundedAt: '2026-03-02T10:00:00Z' }).event).toEqual({
      kind: 'refund',
      orderIds: ['A-1001'],
      refundedAt: new Date('2026-03-02T10:00:00Z'),
      amount: null,
    });
  });

  test.each([
    [{}, '/data'],
    [null, '/data'],
    [{ orderId: 1 }, '/data/orderId'],
    [{ orderId: 'A', amount: '1,50' }, '/data/amount'],
    [{ orderId: 'A', leadId: 'x' }, '/data/leadId'],
    [{ orderId: 'A', softOptIn: { optOutOffered: true } }, '/data/softOptIn'],
    [{ orderId: 'A', purchasedAt: 'yesterday' }, '/data/purchasedAt'],
  ])('refused: %j', (data, pointer) => {
    expect(() => message('order.paid', data)).toThrow(
      expect.objectContaining({ code: 'invalid-request', extra: { errors: [expect.objectContaining({ pointer })] } }),
    );
  });

  test('other types: nothing', () => {
    for (const type of ['user.created', undefined, 7, 'webhook.test']) expect(why(message(type, {}))).toBe('type');
    expect(why(standardMessage('msg_1', [], NOW))).toBe('type');
  });
});

describe('a soft opt-in', () => {
  test.each([
    ['nothing is recorded', {}, true, null],
    ['a notice, and no choice', { recuerda_notice_version: '1', recuerda_product_group: 'g' }, null, null],
    ['no notice', { ...METADATA, recuerda_notice_version: ' ' }, true, null],
    ['no group', { ...METADATA, recuerda_product_group: '' }, true, null],
    ['words that say neither yes nor no', { ...METADATA, recuerda_opted_out: 'perhaps' }, null, null],
    ['all of it', METADATA, null, SOFT_OPT_IN],
    [
      'a no in either place wins',
      { ...METADATA, recuerda_opted_out: 'TRUE' },
      true,
      { ...SOFT_OPT_IN, optedOut: true },
    ],
    [
      'no way out offered',
      { ...METADATA, recuerda_opt_out_offered: '0' },
      null,
      { ...SOFT_OPT_IN, optOutOffered: false },
    ],
  ])('%s', (_, fields, box, expected) => {
    expect(softOptInOf(fields, box)).toEqual(expected);
  });
});
