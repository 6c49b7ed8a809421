import { type Static, type TSchema, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import {
  type Campaign,
  createCampaign,
  findCampaign,
  listCampaigns,
  publishVersion,
  updateDraft,
  versionOf,
} from '../../db/campaigns';
import { cancelCampaign } from '../../db/cancellations';
import { pauseCampaign, resumeCampaign } from '../../db/pauses';
import { campaignStats } from '../../db/stats';
import { takenSenders } from '../../db/transactional-templates';
import { CampaignDefinition, CampaignDraft } from '../../domain/campaign';
import { OUTCOMES } from '../../domain/outcomes';
import { preparePublication } from '../../mail/compose/compile';
import { unnamedSource } from '../../mail/compose/named-source';
import { BUYER_VARIABLES, TEMPLATE_FILTERS, TEMPLATE_TAGS, TEMPLATE_VARIABLES } from '../../mail/compose/templates';
import { notPublishable } from '../campaign-content';
import type { Api, ApiContext } from '../context';
import { jsonParser } from '../json-body';
import { mergePatch } from '../merge-patch';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readNewestFirst } from '../pagination';
import { problemResponses } from '../problems';
import { Id, InFlight, idParams, Nullable, NullableTime, Time } from '../schemas';

/** Eight steps with their HTML and text, written out. */
const BODY_LIMIT_BYTES = 4 * 1024 * 1024;

const State = Type.Enum(['draft', 'published', 'paused', 'cancelled'], {
  description: '`paused` and `cancelled` send nothing; `draft` has never been published.',
});
const LatestVersion = Nullable(Type.Integer({ description: 'The version that new leads get; null before the first.' }));

const CampaignSummary = Type.Object({
  id: Id('The campaign.'),
  name: Type.String(),
  locale: Type.Optional(Type.String()),
  state: State,
  latestVersion: LatestVersion,
  createdAt: Time('When it was created.'),
  updatedAt: Time('When its draft was last changed.'),
});

const CampaignAnswer = Type.Object({
  id: Id('The campaign.'),
  state: State,
  latestVersion: LatestVersion,
  draft: CampaignDraft,
  pausedAt: NullableTime('Since when it is paused.'),
  cancelledAt: NullableTime('When it was cancelled.'),
  createdAt: Time('When it was created.'),
  updatedAt: Time('When its draft was last changed.'),
});

const Version = Type.Object({
  campaignId: Id('The campaign.'),
  version: Type.Integer({ description: 'Counted from 1.' }),
  definition: CampaignDefinition,
});

const Changed = Type.Object({
  campaignId: Id('The campaign.'),
  state: State,
  inFlight: Type.Array(InFlight),
});

const Count = (description: string) => Type.Integer({ minimum: 0, description });
const OutcomeCounts = (description: string) =>
  Type.Object(Object.fromEntries(OUTCOMES.map((outcome) => [outcome, Type.Integer({ minimum: 0 })])), { description });

const StatsBuyers = Type.Object(
  {
    enrolled: Count('Journeys that followed a purchase, open and ended.'),
    open: Count('Those that have not ended.'),
    onConsent: Count('Those whose marketing rests on a consent.'),
    onSoftOptIn: Count('Those whose marketing rests on a recorded soft opt-in.'),
    outcomes: OutcomeCounts('The ended ones, by how they ended.'),
    steps: Type.Array(
      Type.Object({
        step: Type.Integer({ description: '0 is the thanks.' }),
        accepted: Count('Messages that the mail server took.'),
        unknown: Count('Messages of which a crash left open whether the mail server took them.'),
        rejected: Count('Messages that the mail server refused.'),
      }),
    ),
  },
  { description: 'What came after purchases; the numbers above are of leads only.' },
);

