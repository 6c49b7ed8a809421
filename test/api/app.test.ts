import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { Compile } from 'typebox/schema';
import { PROBLEMS } from '../../api/problems';
import { API_KEY, type ApiUnderTest, AUTH, apiUnderTest, get, OTHER_API_KEY, post } from './api-under-test';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

interface Operation {
  operationId?: string;
  summary?: string;
  description?: string;
  tags?: string[];
  security?: object[];
  'x-scopes'?: string[];
  parameters?: { name: string; in: string; required?: boolean; schema: object }[];
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, { description?: string; content?: Record<string, { schema: object }> }>;
}
interface Document {
  openapi: string;
  info: { title: string; version: string };
  servers: { url: string }[];
  tags: { name: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: object };
}
/** What they are sent, or answer, is a secret: nothing of it is kept for an idempotency key. */
const SECRETS = ['createKey', 'createStaffUser', 'signIn', 'createWebhookEndpoint', 'rotateWebhookSecret'];
const METHODS = ['get', 'post', 'patch', 'put', 'delete', 'options'];

async function document(): Promise<Document> {
  return (await api.app.inject('/openapi.json')).json();
}
const operationsOf = (doc: Document) =>
  Object.entries(doc.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([method]) => METHODS.includes(method))
      .map(([method, operation]) => ({ path, method, operation })),
  );

test('everything under /v1 needs one of the keys, whole', async () => {
  const guarded = operationsOf(await document()).filter(
    ({ path, operation }) => path.startsWith('/v1/') && operation.operationId !== 'signIn',
  );
  expect(guarded.length).toBeGreaterThan(9);
  const bad = [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    `Bearer ${API_KEY.slice(0, -1)}`,
    `Bearer ${API_KEY}x`,
    `Basic ${API_KEY}`,
    API_KEY,
  ];
  for (const [i, { path, method }] of guarded.entries()) {
    // Wrong keys are counted by the address that they come from.
    const remoteAddress = `198.51.100.${i}`;
    const url = path.replace(/\{\w+\}/g, '00000000-0000-4000-8000-000000000000');
    for (const authorization of bad) {
      const headers = authorization === undefined ? {} : { authorization };
      const answer = await api.app.inject({ method: method.toUpperCase() as 'GET', url, headers, remoteAddress });
      expect([url, authorization, answer.statusCode]).toEqual([url, authorization, 401]);
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer realm="recuerda"/);
      expect(answer.json()).toMatchObject({ type: 'https://recuerda.test/problems/unauthorized', status: 401 });
    }
  }
  for (const key of [API_KEY, OTHER_API_KEY]) {
    const answer = await api.app.inject({
      url: '/v1/leads?email=a@example.com',
      headers: { authorization: `bearer ${key}` },
    });
    expect(answer.statusCode).toBe(200);
  }
  const keyless = await api.another({ config: { apiKeys: [] } });
  expect((await get(keyless, '/v1/leads?email=a@example.com')).statusCode).toBe(401);
});

test('health and reference need no key', async () => {
  for (const url of ['/healthz', '/readyz', '/openapi.json', '/docs', '/docs/', '/problems/not-found']) {
    expect([url, (await api.app.inject(url)).statusCode]).toEqual([url, 200]);
  }
});

test('P4 readiness takes Postgres only; Temporal and mail are told beside it', async () => {
  const app = await api.another({
    config: { mailBlocked: 'the links would be dead' },
    pingTemporal: async () => {
      throw new Error('down');
    },
  });
  const answer = await app.inject('/readyz');
  expect([answer.statusCode, answer.json()]).toEqual([
    200,
    {
      status: 'ready',
      postgres: 'up',
      schema: 'current',
      draining: false,
      temporal: 'down',
      mail: 'blocked: the links would be dead',
      journal: 'none',
    },
  ]);
  expect((await api.app.inject('/readyz')).json()).toEqual({
    status: 'ready',
    postgres: 'up',
    schema: 'current',
    draining: false,
    mail: 'ready',
    journal: 'none',
  });
});

