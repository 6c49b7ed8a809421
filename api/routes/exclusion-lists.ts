import { Type } from 'typebox';
import { recordAudit } from '../../db/audit';
import { deleteExclusionList, exclusionLists, replaceExclusionList } from '../../db/exclusions';
import type { Api, ApiContext } from '../context';
import { exclusionLines } from '../exclusion-lines';
import { problemResponses } from '../problems';
import { NullableTime, Time } from '../schemas';
import { validatorCompiler } from '../validation';

const SCOPES = ['privacy', 'operator'] as const;

const Name = Type.Object({
  name: Type.String({
    pattern: '^[a-z0-9][a-z0-9-]{0,59}$',
    description: 'What you call the list, such as `robinson`.',
  }),
});

const LIST = {
  name: Type.String(),
  entries: Type.Integer({ description: 'How many addresses are on it.' }),
  importedAt: Time('Since when it holds.'),
};

/** Lists of people who want no advertising from anybody. */
export function exclusionListRoutes(app: Api, { db, clock }: ApiContext): void {
  app.get(
    '/exclusion-lists',
    {
      config: { scopes: SCOPES },
      schema: {
        operationId: 'listExclusionLists',
        tags: ['privacy'],
        summary: 'List the exclusion lists',
        description:
          'People on one of them get no mail that rests on a purchase alone (soft opt-in). Who has given a consent of their own is written to all the same.',
        response: {
          200: Type.Object(
            {
              items: Type.Array(
                Type.Object({
                  ...LIST,
                  appliedAt: NullableTime(
                    'When our addresses were compared with it; null while that is being done, or where it broke off: send it again.',
                  ),
                }),
              ),
            },
            { description: 'All of them.' },
          ),
          ...problemResponses(),
        },
      },
    },
    async () => ({
      items: (await exclusionLists(db)).map((list) => ({
        ...list,
        importedAt: list.importedAt.toISOString(),
        appliedAt: list.appliedAt?.toISOString() ?? null,
      })),
    }),
  );

  // In a scope of its own, since only here a body is left unread for the route.
  app.register(async (plain) => {
    plain.removeAllContentTypeParsers();
    plain.addContentTypeParser('text/plain', (_request, _payload, done) => done(null, undefined));
    uploadRoute(plain as Api, { db, clock });
  });

  app.delete(
    '/exclusion-lists/:name',
    {
      config: { scopes: SCOPES },
      schema: {
        operationId: 'deleteExclusionList',
        tags: ['privacy'],
        summary: 'Remove an exclusion list',
        description: 'Who is on no other one is no longer excluded.',
        params: Name,
        response: { 204: Type.Null({ description: 'It is gone.' }), ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const now = clock();
      await deleteExclusionList(db, name, now);
      await recordAudit(db, { actor: request.actor, action: 'exclusion-list.deleted', target: name, now });
      return await reply.code(204).send(null);
    },
  );
}

function uploadRoute(app: Api, { db, clock }: Pick<ApiContext, 'db' | 'clock'>): void {
  app.put(
    '/exclusion-lists/:name',
    {
      config: { scopes: SCOPES },
      // Nothing has been read of the body when it would be validated.
      validatorCompiler: (part) => (part.httpPart === 'body' ? () => true : validatorCompiler(part)),
      schema: {
        operationId: 'putExclusionList',
        tags: ['privacy'],
        summary: 'Import an exclusion list',
        description:
          'Such as the Lista Robinson: one SHA-256 a line, 64 hexadecimal digits, of each address in lower case. It takes the place of the list of this name all at once, and holds from this answer on; until then the one before holds.',
        params: Name,
        body: { content: { 'text/plain': { schema: Type.String({ description: 'The list.' }) } } },
        response: {
          200: Type.Object(
            {
              ...LIST,
              excluded: Type.Integer({ description: 'How many of our leads are on any list now.' }),
            },
            { description: 'It holds.' },
          ),
          ...problemResponses('unsupported-media-type', 'payload-too-large'),
        },
      },
    },
    async (request) => {
      const { name } = request.params as { name: string };
      const now = clock();
      try {
        const { list, excluded } = await replaceExclusionList(db, name, exclusionLines(request), now);
        const { entries } = list;
        await recordAudit(db, {
          actor: request.actor,
          action: 'exclusion-list.imported',
          target: name,
          detail: { entries, excluded },
          now,
        });
        return { name, entries, importedAt: list.importedAt.toISOString(), excluded };
      } finally {
        // Lets what was not read flow past, so that the sender comes to read our answer.
        request.raw.resume();
      }
    },
  );
}
