import { decodeBytes, decodeTransfer } from './charset';
import { decodedFields, type Fields, readFields, readParameters } from './header-block';
import type { ReceivedPart } from './received';

/** What a message is made of, gathered in one walk. */
export interface MimeTree {
  parts: ReceivedPart[];
  embeddedHeaders: Fields[];
  /** Plain text and HTML of the message itself, not of what is embedded in it. */
  plain: string[];
  html: string[];
  /** Something was passed over because it was too much. */
  truncated: boolean;
}

/** Real mail nests four or five levels; forwards of forwards some ten. */
const MAX_DEPTH = 24;
/** A digest has a few hundred parts. */
const MAX_PARTS = 500;
/** Characters of one part: a bounce's explanation, or what a person writes, is a hundredth of it. */
export const MAX_TEXT = 200_000;
/** Characters of all parts together. */
const MAX_ALL_TEXT = 2_000_000;

/** What a walk carries along. */
interface Walk extends MimeTree {
  count: number;
  characters: number;
}

interface Place {
  depth: number;
  embedded: boolean;
  /** Type of a part whose header does not name one: message/rfc822 inside multipart/digest (RFC 2046, 5.1.5). */
  assumed: string;
}

/** Takes a message's body apart (RFC 2046), whatever is broken in it. Never throws. */
export function walkMime(fields: Fields, body: Buffer): MimeTree {
  const walk: Walk = { parts: [], embeddedHeaders: [], plain: [], html: [], truncated: false, count: 0, characters: 0 };
  visit(walk, fields, body, { depth: 0, embedded: false, assumed: 'text/plain' });
  return walk;
}

export function contentTypeOf(fields: Fields, assumed: string): { value: string; parameters: Record<string, string> } {
  const raw = fields.get('content-type')?.[0] ?? '';
  const read = readParameters(raw);
  // `text` alone, `plain`, a type that is a file's name: RFC 2045, 5.2 says to take it as plain text.
  return { value: /^[\w.+-]+\/[\w.+-]+$/.test(read.value) ? read.value : assumed, parameters: read.parameters };
}

function visit(walk: Walk, fields: Fields, body: Buffer, place: Place): void {
  walk.count += 1;
  if (walk.count > MAX_PARTS || place.depth > MAX_DEPTH) {
    walk.truncated = true;
    return;
  }
  const { value: type, parameters } = contentTypeOf(fields, place.assumed);
  const pieces = type.startsWith('multipart/') ? splitParts(body, parameters.boundary ?? null) : null;
  if (pieces !== null) visitAll(walk, pieces, type, place);
  else if (type === 'message/rfc822' || type === 'message/global') {
    visitEmbedded(walk, decodeTransfer(body, encodingOf(fields)), place);
  } else {
    // A multipart without its boundaries is read as the text that it is.
    takeLeaf(walk, type.startsWith('multipart/') ? 'text/plain' : type, parameters, fields, body, place);
  }
}

function visitAll(walk: Walk, pieces: readonly Buffer[], type: string, place: Place): void {
  const assumed = type === 'multipart/digest' ? 'message/rfc822' : 'text/plain';
  for (const piece of pieces) {
    if (walk.count > MAX_PARTS) break;
    const { fields, bodyStart } = readFields(piece);
    visit(walk, fields, piece.subarray(bodyStart), { depth: place.depth + 1, embedded: place.embedded, assumed });
  }
}

function visitEmbedded(walk: Walk, bytes: Buffer, place: Place): void {
  const { fields, bodyStart } = readFields(withoutBlankStart(bytes));
  if (fields.size > 0) walk.embeddedHeaders.push(decodedFields(fields));
  const body = withoutBlankStart(bytes).subarray(bodyStart);
  visit(walk, fields, body, { depth: place.depth + 1, embedded: true, assumed: 'text/plain' });
}

