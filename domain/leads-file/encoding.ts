import { Buffer, isUtf8 } from 'node:buffer';

/** The encodings in which spreadsheets and shops export their lists. */
export type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be' | 'windows-1252';

/** How many bytes at the start are looked at for the zero bytes of UTF-16. */
const HEAD = 1024;

export interface EncodingDetector {
  /** Takes the next bytes of the file; they are not kept. */
  push(chunk: Uint8Array): void;
  /** The encoding of everything pushed so far, taken as a whole file. */
  result(): Encoding;
}

/**
 * Finds the encoding of a file from all of its bytes, in constant memory: a byte order mark decides; then the zero
 * bytes that UTF-16 has in every other place; then UTF-8, if the *whole* file is valid UTF-8 (one accent on the last
 * line is enough to tell); otherwise Windows-1252, in which any bytes are valid.
 *
 * With `prefix`, what is pushed may end in the middle of a character: for a look at the start of a file.
 */
export function createEncodingDetector(options: { prefix?: boolean } = {}): EncodingDetector {
  let head = Buffer.alloc(0);
  let tail = Buffer.alloc(0);
  let valid = true;

  return {
    push(chunk) {
      if (head.length < HEAD) head = Buffer.concat([head, chunk.subarray(0, HEAD - head.length)]);
      if (!valid) return;
      const bytes =
        tail.length > 0 ? Buffer.concat([tail, chunk]) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
      const cut = bytes.length - unfinished(bytes);
      valid = isUtf8(bytes.subarray(0, cut));
      tail = Buffer.from(bytes.subarray(cut));
    },
    result() {
      if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) return 'utf-8';
      if (head[0] === 0xff && head[1] === 0xfe) return 'utf-16le';
      if (head[0] === 0xfe && head[1] === 0xff) return 'utf-16be';
      const [even, odd] = zeroShares(head);
      if (odd > 0.5 && even < 0.1) return 'utf-16le';
      if (even > 0.5 && odd < 0.1) return 'utf-16be';
      return valid && (options.prefix === true || tail.length === 0) ? 'utf-8' : 'windows-1252';
    },
  };
}

/** How many bytes at the end begin a UTF-8 character that is not complete yet: 0 to 3. */
function unfinished(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) {
      const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return length > back ? back : 0;
    }
  }
  return 0;
}

function zeroShares(bytes: Buffer): [even: number, odd: number] {
  const pairs = Math.floor(bytes.length / 2);
  if (pairs < 2) return [0, 0];
  let even = 0;
  let odd = 0;
  for (let at = 0; at < pairs * 2; at += 2) {
    if (bytes[at] === 0) even++;
    if (bytes[at + 1] === 0) odd++;
  }
  return [even / pairs, odd / pairs];
}

/**
 * Returns a function that decodes a stream of bytes into text, piece by piece. A byte order mark is dropped, and
 * characters that are split between chunks come out whole.
 */
export function decodeStream(encoding: Encoding): (bytes: AsyncIterable<Uint8Array>) => AsyncGenerator<string> {
  return async function* decoded(bytes) {
    const decode = createDecoder(encoding);
    for await (const chunk of bytes) {
      const text = decode(chunk, false);
      if (text !== '') yield text;
    }
    const rest = decode(new Uint8Array(0), true);
    if (rest !== '') yield rest;
  };
}

/** Decodes the first bytes of a file; a character cut off at the end is left out. */
export function decodeHead(encoding: Encoding, head: Uint8Array): string {
  return createDecoder(encoding)(head, false);
}

function createDecoder(encoding: Encoding): (chunk: Uint8Array, last: boolean) => string {
  if (encoding === 'windows-1252') return (chunk) => decodeWindows1252(chunk);
  const decoder = new TextDecoder(encoding);
  return (chunk, last) => decoder.decode(chunk, { stream: !last });
}

/** What Windows-1252 has at 0x80 to 0x9f; the five unused places stay C1 controls, as the WHATWG Encoding Standard says. */
const WINDOWS_1252_HIGH = '€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ';

// Several releases of Node decode 'windows-1252' as Latin-1 in TextDecoder (nodejs/node#56542): curly quotes and the
// euro sign would become control characters.
function decodeWindows1252(chunk: Uint8Array): string {
  const latin1 = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString('latin1');
  return latin1.replace(/[\u0080-\u009f]/g, (char) => WINDOWS_1252_HIGH[char.charCodeAt(0) - 0x80] ?? char);
}
