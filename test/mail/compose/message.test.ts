import { simpleParser } from 'mailparser';
import type { CompiledStep } from '../../../domain/campaign';
import type { MailIdentity } from '../../../mail/compose/identity';
import { composeMessage, domainOf, type MessageInput } from '../../../mail/compose/message';

const identity: MailIdentity = {
  messageId: '<aaaabbbb@shop.example>',
  from: { name: 'Marta Núñez', address: 'marta@shop.example' },
  replyTo: 'respuestas@shop.example',
  returnPath: 'bounces+ccccdddd@shop.example',
  envelopeId: 'ccccdddd',
  unsubscribeAddress: 'respuestas+eeeeffff@shop.example',
};

const compiled: CompiledStep = {
  subject: '{{ lead.firstName | default: "Hola" }}, ¿aún me recuerda?',
  html: `<html><body><p>Hola {{ lead.name }}: {{ lead.attributes.note }} {{ consent.source }}</p>
<p>{{ requestedAt }} {{ step.number }}/{{ step.total }}</p><a href="{{ unsubscribeUrl }}">Baja</a></body></html>`,
  text: 'Hola {{ lead.name }}: {{ lead.attributes.note }} {{ consent.source }}\n{{ requestedAt }}\nBaja: {{ unsubscribeUrl }}\n',
};

function input(
  change: Omit<Partial<MessageInput>, 'lead'> & { lead?: Partial<MessageInput['lead']> } = {},
): MessageInput {
  const lead = {
    email: 'ana@correo.example',
    name: 'Ana Ibáñez',
    locale: 'es',
    timeZone: 'Europe/Madrid',
    attributes: {},
  };
  return {
    compiled,
    campaignId: '6e1c8f0a-0000-4000-8000-000000000001',
    definition: {
      name: 'Cafetera',
      product: { name: 'Cafetera', url: 'https://shop.example/cafetera' },
      sender: {
        name: 'Marta Núñez',
        address: 'marta@shop.example',
        replyTo: 'respuestas@shop.example',
        legalName: 'Casa Brava, S.L.',
        postalAddress: 'Calle del Molino, 12',
        privacyUrl: 'https://shop.example/privacidad',
      },
    },
    requestedAt: new Date('2025-09-02T22:30:00Z'),
    consentSource: null,
    step: 2,
    stepCount: 8,
    unsubscribeUrl: `https://shop.example/u/${'a1B2-_'.repeat(30)}`,
    identity,
    stream: 'marketing',
    date: new Date('2025-12-10T09:15:00Z'),
    ...change,
    lead: { ...lead, ...change.lead },
  };
}

const parsed = async (message: { raw: Buffer }) => simpleParser(message.raw, { keepCidLinks: true });
const headerLines = (raw: Buffer) => (raw.toString('latin1').split('\r\n\r\n')[0] ?? '').split('\r\n');

test('what was composed is what a mail reader reads', async () => {
  const message = await composeMessage(input());
  const mail = await parsed(message);
  expect(mail.from?.value).toEqual([{ name: 'Marta Núñez', address: 'marta@shop.example' }]);
  expect(mail.to).toMatchObject({ value: [{ name: 'Ana Ibáñez', address: 'ana@correo.example' }] });
  expect(mail.replyTo?.value).toEqual([{ name: '', address: 'respuestas@shop.example' }]);
  expect(mail.subject).toBe('Ana, ¿aún me recuerda?');
  expect(mail.subject).toBe(message.subject);
  expect(mail.messageId).toBe('<aaaabbbb@shop.example>');
  expect(mail.date).toEqual(new Date('2025-12-10T09:15:00Z'));
  expect(mail.html).toBe(message.html);
  expect(mail.text).toBe(message.text);
  expect(message.html).toContain('<p>3 de septiembre de 2025 2/7</p>');
  expect(mail.headers.get('content-type')).toMatchObject({ value: 'multipart/alternative' });
  expect(message.envelope).toEqual({
    from: 'bounces+ccccdddd@shop.example',
    to: ['ana@correo.example'],
    id: 'ccccdddd',
  });
});

