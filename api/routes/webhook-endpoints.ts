import { type Static, Type } from 'typebox';
import { deriveKey } from '../../config';
import { listDeliveries, queueTest, retryDelivery, type WebhookDelivery } from '../../db/webhook-deliveries';
import {
  changeEndpoint,
  createEndpoint,
  deleteEndpoint,
  listEndpoints,
  readEndpoint,
  rotateSecret,
  type WebhookEndpoint,
} from '../../db/webhook-endpoints';
import { isPublicAddress, literalAddress } from '../../domain/public-address';
import { WEBHOOK_EVENT_NAMES, WEBHOOK_EVENTS } from '../../domain/webhook-events';
import { endpointSecret, OUTGOING_WEBHOOKS } from '../../domain/webhook-signature';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readNewestFirst } from '../pagination';
import { invalidField, problemResponses } from '../problems';
import { Id, idParams, Nullable, NullableTime, Time } from '../schemas';

const Url = Type.String({
  minLength: 1,
  maxLength: 2_000,
  description: 'Where to send it: https, without user and password.',
  examples: ['https://crm.shop.example/recuerda'],
});
const Events = Type.Array(Type.Enum(['*', ...WEBHOOK_EVENT_NAMES]), {
  minItems: 1,
  maxItems: WEBHOOK_EVENT_NAMES.length + 1,
  uniqueItems: true,
  description: `What it is told of; \`*\` is everything, also what is added later. ${WEBHOOK_EVENT_NAMES.map(
    (name) => `\`${name}\`: ${WEBHOOK_EVENTS[name]}`,
  ).join(' ')}`,
});
const Description = Type.String({ maxLength: 200, description: 'What it is, in your own words.' });

const EndpointFields = {
  endpointId: Id('Its id.'),
  url: Url,
  events: Events,
  description: Description,
  secretVersion: Type.Integer({ description: 'Counts the rotations.' }),
  rotatedAt: NullableTime('When its secret was last replaced. For 24 hours from then on the old one signs too.'),
  disabledAt: NullableTime('Since when it is switched off.'),
  disabledBecause: Nullable(
    Type.String({ description: '`by-hand`; `gone`: it answered 410; `failing`: nothing got through for five days.' }),
  ),
  createdAt: Time('Since when there is one.'),
};
const Endpoint = Type.Object(EndpointFields);
const WithSecret = Type.Object({
  ...EndpointFields,
  secret: Type.String({ description: 'What its signatures are made with. It is not shown again.' }),
});

const Delivery = Type.Object({
  deliveryId: Id('The header `webhook-id`, the same for every try.'),
  type: Type.String({ description: 'Of the event.' }),
  state: Type.Enum(['pending', 'delivered', 'failed']),
  attempts: Type.Integer({ description: 'How often it was tried.' }),
  createdAt: Time('When it came up.'),
  nextAt: NullableTime('When it is tried next.'),
  status: Nullable(Type.Integer({ description: 'HTTP status of the last answer.' })),
  failure: Nullable(
    Type.String({ description: 'Why there was none, as a code such as `timeout` or `private-address`.' }),
  ),
  finishedAt: NullableTime('When it was delivered or given up.'),
});

const CONFIG = { scopes: ['operator'] } as const;
/** Nothing is kept of an answer that holds a secret. */
const SECRET = { scopes: ['operator'], idempotency: 'none' } as const;

/** Other systems that are told of what happens, by signed webhooks (standardwebhooks.com). */
export function webhookEndpointRoutes(app: Api, { db, config, clock }: ApiContext): void {
  const key = deriveKey(config.masterKey, OUTGOING_WEBHOOKS);
  const withSecret = (endpoint: WebhookEndpoint): Static<typeof WithSecret> => ({
    ...endpointAnswer(endpoint),
    secret: endpointSecret(key, endpoint.id, endpoint.secretVersion),
  });

  app.post(
    '/webhook-endpoints',
    {
      config: SECRET,
      schema: {
        operationId: 'createWebhookEndpoint',
        tags: ['webhooks'],
        summary: 'Have another system told of what happens',
        description:
          'Each event is POSTed as `{type, timestamp, data}`, signed as standardwebhooks.com describes it; `data` holds ids and ' +
          'codes, never an address, a name or a text. What is not answered with 2xx is tried again for five days. It may ' +
          'arrive more than once, with the same `webhook-id`, and in any order.',
        body: Type.Object(
          { url: Url, events: Type.Optional(Events), description: Type.Optional(Description) },
          {
            additionalProperties: false,
            examples: [{ url: 'https://crm.shop.example/recuerda', events: ['lead.replied', 'enrollment.ended'] }],
          },
        ),
        response: { 201: { ...WithSecret, description: 'It is told from now on.' }, ...problemResponses() },
      },
    },
    async (request, reply) => {
      const { url, events = ['*'], description = '' } = request.body;
      const endpoint = { url: urlOf(url, config.webhooksToPrivate), events, description };
      return await reply.code(201).send(withSecret(await createEndpoint(db, endpoint, request.actor, clock())));
    },
  );

  app.get(
    '/webhook-endpoints',
    {
      config: CONFIG,
      schema: {
        operationId: 'listWebhookEndpoints',
        tags: ['webhooks'],
        summary: 'List the systems that are told',
        description: 'The newest first.',
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: { 200: { ...Page(Endpoint), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const rows = await listEndpoints(db, limit + 1, readNewestFirst(cursor));
      return pageOf(rows, limit, endpointAnswer, ({ createdAt, id }) => ({ createdAt, id }));
    },
  );

  app.get(
    '/webhook-endpoints/:id',
    {
      config: CONFIG,
      schema: {
        operationId: 'getWebhookEndpoint',
        tags: ['webhooks'],
        summary: 'See one of them',
        description: 'Without its secret.',
        params: idParams('The endpoint.'),
        response: { 200: { ...Endpoint, description: 'It.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => endpointAnswer(await readEndpoint(db, request.params.id)),
  );

  app.patch(
    '/webhook-endpoints/:id',
    {
      config: CONFIG,
      schema: {
        operationId: 'changeWebhookEndpoint',
        tags: ['webhooks'],
        summary: 'Change one, switch it off or on',
        description:
          'Changes what the body holds. Switched off, it is told nothing, and what it has not been told yet is given up; ' +
          'single deliveries can be tried again later.',
        params: idParams('The endpoint.'),
        body: Type.Object(
          {
            url: Type.Optional(Url),
            events: Type.Optional(Events),
            description: Type.Optional(Description),
            disabled: Type.Optional(Type.Boolean({ description: 'Off or on.' })),
          },
          { additionalProperties: false, minProperties: 1, examples: [{ disabled: true }] },
        ),
        response: { 200: { ...Endpoint, description: 'It as it is now.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const { url, ...rest } = request.body;
      const change = { ...rest, ...(url === undefined ? {} : { url: urlOf(url, config.webhooksToPrivate) }) };
      return endpointAnswer(await changeEndpoint(db, request.params.id, change, request.actor, clock()));
    },
  );

  app.delete(
    '/webhook-endpoints/:id',
    {
      config: CONFIG,
      schema: {
        operationId: 'deleteWebhookEndpoint',
        tags: ['webhooks'],
        summary: 'Forget one',
        description: 'It is told nothing any more, and what it was told is forgotten.',
        params: idParams('The endpoint.'),
        response: { 204: Type.Null({ description: 'It is gone.' }), ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      await deleteEndpoint(db, request.params.id, request.actor, clock());
      return await reply.code(204).send(null);
    },
  );

  app.post(
    '/webhook-endpoints/:id/rotate',
    {
      config: SECRET,
      schema: {
        operationId: 'rotateWebhookSecret',
        tags: ['webhooks'],
        summary: 'Replace its secret',
        description: 'For 24 hours both sign, so that nothing is refused while the receiver is being told the new one.',
        params: idParams('The endpoint.'),
        response: { 200: { ...WithSecret, description: 'With the new one.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => withSecret(await rotateSecret(db, request.params.id, request.actor, clock())),
  );

  app.post(
    '/webhook-endpoints/:id/test',
    {
      config: CONFIG,
      schema: {
        operationId: 'testWebhookEndpoint',
        tags: ['webhooks'],
        summary: 'Send it a test',
        description: 'An event of the type `webhook.test`, which says nothing. Its deliveries tell what became of it.',
        params: idParams('The endpoint.'),
        response: {
          202: { ...Delivery, description: 'It is on its way.' },
          ...problemResponses('not-found', 'endpoint-disabled'),
        },
      },
    },
    async (request, reply) => reply.code(202).send(deliveryAnswer(await queueTest(db, request.params.id, clock()))),
  );

  app.get(
    '/webhook-endpoints/:id/deliveries',
    {
      config: CONFIG,
      schema: {
        operationId: 'listWebhookDeliveries',
        tags: ['webhooks'],
        summary: 'See what it was told',
        description: 'The newest first; those that are over for thirty days.',
        params: idParams('The endpoint.'),
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: { 200: { ...Page(Delivery), description: 'A page of them.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const { id } = await readEndpoint(db, request.params.id);
      const rows = await listDeliveries(db, id, limit + 1, readNewestFirst(cursor));
      return pageOf(rows, limit, deliveryAnswer, ({ createdAt, id: last }) => ({ createdAt, id: last }));
    },
  );

  app.post(
    '/webhook-endpoints/deliveries/:id/retry',
    {
      config: CONFIG,
      schema: {
        operationId: 'retryWebhookDelivery',
        tags: ['webhooks'],
        summary: 'Try a delivery again',
        description: 'At once, with the same `webhook-id`, also where it was given up or has arrived already.',
        params: idParams('The delivery.'),
        response: {
          202: { ...Delivery, description: 'It is on its way.' },
          ...problemResponses('not-found', 'endpoint-disabled'),
        },
      },
    },
    async (request, reply) => reply.code(202).send(deliveryAnswer(await retryDelivery(db, request.params.id))),
  );
}

/** @throws Problem `invalid-request` */
function urlOf(text: string, toPrivate: boolean): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !(url.protocol === 'https:' || (toPrivate && url.protocol === 'http:'))) {
    throw invalidField('/url', 'must be a URL beginning with https://');
  }
  if (url.username !== '' || url.password !== '') throw invalidField('/url', 'must hold no user and password');
  const literal = literalAddress(url.hostname);
  if (!toPrivate && ((literal !== null && !isPublicAddress(literal)) || /(^|\.)localhost\.?$/.test(url.hostname))) {
    throw invalidField('/url', 'leads to an address that is none of the internet’s; webhooks do not go there');
  }
  url.hash = '';
  return url.href;
}

function endpointAnswer(endpoint: WebhookEndpoint): Static<typeof Endpoint> {
  const { id, events, rotatedAt, disabledAt, createdAt, ...rest } = endpoint;
  return {
    endpointId: id,
    ...rest,
    events: events as Static<typeof Events>,
    rotatedAt: rotatedAt?.toISOString() ?? null,
    disabledAt: disabledAt?.toISOString() ?? null,
    createdAt: createdAt.toISOString(),
  };
}

function deliveryAnswer(delivery: WebhookDelivery): Static<typeof Delivery> {
  const { id, endpointId: _, createdAt, nextAt, finishedAt, ...rest } = delivery;
  return {
    deliveryId: id,
    ...rest,
    createdAt: createdAt.toISOString(),
    nextAt: nextAt?.toISOString() ?? null,
    finishedAt: finishedAt?.toISOString() ?? null,
  };
}
