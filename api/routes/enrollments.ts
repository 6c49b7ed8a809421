import { isIP } from 'node:net';
import { type Static, Type } from 'typebox';
import { type EnrollRequest, enroll, type Refusal } from '../../db/enrollments';
import { type EnrollmentView, findEnrollment, listEnrollments } from '../../db/leads';
import { pauseEnrollment, resumeEnrollment } from '../../db/pauses';
import { REFERRAL_CODE } from '../../db/referrals';
import { type InFlight as InFlightMessage, stopEnrollments } from '../../db/stops';
import { type ConsentEvidence, PURPOSES } from '../../domain/consent';
import { PLAIN } from '../../domain/form';
import { JOURNEY_KINDS } from '../../domain/journeys';
import { Problem } from '../../domain/problem';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readCursor } from '../pagination';
import { invalidField, NOT_BLANK, problemResponses } from '../problems';
import {
  addressOf,
  hashesOf,
  Id,
  InFlight,
  idParams,
  localeOf,
  Nullable,
  NullableTime,
  OutcomeSchema,
  pastTime,
  Time,
  timeZoneOf,
} from '../schemas';

const EnrollmentBody = Type.Object(
  {
    lead: Type.Object(
      {
        email: Type.String({ minLength: 1, maxLength: 400, examples: ['ana@example.com'] }),
        name: Type.Optional(Type.String({ maxLength: 200, examples: ['Ana'] })),
        locale: Type.Optional(
          Type.String({ maxLength: 35, description: 'A language tag (BCP 47).', examples: ['es', 'en-GB'] }),
        ),
        timeZone: Type.Optional(
          Type.String({
            maxLength: 60,
            description: 'An IANA zone; otherwise the campaign’s.',
            examples: ['Europe/Madrid'],
          }),
        ),
        attributes: Type.Optional(
          Type.Record(
            Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,59}$' }),
            Type.Unsafe<string | number | boolean>({ type: ['string', 'number', 'boolean'], maxLength: 1000 }),
            {
              maxProperties: 50,
              additionalProperties: false,
              description: 'What templates see as `lead.attributes`: texts, numbers and truth values, by name.',
              examples: [{ city: 'Bilbao', size: 42 }],
            },
          ),
        ),
      },
      { additionalProperties: false },
    ),
    requestedAt: Type.Optional(Time('When the lead asked; now when it is left out.')),
    source: Type.Optional(
      Type.Object(
        {
          page: Type.Optional(Type.String({ maxLength: 2000, pattern: PLAIN, description: 'Where they asked.' })),
          referrer: Type.Optional(Type.String({ maxLength: 2000, pattern: PLAIN })),
          utm: Type.Optional(
            Type.Record(
              Type.String({ pattern: '^(source|medium|campaign|term|content)$' }),
              Type.String({ maxLength: 200, pattern: PLAIN }),
              { additionalProperties: false, examples: [{ source: 'instagram', campaign: 'spring' }] },
            ),
          ),
        },
        { additionalProperties: false, description: 'How they found you, for your statistics.' },
      ),
    ),
    referralCode: Type.Optional(
      Type.String({
        pattern: REFERRAL_CODE.source,
        description:
          'The `ref` with which they came: a buyer’s personal link. One that is their own counts for nothing.',
        examples: ['abcdefgh234567ab'],
      }),
    ),
    consent: Type.Optional(
      Type.Object(
        {
          purpose: Type.Enum(PURPOSES),
          text: Type.String({
            maxLength: 10_000,
            pattern: NOT_BLANK,
            description: 'The exact words that were agreed to.',
            examples: ['Sí, pueden escribirme sobre este producto.'],
          }),
          capturedAt: Time('When they were agreed to.'),
          source: Type.String({
            maxLength: 500,
            pattern: NOT_BLANK,
            description: 'Which form or conversation it came from.',
            examples: ['https://shop.example/boots#info'],
          }),
          ip: Type.Optional(
            Type.String({ maxLength: 45, description: 'IPv4 or IPv6 address.', examples: ['203.0.113.7'] }),
          ),
          userAgent: Type.Optional(Type.String({ maxLength: 1000, examples: ['Mozilla/5.0'] })),
        },
        {
          additionalProperties: false,
          description:
            'Evidence of a consent. Without one to follow-up the lead gets the information and nothing more.',
        },
      ),
    ),
  },
  { additionalProperties: false },
);

const Enrolled = Type.Object(
  {
    enrollmentId: Id('Where `GET /v1/enrollments/{id}` finds it.'),
    leadId: Id('Where `GET /v1/leads/{id}` finds the person.'),
    created: Type.Boolean({ description: 'False when an open enrollment of this person was there already.' }),
  },
  { description: 'It is kept, and the information is on its way.' },
);

