import { createHmac, timingSafeEqual } from 'node:crypto';
import type { TokenKey } from './unsubscribe-token';

/** What a link stands for that was mailed to the address on file, so that export or erasure is asked by its reader. */
export interface OwnPageToken {
  linkId: string;
  /** The link is worth nothing after this; whole seconds. */
  expiresAt: Date;
  /** The language of its page. */
  locale: string;
}

const FORMAT = 1;
const MAC_BYTES = 16;
const HEAD_BYTES = 2 + 6 + 16;

/**
 * A signed token for `/me/confirm/{token}`, base64url.
 *
 * @param keys at least one; the newest signs
 */
export function signOwnPageToken(token: OwnPageToken, keys: readonly TokenKey[]): string {
  const key = [...keys].sort((a, b) => b.version - a.version)[0];
  if (key === undefined) throw new Error('no token key is configured');
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(FORMAT, 0);
  head.writeUInt8(key.version, 1);
  head.writeUIntBE(Math.floor(token.expiresAt.getTime() / 1000), 2, 6);
  head.write(token.linkId.replaceAll('-', ''), 8, 'hex');
  const payload = Buffer.concat([head, Buffer.from(token.locale.slice(0, 20), 'ascii')]);
  return Buffer.concat([payload, mac(payload, key)]).toString('base64url');
}

/**
 * Reads a token back, also one that has expired: its page says so. Null when none of the keys has signed it, or when it was
 * changed in any bit.
 */
export function readOwnPageToken(text: string, keys: readonly TokenKey[]): OwnPageToken | null {
  const bytes = Buffer.from(text, 'base64url');
  // Base64url decoding skips what it doesn't know, so only the one spelling that we would write is taken.
  if (bytes.length < HEAD_BYTES + MAC_BYTES || bytes.toString('base64url') !== text) return null;
  const payload = bytes.subarray(0, -MAC_BYTES);
  const key = keys.find((candidate) => candidate.version === payload[1]);
  if (payload[0] !== FORMAT || key === undefined) return null;
  if (!timingSafeEqual(bytes.subarray(-MAC_BYTES), mac(payload, key))) return null;
  return {
    linkId: payload.toString('hex', 8, 24).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    expiresAt: new Date(payload.readUIntBE(2, 6) * 1000),
    locale: payload.subarray(HEAD_BYTES).toString('ascii'),
  };
}

function mac(payload: Buffer, key: TokenKey): Buffer {
  return createHmac('sha256', key.secret).update('own page').update(payload).digest().subarray(0, MAC_BYTES);
}
