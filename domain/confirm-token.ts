import { createHmac, timingSafeEqual } from 'node:crypto';
import type { TokenKey } from './unsubscribe-token';

/** What a link that confirms a request says of itself. */
export interface ConfirmToken {
  requestId: string;
  /** As `hashAddress` makes it: "don't write to me again" works after everything else about the request is gone. */
  addressHash: string;
  /** Where to ask anew; null where it was asked without a form. */
  formId: string | null;
  /** The language of its page. */
  locale: string;
}

const FORMAT = 1;
const MAC_BYTES = 16;
const HEAD_BYTES = 3 + 32 + 16 + 16;
const NO_FORM = Buffer.alloc(16);

/**
 * A signed token for `/c/{token}`, base64url. When it expires, and whether it was used, stands in the request's row.
 *
 * @param keys at least one; the newest signs
 */
export function signConfirmToken(token: ConfirmToken, keys: readonly TokenKey[]): string {
  const key = [...keys].sort((a, b) => b.version - a.version)[0];
  if (key === undefined) throw new Error('no token key is configured');
  const dot = token.addressHash.indexOf('.');
  const payload = Buffer.concat([
    Buffer.from([FORMAT, key.version, Number(token.addressHash.slice(0, dot))]),
    Buffer.from(token.addressHash.slice(dot + 1), 'base64url'),
    uuidBytes(token.requestId),
    token.formId === null ? NO_FORM : uuidBytes(token.formId),
    Buffer.from(token.locale.slice(0, 20), 'ascii'),
  ]);
  return Buffer.concat([payload, mac(payload, key)]).toString('base64url');
}

/** Reads a token back; null when it was not signed by one of the keys, or was changed in any bit. */
export function readConfirmToken(text: string, keys: readonly TokenKey[]): ConfirmToken | null {
  const bytes = Buffer.from(text, 'base64url');
  // Base64url decoding skips what it doesn't know, so only the one spelling that we would write is taken.
  if (bytes.length < HEAD_BYTES + MAC_BYTES || bytes.toString('base64url') !== text) return null;
  const payload = bytes.subarray(0, -MAC_BYTES);
  const key = keys.find((candidate) => candidate.version === payload[1]);
  if (payload[0] !== FORMAT || key === undefined) return null;
  if (!timingSafeEqual(bytes.subarray(-MAC_BYTES), mac(payload, key))) return null;
  const form = payload.subarray(51, 67);
  return {
    addressHash: `${payload[2]}.${payload.subarray(3, 35).toString('base64url')}`,
    requestId: uuidText(payload.subarray(35, 51)),
    formId: form.equals(NO_FORM) ? null : uuidText(form),
    locale: payload.subarray(67).toString('ascii'),
  };
}

function mac(payload: Buffer, key: TokenKey): Buffer {
  return createHmac('sha256', key.secret).update('confirm request').update(payload).digest().subarray(0, MAC_BYTES);
}

function uuidBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
