import { MAIL_TOKEN_LENGTH, type MailRef, readMailToken } from '../../../domain/mail-token';
import { type IdentitySettings, mailIdentity } from '../../../mail/compose/identity';
import { readMessageId } from '../../../mail/compose/message-id';

const KEYS = [{ version: 1, secret: Buffer.alloc(32, 1) }];
const REF: MailRef = { kind: 'enrollment', id: 'c0ffee00-0000-4000-8000-00000000000a', step: 7, copy: 3 };
const SENDER = { from: { name: 'Marta', address: 'marta@Señal.example' }, replyTo: 'marta@shop.example' };
const OURS: IdentitySettings = {
  returnPath: 'bounces@shop.example',
  replyAddress: 'replies@shop.example',
  tokenKeys: KEYS,
};

const tokenIn = (address: string) => /\+([a-z2-7]+)@/.exec(address)?.[1] ?? '';

test('every address of ours carries a token of its own purpose, and the Message-ID is under From’s domain', () => {
  const identity = mailIdentity(REF, SENDER, OURS);
  expect(identity.from).toEqual(SENDER.from);
  expect(identity.returnPath).toMatch(/^bounces\+[a-z2-7]+@shop\.example$/);
  expect(identity.replyTo).toMatch(/^replies\+[a-z2-7]+@shop\.example$/);
  expect(identity.unsubscribeAddress).toMatch(/^replies\+[a-z2-7]+@shop\.example$/);
  expect(identity.messageId).toMatch(/^<[a-z2-7]+@xn--seal-hqa\.example>$/);
  expect(readMailToken('return-path', tokenIn(identity.returnPath), KEYS)).toEqual(REF);
  expect(readMailToken('reply', tokenIn(identity.replyTo), KEYS)).toEqual(REF);
  expect(readMailToken('unsubscribe', tokenIn(identity.unsubscribeAddress ?? ''), KEYS)).toEqual(REF);
  expect(readMessageId(identity.messageId, KEYS)).toEqual(REF);
  // What bounces must not pass for an answer, and an answer not for an unsubscribe.
  expect(readMailToken('reply', tokenIn(identity.returnPath), KEYS)).toBeNull();
  expect(readMailToken('unsubscribe', tokenIn(identity.replyTo), KEYS)).toBeNull();
});

test('the ENVID is the token of the return path', () => {
  const identity = mailIdentity(REF, SENDER, OURS);
  expect(identity.envelopeId).toBe(tokenIn(identity.returnPath));
});

test('P3 the same mail gets the same names', () => {
  expect(mailIdentity({ ...REF }, SENDER, OURS)).toEqual(mailIdentity(REF, SENDER, OURS));
});

test('without mailboxes of ours, reports go to From and answers where the campaign says', () => {
  const identity = mailIdentity(REF, SENDER, { returnPath: null, replyAddress: null, tokenKeys: KEYS });
  expect(identity).toMatchObject({
    returnPath: 'marta@Señal.example',
    replyTo: 'marta@shop.example',
    unsubscribeAddress: null,
  });
  expect(readMailToken('return-path', identity.envelopeId, KEYS)).toEqual(REF);
});

test('the longest mailbox name that the settings take leaves a local part of 64 octets (RFC 5321, 4.5.3.1.1)', () => {
  const longest = 'x'.repeat(64 - 1 - MAIL_TOKEN_LENGTH);
  const { returnPath, replyTo } = mailIdentity(REF, SENDER, {
    returnPath: `${longest}@shop.example`,
    replyAddress: `${longest}@shop.example`,
    tokenKeys: KEYS,
  });
  for (const address of [returnPath, replyTo])
    expect(Buffer.byteLength(address.slice(0, address.indexOf('@')))).toBe(64);
});
