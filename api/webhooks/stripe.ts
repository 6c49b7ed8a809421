import { createHmac } from 'node:crypto';
import { currencyOf, fromOrderFields, localeIn, productsOf, type ShopPurchase, uuidIn } from '../../domain/shop-events';
import { TOLERANCE_MS } from '../../domain/webhook-signature';
import { fieldsOf, objectsOf, textOf } from './payload';
import { equalSecrets } from './proof';
import { nothing, pastTimeOf, type ShopMessage } from './shop-message';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Whether Stripe has signed this just now: `t=<seconds>,v1=<hex>`, the HMAC-SHA256 over that time, a point and the body.
 * While a secret is rolled there are several `v1`; every other scheme is passed over, as Stripe asks.
 */
export function isFromStripe(header: unknown, body: Buffer, secret: string, now: Date): boolean {
  const parts = (textOf(header) ?? '').split(',').map((part) => part.trim().split('=', 2));
  const timestamp = parts.find(([name]) => name === 't')?.[1] ?? '';
  if (!/^\d{1,12}$/.test(timestamp)) return false;
  const expected = createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex');
  const isRight = parts.filter(([name]) => name === 'v1').some(([, given]) => equalSecrets(given ?? '', expected));
  return isRight && Math.abs(now.getTime() - Number(timestamp) * 1000) <= TOLERANCE_MS;
}

/** What a Stripe event means for us. @param payload an Event object */
export function stripeMessage(payload: unknown, now: Date): ShopMessage {
  const event = fieldsOf(payload);
  const id = textOf(event.id);
  if (id === null) return nothing('no-event-id');
  const object = fieldsOf(fieldsOf(event.data).object);
  const at = pastTimeOf(event.created, now);
  const read = typeof event.type === 'string' && Object.hasOwn(BY_TYPE, event.type) ? BY_TYPE[event.type] : undefined;
  if (read === undefined) return nothing('type');
  const message = read(object, at, now);
  return message.event.kind === 'nothing' ? message : { ids: [id], event: message.event };
}

type Reader = (object: Fields, at: Date, now: Date) => ShopMessage;

const BY_TYPE: Readonly<Record<string, Reader>> = {
  'checkout.session.completed': ofSession,
  'checkout.session.async_payment_succeeded': ofSession,
  'invoice.paid': ofInvoice,
  'invoice_payment.paid': ofInvoicePayment,
  'charge.refunded': ofCharge,
};

function ofSession(session: Fields, at: Date): ShopMessage {
  const orderIds = orderIdsOf([session.payment_intent, session.invoice, session.id]);
  if (orderIds === null) return nothing('no-order');
  // Whoever only leaves a card has bought nothing.
  if (session.mode === 'setup') return nothing('setup', orderIds[0]);
  if (session.payment_status !== 'paid' && session.payment_status !== 'no_payment_required') {
    return nothing('unpaid', orderIds[0]);
  }
  const fields = textFields(session.metadata);
  const own = fromOrderFields(fields, boxOf(session));
  const customer = fieldsOf(session.customer_details);
  return {
    ids: [],
    event: {
      kind: 'purchase',
      orderIds,
      ...own,
      // A payment link takes a lead's id along in its address only here.
      leadId: own.leadId ?? uuidIn(session.client_reference_id),
      email: textOf(customer.email) ?? textOf(session.customer_email),
      name: textOf(customer.name),
      locale: localeIn(session.locale),
      purchasedAt: at,
      ...amountOf(session.amount_total, session.currency),
    },
  };
}

/** A subscription that renews itself is no decision to buy, and no answer to anything. */
const RENEWALS: readonly unknown[] = ['subscription_cycle', 'subscription_threshold', 'subscription_update'];

