import { type Static, Type } from 'typebox';
import { finishPrivacyRequest, listPrivacyRequests, type PrivacyRequestView } from '../../db/privacy-requests';
import { REQUEST_KINDS } from '../../domain/inbound';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readCursor } from '../pagination';
import { problemResponses } from '../problems';
import { Id, idParams, Nullable, NullableTime, Time } from '../schemas';

const PrivacyRequest = Type.Object({
  requestId: Id('This request.'),
  kind: Type.Enum(REQUEST_KINDS, { description: 'What is asked (GDPR, articles 15, 16, 17 and 21).' }),
  inboundId: Id('The message that asks; `GET /v1/inbox/{id}` shows it.'),
  leadId: Nullable(Id('Who asks; null where the sender is not known.')),
  enrollmentId: Nullable(Id('The enrollment in whose thread it was asked.')),
  receivedAt: Time('When it was received.'),
  dueAt: Time('An answer is due by then: one month after it was received (GDPR, art. 12.3).'),
  doneAt: NullableTime('When it was dealt with.'),
});

const Position = Type.Object({ dueAt: Type.String({ format: 'date-time' }), id: Type.String({ format: 'uuid' }) });

/** What people ask about their data, in their mails. */
export function privacyRequestRoutes(app: Api, { db, clock }: ApiContext): void {
  app.get(
    '/privacy-requests',
    {
      schema: {
        operationId: 'listPrivacyRequests',
        tags: ['privacy'],
        summary: 'List requests about personal data',
        description: 'Found in received mail; the most urgent first.',
        querystring: Type.Object(
          {
            ...PAGE_QUERY,
            done: Type.Optional(Type.Boolean({ description: 'Only those that are, or are not, dealt with.' })),
          },
          { additionalProperties: false },
        ),
        response: { 200: { ...Page(PrivacyRequest), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor, done } = request.query;
      const position = readCursor(cursor, Position);
      const after = position === null ? null : { dueAt: new Date(position.dueAt), id: position.id };
      const rows = await listPrivacyRequests(db, done, limit + 1, after);
      return pageOf(rows, limit, answerOf, ({ dueAt, requestId }) => ({ dueAt, id: requestId }));
    },
  );

  app.post(
    '/privacy-requests/:id/done',
    {
      schema: {
        operationId: 'finishPrivacyRequest',
        tags: ['privacy'],
        summary: 'A request about personal data was dealt with',
        description: 'Notes it; doing it again keeps the first time. What was asked is not done by this.',
        params: idParams('The request.'),
        response: { 200: { ...PrivacyRequest, description: 'The request.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => answerOf(await finishPrivacyRequest(db, request.params.id, clock())),
  );
}

function answerOf(view: PrivacyRequestView): Static<typeof PrivacyRequest> {
  return {
    ...view,
    receivedAt: view.receivedAt.toISOString(),
    dueAt: view.dueAt.toISOString(),
    doneAt: view.doneAt?.toISOString() ?? null,
  };
}
