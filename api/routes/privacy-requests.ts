import { type Static, Type } from 'typebox';
import { erasureSettings } from '../../config';
import { recordAudit } from '../../db/audit';
import {
  answerPrivacyRequest,
  enterPrivacyRequest,
  eraseAsRequested,
  finishPrivacyRequest,
  listPrivacyRequests,
  type PrivacyRequestView,
  REFUSALS,
} from '../../db/privacy-requests';
import { REQUEST_KINDS } from '../../domain/inbound';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readCursor } from '../pagination';
import { problemResponses } from '../problems';
import { Id, idParams, Nullable, NullableTime, optionalPastTime, Time, timeZoneOf } from '../schemas';
import { Erased } from './leads';

const PrivacyRequest = Type.Object({
  requestId: Id('This request.'),
  kind: Type.Enum(REQUEST_KINDS, { description: 'What is asked (GDPR, articles 15, 16, 17 and 21).' }),
  source: Type.Enum(['mail', 'page', 'api'], {
    description: 'In a mail; by the person’s own page; entered by staff, where it came by telephone or letter.',
  }),
  inboundId: Nullable(Id('The message that asks; `GET /v1/inbox/{id}` shows it. Null where it did not come by mail.')),
  leadId: Nullable(Id('Who asks; null where the sender is not known.')),
  enrollmentId: Nullable(Id('The enrollment in whose thread it was asked.')),
  receivedAt: Time('When it was received.'),
  dueAt: Time('An answer is due by then: one month after it was received (GDPR, art. 12.3).'),
  doneAt: NullableTime('When it was dealt with.'),
  overdue: Type.Boolean({ description: 'It is open, and an answer was due before now.' }),
  answer: Nullable(
    Type.Enum(['done', 'refused', 'not-confirmed'], {
      description: 'What became of it; `not-confirmed`: whoever asked did not prove to be the person.',
    }),
  ),
  because: Nullable(Type.String({ description: 'Why it was refused, as a code.' })),
});

const EnterBody = Type.Object(
  {
    kind: Type.Enum(REQUEST_KINDS, { description: 'What is asked.' }),
    leadId: Type.Optional(Id('Who asks, where that is known.')),
    receivedAt: Type.Optional(Time('When it was received; now when it is left out.')),
    timeZone: Type.Optional(
      Type.String({
        maxLength: 60,
        default: 'UTC',
        description: 'An IANA zone: whose calendar counts the month.',
        examples: ['Europe/Madrid'],
      }),
    ),
  },
  { additionalProperties: false },
);

const RefuseBody = Type.Object(
  {
    because: Type.Enum(REFUSALS, {
      description:
        '`not-identified` (art. 11.2, 12.6), `unfounded`, `excessive` (12.5), `legal-obligation` (17.3.b), `legal-claims` ' +
        '(17.3.e), `no-data`: nothing is kept of the person. The person must be told why, within the month (12.4).',
    }),
  },
  { additionalProperties: false },
);

const Position = Type.Object({ dueAt: Type.String({ format: 'date-time' }), id: Type.String({ format: 'uuid' }) });

