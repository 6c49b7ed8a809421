import { createHmac } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import type { ApiContext } from '../../api/context';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { NO_WEBHOOKS } from '../support/settings';
import { type ApiUnderTest, AUTH, apiUnderTest, until } from './api-under-test';

const STANDARD = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const WEBHOOKS: ApiContext['config']['webhooks'] = {
  ...NO_WEBHOOKS,
  stripe: 'whsec_stripe',
  woocommerce: 'woo-secret',
  shopify: 'shopify-secret',
  standard: STANDARD,
};

type Source = 'stripe' | 'woocommerce' | 'shopify' | 'standard';
const SOURCES: Source[] = ['stripe', 'woocommerce', 'shopify', 'standard'];

let api: ApiUnderTest;
let app: ApiUnderTest['app'];
let campaignId: string;
let now = new Date();
let n = 0;

beforeAll(async () => {
  api = await apiUnderTest();
  app = await api.another({ config: { webhooks: WEBHOOKS }, clock: () => now });
  campaignId = await publishForTests(api.db);
});
afterAll(async () => await api.close());
beforeEach(() => {
  now = new Date();
  n += 1;
  api.logged.length = 0;
  api.asked.told.length = 0;
});

/** A body and the headers that its sender would put on it. */
function signed(source: Source, body: string, about: { topic?: string; id?: string; at?: Date } = {}) {
  const { at = now, id = `evt_${n}` } = about;
  const t = Math.floor(at.getTime() / 1000);
  const base64 = (secret: string) => createHmac('sha256', secret).update(body).digest('base64');
  switch (source) {
    case 'stripe': {
      const v1 = createHmac('sha256', 'whsec_stripe').update(`${t}.${body}`).digest('hex');
      return { 'stripe-signature': `t=${t},v1=${v1}` };
    }
    case 'woocommerce':
      return {
        'x-wc-webhook-topic': about.topic ?? 'order.updated',
        'x-wc-webhook-delivery-id': id,
        'x-wc-webhook-signature': base64('woo-secret'),
      };
    case 'shopify':
      return {
        'x-shopify-topic': about.topic ?? 'orders/paid',
        'x-shopify-event-id': id,
        'x-shopify-hmac-sha256': base64('shopify-secret'),
      };
    case 'standard':
      return {
        'webhook-id': id,
        'webhook-timestamp': String(t),
        'webhook-signature': new Webhook(STANDARD).sign(id, at, body),
      };
  }
}

/** What each shop sends of an order that this person has paid; `at`: ISO 8601. */
function paid(source: Source, email: string | null, at = now.toISOString()): string {
  const seconds = Math.floor(new Date(at).getTime() / 1000);
  switch (source) {
    case 'stripe':
      return JSON.stringify({
        id: `evt_${n}`,
        type: 'checkout.session.completed',
        created: seconds,
        data: {
          object: {
            id: `cs_${n}`,
            mode: 'payment',
            payment_status: 'paid',
            payment_intent: `pi_${n}`,
            customer_details: { email },
            amount_total: 12990,
            currency: 'eur',
          },
        },
      });
    case 'woocommerce':
      return JSON.stringify({
        id: n,
        status: 'processing',
        billing: { email },
        total: '129.90',
        currency: 'EUR',
        date_paid_gmt: at.replace('Z', ''),
      });
    case 'shopify':
      return JSON.stringify({
        id: n,
        financial_status: 'paid',
        email,
        total_price: '129.90',
        currency: 'EUR',
        processed_at: at,
      });
    case 'standard':
      return JSON.stringify({
        type: 'order.paid',
        timestamp: at,
        data: { orderId: `S-${n}`, ...(email === null ? {} : { email }), amount: '129.90', currency: 'EUR' },
      });
  }
}