function takeLeaf(
  walk: Walk,
  contentType: string,
  parameters: Record<string, string>,
  fields: Fields,
  body: Buffer,
  place: Place,
): void {
  const disposition = readParameters(fields.get('content-disposition')?.[0] ?? '');
  const filename = disposition.parameters.filename ?? parameters.name ?? null;
  const text = leafText(walk, contentType, parameters, fields, body);
  if (contentType === 'text/rfc822-headers' || contentType === 'message/global-headers') {
    const returned = readFields(withoutBlankStart(Buffer.from(text, 'utf8'))).fields;
    if (returned.size > 0) walk.embeddedHeaders.push(decodedFields(returned));
  }
  walk.parts.push({
    contentType,
    parameters,
    filename: filename === null || filename === '' ? null : filename,
    text,
    depth: place.depth,
    embedded: place.embedded,
  });
  const attached = place.depth > 0 && disposition.value === 'attachment';
  if (place.embedded || attached) return;
  if (contentType === 'text/html') walk.html.push(text);
  else if (contentType === 'text/plain' || contentType === 'text/enriched') walk.plain.push(text);
}

function leafText(
  walk: Walk,
  contentType: string,
  parameters: Record<string, string>,
  fields: Fields,
  body: Buffer,
): string {
  if (!isText(contentType)) return '';
  const room = Math.min(MAX_TEXT, MAX_ALL_TEXT - walk.characters);
  // A character takes up to 4 bytes, and three characters for each of them in quoted-printable.
  const enough = body.subarray(0, Math.max(0, room) * 12);
  const whole = decodeBytes(decodeTransfer(enough, encodingOf(fields)), parameters.charset ?? null);
  if (whole.length > room || enough.length < body.length) walk.truncated = true;
  const text = whole.slice(0, Math.max(0, room));
  walk.characters += text.length;
  return text.replace(/\r\n?/g, '\n').replaceAll('\u0000', '');
}

function isText(contentType: string): boolean {
  return /^(text|message)\//.test(contentType) || /[/+](json|xml)$/.test(contentType);
}

function encodingOf(fields: Fields): string | null {
  return fields.get('content-transfer-encoding')?.[0]?.replace(/[;\s].*$/s, '') ?? null;
}

function withoutBlankStart(bytes: Buffer): Buffer {
  let start = 0;
  while (start < bytes.length && [9, 10, 13, 32].includes(bytes[start] ?? 0)) start += 1;
  return bytes.subarray(start);
}

/** The bodies between the boundary lines (RFC 2046, 5.1.1); null where there is none, and none can be guessed. */
function splitParts(body: Buffer, boundary: string | null): Buffer[] | null {
  const named = boundary === null || boundary === '' ? null : cutAt(body, boundary);
  if (named !== null) return named;
  const guessed = guessBoundary(body);
  return guessed === null ? null : cutAt(body, guessed);
}

function cutAt(body: Buffer, boundary: string): Buffer[] | null {
  const mark = Buffer.from(`--${boundary}`, 'utf8');
  const pieces: Buffer[] = [];
  let start = -1;
  let at = body.indexOf(mark);
  while (at !== -1 && pieces.length <= MAX_PARTS) {
    const end = lineEnd(body, at + mark.length);
    const rest = body.toString('latin1', at + mark.length, Math.min(end, at + mark.length + 80)).trim();
    if ((at === 0 || body[at - 1] === 10) && (rest === '' || rest === '--')) {
      if (start !== -1) pieces.push(body.subarray(start, withoutLineBreak(body, at)));
      start = rest === '--' ? -1 : end;
      if (rest === '--') break;
    }
    at = body.indexOf(mark, at + mark.length);
  }
  // Cut short in transit: the last part has no closing line.
  if (start !== -1 && start < body.length) pieces.push(body.subarray(start));
  return pieces.length === 0 ? null : pieces;
}

function lineEnd(body: Buffer, from: number): number {
  const feed = body.indexOf(10, from);
  return feed === -1 ? body.length : feed + 1;
}

/** The line break before a boundary belongs to the boundary. */
function withoutLineBreak(body: Buffer, at: number): number {
  const feed = at > 0 && body[at - 1] === 10 ? at - 1 : at;
  return feed > 0 && body[feed - 1] === 13 ? feed - 1 : feed;
}

/** A line that begins with two hyphens and is followed by a Content- field looks like a boundary whose name got lost. */
function guessBoundary(body: Buffer): string | null {
  const start = body.toString('latin1', 0, 65_536);
  return /(?:^|\n)--([^\s].{0,198}?)[ \t]*\r?\nContent-[\w-]+[ \t]*:/i.exec(start)?.[1] ?? null;
}
