import { createHash, createHmac } from 'node:crypto';
import { currencyOf, decimalOf, fromOrderFields, localeIn, productsOf } from '../../domain/shop-events';
import { fieldsOf, objectsOf, textOf } from './payload';
import { equalSecrets } from './proof';
import { namedValues, nothing, pastTimeOf, type ShopMessage } from './shop-message';

type Fields = Readonly<Record<string, unknown>>;

/** Whether Shopify has signed this: the HMAC-SHA256 over the body, in base64. It signs no time. */
export function isFromShopify(header: unknown, body: Buffer, secret: string): boolean {
  const expected = createHmac('sha256', secret).update(body).digest('base64');
  return equalSecrets(textOf(header) ?? '', expected);
}

const ORDER_TOPICS: readonly unknown[] = ['orders/create', 'orders/paid', 'orders/updated', 'orders/cancelled'];

/**
 * What a webhook of Shopify means for us (Admin REST order and refund). What has happened is read from the body, which is
 * signed; the headers are not, and only say what the body is about.
 */
export function shopifyMessage(headers: Fields, body: Buffer, payload: unknown, now: Date): ShopMessage {
  const topic = textOf(headers['x-shopify-topic']);
  const fields = fieldsOf(payload);
  if (!ORDER_TOPICS.includes(topic) && topic !== 'refunds/create') return nothing('type');
  const about = topic === 'refunds/create' ? fields.order_id : fields.id;
  if (typeof about !== 'number' || !Number.isSafeInteger(about)) return nothing('no-order');
  const orderId = `shopify:${about}`;
  const message = topic === 'refunds/create' ? ofRefund(fields, orderId, now) : ofOrder(fields, orderId, now);
  if (message.event.kind === 'nothing') return message;
  const eventId = textOf(headers['x-shopify-event-id']) ?? textOf(headers['x-shopify-webhook-id']);
  return {
    ids: [
      createHash('sha256').update(body).digest('hex'),
      // One action of the merchant has one id, for all topics and orders that it touches.
      ...(eventId === null ? [] : [`${topic} ${about} ${eventId}`.slice(0, 300)]),
    ],
    event: message.event,
  };
}

/** They have their goods, or will have: what was paid back in part stays a purchase. */
const BOUGHT: readonly unknown[] = ['paid', 'partially_refunded'];

function ofOrder(order: Fields, orderId: string, now: Date): ShopMessage {
  if (textOf(order.cancelled_at) !== null || order.financial_status === 'refunded') {
    const refundedAt = pastTimeOf(order.cancelled_at ?? order.updated_at, now);
    return { ids: [], event: { kind: 'refund', orderIds: [orderId], refundedAt, amount: null } };
  }
  if (!BOUGHT.includes(order.financial_status)) return nothing('status', orderId);
  const box = typeof order.buyer_accepts_marketing === 'boolean' ? order.buyer_accepts_marketing : null;
  const own = fromOrderFields(namedValues(objectsOf(order.note_attributes), 'name'), box);
  const lines = objectsOf(order.line_items);
  const customer = fieldsOf(order.customer);
  return {
    ids: [],
    event: {
      kind: 'purchase',
      orderIds: [orderId],
      ...own,
      email: textOf(order.email) ?? textOf(order.contact_email) ?? textOf(customer.email),
      name: textOf([textOf(customer.first_name), textOf(customer.last_name)].filter((part) => part !== null).join(' ')),
      locale: localeIn(order.customer_locale),
      purchasedAt: pastTimeOf(order.processed_at ?? order.created_at, now),
      amount: decimalOf(order.total_price),
      currency: currencyOf(order.currency),
      products: productsOf([...own.products, ...lines.flatMap((line) => [line.sku, line.product_id, line.variant_id])]),
    },
  };
}

/** A refund does not say whether it is the whole order; how much it is does. */
function ofRefund(refund: Fields, orderId: string, now: Date): ShopMessage {
  const paidBack = objectsOf(refund.transactions).filter(
    ({ kind, status }) => kind === 'refund' && status === 'success',
  );
  const total = paidBack.reduce((sum, { amount }) => sum + Number(decimalOf(amount) ?? 0), 0);
  if (total === 0) return nothing('no-money-back', orderId);
  const refundedAt = pastTimeOf(refund.processed_at ?? refund.created_at, now);
  return { ids: [], event: { kind: 'refund', orderIds: [orderId], refundedAt, amount: total.toFixed(6) } };
}
