import { createHmac, timingSafeEqual } from 'node:crypto';

/** A secret that signs links. New links use the newest; links signed with older ones stay valid. */
export interface TokenKey {
  /** 1 to 255. */
  version: number;
  secret: Buffer;
}

const FORMAT = 1;
const HEAD_BYTES = 2;
const MAC_BYTES = 16;

/** What a token is for: it is a part of the MAC, so that one of another purpose is worth nothing. Never to be changed. */
export type TokenPurpose = 'unsubscribe' | 'staff link' | 'confirm request' | 'own page' | 'form shown';

/**
 * A signed token for a link or a hidden field, base64url: format, key version, body, and 16 bytes of HMAC-SHA256.
 *
 * @param keys at least one; the newest signs
 */
export function signToken(purpose: TokenPurpose, body: Buffer, keys: readonly TokenKey[]): string {
  const key = [...keys].sort((a, b) => b.version - a.version)[0];
  if (key === undefined) throw new Error('no token key is configured');
  const payload = Buffer.concat([Buffer.from([FORMAT, key.version]), body]);
  return Buffer.concat([payload, mac(purpose, payload, key)]).toString('base64url');
}

/**
 * The body of a token; null when none of the keys has signed it for this purpose, when it was changed in any bit, or when it
 * is shorter than `least` bytes.
 */
export function readToken(
  purpose: TokenPurpose,
  text: string,
  keys: readonly TokenKey[],
  least: number,
): Buffer | null {
  const bytes = Buffer.from(text, 'base64url');
  // Base64url decoding skips what it doesn't know, so only the one spelling that we would write is taken.
  if (bytes.length < HEAD_BYTES + least + MAC_BYTES || bytes.toString('base64url') !== text) return null;
  const payload = bytes.subarray(0, -MAC_BYTES);
  const key = keys.find((candidate) => candidate.version === payload[1]);
  if (payload[0] !== FORMAT || key === undefined) return null;
  return timingSafeEqual(bytes.subarray(-MAC_BYTES), mac(purpose, payload, key)) ? payload.subarray(HEAD_BYTES) : null;
}

function mac(purpose: TokenPurpose, payload: Buffer, key: TokenKey): Buffer {
  return createHmac('sha256', key.secret).update(purpose).update(payload).digest().subarray(0, MAC_BYTES);
}

/** The 16 bytes of a UUID. */
export function uuidBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

/** A UUID of 16 bytes, in lower case. */
export function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** An address hash as `hashAddress` makes it, in 33 bytes: key version and HMAC. */
export function hashBytes(addressHash: string): Buffer {
  const dot = addressHash.indexOf('.');
  return Buffer.concat([
    Buffer.from([Number(addressHash.slice(0, dot))]),
    Buffer.from(addressHash.slice(dot + 1), 'base64url'),
  ]);
}

/** What `hashBytes` was given. */
export function hashText(bytes: Buffer): string {
  return `${bytes[0]}.${bytes.subarray(1).toString('base64url')}`;
}

/** A language tag as tokens carry it, at their end. */
export function localeBytes(locale: string): Buffer {
  return Buffer.from(locale.slice(0, 20), 'ascii');
}

/** A moment in whole seconds, in 6 bytes. */
export function secondsBytes(at: Date): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(Math.floor(at.getTime() / 1000), 0, 6);
  return bytes;
}

/** What `secondsBytes` was given, without its milliseconds. */
export function secondsDate(bytes: Buffer): Date {
  return new Date(bytes.readUIntBE(0, 6) * 1000);
}
