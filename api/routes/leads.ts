import { type Static, Type } from 'typebox';
import { erasureSettings } from '../../config';
import { recordAudit } from '../../db/audit';
import { eraseLead } from '../../db/erasure';
import { exportLead } from '../../db/lead-export';
import { findLead, findLeadByAddress } from '../../db/leads';
import { erasedAfter } from '../../db/retention';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { Page } from '../pagination';
import { problemResponses } from '../problems';
import { addressOf, hashesOf, Id, InFlight, idParams, Nullable, NullableTime, Time } from '../schemas';
import { timelineOf } from '../timeline';
import { Enrollment, enrollmentAnswer } from './enrollments';

const Consent = Type.Object({
  campaignId: Id('For which campaign.'),
  enrollmentId: Id('With which enrollment it came.'),
  purpose: Type.String(),
  text: Type.String({ description: 'The exact words that were agreed to.' }),
  capturedAt: Time('When they were agreed to.'),
  source: Type.String(),
  ip: Nullable(Type.String()),
  userAgent: Nullable(Type.String()),
  withdrawnAt: NullableTime('When it was withdrawn, if so.'),
});

const Entry = Type.Object({
  at: Time('When.'),
  enrollmentId: Nullable(Type.String({ format: 'uuid' })),
  campaignId: Nullable(Type.String({ format: 'uuid' })),
  kind: Type.String({
    description: 'What happened, for programs.',
    examples: ['enrolled', 'message-accepted', 'ended'],
  }),
  step: Nullable(Type.Integer()),
  detail: Type.Record(Type.String(), Type.Unknown(), { description: 'Codes and ids that belong to it.' }),
  text: Type.String({ description: 'What happened, for people.' }),
});

const Lead = Type.Object({
  leadId: Id('This person.'),
  email: Nullable(Type.String({ description: 'Null once the lead was erased.' })),
  name: Type.String(),
  locale: Nullable(Type.String()),
  timeZone: Nullable(Type.String()),
  attributes: Type.Record(Type.String(), Type.Unknown()),
  createdAt: Time('When they first asked.'),
  updatedAt: Time('When their data last changed.'),
  erasedAt: NullableTime('When they were erased: only what is counted is left then.'),
  erasedAfter: NullableTime('When they are to be erased, as things stand; null while a journey is open.'),
  suppression: Type.Object(
    {
      reason: Nullable(Type.Enum(['objection', 'complaint', 'undeliverable'])),
      since: NullableTime('Since when.'),
      campaigns: Type.Array(Type.String({ format: 'uuid' }), {
        description: 'Unsubscribed from these campaigns alone.',
      }),
    },
    { description: 'What keeps mail from the address; `reason` is null when mail may be sent.' },
  ),
  consents: Type.Array(Consent, { description: 'The evidence, oldest first.' }),
  enrollments: Type.Array(Enrollment, { description: 'Oldest first.' }),
  timeline: Type.Array(Entry, {
    description: 'Everything that happened and why, also why mail was not sent. Oldest first.',
  }),
  timelineComplete: Type.Boolean({ description: 'False when there is more than the last 1,000 events.' }),
});

export const Erased = Type.Object({
  erased: Type.Boolean({ description: 'False when it had been done before.' }),
  sealed: Type.Boolean({
    description:
      'The evidence of consents and withdrawals is kept for the defence of claims, sealed to a key that is on none of our machines.',
  }),
  stopped: Type.Array(Type.String({ format: 'uuid' }), { description: 'Enrollments that have ended by it.' }),
  inFlight: Type.Array(InFlight, {
    description: 'Messages that were already being handed over to the mail server; only these may still arrive.',
  }),
});

const Export = Type.Object(
  {
    format: Type.Literal('recuerda-lead'),
    version: Type.Literal(1),
    exportedAt: Time('When.'),
    person: Type.Object({ leadId: Id('The person.'), email: Type.String() }, { additionalProperties: true }),
    erasedAfter: NullableTime('When all of this is erased, as things stand; null while a journey is open.'),
  },
  {
    additionalProperties: true,
    description:
      'Person, consents, evidence, enrollments with the dates and subjects of their mails, other mails, received mail as far as it is kept, purchases, suppressions, requests, and the timeline.',
  },
);