test('P13: one-click unsubscribe is in the headers, unfolded (RFC 8058), and so is what kind of mail it is', async () => {
  const message = await composeMessage(input());
  const lines = headerLines(message.raw);
  const link = input().unsubscribeUrl;
  expect(lines).toContain(`List-Unsubscribe: <${link}>, <mailto:respuestas+eeeeffff@shop.example?subject=unsubscribe>`);
  expect(lines).toContain('List-Unsubscribe-Post: List-Unsubscribe=One-Click');
  expect(lines.map((line) => line.toLowerCase())).toContain(
    'list-id: <6e1c8f0a-0000-4000-8000-000000000001.shop.example>',
  );
  expect(lines).toContain('Auto-Submitted: auto-generated');
  expect(lines).toContain('Content-Language: es');
  expect(message.headers).toMatchObject({ 'Message-ID': '<aaaabbbb@shop.example>' });
  expect(message.headers['List-Unsubscribe']).toContain(`<${link}>`);
});

test('P13: where no mailbox of ours would read it, List-Unsubscribe has no mailto', async () => {
  const { raw } = await composeMessage(input({ identity: { ...identity, unsubscribeAddress: null } }));
  expect(headerLines(raw)).toContain(`List-Unsubscribe: <${input().unsubscribeUrl}>`);
});

test.each(['requested', 'marketing', 'transactional'] as const)(
  'Feedback-ID tells campaign, step, stream and sender apart, and no person: %s',
  async (stream) => {
    const one = await composeMessage(input({ stream }));
    const other = await composeMessage(input({ stream, lead: { email: 'otra@correo.example', name: 'Otra' } }));
    expect(one.headers['Feedback-ID']).toBe(`6e1c8f0a:step2:${stream}:shop.example`);
    expect(other.headers['Feedback-ID']).toBe(one.headers['Feedback-ID']);
    expect(headerLines(one.raw)).toContain(`Feedback-ID: 6e1c8f0a:step2:${stream}:shop.example`);
  },
);

test.each(['from', 'replyTo', 'returnPath', 'unsubscribeAddress'] as const)(
  'header injection: an identity whose %s would break out is refused',
  async (part) => {
    const evil = 'a@b.example>\r\nBcc: <c@d.example';
    const broken = part === 'from' ? { from: { name: 'x', address: evil } } : { [part]: evil };
    await expect(composeMessage(input({ identity: { ...identity, ...broken } }))).rejects.toThrow(
      /^an address can not stand in a header$/,
    );
  },
);

test('on the wire it is plain ASCII in lines of at most 998 characters, ending in CRLF', async () => {
  const { raw } = await composeMessage(input({ lead: { attributes: { note: 'ñ€😀'.repeat(900) } } }));
  expect([...raw].every((byte) => byte < 128)).toBe(true);
  const lines = raw.toString('ascii').split('\r\n');
  expect(lines.every((line) => !/[\r\n]/.test(line) && line.length <= 998)).toBe(true);
});

test.each([
  'ñ',
  'Zoë 😀 Ñandú',
  "Seán O'Donnell",
  '"Ana" <otra@evil.example>, x',
  'Dr. Müller; Jr. (Köln)',
  '山田 太郎',
  'A'.repeat(300),
])('a lead may be called %j', async (name) => {
  const message = await composeMessage(input({ lead: { name } }));
  const mail = await parsed(message);
  expect(mail.to).toMatchObject({ value: [{ name, address: 'ana@correo.example' }] });
  expect(mail.text).toContain(`Hola ${name}:`);
  expect(mail.subject).toBe(`${name.split(' ')[0]}, ¿aún me recuerda?`);
});

