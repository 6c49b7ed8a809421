import { convert, type HtmlToTextOptions } from 'html-to-text';
import { decodeBytes } from './charset';
import { addressesIn, decodedFields, type Fields, readFields, readMailbox } from './header-block';
import { contentTypeOf, MAX_TEXT, type MimeTree, walkMime } from './mime-tree';
import type { ReceivedMessage } from './received';

/** What the SMTP envelope told. `sender` is empty for the null reverse-path `<>` (RFC 5321, 4.5.5), null where unknown. */
export interface Envelope {
  sender: string | null;
  recipient: string | null;
}

/**
 * How much of a message is read. Mail systems take 25 to 50 MB; what tells a message's kind stands in its first
 * kilobytes, and only the copy of ours at its end could be missed.
 */
export const MAX_READ_BYTES = 25 * 1024 * 1024;
/** Characters of HTML that are turned into text: mail programs cut off far below (Gmail: 102 kB). */
const MAX_HTML = 500_000;
/** An answer names a handful; long threads some hundred. */
const MAX_REFERENCES = 200;

const HTML_OPTIONS: HtmlToTextOptions = {
  wordwrap: false,
  limits: { maxDepth: 100, maxInputLength: MAX_HTML },
  selectors: [
    { selector: 'img', format: 'skip' },
    { selector: 'a', options: { hideLinkHrefIfSameAsText: true, ignoreHref: true } },
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({ selector, options: { uppercase: false } })),
  ],
};

const RECIPIENT_FIELDS = ['to', 'cc', 'delivered-to', 'x-original-to', 'x-envelope-to', 'envelope-to', 'x-rcpt-to'];

/**
 * Takes a received message apart (RFC 5322, 2045–2049, 2231, 6532), whatever its sender broke: missing boundaries, false
 * charsets, 8-bit headers, bare LF or CR, an mbox `From ` line, UTF-16. Never rejects; what can't be read at all says
 * why in `problem`. Reads `MAX_READ_BYTES` at the most and says so in `truncated`.
 */
export async function readMessage(raw: Buffer, envelope?: Envelope): Promise<ReceivedMessage> {
  const bytes = normalised(raw.subarray(0, MAX_READ_BYTES));
  const { fields, bodyStart } = readFields(bytes);
  const problem = unreadable(bytes, fields);
  const tree = walkMime(problem === null ? fields : new Map(), bytes.subarray(problem === null ? bodyStart : 0));
  return assemble(problem === null ? fields : new Map(), tree, {
    problem,
    truncated: raw.length > MAX_READ_BYTES || tree.truncated,
    envelope: envelope ?? { sender: null, recipient: null },
  });
}

/** UTF-16, bare CR and what stands before the header: made into what RFC 5322 has. */
function normalised(bytes: Buffer): Buffer {
  let text = bytes;
  const [first, second, third] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    text = Buffer.from(decodeBytes(bytes, null).replace(/^\ufeff/, ''), 'utf8');
  } else if (first === 0xef && second === 0xbb && third === 0xbf) {
    text = bytes.subarray(3);
  }
  const start = text.subarray(0, 4_096);
  if (!start.includes(10) && start.includes(13)) {
    // Copied first: the caller's bytes are the caller's.
    text = Buffer.from(text).map((byte) => (byte === 13 ? 10 : byte)) as Buffer;
    text = Buffer.from(text.buffer, text.byteOffset, text.length);
  }
  let at = 0;
  while (at < text.length && (text[at] === 10 || text[at] === 13 || text[at] === 32)) at += 1;
  return text.subarray(at);
}

function unreadable(bytes: Buffer, fields: Fields): string | null {
  if (bytes.length === 0) return 'it is empty';
  if (fields.size === 0) return 'it has no header of a mail';
  const known = [
    'from',
    'to',
    'subject',
    'date',
    'received',
    'message-id',
    'content-type',
    'return-path',
    'mime-version',
  ];
  return known.some((name) => fields.has(name)) ? null : 'its header has no field that a mail has';
}

interface About {
  problem: string | null;
  truncated: boolean;
  envelope: Envelope;
}

function assemble(fields: Fields, tree: MimeTree, { problem, truncated, envelope }: About): ReceivedMessage {
  const headers = decodedFields(fields);
  if (envelope.sender !== null && !headers.has('return-path')) headers.set('return-path', [`<${envelope.sender}>`]);
  const { value: contentType, parameters } = contentTypeOf(fields, 'text/plain');
  const html = tree.html.length === 0 ? null : tree.html.join('\n').slice(0, MAX_HTML);
  return {
    headers,
    contentType,
    parameters,
    from: readMailbox(fields.get('from')?.[0] ?? fields.get('sender')?.[0] ?? ''),
    replyTo: [...new Set((fields.get('reply-to') ?? []).flatMap(addressesIn))],
    recipients: recipients(fields, envelope),
    subject: headers.get('subject')?.[0] ?? '',
    date: dateOf(fields.get('date')?.[0]),
    messageId: messageIds(fields.get('message-id')?.[0] ?? '')[0] ?? null,
    references: references(fields),
    text: readableText(tree.plain, html),
    html,
    parts: tree.parts,
    embeddedHeaders: tree.embeddedHeaders,
    truncated,
    problem,
  };
}

function recipients(fields: Fields, envelope: Envelope): string[] {
  const named = RECIPIENT_FIELDS.flatMap((name) => fields.get(name) ?? []).flatMap(addressesIn);
  if (envelope.recipient !== null) named.unshift(...addressesIn(envelope.recipient));
  return [...new Set(named)].slice(0, MAX_REFERENCES);
}

function dateOf(value: string | undefined): Date | null {
  const time = Date.parse((value ?? '').replace(/\([^()]*\)/g, '').trim());
  return Number.isNaN(time) ? null : new Date(time);
}

/** Message-IDs in a field's value, with angle brackets. */
export function messageIds(value: string): string[] {
  const bracketed = value.match(/<[^<>\s]{1,500}>/g) ?? [];
  if (bracketed.length > 0) return bracketed;
  return (value.match(/[^\s<>,;"]{1,250}@[^\s<>,;"]{1,250}/g) ?? []).map((id) => `<${id}>`);
}

function references(fields: Fields): string[] {
  const nearest = (fields.get('in-reply-to') ?? []).flatMap(messageIds);
  const thread = (fields.get('references') ?? []).flatMap(messageIds).reverse();
  return [...new Set([...nearest, ...thread])].slice(0, MAX_REFERENCES);
}

function readableText(plain: readonly string[], html: string | null): string {
  const written = plain.filter((text) => text.trim() !== '').join('\n');
  if (written !== '' || html === null) return written.slice(0, MAX_TEXT);
  return textOf(html).slice(0, MAX_TEXT);
}

function textOf(html: string): string {
  try {
    return convert(html, HTML_OPTIONS);
  } catch {
    // Nested deeper than the converter's stack: the words alone must do.
    return html.replace(/<[^>]{0,2000}>/g, ' ').replace(/[^\S\n]+/g, ' ');
  }
}
