import { randomUUID } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { type FastifyBaseLogger, LogController } from 'fastify';
import { Type } from 'typebox';
import { Problem } from '../domain/problem';
import { requestsBegun, requestsEnded } from '../telemetry/channels';
import type { Tracing } from '../telemetry/tracing';
import { authorise, demandScopes } from './auth';
import type { Api, ApiContext } from './context';
import { answerClientError, answerErrors } from './errors';
import { healthRoutes } from './health';
import { honourIdempotencyKeys } from './idempotency';
import { journalBeforeAnswers } from './journal';
import { jsonParser } from './json-body';
import { serveOpenApi } from './openapi';
import { sendPage } from './pages/html';
import { problemPage } from './pages/problem';
import { type ApiProblemCode, PROBLEMS, ProblemSchema, problemOf, sendProblem } from './problems';
import { allowOrigins, protectAnswers } from './protection';
import { auditRoutes } from './routes/audit';
import { campaignMigrationRoutes } from './routes/campaign-migrations';
import { campaignPreviewRoutes } from './routes/campaign-previews';
import { campaignRoutes } from './routes/campaigns';
import { confirmationRoutes } from './routes/confirmations';
import { enrollmentRoutes } from './routes/enrollments';
import { evidenceRoutes } from './routes/evidence';
import { exclusionListRoutes } from './routes/exclusion-lists';
import { formRoutes } from './routes/forms';
import { importRoutes } from './routes/imports';
import { inboundRoutes } from './routes/inbound';
import { inboxRoutes } from './routes/inbox';
import { keyRoutes } from './routes/keys';
import { leadRoutes } from './routes/leads';
import { loginRoutes } from './routes/login';
import { ownPageRoutes } from './routes/own-page';
import { privacyRequestRoutes } from './routes/privacy-requests';
import { publicFormRoutes } from './routes/public-forms';
import { referralLinkRoutes, referralRoutes } from './routes/referrals';
import { reopeningRoutes } from './routes/reopening';
import { retentionRoutes } from './routes/retention';
import { sendingRoutes } from './routes/sending';
import { sendingDomainRoutes } from './routes/sending-domains';
import { sessionRoutes } from './routes/session';
import { shopWebhookRoutes } from './routes/shop-webhooks';
import { staffRoutes } from './routes/staff';
import { staffLinkRoutes } from './routes/staff-links';
import { stopRoutes } from './routes/stops';
import { suppressionRoutes } from './routes/suppressions';
import { testSendRoutes } from './routes/test-sends';
import { transactionalRoutes } from './routes/transactional';
import { unsubscribeRoutes } from './routes/unsubscribe';
import { webhookEndpointRoutes } from './routes/webhook-endpoints';
import { webhookRoutes } from './routes/webhooks';
import { traceRequests } from './tracing';
import { validatorCompiler } from './validation';

export interface AppOptions extends ApiContext {
  logger: FastifyBaseLogger;
  /** Rejects when Temporal can't be reached; `/readyz` tells. */
  pingTemporal?: () => Promise<void>;
  /** Is it about to stop? `/readyz` then says no. */
  isDraining?: () => boolean;
  /** Where traces are kept. */
  beginRequest?: Tracing['beginRequest'] | undefined;
}

const BODY_LIMIT_BYTES = 1024 * 1024;
/** A connection on which nothing moves for this long is closed. */
const SILENCE_MS = 60_000;
/** The longest that one request may take to arrive: a large file of leads over a slow line. */
const ARRIVAL_MS = 60 * 60_000;

