import { type Static, Type } from 'typebox';
import { recordPurchase } from '../../db/purchases';
import { recordRefund } from '../../db/refunds';
import { type StopResult, stopEnrollments, type Who } from '../../db/stops';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { invalidField, invalidFields, problemResponses } from '../problems';
import { addressOf, hashesOf, Id, InFlight, localeOf, OutcomeSchema, optionalPastTime, Time } from '../schemas';

const PERSON = {
  email: Type.Optional(Type.String({ minLength: 1, maxLength: 400, description: 'Who; either this or `leadId`.' })),
  leadId: Type.Optional(Id('Who; either this or `email`.')),
};

const CampaignId = Type.Optional(Id('Only what this campaign has open.'));

const OrderId = (description: string) => Type.String({ minLength: 1, maxLength: 200, description });

const PurchaseBody = Type.Object(
  {
    ...PERSON,
    orderId: OrderId('The shop’s own; a purchase is kept once for each.'),
    campaignId: Type.Optional(Id('The campaign whose product was bought; what is open of other products goes on.')),
    products: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 100 }), {
        maxItems: 500,
        description:
          'The shop’s codes of what was bought, as campaigns name them in `product.codes`; what is open of other products goes on.',
      }),
    ),
    softOptIn: Type.Optional(
      Type.Object(
        {
          optOutOffered: Type.Boolean({ description: 'The notice offered a way out of advertising.' }),
          optedOut: Type.Boolean({ description: 'The buyer took it.' }),
          noticeVersion: Type.String({ minLength: 1, maxLength: 100, description: 'Which edition was shown.' }),
          productGroup: Type.String({
            minLength: 1,
            maxLength: 100,
            description: 'Of what was bought, as campaigns name it in `product.group`.',
          }),
        },
        {
          additionalProperties: false,
          description:
            'What the checkout’s notice said about mail on similar products (LSSI art. 21.2). Without it, and without a ' +
            'consent, buyers get no marketing.',
        },
      ),
    ),
    name: Type.Optional(
      Type.String({ maxLength: 200, description: 'With `email`: of a buyer who was never a lead, for their mails.' }),
    ),
    locale: Type.Optional(Type.String({ maxLength: 35, description: 'With `email`: their language (BCP 47).' })),
    purchasedAt: Type.Optional(Time('When; now when it is left out.')),
    amount: Type.Optional(
      Type.Unsafe<string | number>({
        type: ['string', 'number'],
        pattern: '^\\d{1,15}(\\.\\d{1,6})?$',
        minimum: 0,
        maximum: 1e15,
        description: 'As a decimal number; a text keeps every digit.',
        examples: ['129.90'],
      }),
    ),
    currency: Type.Optional(Type.String({ pattern: '^[A-Z]{3}$', description: 'ISO 4217.', examples: ['EUR'] })),
  },
  {
    additionalProperties: false,
    examples: [{ email: 'ana@example.com', orderId: 'A-1001', amount: '129.90', currency: 'EUR' }],
  },
);

const RefundBody = Type.Object(
  {
    orderId: OrderId('The shop’s own, as its purchase had it.'),
    refundedAt: Type.Optional(Time('When; now when it is left out.')),
  },
  { additionalProperties: false, examples: [{ orderId: 'A-1001' }] },
);

const ReplyBody = Type.Object(
  {
    ...PERSON,
    enrollmentId: Type.Optional(Id('The enrollment whose mail was answered, instead of a person.')),
    campaignId: CampaignId,
    receivedAt: Type.Optional(Time('When the reply came; now when it is left out.')),
    messageId: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 998,
        description: 'The Message-ID of our mail that was answered, for the timeline.',
      }),
    ),
  },
  { additionalProperties: false, examples: [{ email: 'ana@example.com' }] },
);

const UnsubscribeBody = Type.Object(
  {
    ...PERSON,
    scope: Type.Optional(
      Type.Enum(['all', 'campaign'], {
        default: 'all',
        description: '`all` marketing mail, for good; or the mail of one `campaign`, which `campaignId` then names.',
      }),
    ),
    campaignId: Type.Optional(
      Id('With the scope `campaign`: which. Otherwise: whose mail it was about, for the timeline.'),
    ),
    reason: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9-]{1,40}$',
        description: 'A code of your own, for the timeline.',
        examples: ['too-many'],
      }),
    ),
  },
  { additionalProperties: false, examples: [{ email: 'ana@example.com' }] },
);

const Stopped = Type.Object(
  {
    stopped: Type.Array(
      Type.Object({ enrollmentId: Id('Which.'), campaignId: Id('Of which campaign.'), outcome: OutcomeSchema }),
      { description: 'What has ended now; empty when nothing was open.' },
    ),
    inFlight: Type.Array(InFlight, {
      description: 'Messages that were already being handed over to the mail server; only these may still arrive.',
    }),
  },
  { description: 'It is kept. From this answer on nothing is handed over but what `inFlight` names.' },
);

const Purchased = Type.Object(
  {
    ...Stopped.properties,
    begun: Type.Array(Id('A buyer’s journey.'), {
      description: 'The enrollments in what comes after the purchase; see `afterPurchase` of a campaign.',
    }),
  },
  { description: 'It is kept. From this answer on nothing is handed over but what `inFlight` names.' },
);

