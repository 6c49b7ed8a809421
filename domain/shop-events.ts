import type { SoftOptIn } from './consent';

/** What a shop, or whoever takes its payments, told us: as much of it as matters here. */
export type ShopEvent =
  | ShopPurchase
  | ShopRefund
  /** No more than what an order is called. */
  | { kind: 'names'; orderIds: [string, ...string[]] }
  /** Nothing follows from it; `why` is a code for the log. */
  | { kind: 'nothing'; why: string; orderId: string | null };

export interface ShopPurchase {
  kind: 'purchase';
  /** Names of one and the same order. It is kept under the first, or under one that it is known by already. */
  orderIds: [string, ...string[]];
  /** A lead's id that the shop has passed through its checkout. Anything may stand there: it counts if it is a lead's. */
  leadId: string | null;
  email: string | null;
  name: string | null;
  /** BCP 47. */
  locale: string | null;
  campaignId: string | null;
  purchasedAt: Date;
  /** A decimal number. */
  amount: string | null;
  /** ISO 4217. */
  currency: string | null;
  /** SKUs and product ids. */
  products: string[];
  softOptIn: SoftOptIn | null;
}

export interface ShopRefund {
  kind: 'refund';
  /** As in `ShopPurchase`. */
  orderIds: [string, ...string[]];
  refundedAt: Date;
  /** What was paid back, where the event does not say whether that is all: then it is compared with what was paid. */
  amount: string | null;
}

/**
 * Free fields that a shop may put on an order (Stripe: `metadata`, WooCommerce: `meta_data`, Shopify: `note_attributes`),
 * for what the shop systems themselves have no field for.
 */
export const ORDER_FIELDS = {
  leadId: 'recuerda_lead_id',
  campaignId: 'recuerda_campaign_id',
  /** Separated by commas. */
  products: 'recuerda_products',
  optOutOffered: 'recuerda_opt_out_offered',
  optedOut: 'recuerda_opted_out',
  noticeVersion: 'recuerda_notice_version',
  productGroup: 'recuerda_product_group',
} as const;

type OrderFields = Readonly<Record<string, string | undefined>>;

/**
 * The soft opt-in (LSSI art. 21.2) that an order records; null unless it names the notice that was shown and the products
 * that it is about, and says whether a way out was offered and taken. What is not recorded is not assumed.
 *
 * @param box what became of the shop system's own box for marketing mail, true: ticked; null where it shows none
 */
export function softOptInOf(fields: OrderFields, box: boolean | null): SoftOptIn | null {
  const noticeVersion = fields[ORDER_FIELDS.noticeVersion]?.trim() ?? '';
  const productGroup = fields[ORDER_FIELDS.productGroup]?.trim() ?? '';
  if (noticeVersion === '' || productGroup === '') return null;
  const optOutOffered = booleanOf(fields[ORDER_FIELDS.optOutOffered]) ?? (box === null ? null : true);
  const saidNo = booleanOf(fields[ORDER_FIELDS.optedOut]);
  // Where both say something, a no wins.
  const optedOut = saidNo === true || box === false ? true : (saidNo ?? (box === null ? null : false));
  if (optOutOffered === null || optedOut === null) return null;
  return {
    optOutOffered,
    optedOut,
    noticeVersion: storable(noticeVersion.slice(0, MOST_TEXT)),
    productGroup: storable(productGroup.slice(0, MOST_TEXT)),
  };
}

const MOST_TEXT = 100;

function booleanOf(text: string | undefined): boolean | null {
  const word = text?.trim().toLowerCase() ?? '';
  if (['true', 'yes', '1'].includes(word)) return true;
  return ['false', 'no', '0'].includes(word) ? false : null;
}

const MOST_PRODUCTS = 100;
const MOST_PRODUCT_CHARACTERS = 200;

/** SKUs and ids as texts, each once and without blanks. @param values what the lines of an order hold; numbers are ids */
export function productsOf(values: readonly unknown[]): string[] {
  const texts = values.flatMap((value) => {
    const text = typeof value === 'number' && value > 0 ? String(value) : typeof value === 'string' ? value.trim() : '';
    return text === '' || text.length > MOST_PRODUCT_CHARACTERS ? [] : [storable(text)];
  });
  return [...new Set(texts)].slice(0, MOST_PRODUCTS);
}

/** Without what Postgres refuses in a text: the character NUL, and halves of characters. */
export function storable(text: string): string {
  return text.replace(/\0|\p{Cs}/gu, '\uFFFD');
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The first of these that is a UUID, in lower case. */
export function uuidIn(...values: unknown[]): string | null {
  const found = values.find((value): value is string => typeof value === 'string' && UUID.test(value.trim()));
  return found?.trim().toLowerCase() ?? null;
}

/** What an order's free fields say beside who bought and what was paid. */
export function fromOrderFields(
  fields: OrderFields,
  box: boolean | null,
): Pick<ShopPurchase, 'leadId' | 'campaignId' | 'softOptIn'> & { products: string[] } {
  return {
    leadId: uuidIn(fields[ORDER_FIELDS.leadId]),
    campaignId: uuidIn(fields[ORDER_FIELDS.campaignId]),
    softOptIn: softOptInOf(fields, box),
    products: productsOf((fields[ORDER_FIELDS.products] ?? '').split(',')),
  };
}

/** A decimal amount as it is kept, and only if it is one. */
export function decimalOf(value: unknown): string | null {
  const text = typeof value === 'number' ? String(value) : typeof value === 'string' ? value.trim() : '';
  return /^\d{1,15}(\.\d{1,6})?$/.test(text) ? text : null;
}

/** ISO 4217 in capitals. */
export function currencyOf(value: unknown): string | null {
  const text = typeof value === 'string' ? value.trim().toUpperCase() : '';
  return /^[A-Z]{3}$/.test(text) ? text : null;
}

/** A language tag (BCP 47) in its canonical form, where it is one; shop systems also write `es_ES`. */
export function localeIn(value: unknown): string | null {
  try {
    return typeof value === 'string' ? (Intl.getCanonicalLocales(value.trim().replaceAll('_', '-'))[0] ?? null) : null;
  } catch {
    return null;
  }
}

/** Is this as much as was paid? Amounts in the same currency, as decimal numbers. */
export function isAll(refunded: string, paid: string): boolean {
  return Number(refunded) >= Number(paid) - 0.000_001;
}
