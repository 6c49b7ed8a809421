import { createHmac, timingSafeEqual } from 'node:crypto';

/** A secret that signs unsubscribe links. New links use the newest; links signed with older ones stay valid. */
export interface TokenKey {
  /** 1 to 255. */
  version: number;
  secret: Buffer;
}

/** What an unsubscribe link says of itself, so that it works with no row left to look it up in (promise P13). */
export interface UnsubscribeToken {
  /** As `hashAddress` makes it. */
  addressHash: string;
  campaignId: string;
  enrollmentId: string;
  /** The language of its page. */
  locale: string;
}

const FORMAT = 1;
const MAC_BYTES = 16;
const HEAD_BYTES = 3 + 32 + 16 + 16;

/**
 * A signed token for `/u/{token}`, base64url. It never expires: the link in the oldest mail must work.
 *
 * @param keys at least one; the newest signs
 */
export function signUnsubscribeToken(token: UnsubscribeToken, keys: readonly TokenKey[]): string {
  const key = [...keys].sort((a, b) => b.version - a.version)[0];
  if (key === undefined) throw new Error('no token key is configured');
  const dot = token.addressHash.indexOf('.');
  const payload = Buffer.concat([
    Buffer.from([FORMAT, key.version, Number(token.addressHash.slice(0, dot))]),
    Buffer.from(token.addressHash.slice(dot + 1), 'base64url'),
    uuidBytes(token.campaignId),
    uuidBytes(token.enrollmentId),
    Buffer.from(token.locale.slice(0, 20), 'ascii'),
  ]);
  return Buffer.concat([payload, mac(payload, key)]).toString('base64url');
}

/** Reads a token back; null when it was not signed by one of the keys, or was changed in any bit. */
export function readUnsubscribeToken(text: string, keys: readonly TokenKey[]): UnsubscribeToken | null {
  const bytes = Buffer.from(text, 'base64url');
  // Base64url decoding skips what it doesn't know, so only the one spelling that we would write is taken.
  if (bytes.length < HEAD_BYTES + MAC_BYTES || bytes.toString('base64url') !== text) return null;
  const payload = bytes.subarray(0, -MAC_BYTES);
  const key = keys.find((candidate) => candidate.version === payload[1]);
  if (payload[0] !== FORMAT || key === undefined) return null;
  if (!timingSafeEqual(bytes.subarray(-MAC_BYTES), mac(payload, key))) return null;
  return {
    addressHash: `${payload[2]}.${payload.subarray(3, 35).toString('base64url')}`,
    campaignId: uuidText(payload.subarray(35, 51)),
    enrollmentId: uuidText(payload.subarray(51, 67)),
    locale: payload.subarray(67).toString('ascii'),
  };
}

function mac(payload: Buffer, key: TokenKey): Buffer {
  return createHmac('sha256', key.secret).update('unsubscribe').update(payload).digest().subarray(0, MAC_BYTES);
}

function uuidBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