const Stats = Type.Object({
  campaignId: Id('The campaign.'),
  at: Time('The moment that the numbers are of.'),
  enrolled: Count('Enrollments, open and ended.'),
  open: Count('Those that have not ended.'),
  paused: Count('Of the open ones, those that are paused, by themselves or with the campaign.'),
  awaitingAnswer: Count('Of the open ones, those that have had every step, while a late answer is waited for.'),
  outcomes: OutcomeCounts('The ended ones, by how they ended.'),
  endedBeforeStart: OutcomeCounts('Of the ended ones, those that ended before any mail was handed over.'),
  steps: Type.Array(
    Type.Object({
      step: Type.Integer({ description: '0 is the initial information, 1 to 7 are the nudges.' }),
      waiting: Count('Open enrollments for which it comes next, later.'),
      due: Count('Open enrollments for which it comes next and has fallen due, paused ones included.'),
      sending: Count('Messages that are being sent at this moment.'),
      accepted: Count('Messages that the mail server took.'),
      unknown: Count('Messages of which a crash left open whether the mail server took them.'),
      deferred: Count('Messages that the mail server put off.'),
      rejected: Count('Messages that the mail server refused.'),
      withdrawn: Count('Messages that were taken back before they were handed over.'),
      repeated: Count('Further copies that the mail server took, because the lead had asked again.'),
      ended: OutcomeCounts('Enrollments that ended with this as the last step that was dealt with.'),
    }),
  ),
  buyers: StatsBuyers,
});

const Vocabulary = Type.Object({
  variables: Type.Array(
    Type.Object({ path: Type.String({ description: '`*` stands for any name.' }), doc: Type.String() }),
  ),
  buyerVariables: Type.Array(
    Type.Object({ path: Type.String({ description: '`*` stands for any name.' }), doc: Type.String() }),
    { description: 'The same for the mails to buyers (`afterPurchase`).' },
  ),
  filters: Type.Array(Type.Object({ name: Type.String(), doc: Type.String() }), {
    description: 'Ours, beside those of Liquid.',
  }),
  tags: Type.Array(Type.String(), { description: 'The Liquid tags that may be used.' }),
});

const draftCheck = Compile(CampaignDraft as TSchema);

const STEPS_HELP = `Subjects, MJML and texts are Liquid templates. They can print: ${TEMPLATE_VARIABLES.map(({ path }) => `\`${path}\``).join(', ')}; \`GET /v1/template-variables\` explains each.`;

const EXAMPLE_MJML = `<mjml><mj-body><mj-section><mj-column><mj-text>
  <p>Hello {{ lead.firstName }}, you asked us about {{ product.name }}: <a href="{{ product.url }}">here it is</a>.
  {% if consent.source %}We know you from: {{ consent.source }}.{% endif %}</p>
  <p>{{ sender.legalName }} ({{ sender.taxId }}), {{ sender.postalAddress }}. <a href="{{ privacyUrl }}">Privacy</a>. <a href="{{ unsubscribeUrl }}">Unsubscribe</a></p>
</mj-text></mj-column></mj-section></mj-body></mjml>`;

/** For the reference: it can be published as it is. */
const EXAMPLE: CampaignDraft = {
  name: 'Boots',
  product: { name: 'Walking boots', url: 'https://shop.example/boots' },
  sender: {
    name: 'Ann of the Boot Shop',
    address: 'ann@shop.example',
    replyTo: 'ann@shop.example',
    legalName: 'Boot Shop Ltd',
    postalAddress: '1 High Street, Dublin, Ireland',
    taxId: 'IE0000000A',
    privacyUrl: 'https://shop.example/privacy',
  },
  locale: 'en',
  timeZone: 'Europe/Dublin',
  steps: [
    { subject: 'What you asked about {{ product.name }}', mjml: EXAMPLE_MJML },
    { subject: 'Do you still remember us?', mjml: EXAMPLE_MJML },
  ],
  cadence: { min: 'P2M', max: 'P3M' },
};

