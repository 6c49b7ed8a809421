import {
  localeBytes,
  readToken,
  secondsBytes,
  secondsDate,
  signToken,
  type TokenKey,
  uuidBytes,
  uuidText,
} from './signed-token';

/** What a link stands for that was mailed to the address on file, so that export or erasure is asked by its reader. */
export interface OwnPageToken {
  linkId: string;
  /** The link is worth nothing after this; whole seconds. */
  expiresAt: Date;
  /** The language of its page. */
  locale: string;
}

const LEAST_BYTES = 6 + 16;

/** A signed token for `/me/confirm/{token}`. @param keys at least one */
export function signOwnPageToken(token: OwnPageToken, keys: readonly TokenKey[]): string {
  const parts = [secondsBytes(token.expiresAt), uuidBytes(token.linkId), localeBytes(token.locale)];
  return signToken('own page', Buffer.concat(parts), keys);
}

/**
 * Reads a token back, also one that has expired: its page says so. Null when none of the keys has signed it, or when it was
 * changed in any bit.
 */
export function readOwnPageToken(text: string, keys: readonly TokenKey[]): OwnPageToken | null {
  const body = readToken('own page', text, keys, LEAST_BYTES);
  if (body === null) return null;
  return { linkId: uuidText(body.subarray(6, 22)), expiresAt: secondsDate(body), locale: body.toString('ascii', 22) };
}
