import { type Static, Type } from 'typebox';
import { type ApiKey, createApiKey, listApiKeys, revokeApiKey } from '../../db/api-keys';
import { ABOUT_SCOPES, SCOPES } from '../../domain/scopes';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readNewestFirst } from '../pagination';
import { NOT_BLANK, problemResponses } from '../problems';
import { Id, idParams, NullableTime, Time } from '../schemas';

export const ScopeList = (description: string) =>
  Type.Array(Type.Enum(SCOPES), {
    minItems: 1,
    maxItems: SCOPES.length,
    description: `${description} ${SCOPES.map((scope) => `\`${scope}\`: ${ABOUT_SCOPES[scope]}.`).join(' ')}`,
  });

const KeyFields = {
  keyId: Id('The key’s id, which is no secret.'),
  name: Type.String({ description: 'What it is for.' }),
  prefix: Type.String({ description: 'How it begins, to tell keys apart by.' }),
  scopes: ScopeList('What it may do.'),
  createdAt: Time('When it was made.'),
  lastUsedAt: NullableTime('When it was last used, to the minute.'),
  revokedAt: NullableTime('Since when it is refused.'),
};
const KeyAnswer = Type.Object(KeyFields);

/** API keys, beside those of the settings. */
export function keyRoutes(app: Api, { db, clock }: ApiContext): void {
  app.post(
    '/keys',
    {
      config: { scopes: ['operator'], idempotency: 'none' },
      schema: {
        operationId: 'createKey',
        tags: ['access'],
        summary: 'Make an API key',
        description:
          'The key is in this answer and nowhere else: only its hash is kept. It can have no scope that the caller has not. ' +
          'The answer is not kept for an Idempotency-Key; a key that got lost on the way is revoked and made anew.',
        body: Type.Object(
          {
            name: Type.String({
              minLength: 1,
              maxLength: 100,
              pattern: NOT_BLANK,
              description: 'What it is for, such as the checkout.',
            }),
            scopes: ScopeList('What it may do.'),
          },
          { additionalProperties: false, examples: [{ name: 'checkout', scopes: ['checkout'] }] },
        ),
        response: {
          201: {
            ...Type.Object({ ...KeyFields, key: Type.String({ description: 'The key. It is not shown again.' }) }),
            description: 'The key is made.',
          },
          ...problemResponses('forbidden'),
        },
      },
    },
    async (request, reply) => {
      const { name, scopes } = request.body;
      const { key, ...made } = await createApiKey(db, { name: name.trim(), scopes, by: request.actor, now: clock() });
      return await reply.code(201).send({ ...answerOf(made), key });
    },
  );

  app.get(
    '/keys',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'listKeys',
        tags: ['access'],
        summary: 'List API keys',
        description: 'The newest first, revoked ones too; those of RECUERDA_API_KEY are not among them.',
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: { 200: { ...Page(KeyAnswer), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const rows = await listApiKeys(db, limit + 1, readNewestFirst(cursor));
      return pageOf(rows, limit, answerOf, ({ createdAt, id }) => ({ createdAt, id }));
    },
  );

  app.delete(
    '/keys/:id',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'revokeKey',
        tags: ['access'],
        summary: 'Revoke an API key',
        description: 'It is refused from now on. Doing it again changes nothing.',
        params: idParams('The key.'),
        response: { 200: { ...KeyAnswer, description: 'The key as it is now.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => answerOf(await revokeApiKey(db, request.params.id, request.actor, clock())),
  );
}

function answerOf({ id, createdAt, lastUsedAt, revokedAt, ...key }: ApiKey): Static<typeof KeyAnswer> {
  return {
    keyId: id,
    ...key,
    createdAt: createdAt.toISOString(),
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
    revokedAt: revokedAt?.toISOString() ?? null,
  };
}
