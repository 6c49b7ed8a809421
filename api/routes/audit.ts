import { type Static, Type } from 'typebox';
import { type AuditRecord, listAudit } from '../../db/audit';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readCursor } from '../pagination';
import { problemResponses } from '../problems';
import { Nullable, Time } from '../schemas';

const Entry = Type.Object({
  at: Time('When it was done.'),
  actor: Type.Object({
    kind: Type.Enum(['key', 'user', 'cli', 'system'], {
      description: 'A key, a signed-in person, a command on a machine of ours, or Recuerda itself.',
    }),
    id: Type.String({ description: 'Of the key or the person; the name of the machine’s user.' }),
  }),
  action: Type.String({ description: 'What was done, such as `key.revoked`.' }),
  target: Nullable(Type.String({ description: 'The id of what was changed.' })),
  detail: Type.Object({}, { additionalProperties: true, description: 'Ids, codes and reasons.' }),
});

/** An id of the table: a bigint. */
const Position = Type.Object({ id: Type.String({ pattern: '^[1-9][0-9]{0,17}$' }) });

/** Who changed keys, staff and people’s rights. */
export function auditRoutes(app: Api, { db }: ApiContext): void {
  app.get(
    '/audit',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'listAudit',
        tags: ['access'],
        summary: 'List who changed what',
        description: 'Keys, staff, passwords, and what was done to people’s rights; the newest first.',
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: { 200: { ...Page(Entry), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const rows = await listAudit(db, limit + 1, readCursor(cursor, Position)?.id ?? null);
      return pageOf(rows, limit, answerOf, ({ id }) => ({ id }));
    },
  );
}

function answerOf({ at, actor, action, target, detail }: AuditRecord): Static<typeof Entry> {
  return { at: at.toISOString(), actor, action, target, detail };
}