function refunded(source: Source): { body: string; topic?: string } {
  switch (source) {
    case 'stripe':
      return {
        body: JSON.stringify({
          id: `evt_refund_${n}`,
          type: 'charge.refunded',
          created: Math.floor(now.getTime() / 1000),
          data: { object: { id: `ch_${n}`, payment_intent: `pi_${n}`, refunded: true } },
        }),
      };
    case 'woocommerce':
      return { body: JSON.stringify({ id: n, status: 'refunded', date_modified_gmt: '2026-03-02T11:00:00' }) };
    case 'shopify':
      return {
        topic: 'refunds/create',
        body: JSON.stringify({
          id: 9,
          order_id: n,
          created_at: now.toISOString(),
          transactions: [{ kind: 'refund', status: 'success', amount: '129.90' }],
        }),
      };
    case 'standard':
      return { body: JSON.stringify({ type: 'order.refunded', data: { orderId: `S-${n}` } }) };
  }
}

const ORDER: Record<Source, () => string> = {
  stripe: () => `stripe:pi_${n}`,
  woocommerce: () => `woocommerce:${n}`,
  shopify: () => `shopify:${n}`,
  standard: () => `S-${n}`,
};

async function send(source: Source, body: string | Buffer, headers: Record<string, string>, to = app) {
  return await to.inject({
    method: 'POST',
    url: `/webhooks/${source}`,
    headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
    payload: body,
  });
}

async function leadOf(email: string) {
  return await enrollForTests(api.db, campaignId, requestBy(email, { requestedAt: new Date(now.getTime() - 60_000) }));
}
const outcomeOf = async (id: string) =>
  (await api.db.selectFrom('enrollment').select('outcome').where('id', '=', id).executeTakeFirst())?.outcome;
const purchases = async () => await api.db.selectFrom('purchase').selectAll().execute();
const refunds = async () => await api.db.selectFrom('refund').selectAll().execute();
const count = async () => [(await purchases()).length, (await refunds()).length];

