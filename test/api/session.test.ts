import type { Api } from '../../api/context';
import { createStaffUser, staffIdOf } from '../../db/staff';
import { hashPassword } from '../../domain/passwords';
import { SCOPES, type Scope } from '../../domain/scopes';
import { type ApiUnderTest, AUTH, apiUnderTest, get, post } from './api-under-test';

let api: ApiUnderTest;
/** The same API with a clock that the tests set: what is tried is counted by it. */
let app: Api;
const now = new Date();
beforeAll(async () => {
  api = await apiUnderTest();
  app = await api.another({ clock: () => new Date(now) });
});
afterAll(async () => await api.close());
/** A new stretch of time, in which nothing was tried yet. */
beforeEach(() => void now.setTime(now.getTime() + 15 * 60_000));

const PASSWORD = 'four words in a row';
const OTHER_PASSWORD = 'five words in another row';
const ORIGIN = { origin: 'https://recuerda.test' };
const SAME_SITE = { 'sec-fetch-site': 'same-origin' };
const FOREIGN = { origin: 'https://evil.test' };

let made = 0;
async function somebody(...roles: Scope[]): Promise<string> {
  made += 1;
  const email = `somebody-${made}@shop.example`;
  const by = { kind: 'cli' as const, id: 'test', scopes: SCOPES };
  const passwordHash = await hashPassword(PASSWORD);
  await createStaffUser(api.db, { email, name: 'Bea', roles, passwordHash, by, now });
  return email;
}

async function signIn(email: string, password = PASSWORD, more: { headers?: object; remoteAddress?: string } = {}) {
  return await app.inject({
    method: 'POST',
    url: '/v1/session',
    payload: { email, password },
    ...more,
    headers: { ...more.headers },
  });
}

type Answer = Awaited<ReturnType<typeof signIn>>;
const cookieOf = (answer: Answer) => ({ cookie: String(answer.headers['set-cookie']).split(';')[0] ?? '' });

async function call(method: string, url: string, headers: object, payload?: object) {
  return await app.inject({
    method: method as 'POST',
    url,
    headers: { ...headers },
    ...(payload === undefined ? {} : { payload }),
  });
}

async function form(fields: Record<string, string>, headers: object = ORIGIN) {
  return await app.inject({
    method: 'POST',
    url: '/login',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    payload: new URLSearchParams(fields).toString(),
  });
}

