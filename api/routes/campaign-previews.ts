import { Type } from 'typebox';
import { WEEKDAYS } from '../../domain/campaign';
import { JOURNEY_KINDS } from '../../domain/journeys';
import { Problem } from '../../domain/problem';
import { type PlannedMoment, type Rehearsal, rehearseJourney } from '../../domain/rehearsal';
import { buyerStepContent, stepContent, wholeContent } from '../campaign-content';
import type { Api, ApiContext } from '../context';
import { invalidField, problemResponses } from '../problems';
import {
  askedBefore,
  boughtBefore,
  composeSample,
  EXAMPLE_ENROLLMENT_ID,
  SAMPLE_FIELDS,
  StepField,
  sampleOf,
  VersionField,
} from '../sample';
import { Id, idParams, Nullable, Time } from '../schemas';

const PublishProblems = Type.Array(
  Type.Object({
    pointer: Type.String({ description: 'JSON pointer (RFC 6901) into the draft.' }),
    line: Type.Optional(Type.Integer()),
    column: Type.Optional(Type.Integer()),
    detail: Type.String(),
  }),
);

const Preview = Type.Object({
  subject: Type.String(),
  html: Type.String(),
  text: Type.String({ description: 'The plain-text part.' }),
  headers: Type.Record(Type.String(), Type.String(), { description: 'Decoded, as a person reads them.' }),
  from: Type.String(),
  to: Type.String(),
  problems: Type.Optional({
    ...PublishProblems,
    description: 'What still keeps the draft from being published, elsewhere than in this step.',
  }),
});

const MOMENT = {
  localTime: Type.String({ description: 'The same on the lead’s clock, with its offset (ISO 8601).' }),
  weekday: Type.Enum(WEEKDAYS),
};
const Moment = Type.Object({ at: Time('When, in UTC.'), ...MOMENT });

const Timeline = Type.Object({
  campaignId: Id('The campaign.'),
  version: Nullable(Type.Integer({ description: 'Null: the draft.' })),
  timeZone: Type.String({ description: 'The lead’s zone, which every local time is of.' }),
  requestedAt: Time('When the lead asked.'),
  steps: Type.Array(
    Type.Object({
      step: Type.Integer({ description: '0 is the initial information, 1 to 7 are the nudges.' }),
      dueAt: Time('When it falls due, in UTC.'),
      ...MOMENT,
      timeZone: Type.String(),
      subject: Type.String({ description: 'Filled for this lead.' }),
      intervalDays: Nullable(Type.Integer({ description: 'Days of the lead’s calendar since the mail before.' })),
    }),
  ),
  exhausted: { ...Moment, description: 'When a lead who never answered is given up.' },
  erased: { ...Moment, description: 'When that lead is erased.' },
});