describe.each(SOURCES)('%s', (source) => {
  test('P2 a purchase stops the mail, and is kept once', async () => {
    const email = `ana.${source}@example.com`;
    const enrollmentId = await leadOf(email);
    const body = paid(source, email);
    const response = await send(source, body, signed(source, body));
    expect([response.statusCode, response.json()]).toEqual([200, { result: 'kept' }]);
    expect(await outcomeOf(enrollmentId)).toBe('purchased');
    expect((await purchases()).find((row) => row.order_id === ORDER[source]())).toMatchObject({
      amount: '129.90',
      currency: 'EUR',
    });
    await until(() => api.asked.told.includes(enrollmentId));
  });

  test('repeated, it changes nothing', async () => {
    const body = paid(source, `again.${source}@example.com`);
    await send(source, body, signed(source, body));
    const before = await count();
    const again = await send(source, body, signed(source, body));
    expect([again.statusCode, again.json()]).toEqual([200, { result: 'known' }]);
    // As a shop that retries after an answer that got lost while we crashed: what was taken is not known to be.
    await api.db.deleteFrom('webhook_seen').execute();
    const enrollmentId = await leadOf(`again.${source}@example.com`);
    await api.db
      .updateTable('enrollment')
      .set({ requested_at: new Date(now.getTime() + 60_000), enrolled_at: new Date(now.getTime() + 60_000) })
      .where('id', '=', enrollmentId)
      .execute();
    expect((await send(source, body, signed(source, body))).json()).toEqual({ result: 'kept' });
    expect(await count()).toEqual(before);
    expect(await outcomeOf(enrollmentId)).toBeNull();
  });

  test('many at the same time are one', async () => {
    const email = `race.${source}@example.com`;
    await leadOf(email);
    const body = paid(source, email);
    const before = await count();
    const answers = await Promise.all(Array.from({ length: 10 }, () => send(source, body, signed(source, body))));
    expect(new Set(answers.map((answer) => answer.statusCode))).toEqual(new Set([200]));
    expect(await count()).toEqual([(before[0] ?? 0) + 1, before[1]]);
  });

  test('a full refund is kept for the order that was bought', async () => {
    const body = paid(source, `refund.${source}@example.com`);
    await send(source, body, signed(source, body));
    const { body: refund, topic } = refunded(source);
    const about = { id: `evt_refund_${n}`, ...(topic === undefined ? {} : { topic }) };
    expect((await send(source, refund, signed(source, refund, about))).json()).toEqual({ result: 'kept' });
    expect((await refunds()).map((row) => row.order_id)).toContain(ORDER[source]());
    expect((await send(source, refund, signed(source, refund, about))).json()).toEqual({ result: 'known' });
  });

  test('forged: 401, and nothing is kept', async () => {
    const email = `forged.${source}@example.com`;
    const enrollmentId = await leadOf(email);
    const body = paid(source, email);
    const headers = signed(source, body);
    const before = await count();
    const tried = [
      await send(source, `${body} `, headers),
      await send(source, body, {}),
      await send(source, '', {}),
      await send(source, body.replace('129', '128').replace('12990', '12890'), headers),
      await send(source, body, Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, `${value}x`]))),
    ];
    for (const answer of tried) {
      expect([answer.statusCode, answer.json().type]).toEqual([401, 'https://recuerda.test/problems/bad-signature']);
      expect(answer.headers['www-authenticate']).toMatch(/^Signature realm="/);
    }
    expect(await count()).toEqual(before);
    expect(await outcomeOf(enrollmentId)).toBeNull();
    expect(await api.db.selectFrom('webhook_seen').selectAll().where('event_id', '=', `evt_${n}`).execute()).toEqual(
      [],
    );
  });

  test('bytes are signed, whatever they are: another encoding of the same JSON is another body', async () => {
    const body = paid(source, 'ana@example.com');
    const headers = signed(source, body);
    expect((await send(source, Buffer.from(body, 'utf16le'), headers)).statusCode).toBe(401);
    expect((await send(source, JSON.stringify(JSON.parse(body), null, 1), headers)).statusCode).toBe(401);
  });

  test('signed and not JSON: 400', async () => {
    for (const body of ['{"id":', 'order=1', '']) {
      const response = await send(source, body, signed(source, body));
      expect([response.statusCode, response.json().type]).toEqual([
        400,
        'https://recuerda.test/problems/invalid-request',
      ]);
    }
  });

  test('signed and of no known type or form: taken and ignored', async () => {
    const before = await count();
    for (const body of ['{}', '[]', 'null', '7', '{"id":"x","type":"of.tomorrow","data":{"object":[]}}']) {
      const response = await send(source, body, signed(source, body, { topic: 'of/tomorrow' }));
      expect([body, response.statusCode, response.json()]).toEqual([body, 200, { result: 'ignored' }]);
    }
    expect(await count()).toEqual(before);
  });

  test('a purchase of nobody we could write to is ignored, and told by its id', async () => {
    const body = paid(source, source === 'standard' ? null : '');
    const response = await send(source, body, signed(source, body));
    expect([response.statusCode, response.json()]).toEqual([200, { result: 'ignored' }]);
    expect(api.logged.some((line) => line.includes('no-address') && line.includes(ORDER[source]()))).toBe(true);
  });

  test('no line of the log holds an address or a name', async () => {
    const email = `loud.${source}@example.com`;
    const body = paid(source, email);
    await send(source, body, signed(source, body));
    await send(source, body, {});
    expect(api.logged.length).toBeGreaterThan(1);
    expect(api.logged.join('\n')).not.toContain('example.com');
  });

  test('switched off: 404, and the body is not looked at', async () => {
    const body = paid(source, 'ana@example.com');
    const response = await send(source, body, signed(source, body), api.app);
    expect(response.statusCode).toBe(404);
    expect(response.json().detail).toContain(`WEBHOOK_${source.toUpperCase()}_SECRET`);
  });

  test('too large: 413', async () => {
    const body = `"${'x'.repeat(5 * 1024 * 1024)}"`;
    expect((await send(source, body, signed(source, body))).statusCode).toBe(413);
  });

  test('where Postgres is away the answer is a 5xx, so that the shop tries again', async () => {
    const body = paid(source, `away.${source}@example.com`);
    const db = new Proxy(api.db, {
      get: (target, name) => {
        if (name === 'selectFrom') throw Object.assign(new Error('gone'), { code: 'ECONNREFUSED' });
        return Reflect.get(target, name);
      },
    });
    const broken = await api.another({ config: { webhooks: WEBHOOKS }, db, clock: () => now });
    expect((await send(source, body, signed(source, body), broken)).statusCode).toBe(503);
    expect((await send(source, body, signed(source, body))).json()).toEqual({ result: 'kept' });
  });
});