describe('the session', () => {
  test('who signs in gets a cookie that pages can not read and other sites can not send', async () => {
    const email = await somebody('marketing', 'operator');
    const answer = await signIn(email.toUpperCase());
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['set-cookie']).toMatch(
      /^__Host-recuerda-session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Secure$/,
    );
    const expected = { kind: 'user', scopes: ['marketing', 'operator'], email, name: 'Bea' };
    expect(answer.json()).toMatchObject({ ...expected, expiresAt: expect.any(String) });
    const who = await call('GET', '/v1/session', cookieOf(answer));
    expect(who.json()).toEqual(answer.json());
    expect((await call('GET', '/v1/keys', cookieOf(answer))).statusCode).toBe(200);
    expect((await call('GET', '/v1/privacy-requests', cookieOf(answer))).statusCode).toBe(403);
  });

  test('where there is no https the cookie goes without', async () => {
    const email = await somebody('marketing');
    const plain = await api.another({ config: { publicUrl: 'http://127.0.0.1:3000' } });
    const answer = await plain.inject({
      method: 'POST',
      url: '/v1/session',
      payload: { email, password: PASSWORD },
    });
    expect(answer.headers['set-cookie']).toMatch(/^recuerda-session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/);
    expect((await plain.inject({ url: '/v1/session', headers: cookieOf(answer) })).statusCode).toBe(200);
  });

  test('an unknown address, a wrong password and a disabled account are answered alike', async () => {
    const email = await somebody('marketing');
    const disabled = await somebody('marketing');
    const id = await staffIdOf(api.db, disabled);
    await call('PATCH', `/v1/staff/${id}`, AUTH, { disabled: true });
    const answers = [
      await signIn(email, OTHER_PASSWORD),
      await signIn('unknown@shop.example'),
      await signIn(disabled),
      await signIn('no address at all'),
      await signIn(`${email}\u0001`),
    ];
    for (const answer of answers) {
      const { instance: _, ...said } = answer.json();
      expect([answer.statusCode, answer.headers['set-cookie']]).toEqual([401, undefined]);
      expect(said).toEqual({
        type: 'https://recuerda.test/problems/sign-in-refused',
        title: 'Not signed in',
        status: 401,
        detail: 'The address or the password is not right.',
      });
    }
  });

  test('who has signed out is out, and elsewhere still in', async () => {
    const email = await somebody('marketing');
    const [here, there] = [cookieOf(await signIn(email)), cookieOf(await signIn(email))];
    const answer = await call('DELETE', '/v1/session', { ...here, ...ORIGIN });
    expect(answer.statusCode).toBe(204);
    expect(answer.headers['set-cookie']).toMatch(/^__Host-recuerda-session=; Max-Age=0; /);
    expect((await call('GET', '/v1/session', here)).statusCode).toBe(401);
    expect((await call('GET', '/v1/session', there)).statusCode).toBe(200);
    const key = await call('DELETE', '/v1/session', AUTH);
    expect([key.statusCode, key.json().detail]).toEqual([403, 'Only a person who has signed in has a session.']);
  });

  test('a session that nobody used for twelve hours is over', async () => {
    const cookie = cookieOf(await signIn(await somebody('marketing')));
    now.setTime(now.getTime() + 12 * 60 * 60_000);
    expect((await call('GET', '/v1/session', cookie)).statusCode).toBe(401);
  });

  test.each([
    ['nothing', {}, 403],
    ['a page of somebody else', FOREIGN, 403],
    ['a page that hides where it is', { origin: 'null' }, 403],
    ['another site', { 'sec-fetch-site': 'cross-site' }, 403],
    ['another host of the same site', { 'sec-fetch-site': 'same-site' }, 403],
    ['the same name without https', { origin: 'http://recuerda.test' }, 403],
    ['our own page, by Origin', ORIGIN, 201],
    ['our own page, by Sec-Fetch-Site', SAME_SITE, 201],
  ])('a change by cookie that comes from %s', async (_, proof, status) => {
    const cookie = cookieOf(await signIn(await somebody('operator', 'forms')));
    const answer = await call('POST', '/v1/keys', { ...cookie, ...proof }, { name: 'x', scopes: ['forms'] });
    expect(answer.statusCode).toBe(status);
    if (status === 403) expect(answer.json().type).toBe('https://recuerda.test/problems/cross-site');
  });

  test('reading by cookie needs no proof, and a key needs none at all', async () => {
    const cookie = cookieOf(await signIn(await somebody('operator')));
    expect((await call('GET', '/v1/keys', { ...cookie, ...FOREIGN })).statusCode).toBe(200);
    const byKey = await call('POST', '/v1/keys', { ...AUTH, ...FOREIGN }, { name: 'x', scopes: ['forms'] });
    expect(byKey.statusCode).toBe(201);
    // A key that is wrong is not made good by a cookie.
    const both = await call('GET', '/v1/keys', { ...cookie, authorization: 'Bearer rk_wrong' });
    expect(both.statusCode).toBe(401);
  });

  test('nobody is signed in by a page of somebody else', async () => {
    const email = await somebody('operator');
    const answer = await signIn(email, PASSWORD, { headers: FOREIGN });
    expect([answer.statusCode, answer.headers['set-cookie']]).toEqual([403, undefined]);
    expect((await signIn(email, PASSWORD, { headers: ORIGIN })).statusCode).toBe(200);
  });

  test('a new password of one’s own ends the other sessions; the present one must be known', async () => {
    const email = await somebody('marketing');
    const [here, there] = [cookieOf(await signIn(email)), cookieOf(await signIn(email))];
    const change = async (currentPassword: string, newPassword: string) =>
      await call('PUT', '/v1/session/password', { ...here, ...ORIGIN }, { currentPassword, newPassword });
    expect((await change(OTHER_PASSWORD, OTHER_PASSWORD)).statusCode).toBe(401);
    const short = await change(PASSWORD, 'short');
    expect([short.statusCode, short.json().errors]).toMatchObject([
      400,
      [{ pointer: '/newPassword', detail: 'must have at least 12 characters; it has 5' }],
    ]);
    const changed = await change(PASSWORD, OTHER_PASSWORD);
    expect(changed.statusCode).toBe(200);
    for (const cookie of [here, there]) expect((await call('GET', '/v1/session', cookie)).statusCode).toBe(401);
    expect((await call('GET', '/v1/session', cookieOf(changed))).statusCode).toBe(200);
    expect((await signIn(email)).statusCode).toBe(401);
    expect((await signIn(email, OTHER_PASSWORD)).statusCode).toBe(200);
    expect(
      (await call('PUT', '/v1/session/password', AUTH, { currentPassword: 'x', newPassword: 'y' })).statusCode,
    ).toBe(403);
    const id = await staffIdOf(api.db, email);
    const entries = (await get(api.app, '/v1/audit?limit=100')).json<{
      items: { target: string; actor: object; action: string }[];
    }>();
    expect(
      entries.items.find(({ action, target }) => target === id && action === 'user.password-changed'),
    ).toMatchObject({
      actor: { kind: 'user', id },
    });
  });

  test('an idempotency key of a person is the same in all their sessions, and not another’s', async () => {
    const email = await somebody('marketing');
    const asked = async (cookie: object) =>
      await call(
        'POST',
        '/v1/replies',
        { ...cookie, ...ORIGIN, 'idempotency-key': 'of-a-person' },
        { email: 'a@b.example' },
      );
    const first = await asked(cookieOf(await signIn(email)));
    const again = await asked(cookieOf(await signIn(email)));
    expect([first.headers['idempotency-replayed'], again.headers['idempotency-replayed']]).toEqual([undefined, 'true']);
    const other = await asked(cookieOf(await signIn(await somebody('marketing'))));
    expect(other.headers['idempotency-replayed']).toBeUndefined();
  });
});

