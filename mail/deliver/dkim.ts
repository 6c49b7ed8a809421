import { createHash, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';

/** A key that signs for one domain. Made once: OpenSSL reads a PEM again for every signature, which costs more than signing. */
export interface DkimSigningKey {
  domain: string;
  selector: string;
  privateKey: KeyObject;
}

/**
 * What is signed, named explicitly since libraries' defaults leave out List-Unsubscribe-Post against RFC 8058, section 4.
 * Each is named once more than it occurs, so that one that is added on the way breaks the signature too (RFC 6376, 8.15).
 */
const SIGNED_HEADERS = [
  'from',
  'sender',
  'reply-to',
  'to',
  'cc',
  'subject',
  'date',
  'message-id',
  'in-reply-to',
  'references',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
  'content-language',
  'list-id',
  'list-unsubscribe',
  'list-unsubscribe-post',
  'feedback-id',
  'auto-submitted',
];

const FOLD = '\r\n ';

const signing = promisify(sign);

/**
 * Signs a message (RFC 6376: rsa-sha256, relaxed/relaxed).
 *
 * @param raw the whole message, lines ending in CRLF
 * @param options `date`: when it is signed; `unsigned`: header names in lower case that the server replaces or adds, which
 *   would break the signature
 * @returns the message with its DKIM-Signature in front
 * @throws Error when it can't be signed; a message never goes out unsigned in its place
 */
export async function signDkim(
  raw: Buffer,
  key: DkimSigningKey,
  options: { date: Date; unsigned?: readonly string[] },
): Promise<Buffer> {
  const end = raw.indexOf('\r\n\r\n');
  if (end < 0) throw new Error('a message without an end of its headers can not be signed');
  const fields = headerFields(raw.toString('latin1', 0, end + 2));
  if (!fields.has('from')) throw new Error('a message without From can not be signed');
  const bodyHash = createHash('sha256')
    .update(relaxedBody(raw.subarray(end + 4)))
    .digest('base64');

  const names: string[] = [];
  let signed = '';
  for (const name of SIGNED_HEADERS) {
    if (options.unsigned?.includes(name)) continue;
    // From the bottom up, as section 5.4.2 counts them.
    const values = (fields.get(name) ?? []).reverse();
    for (const value of values) signed += `${name}:${value}\r\n`;
    names.push(...values.map(() => name), name);
  }
  const tags = [
    `v=1; a=rsa-sha256; c=relaxed/relaxed; d=${key.domain}; s=${key.selector};`,
    `t=${Math.floor(options.date.getTime() / 1000)}; bh=${bodyHash};`,
    `h=${names.join(':').replace(/(.{60,}?:)/g, `$1${FOLD}`)};`,
    'b=',
  ];
  // Signed as a verifier will see it: unfolded, each run of blanks one blank.
  signed += `dkim-signature:${tags.join(' ').replaceAll(FOLD, ' ')}`;
  const signature = (await signing('sha256', Buffer.from(signed, 'latin1'), key.privateKey)).toString('base64');
  // Never a fold at the very end: it would leave a line of blanks.
  const header = `DKIM-Signature: ${tags.join(FOLD)}${signature.replace(/(.{72})(?=.)/g, `$1${FOLD}`)}\r\n`;
  return Buffer.concat([Buffer.from(header, 'latin1'), raw]);
}

/** Header values in relaxed form (section 3.4.2) by name in lower case, in the order in which they stand. */
function headerFields(block: string): Map<string, string[]> {
  if (/\r(?!\n)|(?<!\r)\n/.test(block)) throw bareLineEnd();
  const fields = new Map<string, string[]>();
  for (const line of block.replace(/\r\n(?=[ \t])/g, '').split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const name = line.slice(0, colon).trimEnd().toLowerCase();
    // Blanks and tabs only: trim() would take away what else Unicode calls blank, such as the last byte of an `à`.
    const value = line
      .slice(colon + 1)
      .replace(/[ \t]+/g, ' ')
      .replace(/^ | $/g, '');
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [value]);
    else values.push(value);
  }
  return fields;
}

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;

/** The body in relaxed form (section 3.4.4): runs of blanks are one, none at line ends, no empty lines at the end. */
function relaxedBody(body: Buffer): Buffer {
  const relaxed = Buffer.allocUnsafe(body.length + 2);
  let length = 0;
  // Up to the last character that is neither blank nor line end.
  let filled = 0;
  let blank = false;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at] as number;
    if (byte === SPACE || byte === TAB) {
      blank = true;
    } else if (byte === CR || byte === LF) {
      if (byte === LF || body[++at] !== LF) throw bareLineEnd();
      blank = false;
      relaxed[length++] = CR;
      relaxed[length++] = LF;
    } else {
      if (blank) relaxed[length++] = SPACE;
      blank = false;
      relaxed[length++] = byte;
      filled = length;
    }
  }
  if (filled === 0) return relaxed.subarray(0, 0);
  relaxed[filled] = CR;
  relaxed[filled + 1] = LF;
  return relaxed.subarray(0, filled + 2);
}

/** SMTP turns bare ones into CRLF, and the signature would be one over another message. */
function bareLineEnd(): Error {
  return new Error('a message whose lines do not end in CRLF can not be signed');
}