test.each(['stripe', 'standard'] as const)('%s: stale or from the future is refused', async (source) => {
  const body = paid(source, 'ana@example.com');
  for (const minutes of [-6, 6]) {
    const at = new Date(now.getTime() + minutes * 60_000);
    expect((await send(source, body, signed(source, body, { at }))).statusCode).toBe(401);
  }
  for (const minutes of [-4, 4]) {
    const at = new Date(now.getTime() + minutes * 60_000);
    expect((await send(source, body, signed(source, body, { at }))).statusCode).toBe(200);
  }
});

test.each(['woocommerce', 'shopify'] as const)(
  '%s signs no id: the same body under another id is known all the same',
  async (source) => {
    const body = paid(source, `captured.${source}@example.com`);
    expect((await send(source, body, signed(source, body))).json()).toEqual({ result: 'kept' });
    expect((await send(source, body, signed(source, body, { id: 'another' }))).json()).toEqual({ result: 'known' });
  },
);

test('WooCommerce: two deliveries of one second share an id, and neither is lost', async () => {
  const bodies = [paid('woocommerce', 'one@example.com')];
  n += 1;
  bodies.push(paid('woocommerce', 'two@example.com'));
  for (const body of bodies) {
    const response = await send('woocommerce', body, signed('woocommerce', body, { id: 'same' }));
    expect(response.json()).toEqual({ result: 'kept' });
  }
});

test('WooCommerce: the ping of a webhook that is saved is answered, unsigned as it is', async () => {
  const response = await send('woocommerce', 'webhook_id=12', { 'content-type': 'application/x-www-form-urlencoded' });
  expect([response.statusCode, response.json()]).toEqual([200, { result: 'ignored' }]);
});

test('Shopify: a part that is paid back is no refund of the order', async () => {
  const body = paid('shopify', 'part@example.com');
  await send('shopify', body, signed('shopify', body));
  const part = refunded('shopify').body.replace('129.90', '29.90');
  const about = { topic: 'refunds/create', id: `evt_refund_${n}` };
  expect((await send('shopify', part, signed('shopify', part, about))).json()).toEqual({ result: 'ignored' });
  expect((await refunds()).map((row) => row.order_id)).not.toContain(`shopify:${n}`);
});

test('a lead’s id that was passed through the checkout counts, whatever address they pay with', async () => {
  const enrollmentId = await leadOf('known@example.com');
  const { lead_id } = await api.db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('id', '=', enrollmentId)
    .executeTakeFirstOrThrow();
  const event = JSON.parse(paid('stripe', 'other@example.com'));
  event.data.object.client_reference_id = lead_id;
  const body = JSON.stringify(event);
  expect((await send('stripe', body, signed('stripe', body))).json()).toEqual({ result: 'kept' });
  expect(await outcomeOf(enrollmentId)).toBe('purchased');
});

test('an id that is no lead’s falls back to the address', async () => {
  const enrollmentId = await leadOf('fallback@example.com');
  const event = JSON.parse(paid('stripe', 'fallback@example.com'));
  event.data.object.client_reference_id = '00000000-0000-4000-8000-000000000000';
  const body = JSON.stringify(event);
  await send('stripe', body, signed('stripe', body));
  expect(await outcomeOf(enrollmentId)).toBe('purchased');
});

test('Stripe: the first invoice of a subscription is the order that its session is', async () => {
  const event = JSON.parse(paid('stripe', 'sub@example.com'));
  Object.assign(event.data.object, { mode: 'subscription', payment_intent: null, invoice: `in_${n}` });
  const invoice = {
    id: `evt_invoice_${n}`,
    type: 'invoice.paid',
    created: event.created,
    data: {
      object: {
        id: `in_${n}`,
        billing_reason: 'subscription_create',
        customer_email: 'sub@example.com',
        amount_paid: 1,
      },
    },
  };
  const before = await count();
  for (const body of [JSON.stringify(event), JSON.stringify(invoice)]) {
    expect((await send('stripe', body, signed('stripe', body))).json()).toEqual({ result: 'kept' });
  }
  expect(await count()).toEqual([(before[0] ?? 0) + 1, before[1]]);
});

