import { parseImapUrl } from '../../../mail/receive/imap-url';

test.each([
  [
    'imaps://ana%40shop.example:p%2Fw%3A%C3%B1@IMAP.shop.example',
    { name: 'ana@shop.example@imap.shop.example', port: 993, tls: 'implicit', user: 'ana@shop.example', pass: 'p/w:ñ' },
  ],
  ['imaps://ana:p@h.example:1993', { name: 'ana@h.example', port: 1993, tls: 'implicit', folders: null }],
  ['imap://ana:p@h.example', { port: 143, tls: 'starttls' }],
  ['imap://ana:p@127.0.0.1:1143', { port: 1143, tls: 'none' }],
  ['imap://ana:p@[::1]', { host: '::1', tls: 'none' }],
  ['imap://ana:p@localhost?ignoreTLS=true', { tls: 'none' }],
  ['imaps://ana@h.example?auth=oauth2', { user: 'ana', pass: null }],
  ['imaps://ana:p@h.example?folders=inbox,Archive,%20A%20b,Archive', { folders: ['INBOX', 'Archive', 'A b'] }],
  ['imaps://ana:p@h.example?folders=INBOX&folders=A%2FB', { folders: ['INBOX', 'A/B'] }],
])('%s', (url, expected) => {
  expect(parseImapUrl(url)).toMatchObject(expected);
});

test.each([
  ['ana:secret', /not a URL|must begin/],
  ['https://ana:secret@h.example', /must begin with/],
  ['imaps://ana:secret@', /not a URL|no host/],
  ['imaps://:secret@h.example', /no user/],
  ['imaps://ana@h.example', /no password/],
  ['imaps://ana:secret@h.example?auth=oauth2', /leave one of them out/],
  ['imaps://ana:secret@h.example?auth=ntlm', /oauth2/],
  ['imap://ana:secret@h.example?ignoreTLS=true', /in the clear/],
  ['imap://ana@h.example?auth=oauth2&ignoreTLS=true', /in the clear/],
  ['imaps://ana:secret%zz@h.example', /percent-encoded/],
])('%s is refused in words that quote nothing of it', (url, words) => {
  expect(() => parseImapUrl(url)).toThrow(words);
  expect(() => parseImapUrl(url)).not.toThrow(/secret|ana@/);
});