describe('tries to sign in', () => {
  const from = (network: number) => ({ remoteAddress: `203.0.113.${network}` });

  test('an account takes ten wrong passwords in a quarter of an hour, from wherever', async () => {
    const email = await somebody('marketing');
    for (let i = 0; i < 10; i++) expect((await signIn(email, OTHER_PASSWORD, from(i))).statusCode).toBe(401);
    const answer = await signIn(email.toUpperCase(), PASSWORD, from(11));
    expect([answer.statusCode, answer.headers['set-cookie']]).toEqual([429, undefined]);
    expect(answer.json().type).toBe('https://recuerda.test/problems/too-many-requests');
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    // Nobody else is kept out by it.
    expect((await signIn(await somebody('marketing'), PASSWORD, from(11))).statusCode).toBe(200);
    now.setTime(now.getTime() + Number(answer.headers['retry-after']) * 1000);
    expect((await signIn(email, PASSWORD, from(11))).statusCode).toBe(200);
  });

  test('however the address is written, it is one account', async () => {
    const email = await somebody('marketing');
    const written = (i: number) => `Bea ${i} <${email}>${'.'.repeat(i)}`;
    for (let i = 0; i < 10; i++) expect((await signIn(written(i), OTHER_PASSWORD, from(i))).statusCode).toBe(401);
    expect((await signIn(written(11), PASSWORD, from(11))).statusCode).toBe(429);
    expect((await signIn(email, PASSWORD, from(11))).statusCode).toBe(429);
  });

  test('an address that nobody has is refused after as many', async () => {
    for (let i = 0; i < 10; i++) await signIn('nobody@shop.example', PASSWORD, from(i));
    expect((await signIn('nobody@shop.example', PASSWORD, from(11))).statusCode).toBe(429);
  });

  test('one address may fail fifty times, on whatever accounts; what succeeds is not counted', async () => {
    const email = await somebody('marketing');
    for (let i = 0; i < 50; i++) {
      if (i % 10 === 0) expect((await signIn(email, PASSWORD, from(1))).statusCode).toBe(200);
      expect((await signIn(`${i}@shop.example`, PASSWORD, from(1))).statusCode).toBe(401);
    }
    expect((await signIn(email, PASSWORD, from(1))).statusCode).toBe(429);
    expect((await signIn(email, PASSWORD, from(2))).statusCode).toBe(200);
  });

  test('tries at the same time are no more than tries one after the other', async () => {
    const email = await somebody('marketing');
    const answers = await Promise.all(Array.from({ length: 25 }, (_, i) => signIn(email, OTHER_PASSWORD, from(i))));
    expect(answers.filter(({ statusCode }) => statusCode === 401)).toHaveLength(10);
    expect(answers.filter(({ statusCode }) => statusCode === 429)).toHaveLength(15);
  });

  test('the present password is not guessed by a session either', async () => {
    const email = await somebody('marketing');
    const headers = { ...cookieOf(await signIn(email)), ...ORIGIN };
    const body = { currentPassword: OTHER_PASSWORD, newPassword: OTHER_PASSWORD };
    for (let i = 0; i < 10; i++) await call('PUT', '/v1/session/password', headers, body);
    const answer = await call('PUT', '/v1/session/password', headers, { ...body, currentPassword: PASSWORD });
    expect(answer.statusCode).toBe(429);
  });

  test('what is counted tells neither addresses nor IPs', async () => {
    await signIn('counted@shop.example', PASSWORD, from(77));
    const counted = JSON.stringify(await api.db.selectFrom('throttle').selectAll().execute());
    expect(counted).not.toMatch(/counted|shop|203\.0/);
  });
});