/** What ends the mail to a person: they bought, they replied, they want no more. */
export function stopRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  const tellJourneys = ({ stopped }: StopResult) => {
    if (stopped.length > 0) journeys.tell(stopped.map(({ enrollmentId }) => enrollmentId));
  };

  app.post(
    '/purchases',
    {
      config: { scopes: ['checkout'] },
      schema: {
        operationId: 'recordPurchase',
        tags: ['stops'],
        summary: 'This person has bought',
        description:
          'Ends every open follow-up of the person as `purchased`; where `campaignId` or `products` say what was bought, ' +
          'those about the same product, those of which nobody can tell, and those that end on any purchase. Then what ' +
          'the campaign has for buyers begins. A purchase that is older than a request for information leaves that one ' +
          'open. Unknown people and repeated orders are not errors.',
        body: PurchaseBody,
        response: { 202: Purchased, ...problemResponses() },
      },
    },
    async (request, reply) => {
      const { orderId, campaignId, products, softOptIn, purchasedAt, amount, currency } = request.body;
      const now = clock();
      const result = await recordPurchase(db, {
        who: personOf(request.body),
        orderId,
        campaignId,
        products,
        softOptIn,
        buyer: buyerOf(request.body),
        purchasedAt: optionalPastTime(purchasedAt, '/purchasedAt', now),
        amount: amount?.toString(),
        currency,
        timeFactor: config.timeFactor,
        now,
      });
      afterAnswer(reply, () => {
        tellJourneys(result);
        if (result.begun.length > 0) journeys.start(result.begun);
      });
      return await reply.code(202).send(result);
    },
  );

  app.post(
    '/refunds',
    {
      config: { scopes: ['checkout'] },
      schema: {
        operationId: 'recordRefund',
        tags: ['stops'],
        summary: 'This order was refunded',
        description:
          'Ends what had begun after its purchase, as `cancelled`. The follow-up that the purchase had ended does not go ' +
          'on. An order that is not known yet is kept: its purchase begins nothing. Repeated refunds are not errors.',
        body: RefundBody,
        response: { 202: Stopped, ...problemResponses() },
      },
    },
    async (request, reply) => {
      const { orderId, refundedAt } = request.body;
      const now = clock();
      const result = await recordRefund(db, {
        orderId,
        refundedAt: optionalPastTime(refundedAt, '/refundedAt', now),
        now,
      });
      afterAnswer(reply, () => tellJourneys(result));
      return await reply.code(202).send(result);
    },
  );

  app.post(
    '/replies',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'recordReply',
        tags: ['stops'],
        summary: 'This person has replied',
        description:
          'Ends open enrollments as `replied`: one, those of a campaign, or all of the person. A reply that is older than ' +
          'a request for information leaves that one open. Unknown people and repeated replies are not errors.',
        body: ReplyBody,
        response: { 202: Stopped, ...problemResponses() },
      },
    },
    async (request, reply) => {
      const { enrollmentId, campaignId, receivedAt, messageId } = request.body;
      const now = clock();
      const result = await stopEnrollments(db, {
        who: repliedBy(request.body, enrollmentId),
        outcome: 'replied',
        campaignId,
        happenedAt: optionalPastTime(receivedAt, '/receivedAt', now),
        detail: { by: 'reply', messageId: messageId ?? null },
        now,
      });
      afterAnswer(reply, () => tellJourneys(result));
      return await reply.code(202).send(result);
    },
  );

  app.post(
    '/unsubscribes',
    {
      config: { scopes: ['marketing', 'privacy'] },
      schema: {
        operationId: 'unsubscribe',
        tags: ['stops'],
        summary: 'This person wants no more mail',
        description:
          'Ends open enrollments as `unsubscribed` and suppresses the address: for all marketing mail, or for one campaign. ' +
          'An address that nobody has enrolled yet is suppressed all the same. Repeated unsubscribes are not errors.',
        body: UnsubscribeBody,
        response: { 202: Stopped, ...problemResponses() },
      },
    },
    async (request, reply) => {
      const { scope = 'all', campaignId, reason } = request.body;
      const who = personOf(request.body);
      if (scope === 'campaign' && campaignId === undefined) {
        throw invalidField(
          '/campaignId',
          'is missing: with the scope `campaign` it says from which one to unsubscribe',
        );
      }
      const result = await stopEnrollments(db, {
        who,
        outcome: 'unsubscribed',
        ...(scope === 'campaign' ? { suppress: 'campaign', campaignId } : { suppress: 'objection' }),
        detail: { by: 'unsubscribe', via: 'api', about: campaignId ?? null, code: reason ?? null },
        now: clock(),
      });
      afterAnswer(reply, () => tellJourneys(result));
      return await reply.code(202).send(result);
    },
  );

  function personOf({ email, leadId }: Static<typeof PurchaseBody | typeof UnsubscribeBody>) {
    if (email !== undefined && leadId === undefined)
      return { hashes: hashesOf(addressOf(email, '/email').address, config) };
    if (leadId !== undefined && email === undefined) return { leadId };
    throw invalidFields([
      { pointer: '', in: 'body', detail: 'must say who: either `email` or `leadId`, and not both' },
    ]);
  }

  function buyerOf({ email, name, locale }: Static<typeof PurchaseBody>) {
    if (email === undefined) return undefined;
    const { address, name: written } = addressOf(email, '/email');
    return {
      email: address,
      name: name ?? written,
      locale: locale === undefined ? undefined : localeOf(locale, '/locale'),
    };
  }

  function repliedBy({ email, leadId }: Static<typeof ReplyBody>, enrollmentId: string | undefined): Who {
    const given = [email, leadId, enrollmentId].filter((value) => value !== undefined);
    if (given.length !== 1) {
      const detail = 'must say who: one of `email`, `leadId` and `enrollmentId`, and only one';
      throw invalidFields([{ pointer: '', in: 'body', detail }]);
    }
    if (enrollmentId !== undefined) return { enrollmentId };
    return leadId === undefined ? { hashes: hashesOf(addressOf(email ?? '', '/email').address, config) } : { leadId };
  }
}
