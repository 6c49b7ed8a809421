import fc from 'fast-check';
import { messageIdFor, parseMessageId } from '../../../mail/compose/message-id';

const anyMail = fc.record({
  enrollmentId: fc.uuid(),
  step: fc.integer({ min: 0, max: 7 }),
  copy: fc.integer({ min: 0, max: 9 }),
  domain: fc.constantFrom('shop.example', 'xn--pea-8ma.es', 'a.b-c.example'),
});

test('P3: a mail always gets the same Message-ID, and the id says which mail it is', () => {
  fc.assert(
    fc.property(anyMail, (mail) => {
      const id = messageIdFor(mail);
      expect(messageIdFor({ ...mail })).toBe(id);
      expect(parseMessageId(id)).toEqual(mail);
      expect(parseMessageId(id.slice(1, -1))).toEqual(mail);
    }),
  );
});

test('P3: no two mails share a Message-ID', () => {
  fc.assert(
    fc.property(anyMail, anyMail, (a, b) => {
      expect(messageIdFor(a) === messageIdFor(b)).toBe(JSON.stringify(a) === JSON.stringify(b));
    }),
  );
});

test('a Message-ID survives systems that fold case, and fits the limit of a local part', () => {
  fc.assert(
    fc.property(anyMail, (mail) => {
      const id = messageIdFor(mail);
      expect(id).toMatch(/^<[a-z2-7]{26}\.\d(\.\d)?@[a-z0-9.-]+>$/);
      expect(parseMessageId(id.toUpperCase())).toEqual(mail);
      expect(id.slice(1, id.indexOf('@')).length).toBeLessThanOrEqual(64);
    }),
  );
});

test('its form is fixed: ids in mailboxes out there must stay readable', () => {
  const mail = { enrollmentId: 'c0ffee00-0000-4000-8000-00000000000a', step: 3, copy: 0, domain: 'shop.example' };
  expect(messageIdFor(mail)).toBe('<yd764aaaabaabaaaaaaaaaaabi.3@shop.example>');
  expect(messageIdFor({ ...mail, copy: 2 })).toBe('<yd764aaaabaabaaaaaaaaaaabi.3.2@shop.example>');
});
test.each([
  '<CAJ+abc=def@mail.gmail.com>',
  '<yd764aaaabaabaaaaaaaaaaabj.3@shop.example>',
  '<yd764aaaabaabaaaaaaaaaaabi@shop.example>',
  '<yd764aaaabaabaaaaaaaaaaabi.3.0@shop.example>',
  '<yd764aaaabaabaaaaaaaaaaabi.03@shop.example>',
  '<yd764aaaabaabaaaaaaaaaaabi.3@>',
  '',
])('%s is none of ours', (id) => {
  expect(parseMessageId(id)).toBeNull();
});

test.each([
  { enrollmentId: 'no-uuid', step: 0, copy: 0, domain: 'shop.example' },
  { enrollmentId: 'c0ffee00-0000-4000-8000-00000000000a', step: -1, copy: 0, domain: 'shop.example' },
  { enrollmentId: 'c0ffee00-0000-4000-8000-00000000000a', step: 0, copy: 0.5, domain: 'shop.example' },
  { enrollmentId: 'c0ffee00-0000-4000-8000-00000000000a', step: 0, copy: 0, domain: 'x>\r\nBcc: y' },
])('%j gets no Message-ID', (mail) => {
  expect(() => messageIdFor(mail)).toThrow(RangeError);
});
