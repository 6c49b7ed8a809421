import fastifyCors from '@fastify/cors';
import fastifyHelmet from '@fastify/helmet';
import type { Api } from './context';
import { isHttps } from './session-cookie';

const YEAR_S = 365 * 24 * 60 * 60;
const PREFLIGHT_S = 600;

/**
 * Headers that tell browsers to be careful with every answer. Pages and the reference have policies of their own, which take
 * the place of the strictest one here: what is no page loads and shows nothing.
 */
export async function protectAnswers(app: Api, publicUrl: string): Promise<void> {
  await app.register(fastifyHelmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], baseUri: ["'none'"], formAction: ["'none'"], frameAncestors: ["'none'"] },
    },
    strictTransportSecurity: isHttps(publicUrl) ? { maxAge: YEAR_S, includeSubDomains: false } : false,
    xFrameOptions: { action: 'deny' },
  });
}

/** Lets pages of these origins call the routes of this scope, with a key and never with a cookie. Before who may is asked. */
export async function allowOrigins(app: Api, origins: readonly string[]): Promise<void> {
  if (origins.length === 0) return;
  await app.register(fastifyCors, {
    origin: [...origins],
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type', 'idempotency-key'],
    exposedHeaders: ['idempotency-replayed', 'location', 'retry-after', 'x-request-id'],
    credentials: false,
    maxAge: PREFLIGHT_S,
  });
}
