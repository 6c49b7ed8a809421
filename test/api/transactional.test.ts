import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { findTransactional, loadTransactional, settleTransactional } from '../../db/transactional';
import { type ApiUnderTest, AUTH, apiUnderTest, get, post, until } from './api-under-test';
import { mjmlWith, publishableDraft } from './publishable-draft';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => {
  await api.close();
});
beforeEach(async () => {
  await api.db.deleteFrom('transactional').execute();
  await api.db.deleteFrom('transactional_template').execute();
});

const mjml = (line: string) =>
  `<mjml><mj-body><mj-section><mj-column>\n<mj-text>${line}</mj-text>\n</mj-column></mj-section></mj-body></mjml>`;

const INVOICE = {
  subject: 'Factura {{ data.number }}',
  mjml: mjml('Hola {{ to.firstName | default: "hola" }}: {{ data.date | localDate }}, {{ data.total }}'),
  from: { name: 'Facturas', address: 'facturas@pedidos.shop.example' },
  locale: 'es',
};
const DATA = { number: '17', date: '2026-03-01', total: '129,00 €', iban: 'ES9121000418450200051332' };

const put = (name: string, body: object) =>
  api.app.inject({
    method: 'PUT',
    url: `/v1/transactional/templates/${name}`,
    headers: { ...AUTH, 'content-type': 'application/json' },
    payload: JSON.stringify(body),
  });

async function send(change: Record<string, unknown> = {}, headers: Record<string, string> = {}) {
  const body = { template: 'invoice', to: { email: 'Ana García <ana@correo.example>' }, data: DATA, ...change };
  return await post(api.app, '/v1/transactional', body, headers);
}

describe('templates', () => {
  test('put, seen, listed by name, put again, deleted', async () => {
    const created = await put('invoice', INVOICE);
    expect([created.statusCode, created.json()]).toEqual([
      201,
      {
        ...INVOICE,
        name: 'invoice',
        text: null,
        replyTo: null,
        timeZone: 'Europe/Madrid',
        createdAt: expect.any(String),
        updatedAt: expect.any(String),
      },
    ]);
    expect((await get(api.app, '/v1/transactional/templates/invoice')).json()).toEqual(created.json());
    const changed = await put('invoice', {
      ...INVOICE,
      replyTo: 'ayuda@shop.example',
      text: 'Factura {{ data.number }}',
    });
    expect([changed.statusCode, changed.json()]).toMatchObject([200, { replyTo: 'ayuda@shop.example' }]);
    for (const name of ['a-2', 'a', 'z']) expect((await put(name, INVOICE)).statusCode).toBe(201);
    const first = (await get(api.app, '/v1/transactional/templates?limit=3')).json();
    expect(first.items.map((item: { name: string }) => item.name)).toEqual(['a', 'a-2', 'invoice']);
    const second = (await get(api.app, `/v1/transactional/templates?limit=3&cursor=${first.nextCursor}`)).json();
    expect([second.items.map((item: { name: string }) => item.name), second.nextCursor]).toEqual([['z'], null]);
    const remove = () =>
      api.app.inject({ method: 'DELETE', url: '/v1/transactional/templates/invoice', headers: AUTH });
    expect((await remove()).statusCode).toBe(204);
    expect((await remove()).statusCode).toBe(404);
    expect((await get(api.app, '/v1/transactional/templates/invoice')).statusCode).toBe(404);
  });

  test('everything that is wrong is listed at once, as for campaigns', async () => {
    const answer = await put('invoice', {
      ...INVOICE,
      subject: '{{ lead.name }}',
      mjml: mjml('{{ dat.x }} {{ data }}'),
    });
    expect([answer.statusCode, answer.json()]).toMatchObject([
      422,
      {
        type: 'https://recuerda.test/problems/template-not-usable',
        errors: [
          { pointer: '/subject', line: 1 },
          { pointer: '/mjml', line: 2, detail: expect.stringContaining('`dat.x`') },
          { pointer: '/mjml', line: 2 },
        ],
      },
    ]);
    expect((await get(api.app, '/v1/transactional/templates')).json().items).toEqual([]);
  });

  test.each([
    ['/from/address', { from: { name: 'x', address: 'no address' } }],
    ['/replyTo', { replyTo: 'x@' }],
    ['/locale', { locale: 'not a language' }],
    ['/timeZone', { timeZone: 'Mars/Olympus' }],
    ['/subject', { subject: '  ' }],
  ])('a %s that is none is refused', async (pointer, change) => {
    const answer = await put('invoice', { ...INVOICE, ...change });
    expect([answer.statusCode, answer.json().errors[0].pointer]).toEqual([400, pointer]);
  });

  test('a name is lower-case letters, digits and hyphens', async () => {
    expect((await put('Factura%20A', INVOICE)).statusCode).toBe(400);
  });
});

