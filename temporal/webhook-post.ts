import { lookup } from 'node:dns/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import type { Answer } from '../db/webhook-deliveries';
import { errorCode } from '../domain/error-code';
import { isPublicAddress, literalAddress } from '../domain/public-address';
import type { SignedHeaders } from '../domain/webhook-signature';

/** Sends a body to another system. Never rejects: why there was no answer is a code in it. */
export type PostWebhook = (url: string, body: string, headers: SignedHeaders) => Promise<Answer>;

export interface Address {
  address: string;
  family: number;
}

export interface PostOptions {
  /** Also to private, loopback and other addresses that are none of the internet's, and without TLS. */
  toPrivate: boolean;
  resolve?: (hostname: string) => Promise<Address[]>;
  /** For the whole of it, ms. */
  deadlineMs?: number;
}

const DEADLINE_MS = 10_000;
/** Of an answer nothing but its status is of interest; this much of the rest is taken, so that the other side can finish. */
const ANSWER_BYTES = 64 * 1024;

/**
 * Makes what delivers webhooks. A host's addresses are looked up once, all of them checked, and one of those that were checked
 * is connected to: a name that resolves to something else a moment later leads nowhere else. No redirect is followed.
 */
export function createPostWebhook({
  toPrivate,
  resolve = resolveAll,
  deadlineMs = DEADLINE_MS,
}: PostOptions): PostWebhook {
  return async (url, body, headers) => {
    const deadline = AbortSignal.timeout(deadlineMs);
    try {
      const target = new URL(url);
      if (target.protocol !== 'https:' && !toPrivate) return { failure: 'not-https' };
      const addresses = await within(deadline, addressesOf(target.hostname, resolve));
      if (addresses.length === 0) return { failure: 'no-address' };
      if (!toPrivate && !addresses.every(({ address }) => isPublicAddress(address)))
        return { failure: 'private-address' };
      return await send(target, addresses, body, headers, deadline);
    } catch (error) {
      return { failure: deadline.aborted ? 'timeout' : errorCode(error) };
    }
  };
}

async function addressesOf(hostname: string, resolve: NonNullable<PostOptions['resolve']>): Promise<Address[]> {
  const literal = literalAddress(hostname);
  return literal === null ? await resolve(hostname) : [{ address: literal, family: literal.includes(':') ? 6 : 4 }];
}

async function resolveAll(hostname: string): Promise<Address[]> {
  return await lookup(hostname, { all: true });
}

function within<T>(deadline: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    deadline.addEventListener('abort', () => reject(deadline.reason), { once: true });
    work.then(resolve, reject);
  });
}

function send(
  target: URL,
  addresses: readonly Address[],
  body: string,
  headers: SignedHeaders,
  deadline: AbortSignal,
): Promise<Answer> {
  const checked: LookupFunction = (_hostname, options, done) => {
    const [first] = addresses;
    if (options.all === true) done(null, [...addresses]);
    else done(null, first?.address ?? '', first?.family);
  };
  return new Promise((resolve, reject) => {
    let answer: Answer | null = null;
    // However it ends, by itself, by a fault or at the deadline: what counts was said, if anything was.
    const end = (error: Error) => (answer === null ? reject(error) : resolve(answer));
    const request = (target.protocol === 'https:' ? httpsRequest : httpRequest)(
      target,
      {
        method: 'POST',
        // Connections are not kept: one that was opened for an address stays with it.
        agent: false,
        lookup: checked,
        signal: deadline,
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          'user-agent': 'Recuerda-Webhooks',
          ...headers,
        },
      },
      (response) => {
        const { statusCode = 0 } = response;
        answer = { status: statusCode };
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > ANSWER_BYTES) response.destroy();
        });
        response.on('error', end);
        response.on('close', () => resolve({ status: statusCode }));
      },
    );
    request.on('error', end);
    request.end(body);
  });
}
