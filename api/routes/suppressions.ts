import { type Static, Type } from 'typebox';
import { leadEmailOf, suppressionsOf, voidSuppression } from '../../db/suppressions';
import type { Api, ApiContext } from '../context';
import { invalidField, invalidFields, problemResponses } from '../problems';
import { addressOf, hashesOf, Id, Nullable, NullableTime, Time } from '../schemas';

const KIND = Type.Enum(['objection', 'complaint', 'undeliverable', 'campaign'], {
  description:
    '`objection` and `complaint` keep all marketing from the address, `campaign` that of one campaign, `undeliverable` all ' +
    'but the shop’s own mail.',
});

const WHOSE = {
  email: Type.Optional(
    Type.String({ minLength: 1, maxLength: 400, description: 'Whose; either this or `addressHash`.' }),
  ),
  addressHash: Type.Optional(
    Type.String({
      pattern: '^[0-9]{1,3}\\.[A-Za-z0-9_-]{43}$',
      description: 'Whose, where the address is not known any more.',
    }),
  ),
};

const Suppression = Type.Object({
  kind: KIND,
  campaignId: Nullable(Id('Of the kind `campaign`: which.')),
  since: Time('Since when.'),
  by: Type.String({ description: 'How it came about, as a code: `page`, `one-click`, `inbound`, `api`, `smtp` …' }),
  liftedAt: NullableTime('When it was lifted; null while it stands.'),
  liftedBy: Nullable(
    Type.Enum(['person', 'privacy', 'proof-of-life'], {
      description:
        'By the person, with a confirmed request of their own; by staff, since it was entered in error; or because the ' +
        'address was shown to work.',
    }),
  ),
  liftedBecause: Nullable(Type.String({ description: 'The reason that was given.' })),
});

const VoidBody = Type.Object(
  {
    ...WHOSE,
    kind: KIND,
    campaignId: Type.Optional(Id('Of the kind `campaign`: which; all where it is left out.')),
    reason: Type.String({
      minLength: 5,
      maxLength: 500,
      pattern: '^[^\\u0000-\\u001f\\u007f@]*$',
      description: 'Why it was an error. It is kept in the audit log for good, so it must hold no address and no name.',
      examples: ['typed into the wrong form, ticket 4711'],
    }),
  },
  { additionalProperties: false },
);

/** What stands against mail to an address, and taking back what was entered in error. */
export function suppressionRoutes(app: Api, { db, config, clock }: ApiContext): void {
  app.get(
    '/suppressions',
    {
      config: { scopes: ['privacy', 'operator'] },
      schema: {
        operationId: 'listSuppressions',
        tags: ['privacy'],
        summary: 'What stands, or stood, against mail to an address',
        description: 'The latest first, each with who lifted it. An address that nobody knows has none.',
        querystring: Type.Object(WHOSE, { additionalProperties: false }),
        response: {
          200: Type.Object({ items: Type.Array(Suppression) }, { description: 'All there ever were.' }),
          ...problemResponses(),
        },
      },
    },
    async (request) => ({ items: (await suppressionsOf(db, await whose(request.query, 'query'))).map(answerOf) }),
  );

  app.post(
    '/suppressions/void',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'voidSuppression',
        tags: ['privacy'],
        summary: 'Take back a suppression that was entered in error',
        description:
          'Only that: an objection or a complaint that was none. What a person has objected to, nobody but that person takes ' +
          'back, by asking anew and confirming it. It is written down who did it and why. What it had ended stays ' +
          'ended.',
        body: VoidBody,
        response: {
          200: Type.Object(
            { items: Type.Array(Suppression) },
            { description: 'All there ever were, as they are now.' },
          ),
          ...problemResponses('not-found'),
        },
      },
    },
    async (request) => {
      const { kind, campaignId, reason } = request.body;
      if (campaignId !== undefined && kind !== 'campaign') {
        throw invalidField('/campaignId', 'is for the kind `campaign` only');
      }
      const hashes = await whose(request.body, 'body');
      await voidSuppression(db, {
        hashes,
        kind,
        campaignId: campaignId ?? null,
        because: reason,
        actor: request.actor,
        now: clock(),
      });
      return { items: (await suppressionsOf(db, hashes)).map(answerOf) };
    },
  );

  async function whose(
    { email, addressHash }: { email?: string; addressHash?: string },
    place: 'query' | 'body',
  ): Promise<[string, ...string[]]> {
    if (email !== undefined && addressHash === undefined) {
      return hashesOf(addressOf(email, { in: place, pointer: '/email' }).address, config);
    }
    if (addressHash !== undefined && email === undefined) {
      const known = await leadEmailOf(db, addressHash);
      const hashes = known === null ? [] : hashesOf(known, config);
      return [addressHash, ...hashes.filter((hash) => hash !== addressHash)];
    }
    const detail = 'must say whose: either `email` or `addressHash`, and not both';
    throw invalidFields([{ pointer: '', in: place, detail }]);
  }
}

function answerOf(view: Awaited<ReturnType<typeof suppressionsOf>>[number]): Static<typeof Suppression> {
  return { ...view, since: view.since.toISOString(), liftedAt: view.liftedAt?.toISOString() ?? null };
}