/** What people ask about their data: in their mails, by their own page, in other ways. */
export function privacyRequestRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.get(
    '/privacy-requests',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'listPrivacyRequests',
        tags: ['privacy'],
        summary: 'List requests about personal data',
        description: 'The most urgent first.',
        querystring: Type.Object(
          {
            ...PAGE_QUERY,
            done: Type.Optional(Type.Boolean({ description: 'Only those that are, or are not, dealt with.' })),
            overdue: Type.Optional(
              Type.Boolean({ description: '`true`: only those that are open though an answer was due.' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: { 200: { ...Page(PrivacyRequest), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor, done, overdue } = request.query;
      const now = clock();
      const position = readCursor(cursor, Position);
      const after = position === null ? null : { dueAt: new Date(position.dueAt), id: position.id };
      const filter = { done, overdueAt: overdue === true ? now : undefined };
      const rows = await listPrivacyRequests(db, filter, limit + 1, after);
      return pageOf(
        rows,
        limit,
        (row) => answerOf(row, now),
        ({ dueAt, requestId }) => ({ dueAt, id: requestId }),
      );
    },
  );

  app.post(
    '/privacy-requests',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'enterPrivacyRequest',
        tags: ['privacy'],
        summary: 'Enter a request about personal data',
        description:
          'One that came by telephone, by letter or in person, so that its due date is watched like all others.',
        body: EnterBody,
        response: {
          201: { ...PrivacyRequest, description: 'The request.' },
          ...problemResponses('not-found'),
        },
      },
    },
    async (request, reply) => {
      const now = clock();
      const { kind, leadId = null, receivedAt, timeZone = 'UTC' } = request.body;
      const entered = await enterPrivacyRequest(db, {
        kind,
        leadId,
        receivedAt: optionalPastTime(receivedAt, '/receivedAt', now) ?? now,
        timeZone: timeZone === 'UTC' ? timeZone : timeZoneOf(timeZone, '/timeZone'),
      });
      await audit(request.actor, 'privacy-request.entered', entered, now);
      return await reply.code(201).send(answerOf(entered, now));
    },
  );

  app.post(
    '/privacy-requests/:id/done',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'finishPrivacyRequest',
        tags: ['privacy'],
        summary: 'A request about personal data was dealt with',
        description: 'Notes it; doing it again keeps the first time. What was asked is not done by this.',
        params: idParams('The request.'),
        response: {
          200: { ...PrivacyRequest, description: 'The request.' },
          ...problemResponses('not-found', 'already-answered'),
        },
      },
    },
    async (request) => {
      const now = clock();
      const finished = await finishPrivacyRequest(db, request.params.id, now);
      await audit(request.actor, 'privacy-request.done', finished, now);
      return answerOf(finished, now);
    },
  );

  app.post(
    '/privacy-requests/:id/refuse',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'refusePrivacyRequest',
        tags: ['privacy'],
        summary: 'A request about personal data was refused',
        description: 'Notes it with its reason; nothing is sent by this. Doing it again keeps the first time.',
        params: idParams('The request.'),
        body: RefuseBody,
        response: {
          200: { ...PrivacyRequest, description: 'The request.' },
          ...problemResponses('not-found', 'already-answered'),
        },
      },
    },
    async (request) => {
      const now = clock();
      const { because } = request.body;
      const refused = await answerPrivacyRequest(db, request.params.id, 'refused', now, because);
      await audit(request.actor, 'privacy-request.refused', refused, now);
      return answerOf(refused, now);
    },
  );

  app.post(
    '/privacy-requests/:id/erase',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'eraseAsRequested',
        tags: ['privacy'],
        summary: 'Erase who asked for it',
        description:
          'Confirms that the wish to be erased came from the person, does what `DELETE /v1/leads/{id}` does, and marks the ' +
          'request as done. Doing it again changes nothing.',
        params: idParams('The request.'),
        response: {
          200: {
            ...Type.Object({ ...Erased.properties, request: PrivacyRequest }),
            description: 'They are erased.',
          },
          ...problemResponses('not-found', 'not-erasable', 'already-answered'),
        },
      },
    },
    async (request, reply) => {
      const now = clock();
      const { request: answered, ...erased } = await eraseAsRequested(db, request.params.id, {
        ...erasureSettings(config),
        actor: request.actor,
        now,
      });
      if (erased.stopped.length > 0) afterAnswer(reply, () => journeys.tell(erased.stopped));
      return { ...erased, request: answerOf(answered, now) };
    },
  );

  async function audit(
    actor: Parameters<typeof recordAudit>[1]['actor'],
    action: string,
    { requestId, kind, because }: PrivacyRequestView,
    now: Date,
  ): Promise<void> {
    await recordAudit(db, { actor, action, target: requestId, detail: { kind, because }, now });
  }
}

function answerOf(view: PrivacyRequestView, now: Date): Static<typeof PrivacyRequest> {
  return {
    ...view,
    receivedAt: view.receivedAt.toISOString(),
    dueAt: view.dueAt.toISOString(),
    doneAt: view.doneAt?.toISOString() ?? null,
    overdue: view.doneAt === null && view.dueAt < now,
  };
}
