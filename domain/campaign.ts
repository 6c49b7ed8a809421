import { type Static, Type } from 'typebox';
import type { JourneyKind } from './journeys';
import { streamOfStep } from './streams';

/** A campaign has one initial information (step 0) and up to seven nudges. */
export const MAX_STEPS = 8;

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof WEEKDAYS)[number];

const Text = (description: string, maxLength = 300) => Type.String({ minLength: 1, maxLength, description });
const Url = (description: string) => Type.String({ format: 'uri', maxLength: 2000, description });

export const Product = Type.Object(
  {
    name: Text('What the lead asked about, as a customer would call it.'),
    url: Url('Where to read more or buy.'),
    codes: Type.Optional(
      Type.Array(Text('A SKU or product id.', 100), {
        maxItems: 200,
        description:
          'The shop’s own codes of it, by which a purchase is recognised. Without any, every purchase that does not say otherwise ends its follow-up.',
      }),
    ),
    group: Type.Optional(
      Text(
        'Which of the shop’s products count as similar (LSSI art. 21.2): a soft opt-in of the same group carries its mails to buyers.',
        100,
      ),
    ),
  },
  { additionalProperties: false },
);

const LEGAL_NAME = 'The registered name of the company or trader that sends (LSSI art. 10 and 20).';
const POSTAL_ADDRESS = 'Its postal address, in one line.';

export const Sender = Type.Object(
  {
    name: Text('The name in the From header: a person rather than a department.'),
    address: Type.String({ format: 'email', maxLength: 254, description: 'The address in the From header.' }),
    requestedAddress: Type.Optional(
      Type.String({
        format: 'email',
        maxLength: 254,
        description:
          'From of the initial information, so that what an open form sends never speaks for the nudges. `address` where it is left out.',
      }),
    ),
    replyTo: Type.String({ format: 'email', maxLength: 254, description: 'Where answers go.' }),
    legalName: Text(LEGAL_NAME),
    postalAddress: Text(POSTAL_ADDRESS),
    taxId: Type.Optional(Text('Its tax number, such as a NIF (LSSI art. 10); needed to publish.', 40)),
    privacyUrl: Url('The privacy policy that covers this mail.'),
  },
  { additionalProperties: false },
);

const MAIL = {
  subject: Text('Subject line; Liquid.', 400),
  mjml: Type.String({ minLength: 1, maxLength: 200_000, description: 'The body as MJML; Liquid inside.' }),
  text: Type.Optional(
    Type.String({
      maxLength: 100_000,
      description: 'The plain-text part; Liquid. Made from the HTML when it is left out.',
    }),
  ),
};

export const Step = Type.Object(
  {
    key: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$',
        description:
          'Your name for this mail, which it keeps in later versions, wherever it stands there and whatever it says by then: by it, nobody who is moved to another version gets a mail twice.',
        examples: ['trade-in-offer'],
      }),
    ),
    ...MAIL,
  },
  { additionalProperties: false },
);

export const Cadence = Type.Object(
  {
    min: Type.String({ description: 'Shortest wait between two mails, an ISO 8601 duration.', examples: ['P2M'] }),
    max: Type.String({ description: 'Longest wait between two mails, an ISO 8601 duration.', examples: ['P3M'] }),
  },
  { additionalProperties: false },
);

export const SendWindow = Type.Object(
  {
    days: Type.Array(Type.Enum(WEEKDAYS), {
      minItems: 1,
      maxItems: 7,
      uniqueItems: true,
      description: "Weekdays, in the lead's own time zone.",
    }),
    from: Type.String({ pattern: '^([01]\\d|2[0-3]):[0-5]\\d$', description: 'Local time at which the window opens.' }),
    to: Type.String({
      pattern: '^(([01]\\d|2[0-3]):[0-5]\\d|24:00)$',
      description: 'Local time at which the window closes; later than `from`.',
    }),
    blackouts: Type.Optional(
      Type.Array(
        Type.String({
          pattern: '^(\\d{4}-)?\\d{2}-\\d{2}$|^\\d{4}-\\d{2}-\\d{2}/\\d{4}-\\d{2}-\\d{2}$',
          examples: ['2026-12-25', '12-25', '2026-12-24/2027-01-06'],
        }),
        { maxItems: 200, description: 'Local dates without mail: a date, a date of every year, or from/to inclusive.' },
      ),
    ),
  },
  { additionalProperties: false },
);

