import fc from 'fast-check';
import { classifyRaw } from '../../../mail/receive/classify';
import { MAX_READ_BYTES, readMessage } from '../../../mail/receive/read';
import { header } from '../../../mail/receive/received';
import { TEST_TOKEN_KEYS } from '../../support/leads';
import { labelledMessages } from './corpus';

const mail = (text: string, encoding: BufferEncoding = 'utf8') => Buffer.from(text.replaceAll('\n', '\r\n'), encoding);
const kindOf = async (raw: Buffer) => (await classifyRaw(raw, { keys: TEST_TOKEN_KEYS })).classification.kind;

test('header: unfolded, decoded, names in any case, repeated fields in order', async () => {
  const message = await readMessage(
    mail(
      'FROM: =?utf-8?q?Luc=C3=ADa_?= =?iso-8859-1?Q?Mu=F1oz?= <Lucia@Correo.Example>\nTo: "Ventas, Oriol" <ventas@tienda.example>,\n\totra@tienda.example\nReceived: one\nreceived: two\nSubject: =?UTF-8?B?wqFHcmFj?=\n =?UTF-8?B?aWFzIQ==?=\nIn-Reply-To: <b@x.example>\nReferences: <a@x.example>\n <b@x.example>\n\nHola\n',
    ),
    { sender: '', recipient: 'respuestas@tienda.example' },
  );
  expect(message.from).toEqual({ address: 'lucia@correo.example', name: 'Lucía Muñoz' });
  expect(message.recipients).toEqual(['respuestas@tienda.example', 'ventas@tienda.example', 'otra@tienda.example']);
  expect(message.headers.get('received')).toEqual(['one', 'two']);
  expect(message.subject).toBe('¡Gracias!');
  expect(message.references).toEqual(['<b@x.example>', '<a@x.example>']);
  expect(header(message, 'Return-Path')).toBe('<>');
  expect(message.text.trim()).toBe('Hola');
});

test.each([
  [
    'Windows-1252 said to be UTF-8',
    Buffer.from('Content-Type: text/plain; charset=utf-8\nFrom: a@b.example\n\n“Sí”', 'utf8'),
    '“Sí”',
  ],
  [
    'UTF-8 said to be ASCII',
    Buffer.from('Content-Type: text/plain; charset=us-ascii\nFrom: a@b.example\n\nSí', 'utf8'),
    'Sí',
  ],
  ['Latin-1 without a charset', Buffer.from('From: a@b.example\n\nSí', 'latin1'), 'Sí'],
  [
    'a charset that nobody knows',
    Buffer.from('Content-Type: text/plain; charset=x-klingon\nFrom: a@b.example\n\nSí', 'utf8'),
    'Sí',
  ],
  [
    'Shift_JIS',
    Buffer.concat([
      Buffer.from('Content-Type: text/plain; charset=shift_jis\nFrom: a@b.example\n\n'),
      Buffer.from([0x82, 0xa0]),
    ]),
    'あ',
  ],
  ['UTF-7', Buffer.from('Content-Type: text/plain; charset=utf-7\nFrom: a@b.example\n\nS+AO0-'), 'Sí'],
  [
    'base64 with line noise',
    Buffer.from(
      'From: a@b.example\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nU8\n* Ot\n',
    ),
    'Sí',
  ],
  [
    'quoted-printable cut short',
    Buffer.from(
      'From: a@b.example\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nS=C3=AD=\n',
    ),
    'Sí',
  ],
])('charsets: %s', async (_, raw, text) => {
  expect((await readMessage(raw)).text.trim()).toBe(text);
});

test('8-bit header fields, an mbox line, UTF-16 and bare CR are read', async () => {
  const plain = 'From: Núria <nuria@correo.example>\nSubject: Això és tot\n\nAdéu\n';
  for (const raw of [
    Buffer.from(plain, 'utf8'),
    Buffer.from(plain, 'latin1'),
    Buffer.from(`From nuria@correo.example Tue Oct 13 09:14:02 2026\n${plain}`, 'utf8'),
    Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(plain, 'utf16le')]),
    Buffer.from(plain.replaceAll('\n', '\r'), 'utf8'),
    Buffer.from(`\ufeff\r\n\r\n${plain}`, 'utf8'),
  ]) {
    const message = await readMessage(raw);
    expect(message.from).toEqual({ address: 'nuria@correo.example', name: 'Núria' });
    expect(message.subject).toBe('Això és tot');
    expect(message.text.trim()).toBe('Adéu');
    expect(message.problem).toBeNull();
  }
});

test('parts of embedded messages are told apart, and their headers kept', async () => {
  const message = await readMessage(
    mail(
      'From: a@b.example\nContent-Type: multipart/mixed; boundary=out\n\n--out\nContent-Type: text/plain\n\nmine\n--out\nContent-Type: message/rfc822\n\nMessage-ID: <inner@x.example>\nContent-Type: multipart/alternative; boundary=in\n\n--in\nContent-Type: text/plain\n\ntheirs\n--in--\n--out\nContent-Type: text/rfc822-headers\n\nMessage-ID: <only@x.example>\n--out--\n',
    ),
  );
  expect(message.text.trim()).toBe('mine');
  expect(message.parts.map(({ contentType, embedded, depth }) => [contentType, embedded, depth])).toEqual([
    ['text/plain', false, 1],
    ['text/plain', true, 3],
    ['text/rfc822-headers', false, 1],
  ]);
  expect(message.embeddedHeaders.map((fields) => fields.get('message-id'))).toEqual([
    ['<inner@x.example>'],
    ['<only@x.example>'],
  ]);
});

