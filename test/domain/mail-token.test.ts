import fc from 'fast-check';
import {
  MAIL_TOKEN_LENGTH,
  type MailRef,
  type MailTokenPurpose,
  readMailToken,
  signMailToken,
} from '../../domain/mail-token';

const OLD = { version: 1, secret: Buffer.alloc(32, 1) };
const NEW = { version: 2, secret: Buffer.alloc(32, 2) };
const PURPOSES: readonly MailTokenPurpose[] = ['message-id', 'return-path', 'reply', 'unsubscribe'];
const ID = 'c0ffee00-0000-4000-8000-00000000000a';

const anyMail: fc.Arbitrary<MailRef> = fc.oneof(
  fc.record({
    kind: fc.constant('enrollment' as const),
    id: fc.uuid(),
    step: fc.integer({ min: 0, max: 31 }),
    copy: fc.integer({ min: 0, max: 0xffff }),
  }),
  fc.record({ kind: fc.constantFrom('transactional' as const, 'test' as const), id: fc.uuid() }),
);
const anyPurpose = fc.constantFrom(...PURPOSES);

test('a token names one mail, whatever becomes of its case, and is always as long', () => {
  fc.assert(
    fc.property(anyPurpose, anyMail, (purpose, mail) => {
      const token = signMailToken(purpose, mail, [OLD]);
      expect(token).toMatch(/^[a-z2-7]+$/);
      expect(token).toHaveLength(MAIL_TOKEN_LENGTH);
      expect(signMailToken(purpose, { ...mail, id: mail.id.toUpperCase() }, [OLD])).toBe(token);
      expect(readMailToken(purpose, token, [OLD])).toEqual(mail);
      expect(readMailToken(purpose, token.toUpperCase(), [OLD])).toEqual(mail);
    }),
  );
});

test('one that was made for one place is worth nothing in another', () => {
  fc.assert(
    fc.property(anyPurpose, anyPurpose, anyMail, (made, read, mail) => {
      const token = signMailToken(made, mail, [OLD]);
      expect(readMailToken(read, token, [OLD])).toEqual(made === read ? mail : null);
    }),
  );
});

test('nobody can make one up, or change one', () => {
  const letters = 'abcdefghijklmnopqrstuvwxyz234567';
  fc.assert(
    fc.property(
      anyPurpose,
      anyMail,
      fc.nat(MAIL_TOKEN_LENGTH - 1),
      fc.constantFrom(...letters),
      (purpose, mail, at, to) => {
        const token = signMailToken(purpose, mail, [OLD]);
        const changed = token.slice(0, at) + to + token.slice(at + 1);
        if (changed !== token) expect(readMailToken(purpose, changed, [OLD])).toBeNull();
      },
    ),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...letters), minLength: 44, maxLength: 46 }), (made) => {
      for (const purpose of PURPOSES) expect(readMailToken(purpose, made, [OLD, NEW])).toBeNull();
    }),
  );
});

test('the newest key signs, in whatever order they are listed, and older ones stay readable', () => {
  const mail: MailRef = { kind: 'enrollment', id: ID, step: 2, copy: 1 };
  const before = signMailToken('reply', mail, [OLD]);
  const after = signMailToken('reply', mail, [OLD, NEW]);
  expect(signMailToken('reply', mail, [NEW, OLD])).toBe(after);
  expect(after).not.toBe(before);
  expect(readMailToken('reply', before, [NEW, OLD])).toEqual(mail);
  expect(readMailToken('reply', after, [NEW, OLD])).toEqual(mail);
  expect(readMailToken('reply', after, [OLD])).toBeNull();
  // The same version with another secret is another key.
  expect(readMailToken('reply', before, [{ version: 1, secret: NEW.secret }])).toBeNull();
  expect(() => signMailToken('reply', mail, [])).toThrow('no token key');
});

test.each(['', 'a', 'ñ'.repeat(44), `${'a'.repeat(MAIL_TOKEN_LENGTH)}\n`, 'a'.repeat(100_000)])(
  '%.20s… is no token',
  (text) => {
    for (const purpose of PURPOSES) expect(readMailToken(purpose, text, [OLD])).toBeNull();
  },
);

test.each<MailRef>([
  { kind: 'test', id: 'no-uuid' },
  { kind: 'enrollment', id: ID, step: 32, copy: 0 },
  { kind: 'enrollment', id: ID, step: 1.5, copy: 0 },
  { kind: 'enrollment', id: ID, step: 0, copy: 0x10000 },
  { kind: 'enrollment', id: ID, step: 0, copy: -1 },
])('%j is no mail of ours', (mail) => {
  expect(() => signMailToken('return-path', mail, [OLD])).toThrow(RangeError);
});
