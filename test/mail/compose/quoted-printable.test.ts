import fc from 'fast-check';
import { simpleParser } from 'mailparser';
import { quotedPrintable } from '../../../mail/compose/quoted-printable';

const anyText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('\n', ' \n', '\t', '=', ' ', '.\n', 'ñ', '😀', 'x'.repeat(75)),
    ),
    {
      maxLength: 60,
    },
  )
  .map((parts) => parts.join('').replace(/\r/g, ''));

test('a mail reader reads back what was written', async () => {
  await fc.assert(
    fc.asyncProperty(anyText, async (text) => {
      const head = 'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n';
      const { text: read } = await simpleParser(Buffer.concat([Buffer.from(head), quotedPrintable(`${text}|`)]));
      expect(read).toBe(`${text}|`);
    }),
  );
});

test('every line is ASCII, at most 76 characters long, and ends in no blank (RFC 2045, 6.7)', () => {
  fc.assert(
    fc.property(anyText, (text) => {
      for (const line of quotedPrintable(text).toString('latin1').split('\r\n')) {
        expect(line).toMatch(/^[\t\x20-\x7e]{0,76}$/);
        expect(line).not.toMatch(/[ \t]$/);
        expect(line).not.toMatch(/=(?![0-9A-F]{2}|$)/);
      }
    }),
  );
});

test('all line breaks become CRLF', () => {
  expect(quotedPrintable('a\r\nb\nc\rd').toString()).toBe('a\r\nb\r\nc\r\nd');
});
