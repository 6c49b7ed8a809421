import { type Static, Type } from 'typebox';
import { decideInbound } from '../../db/decisions';
import type { Acted } from '../../db/inbound-actions';
import { findInboxItem, type InboxItem, listInbox, rawOf } from '../../db/inbox';
import { INBOUND_KINDS, REQUEST_KINDS } from '../../domain/inbound';
import { composeForward } from '../../mail/compose/forward';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readNewestFirst } from '../pagination';
import { problemResponses } from '../problems';
import { Id, idParams, Nullable, NullableTime, pastTime, Time } from '../schemas';

const Kind = Type.Enum(INBOUND_KINDS, {
  description: 'What it is; docs/deliverability.md tells what follows from each.',
});

const Bounce = Type.Object({
  severity: Type.Enum(['hard', 'soft']),
  cause: Type.Enum(['address', 'mailbox', 'network', 'policy', 'content']),
  code: Nullable(Type.String({ description: 'Enhanced status code (RFC 3463).', examples: ['5.1.1'] })),
});

const InboxEntry = Type.Object({
  inboundId: Id('This message.'),
  source: Type.String({ description: '`imap:<mailbox>`, `pipe` or `webhook:<provider>`.' }),
  receivedAt: Time('When it came.'),
  state: Type.Enum(['new', 'done', 'failed'], { description: '`new`: it waits to be looked at.' }),
  failure: Nullable(Type.String({ description: 'Why it could not be dealt with, as a code.' })),
  from: Nullable(Type.String({ description: 'Who wrote it, by its header: anyone may have written that.' })),
  fromName: Nullable(Type.String()),
  subject: Nullable(Type.String()),
  excerpt: Nullable(Type.String({ description: 'How what was newly written begins; not what is quoted.' })),
  event: Nullable(
    Type.Object(
      { provider: Type.String(), kind: Type.String() },
      { description: 'What a provider’s webhook told, in place of a message.' },
    ),
  ),
  kind: Nullable(Kind),
  classifiedAs: Nullable(Type.Enum(INBOUND_KINDS, { description: 'What the rules said, where a person has decided.' })),
  subtype: Nullable(Type.String({ examples: ['vacation'] })),
  bounce: Nullable(Bounce),
  returnDate: Nullable(Type.String({ description: 'First day back, `YYYY-MM-DD`.' })),
  requests: Type.Array(Type.Enum(REQUEST_KINDS), { description: 'What is asked about personal data.' }),
  confidence: Nullable(Type.Number({ description: '0 to 1.' })),
  evidence: Type.Array(Type.String(), { description: 'Which rules decided.' }),
  enrollmentId: Nullable(Id('The enrollment that it is about.')),
  campaignId: Nullable(Id('Its campaign.')),
  leadId: Nullable(Id('Its lead.')),
  transactionalId: Nullable(Id('The transactional mail that it is about.')),
  step: Nullable(Type.Integer({ description: 'The step of the mail that it is about.' })),
  matchedBy: Nullable(
    Type.Enum(['verp', 'reply-to', 'references', 'embedded', 'envid', 'address'], {
      description: 'How that was found, strongest first.',
    }),
  ),
  proven: Type.Boolean({ description: 'By a token that we signed, or a provider’s signature.' }),
  needsReview: Type.Boolean({ description: 'A person should look at it.' }),
  reviewUntil: NullableTime('Mail to them waits for the decision until then; afterwards it counts as a reply.'),
  decidedAt: NullableTime('When a person has decided.'),
  actions: Type.Array(Type.Object({ do: Type.String() }, { additionalProperties: true }), {
    description: 'What followed from it, as codes and ids.',
  }),
  duplicateOf: Nullable(Id('The same message came before, as this one; nothing followed from the repetition.')),
  rawKept: Type.Boolean({
    description:
      'Whether `GET /v1/inbox/{id}/raw` still has it; for 90 days, unless RECUERDA_RETENTION_RAW_MAIL says otherwise.',
  }),
});

const DecisionBody = Type.Object(
  {
    kind: Kind,
    enrollmentId: Type.Optional(Id('Whose it is, where that was not found or is wrong.')),
  },
  { additionalProperties: false, examples: [{ kind: 'reply' }] },
);

const Flag = (description: string) => Type.Optional(Type.Boolean({ description }));

