import { createHash, timingSafeEqual } from 'node:crypto';
import { Problem } from '../domain/problem';
import type { Api } from './context';

declare module 'fastify' {
  interface FastifyRequest {
    /** Tells API keys apart without being one: the beginning of the key's hash. Empty where no key is needed. */
    apiKeyId: string;
  }
}

/**
 * Lets only bearers of an API key (RFC 6750) through to the routes of this scope. Keys are compared as hashes and all of
 * them every time, so that the time it takes tells nothing.
 */
export function requireApiKey(app: Api, apiKeys: readonly string[]): void {
  const known = apiKeys.map(digest);
  app.addHook('onRequest', async (request) => {
    const given = /^Bearer +([^\s]+) *$/i.exec(request.headers.authorization ?? '')?.[1];
    if (given === undefined) {
      throw new Problem('unauthorized', 'Send an API key in the header Authorization: Bearer <key>.');
    }
    const hash = digest(given);
    let matches = 0;
    for (const candidate of known) matches |= Number(timingSafeEqual(candidate, hash));
    if (matches === 0) throw new Problem('unauthorized', 'This API key is not known here.');
    request.apiKeyId = hash.toString('hex').slice(0, 16);
  });
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
