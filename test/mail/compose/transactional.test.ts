import { isAscii } from 'node:buffer';
import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { dkimVerify } from 'mailauth';
import { type Attachment, type ParsedMail, simpleParser } from 'mailparser';
import { mailIdentity } from '../../../mail/compose/identity';
import { composeTransactional, type TransactionalMessage } from '../../../mail/compose/transactional';
import { createSigner } from '../../../mail/deliver/signing';
import { TEST_TOKEN_KEYS } from '../../support/leads';

const FROM = { name: 'Casa Brava · Facturas', address: 'facturas@pedidos.shop.example' };
const PDF = Buffer.from([0x25, 0x50, 0x44, 0x46, 0, 13, 10, 46, 10, 255, 13, 200, 10, 10]);

function messageWith(change: Partial<TransactionalMessage> = {}): TransactionalMessage {
  return {
    to: { email: 'ana@correo.example', name: 'Ana García' },
    subject: 'Su factura nº 17',
    text: 'Total: 129 €\n.\nGracias',
    html: '<p>Total: 129 €</p>',
    locale: 'es',
    replyTo: 'ayuda@shop.example',
    attachments: [],
    original: null,
    identity: mailIdentity(
      { kind: 'transactional', id: randomUUID() },
      { from: FROM, replyTo: FROM.address },
      { returnPath: 'bounces@shop.example', replyAddress: null, tokenKeys: TEST_TOKEN_KEYS },
    ),
    sort: 'invoice',
    date: new Date('2026-03-01T10:00:00Z'),
    ...change,
  };
}

async function composed(change: Partial<TransactionalMessage> = {}): Promise<{ mail: ParsedMail; raw: string }> {
  const { raw } = await composeTransactional(messageWith(change));
  const text = raw.toString('latin1');
  // As SMTP wants it: seven bits, no bare CR or LF, no line over 998 octets (RFC 5321).
  expect(isAscii(raw) && !raw.includes(0)).toBe(true);
  expect(text).not.toMatch(/\r(?!\n)|(?<!\r)\n/);
  expect(text).not.toMatch(/[^\r\n]{999}/);
  return { mail: await simpleParser(raw, { keepCidLinks: true }), raw: text };
}

test('text and HTML, addressed, dated and marked as sent by a program; nothing to unsubscribe from', async () => {
  const { mail } = await composed();
  expect(mail).toMatchObject({ subject: 'Su factura nº 17', text: 'Total: 129 €\n.\nGracias', attachments: [] });
  expect(mail.html).toBe('<p>Total: 129 €</p>');
  expect(mail.from?.value).toEqual([{ name: FROM.name, address: FROM.address }]);
  expect(mail.replyTo?.value[0]?.address).toBe('ayuda@shop.example');
  expect(mail.date).toEqual(new Date('2026-03-01T10:00:00Z'));
  expect(mail.messageId).toMatch(/^<[a-z2-7]+@pedidos\.shop\.example>$/);
  expect(mail.headers.get('auto-submitted')).toBe('auto-generated');
  expect(mail.headers.get('feedback-id')).toBe('invoice:transactional:pedidos.shop.example');
  expect(mail.headers.get('content-language')).toBe('es');
  expect([...mail.headers.keys()].filter((name) => name.startsWith('list'))).toEqual([]);
});

test('files arrive as the same bytes under their names, in any script, and pictures beside the HTML that shows them', async () => {
  const long = `${'Factura número '.repeat(8)}.pdf`;
  const { mail, raw } = await composed({
    html: '<p><img src="cid:logo"></p>',
    attachments: [
      { filename: 'factura 17 – ñandú €.pdf', contentType: 'application/pdf', contentId: null, bytes: PDF },
      { filename: long, contentType: 'text/plain', contentId: null, bytes: Buffer.from('á\r.\n\n') },
      { filename: 'logo.png', contentType: 'image/png', contentId: 'logo', bytes: PDF },
      { filename: '../../etc\\passwd', contentType: 'message/rfc822', contentId: null, bytes: PDF },
    ],
  });
  const seen = mail.attachments.map(({ filename, contentType, content, cid, contentDisposition, related }) => ({
    filename,
    contentType,
    content,
    cid,
    contentDisposition,
    related,
  }));
  expect(seen).toEqual([
    expect.objectContaining({
      filename: 'logo.png',
      content: PDF,
      cid: 'logo',
      contentDisposition: 'inline',
      related: true,
    }),
    expect.objectContaining({ filename: 'factura 17 – ñandú €.pdf', contentType: 'application/pdf', content: PDF }),
    expect.objectContaining({ filename: long, content: Buffer.from('á\r.\n\n'), contentDisposition: 'attachment' }),
    expect.objectContaining({ filename: '.._.._etc_passwd', contentType: 'application/octet-stream', content: PDF }),
  ]);
  expect(mail.html).toContain('cid:logo');
  // RFC 2231, and each field within the length that RFC 5322 asks for.
  expect(raw).toMatch(/filename\*0\*=utf-8''/);
  expect(raw.split('\r\n').every((line) => line.length <= 200)).toBe(true);
});