test.each([null, '', '   '])('a lead whose name is %j still gets their mail', async (name) => {
  const message = await composeMessage(input({ lead: { name } }));
  expect(message.subject).toBe('Hola, ¿aún me recuerda?');
  expect(message.headers.To).toBe('ana@correo.example');
  expect(message.text).toContain('Hola :  \n');
  expect(message.html).not.toMatch(/null|undefined|\{\{/);
});

test.each([
  'Ana\r\nBcc: all@evil.example',
  'Ana\nBcc: all@evil.example',
  'Ana\u2028Bcc: all@evil.example',
  'Ana\r\n\r\n<b>x</b>',
])('header injection: a lead called %j adds no header', async (name) => {
  const message = await composeMessage(
    input({ lead: { name }, compiled: { ...compiled, subject: 'A {{ lead.name }}' } }),
  );
  const mail = await parsed(message);
  expect(mail.headers.has('bcc')).toBe(false);
  expect([...mail.headers.keys()].sort()).toEqual(
    [...(await parsed(await composeMessage(input()))).headers.keys()].sort(),
  );
  expect(mail.subject).not.toMatch(/[\r\n\u2028]/);
  expect(mail.subject).toMatch(/^A Ana /);
  expect(mail.to).toMatchObject({ value: [{ address: 'ana@correo.example' }] });
});

test.each([
  'a@b.example\r\nBcc: c@d.example',
  'a@b.example>, <c@d.example',
  'a@b.example, c@d.example',
  'nobody',
  '@b.example',
  'a@',
])('header injection: the address %j is refused, and not quoted in the error', async (email) => {
  const composing = composeMessage(input({ lead: { email } }));
  await expect(composing).rejects.toThrow(/^an address can not stand in a header$/);
});

test('what a lead wrote becomes neither HTML nor Liquid', async () => {
  const name = '<script>alert(1)</script>';
  const note = '{{ lead.email }}{% if true %}"><img src=x onerror=alert(1)>{% endif %}';
  const { html, text } = await composeMessage(input({ lead: { name, attributes: { note } } }));
  expect(html).not.toMatch(/<script|<img/);
  expect(html).not.toContain('ana@correo.example');
  expect(text).toContain(`Hola ${name}: ${note}`);
});

test('filters that print several lines or captured text escape once, not twice', async () => {
  const html =
    '{{ lead.attributes.note | newline_to_br }}|{{ lead.name | escape }}|{% capture x %}<i>{{ lead.name }}</i>{% endcapture %}{{ x }}';
  const message = await composeMessage(
    input({ compiled: { ...compiled, html }, lead: { name: 'A&B', attributes: { note: '1\n<2' } } }),
  );
  expect(message.html).toBe('1<br>\n&#60;2|A&#38;B|<i>A&#38;B</i>');
});

test('dates are told in the language and the time zone of the lead', async () => {
  const text =
    '{{ requestedAt | localDate }}; {{ requestedAt | ago }}; {{ requestedAt | date: "%d/%m/%Y %H:%M" }}; {{ "now" | date: "%Y" }}';
  const told = async (lead: Partial<MessageInput['lead']>) =>
    (await composeMessage(input({ compiled: { ...compiled, text }, lead }))).text;
  expect(await told({})).toBe('3 de septiembre de 2025; hace 3 meses; 03/09/2025 00:30; 2025');
  expect(await told({ locale: 'en-GB', timeZone: 'Europe/London' })).toBe(
    '2 September 2025; 3 months ago; 02/09/2025 23:30; 2025',
  );
  expect(await told({ locale: '??', timeZone: 'Mars' })).toContain('September 2, 2025');
});

test('addresses with international domains go out in ASCII (IDNA)', async () => {
  const message = await composeMessage(input({ lead: { email: 'José@Peña.es' } }));
  expect(message.envelope.to).toEqual(['José@xn--pea-8ma.es']);
  expect(domainOf('marta@peña.es')).toBe('xn--pea-8ma.es');
});

test('P5: a template that fails for one lead says where, and nothing about the lead', async () => {
  const text = '{% for i in (1..lead.attributes.many) %}{{ lead.email }}{% endfor %}';
  const composing = composeMessage(
    input({ compiled: { ...compiled, text }, lead: { attributes: { many: 100_000_000 } } }),
  );
  await expect(composing).rejects.toThrow(/^the text of step 2 can not be filled$/);
});

test('P3: composing twice gives the same mail, byte for byte', async () => {
  const [a, b] = [await composeMessage(input()), await composeMessage(input())];
  expect(a).toEqual(b);
  expect(a.raw.equals(b.raw)).toBe(true);
});
