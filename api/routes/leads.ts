import { Type } from 'typebox';
import { findLead, findLeadByAddress } from '../../db/leads';
import type { Api, ApiContext } from '../context';
import { Page } from '../pagination';
import { problemResponses } from '../problems';
import { addressOf, hashesOf, Id, idParams, Nullable, NullableTime, Time } from '../schemas';
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
  email: Type.String(),
  name: Type.String(),
  locale: Nullable(Type.String()),
  timeZone: Nullable(Type.String()),
  attributes: Type.Record(Type.String(), Type.Unknown()),
  createdAt: Time('When they first asked.'),
  updatedAt: Time('When their data last changed.'),
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

/** What is known of a person. */
export function leadRoutes(app: Api, { db, config }: ApiContext): void {
  app.get(
    '/leads',
    {
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
      schema: {
        operationId: 'getLead',
        tags: ['leads'],
        summary: 'See everything about a lead',
        description: 'Their data, consents and enrollments, and a timeline of everything that happened and why.',
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
}
