// Reading what a provider sends: nothing in it can be relied on to be there, or to be of the type that is documented.

/** The most that is kept of a text, in characters: what servers answer can be long. */
const MOST_TEXT = 2_000;

/** What Postgres refuses in a text: the character NUL, and halves of characters. */
const UNSTORABLE = /\0|\p{Cs}/gu;

/** @returns null for what is no text, or holds nothing but blanks */
export function textOf(value: unknown): string | null {
  if (typeof value !== 'string' || value.trim() === '') return null;
  return value.trim().slice(0, MOST_TEXT).replace(UNSTORABLE, '\uFFFD');
}

/** The fields of a JSON object; none of what is no object. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {};
}

/** The objects in a JSON list; what else is in it is left out. */
export function objectsOf(value: unknown): Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A time as ISO 8601 in UTC.
 *
 * @param value ISO 8601, or seconds since 1970
 * @param otherwise when it is neither
 */
export function timeOf(value: unknown, otherwise: Date): string {
  const seconds = typeof value === 'number' ? value : /^\d{9,11}(\.\d+)?$/.test(String(value)) ? Number(value) : null;
  const at = seconds === null ? new Date(textOf(value) ?? Number.NaN) : new Date(seconds * 1000);
  return (Number.isNaN(at.getTime()) ? otherwise : at).toISOString();
}

/** A Message-ID in angle brackets, which some providers take off. */
export function messageIdOf(value: unknown): string | null {
  const id = textOf(value)?.replace(/^<|>$/g, '');
  return id === undefined || /[\s<>]/.test(id) ? null : `<${id}>`;
}

/**
 * The reply code and the enhanced status code (RFC 3463) that a server's answer holds, such as
 * `smtp; 550 5.1.1 user unknown`; null where there is none. Only where an answer begins: numbers follow that are none.
 */
export function codesIn(answer: string | null): { code: number | null; enhanced: string | null } {
  const begins = /^(?:(?:smtp|x-[\w-]+); *)?(?:([2-5]\d\d)(?=[ -]|$)[ -]?)?#?(?:([245]\.\d{1,3}\.\d{1,3})(?![\d.]))?/i;
  const [, code, enhanced] = begins.exec(answer?.trim() ?? '') ?? [];
  return { code: code === undefined ? null : Number(code), enhanced: enhanced ?? null };
}

/** An enhanced status code that stands alone in a field; `5.0.0` and the like say nothing that the answer doesn't. */
export function enhancedOf(value: unknown): string | null {
  const text = textOf(value);
  return text !== null && /^[245]\.\d{1,3}\.\d{1,3}$/.test(text) ? text : null;
}

/** A reply code (RFC 5321, 4.2), written as a number or as a text. */
export function replyCodeOf(value: unknown): number | null {
  const code = Number(value);
  return Number.isInteger(code) && code >= 200 && code <= 599 ? code : null;
}

/** What a table has under a name that came from outside; null where it has none. */
export function entryOf<T>(table: Readonly<Record<string, T>>, name: unknown): T | null {
  return typeof name === 'string' && Object.hasOwn(table, name) ? (table[name] ?? null) : null;
}
