import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { type ShopResult, takeShopEvent } from '../../db/shop-events';
import { Problem } from '../../domain/problem';
import { isSignedWebhook } from '../../domain/webhook-signature';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { problemResponse, problemResponses } from '../problems';
import { textOf } from '../webhooks/payload';
import { badSignature, jsonOf } from '../webhooks/proof';
import { nothing, type ShopMessage } from '../webhooks/shop-message';
import { isFromShopify, shopifyMessage } from '../webhooks/shopify';
import { standardMessage } from '../webhooks/standard';
import { isFromStripe, stripeMessage } from '../webhooks/stripe';
import { isFromWooCommerce, isPing, wooCommerceMessage } from '../webhooks/woocommerce';

interface ShopWebhook {
  source: 'stripe' | 'woocommerce' | 'shopify' | 'standard';
  operationId: string;
  name: string;
  /** The setting without which it is switched off. */
  setting: string;
  secret: string | null;
  proof: string;
  bodyLimitBytes: number;
  /** @throws Problem `bad-signature` or `invalid-request` */
  read(headers: FastifyRequest['headers'], body: Buffer, secret: string): ShopMessage;
}

const MEBIBYTE = 1024 * 1024;

/**
 * Where checkouts tell of purchases and refunds, as they are. Each proves itself by its documented signature over the very
 * bytes, instead of by an API key. Event types that are of no interest are taken and ignored; what is repeated changes nothing.
 */
export function shopWebhookRoutes(app: Api, context: ApiContext): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    for (const webhook of shopWebhooks(context)) serve(scope, webhook, context);
  });
}

function serve(scope: Pick<Api, 'post'>, webhook: ShopWebhook, { db, journeys, config, clock }: ApiContext): void {
  const { source, name, setting, proof, secret } = webhook;
  scope.post(
    `/webhooks/${source}`,
    {
      bodyLimit: webhook.bodyLimitBytes,
      schema: {
        operationId: webhook.operationId,
        tags: ['webhooks'],
        summary: `Purchases and refunds from ${name}`,
        description: `${proof} Switched off (404) unless ${setting} is set. Repeated events change nothing.`,
        security: [],
        response: {
          200: Type.Object(
            {
              result: Type.Enum(['kept', 'ignored', 'known'], {
                description: '`kept`; `ignored`: nothing follows from it; `known`: it was taken before.',
              }),
            },
            { description: 'It was taken.' },
          ),
          ...problemResponses('not-found', 'payload-too-large'),
          401: problemResponse(['bad-signature']),
        },
      },
      // Before the body is read.
      onRequest: async () => {
        if (secret === null) throw new Problem('not-found', `This webhook is switched off: ${setting} is not set.`);
      },
    },
    async (request: FastifyRequest, reply) => {
      const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
      const { ids, event } = readMessage(webhook, request, body, secret ?? '', (challenge) =>
        reply.header('www-authenticate', challenge),
      );
      const taken = await takeShopEvent(db, config, { source, ids, event }, clock());
      request.log.info({ source, event: nameOf(ids), ...toldOf(taken) }, 'a webhook of a shop was taken');
      afterAnswer(reply, () => {
        if (taken.result !== 'kept') return;
        if (taken.stopped.length > 0) journeys.tell(taken.stopped.map(({ enrollmentId }) => enrollmentId));
        if (taken.begun.length > 0) journeys.start(taken.begun);
      });
      return await reply.send({ result: taken.result });
    },
  );
}

function readMessage(
  webhook: ShopWebhook,
  { headers, log }: FastifyRequest,
  body: Buffer,
  secret: string,
  challenge: (value: string) => void,
): ShopMessage {
  try {
    return webhook.read(headers, body, secret);
  } catch (error) {
    if (error instanceof Problem && error.code === 'bad-signature') {
      challenge(`Signature realm="${webhook.name}"`);
      log.warn({ source: webhook.source }, 'a webhook without proof of its sender was refused');
    }
    throw error;
  }
}

