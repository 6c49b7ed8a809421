import { type ApiUnderTest, AUTH, apiUnderTest, OTHER_API_KEY } from './api-under-test';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

const SHOP = 'https://shop.example';
const PREFLIGHT = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' };

describe('headers', () => {
  test.each([
    '/v1/campaigns',
    '/healthz',
    '/openapi.json',
    '/nothing',
    '/docs',
    '/login',
    '/u/x',
    '/problems/not-found',
  ])('%s is sent with those that make browsers careful', async (url) => {
    const { headers } = await api.app.inject({ url, headers: AUTH });
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'cross-origin-resource-policy': 'same-origin',
      'strict-transport-security': 'max-age=31536000',
      'referrer-policy': expect.stringMatching(/^(no-referrer|same-origin)$/),
      'content-security-policy': expect.stringContaining("frame-ancestors 'none'"),
    });
    expect(headers).not.toHaveProperty('x-powered-by');
    expect(headers).not.toHaveProperty('server');
  });

  test('pages and the reference keep their own policies; what is no page loads nothing', async () => {
    const policy = async (url: string) =>
      String((await api.app.inject({ url, headers: AUTH })).headers['content-security-policy']);
    expect(await policy('/v1/campaigns')).toBe(
      "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
    );
    for (const page of ['/login', '/u/x', '/problems/not-found']) {
      expect(await policy(page)).toMatch(/^default-src 'none'; style-src 'sha256-[^']+'; form-action 'self'/);
    }
    for (const file of ['/docs', '/docs/static/swagger-ui.css', '/docs/static/swagger-ui-bundle.js']) {
      expect(await policy(file)).toMatch(/^default-src 'self'; style-src 'self' 'unsafe-inline'/);
    }
  });

  test('nobody on the way keeps what was answered to a caller', async () => {
    for (const headers of [AUTH, {}]) {
      const answer = await api.app.inject({ url: '/v1/leads', headers });
      expect(answer.headers['cache-control']).toBe('no-store');
    }
  });

  test('browsers are bound to https only where the links are', async () => {
    const plain = await api.another({ config: { publicUrl: 'http://127.0.0.1:3000' } });
    expect((await plain.inject('/login')).headers).not.toHaveProperty('strict-transport-security');
  });
});

describe('pages of other origins', () => {
  test('may call nothing where none is named', async () => {
    for (const url of ['/v1/campaigns', '/healthz']) {
      const preflight = await api.app.inject({ method: 'OPTIONS', url, headers: { origin: SHOP, ...PREFLIGHT } });
      expect([preflight.statusCode, preflight.headers['access-control-allow-origin']]).toEqual([405, undefined]);
      const answer = await api.app.inject({ url, headers: { origin: SHOP, ...AUTH } });
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    }
  });

  test('may call /v1 where they are named, with a key and never with a cookie, and nothing else', async () => {
    const app = await api.another({ config: { corsOrigins: [SHOP, 'https://other.example'] } });
    const ask = async (method: 'OPTIONS' | 'GET', url: string, origin: string) =>
      await app.inject({ method, url, headers: { origin, ...(method === 'OPTIONS' ? PREFLIGHT : AUTH) } });

    const preflight = await ask('OPTIONS', '/v1/campaigns', SHOP);
    expect([preflight.statusCode, preflight.headers]).toMatchObject([
      204,
      {
        'access-control-allow-origin': SHOP,
        'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
        'access-control-allow-headers': 'authorization, content-type, idempotency-key',
        vary: expect.stringContaining('Origin'),
      },
    ]);
    expect(preflight.headers).not.toHaveProperty('access-control-allow-credentials');
    const answer = await ask('GET', '/v1/campaigns', SHOP);
    expect([answer.statusCode, answer.headers['access-control-allow-origin']]).toEqual([200, SHOP]);
    expect(answer.headers).not.toHaveProperty('access-control-allow-credentials');

    for (const origin of ['https://evil.example', `${SHOP}.evil.example`, 'http://shop.example', 'null']) {
      expect((await ask('OPTIONS', '/v1/campaigns', origin)).headers).not.toHaveProperty('access-control-allow-origin');
      expect((await ask('GET', '/v1/campaigns', origin)).headers).not.toHaveProperty('access-control-allow-origin');
    }
    for (const url of ['/healthz', '/login', '/openapi.json', '/docs']) {
      expect((await ask('GET', url, SHOP)).headers).not.toHaveProperty('access-control-allow-origin');
    }
    // The routes of preflights are none that is told of.
    expect((await ask('GET', '/v1/nothing', SHOP)).statusCode).toBe(404);
    const wrong = await app.inject({ method: 'DELETE', url: '/v1/purchases', headers: AUTH });
    expect([wrong.statusCode, wrong.headers.allow]).toEqual([405, 'POST']);
  });
});

describe('whose address a request is from', () => {
  /** Wrong keys are counted by it: 30 from one, and the next is too many. */
  async function tries(trustedProxies: string[], forwardedFor: (i: number) => string): Promise<number> {
    const now = new Date(Date.UTC(2026, 0, 1) + tried++ * 24 * 60 * 60_000);
    const app = await api.another({ config: { trustedProxies }, clock: () => now });
    const headers = { authorization: 'Bearer rk_wrong' };
    let status = 0;
    for (let i = 0; i <= 30; i++) {
      const forwarded = { 'x-forwarded-for': forwardedFor(i) };
      ({ statusCode: status } = await app.inject({
        url: '/v1/session',
        headers: { ...headers, ...forwarded },
        remoteAddress: '10.1.2.3',
      }));
    }
    return status;
  }
  let tried = 0;

  test('what a client writes into X-Forwarded-For counts for nothing', async () => {
    expect(await tries([], (i) => `198.51.100.${i}`)).toBe(429);
    expect(await tries(['10.9.0.0/16'], (i) => `198.51.100.${i}`)).toBe(429);
    // Nor what a client has put before what our proxy adds.
    expect(await tries(['10.1.0.0/16'], (i) => `198.51.100.${i}, 203.0.113.9`)).toBe(429);
  });

  test('what our own proxy writes into it counts', async () => {
    expect(await tries(['10.1.0.0/16'], (i) => `198.51.100.${i}`)).toBe(401);
    expect(await tries(['10.1.2.3'], () => '198.51.100.1')).toBe(429);
  });
});

test('a key is not taken from anywhere but its header', async () => {
  const url = `/v1/campaigns?key=${OTHER_API_KEY}&access_token=${OTHER_API_KEY}`;
  expect((await api.app.inject({ url, headers: { 'x-api-key': OTHER_API_KEY } })).statusCode).toBe(401);
});
