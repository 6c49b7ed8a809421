import { randomUUID } from 'node:crypto';
import { forgetIdempotencyKeys, releaseKey, reserveKey, storeAnswer } from '../../db/idempotency';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type ApiUnderTest, apiUnderTest, bodyFor, OTHER_API_KEY, post } from './api-under-test';

let api: ApiUnderTest;
let url: string;

beforeAll(async () => {
  api = await apiUnderTest();
  url = `/v1/campaigns/${await publishForTests(api.db, definitionForTests(3))}/enrollments`;
});
afterAll(async () => await api.close());

const keyed = (key: string = randomUUID()) => ({ 'idempotency-key': key });

test('fifty posts at once with one key are one request, and all get its answer', async () => {
  const headers = keyed();
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => post(api.app, url, bodyFor('fifty@example.com'), headers)),
  );
  expect(new Set(answers.map((answer) => `${answer.statusCode} ${answer.body}`)).size).toBe(1);
  expect(answers[0]?.json()).toMatchObject({ created: true });
  expect(answers.filter((answer) => answer.headers['idempotency-replayed'] === undefined)).toHaveLength(1);
  const leadId = answers[0]?.json<{ leadId: string }>().leadId ?? '';
  const events = await api.db.selectFrom('event').select('kind').where('lead_id', '=', leadId).execute();
  expect(events).toEqual([{ kind: 'enrolled' }]);
});

test('the same body written otherwise is the same request', async () => {
  const headers = keyed();
  const { lead, consent } = bodyFor('order@example.com') as ReturnType<typeof bodyFor> & { lead: object };
  const first = await post(api.app, url, { lead, consent }, headers);
  const again = await post(
    api.app,
    url,
    { consent, lead: Object.fromEntries(Object.entries(lead).reverse()) },
    headers,
  );
  expect([again.statusCode, again.body, again.headers['content-type']]).toEqual([
    202,
    first.body,
    first.headers['content-type'],
  ]);
  expect(again.headers['idempotency-replayed']).toBe('true');
});

test('another body, path or query under the same key is refused', async () => {
  const headers = keyed();
  await post(api.app, url, bodyFor('mine@example.com'), headers);
  const others = [
    await post(api.app, url, bodyFor('yours@example.com'), headers),
    await post(api.app, '/v1/unsubscribes', { email: 'mine@example.com' }, headers),
    await post(api.app, `${url}?x=1`, bodyFor('mine@example.com'), headers),
  ];
  for (const answer of others) {
    expect([answer.statusCode, answer.json().type]).toEqual([
      409,
      'https://recuerda.test/problems/idempotency-mismatch',
    ]);
  }
  const rows = await api.db
    .selectFrom('idempotency')
    .select(['fingerprint', 'body'])
    .where('key', '=', headers['idempotency-key'])
    .execute();
  expect(JSON.stringify(rows)).not.toContain('mine@example.com');
});

test('a key is its API key’s own', async () => {
  const headers = keyed();
  await post(api.app, url, bodyFor('scoped@example.com'), headers);
  const other = await post(api.app, url, bodyFor('else@example.com'), {
    ...headers,
    authorization: `Bearer ${OTHER_API_KEY}`,
  });
  expect([other.statusCode, other.json().created]).toEqual([202, true]);
});

test('refusals are answered again too, but a request that was not valid leaves its key free', async () => {
  const headers = keyed();
  const unknown = `/v1/enrollments/${randomUUID()}/pause`;
  const first = await post(api.app, unknown, undefined, headers);
  const again = await post(api.app, unknown, undefined, headers);
  expect([first.statusCode, again.statusCode, again.headers['idempotency-replayed']]).toEqual([404, 404, 'true']);
  expect(again.headers['content-type']).toMatch(/^application\/problem\+json/);
  expect(again.json().detail).toBe(first.json().detail);

  const mended = keyed();
  expect((await post(api.app, url, { lead: {} }, mended)).statusCode).toBe(400);
  expect((await post(api.app, url, bodyFor('mended@example.com'), mended)).statusCode).toBe(202);
});

test('an answer of 500 is not kept: the same request can succeed later', async () => {
  const headers = keyed();
  const body = { email: 'broken@example.com', orderId: randomUUID() };
  await api.db.schema.alterTable('purchase').renameTo('purchase_away').execute();
  const broken = await post(api.app, '/v1/purchases', body, headers);
  await api.db.schema.alterTable('purchase_away').renameTo('purchase').execute();
  expect(broken.statusCode).toBe(500);
  const mended = await post(api.app, '/v1/purchases', body, headers);
  expect([mended.statusCode, mended.headers['idempotency-replayed']]).toEqual([202, undefined]);
});