const json = { ...AUTH, 'content-type': 'application/json' };
test.each([
  [
    'malformed JSON',
    { method: 'POST', url: '/v1/replies', headers: json, payload: '{"email":' },
    400,
    'invalid-request',
    /JSON/,
  ],
  [
    'a list instead of an object',
    { method: 'POST', url: '/v1/replies', headers: json, payload: '[]' },
    400,
    'invalid-request',
    /object/,
  ],
  ['no body', { method: 'POST', url: '/v1/replies', headers: json }, 400, 'invalid-request', /object/],
  [
    'a prototype in the body',
    { method: 'POST', url: '/v1/replies', headers: json, payload: '{"__proto__":{"a":1}}' },
    400,
    'invalid-request',
    /JSON/,
  ],
  [
    'XML',
    { method: 'POST', url: '/v1/replies', headers: { ...AUTH, 'content-type': 'text/xml' }, payload: '<a/>' },
    415,
    'unsupported-media-type',
    /Content-Type/,
  ],
  [
    'a huge body',
    { method: 'POST', url: '/v1/replies', headers: json, payload: JSON.stringify('x'.repeat(1_100_000)) },
    413,
    'payload-too-large',
    /bytes/,
  ],
  [
    'text that says it is none but text',
    { method: 'POST', url: '/v1/replies', headers: { ...AUTH, 'content-type': 'text/plain' }, payload: '{}' },
    415,
    'unsupported-media-type',
    /Content-Type/,
  ],
  [
    'JSON in Latin-1',
    {
      method: 'POST',
      url: '/v1/replies',
      headers: json,
      payload: Buffer.from('{"email":"josé@example.com"}', 'latin1'),
    },
    400,
    'invalid-request',
    /UTF-8/,
  ],
  ...[1_000, 400_000].map(
    (depth) =>
      [
        `JSON that is nested ${depth} deep`,
        {
          method: 'POST',
          url: '/v1/replies',
          headers: json,
          payload: `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`,
        },
        400,
        'invalid-request',
        /levels deep/,
      ] as const,
  ),
  ...['1.5', 'true', '1e1', '', '9007199254740993', '1&limit=2'].map(
    (limit) =>
      [
        `a limit of ${limit}`,
        { method: 'GET', url: `/v1/campaigns?limit=${limit}`, headers: AUTH },
        400,
        'invalid-request',
        /limit/,
      ] as const,
  ),
  ['a file that is not in the reference', { method: 'GET', url: '/docs/static/a%2fb' }, 404, 'not-found', /docs/],
  ['a way out of the reference', { method: 'GET', url: '/docs/static/%2e%2e/package.json' }, 404, 'not-found', /docs/],
  ['an unknown path', { method: 'GET', url: '/v1/nothing', headers: AUTH }, 404, 'not-found', /docs/],
  ['a wrong method', { method: 'DELETE', url: '/v1/purchases', headers: AUTH }, 405, 'method-not-allowed', /POST is/],
  ['a path that is none', { method: 'GET', url: '/v1/%zz', headers: AUTH }, 400, 'invalid-request', /%/],
] as const)('%s is answered as a problem', async (_, request, status, code, words) => {
  const answer = await api.app.inject(request as never);
  expect(answer.statusCode).toBe(status);
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  expect(answer.json()).toMatchObject({
    type: `https://recuerda.test/problems/${code}`,
    title: PROBLEMS[code].title,
    status,
    detail: expect.stringMatching(words),
    instance: expect.stringMatching(/^urn:uuid:[0-9a-f-]{36}$/),
  });
});

test('a wrong method is told which are right', async () => {
  expect((await api.app.inject({ method: 'DELETE', url: '/v1/purchases' })).headers.allow).toBe('POST');
  expect(
    (await api.app.inject({ method: 'PUT', url: '/u/token' })).headers.allow?.toString().split(', ').sort(),
  ).toEqual(['GET', 'HEAD', 'POST']);
});

