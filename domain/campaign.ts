import { type Static, Type } from 'typebox';
import { streamOfStep } from './streams';

/** A campaign has one initial information (step 0) and up to seven nudges. */
export const MAX_STEPS = 8;

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof WEEKDAYS)[number];

const Text = (description: string, maxLength = 300) => Type.String({ minLength: 1, maxLength, description });
const Url = (description: string) => Type.String({ format: 'uri', maxLength: 2000, description });

export const Product = Type.Object(
  { name: Text('What the lead asked about, as a customer would call it.'), url: Url('Where to read more or buy.') },
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
    taxId: Type.Optional(Text('Its tax number, where the law asks for one.', 40)),
    privacyUrl: Url('The privacy policy that covers this mail.'),
  },
  { additionalProperties: false },
);

export const Step = Type.Object(
  {
    subject: Text('Subject line; Liquid.', 400),
    mjml: Type.String({ minLength: 1, maxLength: 200_000, description: 'The body as MJML; Liquid inside.' }),
    text: Type.Optional(
      Type.String({
        maxLength: 100_000,
        description: 'The plain-text part; Liquid. Made from the HTML when it is left out.',
      }),
    ),
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

export const Erasure = Type.Object(
  {
    afterExhausted: Type.String({
      description: 'How long after the last unanswered mail the lead is erased, an ISO 8601 duration.',
      examples: ['P30D'],
    }),
  },
  { additionalProperties: false },
);

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