describe('staff', () => {
  const person = { name: 'Ana', roles: ['marketing'], password: PASSWORD };

  test('an operator lets people in, changes what they may do, and lets them out', async () => {
    const headers = { ...cookieOf(await signIn(await somebody('operator', 'marketing', 'privacy'))), ...ORIGIN };
    const created = await call('POST', '/v1/staff', headers, { ...person, email: 'Ana Ruiz <Ana@shop.example>' });
    expect(created.statusCode).toBe(201);
    const { userId } = created.json();
    expect(created.headers.location).toBe(`/v1/staff/${userId}`);
    expect(created.json()).toEqual({
      userId,
      email: 'ana@shop.example',
      name: 'Ana',
      roles: ['marketing'],
      createdAt: expect.any(String),
      disabledAt: null,
    });
    expect((await call('GET', `/v1/staff/${userId}`, headers)).json()).toEqual(created.json());
    // Not the first for certain: somebody else was let in at the same instant.
    expect((await call('GET', '/v1/staff?limit=100', headers)).json().items).toContainEqual(created.json());

    const theirs = cookieOf(await signIn('ana@shop.example'));
    expect((await call('GET', '/v1/privacy-requests', theirs)).statusCode).toBe(403);
    const changed = await call('PATCH', `/v1/staff/${userId}`, headers, { roles: ['marketing', 'privacy'] });
    expect(changed.json()).toMatchObject({ name: 'Ana', roles: ['marketing', 'privacy'] });
    expect((await call('GET', '/v1/privacy-requests', theirs)).statusCode).toBe(200);

    const disabled = await call('PATCH', `/v1/staff/${userId}`, headers, { disabled: true });
    expect(disabled.json().disabledAt).toEqual(expect.any(String));
    expect((await call('GET', '/v1/session', theirs)).statusCode).toBe(401);
    expect((await signIn('ana@shop.example')).statusCode).toBe(401);
    await call('PATCH', `/v1/staff/${userId}`, headers, { disabled: false, password: OTHER_PASSWORD });
    expect((await signIn('ana@shop.example')).statusCode).toBe(401);
    expect((await signIn('ana@shop.example', OTHER_PASSWORD)).statusCode).toBe(200);
  });

  test.each([
    [{ ...person, email: 'nobody' }, 400, '/email'],
    [{ ...person, email: 'b@shop.example', password: 'short' }, 400, '/password'],
    [{ ...person, email: 'b@shop.example', password: 'x'.repeat(257) }, 400, '/password'],
    [{ ...person, email: 'b@shop.example', roles: [] }, 400, '/roles'],
    [{ ...person, email: 'b@shop.example', roles: ['boss'] }, 400, '/roles/0'],
  ])('somebody as in %j is refused', async (body, status, pointer) => {
    const answer = await post(app, '/v1/staff', body);
    expect([answer.statusCode, answer.json().errors[0].pointer]).toEqual([status, pointer]);
    expect(answer.body).not.toContain('"short"');
  });

  test('the same address twice, and somebody that there is not', async () => {
    const email = await somebody('marketing');
    const twice = await post(app, '/v1/staff', { ...person, email });
    expect([twice.statusCode, twice.json().type]).toEqual([409, 'https://recuerda.test/problems/already-there']);
    const nobody = '/v1/staff/00000000-0000-4000-8000-000000000000';
    expect((await get(app, nobody)).statusCode).toBe(404);
    expect((await call('PATCH', nobody, AUTH, { disabled: true })).statusCode).toBe(404);
  });

  test('an operator does not get at what only privacy may, by anybody’s account', async () => {
    const operator = { ...cookieOf(await signIn(await somebody('operator'))), ...ORIGIN };
    const officer = await staffIdOf(api.db, await somebody('privacy'));
    for (const change of [{ password: OTHER_PASSWORD }, { roles: ['operator', 'marketing'] }]) {
      expect((await call('PATCH', `/v1/staff/${officer}`, operator, change)).statusCode).toBe(403);
    }
  });
});

