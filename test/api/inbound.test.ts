import { createHash, randomUUID } from 'node:crypto';
import { RAW_KEPT_BYTES } from '../../db/inbound';
import { type ApiUnderTest, AUTH, apiUnderTest } from './api-under-test';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

// Not one of its bytes may change: Latin-1, a NUL, bare line ends.
const mail = (id = randomUUID()) =>
  Buffer.from(
    `From: ana@example.com\r\nSubject: caf\xe9\r\nMessage-ID: <${id}@example.com>\r\n\r\n\0Sí\nno\r`,
    'latin1',
  );

async function hand(raw: Buffer | undefined, headers: Record<string, string> = {}) {
  return await api.app.inject({
    method: 'POST',
    url: '/v1/inbound',
    headers: { ...AUTH, 'content-type': 'message/rfc822', ...headers },
    ...(raw === undefined ? {} : { payload: raw }),
  });
}

const rows = async () => await api.db.selectFrom('inbound').select(['id', 'envelope']).execute();

test('P4 a message is in Postgres, byte for byte, when it is answered', async () => {
  const raw = mail();
  const answer = await hand(raw, {
    'x-envelope-sender': '<ana@example.com>',
    'x-envelope-recipient': '<replies+token@shop.example>',
  });
  expect(answer.statusCode).toBe(202);
  const { inboundId, known } = answer.json<{ inboundId: string; known: boolean }>();
  expect(known).toBe(false);
  const row = await api.db.selectFrom('inbound').selectAll().where('id', '=', inboundId).executeTakeFirstOrThrow();
  expect(row).toMatchObject({
    source: 'pipe',
    raw,
    bytes: raw.length,
    sha256: createHash('sha256').update(raw).digest(),
    envelope: { sender: 'ana@example.com', recipient: 'replies+token@shop.example' },
    state: 'new',
    folder: null,
  });
  expect(api.logged.join('')).not.toMatch(/ana@|replies\+/);
});

test('the same bytes again give the same id, also at the same time, and other bytes of the same Message-ID another', async () => {
  const id = randomUUID();
  const before = (await rows()).length;
  const answers = await Promise.all(Array.from({ length: 12 }, () => hand(mail(id))));
  const told = answers.map((answer) => answer.json<{ inboundId: string; known: boolean }>());
  expect(new Set(answers.map(({ statusCode }) => statusCode))).toEqual(new Set([202]));
  expect(new Set(told.map(({ inboundId }) => inboundId)).size).toBe(1);
  expect(told.filter(({ known }) => !known)).toHaveLength(1);
  const other = (await hand(Buffer.concat([mail(id), Buffer.from('PS')]))).json<{
    inboundId: string;
    known: boolean;
  }>();
  expect(other.known).toBe(false);
  expect(other.inboundId).not.toBe(told[0]?.inboundId);
  expect(await rows()).toHaveLength(before + 2);
});

test.each([
  ['<>', ''],
  ['', ''],
  ['MAILER-DAEMON', ''],
  ['ana@example.com', 'ana@example.com'],
])('the envelope sender %j is kept as %j', async (told, kept) => {
  const answer = await hand(mail(), { 'x-envelope-sender': told });
  const row = (await rows()).find(({ id }) => id === answer.json<{ inboundId: string }>().inboundId);
  expect(row?.envelope).toEqual({ sender: kept, recipient: null });
});

test('without an envelope none is made up', async () => {
  const answer = await hand(mail(), { 'content-type': 'application/octet-stream' });
  const row = (await rows()).find(({ id }) => id === answer.json<{ inboundId: string }>().inboundId);
  expect([answer.statusCode, row?.envelope]).toEqual([202, null]);
});

test('25 MB are taken, a byte more is not, and is not kept', async () => {
  const most = Buffer.alloc(RAW_KEPT_BYTES, 'x');
  expect((await hand(most)).statusCode).toBe(202);
  const before = (await rows()).length;
  const refused = await hand(Buffer.concat([most, Buffer.from('x')]));
  expect(refused.statusCode).toBe(413);
  expect(await rows()).toHaveLength(before);
});

test('an Idempotency-Key gives the same answer again, and is bound to message and envelope', async () => {
  const raw = mail();
  const key = { 'idempotency-key': randomUUID() };
  const first = await hand(raw, key);
  const again = await hand(raw, key);
  expect(again.headers['idempotency-replayed']).toBe('true');
  expect(again.json()).toEqual(first.json());
  expect((await hand(mail(), key)).statusCode).toBe(409);
  expect((await hand(raw, { ...key, 'x-envelope-recipient': 'b@shop.example' })).statusCode).toBe(409);
});

test.each([
  ['nothing', undefined, {}, 400],
  ['an empty message', Buffer.alloc(0), {}, 400],
  ['JSON', Buffer.from('{}'), { 'content-type': 'application/json' }, 415],
  ['a form', Buffer.from('a=b'), { 'content-type': 'application/x-www-form-urlencoded' }, 415],
  ['a compressed message', mail(), { 'content-encoding': 'gzip' }, 415],
  ['an endless recipient', mail(), { 'x-envelope-recipient': 'a'.repeat(500) }, 400],
  ['a wrong key', mail(), { authorization: 'Bearer not-the-key-of-anybody' }, 401],
] as const)('%s is refused and not kept', async (_, raw, headers, status) => {
  const before = (await rows()).length;
  const answer = await hand(raw, headers);
  expect([answer.statusCode, answer.headers['content-type']]).toEqual([
    status,
    expect.stringMatching(/^application\/problem\+json/),
  ]);
  expect(await rows()).toHaveLength(before);
});

test('P4 while Postgres is away the answer is a 503, so that the mail server tries again', async () => {
  const away = {
    ...api.db,
    insertInto: () => {
      throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' });
    },
  };
  const app = await api.another({ db: away as unknown as ApiUnderTest['db'] });
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/inbound',
    headers: { ...AUTH, 'content-type': 'message/rfc822' },
    payload: mail(),
  });
  expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '5']);
});

test('the reference tells of the envelope, the types and the script for a mail server', async () => {
  const operation = (await api.app.inject('/openapi.json')).json().paths['/v1/inbound'].post;
  expect(Object.keys(operation.requestBody.content)).toEqual(['message/rfc822', 'application/octet-stream']);
  expect(operation.parameters.map(({ name }: { name: string }) => name.toLowerCase()).sort()).toEqual([
    'idempotency-key',
    'x-envelope-recipient',
    'x-envelope-sender',
  ]);
  expect(Object.keys(operation.responses).sort()).toEqual([
    '202',
    '400',
    '401',
    '403',
    '409',
    '413',
    '415',
    '429',
    '500',
    '503',
  ]);
  expect(operation.description).toContain('exit 75');
});
