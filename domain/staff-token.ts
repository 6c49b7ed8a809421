import { readToken, secondsBytes, secondsDate, signToken, type TokenKey, uuidBytes, uuidText } from './signed-token';

/** What a link in a mail to salespeople stands for: one enrollment, and the message that it was about. */
export interface StaffToken {
  enrollmentId: string;
  inboundId: string;
  /** The link is worth nothing after this. */
  expiresAt: Date;
}

/** For this long a salesperson may act on an answer by its link. */
export const STAFF_LINK_DAYS = 90;

const BYTES = 6 + 16 + 16;

/** A signed token for `/s/{token}`. Whoever has the link may act, so it expires. @param keys at least one */
export function signStaffToken(token: StaffToken, keys: readonly TokenKey[]): string {
  const parts = [secondsBytes(token.expiresAt), uuidBytes(token.enrollmentId), uuidBytes(token.inboundId)];
  return signToken('staff link', Buffer.concat(parts), keys);
}

/** Reads a token back; null when none of the keys has signed it, when it was changed, or when it has expired. */
export function readStaffToken(text: string, keys: readonly TokenKey[], now: Date): StaffToken | null {
  const body = readToken('staff link', text, keys, BYTES);
  if (body === null) return null;
  const expiresAt = secondsDate(body);
  if (expiresAt <= now) return null;
  return { enrollmentId: uuidText(body.subarray(6, 22)), inboundId: uuidText(body.subarray(22, 38)), expiresAt };
}
