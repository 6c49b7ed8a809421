import { createHash, createHmac } from 'node:crypto';
import { currencyOf, decimalOf, fromOrderFields, productsOf } from '../../domain/shop-events';
import { fieldsOf, objectsOf, textOf } from './payload';
import { equalSecrets } from './proof';
import { namedValues, nothing, pastTimeOf, type ShopMessage } from './shop-message';

/** Whether WooCommerce has signed this: the HMAC-SHA256 over the body, in base64. It signs no time. */
export function isFromWooCommerce(header: unknown, body: Buffer, secret: string): boolean {
  const expected = createHmac('sha256', secret).update(body).digest('base64');
  return equalSecrets(textOf(header) ?? '', expected);
}

/** What WooCommerce sends, unsigned, when a webhook is saved; it switches the webhook off unless that is answered with 200. */
export function isPing(body: Buffer): boolean {
  return body.length <= 40 && /^webhook_id=\d+$/.test(body.toString('latin1'));
}

const TOPICS: readonly unknown[] = ['order.created', 'order.updated', 'order.restored'];

/**
 * What an order of WooCommerce means for us (REST API v3). What has happened is read from the body, which is signed, and
 * not from the headers, which are not; the id of a delivery is not used at all: two that leave in the same second share it.
 *
 * @param topic the header X-WC-Webhook-Topic
 */
export function wooCommerceMessage(topic: unknown, body: Buffer, payload: unknown, now: Date): ShopMessage {
  if (!TOPICS.includes(topic)) return nothing('type');
  const order = fieldsOf(payload);
  if (typeof order.id !== 'number' || !Number.isSafeInteger(order.id)) return nothing('no-order');
  const orderId = `woocommerce:${order.id}`;
  const ids = [createHash('sha256').update(body).digest('hex')];
  switch (order.status) {
    case 'processing':
    case 'completed':
      return { ids, event: purchase(order, orderId, now) };
    case 'refunded':
    case 'cancelled': {
      const refundedAt = utc(order.date_modified_gmt, now);
      return { ids, event: { kind: 'refund', orderIds: [orderId], refundedAt, amount: null } };
    }
    default:
      return nothing('status', orderId);
  }
}

function purchase(order: Readonly<Record<string, unknown>>, orderId: string, now: Date): ShopMessage['event'] {
  const own = fromOrderFields(namedValues(objectsOf(order.meta_data), 'key'), null);
  const lines = objectsOf(order.line_items);
  const billing = fieldsOf(order.billing);
  return {
    kind: 'purchase',
    orderIds: [orderId],
    ...own,
    email: textOf(billing.email),
    name: textOf([textOf(billing.first_name), textOf(billing.last_name)].filter((part) => part !== null).join(' ')),
    locale: null,
    purchasedAt: utc(order.date_paid_gmt ?? order.date_created_gmt, now),
    amount: decimalOf(order.total),
    currency: currencyOf(order.currency),
    products: productsOf([...own.products, ...lines.flatMap((line) => [line.sku, line.product_id, line.variation_id])]),
  };
}

/** A time in UTC that does not say so: `2026-03-02T12:00:00`. */
function utc(value: unknown, now: Date): Date {
  const text = textOf(value);
  return pastTimeOf(text === null || /(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`, now);
}