describe('Stripe: an order has several names, and later events know only some of them', () => {
  const stripe = async (type: string, object: object) => {
    const body = JSON.stringify({
      id: `evt_${type}_${n}`,
      type,
      created: Math.floor(now.getTime() / 1000),
      data: { object },
    });
    return (await send('stripe', body, signed('stripe', body))).json();
  };
  const session = (change: object = {}) => ({
    id: `cs_${n}`,
    mode: 'payment',
    payment_status: 'paid',
    payment_intent: `pi_${n}`,
    invoice: `in_${n}`,
    customer_details: { email: `names-${n}@example.com` },
    ...change,
  });
  // As of 2025-03-31: neither names its payment, nor a charge its invoice.
  const invoice = () => ({
    id: `in_${n}`,
    billing_reason: 'subscription_create',
    customer_email: `names-${n}@example.com`,
    amount_paid: 1,
  });
  const charge = () => ({ id: `ch_${n}`, payment_intent: `pi_${n}`, refunded: true });
  const kept = async () => {
    const names = [`stripe:pi_${n}`, `stripe:in_${n}`, `stripe:cs_${n}`];
    const bought = await api.db.selectFrom('purchase').select('order_id').where('order_id', 'in', names).execute();
    const back = await api.db.selectFrom('refund').select('order_id').where('order_id', 'in', names).execute();
    return [bought.map((row) => row.order_id), back.map((row) => row.order_id)];
  };

  test('the invoice of a payment is no second purchase, whichever is told first, or at the same time', async () => {
    await stripe('checkout.session.completed', session());
    await stripe('invoice.paid', invoice());
    expect(await kept()).toEqual([[`stripe:pi_${n}`], []]);
    n += 1;
    await stripe('invoice.paid', invoice());
    await stripe('checkout.session.completed', session());
    await stripe('charge.refunded', charge());
    expect(await kept()).toEqual([[`stripe:in_${n}`], [`stripe:in_${n}`]]);
    for (let i = 0; i < 5; i++) {
      n += 1;
      await Promise.all([stripe('checkout.session.completed', session()), stripe('invoice.paid', invoice())]);
      expect((await kept())[0]).toHaveLength(1);
    }
  });

  test.each(['before', 'after'])(
    'the refund of a subscription finds its order, its payment told %s it',
    async (when) => {
      const paidBy = {
        id: `inpay_${n}`,
        invoice: `in_${n}`,
        payment: { type: 'payment_intent', payment_intent: `pi_${n}` },
      };
      if (when === 'before') expect(await stripe('invoice_payment.paid', paidBy)).toEqual({ result: 'ignored' });
      await stripe('checkout.session.completed', session({ mode: 'subscription', payment_intent: null }));
      if (when === 'after') await stripe('invoice_payment.paid', paidBy);
      expect(await stripe('charge.refunded', charge())).toEqual({ result: 'kept' });
      expect(await kept()).toEqual([[`stripe:in_${n}`], [`stripe:in_${n}`]]);
    },
  );

  test('an order that was told by the API under one of its names is that order', async () => {
    const payload = { orderId: `stripe:in_${n}`, email: `names-${n}@example.com` };
    const told = await app.inject({ method: 'POST', url: '/v1/purchases', headers: AUTH, payload });
    expect(told.statusCode).toBe(202);
    await stripe('checkout.session.completed', session());
    await stripe('charge.refunded', charge());
    expect(await kept()).toEqual([[`stripe:in_${n}`], [`stripe:in_${n}`]]);
  });
});

test('texts that Postgres does not take are taken without what it does not take', async () => {
  const odd = 'a\\u0000b\\ud800';
  const body = paid('standard', `odd.${n}@example.com`)
    .replace(
      '"amount"',
      `"products": ["${odd}"], "name": "${odd}", "softOptIn": {"optOutOffered": true, "optedOut": false, "noticeVersion": "${odd}",
      "productGroup": "${odd}"}, "amount"`,
    )
    .replace(`S-${n}`, `S-${n}${odd}`);
  expect((await send('standard', body, signed('standard', body))).json()).toEqual({ result: 'kept' });
  expect((await purchases()).find((row) => row.order_id === `S-${n}a\uFFFDb\uFFFD`)?.products).toEqual([
    'a\uFFFDb\uFFFD',
  ]);
});
