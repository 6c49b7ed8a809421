import {
  compileTransactional,
  fillTransactional,
  NotFillable,
  type TransactionalValues,
} from '../../../mail/compose/transactional-template';

const mjml = (line: string) =>
  `<mjml><mj-body><mj-section><mj-column>\n<mj-text>${line}</mj-text>\n</mj-column></mj-section></mj-body></mjml>`;

const VALUES: TransactionalValues = {
  to: { email: 'ana@correo.example', name: 'Ana García' },
  from: { name: 'Facturas', address: 'facturas@shop.example' },
  data: {},
  locale: 'es',
  timeZone: 'Europe/Madrid',
  date: new Date('2026-03-01T10:00:00Z'),
};

async function compiledOf(line: string, subject = 'Factura {{ data.number }}') {
  const result = await compileTransactional({ subject, mjml: mjml(line) }, 'es');
  if ('problems' in result) throw new Error(JSON.stringify(result.problems));
  return result.compiled;
}

const fill = async (line: string, change: Partial<TransactionalValues> = {}, subject = 'Factura') =>
  fillTransactional(await compiledOf(line, subject), { ...VALUES, ...change });

test('a template prints its data to any depth, escaped in HTML only, dates in the language and zone of the mail', async () => {
  const line =
    'Hola {{ to.firstName }}, {{ data.date | localDate }}: {% for item in data.order.lines %}[{{ item.what }} {{ item.price }}]{% endfor %} {{ data["k"] }}';
  const data = {
    number: 17,
    date: '2026-02-28T23:30:00Z',
    order: { lines: [{ what: 'Cafetera <Brava> & más', price: '129 €' }] },
    k: true,
  };
  const { subject, html, text } = await fill(
    line,
    { data },
    'Factura {{ data.number }} & {{ data.order.lines[0].price }}',
  );
  expect(subject).toBe('Factura 17 & 129 €');
  expect(html).toContain('Hola Ana, 1 de marzo de 2026: [Cafetera &#60;Brava&#62; &#38; más 129 €] true');
  expect(text).toContain('Hola Ana, 1 de marzo de 2026: [Cafetera <Brava> & más 129 €] true');
  expect(html).toContain('<html lang="es"');
});

test.each([
  ['{{ data.total }}', {}, 'undefined variable: data.total'],
  ['{{ data.order.total }}', {}, 'undefined variable: data.order'],
  ['{{ data.order.total }}', { order: {} }, 'undefined variable: data.order.total'],
  ['{% for item in data.items %}x{% endfor %}', {}, 'undefined variable: data.items'],
  ['{% for i in data.items %}{{ i.price }}{% endfor %}', { items: [{}] }, 'undefined variable: i.price'],
])('what %s lacks in %j is told by its name', async (line, data, reason) => {
  await expect(fill(line, { data })).rejects.toMatchObject({
    part: 'html',
    reason,
    message: 'the html can not be filled',
  });
  await expect(fill(line, { data })).rejects.toBeInstanceOf(NotFillable);
});

test('what may be missing is asked for with if or has a default; an unknown name is empty', async () => {
  const line =
    '[{% if data.gift %}{{ data.gift }}{% endif %}{{ data.note | default: "-" }}{{ to.name }}{{ data.none }}]';
  const { text } = await fill(line, { data: { none: null }, to: { email: 'a@b.example', name: null } });
  expect(text.trim()).toBe('[-]');
});

test('P5 a fault in the data is not quoted by the error that may reach Temporal', async () => {
  const failing = fill('{{ data.secret | slice: data.at }}', { data: { secret: 'hunter2' } });
  await expect(failing).rejects.toThrow(/^the html can not be filled$/);
});

test('nothing of the prototype is reached', async () => {
  await expect(fill('{{ data.constructor.name }}', { data: {} })).rejects.toBeInstanceOf(NotFillable);
});

test('an empty subject is refused when it is filled', async () => {
  await expect(fill('x', { data: { s: ' ' } }, '{{ data.s }}')).rejects.toMatchObject({ part: 'subject' });
});

test('problems of a template are listed all at once, with their places', async () => {
  const result = await compileTransactional(
    {
      subject: 'Uno\nDos',
      mjml: mjml('{{ lead.name }} {{ dato.x }} {{ data }} {{ to.nmae }} {{ data.x | raw }} {{ unsubscribeUrl }}'),
      text: '{% if data.x %}',
    },
    'es',
  );
  expect('problems' in result && result.problems).toEqual([
    expect.objectContaining({ pointer: '/subject', line: 1, column: 4 }),
    expect.objectContaining({ pointer: '/mjml', line: 2, detail: expect.stringContaining('`lead.name`') }),
    expect.objectContaining({ pointer: '/mjml', line: 2, detail: expect.stringContaining('`dato.x`') }),
    expect.objectContaining({ pointer: '/mjml', line: 2, detail: expect.stringContaining("can't be used whole") }),
    expect.objectContaining({
      pointer: '/mjml',
      line: 2,
      detail: 'unknown variable `to.nmae`; did you mean `to.name`?',
    }),
    expect.objectContaining({ pointer: '/mjml', line: 2, detail: expect.stringContaining('`raw` is off') }),
    expect.objectContaining({ pointer: '/mjml', line: 2, detail: expect.stringContaining('`unsubscribeUrl`') }),
    expect.objectContaining({ pointer: '/text', line: 1, detail: expect.stringContaining('Liquid syntax') }),
  ]);
});

test('broken MJML is told as for campaigns', async () => {
  const result = await compileTransactional({ subject: 'x', mjml: mjml('x').replace('mj-column>', 'mj-colum>') }, 'es');
  expect('problems' in result && result.problems[0]).toMatchObject({ pointer: '/mjml' });
});
