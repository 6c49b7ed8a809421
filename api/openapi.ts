import fastifySwagger from '@fastify/swagger';
import fastifySwaggerUi from '@fastify/swagger-ui';
import type { FastifySchema } from 'fastify';
import type { Scope } from '../domain/scopes';
import { version } from '../package.json';
import type { Api } from './context';
import { type ApiProblemCode, PROBLEMS, problemResponse } from './problems';
import { sessionCookieName } from './session-cookie';

const DESCRIPTION = `Leads in, mail out, every stop honoured.

- **Keys**: send \`Authorization: Bearer <key>\` with everything under \`/v1\`. What a key may do are its scopes; any one of
  those that an operation names suffices. People sign in under \`/login\`; their roles are the same words.
- **2xx means it is kept**: what was accepted is in Postgres, and is acted on even when other parts are down.
- **Try again safely**: every POST but those that deal with secrets takes an \`Idempotency-Key\`; the same key and body get the same answer for 48 hours.
- **Refusals** are problems as RFC 9457 describes them, with a \`type\` that leads to a page about it.
- **Lists** come in pages: give \`nextCursor\` back as \`cursor\`.`;

const TAGS = [
  { name: 'campaigns', description: 'Write, check, publish, pause and watch campaigns.' },
  { name: 'forms', description: 'How people ask for the information, and agree to more.' },
  { name: 'enrollments', description: 'Hand over leads and see where they stand.' },
  { name: 'leads', description: 'Everything that happened to a person, and why.' },
  { name: 'stops', description: 'Purchases, replies and unsubscribes: each ends the mail at once.' },
  { name: 'imports', description: 'Hand over a file of leads.' },
  { name: 'transactional', description: 'The shop’s own mail: orders, invoices, account data.' },
  { name: 'sending', description: 'Limits and state of the streams of mail, and the domains that they are from.' },
  { name: 'inbox', description: 'Mail that was received, what it was found to be, and what followed.' },
  { name: 'privacy', description: 'What people ask about their data.' },
  {
    name: 'webhooks',
    description: 'What mail providers and shops tell, each with a proof of its own; and what other systems are told.',
  },
  { name: 'access', description: 'Keys, people who sign in, and who changed what.' },
  { name: 'public', description: 'What leads open; no key is needed.' },
  { name: 'health', description: 'For load balancers and operators; no key is needed.' },
];

/** Serves the OpenAPI 3.1 document at `/openapi.json` and a readable reference at `/docs`. Before all routes. */
export async function serveOpenApi(app: Api, publicUrl: string): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Recuerda', version, description: DESCRIPTION },
      servers: [{ url: publicUrl }],
      tags: TAGS,
      components: {
        securitySchemes: {
          apiKey: { type: 'http', scheme: 'bearer', description: 'An API key.' },
          session: {
            type: 'apiKey',
            in: 'cookie',
            name: sessionCookieName(publicUrl),
            description: 'The cookie of a person who has signed in under `/login`; for pages under the same origin.',
          },
        },
      },
      security: [{ apiKey: [] }, { session: [] }],
    },
    refResolver: { buildLocalReference: (json, _baseUri, _fragment, i) => String(json.$id ?? `schema-${i}`) },
    transform: ({ schema, url, route }) => {
      if (schema === undefined || schema.hide === true || !url.startsWith('/v1/')) return { url, schema };
      // A body that a route reads as a stream names its types itself, and may be of any size.
      const body = schema.body as object | undefined;
      const isParsed = body !== undefined && !('content' in body);
      const takesBody = isParsed ? withProblems(schema, 'payload-too-large', 'unsupported-media-type') : schema;
      const { scopes, idempotency } = route.config ?? {};
      const told = withScopes(takesBody, scopes);
      const isKept = [route.method].flat().includes('POST') && idempotency !== 'none';
      return { url, schema: isKept ? withIdempotencyKey(told) : told };
    },
  });
  await app.register(fastifySwaggerUi, {
    routePrefix: '/docs',
    // Its pages load nothing from elsewhere, also where there is no internet; trying things out calls `servers`.
    staticCSP:
      "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'self'; " +
      `frame-ancestors 'none'; connect-src 'self' ${new URL(publicUrl).origin}`,
    uiConfig: { docExpansion: 'list', deepLinking: true, persistAuthorization: true },
    theme: {
      title: 'Recuerda API',
      // The bar at the top is for opening other people's documents, under the framework's logo.
      css: [{ filename: 'recuerda.css', content: '.swagger-ui .topbar { display: none }' }],
    },
  });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}

/** Says who may call it, in words and as `x-scopes`, and what everybody else is answered. */
function withScopes(schema: FastifySchema, scopes: readonly Scope[] | 'anyone' | undefined): FastifySchema {
  if (scopes === undefined || scopes === 'anyone') return schema;
  const words = `Scopes: ${scopes.map((scope) => `\`${scope}\``).join(', ')}.`;
  return {
    ...withProblems(schema, 'unauthorized', 'forbidden', 'cross-site', 'too-many-requests'),
    description: `${schema.description ?? ''}\n\n${words}`.trim(),
    'x-scopes': scopes,
  } as FastifySchema;
}

function withIdempotencyKey(schema: FastifySchema): FastifySchema {
  const own = schema.headers as { properties?: object } | undefined;
  const headers = {
    type: 'object',
    properties: {
      ...own?.properties,
      'Idempotency-Key': {
        type: 'string',
        minLength: 1,
        maxLength: 255,
        description:
          'Made by the caller, for this request only: when it is sent again, the first answer is given again.',
      },
    },
  };
  return { ...withProblems(schema, 'idempotency-mismatch', 'idempotency-in-progress'), headers };
}

/** Adds refusals that come from around a route, beside those that it names itself. */
function withProblems(schema: FastifySchema, ...codes: ApiProblemCode[]): FastifySchema {
  const response = { ...(schema.response as Record<string, { description: string }>) };
  for (const code of codes) {
    const { status } = PROBLEMS[code];
    const before = response[status]?.description ?? '';
    if (!before.includes(`\`${code}\``)) response[status] = problemResponse([code], before);
  }
  return { ...schema, response };
}
