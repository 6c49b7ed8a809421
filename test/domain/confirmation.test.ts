import { readConfirmToken, signConfirmToken } from '../../domain/confirm-token';
import { mayAskAgain, pageOfOurs } from '../../domain/confirmation';
import { readUnsubscribeToken, signUnsubscribeToken } from '../../domain/unsubscribe-token';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const now = new Date('2026-11-20T12:00:00Z');
const ago = (...ms: number[]) => ms.map((one) => new Date(now.getTime() - one));

test.each([
  ['nothing was sent', [], true, true],
  ['one 23 hours ago', ago(23 * HOUR), false, false],
  ['one 25 hours ago', ago(25 * HOUR), true, false],
  ['two of late', ago(2 * DAY, 3 * DAY), true, false],
  ['three of late', ago(2 * DAY, 3 * DAY, 29 * DAY), false, false],
  ['three, one of them long ago', ago(2 * DAY, 3 * DAY, 31 * DAY), true, false],
  ['three, all long ago', ago(31 * DAY, 32 * DAY, 33 * DAY), true, true],
])('asked again, where %s', (_, sent, others, complained) => {
  const asked = sent.map((at) => ({ at, campaignId: 'one' }));
  for (const onlyOf of ['one', null]) {
    expect(mayAskAgain(asked, { complained: false, onlyOf, now })).toBe(others);
    expect(mayAskAgain(asked, { complained: true, onlyOf, now })).toBe(complained);
  }
});

test('about another product somebody is asked on the same day, but no more than three times in all', () => {
  const asked = (...campaigns: string[]) =>
    campaigns.map((campaignId) => ({ at: new Date(now.getTime() - HOUR), campaignId }));
  const about = (campaignId: string, ...campaigns: string[]) =>
    mayAskAgain(asked(...campaigns), { complained: false, onlyOf: campaignId, now });
  expect([about('b', 'a'), about('c', 'a', 'b'), about('a', 'a'), about('d', 'a', 'b', 'c')]).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

test.each([
  ['https://shop.example/cafetera?utm_source=x#y', 'https://shop.example/cafetera'],
  ['https://recuerda.test/f/1', 'https://recuerda.test/f/1'],
  ['https://evil.example/buy', null],
  ['https://shop.example.evil.example/', null],
  ['https://shop.example@evil.example/', null],
  ['javascript:alert(1)', null],
  ['buy now at evil', null],
  [null, null],
  [`https://shop.example/${'a'.repeat(300)}`, 'https://shop.example'],
])('of %s a mail names %s', (page, shown) => {
  expect(pageOfOurs(page, ['https://shop.example'], 'https://recuerda.test')).toBe(shown);
});

const keys = [
  { version: 1, secret: Buffer.alloc(32, 1) },
  { version: 2, secret: Buffer.alloc(32, 2) },
];
const token = {
  requestId: '0b38b7a4-7b3c-4c39-9a8f-2d1d2ab6a0f1',
  addressHash: `1.${Buffer.alloc(32, 9).toString('base64url')}`,
  formId: '5f0ce32c-13aa-4c11-b7b0-10ab3b1bcd11',
  locale: 'es-ES',
};

test('a link’s token reads back, under every key that is kept; without a form too', () => {
  const text = signConfirmToken(token, keys);
  expect(readConfirmToken(text, keys)).toEqual(token);
  expect(readConfirmToken(text, keys.slice(0, 1))).toBeNull();
  expect(readConfirmToken(signConfirmToken(token, keys.slice(0, 1)), keys)).toEqual(token);
  const bare = { ...token, formId: null };
  expect(readConfirmToken(signConfirmToken(bare, keys), keys)).toEqual(bare);
});

test('changed in any bit, cut short, or signed for something else, it is worth nothing', () => {
  const bytes = Buffer.from(signConfirmToken(token, keys), 'base64url');
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const forged = Buffer.from(bytes);
    forged.writeUInt8(forged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    expect(readConfirmToken(forged.toString('base64url'), keys)).toBeNull();
  }
  for (let length = 0; length < bytes.length; length++) {
    expect(readConfirmToken(bytes.subarray(0, length).toString('base64url'), keys)).toBeNull();
  }
  const { addressHash, locale, requestId } = token;
  const other = signUnsubscribeToken({ addressHash, locale, campaignId: requestId, enrollmentId: requestId }, keys);
  expect(readConfirmToken(other, keys)).toBeNull();
  expect(readUnsubscribeToken(signConfirmToken(token, keys), keys)).toBeNull();
});
