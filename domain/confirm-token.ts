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

const LEAST_BYTES = 33 + 16 + 16;
const NO_FORM = Buffer.alloc(16);

/** A signed token for `/c/{token}`. When it expires, and whether it was used, stands in the request's row. @param keys at least one */
export function signConfirmToken(token: ConfirmToken, keys: readonly TokenKey[]): string {
  const form = token.formId === null ? NO_FORM : uuidBytes(token.formId);
  const parts = [hashBytes(token.addressHash), uuidBytes(token.requestId), form, localeBytes(token.locale)];
  return signToken('confirm request', Buffer.concat(parts), keys);
}

/** Reads a token back; null when it was not signed by one of the keys, or was changed in any bit. */
export function readConfirmToken(text: string, keys: readonly TokenKey[]): ConfirmToken | null {
  const body = readToken('confirm request', text, keys, LEAST_BYTES);
  if (body === null) return null;
  const form = body.subarray(49, 65);
  return {
    addressHash: hashText(body.subarray(0, 33)),
    requestId: uuidText(body.subarray(33, 49)),
    formId: form.equals(NO_FORM) ? null : uuidText(form),
    locale: body.toString('ascii', 65),
  };
}
