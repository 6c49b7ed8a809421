import fc from 'fast-check';
import type { MailRef } from '../../../domain/mail-token';
import { messageIdFor, readMessageId } from '../../../mail/compose/message-id';

const KEYS = [{ version: 1, secret: Buffer.alloc(32, 1) }];
const OTHER_KEYS = [{ version: 1, secret: Buffer.alloc(32, 2) }];
const ID = 'c0ffee00-0000-4000-8000-00000000000a';

const anyMail: fc.Arbitrary<MailRef> = fc.oneof(
  fc.record({
    kind: fc.constant('enrollment' as const),
    id: fc.uuid(),
    step: fc.integer({ min: 0, max: 7 }),
    copy: fc.integer({ min: 0, max: 9 }),
  }),
  fc.record({ kind: fc.constantFrom('transactional' as const, 'test' as const), id: fc.uuid() }),
);
const anyDomain = fc.constantFrom('shop.example', 'xn--pea-8ma.es', 'a.b-c.example');

test('P3: a mail always gets the same Message-ID, and the id says which mail it is', () => {
  fc.assert(
    fc.property(anyMail, anyDomain, (mail, domain) => {
      const id = messageIdFor(mail, domain, KEYS);
      expect(messageIdFor({ ...mail }, domain, [...KEYS])).toBe(id);
      expect(readMessageId(id, KEYS)).toEqual(mail);
      expect(readMessageId(id.slice(1, -1), KEYS)).toEqual(mail);
      expect(readMessageId(` ${id}\r\n`, KEYS)).toEqual(mail);
    }),
  );
});

test('P3: no two mails share a Message-ID', () => {
  fc.assert(
    fc.property(anyMail, anyMail, (a, b) => {
      const same = JSON.stringify(a) === JSON.stringify(b);
      expect(messageIdFor(a, 'shop.example', KEYS) === messageIdFor(b, 'shop.example', KEYS)).toBe(same);
    }),
  );
});

test('P3: the steps and copies of one enrollment have ids of their own', () => {
  const ids = Array.from({ length: 8 }, (_, step) =>
    Array.from({ length: 4 }, (_, copy) =>
      messageIdFor({ kind: 'enrollment', id: ID, step, copy }, 'shop.example', KEYS),
    ),
  ).flat();
  expect(new Set(ids).size).toBe(32);
});

test('a Message-ID survives systems that fold case, and fits the limit of a local part', () => {
  fc.assert(
    fc.property(anyMail, anyDomain, (mail, domain) => {
      const id = messageIdFor(mail, domain, KEYS);
      expect(id).toMatch(/^<[a-z2-7]+@[a-z0-9.-]+>$/);
      expect(readMessageId(id.toUpperCase(), KEYS)).toEqual(mail);
      expect(id.slice(1, id.indexOf('@')).length).toBeLessThanOrEqual(64);
    }),
  );
});

test('one changed character, or another key, makes an id that is none of ours', () => {
  fc.assert(
    fc.property(anyMail, fc.nat(), fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz234567'), (mail, at, letter) => {
      const id = messageIdFor(mail, 'shop.example', KEYS);
      const place = 1 + (at % (id.indexOf('@') - 1));
      const changed = id.slice(0, place) + letter + id.slice(place + 1);
      if (changed !== id) expect(readMessageId(changed, KEYS)).toBeNull();
      expect(readMessageId(id, OTHER_KEYS)).toBeNull();
      expect(readMessageId(id, [])).toBeNull();
    }),
  );
});

test('its form is fixed: ids in mailboxes out there must stay readable', () => {
  const mail: MailRef = { kind: 'enrollment', id: ID, step: 3, copy: 0 };
  const id = '<aebqaaga77xaaaaaiaaiaaaaaaaaaaakndqshr5ny62a@shop.example>';
  expect(messageIdFor(mail, 'SHOP.example', KEYS)).toBe(id);
  expect(readMessageId(id, KEYS)).toEqual(mail);
});

test.each([
  '<CAJ+abc=def@mail.gmail.com>',
  '<yd764aaaabaabaaaaaaaaaaabi.3@shop.example>',
  `<${'a'.repeat(44)}@shop.example>`,
  `<${'a'.repeat(10_000)}@shop.example>`,
  '<@shop.example>',
  'aaaa',
  '',
])('%s is none of ours', (id) => {
  expect(readMessageId(id, KEYS)).toBeNull();
});

test.each<[MailRef, string]>([
  [{ kind: 'enrollment', id: 'no-uuid', step: 0, copy: 0 }, 'shop.example'],
  [{ kind: 'enrollment', id: ID, step: -1, copy: 0 }, 'shop.example'],
  [{ kind: 'enrollment', id: ID, step: 32, copy: 0 }, 'shop.example'],
  [{ kind: 'enrollment', id: ID, step: 0, copy: 0.5 }, 'shop.example'],
  [{ kind: 'enrollment', id: ID, step: 0, copy: 70_000 }, 'shop.example'],
  [{ kind: 'enrollment', id: ID, step: 0, copy: 0 }, 'x>\r\nBcc: y'],
  [{ kind: 'test', id: ID }, ''],
])('%j at %j gets no Message-ID', (mail, domain) => {
  expect(() => messageIdFor(mail, domain, KEYS)).toThrow(RangeError);
});