test.each([
  ['a boundary that is not named', 'multipart/mixed', '--xyz\nContent-Type: text/plain\n\nhola\n--xyz--\n'],
  [
    'a boundary that never comes',
    'multipart/mixed; boundary=other',
    '--xyz\nContent-Type: text/plain\n\nhola\n--xyz--\n',
  ],
  ['no closing boundary', 'multipart/mixed; boundary=xyz', '--xyz\nContent-Type: text/plain\n\nhola\n'],
  ['no part at all', 'multipart/mixed; boundary=xyz', 'hola\n'],
  ['HTML alone', 'text/html', '<html><body><p>hola</p></body></html>'],
])('%s: the text is found', async (_, type, body) => {
  expect((await readMessage(mail(`From: a@b.example\nContent-Type: ${type}\n\n${body}`))).text.trim()).toBe('hola');
});

test.each([
  ['nothing', Buffer.alloc(0)],
  ['zeros', Buffer.alloc(5_000)],
  ['no header', Buffer.from('just words\nand more words\n')],
  ['fields of something else', Buffer.from('alpha: 1\nbeta: 2\n\ntext')],
])('unreadable, %s: says why and is other', async (_, raw) => {
  expect((await readMessage(raw)).problem).toEqual(expect.any(String));
  const { classification } = await classifyRaw(raw, { keys: TEST_TOKEN_KEYS });
  expect(classification).toMatchObject({ kind: 'other', evidence: [expect.stringContaining('unreadable')] });
});

test('too much of everything: cut off, and says so', async () => {
  const start = 'From: MAILER-DAEMON@x.example\nSubject: failure notice\n';
  const huge = Buffer.alloc(MAX_READ_BYTES + 1_000, 'spam and eggs\n');
  huge.write(`${start}\n`);
  const many = `${start}Content-Type: multipart/mixed; boundary=b\n\n${'--b\n\nx\n'.repeat(20_000)}--b--\n`;
  let deep = 'From: a@b.example\n\ninnermost';
  for (let depth = 0; depth < 400; depth += 1) deep = `From: a@b.example\nContent-Type: message/rfc822\n\n${deep}`;
  let nested = `${start}Content-Type: multipart/mixed; boundary=b0\n\n`;
  for (let depth = 0; depth < 400; depth += 1)
    nested += `--b${depth}\nContent-Type: multipart/mixed; boundary=b${depth + 1}\n\n`;
  const fields = `${start}${'X-Filler: yes\n'.repeat(100_000)}\nx`;
  const folded = `${start}X-Long: a\n${' b\n'.repeat(400_000)}\nx`;
  const html = `${start}Content-Type: text/html\n\n${'<div>'.repeat(60_000)}x`;
  for (const raw of [huge, ...[many, deep, nested].map((text) => Buffer.from(text))]) {
    expect((await readMessage(raw)).truncated).toBe(true);
  }
  for (const raw of [huge, ...[many, deep, nested, fields, folded, html].map((text) => Buffer.from(text))]) {
    const { message, classification } = await classifyRaw(raw, { keys: TEST_TOKEN_KEYS });
    expect(message.text.length).toBeLessThanOrEqual(200_000);
    expect(message.parts.length).toBeLessThanOrEqual(501);
    expect(classification.kind).toEqual(expect.any(String));
  }
});

test('random bytes never throw and always get a kind', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 2_000 }), async (bytes) => {
      expect(await kindOf(Buffer.from(bytes))).toEqual(expect.any(String));
    }),
    { numRuns: 200 },
  );
});

test('messages of the corpus, cut, spliced and overwritten, never throw and always get a kind', async () => {
  const all = labelledMessages().map(({ raw }) => raw);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(all.length - 1),
      fc.nat(all.length - 1),
      fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.uint8Array({ maxLength: 12 })), {
        maxLength: 6,
      }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      async (first, second, changes, cut) => {
        const one = Buffer.from(all[first] ?? '');
        for (const [where, bytes] of changes)
          one.set(bytes.slice(0, one.length - Math.floor(where * one.length)), Math.floor(where * one.length));
        const other = all[second] ?? Buffer.alloc(0);
        const spliced = Buffer.concat([
          one.subarray(0, Math.floor(cut * one.length)),
          other.subarray(Math.floor(cut * other.length)),
        ]);
        const { classification } = await classifyRaw(spliced, { keys: TEST_TOKEN_KEYS });
        expect(classification.kind).toEqual(expect.any(String));
        expect(classification.evidence.join()).not.toContain('a rule failed');
      },
    ),
    { numRuns: 300 },
  );
});
