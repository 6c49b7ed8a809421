import { type Static, Type } from 'typebox';
import { recordPurchase } from '../../db/purchases';
import { type StopResult, stopEnrollments, type Who } from '../../db/stops';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { invalidField, invalidFields, problemResponses } from '../problems';
import { addressOf, hashesOf, Id, InFlight, OutcomeSchema, optionalPastTime, Time } from '../schemas';

const PERSON = {
  email: Type.Optional(Type.String({ minLength: 1, maxLength: 400, description: 'Who; either this or `leadId`.' })),
  leadId: Type.Optional(Id('Who; either this or `email`.')),
};

const CampaignId = Type.Optional(Id('Only what this campaign has open.'));

const PurchaseBody = Type.Object(
  {
    ...PERSON,
    orderId: Type.String({
      minLength: 1,
      maxLength: 200,
      description: 'The shop’s own; a purchase is kept once for each.',
    }),
    campaignId: CampaignId,
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

/** What ends the mail to a person: they bought, they replied, they want no more. */
export function stopRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  const tellJourneys = ({ stopped }: StopResult) => {
    if (stopped.length > 0) journeys.tell(stopped.map(({ enrollmentId }) => enrollmentId));
  };

  app.post(
    '/purchases',
    {
      schema: {
        operationId: 'recordPurchase',
        tags: ['stops'],
        summary: 'This person has bought',
        description:
          'Ends every open enrollment of the person as `purchased`, or those of one campaign. A purchase that is older ' +
          'than a request for information leaves that one open. Unknown people and repeated orders are not errors.',
        body: PurchaseBody,
        response: { 202: Stopped, ...problemResponses() },
      },
    },
    async (request, reply) => {
      const { orderId, campaignId, purchasedAt, amount, currency } = request.body;
      const now = clock();
      const result = await recordPurchase(db, {
        who: personOf(request.body),
        orderId,
        campaignId,
        purchasedAt: optionalPastTime(purchasedAt, '/purchasedAt', now),
        amount: amount?.toString(),
        currency,
        now,
      });
      afterAnswer(reply, () => tellJourneys(result));
      return await reply.code(202).send(result);
    },
  );

  app.post(
    '/replies',
    {
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
