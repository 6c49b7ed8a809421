import fc from 'fast-check';
import { base32Decode, base32Encode } from '../../domain/base32';

// RFC 4648, section 10, in lower case and without padding.
test.each([
  ['', ''],
  ['f', 'my'],
  ['fo', 'mzxq'],
  ['foo', 'mzxw6'],
  ['foob', 'mzxw6yq'],
  ['fooba', 'mzxw6ytb'],
  ['foobar', 'mzxw6ytboi'],
])('%j is %j', (plain, encoded) => {
  expect(base32Encode(Buffer.from(plain))).toBe(encoded);
  expect(base32Decode(encoded)?.toString()).toBe(plain);
});

test('bytes come back, and each has one spelling only', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const text = base32Encode(bytes);
      expect(text).toMatch(/^[a-z2-7]*$/);
      expect(base32Decode(text)).toEqual(Buffer.from(bytes));
    }),
  );
  const text = fc.string({ unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz234567'), maxLength: 40 });
  fc.assert(
    fc.property(text, (spelling) => {
      const bytes = base32Decode(spelling);
      if (bytes !== null) expect(base32Encode(bytes)).toBe(spelling);
    }),
  );
});

test.each(['a', 'aaa', 'aaaaaa', 'mz', 'my======', 'MY', 'm1', 'm 4', 'mñ'])(
  '%j is no spelling of anything',
  (text) => {
    expect(base32Decode(text)).toBeNull();
  },
);
