import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Db } from '../db/client';
import { type Reservation, releaseKey, reserveKey, type StoredAnswer, storeAnswer } from '../db/idempotency';
import { Problem } from '../domain/problem';
import type { Api } from './context';

declare module 'fastify' {
  interface FastifyRequest {
    /** Held while this request works under an idempotency key. */
    reservation: Reservation | null;
  }
  interface FastifyContextConfig {
    /**
     * `by-route`: the route reads its body as a stream, and calls `reserveFor` itself once it knows what was sent. The
     * answer is still kept for it. `none`: what is sent or answered is a secret, of which nothing is kept.
     */
    idempotency?: 'by-route' | 'none';
  }
}

/** How long a request waits for the same one that is still running, and how often it looks (ms). */
const WAIT_MS = 5_000;
const LOOK_EVERY_MS = 100;

const MAX_KEY_LENGTH = 255;

/**
 * Honours `Idempotency-Key` on every POST of this scope, after the body was found valid: the same request gets the same
 * answer, another one under the same key is refused. Answers of 500 and above are not kept.
 */
export function honourIdempotencyKeys(app: Api, db: Db): void {
  app.addHook('preHandler', async (request, reply) => {
    if (request.method !== 'POST' || request.routeOptions.config.idempotency !== undefined) return;
    const answer = await reserveFor(db, request, canonicalJson(request.body));
    if (answer !== null) return await replay(reply, answer);
  });

  app.addHook('onSend', async (request, reply, payload) => {
    const { reservation } = request;
    if (reservation === null) return;
    request.reservation = null;
    try {
      if (reply.statusCode >= 500) return await releaseKey(db, reservation);
      await storeAnswer(db, reservation, {
        status: reply.statusCode,
        body: typeof payload === 'string' ? payload : payload instanceof Buffer ? payload.toString('utf8') : '',
        contentType: reply.getHeader('content-type')?.toString() ?? null,
      });
    } catch {
      // What was asked for is done and must be answered. The key frees itself: a minute from now it can be taken over.
      request.log.warn('an answer could not be kept for its idempotency key');
    }
  });
}

/**
 * Takes the request's idempotency key, if it brought one, waiting shortly for the same request that is still running.
 *
 * @param body the body's canonical form, or a digest of it
 * @returns the answer to send again (`replay`); null when there is work to do
 * @throws Problem `invalid-request`, `idempotency-mismatch`, `idempotency-in-progress`
 */
export async function reserveFor(db: Db, request: FastifyRequest, body: string): Promise<StoredAnswer | null> {
  const key = keyOf(request);
  if (key === null) return null;
  const fingerprint = fingerprintOf(request, body);
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const result = await reserveKey(db, key, request.apiKeyId, fingerprint);
    switch (result.kind) {
      case 'reserved':
        request.reservation = result.reservation;
        return null;
      case 'answered':
        return result.answer;
      case 'mismatch':
        throw new Problem(
          'idempotency-mismatch',
          'This Idempotency-Key was used within the last 48 hours with another path or body; use a new key for a new request.',
        );
      case 'in-progress':
        if (Date.now() >= deadline) {
          throw new Problem(
            'idempotency-in-progress',
            'The first request with this key is still running; ask again soon.',
          );
        }
        await sleep(LOOK_EVERY_MS);
    }
  }
}

/**
 * An id that follows from the request's idempotency key and from what it asks for (a UUID of version 8, RFC 9562), for what must be
 * made once even where the first request made it, and died before its answer was kept. Undefined without a key.
 */
export function idOfRequest({ reservation }: FastifyRequest): string | undefined {
  if (reservation === null) return undefined;
  const { scope, key, fingerprint } = reservation;
  const bytes = createHash('sha256')
    .update(JSON.stringify([scope, key, fingerprint]))
    .digest()
    .subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Sends an answer that was given before. */
export async function replay(reply: FastifyReply, answer: StoredAnswer): Promise<FastifyReply> {
  reply.code(answer.status).header('idempotency-replayed', 'true');
  if (answer.contentType !== null) reply.type(answer.contentType);
  return reply.send(answer.body);
}

function keyOf(request: FastifyRequest): string | null {
  const header = request.headers['idempotency-key'];
  if (header === undefined) return null;
  const key = Array.isArray(header) ? header.join(',') : header;
  if (key.length < 1 || key.length > MAX_KEY_LENGTH || !/^[\x20-\x7e]+$/.test(key)) {
    const detail = `must have 1 to ${MAX_KEY_LENGTH} printable ASCII characters, such as a UUID`;
    throw new Problem('invalid-request', `Idempotency-Key ${detail}`, {
      errors: [{ pointer: '/Idempotency-Key', in: 'header', detail }],
    });
  }
  return key;
}

/** What is asked for, hashed: the key's row keeps no body. */
function fingerprintOf(request: FastifyRequest, body: string): string {
  const [path = '', query = ''] = request.url.split(/\?(.*)/s);
  const parameters = new URLSearchParams(query);
  parameters.sort();
  return createHash('sha256')
    .update(JSON.stringify([request.method, path, parameters.toString(), body]))
    .digest('base64url');
}

/** JSON with the fields of every object in order, so that the same body written otherwise is the same request. */
function canonicalJson(value: unknown): string {
  return (
    JSON.stringify(value, (_, inner: unknown) =>
      inner !== null && typeof inner === 'object' && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
    ) ?? ''
  );
}
