import { createStaffUser } from '../../db/staff';
import { hashPassword } from '../../domain/passwords';
import { SCOPES } from '../../domain/scopes';
import { API_KEY, type ApiUnderTest, AUTH, apiUnderTest, bodyFor, post } from './api-under-test';
import { publishableDraft } from './publishable-draft';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

const EMAIL = 'marker.person@marked.example';
const STAFF = 'marker.staff@marked.example';
const NAME = 'Markername';
const PASSWORD = 'marker-password-in-the-clear';
const SECRETS: string[] = [];

test('no log line holds an address, a name, a key, a password, a cookie or a token', async () => {
  const by = { kind: 'cli' as const, id: 'test', scopes: SCOPES };
  const passwordHash = await hashPassword(PASSWORD);
  await createStaffUser(api.db, { email: STAFF, name: NAME, roles: [...SCOPES], passwordHash, by, now: new Date() });
  const signedIn = await api.app.inject({
    method: 'POST',
    url: '/v1/session',
    payload: { email: STAFF, password: PASSWORD },
  });
  const cookie = String(signedIn.headers['set-cookie']).split(';')[0] ?? '';
  const { key } = (await post(api.app, '/v1/keys', { name: 'k', scopes: ['operator'] })).json<{ key: string }>();
  SECRETS.push(
    EMAIL,
    'marked.example',
    NAME,
    PASSWORD,
    API_KEY,
    key,
    key.slice(3),
    cookie.split('=')[1] ?? 'none',
    'rk_guess',
  );

  const campaign = await post(api.app, '/v1/campaigns', publishableDraft());
  const { id } = campaign.json<{ id: string }>();
  await post(api.app, `/v1/campaigns/${id}/publish`);
  const enrolled = await post(api.app, `/v1/campaigns/${id}/enrollments`, {
    ...bodyFor(EMAIL),
    lead: { email: EMAIL, name: NAME },
  });
  expect(enrolled.statusCode).toBe(202);

  await drive(cookie, key);
  // Postgres quotes values in its messages: what fails inside it must not be written down as it came.
  for (const table of ['lead', 'staff_session', 'api_key']) {
    await api.db.schema.alterTable(table).renameTo(`${table}_away`).execute();
    await drive(cookie, key);
    await api.db.schema.alterTable(`${table}_away`).renameTo(table).execute();
  }

  const lines = api.logged.join('\n');
  expect(lines).toContain('"status":500');
  expect(lines).toContain('"status":401');
  expect(lines).toContain('"status":403');
  for (const secret of SECRETS)
    expect([secret, lines.toLowerCase().includes(secret.toLowerCase())]).toEqual([secret, false]);
});

/** Every route with the person's data in path, query, headers and body, as each kind of caller, well-formed and not. */
async function drive(cookie: string, key: string): Promise<void> {
  const { paths } = (await api.app.inject('/openapi.json')).json<{ paths: Record<string, Record<string, object>> }>();
  const callers = [
    AUTH,
    { authorization: `Bearer ${key}` },
    { authorization: 'Bearer rk_guess' },
    { cookie, origin: 'https://recuerda.test' },
    { cookie, origin: 'https://marked.example' },
  ];
  const bodies = [
    { email: EMAIL, name: NAME, orderId: NAME, reason: EMAIL, password: PASSWORD, roles: ['forms'], scopes: ['forms'] },
    { email: EMAIL },
    { email: STAFF, password: PASSWORD },
    { email: STAFF, password: `${PASSWORD}!` },
  ];
  for (const [path, methods] of Object.entries(paths)) {
    const inPath = path.includes('/v1/') ? '00000000-0000-4000-8000-000000000000' : EMAIL;
    const url = `${path.replace(/\{\w+\}/g, inPath)}?email=${encodeURIComponent(EMAIL)}`;
    for (const method of Object.keys(methods)) {
      // Or the cookie would be none for whatever comes after.
      if (path === '/v1/session' && method === 'delete') continue;
      for (const [i, headers] of callers.entries()) {
        const body = method === 'get' || method === 'delete' ? {} : { payload: bodies[i % bodies.length] ?? {} };
        await api.app.inject({ method: method.toUpperCase() as 'POST', url, headers: { ...headers }, ...body });
      }
    }
  }
  for (const url of [`/${EMAIL}`, `/v1/leads/${EMAIL}`, `/v1/leads?email=${EMAIL}`, `/v1/%zz${EMAIL}`, `/u/${EMAIL}`]) {
    await api.app.inject({ url, headers: { ...AUTH, 'user-agent': NAME, referer: `https://${EMAIL}` } });
  }
  for (const password of [PASSWORD, `${PASSWORD}!`]) {
    await api.app.inject({
      method: 'POST',
      url: '/login',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      payload: new URLSearchParams({ email: STAFF, password }).toString(),
    });
  }
  await api.app.inject({
    method: 'POST',
    url: '/v1/replies',
    headers: { ...AUTH, 'content-type': 'application/json' },
    payload: `{"email":"${EMAIL}`,
  });
}
