import { createHmac } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { deriveKey } from '../config';
import type { Db } from '../db/client';
import { type ThrottleRule, throttle } from '../db/throttle';
import { Problem } from '../domain/problem';

const QUARTER_MS = 15 * 60_000;

/** Failed tries to sign in, of one account from wherever: few enough that a poor password is not found by trying. */
export const ACCOUNT_RULE: ThrottleRule = { hits: 10, windowMs: QUARTER_MS };
/** Failed tries to sign in, from one address on whatever account: an office behind one address may mistype. */
export const SIGN_IN_RULE: ThrottleRule = { hits: 50, windowMs: QUARTER_MS };
/** Wrong API keys from one address. A right one always passes. */
export const WRONG_KEY_RULE: ThrottleRule = { hits: 30, windowMs: QUARTER_MS };

/** The bucket of an address, an IP or whatever else is counted under `kind`: a keyed hash, which tells nothing of it. */
export function bucketOf(masterKey: Buffer, kind: string, value: string): string {
  return createHmac('sha256', deriveKey(masterKey, 'throttle')).update(`${kind}\0${value}`).digest('base64url');
}

/** What counts as one address: of IPv6 the network, which one customer has as a whole (RFC 6177). */
export function networkOf(ip: string): string {
  if (!isIPv6(ip)) return ip;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = '', tail] = ip.split('%', 1)[0]?.split('::') ?? [];
  const first = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  const groups = [...first, ...new Array<string>(zeros).fill('0'), ...last];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

/** Counts a try. @throws Problem `too-many-requests` when there were too many */
export async function countTry(db: Db, bucket: string, rule: ThrottleRule, now: Date): Promise<void> {
  const waitMs = await throttle(db, bucket, rule, now);
  if (waitMs !== null) throw tooManyRequests(waitMs);
}

/** @param waitMs for how long none is let through */
export function tooManyRequests(waitMs: number): Problem {
  const retryAfter = Math.max(1, Math.ceil(waitMs / 1000));
  return new Problem('too-many-requests', `There were too many tries; try again in ${retryAfter} seconds.`, {
    retryAfter,
  });
}