const kept = (after: string, usual: string) =>
  Type.Optional(
    Type.String({
      description: `How long after ${after} the lead is erased, an ISO 8601 duration; ${usual} where it is left out.`,
      examples: [usual],
    }),
  );

export const Erasure = Type.Object(
  {
    afterExhausted: Type.String({
      description: 'How long after the last unanswered mail the lead is erased, an ISO 8601 duration.',
      examples: ['P30D'],
    }),
    afterUnsubscribed: kept('they unsubscribed', 'P30D'),
    afterBounced: kept('their address turned out to be dead', 'P30D'),
    afterComplained: kept('they complained', 'P30D'),
    afterInformed: kept('the information went out to somebody who agreed to nothing more', 'P30D'),
    afterCancelled: kept('the journey was cancelled', 'P30D'),
    afterReplied: kept('the last answer', 'P12M'),
    afterPurchased: kept('the purchase, or after the last mail to the buyer,', 'P12M'),
  },
  { additionalProperties: false },
);

/** What a mail to a buyer is for; only the first of them may be the thanks. */
export const BUYER_STEP_KINDS = ['thanks', 'doubts', 'related', 'referral'] as const;
export const MAX_BUYER_STEPS = 5;

export const BuyerStep = Type.Object(
  {
    ...MAIL,
    kind: Type.Enum(BUYER_STEP_KINDS, {
      description:
        '`thanks` (the first one only) goes to every buyer, as transactional mail, and must offer nothing. The others are marketing.',
    }),
    after: Type.String({
      description:
        'The wait since the mail before, for the first one since the purchase; an ISO 8601 duration. PT0S for the thanks only.',
      examples: ['PT0S', 'P7D'],
    }),
    containsOffer: Type.Optional(
      Type.Boolean({ description: 'Of the `thanks`: must be declared as false. It is looked through all the same.' }),
    ),
  },
  { additionalProperties: false },
);

export const AfterPurchase = Type.Object(
  {
    supportAddress: Type.String({
      format: 'email',
      maxLength: 254,
      description: 'Where answers of buyers go, with the number of their order.',
    }),
    thanksFrom: Type.Optional(
      Type.Object(
        {
          name: Text('The name in the From header.'),
          address: Type.String({ format: 'email', maxLength: 254 }),
        },
        {
          additionalProperties: false,
          description:
            'Who the thanks are from: an identity of the shop’s transactional mail, from which no campaign writes.',
        },
      ),
    ),
    steps: Type.Array(BuyerStep, { minItems: 1, description: 'Up to five mails.' }),
  },
  { additionalProperties: false, description: 'The mails to those who have bought.' },
);
export type AfterPurchase = Static<typeof AfterPurchase>;

/** A whole campaign, as it is published. */
export const CampaignDefinition = Type.Object(
  {
    name: Text('For your staff; leads see it only where a template says `campaign.name`.', 200),
    product: Product,
    sender: Sender,
    locale: Type.String({ pattern: '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$', examples: ['es', 'en-GB'] }),
    steps: Type.Array(Step, { minItems: 1, description: 'Step 0 is the initial information, 1 to 7 are the nudges.' }),
    cadence: Cadence,
    sendWindow: SendWindow,
    timeZone: Type.String({ description: 'IANA zone for leads that bring none.', examples: ['Europe/Madrid'] }),
    erasure: Erasure,
    endsOnAnyPurchase: Type.Optional(
      Type.Boolean({
        description:
          'Whoever buys anything leaves it, also by a purchase of another product. False where it is left out.',
      }),
    ),
    afterPurchase: Type.Optional(AfterPurchase),
  },
  { additionalProperties: false },
);
export type CampaignDefinition = Static<typeof CampaignDefinition>;

/** Who sends, while it is being written: publishing says what is still missing. */
const SenderDraft = Type.Object(
  {
    ...Type.Partial(Sender).properties,
    legalName: Type.Optional(Type.String({ maxLength: 300, description: LEGAL_NAME })),
    postalAddress: Type.Optional(Type.String({ maxLength: 300, description: POSTAL_ADDRESS })),
  },
  { additionalProperties: false },
);

/** A campaign while it is being written: only its name must be there, the rest may come bit by bit. */
export const CampaignDraft = Type.Object(
  {
    ...Type.Partial(CampaignDefinition).properties,
    name: CampaignDefinition.properties.name,
    sender: Type.Optional(SenderDraft),
  },
  { additionalProperties: false },
);
export type CampaignDraft = Static<typeof CampaignDraft>;