function ofInvoice(invoice: Fields, at: Date, now: Date): ShopMessage {
  const orderIds = orderIdsOf([invoice.id, invoice.payment_intent]);
  if (orderIds === null) return nothing('no-order');
  if (RENEWALS.includes(invoice.billing_reason)) return nothing('renewal', orderIds[0]);
  const paidAt = fieldsOf(invoice.status_transitions).paid_at;
  const own = fromOrderFields(textFields(invoice.metadata), null);
  const lines = objectsOf(fieldsOf(invoice.lines).data);
  return {
    ids: [],
    event: {
      kind: 'purchase',
      orderIds,
      ...own,
      email: textOf(invoice.customer_email),
      name: textOf(invoice.customer_name),
      locale: null,
      purchasedAt: typeof paidAt === 'number' ? pastTimeOf(paidAt, now) : at,
      ...amountOf(invoice.amount_paid, invoice.currency),
      products: productsOf([...own.products, ...lines.map(productOfLine)]),
    },
  };
}

/** From 2025-03-31 on neither an invoice nor a charge names the other: this alone says which payment was for which invoice. */
function ofInvoicePayment(paid: Fields): ShopMessage {
  const [invoice, payment] = [orderIdsOf([paid.invoice]), orderIdsOf([fieldsOf(paid.payment).payment_intent])];
  if (invoice === null || payment === null) return nothing('no-order', (invoice ?? payment)?.[0]);
  return { ids: [], event: { kind: 'names', orderIds: [...invoice, ...payment] } };
}

/** Versions of the API from 2025-03-31 on name a line's product under `pricing`, earlier ones under `price`. */
function productOfLine(line: Fields): string | null {
  return idOf(fieldsOf(fieldsOf(line.pricing).price_details).product) ?? idOf(fieldsOf(line.price).product);
}

function ofCharge(charge: Fields, at: Date): ShopMessage {
  const orderIds = orderIdsOf([charge.payment_intent, charge.invoice, charge.id]);
  if (orderIds === null) return nothing('no-order');
  // Part of the money is back, and they keep what they bought.
  if (charge.refunded !== true) return nothing('partial-refund', orderIds[0]);
  return { ids: [], event: { kind: 'refund', orderIds, refundedAt: at, amount: null } };
}

/**
 * The names of an order. Session, invoice and charge each know some of these, and the payment is what they all lead to.
 *
 * @returns null where there is none
 */
function orderIdsOf(values: readonly unknown[]): [string, ...string[]] | null {
  const [first, ...others] = values.flatMap((value) => idOf(value) ?? []).map((id) => `stripe:${id}`);
  return first === undefined ? null : [first, ...others];
}

/** The id of something that may have been expanded. */
function idOf(value: unknown): string | null {
  const id = textOf(value) ?? textOf(fieldsOf(value).id);
  return id !== null && /^\w{1,190}$/.test(id) ? id : null;
}

/** The box for marketing mail that `consent_collection` shows; null where it was not shown. */
function boxOf(session: Fields): boolean | null {
  const { promotions } = fieldsOf(session.consent);
  return promotions === 'opt_in' ? true : promotions === 'opt_out' ? false : null;
}

function textFields(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fieldsOf(value)).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** How many digits stand after the point, where that is not two (Stripe, "Supported currencies"; ISK and UGX are of two there). */
const DECIMALS: Readonly<Record<string, number>> = {
  ...Object.fromEntries(
    'BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'.split(' ').map((name) => [name, 0]),
  ),
  ...Object.fromEntries('BHD JOD KWD OMR TND'.split(' ').map((name) => [name, 3])),
};

/** An amount in minor units, as a decimal number: 1250 EUR is 12.50, 1250 JPY is 1250. */
function amountOf(minor: unknown, code: unknown): Pick<ShopPurchase, 'amount' | 'currency'> {
  const currency = currencyOf(code);
  if (currency === null || typeof minor !== 'number' || !Number.isSafeInteger(minor) || minor < 0) {
    return { amount: null, currency };
  }
  const decimals = DECIMALS[currency] ?? 2;
  const digits = String(minor).padStart(decimals + 1, '0');
  const amount =
    decimals === 0 ? digits : `${digits.slice(0, digits.length - decimals)}.${digits.slice(digits.length - decimals)}`;
  return { amount, currency };
}
