import { DateTime, Duration } from 'luxon';
import { type Static, Type } from 'typebox';
import type { Config } from '../config';
import type { Db } from '../db/client';
import { findLead } from '../db/leads';
import { type CampaignDefinition, firstBuyerStep, partiesOf } from '../domain/campaign';
import { type ExampleLead, exampleLead } from '../domain/example-lead';
import type { JourneyKind } from '../domain/journeys';
import { Problem } from '../domain/problem';
import { streamOfStep } from '../domain/streams';
import { mailIdentity } from '../mail/compose/identity';
import { type ComposedMessage, composeMessage } from '../mail/compose/message';
import type { StepContent } from './campaign-content';
import { invalidField } from './problems';
import { addressOf, Id, localeOf, timeZoneOf } from './schemas';

// What previews, rehearsals and test mails have in common: for whom, and of what.

export const VersionField = Type.Optional(
  Type.Unsafe<'draft' | number>({
    type: ['string', 'integer'],
    pattern: '^draft$',
    minimum: 1,
    maximum: 2 ** 31 - 1,
    default: 'draft',
    description: 'A published version, or the `draft`.',
  }),
);

export const StepField = Type.Integer({
  minimum: 0,
  maximum: 7,
  description: '0 is the initial information, 1 to 7 are the nudges.',
});

export const SAMPLE_FIELDS = {
  lead: Type.Optional(
    Type.Object(
      {
        email: Type.Optional(Type.String({ minLength: 1, maxLength: 400 })),
        name: Type.Optional(Type.String({ maxLength: 200, description: 'Leave it out to see a mail without a name.' })),
        locale: Type.Optional(Type.String({ maxLength: 35, description: 'A language tag (BCP 47).' })),
        timeZone: Type.Optional(Type.String({ maxLength: 60, description: 'An IANA zone.' })),
        attributes: Type.Optional(
          Type.Record(
            Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,59}$' }),
            Type.Unsafe<string | number | boolean>({ type: ['string', 'number', 'boolean'], maxLength: 1000 }),
            { maxProperties: 50, additionalProperties: false },
          ),
        ),
      },
      {
        additionalProperties: false,
        description: 'For whom; an invented person in the campaign’s language when neither this nor `leadId` is given.',
        examples: [{ name: 'Ana García', timeZone: 'America/Argentina/Buenos_Aires' }],
      },
    ),
  ),
  leadId: Type.Optional(Id('For a lead on record, instead.')),
};

const SampleBody = Type.Object(SAMPLE_FIELDS);

/** For whom something is tried out. */
export interface Sample {
  lead: ExampleLead;
  /** When they asked; null when that is not known. */
  requestedAt: Date | null;
  consentSource: string | null;
}

/** @throws Problem `invalid-request`, or `not-found` for an unknown lead */
export async function sampleOf(
  db: Db,
  campaignId: string,
  campaign: Pick<CampaignDefinition, 'locale' | 'timeZone'>,
  { lead, leadId }: Static<typeof SampleBody>,
): Promise<Sample> {
  const invented = exampleLead(campaign);
  if (leadId !== undefined) {
    if (lead !== undefined) throw invalidField('/leadId', 'must not be given together with `lead`');
    return await onRecord(db, campaignId, leadId, invented);
  }
  const consentSource = 'example';
  if (lead === undefined) return { lead: invented, requestedAt: null, consentSource };
  return {
    lead: {
      email: lead.email === undefined ? invented.email : addressOf(lead.email, '/lead/email').address,
      name: lead.name ?? null,
      locale: lead.locale === undefined ? invented.locale : localeOf(lead.locale, '/lead/locale'),
      timeZone: lead.timeZone === undefined ? invented.timeZone : timeZoneOf(lead.timeZone, '/lead/timeZone'),
      attributes: lead.attributes ?? {},
    },
    requestedAt: null,
    consentSource,
  };
}

async function onRecord(db: Db, campaignId: string, leadId: string, otherwise: ExampleLead): Promise<Sample> {
  const { email, name, locale, timeZone, attributes, enrollments, consents } = await findLead(db, leadId);
  const enrollment = enrollments.filter((view) => view.campaignId === campaignId).at(-1);
  return {
    lead: {
      // Of one who was erased only the enrollments are left.
      email: email ?? otherwise.email,
      name,
      locale: locale ?? otherwise.locale,
      timeZone: timeZone ?? otherwise.timeZone,
      attributes,
    },
    requestedAt: enrollment?.requestedAt ?? null,
    consentSource: consents.find((consent) => consent.enrollmentId === enrollment?.enrollmentId)?.source ?? null,
  };
}

/** When an example lead asked, if this step goes out now: so many shortest waits ago. */
export function askedBefore(step: number, cadence: CampaignDefinition['cadence'], timeZone: string, now: Date): Date {
  let asked = DateTime.fromJSDate(now, { zone: timeZone });
  for (let nudge = 0; nudge < step; nudge++) asked = asked.minus(Duration.fromISO(cadence.min));
  // A draft's cadence and zone may still be nonsense.
  return asked.isValid ? asked.toJSDate() : now;
}

/** When an example buyer bought, if this step goes out now. */
export function boughtBefore(
  { afterPurchase }: Pick<CampaignDefinition, 'afterPurchase'>,
  step: number,
  timeZone: string,
  now: Date,
): Date {
  let bought = DateTime.fromJSDate(now, { zone: timeZone });
  const before = afterPurchase === undefined ? 0 : step - firstBuyerStep(afterPurchase) + 1;
  for (const { after } of afterPurchase?.steps.slice(0, before) ?? []) bought = bought.minus(Duration.fromISO(after));
  return bought.isValid ? bought.toJSDate() : now;
}

/** Of a buyer that is made up. */
const EXAMPLE_ORDER = 'A-1001';

/** The id by which waits are drawn and messages are named where no enrollment is meant. */
export const EXAMPLE_ENROLLMENT_ID = '00000000-0000-4000-8000-000000000000';

/**
 * Fills a step as a send would, but for the unsubscribe link, which leads nowhere.
 *
 * @throws Problem `not-publishable` when it can't be filled for this lead
 */
export async function composeSample(
  content: Pick<StepContent, 'definition' | 'compiled' | 'stepCount'>,
  sample: Pick<Sample, 'lead' | 'consentSource'> & { requestedAt: Date },
  place: { campaignId: string; step: number; enrollmentId: string; date: Date; journey?: JourneyKind },
  settings: Pick<Config, 'publicUrl' | 'replyAddress' | 'tokenKeys'>,
): Promise<ComposedMessage> {
  const { step, enrollmentId, journey = 'lead', ...rest } = place;
  const { publicUrl } = settings;
  try {
    return await composeMessage({
      ...content,
      ...sample,
      ...rest,
      order:
        journey === 'lead'
          ? null
          : { number: EXAMPLE_ORDER, purchasedAt: sample.requestedAt, referralUrl: `${publicUrl}/r/preview` },
      consentCapturedAt: sample.consentSource === null ? null : sample.requestedAt,
      step,
      unsubscribeUrl: `${publicUrl}/u/preview`,
      identity: mailIdentity(
        { kind: 'enrollment', id: enrollmentId, step, copy: 0 },
        partiesOf(content.definition, journey, step),
        { ...settings, returnPath: null },
      ),
      stream: streamOfStep(step, journey),
    });
  } catch (error) {
    const detail = error instanceof Error ? error.message : 'can not be filled';
    const pointer = journey === 'lead' ? `/steps/${step}` : '/afterPurchase/steps';
    throw new Problem('not-publishable', detail, { errors: [{ pointer, detail }] });
  }
}
