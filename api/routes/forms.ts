import { Duration } from 'luxon';
import { type Static, Type } from 'typebox';
import { findCampaign, versionOf } from '../../db/campaigns';
import { createForm, type Form, findForm, listForms, reviseForm, setFormDisabled } from '../../db/forms';
import type { CampaignDefinition, CampaignDraft } from '../../domain/campaign';
import { CAMPAIGN_DEFAULTS } from '../../domain/campaign';
import type { ConsentFacts } from '../../domain/consent-text';
import { FORM_LANGUAGES, FormDefinition, withFormDefaults } from '../../domain/form';
import { checkForm, type FormFinding } from '../../domain/form-checks';
import { pageOf as pageAddressOf } from '../../domain/form-source';
import { signFormToken } from '../../domain/form-token';
import { Problem } from '../../domain/problem';
import type { Api, ApiContext } from '../context';
import { formSnippet, INPUTS } from '../pages/form';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readNewestFirst } from '../pagination';
import { invalidField, invalidFields, problemResponses } from '../problems';
import { Id, idParams, NullableTime, Time } from '../schemas';

const Summary = {
  id: Id('The form.'),
  campaignId: Id('What it asks for the information of.'),
  version: Type.Integer({ description: 'Counted from 1. Evidence of a consent names the version that was shown.' }),
  url: Type.String({ description: 'Its page, for links and for people.' }),
  disabledAt: NullableTime('Since when it takes nothing; null while it is open.'),
  createdAt: Time('When it was created.'),
};

const FormSummary = Type.Object({
  ...Summary,
  name: Type.String(),
  languages: Type.Array(Type.Enum(FORM_LANGUAGES)),
});

const FormAnswer = Type.Object({
  ...Summary,
  definition: FormDefinition,
  warnings: Type.Array(
    Type.Object({
      pointer: Type.String({ description: 'JSON pointer (RFC 6901) into the definition.' }),
      detail: Type.String({ description: 'What to look at.' }),
    }),
    { description: 'What is possible, but may not be meant, or may not be enough for the law. No lawyer has looked.' },
  ),
});

const EXAMPLE: FormDefinition = {
  name: 'Page about the boots',
  languages: ['en', 'es'],
  fields: [{ name: 'name', label: { en: 'Your name', es: 'Su nombre' }, kind: 'text' }],
  consents: [
    {
      purpose: 'nudges',
      text: {
        en: 'Yes, write to me later about the walking boots: seven mails at most, within two years.',
        es: 'Sí, escríbanme después sobre las walking boots: siete correos como mucho, durante dos años.',
      },
      textVersion: '2026-11',
    },
  ],
  origins: ['https://shop.example'],
};

