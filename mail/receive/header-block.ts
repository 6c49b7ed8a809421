import { decodeBytes, decodeWords } from './charset';

/** Header fields as they stand: names in lower case, values unfolded, not decoded. */
export type Fields = ReadonlyMap<string, readonly string[]>;

/** More than real mail has (a few hundred at the very most); a message of header lines only must not fill the memory. */
const MAX_FIELDS = 2_000;
/** One value's length; long References are some ten thousand characters. */
const MAX_VALUE = 65_536;

const FIELD = /^([!-9;-~]{1,120})[ \t]*:[ \t]?(.*)$/s;

/**
 * Reads the header at the start of `bytes` (RFC 5322, 2.2). CRLF and bare LF both end a line; a line that can't belong to
 * a header ends it, as if the empty line had been forgotten.
 *
 * @returns the fields, and where the body begins
 */
export function readFields(bytes: Buffer): { fields: Map<string, string[]>; bodyStart: number } {
  const lines: FieldLines[] = [];
  let at = 0;
  while (at < bytes.length) {
    const feed = bytes.indexOf(10, at);
    const next = feed === -1 ? bytes.length : feed + 1;
    const line = lineText(bytes, at, feed === -1 ? bytes.length : feed);
    if (line === '') return { fields: byName(lines), bodyStart: next };
    if (!takeLine(lines, line)) return { fields: byName(lines), bodyStart: at };
    at = next;
  }
  return { fields: byName(lines), bodyStart: bytes.length };
}

interface FieldLines {
  name: string;
  pieces: string[];
  length: number;
}

/** @returns false for a line that is no field and no continuation: it is body already */
function takeLine(lines: FieldLines[], line: string): boolean {
  if (/^[ \t]/.test(line)) {
    const last = lines[lines.length - 1];
    if (last !== undefined && last.length < MAX_VALUE) {
      last.pieces.push(line.trim());
      last.length += line.length + 1;
    }
    return last !== undefined;
  }
  const field = FIELD.exec(line);
  // The separator of mbox files is passed over.
  if (field === null) return /^>?From /.test(line);
  if (lines.length < MAX_FIELDS) {
    lines.push({ name: (field[1] ?? '').toLowerCase(), pieces: [(field[2] ?? '').trim()], length: line.length });
  }
  return true;
}

function lineText(bytes: Buffer, start: number, feed: number): string {
  const end = feed > start && bytes[feed - 1] === 13 ? feed - 1 : feed;
  return decodeBytes(bytes.subarray(start, Math.min(end, start + MAX_VALUE)), null);
}

function byName(lines: readonly FieldLines[]): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  for (const { name, pieces } of lines) {
    const values = fields.get(name) ?? [];
    values.push(pieces.join(' ').trim());
    fields.set(name, values);
  }
  return fields;
}

/** The same with encoded words decoded. */
export function decodedFields(fields: Fields): Map<string, readonly string[]> {
  return new Map([...fields].map(([name, values]) => [name, values.map((value) => clean(decodeWords(value)))]));
}

/** An encoded word may hide line breaks and other control characters. */
function clean(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that must go.
  return value.replace(/[\u0000-\u001f\u007f]+/g, ' ').trim();
}

/** A value with parameters (RFC 2045, 5.1; RFC 2231 continuations and charsets). Names in lower case. */
export function readParameters(value: string): { value: string; parameters: Record<string, string> } {
  const semicolon = value.indexOf(';');
  const head = (semicolon === -1 ? value : value.slice(0, semicolon)).trim().toLowerCase();
  const found: Record<string, string> = Object.create(null);
  const pattern = /;?\s*([^\s=;"]{1,60})\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)/gs;
  for (const [, name = '', raw = ''] of (semicolon === -1 ? '' : value.slice(semicolon, semicolon + 4_096)).matchAll(
    pattern,
  )) {
    const text = raw.startsWith('"') ? raw.replace(/^"|"$/g, '').replace(/\\(.)/gs, '$1') : raw.trim();
    found[name.toLowerCase()] ??= text;
  }
  return { value: head.replace(/\s+/g, ''), parameters: joinContinuations(found) };
}

function joinContinuations(found: Record<string, string>): Record<string, string> {
  const parameters: Record<string, string> = Object.create(null);
  for (const name of Object.keys(found)) {
    const base = /^(.+?)\*(?:0\*?)?$/.exec(name)?.[1];
    if (base === undefined) {
      if (!/\*\d+\*?$/.test(name)) parameters[name] = decodeWords(found[name] ?? '');
      continue;
    }
    parameters[base] = extended(found, base);
  }
  return parameters;
}

function extended(found: Record<string, string>, base: string): string {
  const single = found[`${base}*`];
  if (single !== undefined) return percentDecoded(single);
  let text = '';
  for (let index = 0; index < 100; index += 1) {
    const piece = found[`${base}*${index}*`] ?? found[`${base}*${index}`];
    if (piece === undefined) break;
    text += piece;
  }
  return found[`${base}*0*`] === undefined ? text : percentDecoded(text);
}

function percentDecoded(text: string): string {
  const [, charset = '', encoded = text] = /^([^']*)'[^']*'(.*)$/s.exec(text) ?? [];
  const bytes = encoded.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return decodeBytes(Buffer.from(bytes, 'latin1'), charset || null);
}

/** The addresses of a field such as To (RFC 5322, 3.4), in lower case; what is none is passed over. At most 200. */
export function addressesIn(value: string): string[] {
  // Quoted names may hold addresses that are not meant.
  const bare = value.replace(/"(?:[^"\\]|\\.)*"(?=\s*<)/g, '');
  const found = [...bare.matchAll(/[^\s<>,;:"'()[\]]{1,320}@[^\s<>,;:"'()[\]]{1,255}/g)].slice(0, 200);
  return found.map(([address]) => address.toLowerCase().replace(/\.$/, ''));
}

/** A From value: `Name <a@b>`, `a@b (Name)`, `a@b`, or a bare word such as MAILER-DAEMON. */
export function readMailbox(value: string): { address: string; name: string } | null {
  const text = value.trim();
  if (text === '') return null;
  const angle = /^(.*?)<\s*([^<>]*?)\s*>[^<>]*$/s.exec(text);
  if (angle !== null) return { address: (angle[2] ?? '').toLowerCase(), name: decodeWords(unquoted(angle[1] ?? '')) };
  const address = addressesIn(text)[0];
  const comment = /\(([^()]*)\)/.exec(text)?.[1] ?? '';
  if (address !== undefined) return { address, name: decodeWords(comment.trim()) };
  return {
    address: text
      .replace(/\([^()]*\)/g, '')
      .trim()
      .toLowerCase(),
    name: decodeWords(comment.trim()),
  };
}

function unquoted(name: string): string {
  return name
    .trim()
    .replace(/^"([\s\S]*)"$/, '$1')
    .replace(/\\(.)/g, '$1');
}
