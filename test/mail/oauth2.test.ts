import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createTokenSource, type OAuth2Client, TokenRefusal } from '../../mail/oauth2';

interface Asked {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  form: Record<string, string>;
}

type Answer = { status?: number; headers?: Record<string, string>; body?: unknown; text?: string } | 'hang' | 'drop';

/** A token endpoint on loopback that answers what it is told and notes what it was asked. */
async function endpoint(answer: (n: number) => Answer | Promise<Answer>) {
  const asked: Asked[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', async () => {
      const form = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
      asked.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, form });
      const what = await answer(asked.length);
      if (what === 'hang') return;
      if (what === 'drop') return void request.socket.destroy();
      response.writeHead(what.status ?? 200, { 'content-type': 'application/json', ...what.headers });
      response.end(what.text ?? JSON.stringify(what.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  return { asked, tokenUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token` };
}

const servers: Server[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  await Promise.all(
    servers.splice(0).map((server) => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    }),
  );
});

function client(tokenUrl: string, change: Partial<OAuth2Client> = {}): OAuth2Client {
  return {
    tokenUrl,
    clientId: 'client-1',
    clientSecret: 's3cret',
    refreshToken: 'refresh-1',
    scope: null,
    ...change,
  };
}

const never = () => new AbortController().signal;
const numbered = (n: number) => ({ body: { access_token: `token-${n}`, expires_in: 3_600, token_type: 'Bearer' } });

async function refusal(promise: Promise<string>): Promise<TokenRefusal> {
  const error = await promise.then(
    () => new Error('a token was given'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof TokenRefusal)) throw error;
  return error;
}

test('a refresh token is exchanged as RFC 6749, section 6, has it', async () => {
  const { asked, tokenUrl } = await endpoint(numbered);
  const source = createTokenSource(client(tokenUrl, { scope: 'https://mail.example/' }));
  expect(await source.token(never())).toBe('token-1');
  expect(asked).toHaveLength(1);
  expect(asked[0]).toMatchObject({ method: 'POST', url: '/token' });
  expect(asked[0]?.headers['content-type']).toMatch(/^application\/x-www-form-urlencoded/);
  expect(asked[0]?.form).toEqual({
    grant_type: 'refresh_token',
    refresh_token: 'refresh-1',
    client_id: 'client-1',
    client_secret: 's3cret',
    scope: 'https://mail.example/',
  });
});

test('without a refresh token the client asks for itself (section 4.4); a public client has no secret to send', async () => {
  const { asked, tokenUrl } = await endpoint(numbered);
  await createTokenSource(client(tokenUrl, { refreshToken: null, scope: 'all/.default' })).token(never());
  await createTokenSource(client(tokenUrl, { clientSecret: '' })).token(never());
  expect(asked.map(({ form }) => form)).toEqual([
    { grant_type: 'client_credentials', client_id: 'client-1', client_secret: 's3cret', scope: 'all/.default' },
    { grant_type: 'refresh_token', refresh_token: 'refresh-1', client_id: 'client-1' },
  ]);
});

test('fifty callers at once share one request, and the token is kept until a minute before it expires', async () => {
  const { asked, tokenUrl } = await endpoint(numbered);
  const source = createTokenSource(client(tokenUrl));
  const tokens = await Promise.all(Array.from({ length: 50 }, () => source.token(never())));
  expect(new Set(tokens)).toEqual(new Set(['token-1']));
  const start = Date.now();
  const clock = jest.spyOn(Date, 'now');
  clock.mockReturnValue(start + 3_500_000);
  expect(await source.token(never())).toBe('token-1');
  expect(asked).toHaveLength(1);
  clock.mockReturnValue(start + 3_545_000);
  expect(await source.token(never())).toBe('token-2');
  expect(asked).toHaveLength(2);
});

test.each([
  ['30', 10_000, 20_000],
  [undefined, 200_000, 290_000],
  ['soon', 200_000, 290_000],
])('a life of %p: kept for %d ms, not for %d', async (expires_in, kept, gone) => {
  const { asked, tokenUrl } = await endpoint((n) => ({ body: { access_token: `token-${n}`, expires_in } }));
  const source = createTokenSource(client(tokenUrl));
  await source.token(never());
  const start = Date.now();
  const clock = jest.spyOn(Date, 'now').mockReturnValue(start + kept);
  expect(await source.token(never())).toBe('token-1');
  clock.mockReturnValue(start + gone);
  expect(await source.token(never())).toBe('token-2');
  expect(asked).toHaveLength(2);
});

test('a token that a server refused is forgotten; a late refusal of an older one is not held against the newer', async () => {
  const { asked, tokenUrl } = await endpoint(numbered);
  const source = createTokenSource(client(tokenUrl));
  const first = await source.token(never());
  source.forget(first);
  expect(await source.token(never())).toBe('token-2');
  source.forget(first);
  expect(await source.token(never())).toBe('token-2');
  source.forget();
  expect(await source.token(never())).toBe('token-3');
  expect(asked).toHaveLength(3);
});

test('a refresh token that the provider replaces is followed', async () => {
  const { asked, tokenUrl } = await endpoint((n) => ({ body: { ...numbered(n).body, refresh_token: `next-${n}` } }));
  const source = createTokenSource(client(tokenUrl));
  for (let n = 0; n < 3; n++) {
    await source.token(never());
    source.forget();
  }
  expect(asked.map(({ form }) => form.refresh_token)).toEqual(['refresh-1', 'next-1', 'next-2']);
});

test('one caller who gives up leaves the request to the others', async () => {
  let letGo = () => {};
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const { asked, tokenUrl } = await endpoint(async (n) => {
    await held;
    return numbered(n);
  });
  const source = createTokenSource(client(tokenUrl));
  const abort = new AbortController();
  const [impatient, patient] = [source.token(abort.signal), source.token(never())];
  abort.abort(new Error('stopped'));
  await expect(impatient).rejects.toThrow('stopped');
  await expect(source.token(abort.signal)).rejects.toThrow('stopped');
  letGo();
  expect(await patient).toBe('token-1');
  expect(asked).toHaveLength(1);
});

test('a failure is told to all who waited, and the next caller tries anew', async () => {
  const { asked, tokenUrl } = await endpoint((n) =>
    n === 1 ? { status: 503, text: '<html>busy, ana@shop.example</html>' } : numbered(n),
  );
  const source = createTokenSource(client(tokenUrl));
  const failures = await Promise.all([1, 2, 3].map(() => refusal(source.token(never()))));
  expect(failures.map(({ message }) => message)).toEqual(['oauth2 503', 'oauth2 503', 'oauth2 503']);
  expect(await source.token(never())).toBe('token-2');
  expect(asked).toHaveLength(2);
});

test.each<[string, Answer, string, Partial<TokenRefusal>]>([
  [
    'a dead grant',
    { status: 400, body: { error: 'invalid_grant', error_description: 'AADSTS70000: ana@shop.example refresh-1' } },
    'oauth2 400 invalid_grant',
    { status: 400, code: 'invalid_grant' },
  ],
  ['a code that is none', { status: 401, body: { error: 'ana@shop.example s3cret' } }, 'oauth2 401', { code: null }],
  ['a page in place of JSON', { text: '<html>ana@shop.example</html>' }, 'oauth2 200 no_json', { status: 200 }],
  ['an answer without a token', { body: { token_type: 'Bearer' } }, 'oauth2 200 no_token', { code: 'no_token' }],
  [
    'a token that would break out of the login',
    { body: { access_token: 'x\u0001\u0001host=evil' } },
    'oauth2 200 no_token',
    {},
  ],
  ['silence', 'hang', 'oauth2 ETIMEDOUT', { status: null, code: 'ETIMEDOUT' }],
  ['a cut connection', 'drop', 'oauth2 UND_ERR_SOCKET', { status: null }],
])('P5 %s is told in codes only', async (_what, answer, message, fields) => {
  const { tokenUrl } = await endpoint(() => answer);
  const error = await refusal(
    createTokenSource(client(tokenUrl), { timeoutMs: answer === 'hang' ? 200 : 30_000 }).token(never()),
  );
  expect(error.message).toBe(message);
  expect(error).toMatchObject(fields);
  expect(`${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`).not.toMatch(/ana@|s3cret|refresh-1/);
});

test('nobody listens', async () => {
  const { tokenUrl } = await endpoint(numbered);
  await new Promise((resolve) => servers.pop()?.close(resolve));
  expect((await refusal(createTokenSource(client(tokenUrl)).token(never()))).message).toBe('oauth2 ECONNREFUSED');
});

test('secrets are not carried on to where an answer points', async () => {
  const elsewhere = await endpoint(numbered);
  const { tokenUrl } = await endpoint(() => ({ status: 307, headers: { location: elsewhere.tokenUrl }, body: {} }));
  const error = await refusal(createTokenSource(client(tokenUrl)).token(never()));
  expect(error.message).toMatch(/^oauth2 /);
  expect(elsewhere.asked).toHaveLength(0);
});
