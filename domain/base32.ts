const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/** Base32 (RFC 4648, section 6) in lower case, without padding: it survives mail systems that fold case. */
export function base32Encode(bytes: Uint8Array): string {
  let text = '';
  let value = 0;
  let bits = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[(value >> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + ALPHABET[(value << (5 - bits)) & 31];
}

/** What `base32Encode` was given; null for any other spelling. */
export function base32Decode(text: string): Buffer | null {
  const bytes: number[] = [];
  let value = 0;
  let bits = 0;
  for (const letter of text) {
    const digit = ALPHABET.indexOf(letter);
    if (digit < 0) return null;
    value = (value << 5) | digit;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push(value >> bits);
      value &= (1 << bits) - 1;
    }
  }
  // Left-over bits must be zero, or two texts would stand for the same bytes.
  return bits >= 5 || value !== 0 ? null : Buffer.from(bytes);
}