test('nothing breaks out of a header, and an address that is none is refused without being quoted', async () => {
  const { raw, mail } = await composed({
    subject: 'Hola\r\nBcc: otra@correo.example',
    to: { email: 'ana@correo.example', name: 'Ana\nX-Evil: 1' },
    attachments: [{ filename: 'a"\r\nX-Evil: 1.pdf', contentType: 'application/pdf', contentId: null, bytes: PDF }],
  });
  expect(raw).not.toMatch(/^(Bcc|X-Evil):/im);
  expect(mail.subject).toBe('Hola Bcc: otra@correo.example');
  const refused = composeTransactional(messageWith({ to: { email: 'ana@x, b@y', name: null } }));
  await expect(refused).rejects.toThrow('an address can not stand in a header');
});

const ORIGINAL = 'From: Ana <ana@correo.example>\nSubject: =?utf-8?q?S=C3=AD?=\n\nLlámenme.\n'.replace('á', 'a');
const originalOf = async (raw: Buffer, whole = true): Promise<{ part: Attachment; raw: string }> => {
  const { mail, raw: text } = await composed({ html: null, text: 'Una respuesta.', original: { raw, whole } });
  expect(mail.attachments).toHaveLength(1);
  return { part: mail.attachments[0] as Attachment, raw: text };
};

test('a received message goes along as message/rfc822, its line ends mended', async () => {
  const { part, raw } = await originalOf(Buffer.from(`${ORIGINAL}uno\rdos\r\n`));
  expect(part).toMatchObject({ contentType: 'message/rfc822', filename: 'original.eml' });
  expect(part.content.toString().trimEnd()).toBe(`${ORIGINAL.replaceAll('\n', '\r\n')}uno\r\ndos`);
  expect(raw).toMatch(/Content-Type: message\/rfc822[\s\S]*Content-Transfer-Encoding: 7bit/i);
});

test('one in eight bits, or with endless lines, goes along as a file of the same bytes', async () => {
  for (const raw of [
    Buffer.from(`${ORIGINAL}¿Qué tal?\n`, 'latin1'),
    Buffer.from(`${ORIGINAL}${'a'.repeat(2_000)}\n`),
  ]) {
    const { part, raw: text } = await originalOf(raw);
    expect(part).toMatchObject({ filename: 'original.eml', content: raw });
    expect(text).toMatch(
      /Content-Type: application\/octet-stream; name=original\.eml\r\nContent-Transfer-Encoding: base64/,
    );
  }
});

test('of one that is huge, or was cut, the headers go along', async () => {
  for (const [raw, whole] of [
    [Buffer.from(ORIGINAL + 'a\n'.repeat(6_000_000)), true],
    [Buffer.from(ORIGINAL), false],
  ] as const) {
    const { part } = await originalOf(raw, whole);
    expect(part.contentType).toBe('text/rfc822-headers');
    expect(part.content.toString()).toBe('From: Ana <ana@correo.example>\r\nSubject: =?utf-8?q?S=C3=AD?=\r\n');
  }
});

test('its DKIM signature covers the attachments: an independent verifier passes it, and not with a byte changed', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const sign = createSigner([{ domain: 'shop.example', selector: 's1', privateKey }], 'smtps://mail.provider.example');
  const { raw } = await composeTransactional(
    messageWith({
      attachments: [{ filename: 'factura.pdf', contentType: 'application/pdf', contentId: null, bytes: PDF }],
      original: { raw: Buffer.from(ORIGINAL), whole: true },
    }),
  );
  const signed = await sign(raw, FROM.address, new Date());
  const p = createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64');
  const verdict = async (message: Buffer) => {
    const { results } = await dkimVerify(message, { resolver: async () => [[`v=DKIM1; k=rsa; p=${p}`]] });
    return results.map(({ status }) => status.result);
  };
  expect(await verdict(signed)).toEqual(['pass']);
  const bytes = signed.toString('latin1');
  const base64 = PDF.toString('base64').slice(0, 8);
  expect(bytes).toContain(base64);
  for (const [from, to] of [
    [base64, `${base64.slice(0, -1)}A`],
    ['Auto-Submitted: auto-generated', 'Auto-Submitted: no'],
    ['Llamenme', 'Olvidenme'],
  ] as const) {
    expect(bytes).toContain(from);
    expect(['neutral', 'fail']).toContain((await verdict(Buffer.from(bytes.replace(from, to), 'latin1')))[0]);
  }
});
