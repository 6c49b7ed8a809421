import { createHmac, timingSafeEqual } from 'node:crypto';
import { FORM_LANGUAGES, type FormLanguage } from './form';
import type { TokenKey } from './unsubscribe-token';

/** What was shown to whoever sends a form: signed, so that what is recorded is what they saw. */
export interface FormToken {
  /** `page`: ours, made for one reader. `snippet`: pasted into a page of the shop, for everybody. */
  kind: 'page' | 'snippet';
  formId: string;
  version: number;
  language: FormLanguage;
  issuedAt: Date;
}

const FORMAT = 1;
const MAC_BYTES = 16;
const HEAD_BYTES = 2 + 1 + 1 + 6 + 4 + 16;
const KINDS = ['page', 'snippet'] as const;

/**
 * A signed token for the hidden field of a form, base64url.
 *
 * @param keys at least one; the newest signs
 */
export function signFormToken(token: FormToken, keys: readonly TokenKey[]): string {
  const key = [...keys].sort((a, b) => b.version - a.version)[0];
  if (key === undefined) throw new Error('no token key is configured');
  const payload = Buffer.alloc(HEAD_BYTES);
  payload.writeUInt8(FORMAT, 0);
  payload.writeUInt8(key.version, 1);
  payload.writeUInt8(KINDS.indexOf(token.kind), 2);
  payload.writeUInt8(FORM_LANGUAGES.indexOf(token.language), 3);
  payload.writeUIntBE(token.issuedAt.getTime(), 4, 6);
  payload.writeUInt32BE(token.version, 10);
  payload.write(token.formId.replaceAll('-', ''), 14, 'hex');
  return Buffer.concat([payload, mac(payload, key)]).toString('base64url');
}

/** Reads a token back; null when none of the keys has signed it, or when it was changed. */
export function readFormToken(text: string, keys: readonly TokenKey[]): FormToken | null {
  const bytes = Buffer.from(text, 'base64url');
  // Base64url decoding skips what it doesn't know, so only the one spelling that we would write is taken.
  if (bytes.length !== HEAD_BYTES + MAC_BYTES || bytes.toString('base64url') !== text) return null;
  const payload = bytes.subarray(0, HEAD_BYTES);
  const key = keys.find((candidate) => candidate.version === payload[1]);
  if (payload[0] !== FORMAT || key === undefined) return null;
  if (!timingSafeEqual(bytes.subarray(HEAD_BYTES), mac(payload, key))) return null;
  const kind = KINDS[payload.readUInt8(2)];
  const language = FORM_LANGUAGES[payload.readUInt8(3)];
  if (kind === undefined || language === undefined) return null;
  return {
    kind,
    language,
    issuedAt: new Date(payload.readUIntBE(4, 6)),
    version: payload.readUInt32BE(10),
    formId: payload.toString('hex', 14, 30).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
  };
}

function mac(payload: Buffer, key: TokenKey): Buffer {
  return createHmac('sha256', key.secret).update('form shown').update(payload).digest().subarray(0, MAC_BYTES);
}