test.each(['', 'x'.repeat(256), 'ñ', 'a\tb'])('the key %j is refused', async (key) => {
  const answer = await post(api.app, url, bodyFor('key@example.com'), keyed(key));
  expect([answer.statusCode, answer.json().errors[0]]).toMatchObject([
    400,
    { pointer: '/Idempotency-Key', in: 'header' },
  ]);
});

test('a key of a request that crashed is taken over after a minute, and its late answer does not count', async () => {
  const key = randomUUID();
  const first = await reserveKey(api.db, key, 's', 'f');
  expect(first.kind).toBe('reserved');
  expect(await reserveKey(api.db, key, 's', 'f')).toEqual({ kind: 'in-progress' });
  expect(await reserveKey(api.db, key, 's', 'other')).toEqual({ kind: 'mismatch' });

  await ageBy(key, '61 seconds');
  expect(await reserveKey(api.db, key, 's', 'other')).toEqual({ kind: 'mismatch' });
  const second = await reserveKey(api.db, key, 's', 'f');
  if (first.kind !== 'reserved' || second.kind !== 'reserved') throw new Error('both had it');
  const answer = { status: 202, body: '{}', contentType: 'application/json' };
  await storeAnswer(api.db, first.reservation, { ...answer, body: '"late"' });
  await releaseKey(api.db, first.reservation);
  expect(await reserveKey(api.db, key, 's', 'f')).toEqual({ kind: 'in-progress' });
  await storeAnswer(api.db, second.reservation, answer);
  expect(await reserveKey(api.db, key, 's', 'f')).toEqual({ kind: 'answered', answer });

  await ageBy(key, '47 hours');
  expect(await reserveKey(api.db, key, 's', 'f')).toEqual({ kind: 'answered', answer });
  await ageBy(key, '2 hours');
  expect((await reserveKey(api.db, key, 's', 'other')).kind).toBe('reserved');
});

test('old keys are forgotten, newer ones kept', async () => {
  const [old, young] = [randomUUID(), randomUUID()];
  for (const key of [old, young]) await reserveKey(api.db, key, 's', 'f');
  await ageBy(old, '49 hours');
  expect(await forgetIdempotencyKeys(api.db, 48 * 3_600_000)).toBe(1);
  const left = await api.db.selectFrom('idempotency').select('key').where('key', 'in', [old, young]).execute();
  expect(left).toEqual([{ key: young }]);
});

test('a request that is still running is waited for, and its answer given', async () => {
  const headers = keyed();
  const hold = await api.db.transaction().execute(async (tx) => {
    // Enrolling locks the campaign's row: while we have it, the first request runs.
    await tx
      .selectFrom('campaign')
      .select('id')
      .where('id', '=', url.split('/')[3] ?? '')
      .forUpdate()
      .execute();
    const first = post(api.app, url, bodyFor('slow@example.com'), headers);
    let reserved = false;
    while (!reserved) {
      const row = await api.db
        .selectFrom('idempotency')
        .select('key')
        .where('key', '=', headers['idempotency-key'])
        .executeTakeFirst();
      reserved = row !== undefined;
    }
    const second = post(api.app, url, bodyFor('slow@example.com'), headers);
    return { first, second };
  });
  const [first, second] = await Promise.all([hold.first, hold.second]);
  expect([first.statusCode, second.body]).toEqual([202, first.body]);
  expect(second.headers['idempotency-replayed']).toBe('true');
});

test('a request that goes on running is not run twice: who asks again is told to come back', async () => {
  const headers = keyed();
  const body = bodyFor('running@example.com');
  await post(api.app, url, body, headers);
  await api.db
    .updateTable('idempotency')
    .set({ status: null, body: null, created_at: new Date() })
    .where('key', '=', headers['idempotency-key'])
    .execute();
  const answer = await post(api.app, url, body, headers);
  expect([answer.statusCode, answer.headers['retry-after'], answer.json().type]).toEqual([
    409,
    '1',
    'https://recuerda.test/problems/idempotency-in-progress',
  ]);
});

async function ageBy(key: string, interval: string): Promise<void> {
  const row = await api.db
    .selectFrom('idempotency')
    .select('created_at')
    .where('key', '=', key)
    .executeTakeFirstOrThrow();
  const [count, unit] = interval.split(' ');
  const ms = Number(count) * (unit === 'hours' ? 3_600_000 : 1_000);
  await api.db
    .updateTable('idempotency')
    .set({ created_at: new Date(row.created_at.getTime() - ms) })
    .where('key', '=', key)
    .execute();
}
