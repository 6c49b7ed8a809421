import { createHmac, timingSafeEqual } from 'node:crypto';
import type { TokenKey } from './unsubscribe-token';

/** What a link in a mail to salespeople stands for: one enrollment, and the message that it was about. */
export interface StaffToken {
  enrollmentId: string;
  inboundId: string;
  /** The link is worth nothing after this. */
  expiresAt: Date;
}

/** For this long a salesperson may act on an answer by its link. */
export const STAFF_LINK_DAYS = 90;

const FORMAT = 1;
const MAC_BYTES = 16;
const HEAD_BYTES = 2 + 6 + 16 + 16;

/**
 * A signed token for `/s/{token}`, base64url. Whoever has the link may act, so it expires.
 *
 * @param keys at least one; the newest signs
 */
export function signStaffToken(token: StaffToken, keys: readonly TokenKey[]): string {
  const key = [...keys].sort((a, b) => b.version - a.version)[0];
  if (key === undefined) throw new Error('no token key is configured');
  const payload = Buffer.alloc(HEAD_BYTES);
  payload.writeUInt8(FORMAT, 0);
  payload.writeUInt8(key.version, 1);
  payload.writeUIntBE(Math.floor(token.expiresAt.getTime() / 1000), 2, 6);
  payload.write(token.enrollmentId.replaceAll('-', ''), 8, 'hex');
  payload.write(token.inboundId.replaceAll('-', ''), 24, 'hex');
  return Buffer.concat([payload, mac(payload, key)]).toString('base64url');
}

/** Reads a token back; null when none of the keys has signed it, when it was changed, or when it has expired. */
export function readStaffToken(text: string, keys: readonly TokenKey[], now: Date): StaffToken | null {
  const bytes = Buffer.from(text, 'base64url');
  // Base64url decoding skips what it doesn't know, so only the one spelling that we would write is taken.
  if (bytes.length !== HEAD_BYTES + MAC_BYTES || bytes.toString('base64url') !== text) return null;
  const payload = bytes.subarray(0, HEAD_BYTES);
  const key = keys.find((candidate) => candidate.version === payload[1]);
  if (payload[0] !== FORMAT || key === undefined) return null;
  if (!timingSafeEqual(bytes.subarray(HEAD_BYTES), mac(payload, key))) return null;
  const expiresAt = new Date(payload.readUIntBE(2, 6) * 1000);
  if (expiresAt <= now) return null;
  return { enrollmentId: uuidAt(payload, 8), inboundId: uuidAt(payload, 24), expiresAt };
}

function mac(payload: Buffer, key: TokenKey): Buffer {
  return createHmac('sha256', key.secret).update('staff link').update(payload).digest().subarray(0, MAC_BYTES);
}

function uuidAt(bytes: Buffer, at: number): string {
  return bytes.toString('hex', at, at + 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
