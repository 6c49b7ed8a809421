import fc from 'fast-check';
import { createEncodingDetector, decodeStream, type Encoding } from '../../../domain/leads-file/encoding';
import { collected, encode, inPieces } from './dirty-file';

function detect(bytes: Buffer, sizes: number[] = [7], prefix = false): Encoding {
  const detector = createEncodingDetector({ prefix });
  for (let from = 0, turn = 0; from < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    detector.push(bytes.subarray(from, from + size));
    from += size;
  }
  return detector.result();
}

test.each([
  ['utf-8', false],
  ['utf-8', true],
  ['utf-16le', false],
  ['utf-16le', true],
  ['utf-16be', false],
  ['utf-16be', true],
  ['windows-1252', false],
] as const)('%s is found, byte order mark: %s', (encoding, mark) => {
  expect(detect(encode('Nombre;Correo\nÍñigo «el 5 €»;x@correo.test\n', encoding, mark))).toBe(encoding);
});

test('the whole file decides: one Windows-1252 byte after a megabyte', () => {
  const ascii = Buffer.from('Ana;ana@correo.test\n'.repeat(50_000));
  expect(detect(ascii, [65_536])).toBe('utf-8');
  expect(detect(Buffer.concat([ascii, Buffer.from([0xf1])]), [65_536])).toBe('windows-1252');
  expect(detect(Buffer.concat([ascii, Buffer.from('ñ')]), [65_536])).toBe('utf-8');
});

test('a file that ends inside a character is not UTF-8, the start of one may be', () => {
  const cut = Buffer.from('Íñigo €').subarray(0, -1);
  expect(detect(cut)).toBe('windows-1252');
  expect(detect(cut, [7], true)).toBe('utf-8');
});

test('a file of nothing is UTF-8', () => {
  expect(detect(Buffer.alloc(0))).toBe('utf-8');
});

test('whatever the chunks, UTF-8 is found and comes back whole', async () => {
  const text = fc
    .string({ unit: 'grapheme', minLength: 1 })
    .filter((t) => !t.includes('\0') && !t.startsWith('\ufeff'));
  const sizes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 });
  await fc.assert(
    fc.asyncProperty(
      text,
      sizes,
      fc.constantFrom('utf-8', 'utf-16le', 'utf-16be'),
      fc.boolean(),
      async (whole, cut, encoding, mark) => {
        const bytes = encode(whole, encoding, mark);
        if (mark || encoding === 'utf-8') expect(detect(bytes, cut)).toBe(encoding);
        expect((await collected(decodeStream(encoding)(inPieces(bytes, cut)))).join('')).toBe(whole);
      },
    ),
  );
});

test('Windows-1252 has its curly quotes and its euro, not control characters', async () => {
  const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  const text = (await collected(decodeStream('windows-1252')(inPieces(all, [3])))).join('');
  expect(text).toHaveLength(256);
  expect(text.slice(0x80, 0xa0)).toBe('€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ');
  expect(text.slice(0xf1, 0xf2)).toBe('ñ');
  expect(text).not.toContain('\ufffd');
});