const Message = Type.Object({
  step: Type.Integer({ description: '0 is the initial information, 1 to 7 are the nudges.' }),
  copy: Type.Integer({ description: 'Above 0: the initial information once more, because the lead asked again.' }),
  messageId: Type.String(),
  state: Type.Enum(['claimed', 'handing_over', 'accepted', 'rejected', 'deferred', 'unknown', 'withdrawn'], {
    description:
      '`unknown`: a crash left open whether the mail server took it; it is never sent again. `withdrawn`: taken back before it was handed over.',
  }),
  at: Time('Since when it has been in this state.'),
  code: Nullable(Type.String({ description: 'The mail server’s answer, as codes.' })),
  report: Nullable(
    Type.Enum(['delivered', 'delayed', 'bounced-soft', 'bounced-hard', 'complained'], {
      description: 'What was heard of it after the mail server had taken it.',
    }),
  ),
});

export const Enrollment = Type.Object({
  enrollmentId: Id('This enrollment.'),
  leadId: Id('The person.'),
  campaignId: Id('The campaign.'),
  version: Type.Integer({ description: 'The published version that it keeps to.' }),
  journey: Type.Enum(JOURNEY_KINDS, { description: 'Whether it follows a lead, or a buyer after the purchase.' }),
  orderId: Nullable(Type.String({ description: 'Of a buyer’s: the order that it follows.' })),
  state: Type.Enum(['active', 'paused', 'ended']),
  pausedBy: Nullable(Type.Enum(['campaign', 'enrollment'])),
  outcome: Nullable(OutcomeSchema),
  step: Type.Integer({ description: 'The step that comes next; one past the last while a late answer is waited for.' }),
  nextDueAt: NullableTime('When it falls due; null when it has ended.'),
  requestedAt: Time('When the lead asked; of a buyer’s: when they bought.'),
  enrolledAt: Time('When that reached us.'),
  endedAt: NullableTime('When it ended.'),
  inReview: Type.Boolean({
    description:
      'Nothing is sent while a person must decide what a message of theirs is: `GET /v1/inbox?needsReview=true`.',
  }),
  reopenedFrom: Nullable(Id('The enrollment that this one goes on from.')),
  messages: Type.Array(Message, { description: 'Oldest first.' }),
});

const Changed = Type.Object({
  enrollmentId: Id('This enrollment.'),
  state: Type.Enum(['active', 'paused', 'ended']),
  outcome: Nullable(OutcomeSchema),
  inFlight: Type.Array(InFlight),
});