/** What was received, and what people say that it is. */
export function inboxRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.get(
    '/inbox',
    {
      config: { scopes: ['marketing', 'operator', 'privacy'] },
      schema: {
        operationId: 'listInbox',
        tags: ['inbox'],
        summary: 'List what was received',
        description: 'Everything, newest first: also what could not be matched, and what nothing followed from.',
        querystring: Type.Object(
          {
            ...PAGE_QUERY,
            kind: Type.Optional(Kind),
            needsReview: Flag('Only what waits, or does not wait, for a person to look at it.'),
            enrollmentId: Type.Optional(Id('Only what is about this enrollment.')),
            campaignId: Type.Optional(Id('Only what is about this campaign.')),
            unmatched: Flag('Only what belongs to nobody that is known; or only the rest.'),
            since: Type.Optional(Time('Only what was received at this time or later.')),
          },
          { additionalProperties: false },
        ),
        response: { 200: { ...Page(InboxEntry), description: 'A page of it.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor, since, ...filter } = request.query;
      const after = readNewestFirst(cursor);
      const from = since === undefined ? undefined : pastTime(since, '/since', clock());
      const rows = await listInbox(db, { ...filter, since: from }, limit + 1, after);
      return pageOf(rows, limit, entryOf, ({ receivedAt, inboundId }) => ({ createdAt: receivedAt, id: inboundId }));
    },
  );

  app.get(
    '/inbox/:id',
    {
      config: { scopes: ['marketing', 'operator', 'privacy'] },
      schema: {
        operationId: 'getInboxMessage',
        tags: ['inbox'],
        summary: 'See one received message',
        description: 'What it was found to be, by which rules, whose it is, and what followed from it.',
        params: idParams('The message.'),
        response: { 200: { ...InboxEntry, description: 'The message.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => entryOf(await findInboxItem(db, request.params.id)),
  );

  app.get(
    '/inbox/:id/raw',
    {
      config: { scopes: ['marketing', 'operator', 'privacy'] },
      schema: {
        operationId: 'getRawInboxMessage',
        tags: ['inbox'],
        summary: 'Download a received message',
        description:
          'As it came (RFC 5322), for as long as it is kept. Written by a stranger: open it with a mail program that loads nothing.',
        params: idParams('The message.'),
        response: {
          200: {
            description: 'The message.',
            content: { 'message/rfc822': { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }) } },
          },
          ...problemResponses('not-found'),
        },
      },
    },
    async (request, reply) => {
      const raw = await rawOf(db, request.params.id);
      return await reply
        .headers({
          'content-disposition': `attachment; filename="${request.params.id}.eml"`,
          'content-security-policy': "default-src 'none'; sandbox",
          'cache-control': 'no-store',
        })
        .type('message/rfc822')
        .send(raw);
    },
  );

  app.post(
    '/inbox/:id/decision',
    {
      config: { scopes: ['marketing', 'privacy'] },
      schema: {
        operationId: 'decideInboxMessage',
        tags: ['inbox'],
        summary: 'Say what a received message is',
        description:
          'A person’s word goes before the rules, and is acted upon at once: a reply ends the journey and goes to the ' +
          'salespeople; what is no reply lets it go on. An enrollment that this very message has ended as `replied`, and ' +
          'nothing else since, goes on as a new one. A suppression is never lifted: only the person may do that. Deciding ' +
          'the same again changes nothing. `actions` tells what followed.',
        params: idParams('The message.'),
        body: DecisionBody,
        response: {
          202: { ...InboxEntry, description: 'It is decided.' },
          ...problemResponses('not-found', 'not-processed'),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const acted = await decideInbound(
        db,
        { ...config, composeForward },
        id,
        { ...request.body, by: 'person' },
        clock(),
      );
      afterAnswer(reply, () => tellOf(acted, journeys));
      return await reply.code(202).send(entryOf(await findInboxItem(db, id)));
    },
  );
}

/** Tells the engine what has followed. */
export function tellOf({ tell, start, mails }: Acted, journeys: ApiContext['journeys']): void {
  if (tell.length > 0) journeys.tell(tell);
  if (start.length > 0) journeys.start(start);
  if (mails.length > 0) journeys.startTransactional(mails);
}

function entryOf({ classification, actions, ...item }: InboxItem): Static<typeof InboxEntry> {
  const { bounce = null, returnDate = null, requests = [], confidence = null, evidence = [] } = classification ?? {};
  return {
    ...item,
    receivedAt: item.receivedAt.toISOString(),
    reviewUntil: item.reviewUntil?.toISOString() ?? null,
    decidedAt: item.decidedAt?.toISOString() ?? null,
    bounce: bounce === null ? null : { severity: bounce.severity, cause: bounce.cause, code: bounce.code },
    returnDate,
    requests,
    confidence,
    evidence,
    actions: actions.map((action) => ({ ...action, do: String(action.do) })),
  };
}