test('what went wrong inside is logged under the id of the answer, and never sent; nor is a person logged', async () => {
  const email = 'in.the.body@example.com';
  await api.db.schema.alterTable('purchase').renameTo('purchase_away').execute();
  const failed = await post(api.app, '/v1/purchases', { email, orderId: 'O-1' });
  await api.db.schema.alterTable('purchase_away').renameTo('purchase').execute();
  expect(failed.statusCode).toBe(500);
  expect(failed.body).not.toMatch(/purchase_|relation|at .*\.ts/);
  const requestId = failed.json<{ instance: string }>().instance.replace('urn:uuid:', '');
  expect(failed.headers['x-request-id']).toBe(requestId);
  const line = api.logged.find((logged) => logged.includes(requestId) && logged.includes('a request failed')) ?? '';
  expect(JSON.parse(line)).toMatchObject({
    level: 50,
    route: '/v1/purchases',
    err: { code: '42P01', stack: expect.stringContaining('db/purchases') },
  });
  expect(api.logged.join('')).not.toContain(email);
});

test('the OpenAPI document is 3.1, whole and consistent', async () => {
  const doc = await document();
  expect(doc.openapi).toBe('3.1.0');
  expect(doc.servers).toEqual([{ url: 'https://recuerda.test' }]);
  expect(Object.keys(doc.components.schemas)).toContain('Problem');
  const text = JSON.stringify(doc);
  for (const [, ref] of text.matchAll(/"\$ref":"([^"]+)"/g)) {
    const target = (ref ?? '')
      .replace(/^#\//, '')
      .split('/')
      .reduce<unknown>((at, key) => (at as Record<string, unknown>)?.[key], doc);
    expect([ref, typeof target]).toEqual([ref, 'object']);
  }

  const operations = operationsOf(doc);
  const ids = operations.map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);
  const tags = doc.tags.map(({ name }) => name);
  for (const { path, method, operation } of operations) {
    const where = `${method} ${path}`;
    expect([where, operation.operationId, operation.summary, operation.description]).not.toContain(undefined);
    expect(tags).toEqual(expect.arrayContaining(operation.tags ?? ['none']));
    const parameters = operation.parameters ?? [];
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    expect([where, parameters.filter((p) => p.in === 'path').map((p) => p.name)]).toEqual([where, inPath]);
    expect(parameters.filter((p) => p.in === 'path').every((p) => p.required)).toBe(true);
    const isV1 = path.startsWith('/v1/');
    const isGuarded = isV1 && operation.operationId !== 'signIn';
    expect([where, operation.security === undefined]).toEqual([where, isGuarded]);
    const isKept = isV1 && method === 'post' && !SECRETS.includes(operation.operationId ?? '');
    expect([where, parameters.some((p) => p.name === 'Idempotency-Key')]).toEqual([where, isKept]);
    expect([where, Object.keys(operation.responses).some((status) => /^[23]/.test(status))]).toEqual([where, true]);
    const refusals = Object.entries(operation.responses).filter(([status]) => /^[45]/.test(status));
    if (isKept) expect(operation.responses['409']?.description).toContain('`idempotency-mismatch`');
    if (isV1 && operation.requestBody !== undefined) expect(refusals.map(([status]) => status)).toContain('415');
    if (path.endsWith('/imports')) expect(refusals.map(([status]) => status)).not.toContain('413');
    if (isGuarded) {
      expect(operation.description).toMatch(/\n\nScopes: `\w+`/);
      expect(operation['x-scopes']?.length).toBeGreaterThan(0);
      expect(operation.responses['403']?.description).toContain('`forbidden`');
      expect(refusals.map(([status]) => status)).toEqual(expect.arrayContaining(['401', '403', '429']));
    }
    if (isV1) {
      expect(refusals.map(([status]) => status)).toEqual(expect.arrayContaining(['400', '401', '500', '503']));
      for (const [, { content }] of refusals) {
        expect(content).toEqual({ 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } });
      }
    }
    for (const { description, content } of Object.values(operation.responses)) {
      expect([where, typeof description, description === 'Default Response']).toEqual([where, 'string', false]);
      for (const { schema } of Object.values(content ?? {})) expect(() => Compile(schema as never)).not.toThrow();
    }
    for (const { schema } of Object.values(operation.requestBody?.content ?? {}))
      expect(() => Compile(schema as never)).not.toThrow();
  }
});

