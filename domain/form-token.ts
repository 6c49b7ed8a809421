import { FORM_LANGUAGES, type FormLanguage } from './form';
import { readToken, signToken, type TokenKey, uuidBytes, uuidText } from './signed-token';

/** What was shown to whoever sends a form: signed, so that what is recorded is what they saw. */
export interface FormToken {
  /** `page`: ours, made for one reader. `snippet`: pasted into a page of the shop, for everybody. */
  kind: 'page' | 'snippet';
  formId: string;
  version: number;
  language: FormLanguage;
  issuedAt: Date;
}

const KINDS = ['page', 'snippet'] as const;
/** Kind, language, time in ms, version. */
const HEAD_BYTES = 1 + 1 + 6 + 4;

/** A signed token for the hidden field of a form. @param keys at least one */
export function signFormToken(token: FormToken, keys: readonly TokenKey[]): string {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(KINDS.indexOf(token.kind), 0);
  head.writeUInt8(FORM_LANGUAGES.indexOf(token.language), 1);
  head.writeUIntBE(token.issuedAt.getTime(), 2, 6);
  head.writeUInt32BE(token.version, 8);
  return signToken('form shown', Buffer.concat([head, uuidBytes(token.formId)]), keys);
}

/** Reads a token back; null when none of the keys has signed it, or when it was changed. */
export function readFormToken(text: string, keys: readonly TokenKey[]): FormToken | null {
  const body = readToken('form shown', text, keys, HEAD_BYTES + 16);
  if (body === null) return null;
  const kind = KINDS[body.readUInt8(0)];
  const language = FORM_LANGUAGES[body.readUInt8(1)];
  if (kind === undefined || language === undefined) return null;
  return {
    kind,
    language,
    issuedAt: new Date(body.readUIntBE(2, 6)),
    version: body.readUInt32BE(8),
    formId: uuidText(body.subarray(HEAD_BYTES, HEAD_BYTES + 16)),
  };
}
