import { createHmac, timingSafeEqual } from 'node:crypto';
import { base32Decode, base32Encode } from './base32';
import { type TokenKey, uuidBytes, uuidText } from './signed-token';

/** One mail of ours. */
export type MailRef =
  /** A step of an enrollment; `copy` counts repeats of the initial information (0 for the first). */
  | { kind: 'enrollment'; id: string; step: number; copy: number }
  /** A mail of the transactional stream, forwarded replies and alerts included. */
  | { kind: 'transactional'; id: string }
  /** A test that was sent to its author. */
  | { kind: 'test'; id: string };

/** Where a token stands. One that was made for one place is worth nothing in another. */
export type MailTokenPurpose = 'message-id' | 'return-path' | 'reply' | 'unsubscribe';

const KINDS = ['enrollment', 'transactional', 'test'] as const;
const MAC_BYTES = 7;
/** Key version, kind and step, copy (two), UUID. */
const HEAD_BYTES = 1 + 1 + 2 + 16;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Characters of a token. With a mailbox name of up to 19 characters and a `+` it fits a local part (RFC 5321, 4.5.3.1.1). */
export const MAIL_TOKEN_LENGTH = Math.ceil(((HEAD_BYTES + MAC_BYTES) * 8) / 5);

/**
 * A signed token that names one mail, in lower-case base32 since mail systems fold case. The same mail, purpose and keys
 * give the same token.
 *
 * @param keys at least one; the newest signs
 * @throws RangeError when the reference is not one of a mail of ours
 */
export function signMailToken(purpose: MailTokenPurpose, ref: MailRef, keys: readonly TokenKey[]): string {
  const key = [...keys].sort((a, b) => b.version - a.version)[0];
  if (key === undefined) throw new Error('no token key is configured');
  const id = ref.id.toLowerCase();
  const { step, copy } = ref.kind === 'enrollment' ? ref : { step: 0, copy: 0 };
  if (!UUID.test(id)) throw new RangeError('a mail is known by a UUID');
  if (!isCount(step, 31) || !isCount(copy, 0xffff)) throw new RangeError('step and copy are small counts');
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(key.version, 0);
  head.writeUInt8((KINDS.indexOf(ref.kind) << 5) | step, 1);
  head.writeUInt16BE(copy, 2);
  uuidBytes(id).copy(head, 4);
  return base32Encode(Buffer.concat([head, mac(purpose, head, key)]));
}

/** Reads a token back, whatever its case; null when none of the keys has signed it for this purpose. */
export function readMailToken(purpose: MailTokenPurpose, text: string, keys: readonly TokenKey[]): MailRef | null {
  if (text.length !== MAIL_TOKEN_LENGTH) return null;
  const bytes = base32Decode(text.toLowerCase());
  if (bytes === null || bytes.length !== HEAD_BYTES + MAC_BYTES) return null;
  const head = bytes.subarray(0, HEAD_BYTES);
  const key = keys.find((candidate) => candidate.version === head[0]);
  if (key === undefined || !timingSafeEqual(bytes.subarray(HEAD_BYTES), mac(purpose, head, key))) return null;
  const kind = KINDS[head.readUInt8(1) >> 5];
  const id = uuidText(head.subarray(4));
  if (kind === undefined) return null;
  if (kind !== 'enrollment') return { kind, id };
  return { kind, id, step: head.readUInt8(1) & 31, copy: head.readUInt16BE(2) };
}

function mac(purpose: MailTokenPurpose, head: Buffer, key: TokenKey): Buffer {
  return createHmac('sha256', key.secret).update(`mail ${purpose}`).update(head).digest().subarray(0, MAC_BYTES);
}

function isCount(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= most;
}