/** What a draft is given where it leaves a choice open. */
export const CAMPAIGN_DEFAULTS = {
  locale: 'es',
  cadence: { min: 'P2M', max: 'P3M' },
  sendWindow: { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '09:00', to: '19:00', blackouts: [] },
  timeZone: 'Europe/Madrid',
  erasure: { afterExhausted: 'P30D' },
} satisfies Partial<CampaignDefinition>;

/** A step whose MJML has been compiled: HTML and text still hold the Liquid that each lead fills. */
export interface CompiledStep {
  subject: string;
  html: string;
  text: string;
}

/** What a published version keeps. It never changes, so running leads never see an edit. */
export interface PublishedCampaign {
  campaignId: string;
  version: number;
  definition: CampaignDefinition;
  steps: CompiledStep[];
  /** The mails to buyers, in the order of `definition.afterPurchase.steps`; null where there are none. */
  afterPurchase: CompiledStep[] | null;
}

/** One reason for which a campaign can't be published, told so that its author can mend it. */
export interface PublishProblem {
  /** JSON pointer into the definition (RFC 6901), such as `/steps/2/mjml`. */
  pointer: string;
  /** 1-based line within that value, where the value is a template. */
  line?: number;
  /** 1-based column within that line. */
  column?: number;
  /** What is wrong, naming the offending thing, and how to mend it. */
  detail: string;
}

/** Who a step of a campaign is from: the initial information may have an address of its own. */
export function fromOfStep(
  sender: Pick<CampaignDefinition['sender'], 'name' | 'address' | 'requestedAddress'>,
  step: number,
): { name: string; address: string } {
  const address = streamOfStep(step) === 'requested' ? (sender.requestedAddress ?? sender.address) : sender.address;
  return { name: sender.name, address };
}

// ---- the two journeys of a campaign --------------------------------------------------------------------------------

/** How long an answer of a buyer to their last mail is waited for. */
const BUYERS_LATE_ANSWER = 'P14D';

/** Step 0 of a buyer's journey is the thanks; where a campaign has none, the first mail is step 1. */
export function firstBuyerStep({ steps }: AfterPurchase): 0 | 1 {
  return steps[0]?.kind === 'thanks' ? 0 : 1;
}

type Content = Pick<PublishedCampaign, 'steps'> & { definition: Pick<CampaignDefinition, 'afterPurchase'> };

/** One past the last step of a journey. */
export function endStep({ definition: { afterPurchase }, steps }: Content, journey: JourneyKind): number {
  if (journey === 'lead') return steps.length;
  return afterPurchase === undefined ? 0 : firstBuyerStep(afterPurchase) + afterPurchase.steps.length;
}

/** What a step of a journey says. */
export function contentOf(
  { definition, steps, afterPurchase }: Content & Pick<PublishedCampaign, 'afterPurchase'>,
  journey: JourneyKind,
  step: number,
): CompiledStep | undefined {
  if (journey === 'lead') return steps[step];
  return definition.afterPurchase && afterPurchase?.[step - firstBuyerStep(definition.afterPurchase)];
}

/** The wait before a step of a journey, and past the last one for a late answer. */
export function cadenceBefore(
  { cadence, afterPurchase }: Pick<CampaignDefinition, 'cadence' | 'afterPurchase'>,
  journey: JourneyKind,
  step: number,
): CampaignDefinition['cadence'] {
  if (journey === 'lead') return cadence;
  const after = afterPurchase?.steps[step - firstBuyerStep(afterPurchase)]?.after ?? BUYERS_LATE_ANSWER;
  return { min: after, max: after };
}

/** Who a step of a journey is from, and where answers to it go. */
export function partiesOf(
  { sender, afterPurchase }: Pick<CampaignDefinition, 'sender' | 'afterPurchase'>,
  journey: JourneyKind,
  step: number,
): { from: { name: string; address: string }; replyTo: string } {
  if (journey === 'lead' || afterPurchase === undefined) {
    return { from: fromOfStep(sender, step), replyTo: sender.replyTo };
  }
  const thanksFrom = streamOfStep(step, journey) === 'transactional' ? afterPurchase.thanksFrom : undefined;
  return { from: thanksFrom ?? fromOfStep(sender, step), replyTo: afterPurchase.supportAddress };
}