/** The HTTP face, not yet listening: tests use its `inject`. Close it before `db`. */
export async function buildApp(options: AppOptions): Promise<Api> {
  const { config } = options;
  const app: Api = fastify({
    loggerInstance: options.logger,
    // Request lines hold addresses and unsubscribe links; our own line, below, holds the route instead.
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    bodyLimit: BODY_LIMIT_BYTES,
    connectionTimeout: SILENCE_MS,
    requestTimeout: ARRIVAL_MS,
    // Whose address a request is from: what consent was given from, and what tries are counted by.
    trustProxy: config.trustedProxies.length === 0 ? false : [...config.trustedProxies],
    routerOptions: { maxParamLength: 500, ignoreTrailingSlash: false },
    clientErrorHandler: answerClientError(config.publicUrl),
    frameworkErrors: (error, request, reply) => {
      void sendProblem(request, reply, config.publicUrl, problemOf(error));
    },
  }).withTypeProvider<TypeBoxTypeProvider>();

  app.setValidatorCompiler(validatorCompiler);
  app.addSchema(ProblemSchema);
  app.decorateRequest('apiKeyId', '');
  app.decorateRequest('actor');
  app.decorateRequest('reservation', null);
  // Fastify's own: a JSON parser that repairs what is no UTF-8, and one for plain text, which no route takes.
  app.removeContentTypeParser(['application/json', 'text/plain']);
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, jsonParser(app));
  answerErrors(app, config.publicUrl);
  if (options.beginRequest !== undefined) traceRequests(app, options.beginRequest);
  demandScopes(app);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    requestsBegun.publish(request);
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method } = request;
    const ms = Math.round(reply.elapsedTime);
    const route = request.routeOptions.url;
    requestsEnded.publish({ method, route: route ?? 'none', status: reply.statusCode, ms: reply.elapsedTime });
    request.log.info({ method, route, status: reply.statusCode, ms }, 'answered');
  });

  await protectAnswers(app, config.publicUrl);
  journalBeforeAnswers(app, options.db, config.journal);

  await serveOpenApi(app, config.publicUrl);
  healthRoutes(app, options, options);
  problemPages(app);
  unsubscribeRoutes(app, options);
  ownPageRoutes(app, options);
  confirmationRoutes(app, options);
  staffLinkRoutes(app, options);
  loginRoutes(app, options);
  referralLinkRoutes(app, options);
  publicFormRoutes(app, options);
  webhookRoutes(app, options);
  shopWebhookRoutes(app, options);

  await app.register(
    async (scope) => {
      const v1: Api = scope.withTypeProvider<TypeBoxTypeProvider>();
      await allowOrigins(v1, config.corsOrigins);
      authorise(v1, options);
      honourIdempotencyKeys(v1, options.db);
      // Every file of routes under /v1 is called here. Their paths are relative to it; keys and idempotency are dealt with.
      campaignRoutes(v1, options);
      campaignPreviewRoutes(v1, options);
      campaignMigrationRoutes(v1, options);
      testSendRoutes(v1, options);
      enrollmentRoutes(v1, options);
      formRoutes(v1, options);
      referralRoutes(v1, options);
      leadRoutes(v1, options);
      importRoutes(v1, options);
      stopRoutes(v1, options);
      suppressionRoutes(v1, options);
      reopeningRoutes(v1, options);
      inboxRoutes(v1, options);
      privacyRequestRoutes(v1, options);
      retentionRoutes(v1, options);
      evidenceRoutes(v1, options);
      exclusionListRoutes(v1, options);
      sendingRoutes(v1, options);
      transactionalRoutes(v1, options);
      inboundRoutes(v1, options);
      sendingDomainRoutes(v1, options);
      keyRoutes(v1, options);
      staffRoutes(v1, options);
      sessionRoutes(v1, options);
      auditRoutes(v1, options);
      webhookEndpointRoutes(v1, options);
    },
    { prefix: '/v1' },
  );
  return app;
}

function problemPages(app: Api): void {
  app.get(
    '/problems/:code',
    { schema: { hide: true, params: Type.Object({ code: Type.String() }) } },
    async (request, reply) => {
      const { code } = request.params;
      if (!Object.hasOwn(PROBLEMS, code)) throw new Problem('not-found', 'there is no such kind of problem');
      return await sendPage(reply, 200, problemPage(code as ApiProblemCode));
    },
  );
}
