import { createHash, randomUUID } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { enrollIn } from '../../db/enrollments';
import { exclusionHash, replaceExclusionList } from '../../db/exclusions';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { eventually } from '../support/waiting';
import { type ApiUnderTest, AUTH, apiUnderTest, get } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db);
  await api.app.listen({ host: '127.0.0.1', port: 0 });
});
afterEach(async () => {
  for (const { name } of (await lists()).items) await remove(name);
});
afterAll(() => api.close());

const sha = (email: string) => createHash('sha256').update(email).digest('hex');
const fresh = () => `${randomUUID()}@shop.example`;

async function put(name: string, payload: string, headers: Record<string, string> = { 'content-type': 'text/plain' }) {
  return await api.app.inject({
    method: 'PUT',
    url: `/v1/exclusion-lists/${name}`,
    headers: { ...AUTH, ...headers },
    payload,
  });
}

async function remove(name: string) {
  return await api.app.inject({ method: 'DELETE', url: `/v1/exclusion-lists/${name}`, headers: AUTH });
}

async function lists(): Promise<{ items: { name: string; entries: number; appliedAt: string | null }[] }> {
  return (await get(api.app, '/v1/exclusion-lists')).json();
}

async function enrolled(email = fresh()): Promise<string> {
  await enrollForTests(api.db, campaignId, requestBy(email));
  return email;
}

async function excluded(email: string): Promise<boolean> {
  const row = await api.db
    .selectFrom('lead')
    .innerJoin('address', 'address.hash', 'lead.address_hash')
    .select('address.excluded_at')
    .where('lead.email', '=', email)
    .executeTakeFirstOrThrow();
  return row.excluded_at !== null;
}

async function entries(): Promise<number> {
  const row = await api.db
    .selectFrom('exclusion')
    .select((eb) => eb.fn.countAll<string>().as('n'))
    .executeTakeFirstOrThrow();
  return Number(row.n);
}