/** Looking at what leads will get, and when, before they do. Sends nothing and keeps nothing. */
export function campaignPreviewRoutes(app: Api, { db, config, clock }: ApiContext): void {
  app.post(
    '/campaigns/:id/preview',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'previewStep',
        tags: ['campaigns'],
        summary: 'See a mail as a lead would get it',
        description:
          'Composed as a send composes it. Only the unsubscribe link is a stand-in that leads nowhere, so that nobody is ' +
          'unsubscribed by trying it. Of a draft, the step itself must be sound; what is wrong elsewhere is in `problems`.',
        params: idParams('The campaign.'),
        body: Type.Object(
          {
            step: StepField,
            journey: Type.Optional(
              Type.Enum(JOURNEY_KINDS, {
                default: 'lead',
                description: 'Of the mails to leads, or to buyers after the purchase, of which step 0 is the thanks.',
              }),
            ),
            version: VersionField,
            ...SAMPLE_FIELDS,
          },
          { additionalProperties: false, examples: [{ step: 1, lead: { name: 'Ana García' } }] },
        ),
        response: {
          200: { ...Preview, description: 'The mail.' },
          ...problemResponses('not-found', 'not-publishable'),
        },
      },
    },
    async (request) => {
      const { id } = request.params;
      const { step, journey = 'lead', version = 'draft' } = request.body;
      const now = clock();
      const contentOf = journey === 'lead' ? stepContent : buyerStepContent;
      const { problems, ...content } = await contentOf(db, id, version, step, now);
      const sample = await sampleOf(db, id, content.definition, request.body);
      const { timeZone } = sample.lead;
      const requestedAt =
        journey === 'lead'
          ? (sample.requestedAt ?? askedBefore(step, content.definition.cadence, timeZone, now))
          : boughtBefore(content.definition, step, timeZone, now);
      const message = await composeSample(
        content,
        { ...sample, requestedAt },
        { campaignId: id, step, journey, enrollmentId: EXAMPLE_ENROLLMENT_ID, date: now },
        config,
      );
      const { subject, html, text, headers } = message;
      const mail = { subject, html, text, headers, from: headers.From ?? '', to: headers.To ?? '' };
      return problems.length === 0 ? mail : { ...mail, problems };
    },
  );

  app.post(
    '/campaigns/:id/rehearsal',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'rehearseCampaign',
        tags: ['campaigns'],
        summary: 'See the whole journey of a lead beforehand',
        description:
          'Every mail with its exact time and subject, for a lead who agrees to nudges and never answers, planned by the ' +
          'planner of the journeys themselves. The same request gives the same plan; another lead’s waits are drawn ' +
          'otherwise within the cadence, as another `enrollmentId` shows.',
        params: idParams('The campaign.'),
        body: Type.Object(
          {
            version: VersionField,
            ...SAMPLE_FIELDS,
            startAt: Type.Optional(Time('When the information goes out; now when it is left out.')),
            requestedAt: Type.Optional(Time('When the lead asked; at `startAt` when it is left out.')),
            enrollmentId: Type.Optional(Id('Draw the waits as for this enrollment.')),
          },
          {
            additionalProperties: false,
            examples: [{ startAt: '2026-01-31T10:00:00Z', lead: { timeZone: 'Europe/Madrid' } }],
          },
        ),
        response: {
          200: { ...Timeline, description: 'The journey.' },
          ...problemResponses('not-found', 'not-publishable'),
        },
      },
    },
    async (request) => {
      const { id } = request.params;
      const { version = 'draft', enrollmentId = EXAMPLE_ENROLLMENT_ID } = request.body;
      const now = clock();
      const startAt = timeOf(request.body.startAt, '/startAt') ?? now;
      const content = await wholeContent(db, id, version, now);
      const { definition, steps } = content;
      const sample = await sampleOf(db, id, definition, request.body);
      const { timeZone } = sample.lead;
      const requestedAt = timeOf(request.body.requestedAt, '/requestedAt') ?? sample.requestedAt ?? startAt;
      const { cadence, sendWindow, erasure } = definition;
      const plan = planned(() =>
        rehearseJourney({
          enrollmentId,
          startAt,
          stepCount: steps.length,
          cadence,
          sendWindow,
          erasure,
          timeZone,
        }),
      );
      const timeline = await Promise.all(
        plan.steps.map(async ({ step, at, intervalDays, ...moment }) => {
          const compiled = steps[step];
          if (compiled === undefined) throw new Error('every planned step has content');
          const { subject } = await composeSample(
            { definition, compiled, stepCount: steps.length },
            { ...sample, requestedAt },
            { campaignId: id, step, enrollmentId, date: at },
            config,
          );
          return { step, dueAt: at.toISOString(), ...moment, timeZone, subject, intervalDays };
        }),
      );
      return {
        campaignId: id,
        version: version === 'draft' ? null : version,
        timeZone,
        requestedAt: requestedAt.toISOString(),
        steps: timeline,
        exhausted: momentAnswer(plan.exhausted),
        erased: momentAnswer(plan.erased),
      };
    },
  );
}

function momentAnswer({ at, ...moment }: PlannedMoment) {
  return { at: at.toISOString(), ...moment };
}

/** @throws Problem `invalid-request` */
function timeOf(text: string | undefined, pointer: string): Date | undefined {
  if (text === undefined) return undefined;
  const at = new Date(text);
  // Beyond these there is no calendar to plan in.
  const year = at.getUTCFullYear();
  if (!(year >= 1970 && year <= 9000)) throw invalidField(pointer, 'is not a date and time that exists, from 1970 on');
  return at;
}

function planned(plan: () => Rehearsal): Rehearsal {
  try {
    return plan();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const { message: detail } = error;
    throw new Problem('not-publishable', detail, { errors: [{ pointer: '/sendWindow', detail }] });
  }
}