/** Writing, publishing, stopping and watching campaigns. */
export function campaignRoutes(app: Api, { db, clock }: ApiContext): void {
  app.post(
    '/campaigns',
    {
      bodyLimit: BODY_LIMIT_BYTES,
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'createCampaign',
        tags: ['campaigns'],
        summary: 'Begin a campaign',
        description: `It begins as a draft: only its name must be there, the rest may come bit by bit. ${STEPS_HELP}`,
        body: { ...CampaignDraft, examples: [EXAMPLE] },
        response: { 201: { ...CampaignAnswer, description: 'The draft is kept.' }, ...problemResponses() },
      },
    },
    async (request, reply) => {
      const campaign = await createCampaign(db, request.body);
      return await reply.code(201).header('location', `/v1/campaigns/${campaign.id}`).send(campaignAnswer(campaign));
    },
  );

  app.get(
    '/campaigns',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'listCampaigns',
        tags: ['campaigns'],
        summary: 'List campaigns',
        description: 'The newest first.',
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: { 200: { ...Page(CampaignSummary), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const rows = await listCampaigns(db, limit + 1, readNewestFirst(cursor));
      return pageOf(rows, limit, campaignSummary, ({ createdAt, id }) => ({ createdAt, id }));
    },
  );

  app.get(
    '/campaigns/:id',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'getCampaign',
        tags: ['campaigns'],
        summary: 'See a campaign',
        description: 'Its draft and where it stands. What leads get is in its versions.',
        params: idParams('The campaign.'),
        response: { 200: { ...CampaignAnswer, description: 'The campaign.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => campaignAnswer(await findCampaign(db, request.params.id)),
  );

  app.get(
    '/campaigns/:id/versions/:version',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'getCampaignVersion',
        tags: ['campaigns'],
        summary: 'See a published version',
        description: 'A version never changes: the leads that were enrolled under it get exactly this.',
        params: Type.Object({ id: Id('The campaign.'), version: Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }) }),
        response: { 200: { ...Version, description: 'The version.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const { campaignId, version, definition } = await versionOf(db, request.params.id, request.params.version);
      return { campaignId, version, definition };
    },
  );

  app.register(async (scope) => {
    const patching: Api = scope.withTypeProvider();
    patching.addContentTypeParser('application/merge-patch+json', { parseAs: 'buffer' }, jsonParser(patching));
    patching.patch(
      '/campaigns/:id',
      {
        bodyLimit: BODY_LIMIT_BYTES,
        config: { scopes: ['marketing'] },
        schema: {
          operationId: 'updateCampaign',
          tags: ['campaigns'],
          summary: 'Change the draft',
          description:
            'A JSON merge patch (RFC 7396) on the draft, as `application/merge-patch+json` or `application/json`: what is ' +
            'given replaces what was there (lists such as `steps` as a whole), null takes a field out, the rest stays. ' +
            'Published versions, and the leads enrolled under them, never change.',
          params: idParams('The campaign.'),
          consumes: ['application/merge-patch+json', 'application/json'],
          body: Type.Object(
            {},
            {
              additionalProperties: true,
              description: 'Any of the fields of a draft.',
              examples: [{ cadence: { min: 'P1M' }, sender: { requestedAddress: null } }],
            },
          ),
          response: { 200: { ...CampaignAnswer, description: 'As it is now.' }, ...problemResponses('not-found') },
        },
      },
      async (request) => {
        const patched = await updateDraft(
          db,
          request.params.id,
          (draft) => checkedDraft(mergePatch(draft, request.body)),
          clock(),
        );
        return campaignAnswer(patched);
      },
    );
  });

  app.post(
    '/campaigns/:id/publish',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'publishCampaign',
        tags: ['campaigns'],
        summary: 'Publish the draft',
        description:
          'Checks the draft, compiles its templates and keeps them as the next immutable version, which leads get from ' +
          'then on; running leads keep theirs. A draft that can not be published is refused with all its problems, each ' +
          'with a pointer, and with line and column inside a template.',
        params: idParams('The campaign.'),
        response: {
          201: Type.Object(
            {
              campaignId: Id('The campaign.'),
              version: Type.Integer({ description: 'The new version.' }),
              warnings: Type.Array(
                Type.Object({
                  pointer: Type.String({ description: 'JSON pointer (RFC 6901) into the draft.' }),
                  detail: Type.String(),
                }),
                { description: 'What kept nothing from being published, and keeps files from being imported.' },
              ),
            },
            { description: 'It is published.' },
          ),
          ...problemResponses('not-found', 'campaign-cancelled', 'not-publishable'),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { draft } = await findCampaign(db, id);
      const prepared = await preparePublication(draft, clock());
      const problems = ['problems' in prepared ? prepared.problems : [], await takenSenders(db, id, draft)].flat();
      if ('problems' in prepared || problems.length > 0) throw notPublishable(problems);
      const version = await publishVersion(db, id, prepared.definition, prepared.steps, prepared.afterPurchase);
      const [information] = prepared.steps;
      const warnings =
        information === undefined ? [] : unnamedSource(prepared.definition, information, prepared.steps.length);
      return await reply
        .code(201)
        .header('location', `/v1/campaigns/${id}/versions/${version}`)
        .send({ campaignId: id, version, warnings });
    },
  );

  app.post(
    '/campaigns/:id/pause',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'pauseCampaign',
        tags: ['campaigns'],
        summary: 'Pause a campaign',
        description:
          'From this answer on none of its mail is handed over but what `inFlight` names. It still takes leads, who wait. ' +
          'Pausing again changes nothing.',
        params: idParams('The campaign.'),
        response: { 202: { ...Changed, description: 'It is paused.' }, ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      const inFlight = await pauseCampaign(db, request.params.id, clock());
      return await reply.code(202).send(await changed(request.params.id, inFlight));
    },
  );

  app.post(
    '/campaigns/:id/resume',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'resumeCampaign',
        tags: ['campaigns'],
        summary: 'Let a paused campaign go on',
        description:
          'What fell due meanwhile goes out in the next send window, once. Enrollments that were paused by themselves stay so.',
        params: idParams('The campaign.'),
        response: { 202: { ...Changed, description: 'It goes on.' }, ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      // Those that held are woken by the reconciler: there may be very many.
      await resumeCampaign(db, request.params.id, clock());
      return await reply.code(202).send(await changed(request.params.id, []));
    },
  );

  app.post(
    '/campaigns/:id/cancel',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'cancelCampaign',
        tags: ['campaigns'],
        summary: 'Cancel a campaign for good',
        description:
          'All its open enrollments end as `cancelled`, and it takes no more leads. From this answer on none of its mail ' +
          'is handed over but what `inFlight` names. Cancelling again changes nothing.',
        params: idParams('The campaign.'),
        response: {
          202: Type.Object(
            { ...Changed.properties, stopped: Count('How many enrollments have ended by it.') },
            { description: 'It is cancelled.' },
          ),
          ...problemResponses('not-found'),
        },
      },
    },
    async (request, reply) => {
      const { stopped, inFlight } = await cancelCampaign(db, request.params.id, clock());
      return await reply.code(202).send({ ...(await changed(request.params.id, inFlight)), stopped });
    },
  );

  app.get(
    '/campaigns/:id/stats',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'getCampaignStats',
        tags: ['campaigns'],
        summary: 'Watch the funnel',
        description:
          'By step and outcome, all versions together. Every enrollment counts once: as open under the step that comes ' +
          'next, or as ended under the last one that was dealt with.',
        params: idParams('The campaign.'),
        response: { 200: { ...Stats, description: 'The funnel.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const now = clock();
      const stats = await campaignStats(db, request.params.id, now);
      return { campaignId: request.params.id, at: now.toISOString(), ...stats };
    },
  );

  app.get(
    '/template-variables',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'listTemplateVariables',
        tags: ['campaigns'],
        summary: 'What templates can say',
        description: 'A template that names anything else can not be published.',
        response: { 200: { ...Vocabulary, description: 'All of it.' }, ...problemResponses() },
      },
    },
    async () => ({
      variables: [...TEMPLATE_VARIABLES],
      buyerVariables: [...BUYER_VARIABLES],
      filters: [...TEMPLATE_FILTERS],
      tags: [...TEMPLATE_TAGS],
    }),
  );

  async function changed(id: string, inFlight: Static<typeof InFlight>[]): Promise<Static<typeof Changed>> {
    return { campaignId: id, state: stateOf(await findCampaign(db, id)), inFlight };
  }
}

