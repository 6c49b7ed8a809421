import { isUtf8 } from 'node:buffer';

/** Names that mail programs write and the Encoding Standard does not know. */
const ALIASES: Readonly<Record<string, string>> = {
  ansi: 'windows-1252',
  'cp-850': 'windows-1252',
  cp850: 'windows-1252',
  'x-unknown': 'utf-8',
  'unknown-8bit': 'windows-1252',
  'x-user-defined': 'windows-1252',
  default: 'windows-1252',
  utf7: 'utf-7',
};

/**
 * Text of bytes in the named charset. A name that is missing, unknown or plainly wrong is replaced by UTF-8 where the
 * bytes are valid UTF-8, otherwise by Windows-1252, which gives every byte some character. Never throws.
 */
export function decodeBytes(bytes: Buffer, charset: string | null): string {
  const name = (charset ?? '')
    .trim()
    .toLowerCase()
    .replace(/^["']|["']$/g, '');
  const label = ALIASES[name] ?? name;
  const bom = byteOrderMark(bytes);
  if (bom !== null) return new TextDecoder(bom).decode(bytes);
  if (label === 'utf-7' || label === 'unicode-1-1-utf-7') return decodeUtf7(bytes.toString('latin1'));
  const decoder = label === '' || label === 'us-ascii' || label === 'ascii' ? null : decoderFor(label);
  // UTF-8 and no charset at all are the two claims that are often false.
  if (decoder === null || decoder.encoding === 'utf-8') {
    return isUtf8(bytes) ? bytes.toString('utf8') : new TextDecoder('windows-1252').decode(bytes);
  }
  return decoder.decode(bytes);
}

function byteOrderMark(bytes: Buffer): string | null {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return 'utf-8';
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le';
  return bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : null;
}

function decoderFor(label: string): InstanceType<typeof TextDecoder> | null {
  try {
    return new TextDecoder(label);
  } catch {
    return null;
  }
}

/** RFC 2152: `+` to `-` is UTF-16 in base64 without padding. Old Exchange servers report in it. */
function decodeUtf7(text: string): string {
  return text.replace(/\+([A-Za-z0-9+/]*)-?/g, (_, shifted: string) =>
    shifted === '' ? '+' : new TextDecoder('utf-16be').decode(Buffer.from(shifted, 'base64')),
  );
}

/** Undoes a Content-Transfer-Encoding (RFC 2045, 6); what is not of its alphabet is passed over. */
export function decodeTransfer(bytes: Buffer, encoding: string | null): Buffer {
  switch ((encoding ?? '').trim().toLowerCase()) {
    case 'base64':
      return Buffer.from(bytes.toString('latin1').replace(/[^A-Za-z0-9+/]/g, ''), 'base64');
    case 'quoted-printable':
      return decodeQuotedPrintable(bytes.toString('latin1'));
    default:
      return bytes;
  }
}

function decodeQuotedPrintable(text: string): Buffer {
  const unwrapped = text.replace(/[ \t]+(?=\r?\n|$)/g, '').replace(/=\r?\n/g, '');
  return Buffer.from(
    unwrapped.replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );
}

const ENCODED_WORD = /=\?([^?\s*]{1,40})(?:\*[^?\s]*)?\?([bq])\?([^?]*)\?=/gi;

/** Decodes the encoded words of a header value (RFC 2047); words that mail programs cut in the middle of a letter, too. */
export function decodeWords(value: string): string {
  if (!value.includes('=?')) return value;
  // White space between two encoded words is none (6.2). Joining words of one charset mends letters cut in two.
  const joined = value.replace(/(\?=)[ \t\r\n]+(?==\?[^?\s]{1,60}\?[bq]\?)/gi, '$1');
  let before: { end: number; charset: string; bytes: Buffer[] } | null = null;
  let text = '';
  let at = 0;
  const flush = () => {
    if (before !== null) text += decodeBytes(Buffer.concat(before.bytes), before.charset);
    before = null;
  };
  for (const match of joined.matchAll(ENCODED_WORD)) {
    const [word, charset = '', encoding = '', content = ''] = match;
    const bytes = wordBytes(encoding, content);
    const open: { end: number; charset: string; bytes: Buffer[] } | null = before;
    if (open !== null && open.end === match.index && open.charset === charset.toLowerCase()) {
      open.bytes.push(bytes);
      open.end = match.index + word.length;
    } else {
      flush();
      text += joined.slice(at, match.index);
      before = { end: match.index + word.length, charset: charset.toLowerCase(), bytes: [bytes] };
    }
    at = match.index + word.length;
  }
  flush();
  return text + joined.slice(at);
}

function wordBytes(encoding: string, content: string): Buffer {
  if (encoding.toLowerCase() === 'b') return Buffer.from(content, 'base64');
  return Buffer.from(
    content
      .replaceAll('_', ' ')
      .replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );
}
