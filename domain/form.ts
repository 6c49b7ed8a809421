import { type Static, Type } from 'typebox';

const Url = (description: string) => Type.String({ format: 'uri', maxLength: 2000, description });
/** A text without line breaks and other control characters. */
export const PLAIN = '^[^\\u0000-\\u001f\\u007f]*$';

/** The languages that our pages speak. */
export const FORM_LANGUAGES = ['es', 'en', 'fr', 'de', 'it', 'pt', 'ca'] as const;
export type FormLanguage = (typeof FORM_LANGUAGES)[number];

/** One field of a form besides the address. */
export const FormField = Type.Object(
  {
    name: Type.String({
      pattern: '^[A-Za-z_][A-Za-z0-9_]{0,59}$',
      description:
        '`name`, `locale` or `timeZone` of the lead; any other is an attribute, which templates see as `lead.attributes`.',
    }),
    label: Type.Record(
      Type.String({ pattern: '^[a-z]{2,3}$' }),
      Type.String({ minLength: 1, maxLength: 200, pattern: PLAIN }),
      {
        description: 'What stands before it, by language.',
      },
    ),
    kind: Type.Enum(['text', 'number', 'choice', 'checkbox']),
    choices: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 200, pattern: PLAIN }), {
        minItems: 1,
        maxItems: 100,
        uniqueItems: true,
        description: 'Of a `choice`: what can be chosen.',
      }),
    ),
    required: Type.Optional(Type.Boolean({ default: false })),
    maxLength: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1000,
        description: 'Of a `text`: how many characters at most; 200 where it is left out.',
      }),
    ),
  },
  { additionalProperties: false },
);

/** A form by which people ask for the information of a campaign. Published as immutable versions: evidence names the one it was. */
export const FormDefinition = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 200, pattern: PLAIN, description: 'For your staff.' }),
    languages: Type.Array(Type.Enum(FORM_LANGUAGES), {
      minItems: 1,
      uniqueItems: true,
      description: 'The first is the one for everybody else.',
    }),
    fields: Type.Optional(Type.Array(FormField, { maxItems: 20 })),
    consents: Type.Optional(
      Type.Array(
        Type.Object(
          {
            purpose: Type.Enum(['nudges', 'follow-up', 'marketing']),
            text: Type.Record(
              Type.String({ pattern: '^[a-z]{2,3}$' }),
              Type.String({ minLength: 20, maxLength: 2000, pattern: PLAIN }),
              {
                description:
                  'The exact words beside the box, by language: they name the product, how many mails and for how long. The box is never ticked beforehand.',
              },
            ),
            textVersion: Type.String({ minLength: 1, maxLength: 60, pattern: PLAIN, examples: ['2026-11'] }),
          },
          { additionalProperties: false },
        ),
        { maxItems: 3, description: 'What people may agree to besides. The information is sent either way.' },
      ),
    ),
    origins: Type.Optional(
      Type.Array(Url('A page may send it from this origin, such as https://shop.example.'), { maxItems: 20 }),
    ),
    doubleOptIn: Type.Optional(
      Type.Boolean({
        default: true,
        description: 'Nothing begins before the address was confirmed by its own reader.',
      }),
    ),
    confirmation: Type.Optional(
      Type.Object(
        {
          expiresAfter: Type.Optional(Type.String({ default: 'P7D', description: 'ISO 8601, PT1H to P30D.' })),
          remindAfter: Type.Optional(
            Type.Union([Type.String(), Type.Null()], {
              default: null,
              description: 'One reminder, after this (ISO 8601, at most PT72H); none where it is null.',
            }),
          ),
        },
        { additionalProperties: false },
      ),
    ),
    thanksUrl: Type.Optional(Url('Where to go after sending; otherwise a page of ours.')),
  },
  { additionalProperties: false },
);
export type FormDefinition = Static<typeof FormDefinition>;
export type FormField = Static<typeof FormField>;
export type FormConsent = NonNullable<FormDefinition['consents']>[number];

/** With what it leaves open said explicitly, so that a version says of itself all that it meant. */
export function withFormDefaults(form: FormDefinition): FormDefinition {
  const { fields, confirmation } = form;
  return {
    ...form,
    ...(fields === undefined
      ? {}
      : { fields: fields.map((field) => ({ ...field, required: field.required ?? false })) }),
    doubleOptIn: form.doubleOptIn ?? true,
    ...(confirmation === undefined ? {} : { confirmation: { ...CONFIRMATION_DEFAULTS, ...confirmation } }),
  };
}

const CONFIRMATION_DEFAULTS = { expiresAfter: 'P7D', remindAfter: null };

/** The words beside a field in this language; its name where it has none. */
export function labelOf(field: FormField, language: FormLanguage): string {
  return field.label[language] ?? field.name;
}

/** How many characters a text may have. */
export function maxLengthOf(field: FormField): number {
  return field.maxLength ?? 200;
}