/** Enrolling leads, and what can be asked of and done to one enrollment. */
export function enrollmentRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.post(
    '/campaigns/:id/enrollments',
    {
      config: { scopes: ['marketing', 'forms'] },
      schema: {
        operationId: 'enroll',
        tags: ['enrollments'],
        summary: 'Enroll a lead',
        description:
          'The information goes out at once, nudges follow when there is a consent for them. A person has at most one open ' +
          'enrollment in a campaign: who asks again gets the information again (once in 24 hours) and the next nudge moves a ' +
          'full interval away.',
        params: idParams('The campaign, published.'),
        body: EnrollmentBody,
        response: {
          202: Enrolled,
          ...problemResponses('not-found', 'not-published', 'campaign-cancelled', 'address-suppressed'),
        },
      },
    },
    async (request, reply) => {
      const now = clock();
      const [result] = await enroll(db, [enrollRequest(request.body, config, now)], {
        campaignId: request.params.id,
        now,
        priority: 2,
        via: 'api',
        asksInPerson: true,
        timeFactor: config.timeFactor,
      });
      if (result === undefined) throw new Error('one request has one result');
      if (result.kind === 'refused') throw refused(result.because);
      const { kind, enrollmentId, leadId } = result;
      const created = kind === 'created';
      afterAnswer(reply, () => (created ? journeys.start([enrollmentId]) : journeys.tell([enrollmentId])));
      return await reply.code(202).send({ enrollmentId, leadId, created });
    },
  );

  app.get(
    '/campaigns/:id/enrollments',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'listEnrollments',
        tags: ['enrollments'],
        summary: 'List the enrollments of a campaign',
        description: 'All of them, or those in one state or with one outcome.',
        params: idParams('The campaign.'),
        querystring: Type.Object(
          {
            ...PAGE_QUERY,
            state: Type.Optional(Type.Enum(['active', 'paused', 'ended'])),
            outcome: Type.Optional(OutcomeSchema),
            journey: Type.Optional(
              Type.Enum(JOURNEY_KINDS, { description: 'Only those of leads, or of buyers after the purchase.' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: { 200: { ...Page(Enrollment), description: 'A page of them.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor, state, outcome, journey } = request.query;
      const after = readCursor(cursor, Type.String({ format: 'uuid' }));
      const rows = await listEnrollments(db, request.params.id, { state, outcome, journey }, limit + 1, after);
      return pageOf(rows, limit, enrollmentAnswer, (row) => row.enrollmentId);
    },
  );

  app.get(
    '/enrollments/:id',
    {
      config: { scopes: ['marketing', 'operator', 'privacy'] },
      schema: {
        operationId: 'getEnrollment',
        tags: ['enrollments'],
        summary: 'See where an enrollment stands',
        description: 'Its state, what comes next and when, and every message with its fate.',
        params: idParams('The enrollment.'),
        response: { 200: { ...Enrollment, description: 'The enrollment.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => enrollmentAnswer(await findEnrollment(db, request.params.id)),
  );

  app.post(
    '/enrollments/:id/pause',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'pauseEnrollment',
        tags: ['enrollments'],
        summary: 'Pause an enrollment',
        description:
          'From this answer on nothing is handed over but what `inFlight` names. Pausing again changes nothing.',
        params: idParams('The enrollment.'),
        response: {
          202: { ...Changed, description: 'It is paused.' },
          ...problemResponses('not-found', 'already-ended'),
        },
      },
    },
    async (request, reply) => {
      const inFlight = await pauseEnrollment(db, request.params.id, clock());
      return await reply.code(202).send(await changed(request.params.id, inFlight));
    },
  );

  app.post(
    '/enrollments/:id/resume',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'resumeEnrollment',
        tags: ['enrollments'],
        summary: 'Let a paused enrollment go on',
        description:
          'What fell due meanwhile goes out in the next send window, once. While its campaign is paused, it stays paused.',
        params: idParams('The enrollment.'),
        response: {
          202: { ...Changed, description: 'It goes on.' },
          ...problemResponses('not-found', 'already-ended'),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      await resumeEnrollment(db, id, clock());
      afterAnswer(reply, () => journeys.tell([id]));
      return await reply.code(202).send(await changed(id, []));
    },
  );

  app.post(
    '/enrollments/:id/cancel',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'cancelEnrollment',
        tags: ['enrollments'],
        summary: 'End an enrollment',
        description:
          'It ends as `cancelled`; the person may be enrolled again. One that has ended already keeps its outcome.',
        params: idParams('The enrollment.'),
        response: { 202: { ...Changed, description: 'It has ended.' }, ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      await findEnrollment(db, id);
      const { inFlight } = await stopEnrollments(db, {
        who: { enrollmentId: id },
        outcome: 'cancelled',
        detail: { by: 'api' },
        now: clock(),
      });
      afterAnswer(reply, () => journeys.tell([id]));
      return await reply.code(202).send(await changed(id, inFlight));
    },
  );

  async function changed(id: string, inFlight: InFlightMessage[]): Promise<Static<typeof Changed>> {
    const { enrollmentId, state, outcome } = await findEnrollment(db, id);
    return { enrollmentId, state, outcome, inFlight };
  }
}

function enrollRequest(body: Static<typeof EnrollmentBody>, config: ApiContext['config'], now: Date): EnrollRequest {
  const { lead, requestedAt, consent, source, referralCode } = body;
  const { address, name } = addressOf(lead.email, '/lead/email');
  return {
    hashes: hashesOf(address, config),
    email: address,
    name: lead.name ?? name,
    locale: lead.locale === undefined ? undefined : localeOf(lead.locale, '/lead/locale'),
    timeZone: lead.timeZone === undefined ? undefined : timeZoneOf(lead.timeZone, '/lead/timeZone'),
    attributes: lead.attributes,
    requestedAt: requestedAt === undefined ? null : pastTime(requestedAt, '/requestedAt', now),
    consent: consent === undefined ? null : evidence(consent, now),
    source,
    referralCode,
  };
}

function evidence(consent: NonNullable<Static<typeof EnrollmentBody>['consent']>, now: Date): ConsentEvidence {
  // A zone index (fe80::1%eth0) means something on one machine only.
  if (consent.ip !== undefined && (isIP(consent.ip) === 0 || consent.ip.includes('%'))) {
    throw invalidField('/consent/ip', 'is not an IPv4 or IPv6 address');
  }
  return { ...consent, capturedAt: pastTime(consent.capturedAt, '/consent/capturedAt', now) };
}

const WHY_REFUSED: Record<Refusal['reason'], string> = {
  bought: 'This person has bought since they asked.',
  withdrawn: 'This person has taken back what they had agreed to, and has not asked since.',
  objection:
    'This person has unsubscribed from all marketing mail. Nothing may be sent, not even on a new request handed over here; only they can ask for mail again.',
  complaint:
    'This person reported our mail as spam. Nothing may be sent, not even on a new request handed over here; only they can ask for mail again.',
  campaign: 'This person has unsubscribed from this campaign. Other campaigns may still write to them.',
  undeliverable:
    'Mail to this address came back as undeliverable. Ask the person for another address, and enroll that one.',
};

function refused({ reason, since }: Refusal): Problem {
  return new Problem('address-suppressed', WHY_REFUSED[reason], { reason, since: since?.toISOString() ?? null });
}

/** An enrollment as the API tells it. */
export function enrollmentAnswer(view: EnrollmentView): Static<typeof Enrollment> {
  return {
    ...view,
    nextDueAt: view.nextDueAt?.toISOString() ?? null,
    requestedAt: view.requestedAt.toISOString(),
    enrolledAt: view.enrolledAt.toISOString(),
    endedAt: view.endedAt?.toISOString() ?? null,
    messages: view.messages.map((message) => ({ ...message, at: message.at.toISOString() })),
  };
}
