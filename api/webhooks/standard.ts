import { type Static, type TProperties, type TSchema, Type } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import { decimalOf, localeIn, productsOf, storable } from '../../domain/shop-events';
import { invalidField, NOT_BLANK } from '../problems';
import { fieldsOf, textOf } from './payload';
import { nothing, pastTimeOf, type ShopMessage } from './shop-message';

const SoftOptIn = Type.Object(
  {
    optOutOffered: Type.Boolean(),
    optedOut: Type.Boolean(),
    noticeVersion: Type.String({ pattern: NOT_BLANK, maxLength: 100 }),
    productGroup: Type.String({ pattern: NOT_BLANK, maxLength: 100 }),
  },
  { additionalProperties: false },
);

const OrderId = Type.String({ pattern: NOT_BLANK, maxLength: 200 });
const Time = Type.String({ format: 'date-time' });
const UUID = '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$';

const Paid = Type.Object(
  {
    orderId: OrderId,
    email: Type.Optional(Type.String({ minLength: 1, maxLength: 400 })),
    name: Type.Optional(Type.String({ maxLength: 200 })),
    locale: Type.Optional(Type.String({ maxLength: 35 })),
    leadId: Type.Optional(Type.String({ pattern: UUID })),
    campaignId: Type.Optional(Type.String({ pattern: UUID })),
    purchasedAt: Type.Optional(Time),
    amount: Type.Optional(
      Type.Union([Type.String({ pattern: '^\\d{1,15}(\\.\\d{1,6})?$' }), Type.Number({ minimum: 0 })]),
    ),
    currency: Type.Optional(Type.String({ pattern: '^[A-Z]{3}$' })),
    products: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 200 }), { maxItems: 100 })),
    softOptIn: Type.Optional(SoftOptIn),
  },
  // A shop may tell more than is of use here.
  { additionalProperties: true },
);

const Refunded = Type.Object({ orderId: OrderId, refundedAt: Type.Optional(Time) }, { additionalProperties: true });

const checkPaid = Compile(Paid);
const checkRefunded = Compile(Refunded);

/**
 * An order in our own form (docs of `POST /v1/purchases` and `/v1/refunds`), in the envelope of Standard Webhooks:
 * `{"type": "order.paid", "timestamp": "…", "data": {…}}`.
 *
 * @param id the header `webhook-id`, which is signed and the same for every repetition
 * @throws Problem `invalid-request` that names what is wrong
 */
export function standardMessage(id: string, payload: unknown, now: Date): ShopMessage {
  const { type, timestamp, data } = fieldsOf(payload);
  if (type === 'order.paid' || type === 'purchase.created') {
    const paid = checked(checkPaid, data);
    return {
      ids: [id],
      event: {
        kind: 'purchase',
        orderIds: [storable(paid.orderId)],
        leadId: paid.leadId?.toLowerCase() ?? null,
        email: textOf(paid.email),
        name: textOf(paid.name),
        locale: localeIn(paid.locale),
        campaignId: paid.campaignId?.toLowerCase() ?? null,
        purchasedAt: pastTimeOf(paid.purchasedAt ?? timestamp, now),
        amount: decimalOf(paid.amount),
        currency: paid.currency ?? null,
        products: productsOf(paid.products ?? []),
        softOptIn:
          paid.softOptIn === undefined
            ? null
            : {
                ...paid.softOptIn,
                noticeVersion: storable(paid.softOptIn.noticeVersion),
                productGroup: storable(paid.softOptIn.productGroup),
              },
      },
    };
  }
  if (type === 'order.refunded') {
    const refunded = checked(checkRefunded, data);
    const refundedAt = pastTimeOf(refunded.refundedAt ?? timestamp, now);
    return { ids: [id], event: { kind: 'refund', orderIds: [storable(refunded.orderId)], refundedAt, amount: null } };
  }
  return nothing('type');
}

function checked<T extends TSchema>(check: Validator<TProperties, T>, data: unknown): Static<T> {
  if (!check.Check(data)) {
    const [first] = check.Errors(data);
    throw invalidField(`/data${first?.instancePath ?? ''}`, first?.message ?? 'is not of the documented form');
  }
  return data as Static<T>;
}