/** Defining the forms by which people ask for the information. */
export function formRoutes(app: Api, { db, config, clock }: ApiContext): void {
  app.post(
    '/forms',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'createForm',
        tags: ['forms'],
        summary: 'Define a form',
        description:
          'It has a page of its own at once, under `url`. The words of each consent must name the product, how many mails ' +
          'and for how long; nobody’s box is ticked beforehand, and the information is sent either way.',
        body: Type.Object(
          { campaignId: Id('Its campaign, which people ask for the information of.'), definition: FormDefinition },
          {
            additionalProperties: false,
            examples: [{ campaignId: '0b3a7c1e-52d4-4f0c-9a3e-6a1f5d8e2b47', definition: EXAMPLE }],
          },
        ),
        response: { 201: { ...FormAnswer, description: 'It is open.' }, ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      const { campaignId } = request.body;
      const definition = withFormDefaults(request.body.definition);
      const warnings = await checked(campaignId, definition);
      const form = await createForm(db, campaignId, definition, clock());
      return await reply.code(201).header('location', `/v1/forms/${form.id}`).send(formAnswer(form, warnings));
    },
  );

  app.get(
    '/forms',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'listForms',
        tags: ['forms'],
        summary: 'List forms',
        description: 'The newest first; all of them, or those of one campaign.',
        querystring: Type.Object(
          { ...PAGE_QUERY, campaignId: Type.Optional(Id('Only those of this campaign.')) },
          { additionalProperties: false },
        ),
        response: { 200: { ...Page(FormSummary), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor, campaignId } = request.query;
      const rows = await listForms(db, campaignId, limit + 1, readNewestFirst(cursor));
      return pageOf(
        rows,
        limit,
        (form) => ({ ...summary(form), name: form.definition.name, languages: form.definition.languages }),
        ({ createdAt, id }) => ({ createdAt, id }),
      );
    },
  );

  app.get(
    '/forms/:id',
    {
      config: { scopes: ['marketing', 'operator', 'privacy'] },
      schema: {
        operationId: 'getForm',
        tags: ['forms'],
        summary: 'See a form',
        description: 'As it is, or as it was in an earlier version, such as evidence names.',
        params: idParams('The form.'),
        querystring: Type.Object(
          { version: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 })) },
          { additionalProperties: false },
        ),
        response: { 200: { ...FormAnswer, description: 'The form.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const form = await findForm(db, request.params.id, request.query.version);
      const facts = await factsOf(form.campaignId);
      return formAnswer(form, facts === null ? [] : checkForm(form.definition, facts).warnings);
    },
  );

  app.put(
    '/forms/:id',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'reviseForm',
        tags: ['forms'],
        summary: 'Change a form',
        description:
          'Adds a version; earlier ones stay as they were shown. Pages that are open keep working, and what is recorded is ' +
          'what was shown there. A snippet shows its own words until it is pasted anew; a day after the words of a consent have ' +
          'changed, who ticks the old ones is asked once more on our page.',
        params: idParams('The form.'),
        body: Type.Object({ definition: FormDefinition }, { additionalProperties: false }),
        response: { 200: { ...FormAnswer, description: 'As it is now.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const { campaignId } = await findForm(db, request.params.id);
      const definition = withFormDefaults(request.body.definition);
      const warnings = await checked(campaignId, definition);
      return formAnswer(await reviseForm(db, request.params.id, definition, clock()), warnings);
    },
  );

  for (const [action, disabled] of [
    ['disable', true],
    ['enable', false],
  ] as const) {
    app.post(
      `/forms/:id/${action}`,
      {
        config: { scopes: ['marketing', 'operator'] },
        schema: {
          operationId: `${action}Form`,
          tags: ['forms'],
          summary: disabled ? 'Close a form' : 'Open a form again',
          description: disabled
            ? 'It takes nothing from this answer on. What was sent before stays valid, also what is not confirmed yet.'
            : 'It takes requests again. Opening an open one changes nothing.',
          params: idParams('The form.'),
          response: {
            200: Type.Object(Summary, { description: 'As it is now.' }),
            ...problemResponses('not-found'),
          },
        },
      },
      async (request) => summary(await setFormDisabled(db, request.params.id, disabled, clock())),
    );
  }

  app.get(
    '/forms/:id/snippet',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'getFormSnippet',
        tags: ['forms'],
        summary: 'Get a form as HTML for a page of your own',
        description:
          'Plain HTML that works without JavaScript and loads nothing. Paste it as it is: its hidden field tells which words were ' +
          'shown. The origin of the page must be one of the form’s `origins`.',
        params: idParams('The form.'),
        querystring: Type.Object(
          {
            language: Type.Optional(
              Type.Enum(FORM_LANGUAGES, { description: 'The form’s first where it is left out.' }),
            ),
            page: Type.Optional(
              Type.String({
                format: 'uri',
                maxLength: 500,
                description: 'Where it will stand, for the record; browsers often tell the origin only.',
              }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          200: { description: 'The snippet.', content: { 'text/html': { schema: Type.String() } } },
          ...problemResponses('not-found', 'not-published'),
        },
      },
    },
    async (request, reply) => {
      const form = await findForm(db, request.params.id);
      const { definition } = form;
      const language = request.query.language ?? definition.languages[0];
      if (language === undefined || !definition.languages.includes(language)) {
        const detail = `the form is in ${definition.languages.join(', ')}`;
        throw invalidFields([{ pointer: '/language', in: 'query', detail }]);
      }
      const { latestVersion } = await findCampaign(db, form.campaignId);
      if (latestVersion === null) {
        throw new Problem(
          'not-published',
          'The campaign was never published, so nobody can ask for its information yet.',
        );
      }
      const { sender, product } = (await versionOf(db, form.campaignId, latestVersion)).definition;
      const page = pageAddressOf(request.query.page);
      const token = signFormToken(
        { kind: 'snippet', formId: form.id, version: form.version, language, issuedAt: form.versionAt },
        config.tokenKeys,
      );
      const html = formSnippet(
        {
          formId: form.id,
          language,
          definition,
          company: sender.legalName,
          product: product.name,
          privacyUrl: sender.privacyUrl,
          token,
          hidden: page === undefined ? {} : { [INPUTS.page]: page },
        },
        config.publicUrl,
      );
      return await reply.type('text/html; charset=utf-8').send(html);
    },
  );

  /** @returns warnings @throws Problem `not-found`, `invalid-request` */
  async function checked(campaignId: string, definition: FormDefinition): Promise<FormFinding[]> {
    const facts = await factsOf(campaignId);
    if (facts === null) {
      throw invalidField('/campaignId', 'this campaign names no product yet, which the words of a consent must name');
    }
    const { errors, warnings } = checkForm(definition, facts);
    if (errors.length > 0) {
      throw invalidFields(
        errors.map(({ pointer, detail }) => ({ pointer: `/definition${pointer}`, in: 'body', detail })),
      );
    }
    return warnings;
  }

  /** What a consent must say: of the latest version, or of the draft while there is none. @throws Problem `not-found` */
  async function factsOf(campaignId: string): Promise<ConsentFacts | null> {
    const { latestVersion, draft } = await findCampaign(db, campaignId);
    const published = latestVersion === null ? null : (await versionOf(db, campaignId, latestVersion)).definition;
    return consentFacts(published ?? draft);
  }

  function formAnswer(form: Form, warnings: FormFinding[]): Static<typeof FormAnswer> {
    return { ...summary(form), definition: form.definition, warnings };
  }

  function summary({ id, campaignId, version, disabledAt, createdAt }: Form) {
    return {
      id,
      campaignId,
      version,
      url: `${config.publicUrl}/f/${id}`,
      disabledAt: disabledAt?.toISOString() ?? null,
      createdAt: createdAt.toISOString(),
    };
  }
}

function consentFacts({ product, steps, cadence }: CampaignDefinition | CampaignDraft): ConsentFacts | null {
  if (product === undefined) return null;
  if (steps === undefined || steps.length === 0) return { product: product.name, nudges: null, months: null };
  const nudges = steps.length - 1;
  const longest = Duration.fromISO((cadence ?? CAMPAIGN_DEFAULTS.cadence).max);
  const months = longest.isValid ? Math.ceil(longest.shiftTo('months').months * nudges) : null;
  return { product: product.name, nudges, months };
}