describe('the streams never share a From address', () => {
  const campaign = async (sender: object) => {
    const draft = publishableDraft(1);
    const answer = await post(api.app, '/v1/campaigns', { ...draft, sender: { ...draft.sender, ...sender } });
    expect(answer.statusCode).toBe(201);
    return answer.json().id as string;
  };

  test.each(['address', 'requestedAddress'])(
    'a template is refused the %s of a draft, until that has another',
    async (field) => {
      const address = `${field.toLowerCase()}@marca.example`;
      const id = await campaign({ [field]: address });
      const refused = await put('invoice', { ...INVOICE, from: { name: 'x', address: address.toUpperCase() } });
      expect([refused.statusCode, refused.json()]).toMatchObject([
        422,
        { errors: [{ pointer: '/from/address', detail: expect.stringContaining(id) }] },
      ]);
      const patched = await api.app.inject({
        method: 'PATCH',
        url: `/v1/campaigns/${id}`,
        headers: { ...AUTH, 'content-type': 'application/merge-patch+json' },
        payload: JSON.stringify({ sender: { [field]: 'otra@marca.example' } }),
      });
      expect(patched.statusCode).toBe(200);
      expect((await put('invoice', { ...INVOICE, from: { name: 'x', address } })).statusCode).toBe(201);
    },
  );

  test('a template is refused the address of a published version, also when the draft has another by now; not of a cancelled one', async () => {
    const address = 'version@marca.example';
    const id = await campaign({ address });
    expect((await post(api.app, `/v1/campaigns/${id}/publish`)).statusCode).toBe(201);
    await api.app.inject({
      method: 'PATCH',
      url: `/v1/campaigns/${id}`,
      headers: { ...AUTH, 'content-type': 'application/merge-patch+json' },
      payload: JSON.stringify({ sender: { address: 'otra@marca.example' } }),
    });
    const template = { ...INVOICE, from: { name: 'x', address } };
    expect((await put('invoice', template)).statusCode).toBe(422);
    expect((await post(api.app, `/v1/campaigns/${id}/cancel`)).statusCode).toBe(202);
    expect((await put('invoice', template)).statusCode).toBe(201);
  });

  test('publishing is refused the address of a template, and told so beside everything else', async () => {
    const address = 'pedidos@marca.example';
    const id = await campaign({ address: 'Pedidos@Marca.example', requestedAddress: address });
    await put('invoice', INVOICE);
    expect((await put('orders', { ...INVOICE, from: { name: 'x', address } })).statusCode).toBe(422);
    await api.db
      .updateTable('transactional_template')
      .set({ definition: JSON.stringify({ ...INVOICE, from: { name: 'x', address } }) })
      .execute();
    const refused = await post(api.app, `/v1/campaigns/${id}/publish`);
    expect([refused.statusCode, refused.json()]).toMatchObject([
      422,
      {
        type: 'https://recuerda.test/problems/not-publishable',
        errors: [
          { pointer: '/sender/address', detail: expect.stringContaining('invoice') },
          { pointer: '/sender/requestedAddress' },
        ],
      },
    ]);
    const broken = await post(api.app, '/v1/campaigns', {
      ...publishableDraft(1),
      sender: { ...publishableDraft(1).sender, address },
      steps: [{ subject: 'x', mjml: mjmlWith('{{ lead.nmae }}') }],
    });
    const both = await post(api.app, `/v1/campaigns/${broken.json().id}/publish`);
    expect(both.json().errors.map((error: { pointer: string }) => error.pointer)).toEqual([
      '/steps/0/mjml',
      '/sender/address',
    ]);
  });
});