/** What is known of a person, and their rights to it. */
export function leadRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.get(
    '/leads',
    {
      config: { scopes: ['marketing', 'operator', 'privacy'] },
      schema: {
        operationId: 'findLeads',
        tags: ['leads'],
        summary: 'Find a lead by address',
        description: 'The address must be the whole one; upper and lower case make no difference.',
        querystring: Type.Object(
          { email: Type.String({ minLength: 1, maxLength: 400, examples: ['ana@example.com'] }) },
          { additionalProperties: false },
        ),
        response: {
          200: {
            ...Page(Type.Object({ leadId: Id('The person.'), createdAt: Time('When they first asked.') })),
            description: 'One lead or none.',
          },
          ...problemResponses(),
        },
      },
    },
    async (request) => {
      const { address } = addressOf(request.query.email, { in: 'query', pointer: '/email' });
      const lead = await findLeadByAddress(db, hashesOf(address, config));
      const items = lead === null ? [] : [{ leadId: lead.leadId, createdAt: lead.createdAt.toISOString() }];
      return { items, nextCursor: null };
    },
  );

  app.get(
    '/leads/:id',
    {
      config: { scopes: ['marketing', 'operator', 'privacy'] },
      schema: {
        operationId: 'getLead',
        tags: ['leads'],
        summary: 'See everything about a lead',
        description:
          'Their data, consents and enrollments, and a timeline of everything that happened and why. Of a lead who was erased ' +
          '(`erasedAt`), the id and what became of the enrollments.',
        params: idParams('The lead.'),
        response: { 200: { ...Lead, description: 'The lead.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const lead = await findLead(db, request.params.id);
      const { leadId, email, name, locale, timeZone, attributes } = lead;
      return {
        leadId,
        email,
        name,
        locale,
        timeZone,
        attributes,
        createdAt: lead.createdAt.toISOString(),
        updatedAt: lead.updatedAt.toISOString(),
        erasedAt: lead.erasedAt?.toISOString() ?? null,
        erasedAfter: (await erasedAfter(db, leadId, config.timeFactor))?.toISOString() ?? null,
        suppression: {
          reason: lead.suppression,
          since: lead.suppressedSince?.toISOString() ?? null,
          campaigns: lead.suppressedCampaigns,
        },
        consents: lead.consents.map((consent) => ({
          ...consent,
          capturedAt: consent.capturedAt.toISOString(),
          withdrawnAt: consent.withdrawnAt?.toISOString() ?? null,
        })),
        enrollments: lead.enrollments.map(enrollmentAnswer),
        timeline: timelineOf(lead).map((entry) => ({ ...entry, at: entry.at.toISOString() })),
        timelineComplete: !lead.eventsCut,
      };
    },
  );

  app.delete(
    '/leads/:id',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'eraseLead',
        tags: ['privacy'],
        summary: 'Erase a lead',
        description:
          'Stops everything and removes the person everywhere (GDPR, art. 17); counts stay what they were. Where they had ' +
          'objected, the suppression stays under the keyed hash of their address. Doing it again changes nothing.',
        params: idParams('The lead.'),
        response: { 200: { ...Erased, description: 'They are erased.' }, ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      const { actor, params } = request;
      const erased = await eraseLead(db, {
        ...erasureSettings(config),
        leadId: params.id,
        by: 'staff',
        actor,
        now: clock(),
      });
      if (erased.stopped.length > 0) afterAnswer(reply, () => journeys.tell(erased.stopped));
      return erased;
    },
  );

  app.get(
    '/leads/:id/export',
    {
      config: { scopes: ['privacy'] },
      schema: {
        operationId: 'exportLead',
        tags: ['privacy'],
        summary: 'Export everything about a lead',
        description:
          'All that is kept of the person, as JSON, for the person (GDPR, art. 15 and 20). Nothing is found of one who was erased.',
        params: idParams('The lead.'),
        response: { 200: Export, ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      const now = clock();
      const found = await exportLead(db, request.params.id, config.timeFactor, now);
      await recordAudit(db, { actor: request.actor, action: 'lead.exported', target: request.params.id, now });
      reply.header('content-disposition', `attachment; filename="lead-${request.params.id}.json"`);
      return JSON.parse(JSON.stringify(found)) as Static<typeof Export>;
    },
  );
}
