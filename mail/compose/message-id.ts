/** Which mail a Message-ID stands for. */
export interface MessageIdParts {
  /** A UUID. */
  enrollmentId: string;
  /** 0 to 7. */
  step: number;
  /** 0 for the mail that the journey sends; 1 and up where the lead asked for the information again. */
  copy: number;
  /** The part after the @, in ASCII. */
  domain: string;
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** 128 bits in fives. */
const ID_LENGTH = 26;

/**
 * The Message-ID of a mail, in angle brackets (RFC 5322, 3.6.4): the same mail always gets the same one (P3), and
 * `parseMessageId` reads it back. In lower-case base32, since some mail systems fold case.
 *
 * @throws RangeError if the parts are not those of a mail of ours
 */
export function messageIdFor({ enrollmentId, step, copy, domain }: MessageIdParts): string {
  const uuid = enrollmentId.toLowerCase();
  if (!UUID.test(uuid)) throw new RangeError('an enrollment id is a UUID');
  if (!isCount(step) || !isCount(copy)) throw new RangeError('step and copy are counts');
  if (!/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(domain)) throw new RangeError('the domain of a Message-ID is ASCII');
  return `<${base32(uuid)}.${step}${copy > 0 ? `.${copy}` : ''}@${domain.toLowerCase()}>`;
}

/** What `messageIdFor` put together, with or without the angle brackets; null for an id that is not ours. */
export function parseMessageId(messageId: string): MessageIdParts | null {
  const shape = /^<?([a-z2-7]{26})\.(0|[1-9]\d{0,5})(?:\.([1-9]\d{0,5}))?@([^@\s<>]+)>?$/i;
  const match = shape.exec(messageId.trim());
  const enrollmentId = match?.[1] === undefined ? null : uuidOf(match[1].toLowerCase());
  if (!match || enrollmentId === null) return null;
  return {
    enrollmentId,
    step: Number(match[2]),
    copy: Number(match[3] ?? 0),
    domain: (match[4] ?? '').toLowerCase(),
  };
}

function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < 1_000_000;
}

function base32(uuid: string): string {
  // Two zero bits at the end fill up the last five.
  let rest = BigInt(`0x${uuid.replaceAll('-', '')}`) << 2n;
  let text = '';
  for (let i = 0; i < ID_LENGTH; i++) {
    text = (ALPHABET[Number(rest & 31n)] ?? '') + text;
    rest >>= 5n;
  }
  return text;
}

function uuidOf(text: string): string | null {
  let value = 0n;
  for (const letter of text) value = (value << 5n) | BigInt(ALPHABET.indexOf(letter));
  if ((value & 3n) !== 0n) return null;
  const hex = (value >> 2n).toString(16).padStart(32, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
