import fc from 'fast-check';
import { likelyDomain } from '../../domain/mistyped-domain';

test.each([
  ['gmial.com', 'gmail.com'],
  ['gmai.com', 'gmail.com'],
  ['gmaill.com', 'gmail.com'],
  ['gnail.com', 'gmail.com'],
  ['GMAIL.CON', 'gmail.com'],
  ['gmail.es', 'gmail.com'],
  ['gmail.co', 'gmail.com'],
  ['gmail.com.es', 'gmail.com'],
  ['g.mail.com', 'gmail.com'],
  ['hotmial.com', 'hotmail.com'],
  ['hotmai.es', 'hotmail.es'],
  ['hotamil.com', 'hotmail.com'],
  ['hormail.com', 'hotmail.com'],
  ['hotmal.con', 'hotmail.com'],
  ['hotmail.cm', 'hotmail.com'],
  ['outlok.es', 'outlook.es'],
  ['oulook.com', 'outlook.com'],
  ['outllok.com', 'outlook.com'],
  ['yaho.es', 'yahoo.es'],
  ['yahooo.com', 'yahoo.com'],
  ['iclud.com', 'icloud.com'],
  ['icloud.es', 'icloud.com'],
  ['telefonca.net', 'telefonica.net'],
  ['t-onlin.de', 't-online.de'],
  ['shop-of-somebody.con', 'shop-of-somebody.com'],
  ['verein.ogr', 'verein.org'],
])('%s was probably meant as %s', (typed, meant) => {
  expect(likelyDomain(typed)).toBe(meant);
});

test.each([
  ...['gmail.com', 'hotmail.es', 'yahoo.com.mx', 'mail.com', 'email.com', 'ymail.com', 'fastmail.com', 'hushmail.com'],
  ...['outlook.be', 'hotmail.nl', 'yahoo.ca', 'gmx.ch', 'orange.es', 'live.nl', 'mi.com', 'gms.de', 'aon.at', 'wab.de'],
  ...[
    'shop.example',
    'casabrava.es',
    'mailbox.org',
    'posteo.de',
    'portmail.com',
    'bücher.example',
    'a.b',
    '',
    '.',
    'com',
  ],
])('%s is not asked about', (domain) => {
  expect(likelyDomain(domain)).toBeNull();
});

test('whatever is typed, what is asked about is another domain, and is itself not asked about', () => {
  fc.assert(
    fc.property(fc.oneof(fc.domain(), fc.string()), (typed) => {
      const meant = likelyDomain(typed);
      if (meant !== null) {
        expect(meant).not.toBe(typed);
        expect(likelyDomain(meant)).toBeNull();
      }
    }),
  );
});