test('the OpenAPI document lists every route that is served, and no other', async () => {
  const listed = operationsOf(await document()).map(({ method, path }) => `${method.toUpperCase()} ${path}`);
  // A tree: four characters for each level, each line a part of the path.
  const parts: string[] = [];
  const served = api.app
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const match = /^(.*)── (\S+) \(([A-Z, ]+)\)$/.exec(line);
      if (match === null) return [];
      const [, indent = '', part = '', methods = ''] = match;
      parts.splice(Math.floor(indent.length / 4), Number.POSITIVE_INFINITY, part);
      const path = parts.join('').replace(/:(\w+)/g, '{$1}');
      return methods.split(', ').map((method) => `${method} ${path}`);
    })
    .filter((route) => !/^HEAD | \/(docs|openapi\.json|problems)/.test(route));
  expect(served).toContain('POST /v1/enrollments/{id}/pause');
  expect(listed.sort()).toEqual(served.sort());
});

test('the reference loads nothing from elsewhere', async () => {
  const page = await api.app.inject('/docs');
  const assets = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url ?? '');
  expect(assets.length).toBeGreaterThan(3);
  for (const url of assets) {
    expect(url).toMatch(/^\/docs\//);
    expect([url, (await api.app.inject(url)).statusCode]).toEqual([url, 200]);
  }
  const policy = String(page.headers['content-security-policy']);
  expect(policy).toContain("default-src 'self'");
  expect(policy).not.toMatch(/upgrade-insecure-requests|https: /);
});

test('every kind of problem has its page', async () => {
  for (const code of Object.keys(PROBLEMS)) {
    const page = await api.app.inject(`/problems/${code}`);
    expect([page.statusCode, page.body.includes(code)]).toEqual([200, true]);
  }
  expect((await api.app.inject('/problems/address-suppressed')).body).toContain('<code>reason</code>');
  for (const code of ['nope', 'toString', '__proto__']) {
    expect((await api.app.inject(`/problems/${code}`)).statusCode).toBe(404);
  }
});

test.each([
  ['who does not speak HTTP', 'hello\r\n\r\n', 'not a valid HTTP request'],
  ['who sends endless headers', `GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`, '16 KiB'],
])('%s is answered all the same', async (_, sent, words) => {
  const app = await api.another({});
  await app.listen({ host: '127.0.0.1', port: 0 });
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1', () => socket.write(sent));
    let text = '';
    socket.on('data', (bytes) => {
      text += bytes.toString();
    });
    socket.on('end', () => resolve(text));
    socket.on('error', reject);
  });
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain('application/problem+json');
  expect(answer).toContain(words);
  expect(answer).toContain('https://recuerda.test/problems/invalid-request');
});

test.each([
  ['campaigns', { createdAt: '2016-12-31T23:59:60Z', id: '00000000-0000-4000-8000-000000000000' }],
  [
    'campaigns/00000000-0000-4000-8000-000000000000/imports',
    { createdAt: '2016-12-31T23:59:60Z', id: '00000000-0000-4000-8000-000000000000' },
  ],
  ['imports/00000000-0000-4000-8000-000000000000/errors', { line: 2 ** 40, seq: 0 }],
  ['imports/00000000-0000-4000-8000-000000000000/warnings', { line: 1, seq: 2 ** 20 }],
])('a cursor of %s that was made up is refused', async (list, position) => {
  const cursor = Buffer.from(JSON.stringify(position)).toString('base64url');
  const answer = await get(api.app, `/v1/${list}?cursor=${cursor}`);
  expect([answer.statusCode, answer.json().errors]).toEqual([
    400,
    [{ pointer: '/cursor', in: 'query', detail: expect.any(String) }],
  ]);
});
