import { createHash } from 'node:crypto';
import { normaliseAddress } from './addresses';

/** More than this a mail does not need to name for us to know whom it is about. */
const MOST = 5_000;

/** From its `@` in both directions: base64 has none, and read from the left each of its characters might begin an address. */
const ADDRESS =
  /@(?<=([\p{L}\p{M}\p{N}.!#$%&'*+/?^_`{|}~-]{1,64})@)([\p{L}\p{M}\p{N}-]{1,63}(?:\.[\p{L}\p{M}\p{N}-]{1,63}){1,20})/gu;
/** A line of base64, as bodies and attachments are written. */
const BASE64_LINE = /^[A-Za-z0-9+/]{2,}={0,2}\r?$/;
/** RFC 5322 allows 998 characters, and programs write 76; on millions of them an expression may run out of its stack. */
const LONGEST_LINE = 10_000;
/** RFC 2047, with the base64 encoding. */
const ENCODED_WORD = /=\?[^?\s]+\?b\?([A-Za-z0-9+/=]+)\?=/gi;

/**
 * Fingerprints of all addresses that a message holds: in its headers and its text, also where they are written in
 * quoted-printable, in base64 or percent-encoded. What is inside of PDFs and other packed files is not seen.
 *
 * @param raw the message as it came (RFC 5322)
 */
export function mentionsIn(raw: Buffer): string[] {
  const text = raw.toString('utf8');
  const found = new Set<string>();
  collect(text, found);
  // Soft line breaks first, which may stand in the midst of an address, then whatever was written as a code.
  collect(decoded(text.replace(/=\r?\n/g, '')), found);
  for (const block of base64Blocks(text)) collectBase64(block, found);
  for (const [, word = ''] of text.matchAll(ENCODED_WORD)) collectBase64(word, found);
  return [...found];
}

/** Lines of base64 that stand together. */
function* base64Blocks(text: string): Generator<string> {
  let block = '';
  for (let from = 0; from <= text.length; ) {
    const end = text.indexOf('\n', from);
    const to = end === -1 ? text.length : end;
    const line = to - from > LONGEST_LINE ? '' : text.slice(from, to);
    if (BASE64_LINE.test(line)) block += line;
    else if (block !== '') {
      yield block;
      block = '';
    }
    from = to + 1;
  }
  if (block !== '') yield block;
}

/** The fingerprint of one address: a number of 64 bits, in decimal. Different addresses may share one, which is rare. */
export function fingerprintOf(address: string): string {
  return createHash('sha256').update(normaliseAddress(address)).digest().readBigInt64BE().toString();
}

function collectBase64(text: string, found: Set<string>): void {
  if (text.length >= 8) collect(Buffer.from(text, 'base64').toString('utf8'), found);
}

function collect(text: string, found: Set<string>): void {
  if (!text.includes('@')) return;
  for (const [, written = '', name = ''] of text.matchAll(ADDRESS)) {
    const domain = name.replace(/-+$/, '');
    for (const local of localParts(written)) {
      if (found.size >= MOST) return;
      found.add(fingerprintOf(`${local}@${domain}`));
    }
  }
}

/** In running text a quote, a slash or a bar may stand right before an address, and all of them may be part of one. */
function localParts(written: string): string[] {
  const bare = written.replace(/^[^\p{L}\p{N}]+/u, '');
  const tail = written.replace(/^.*[^\p{L}\p{M}\p{N}._+-]/u, '');
  return [...new Set([written, bare, tail])].filter((local) => local !== '');
}

function decoded(text: string): string {
  return text.replace(/[=%](2[0-9A-F]|[3-7][0-9A-F])/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
