import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { useApiKey } from '../db/api-keys';
import type { Caller } from '../db/audit';
import { useSession } from '../db/staff-sessions';
import { Problem } from '../domain/problem';
import { SCOPES, type Scope } from '../domain/scopes';
import type { Api, ApiContext } from './context';
import { isSameOrigin, sessionTokenOf } from './session-cookie';
import { bucketOf, countTry, networkOf, WRONG_KEY_RULE } from './throttles';

declare module 'fastify' {
  interface FastifyRequest {
    /** Tells callers apart without being a secret: of a key, its id; `user:<id>` of a person. Empty where none is needed. */
    apiKeyId: string;
    /** Who calls, and what they may do. Set on everything under /v1 but what `anyone` may call. */
    actor: Caller;
  }
  interface FastifyContextConfig {
    /**
     * Which keys, and whose roles, may call this route: any one of these. Under /v1 no route is without; `anyone` needs
     * neither key nor session.
     */
    scopes?: readonly Scope[] | 'anyone';
  }
}

/** Methods that change nothing (RFC 9110, section 9.2.1). */
const SAFE_METHODS: readonly string[] = ['GET', 'HEAD', 'OPTIONS'];

/**
 * Refuses to build an API in which a route under /v1 does not say who may call it. Before all routes.
 *
 * @throws Error from where the route is registered
 */
export function demandScopes(app: Api): void {
  app.addHook('onRoute', ({ method, url, config }) => {
    if (method === 'OPTIONS' || !/^\/v1(\/|$)/.test(url)) return;
    const scopes = config?.scopes;
    if (scopes === undefined || scopes.length === 0) {
      throw new Error(`${[method].flat().join(', ')} ${url} has no config.scopes: who may call it?`);
    }
  });
}

/**
 * Lets through to the routes of this scope only who may call them: bearers of an API key (RFC 6750), and people by their
 * session's cookie. A key is looked up each time, so that a revoked one is refused at once.
 */
export function authorise(app: Api, context: ApiContext): void {
  const settings = context.config.apiKeys.map(digest);
  app.addHook('onRequest', async (request, reply) => {
    // It is for the caller alone: neither the browser of a shared machine nor a cache on the way is to keep it.
    reply.header('cache-control', 'no-store');
    const { scopes } = request.routeOptions.config;
    if (scopes === 'anyone') return;
    const caller =
      request.headers.authorization === undefined
        ? await callerBySession(request, context)
        : await callerByKey(request, context, settings);
    if (!scopes?.some((scope) => caller.scopes.includes(scope))) {
      const wanted = (scopes ?? []).join(', ');
      throw new Problem('forbidden', `This takes one of the scopes ${wanted}; this caller has none of them.`, {
        scopes,
      });
    }
    request.actor = caller;
  });
}

/** Who calls, by an API key alone: for routes that also take what comes without one. @throws Problem `unauthorized` */
export async function callerByBearer(request: FastifyRequest, context: ApiContext): Promise<Caller> {
  return await callerByKey(request, context, context.config.apiKeys.map(digest));
}

async function callerByKey(
  request: FastifyRequest,
  { db, config, clock }: ApiContext,
  settings: readonly Buffer[],
): Promise<Caller> {
  const given = /^Bearer +([^\s]+) *$/i.exec(request.headers.authorization ?? '')?.[1];
  if (given === undefined) throw noKey();
  const ofSettings = settingsKey(given, settings);
  if (ofSettings !== null) {
    request.apiKeyId = ofSettings;
    return { kind: 'key', id: ofSettings, scopes: SCOPES };
  }
  const now = clock();
  const key = await useApiKey(db, given, now);
  if (key === null) {
    const bucket = bucketOf(config.masterKey, 'wrong key', networkOf(request.ip));
    await countTry(db, bucket, WRONG_KEY_RULE, now);
    throw new Problem('unauthorized', 'This API key is not known here.');
  }
  request.apiKeyId = key.id;
  return { kind: 'key', id: key.id, scopes: key.scopes };
}

/** All keys of the settings are compared, as hashes and every time, so that the time it takes tells nothing. */
function settingsKey(given: string, settings: readonly Buffer[]): string | null {
  const hash = digest(given);
  let matches = 0;
  for (const candidate of settings) matches |= Number(timingSafeEqual(candidate, hash));
  return matches === 0 ? null : hash.toString('hex').slice(0, 16);
}

async function callerBySession(request: FastifyRequest, { db, config, clock }: ApiContext): Promise<Caller> {
  const token = sessionTokenOf(request, config.publicUrl);
  const session = token === null ? null : await useSession(db, token, clock());
  if (session === null) throw noKey();
  if (!SAFE_METHODS.includes(request.method) && !isSameOrigin(request, config.publicUrl)) throw crossSite();
  request.apiKeyId = `user:${session.userId}`;
  return { kind: 'user', id: session.userId, scopes: session.roles };
}

/** What a page of somebody else has sent. */
export function crossSite(): Problem {
  return new Problem('cross-site', 'This was not sent from a page of ours: neither Origin nor Sec-Fetch-Site says so.');
}

function noKey(): Problem {
  return new Problem(
    'unauthorized',
    'Send an API key in the header Authorization: Bearer <key>, or sign in under /login.',
  );
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
