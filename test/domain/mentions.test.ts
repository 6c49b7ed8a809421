import { fingerprintOf, mentionsIn } from '../../domain/mentions';

const ANA = 'ana.nunez@talleres-zorrilla.example';

const names = (raw: string, address = ANA) => mentionsIn(Buffer.from(raw)).includes(fingerprintOf(address));

test.each([
  ['a header', `From: Ana <${ANA}>\r\n\r\nHola`],
  ['a folded header, in capitals', `To: b@b.example,\r\n\t<${ANA.toUpperCase()}>\r\n\r\n`],
  ['a delivery report', `Final-Recipient: rfc822;${ANA}\r\n`],
  ['running text, in quotes', `Escribe a '${ANA}'.`],
  ['a path', `https://shop.example/people/${ANA}/`],
  ['a list', `x|${ANA}|y`],
  ['a sentence that ends with it', `Soy ${ANA}.`],
  ['a link, percent-encoded', `<a href="https://shop.example/?e=${encodeURIComponent(ANA)}">`],
  ['quoted-printable', `e=3D${ANA.replace('@', '=40')}&x`],
  ['quoted-printable, broken over two lines', `Hola ana.nu=\r\nnez@talleres-=\r\nzorrilla.example adi=C3=B3s`],
  ['base64', Buffer.from(`Hola: ${ANA}, y adiós`).toString('base64')],
  [
    'base64, over several lines',
    `\r\n${(
      Buffer.from(`${'Un texto largo. '.repeat(9)}${ANA}\n`)
        .toString('base64')
        .match(/.{1,76}/g) ?? []
    ).join('\r\n')}\r\n\r\n`,
  ],
  ['an encoded word', `Subject: =?utf-8?B?${Buffer.from(`De ${ANA}`).toString('base64')}?=\r\n`],
])('an address is found in %s', (_, raw) => {
  expect(names(raw)).toBe(true);
});

test('a line without an end is read past, however long it is', () => {
  const raw = Buffer.concat([
    Buffer.from('a@shop.example\n'),
    Buffer.alloc(25 * 1024 * 1024, 'x'),
    Buffer.from('\nb@shop.example'),
  ]);
  expect(mentionsIn(raw).sort()).toEqual([fingerprintOf('a@shop.example'), fingerprintOf('b@shop.example')].sort());
});

test('the same address in other spellings is the same', () => {
  expect(names('To: ANA@EJEMPLO.Example', 'ana@ejemplo.example')).toBe(true);
  expect(names('To: jörg@müller.example', 'jörg@xn--mller-kva.example')).toBe(true);
});

test('another address is another', () => {
  const raw = `To: x${ANA}, ${ANA}.mx, ana.nunez@zorrilla.example`;
  expect(names(raw)).toBe(false);
  expect(names('nothing here, and @nobody')).toBe(false);
  expect(mentionsIn(Buffer.alloc(0))).toEqual([]);
});

test.each([
  ['dots', `${'a.'.repeat(200_000)}@${'b.'.repeat(200_000)}`],
  ['many @', 'a@'.repeat(300_000)],
  ['one base64 line after the other', 'QUJD\n'.repeat(500_000)],
])('a message made to hold us up, of %s, is read all the same', (_, raw) => {
  expect(mentionsIn(Buffer.from(`${raw}\nTo: ${ANA}`))).toContain(fingerprintOf(ANA));
});

test('of a message that names thousands only so many are kept', () => {
  const raw = Array.from({ length: 6_000 }, (_, n) => `to${n}@correo.example`).join('\n');
  expect(mentionsIn(Buffer.from(raw))).toHaveLength(5_000);
});