describe('an exclusion list', () => {
  test('excludes the leads that are on it, from its answer on, and no others', async () => {
    const [listed, other] = [await enrolled(), await enrolled()];
    const answer = await put('robinson', `${sha(listed)}\n${sha('stranger@shop.example')}\n`);
    expect([answer.statusCode, answer.json()]).toEqual([
      200,
      { name: 'robinson', entries: 2, importedAt: expect.any(String), excluded: 1 },
    ]);
    expect([await excluded(listed), await excluded(other)]).toEqual([true, false]);
    expect((await lists()).items).toEqual([
      { name: 'robinson', entries: 2, importedAt: expect.any(String), appliedAt: expect.any(String) },
    ]);
  });

  test('excludes leads that come later, however their address is written', async () => {
    const email = fresh();
    await put('robinson', sha(email));
    await enrolled(email.toUpperCase());
    expect(await excluded(email.toUpperCase())).toBe(true);
  });

  test('is replaced as a whole: who is no longer on it, or on any other one, is free again', async () => {
    const [leaving, staying, both] = [await enrolled(), await enrolled(), await enrolled()];
    await put('robinson', [leaving, staying, both].map(sha).join('\n'));
    await put('own', sha(both));
    await put('robinson', sha(staying));
    expect([await excluded(leaving), await excluded(staying), await excluded(both)]).toEqual([false, true, true]);
    expect(await entries()).toBe(2);
    expect((await remove('own')).statusCode).toBe(204);
    expect(await excluded(both)).toBe(false);
    expect((await remove('robinson')).statusCode).toBe(204);
    expect([await excluded(staying), await entries(), (await remove('robinson')).statusCode]).toEqual([false, 0, 404]);
  });

  test('may have capitals, Windows line ends, blank lines, a byte order mark and doubles', async () => {
    const email = await enrolled();
    const answer = await put('robinson', `\ufeff${sha(email).toUpperCase()}\r\n\r\n${sha(email)}\r\n`);
    expect(answer.json()).toMatchObject({ entries: 1, excluded: 1 });
  });

  test('an empty list is one that holds nobody', async () => {
    const email = await enrolled();
    await put('robinson', sha(email));
    expect((await put('robinson', '')).json()).toMatchObject({ entries: 0, excluded: 0 });
    expect(await excluded(email)).toBe(false);
  });

  test.each([
    ['an address', 'ana@correo.example'],
    ['a short hash', 'ab12'],
    ['an MD5', createHash('md5').update('x').digest('hex')],
    ['one long line', 'a'.repeat(100_000)],
  ])('%s in it is refused by the number of its line, unquoted, and the list before holds', async (_what, line) => {
    const email = await enrolled();
    await put('robinson', sha(email));
    const answer = await put('robinson', `${sha('x@shop.example')}\n\n${line}\n`);
    expect([answer.statusCode, answer.json().detail]).toEqual([400, expect.stringContaining('line 3 ')]);
    expect(answer.body).not.toContain(line);
    expect([await excluded(email), await entries()]).toEqual([true, 1]);
  });

  test('refuses other names and other types of body', async () => {
    for (const name of ['Robinson', '-x', 'a%20b', 'a'.repeat(61)]) expect((await put(name, '')).statusCode).toBe(400);
    expect((await put('robinson', '{}', { 'content-type': 'application/json' })).statusCode).toBe(415);
    expect(await lists()).toEqual({ items: [] });
  });

  test('an upload that breaks off leaves the list before, and nothing of its own', async () => {
    const email = await enrolled();
    await put('robinson', sha(email));
    const { port } = api.app.server.address() as AddressInfo;
    const sending = httpRequest({
      host: '127.0.0.1',
      port,
      method: 'PUT',
      path: '/v1/exclusion-lists/robinson',
      headers: { ...AUTH, 'content-type': 'text/plain', 'transfer-encoding': 'chunked' },
    });
    sending.on('error', () => {});
    sending.write(Array.from({ length: 30_000 }, (_, n) => sha(String(n))).join('\n'));
    await eventually(async () => (await entries()) > 1);
    sending.destroy();
    await new Promise((resolve) => sending.once('close', resolve));
    await eventually(async () => (await entries()) === 1);
    expect([await excluded(email), (await lists()).items.length]).toEqual([true, 1]);
  });

  test('what imported and removed it stands in the audit log', async () => {
    await put('robinson', sha('x@shop.example'));
    await remove('robinson');
    const rows = await api.db
      .selectFrom('audit')
      .select(['action', 'target', 'detail'])
      .where('target', '=', 'robinson')
      .orderBy('id', 'desc')
      .limit(2)
      .execute();
    expect(rows).toEqual([
      { action: 'exclusion-list.deleted', target: 'robinson', detail: {} },
      { action: 'exclusion-list.imported', target: 'robinson', detail: { entries: 1, excluded: 0 } },
    ]);
  });
});

describe('whoever is enrolled while a list comes in', () => {
  test('is found, by the one or by the other', async () => {
    for (let round = 0; round < 10; round++) {
      const people = Array.from({ length: 20 }, fresh);
      const arriving = people.map((email) => enrolled(email));
      await put('robinson', people.map(sha).join('\n'));
      await Promise.all(arriving);
      for (const email of people) expect([email, await excluded(email)]).toEqual([email, true]);
    }
  });

  test('also one who looked before it held and commits after', async () => {
    const request = requestBy(fresh());
    const list = (async function* () {
      yield exclusionHash(request.email);
    })();
    let replacing: Promise<unknown> = Promise.resolve();
    await api.db.transaction().execute(async (tx) => {
      const options = { campaignId, now: new Date(), priority: 2, via: 'api', asksInPerson: true, timeFactor: 1 };
      await enrollIn(tx, [request], options);
      replacing = replaceExclusionList(api.db, 'robinson', list, new Date());
      await eventually(async () => (await lists()).items.length === 1);
      expect((await lists()).items[0]?.appliedAt).toBeNull();
    });
    await replacing;
    expect(await excluded(request.email)).toBe(true);
  });
});