describe('POST /v1/transactional', () => {
  beforeEach(async () => {
    expect((await put('invoice', INVOICE)).statusCode).toBe(201);
    api.asked.mailed.length = 0;
  });

  test('P4 202 means that it is in Postgres, whole; the engine is asked after the answer', async () => {
    const content = Buffer.from([0, 1, 255]).toString('base64');
    const answer = await send({
      locale: 'en-gb',
      replyTo: 'otra@shop.example',
      attachments: [
        { filename: 'factura.pdf', contentType: 'Application/PDF', content },
        { filename: 'logo.png', contentType: 'image/png', content, contentId: 'logo' },
      ],
    });
    expect(answer.statusCode).toBe(202);
    const { transactionalId } = answer.json();
    expect(await loadTransactional(api.db, transactionalId)).toMatchObject({
      email: 'ana@correo.example',
      content: {
        shop: { name: 'Ana García', data: DATA, locale: 'en-GB', replyTo: 'otra@shop.example', from: INVOICE.from },
      },
    });
    const files = await api.db.selectFrom('transactional_attachment').selectAll().orderBy('seq').execute();
    expect(files).toMatchObject([
      { filename: 'factura.pdf', content_type: 'application/pdf', content_id: null, bytes: Buffer.from([0, 1, 255]) },
      { filename: 'logo.png', content_id: 'logo' },
    ]);
    await until(() => api.asked.mailed.includes(transactionalId));
    const seen = await get(api.app, `/v1/transactional/${transactionalId}`);
    expect([seen.statusCode, seen.json()]).toEqual([
      200,
      {
        transactionalId,
        kind: 'shop',
        template: 'invoice',
        state: 'queued',
        code: null,
        messageId: null,
        deferrals: 0,
        notBefore: null,
        report: null,
        createdAt: expect.any(String),
        settledAt: null,
      },
    ]);
  });

  test('what became of it is told with codes and reports', async () => {
    const { transactionalId: id } = (await send()).json();
    const at = new Date('2026-03-02T10:00:00Z');
    await api.db
      .updateTable('transactional')
      .set({ state: 'handing_over', report: 'bounced-soft', report_code: '4.2.2', report_at: at })
      .where('id', '=', id)
      .execute();
    await settleTransactional(api.db, { id, token: null, state: 'accepted', code: '250 2.0.0', now: at });
    expect((await get(api.app, `/v1/transactional/${id}`)).json()).toMatchObject({
      state: 'accepted',
      code: '250 2.0.0',
      settledAt: at.toISOString(),
      report: { kind: 'bounced-soft', code: '4.2.2', at: at.toISOString() },
    });
    expect((await get(api.app, `/v1/transactional/${randomUUID()}`)).statusCode).toBe(404);
  });

  test('a template that is changed or deleted afterwards changes nothing of what was accepted', async () => {
    const { transactionalId } = (await send()).json();
    await put('invoice', { ...INVOICE, subject: 'Otra' });
    await api.app.inject({ method: 'DELETE', url: '/v1/transactional/templates/invoice', headers: AUTH });
    expect(await loadTransactional(api.db, transactionalId)).toMatchObject({
      content: { shop: { compiled: { subject: INVOICE.subject } } },
    });
  });

  test('the same request under one Idempotency-Key is one mail; another one is refused', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const [first, second] = await Promise.all([send({}, key), send({}, key)]);
    expect(first.json()).toEqual(second.json());
    expect(await api.db.selectFrom('transactional').select('id').execute()).toHaveLength(1);
    expect((await send({ data: { ...DATA, total: '1 €' } }, key)).statusCode).toBe(409);
    const kept = await api.db.selectFrom('idempotency').selectAll().execute();
    expect(JSON.stringify(kept)).not.toMatch(/ana@correo|ES9121/);
  });

  test('is one mail also where the first request died before its answer was kept, and a new one when the key is old', async () => {
    const key = randomUUID();
    const first = await send({}, { 'idempotency-key': key });
    const died = async (ago: string) =>
      await sql`update idempotency set status = null, body = null, created_at = now() - ${ago}::interval where key = ${key}`.execute(
        api.db,
      );
    await died('61 seconds');
    const again = await send({}, { 'idempotency-key': key });
    expect([again.statusCode, again.json(), again.headers['idempotency-replayed']]).toEqual([
      202,
      first.json(),
      undefined,
    ]);
    expect(await api.db.selectFrom('transactional').select('id').execute()).toHaveLength(1);
    expect((await send({ data: { ...DATA, total: '2 €' } }, { 'idempotency-key': randomUUID() })).json()).not.toEqual(
      first.json(),
    );

    await died('49 hours');
    await sql`update transactional set created_at = now() - interval '49 hours' where id = ${first.json().transactionalId}`.execute(
      api.db,
    );
    expect((await send({}, { 'idempotency-key': key })).json()).not.toEqual(first.json());
    expect(await api.db.selectFrom('transactional').select('id').execute()).toHaveLength(3);
  });

  test('invoices ignore objections, and an address that mail came back from', async () => {
    const now = new Date();
    await api.db.deleteFrom('enrollment').execute();
    const { transactionalId } = (await send()).json();
    const { address_hash: hash } = await api.db
      .selectFrom('transactional')
      .select('address_hash')
      .where('id', '=', transactionalId)
      .executeTakeFirstOrThrow();
    await api.db
      .insertInto('address')
      .values({ hash: hash ?? '', suppressed_at: now, suppressed_reason: 'complaint', undeliverable_at: now })
      .execute();
    expect((await send()).statusCode).toBe(202);
    await api.db.deleteFrom('address').execute();
  });

  test.each([
    ['what the template needs', { data: { number: '17', date: '2026-03-01' } }, 422, 'not-fillable', /data\.total/],
    ['all data', { data: undefined }, 422, 'not-fillable', /data\.number/],
    ['a known template', { template: 'invoce' }, 400, 'invalid-request', /no transactional template/],
    ['an address', { to: { email: 'ana' } }, 400, 'invalid-request', /@/],
    [
      'base64',
      { attachments: [{ filename: 'a', contentType: 'a/b', content: 'AA=A' }] },
      400,
      'invalid-request',
      /base64/,
    ],
    [
      'a media type',
      { attachments: [{ filename: 'a', contentType: 'pdf', content: 'AAAA' }] },
      400,
      'invalid-request',
      /./,
    ],
    ['little data', { data: { ...DATA, x: 'x'.repeat(300_000) } }, 400, 'invalid-request', /256 KiB/],
    ['text', { data: { ...DATA, x: 'a\u0000b' } }, 400, 'invalid-request', /./],
    ['fields that there are', { cc: 'otra@correo.example' }, 400, 'invalid-request', /no such field/],
  ])('without %s nothing is accepted, and why is told at once', async (_, change, status, code, detail) => {
    const answer = await send(change);
    expect([answer.statusCode, answer.json().type]).toEqual([status, `https://recuerda.test/problems/${code}`]);
    expect(answer.json().detail).toMatch(detail);
    expect(await api.db.selectFrom('transactional').select('id').execute()).toEqual([]);
  });

  test('10 MiB of attachments pass, more are refused and told how many there are', async () => {
    const file = (bytes: number) => ({
      filename: 'a.bin',
      contentType: 'application/octet-stream',
      content: Buffer.alloc(bytes, 7)
        .toString('base64')
        .replace(/(.{76})/g, '$1\r\n'),
    });
    const half = 5 * 1024 * 1024;
    expect((await send({ attachments: [file(half), file(half)] })).statusCode).toBe(202);
    const more = await send({ attachments: [file(half), file(half + 1)] });
    expect([more.statusCode, more.json().detail]).toEqual([
      413,
      'The attachments have 10485761 bytes together, and may have 10485760: link to a large file instead.',
    ]);
    expect((await send({ attachments: [file(3 * half)] })).statusCode).toBe(413);
  });

  test('neither data nor address nor file is ever logged', async () => {
    await send({ attachments: [{ filename: 'secreto.pdf', contentType: 'a/b', content: 'c2VjcmV0bw==' }] });
    await send({ data: { iban: DATA.iban } });
    const { transactionalId } = (await send()).json();
    await findTransactional(api.db, transactionalId);
    expect(api.logged.length).toBeGreaterThan(0);
    expect(api.logged.join('\n')).not.toMatch(/ES9121|ana@correo|secreto|c2VjcmV0bw|García/i);
  });
});
