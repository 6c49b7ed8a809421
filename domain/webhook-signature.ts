import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

// Signatures of Standard Webhooks (standardwebhooks.com, specification 1.0): HMAC-SHA256 over id, time and body.

/** How far the signer's clock may be from ours, and how long a request may take, ms. */
export const TOLERANCE_MS = 5 * 60_000;

/** What `deriveKey` makes the key of `endpointSecret` for. */
export const OUTGOING_WEBHOOKS = 'outgoing webhooks';

/** The three headers. */
export type SignedHeaders = {
  'webhook-id': string;
  /** Seconds since 1970. */
  'webhook-timestamp': string;
  /** `v1,<base64>`, several separated by spaces. */
  'webhook-signature': string;
};

/**
 * The secret of an endpoint, as its owner is shown it. It is derived, so that it is kept nowhere: a dump of the database
 * can't sign anything.
 *
 * @param key `deriveKey(masterKey, OUTGOING_WEBHOOKS)`
 */
export function endpointSecret(key: Buffer, endpointId: string, version: number): string {
  return `whsec_${createHmac('sha256', key).update(`${endpointId}.${version}`).digest('base64')}`;
}

/** Signs a body with each of the secrets, so that one can be replaced while its owner still knows the other only. */
export function signWebhook(id: string, body: string, secrets: readonly string[], now: Date): SignedHeaders {
  const timestamp = String(Math.floor(now.getTime() / 1000));
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': secrets.map((secret) => `v1,${signature(secret, id, timestamp, body)}`).join(' '),
  };
}

/** Whether whoever knows the secret has signed this, just now. Compared in a time that tells nothing. */
export function isSignedWebhook(
  headers: Readonly<Record<string, unknown>>,
  body: Buffer | string,
  secret: string,
  now: Date,
): boolean {
  const id = headers['webhook-id'];
  const timestamp = headers['webhook-timestamp'];
  const given = headers['webhook-signature'];
  if (typeof id !== 'string' || id === '' || typeof timestamp !== 'string' || typeof given !== 'string') return false;
  if (!/^\d{1,12}$/.test(timestamp) || keyOf(secret).length === 0) return false;
  const expected = digest(signature(secret, id, timestamp, body));
  const isRight = given
    .split(' ')
    .filter((part) => part.startsWith('v1,'))
    .some((part) => timingSafeEqual(digest(part.slice(3)), expected));
  return isRight && Math.abs(now.getTime() - Number(timestamp) * 1000) <= TOLERANCE_MS;
}

function signature(secret: string, id: string, timestamp: string, body: Buffer | string): string {
  return createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest('base64');
}

function keyOf(secret: string): Buffer {
  return Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
}

function digest(value: string): Buffer {
  return createHash('sha256').update(value).digest();
}
