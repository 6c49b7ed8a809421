const HEX = Buffer.from('0123456789ABCDEF', 'ascii');
const [CR, LF, TAB, SPACE, EQUALS] = [13, 10, 9, 32, 61];
/** RFC 2045, 6.7: 76 characters a line, of which the last may be a soft break's `=`. */
const MAX_LINE = 76;

/**
 * Text as UTF-8 in quoted-printable (RFC 2045, 6.7); every kind of line break becomes CRLF. Works on bytes, in one pass:
 * encoding is most of what composing a mail costs.
 */
export function quotedPrintable(text: string): Buffer {
  const source = Buffer.from(text.replace(/\r\n?/g, '\n'), 'utf8');
  // Every byte escaped, and a soft break (3 bytes) at least every 73 of them; hard breaks are two bytes for one.
  const target = Buffer.allocUnsafe(source.length * 3 + Math.ceil((source.length * 3) / 73) * 3 + 3);
  let written = 0;
  let column = 0;
  for (let i = 0; i < source.length; i++) {
    const byte = source[i] as number;
    if (byte === LF) {
      target[written++] = CR;
      target[written++] = LF;
      column = 0;
      continue;
    }
    const next = source[i + 1];
    const endsLine = next === undefined || next === LF;
    const isBlank = byte === SPACE || byte === TAB;
    const plain = isBlank ? !endsLine : byte > SPACE && byte < 127 && byte !== EQUALS;
    const width = plain ? 1 : 3;
    if (column + width > (endsLine ? MAX_LINE : MAX_LINE - 1)) {
      target[written++] = EQUALS;
      target[written++] = CR;
      target[written++] = LF;
      column = 0;
    }
    if (plain) target[written++] = byte;
    else {
      target[written++] = EQUALS;
      target[written++] = HEX[byte >> 4] as number;
      target[written++] = HEX[byte & 15] as number;
    }
    column += width;
  }
  return target.subarray(0, written);
}