/** What may stand in the log: an order's number is the shop's own, and some put other things there. */
function toldOf(taken: ShopResult): Record<string, unknown> {
  const { result } = taken;
  if (taken.result === 'known') return { result };
  const orderId = nameOf([taken.orderId ?? '']);
  return taken.result === 'ignored'
    ? { result, why: taken.why, orderId }
    : { result, orderId, ended: taken.stopped.length };
}

function nameOf([id]: readonly string[]): string | null {
  return id !== undefined && /^[\w:.-]{1,100}$/.test(id) ? id : null;
}

function shopWebhooks({ config, clock }: ApiContext): ShopWebhook[] {
  const { stripe, woocommerce, shopify, standard } = config.webhooks;
  return [
    {
      source: 'stripe',
      operationId: 'receiveStripeEvents',
      name: 'Stripe',
      setting: 'WEBHOOK_STRIPE_SECRET',
      secret: stripe,
      proof:
        'Signed in the header Stripe-Signature, five minutes ago at most. Of interest are checkout.session.completed, ' +
        'checkout.session.async_payment_succeeded, invoice.paid, invoice_payment.paid (which payment an invoice was paid by) and ' +
        'charge.refunded (of the whole).',
      bodyLimitBytes: MEBIBYTE,
      read: (headers, body, secret) => {
        if (!isFromStripe(headers['stripe-signature'], body, secret, clock())) {
          throw badSignature('Stripe-Signature was not made with WEBHOOK_STRIPE_SECRET over this body just now.');
        }
        return stripeMessage(jsonOf(body), clock());
      },
    },
    {
      source: 'woocommerce',
      operationId: 'receiveWooCommerceEvents',
      name: 'WooCommerce',
      setting: 'WEBHOOK_WOOCOMMERCE_SECRET',
      secret: woocommerce,
      proof:
        'Signed in the header X-WC-Webhook-Signature. Of interest are order.created and order.updated. The ping that it ' +
        'sends when the webhook is saved is not signed; it is answered, and has no effect.',
      bodyLimitBytes: 5 * MEBIBYTE,
      read: (headers, body, secret) => {
        if (isPing(body)) return nothing('ping');
        if (!isFromWooCommerce(headers['x-wc-webhook-signature'], body, secret)) {
          throw badSignature('X-WC-Webhook-Signature was not made with WEBHOOK_WOOCOMMERCE_SECRET over this body.');
        }
        return wooCommerceMessage(headers['x-wc-webhook-topic'], body, jsonOf(body), clock());
      },
    },
    {
      source: 'shopify',
      operationId: 'receiveShopifyEvents',
      name: 'Shopify',
      setting: 'WEBHOOK_SHOPIFY_SECRET',
      secret: shopify,
      proof:
        'Signed in the header X-Shopify-Hmac-Sha256. Of interest are orders/create, orders/paid, orders/updated, ' +
        'orders/cancelled and refunds/create.',
      bodyLimitBytes: 5 * MEBIBYTE,
      read: (headers, body, secret) => {
        if (!isFromShopify(headers['x-shopify-hmac-sha256'], body, secret)) {
          throw badSignature('X-Shopify-Hmac-Sha256 was not made with WEBHOOK_SHOPIFY_SECRET over this body.');
        }
        return shopifyMessage(headers, body, jsonOf(body), clock());
      },
    },
    {
      source: 'standard',
      operationId: 'receiveStandardWebhooks',
      name: 'any other shop (Standard Webhooks)',
      setting: 'WEBHOOK_STANDARD_SECRET',
      secret: standard,
      proof:
        'Signed as standardwebhooks.com describes it, five minutes ago at most. `{"type": "order.paid", "timestamp": "…", ' +
        '"data": {…}}` with the fields of `POST /v1/purchases`, or `order.refunded` with `orderId` and `refundedAt`.',
      bodyLimitBytes: MEBIBYTE,
      read: (headers, body, secret) => {
        if (!isSignedWebhook(headers, body, secret, clock())) {
          throw badSignature('webhook-signature was not made with WEBHOOK_STANDARD_SECRET over this body just now.');
        }
        return standardMessage(textOf(headers['webhook-id']) ?? '', jsonOf(body), clock());
      },
    },
  ];
}
