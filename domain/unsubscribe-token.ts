import {
  hashBytes,
  hashText,
  localeBytes,
  readToken,
  signToken,
  type TokenKey,
  uuidBytes,
  uuidText,
} from './signed-token';

/** What an unsubscribe link says of itself, so that it works with no row left to look it up in (promise P13). */
export interface UnsubscribeToken {
  /** As `hashAddress` makes it. */
  addressHash: string;
  campaignId: string;
  enrollmentId: string;
  /** The language of its page. */
  locale: string;
}

const LEAST_BYTES = 33 + 16 + 16;

/** A signed token for `/u/{token}`. It never expires: the link in the oldest mail must work. @param keys at least one */
export function signUnsubscribeToken(token: UnsubscribeToken, keys: readonly TokenKey[]): string {
  const { addressHash, campaignId, enrollmentId, locale } = token;
  const parts = [hashBytes(addressHash), uuidBytes(campaignId), uuidBytes(enrollmentId), localeBytes(locale)];
  return signToken('unsubscribe', Buffer.concat(parts), keys);
}

/** Reads a token back; null when it was not signed by one of the keys, or was changed in any bit. */
export function readUnsubscribeToken(text: string, keys: readonly TokenKey[]): UnsubscribeToken | null {
  const body = readToken('unsubscribe', text, keys, LEAST_BYTES);
  if (body === null) return null;
  return {
    addressHash: hashText(body.subarray(0, 33)),
    campaignId: uuidText(body.subarray(33, 49)),
    enrollmentId: uuidText(body.subarray(49, 65)),
    locale: body.toString('ascii', 65),
  };
}