describe('the page', () => {
  test('signs in without JavaScript, says who is in and what they may do, and signs out', async () => {
    const email = await somebody('marketing', 'privacy');
    const asked = await call('GET', '/login', { 'accept-language': 'es-ES,es' });
    expect(asked.statusCode).toBe(200);
    expect(asked.body).toContain('<html lang="es">');
    expect(asked.body).toContain('name="password" type="password" autocomplete="current-password"');
    expect(asked.body).not.toContain('<script');
    // Browsers send `Origin: null` with the forms of a page that gives no referrer.
    expect(asked.headers['referrer-policy']).toBe('same-origin');
    expect(asked.headers['content-security-policy']).toContain("form-action 'self'");
    expect(asked.headers['cache-control']).toBe('no-store');

    const sent = await form({ action: 'sign-in', email, password: PASSWORD });
    expect([sent.statusCode, sent.headers.location]).toEqual([303, '/login']);
    const page = await call('GET', '/login', cookieOf(sent));
    expect(page.body).toContain(`Signed in as Bea (${email}).`);
    expect(page.body).toContain('<code>marketing</code>');
    expect(page.body).toContain('<code>privacy</code>');
    expect(page.body).not.toContain('<code>operator</code>');

    const out = await form({ action: 'sign-out' }, { ...cookieOf(sent), ...ORIGIN });
    expect([out.statusCode, out.body.includes('Signed out.')]).toEqual([200, true]);
    expect((await call('GET', '/v1/session', cookieOf(sent))).statusCode).toBe(401);
  });

  test('shows what is wrong, and escapes what it shows', async () => {
    const email = await somebody('marketing');
    await api.db.updateTable('staff_user').set({ name: '<b>&' }).where('email', '=', email).execute();
    const wrong = await form({ email, password: OTHER_PASSWORD });
    expect([wrong.statusCode, wrong.headers['set-cookie']]).toEqual([401, undefined]);
    expect(wrong.body).toContain('The address or the password is not right.');
    expect(wrong.body).not.toContain(email);
    const page = await call('GET', '/login', cookieOf(await signIn(email)));
    expect(page.body).toContain('&lt;b&gt;&amp;');

    const foreign = await form({ email, password: PASSWORD }, FOREIGN);
    expect([foreign.statusCode, foreign.headers['set-cookie']]).toEqual([403, undefined]);
    for (let i = 0; i < 10; i++) await form({ email, password: OTHER_PASSWORD });
    const many = await form({ email, password: PASSWORD });
    expect([many.statusCode, Number(many.headers['retry-after']) > 0]).toEqual([429, true]);
    expect((await form({}, { 'content-type': 'application/json' })).statusCode).toBe(415);
    expect((await form({ email: 'a\0b', password: '\0' })).statusCode).toBe(401);
  });

  test('changes the password', async () => {
    const email = await somebody('marketing');
    const cookie = cookieOf(await signIn(email));
    const change = { action: 'change-password', current: PASSWORD, next: OTHER_PASSWORD, again: OTHER_PASSWORD };
    const refusals: [Record<string, string>, object, number, string][] = [
      [change, ORIGIN, 401, 'The session had ended.'],
      [change, cookie, 403, 'The form did not come from this page.'],
      [change, { ...cookie, ...FOREIGN }, 403, 'The form did not come from this page.'],
      [{ ...change, again: 'another' }, { ...cookie, ...ORIGIN }, 400, 'are not the same'],
      [{ ...change, next: 'x', again: 'x' }, { ...cookie, ...ORIGIN }, 400, 'must have 12–256 characters'],
      [{ ...change, current: 'x' }, { ...cookie, ...ORIGIN }, 401, 'The present password is not right.'],
    ];
    for (const [fields, headers, status, words] of refusals) {
      const answer = await form(fields, headers);
      expect([answer.statusCode, answer.body.includes(words), words]).toEqual([status, true, words]);
    }
    expect((await call('GET', '/v1/session', cookie)).statusCode).toBe(200);
    const changed = await form(change, { ...cookie, ...ORIGIN });
    expect([changed.statusCode, changed.body.includes('The password is changed.')]).toEqual([200, true]);
    expect((await call('GET', '/v1/session', cookie)).statusCode).toBe(401);
    expect((await call('GET', '/v1/session', cookieOf(changed))).statusCode).toBe(200);
    expect((await signIn(email, OTHER_PASSWORD)).statusCode).toBe(200);
  });

  test('nobody is signed out by a page of somebody else', async () => {
    const cookie = cookieOf(await signIn(await somebody('marketing')));
    expect((await form({ action: 'sign-out' }, { ...cookie, ...FOREIGN })).statusCode).toBe(403);
    expect((await call('GET', '/v1/session', cookie)).statusCode).toBe(200);
  });

  test('says so while Postgres is away', async () => {
    const cookie = cookieOf(await signIn(await somebody('marketing')));
    await api.db.schema.alterTable('staff_session').renameTo('staff_session_away').execute();
    const answer = await call('GET', '/login', { ...cookie, 'accept-language': 'ca' });
    await api.db.schema.alterTable('staff_session_away').renameTo('staff_session').execute();
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '60']);
    expect(answer.body).toContain('No es posible en este momento.');
  });
});