function stateOf({ cancelledAt, pausedAt, latestVersion }: Campaign): Static<typeof State> {
  if (cancelledAt !== null) return 'cancelled';
  if (pausedAt !== null) return 'paused';
  return latestVersion === null ? 'draft' : 'published';
}

function campaignAnswer(campaign: Campaign): Static<typeof CampaignAnswer> {
  const { id, latestVersion, draft, pausedAt, cancelledAt, createdAt, updatedAt } = campaign;
  return {
    id,
    state: stateOf(campaign),
    latestVersion,
    draft,
    pausedAt: pausedAt?.toISOString() ?? null,
    cancelledAt: cancelledAt?.toISOString() ?? null,
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  };
}

function campaignSummary(campaign: Campaign): Static<typeof CampaignSummary> {
  const { id, draft, latestVersion, createdAt, updatedAt } = campaign;
  return {
    id,
    name: draft.name,
    ...(draft.locale === undefined ? {} : { locale: draft.locale }),
    state: stateOf(campaign),
    latestVersion,
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  };
}

/** @throws what Fastify throws for a body that its schema refuses, so that it is answered alike */
function checkedDraft(draft: unknown): CampaignDraft {
  if (draftCheck.Check(draft)) return draft as CampaignDraft;
  const validation = draftCheck.Errors(draft);
  throw Object.assign(new Error('the draft is not valid'), { validation, validationContext: 'body', statusCode: 400 });
}
