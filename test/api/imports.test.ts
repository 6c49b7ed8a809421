import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createCampaign, publishVersion } from '../../db/campaigns';
import { deleteOrphanChunks } from '../../db/imports';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { dirtyImport, runImport } from '../support/imports';
import { eventually } from '../support/waiting';
import { API_KEY, type ApiUnderTest, AUTH, apiUnderTest, get } from './api-under-test';

const CSV = 'Correo;Nombre\nana@correo.example;Ana\nbea.correo.example;Bea\n';
const ABOUT = { purpose: 'nudges', consentText: 'Sí, escríbanme.', source: 'feria 2025' };

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  await api.app.listen({ host: '127.0.0.1', port: 0 });
});
beforeEach(async () => {
  campaignId = await publishForTests(api.db);
});
afterAll(async () => {
  await api.close();
});

const path = (about: Record<string, string> = ABOUT, campaign = campaignId) =>
  `/v1/campaigns/${campaign}/imports?${new URLSearchParams(about)}`;

async function upload(payload: Buffer | string, headers: Record<string, string> = {}, url = path()) {
  return await api.app.inject({
    method: 'POST',
    url,
    headers: { ...AUTH, 'content-type': 'text/csv', ...headers },
    payload,
  });
}

function form(parts: [name: string, value: string, file?: boolean][], boundary = 'limit') {
  const body = parts.map(
    ([name, value, file]) =>
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${file ? '; filename="leads.csv"' : ''}\r\n` +
      `${file ? 'Content-Type: text/csv\r\n' : ''}\r\n${value}\r\n`,
  );
  return {
    payload: `${body.join('')}--${boundary}--\r\n`,
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
  };
}

async function sendForm(parts: [name: string, value: string, file?: boolean][], headers = {}, boundary?: string) {
  const made = form(parts, boundary);
  return await upload(made.payload, { ...made.headers, ...headers }, `/v1/campaigns/${campaignId}/imports`);
}

/** Begins an upload over a real connection. */
function begin(
  url = path(),
  agent?: Agent,
  headers: Record<string, string> = {},
): { sending: ClientRequest; answer: Promise<{ status: number; body: string }> } {
  const { port } = api.app.server.address() as AddressInfo;
  const sending = httpRequest({
    host: '127.0.0.1',
    port,
    method: 'POST',
    path: url,
    headers: { ...AUTH, 'content-type': 'text/csv', 'transfer-encoding': 'chunked', ...headers },
    ...(agent === undefined ? {} : { agent }),
  });
  sending.on('error', () => {});
  const answer = (async () => {
    const [response] = (await once(sending, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response) body += chunk;
    return { status: response.statusCode ?? 0, body };
  })();
  answer.catch(() => {});
  return { sending, answer };
}

async function chunks(): Promise<number> {
  const owned = await api.db
    .selectFrom('lead_import_chunk as c')
    .leftJoin('lead_import as i', 'i.id', 'c.import_id')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('i.id', 'is', null)
    .executeTakeFirstOrThrow();
  return Number(owned.count);
}

async function importsOf(campaign = campaignId) {
  return await api.db.selectFrom('lead_import').selectAll().where('campaign_id', '=', campaign).execute();
}

describe('handing over a file', () => {
  test('is answered when the file is kept, and told exactly when it is dealt with', async () => {
    const file = dirtyImport(400);
    const answer = await upload(file.bytes);
    expect(answer.statusCode).toBe(202);
    const { importId } = answer.json();
    expect((await get(api.app, `/v1/imports/${importId}`)).json()).toEqual({
      importId,
      campaignId,
      state: 'running',
      total: 0,
      created: 0,
      existing: 0,
      rejected: 0,
      warningCount: 0,
      failure: null,
      ...ABOUT,
      mapping: null,
      timeZone: 'Europe/Madrid',
      encoding: 'windows-1252',
      bytes: file.bytes.length,
      sha256: createHash('sha256').update(file.bytes).digest('hex'),
      createdAt: expect.any(String),
      finishedAt: null,
      errors: [],
      warnings: [],
    });

    await runImport(api.db, importId);

    const done = (await get(api.app, `/v1/imports/${importId}`)).json();
    expect(done).toMatchObject({ state: 'completed', ...file.counts, finishedAt: expect.any(String) });
    expect(done.created + done.existing + done.rejected).toBe(done.total);
    expect(done.errors).toEqual(file.errors);
    expect((await get(api.app, `/v1/imports/${importId}?limit=3`)).json().errors).toEqual(file.errors.slice(0, 3));
    expect((await get(api.app, `/v1/imports/${importId}?limit=0`)).json().errors).toEqual([]);

    const paged: unknown[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const query: string = cursor === '' ? '' : `&cursor=${cursor}`;
      const page: { items: unknown[]; nextCursor: string | null } = (
        await get(api.app, `/v1/imports/${importId}/errors?limit=70${query}`)
      ).json();
      paged.push(...page.items);
      cursor = page.nextCursor;
    }
    expect(paged).toEqual(file.errors);
  });

  test.each(['text/csv; charset=iso-8859-1', 'application/csv', 'text/plain', 'application/octet-stream'])(
    'takes %s',
    async (type) => {
      expect((await upload(CSV, { 'content-type': type })).statusCode).toBe(202);
    },
  );

  test('takes mapping and time zone', async () => {
    const mapping = '{"email":"Quien","name":"","edad":"Años"}';
    const answer = await upload(
      'Quien;Nombre;Años\nana@correo.example;Ana;30\n',
      {},
      path({ ...ABOUT, mapping, timeZone: 'Atlantic/Canary' }),
    );
    const { importId } = answer.json();
    await runImport(api.db, importId);
    expect((await get(api.app, `/v1/imports/${importId}`)).json()).toMatchObject({
      state: 'completed',
      created: 1,
      timeZone: 'Atlantic/Canary',
      mapping: JSON.parse(mapping),
    });
    const lead = await api.db.selectFrom('lead').selectAll().where('email', '=', 'ana@correo.example').execute();
    expect(lead).toMatchObject([{ name: '', attributes: { nombre: 'Ana', edad: '30' } }]);
  });

  test('takes a form whose fields stand before the file', async () => {
    const answer = await sendForm([...Object.entries(ABOUT), ['mapping', '{"email":"Correo"}'], ['leads', CSV, true]]);
    expect(answer.statusCode).toBe(202);
    const [row] = await importsOf();
    expect(row).toMatchObject({ purpose: 'nudges', consent_text: ABOUT.consentText, mapping: { email: 'Correo' } });
    expect(Number(row?.bytes)).toBe(Buffer.byteLength(CSV));
  });

  test('takes a file of many chunks as it comes, byte by byte the same', async () => {
    const { sending, answer } = begin();
    const lines = Array.from({ length: 30_000 }, (_, at) => `lead${at}@correo.example;Íñigo ${at}\n`).join('');
    const whole = Buffer.from(`Correo;Nombre\n${lines}`);
    for (let from = 0; from < whole.length; from += 50_001) {
      if (!sending.write(whole.subarray(from, from + 50_001))) await once(sending, 'drain');
    }
    sending.end();
    const { status, body } = await answer;
    expect(status).toBe(202);
    const rows = await api.db
      .selectFrom('lead_import_chunk')
      .select(['seq', 'bytes'])
      .where('import_id', '=', JSON.parse(body).importId)
      .orderBy('seq')
      .execute();
    expect(rows.length).toBeGreaterThan(3);
    expect(rows.slice(0, -1).every((row) => row.bytes.length === 256 * 1024)).toBe(true);
    expect(Buffer.concat(rows.map((row) => row.bytes)).equals(whole)).toBe(true);
  });

  test('lists the imports of a campaign, newest first', async () => {
    const ids: string[] = [];
    for (let at = 0; at < 3; at++) ids.unshift((await upload(`${CSV}lead${at}@correo.example;X\n`)).json().importId);
    const url = `/v1/campaigns/${campaignId}/imports`;
    const first = (await get(api.app, `${url}?limit=2`)).json();
    const second = (await get(api.app, `${url}?limit=2&cursor=${first.nextCursor}`)).json();
    expect([...first.items, ...second.items].map((item: { importId: string }) => item.importId)).toEqual(ids);
    expect(second.nextCursor).toBeNull();
  });

  test('knows no other import', async () => {
    const unknown = '00000000-0000-4000-8000-000000000000';
    for (const rest of ['', '/errors', '/warnings']) {
      expect((await get(api.app, `/v1/imports/${unknown}${rest}`)).statusCode).toBe(404);
    }
    expect((await get(api.app, `/v1/campaigns/${unknown}/imports`)).statusCode).toBe(404);
  });
});

describe('what is refused', () => {
  test('names every parameter that is missing or wrong, and keeps nothing', async () => {
    const pointers = async (about: Record<string, string>) => {
      const answer = await upload(CSV, {}, path(about));
      expect(answer.statusCode).toBe(400);
      return answer.json().errors.map((error: { pointer: string; in: string }) => `${error.in}${error.pointer}`);
    };
    expect(await pointers({})).toEqual(['query/purpose', 'query/consentText', 'query/source']);
    expect(await pointers({ ...ABOUT, consentText: ' ' })).toEqual(['query/consentText']);
    expect(await pointers({ ...ABOUT, purpose: 'spam' })).toEqual(['query/purpose']);
    expect(await pointers({ ...ABOUT, mapping: '["email"]' })).toEqual(['query/mapping']);
    expect(await pointers({ ...ABOUT, mapping: '{"email":3}' })).toEqual(['query/mapping']);
    expect(await pointers({ ...ABOUT, source: 'a\0b' })).toEqual(['query/source']);
    expect(await pointers({ ...ABOUT, timeZone: 'Madrid' })).toHaveLength(1);
    expect(await pointers({ ...ABOUT, consent: 'x' })).toEqual(['query/consent']);
    expect(await importsOf()).toEqual([]);
    expect(await chunks()).toBe(0);
  });

  test.each([
    ['no column of addresses', 'Nombre;Teléfono\nAna;600000000\n', 'no column holds e-mail addresses'],
    ['a spreadsheet', Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), Buffer.alloc(5_000, 7)]), 'spreadsheet'],
    ['an empty file', '', 'holds no lines'],
    ['a mapping to a column that is not there', 'Correo\nana@correo.example\n', 'names a column that is not there'],
  ])('%s, with words that help', async (title, body, words) => {
    const about = title.startsWith('a mapping') ? { ...ABOUT, mapping: '{"email":"Mail"}' } : ABOUT;
    const answer = await upload(body, {}, path(about));
    expect(answer.statusCode).toBe(400);
    expect(answer.headers['content-type']).toContain('application/problem+json');
    expect(answer.json().detail).toContain(words);
    expect(await importsOf()).toEqual([]);
    expect(await chunks()).toBe(0);
  });

  test('a file of one line without its end, and no header, is a file', async () => {
    expect((await upload('ana@correo.example')).statusCode).toBe(202);
  });

  test('other types of body, and compressed ones', async () => {
    expect((await upload('{}', { 'content-type': 'application/json' })).statusCode).toBe(415);
    expect((await upload(CSV, { 'content-encoding': 'gzip' })).statusCode).toBe(415);
    const other = await api.app.inject({
      method: 'POST',
      url: '/v1/purchases',
      headers: { ...AUTH, 'content-type': 'text/csv' },
      payload: CSV,
    });
    expect(other.statusCode).toBe(415);
  });

  test.each([
    ['fields after the file', [...Object.entries(ABOUT), ['file', CSV, true], ['timeZone', 'UTC']], '/timeZone'],
    ['two files', [...Object.entries(ABOUT), ['file', CSV, true], ['file2', CSV, true]], ''],
    ['no file', Object.entries(ABOUT), '/file'],
    ['an unknown field', [...Object.entries(ABOUT), ['porpoise', 'x'], ['file', CSV, true]], '/porpoise'],
    [
      'a missing field',
      [
        ['purpose', 'nudges'],
        ['source', 'x'],
        ['file', CSV, true],
      ],
      '/consentText',
    ],
  ] as [string, [string, string, boolean?][], string][])('a form with %s', async (_, parts, pointer) => {
    const answer = await sendForm(parts);
    expect(answer.statusCode).toBe(400);
    expect(answer.json().errors).toMatchObject([{ pointer, in: 'body' }]);
    expect(await importsOf()).toEqual([]);
    expect(await chunks()).toBe(0);
  });

  test('a form that breaks off', async () => {
    const { payload, headers } = form([...Object.entries(ABOUT), ['file', CSV, true]]);
    const answer = await upload(payload.slice(0, -40), headers, `/v1/campaigns/${campaignId}/imports`);
    expect(answer.statusCode).toBe(400);
    expect(answer.json().detail).toContain('not a valid form');
    expect(await chunks()).toBe(0);
  });

  test('P7 a campaign whose first mail keeps from them where their data came from: nothing is kept, and it says what to add', async () => {
    const silent = await createCampaign(api.db, definitionForTests(1));
    const mail = { subject: 'Hola', html: '<p>Hola. <a href="{{ privacyUrl }}">Privacidad</a></p>', text: 'Hola' };
    await publishVersion(api.db, silent.id, definitionForTests(1), [mail], null);
    const refused = await upload(CSV, {}, path(ABOUT, silent.id));
    expect([refused.statusCode, refused.json().type]).toEqual([409, expect.stringContaining('/source-not-named')]);
    expect(refused.json().errors).toEqual([
      { pointer: '/steps/0', detail: expect.stringContaining('{{ consent.source }}') },
      { pointer: '/steps/0', detail: expect.stringContaining('{{ privacyUrl }}') },
    ]);
    expect([await chunks(), await importsOf(silent.id)]).toEqual([0, []]);

    const told = { ...mail, html: `${mail.html} {{ consent.source }}`, text: '{{ consent.source }} {{ privacyUrl }}' };
    await publishVersion(api.db, silent.id, definitionForTests(1), [told], null);
    expect((await upload(CSV, {}, path(ABOUT, silent.id))).statusCode).toBe(202);
  });

  test('campaigns that take no leads, before the file is read', async () => {
    const draft = (await createCampaign(api.db, definitionForTests())).id;
    const cancelled = await publishForTests(api.db);
    await api.db.updateTable('campaign').set({ cancelled_at: new Date() }).where('id', '=', cancelled).execute();
    for (const [campaign, code] of [
      ['00000000-0000-4000-8000-000000000000', 'not-found'],
      [draft, 'not-published'],
      [cancelled, 'campaign-cancelled'],
    ] as const) {
      const { sending, answer } = begin(path(ABOUT, campaign));
      sending.write('Correo\n'); // and no more
      expect((await answer).body).toContain(`/problems/${code}`);
      sending.end();
    }
  });

  test.each(['body', 'form'])('a long file that is no list of leads, as a %s, before its end', async (kind) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const boundary = 'limit';
    const { sending, answer } = begin(
      path(),
      agent,
      kind === 'form' ? { 'content-type': `multipart/form-data; boundary=${boundary}` } : {},
    );
    if (kind === 'form') {
      sending.write(`--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="leads.csv"\r\n\r\n`);
    }
    sending.write(`Nombre;Teléfono\n${'Ana;600000000\n'.repeat(30_000)}`); // and no more
    const { status, body } = await answer;
    expect(status).toBe(400);
    expect(body).toContain('no column holds e-mail addresses');
    expect(await chunks()).toBe(0);
    // What its sender still had on the way does not block the connection for the next request.
    const { socket } = sending;
    sending.end(`${'Ana;600000000\n'.repeat(300_000)}`);
    const next = begin(path(), agent);
    next.sending.end(CSV);
    expect((await next.answer).status).toBe(202);
    expect(next.sending.socket).toBe(socket);
    agent.destroy();
  });

  test('a client that hangs up leaves nothing behind', async () => {
    const { sending } = begin();
    sending.write(`Correo\n${'ana@correo.example\n'.repeat(60_000)}`);
    await eventually(async () => (await chunks()) > 0);
    sending.destroy();
    await eventually(async () => (await chunks()) === 0);
    expect(await importsOf()).toEqual([]);
  });

  test('the leavings of a process that was killed go a day later', async () => {
    const day = 24 * 60 * 60_000;
    await api.db
      .insertInto('lead_import_chunk')
      .values([
        { import_id: '00000000-0000-4000-8000-000000000001', seq: 0, bytes: Buffer.from('x') },
        { import_id: '00000000-0000-4000-8000-000000000002', seq: 0, bytes: Buffer.from('y') },
      ])
      .execute();
    const kept = (await upload(CSV)).json().importId;
    await api.db
      .updateTable('lead_import_chunk')
      .set({ created_at: new Date(Date.now() - day - 1_000) } as never)
      .where('import_id', 'in', ['00000000-0000-4000-8000-000000000001', kept])
      .execute();
    expect(await deleteOrphanChunks(api.db, day)).toBe(1);
    expect(await chunks()).toBe(1);
    expect(await deleteOrphanChunks(api.db, 0)).toBe(1);
  });
});

describe('the same file again', () => {
  const key = () => ({ 'idempotency-key': crypto.randomUUID() });

  test('under the same key is the same import, and its bytes are kept once', async () => {
    const headers = key();
    const first = await upload(CSV, headers);
    const second = await upload(CSV, headers);
    expect(second.statusCode).toBe(202);
    expect(second.json()).toEqual(first.json());
    expect(second.headers['idempotency-replayed']).toBe('true');
    expect(await importsOf()).toHaveLength(1);
    expect(await chunks()).toBe(0);
  });

  test('in a form too, whatever its boundary', async () => {
    const headers = key();
    const parts: [string, string, boolean?][] = [...Object.entries(ABOUT), ['file', CSV, true]];
    const first = await sendForm(parts, headers, 'one');
    expect((await sendForm(parts, headers, 'another')).json()).toEqual(first.json());
    expect(await importsOf()).toHaveLength(1);
  });

  test('is answered as before also when the campaign was cancelled since; what is new is refused, and kept nowhere', async () => {
    const headers = key();
    const first = await upload(CSV, headers);
    await api.db.updateTable('campaign').set({ cancelled_at: new Date() }).where('id', '=', campaignId).execute();
    const again = await upload(CSV, headers);
    expect([again.statusCode, again.body]).toEqual([202, first.body]);
    const late = key();
    for (const answer of [await upload(CSV), await upload(CSV, late), await upload(CSV, late)]) {
      expect([answer.statusCode, answer.json().type]).toEqual([409, expect.stringMatching(/campaign-cancelled$/)]);
    }
    expect(await importsOf()).toHaveLength(1);
    expect(await chunks()).toBe(0);
  });

  test('at the same time is one import', async () => {
    const headers = key();
    const answers = await Promise.all(Array.from({ length: 5 }, () => upload(CSV, headers)));
    expect(new Set(answers.map((answer) => `${answer.statusCode} ${answer.body}`)).size).toBe(1);
    expect(await importsOf()).toHaveLength(1);
    expect(await chunks()).toBe(0);
  });

  test('another file or other words under the key are refused, and nothing of them is kept', async () => {
    const headers = key();
    await upload(CSV, headers);
    expect((await upload(`${CSV}x@correo.example;X\n`, headers)).statusCode).toBe(409);
    expect((await upload(CSV, headers, path({ ...ABOUT, source: 'otra' }))).statusCode).toBe(409);
    expect(await importsOf()).toHaveLength(1);
    expect(await chunks()).toBe(0);
  });
});

test('P5 nothing of a person is logged', async () => {
  await upload(CSV);
  await upload('Nombre;Ana Pérez\nx;y\n');
  const logged = api.logged.join('');
  for (const secret of ['correo.example', 'Ana', API_KEY, 'escr']) expect(logged).not.toContain(secret);
});
