import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import {
  type Carrier,
  type CarrierOptions,
  createCarrier,
  NoConnectionFree,
  type SmtpLink,
} from '../../../mail/deliver/connections';
import { SmtpRefusal } from '../../../mail/deliver/refusal';
import { deliver } from '../../../mail/deliver/send';
import { selfSigned } from '../../support/certificate';
import { type FaultyServer, faultyServer, type RealServer, realServer, type Script } from './smtp-servers';

const open = { carriers: [] as Carrier[], servers: [] as Array<RealServer | FaultyServer> };
const never = () => new AbortController().signal;

afterEach(async () => {
  await Promise.all(open.carriers.splice(0).map((carrier) => carrier.close()));
  await Promise.all(open.servers.splice(0).map((server) => server.close()));
});

function carrierTo(url: string, options: Partial<CarrierOptions> = {}): Carrier {
  const carrier = createCarrier({ url, connectTimeoutMs: 5_000, name: 'shop.example', ...options });
  open.carriers.push(carrier);
  return carrier;
}

async function real(...args: Parameters<typeof realServer>): Promise<RealServer> {
  const server = await realServer(...args);
  open.servers.push(server);
  return server;
}

async function faulty(script: Script): Promise<FaultyServer> {
  const server = await faultyServer(script);
  open.servers.push(server);
  return server;
}

async function refusalOf(acquiring: Promise<SmtpLink>): Promise<SmtpRefusal> {
  const error = await acquiring.then(
    (link) => {
      link.release();
      throw new Error('a session was opened');
    },
    (reason: unknown) => reason,
  );
  if (!(error instanceof SmtpRefusal)) throw error;
  return error;
}

function send(link: SmtpLink) {
  return deliver(link, {
    from: 'bounces@shop.example',
    to: 'lead@lead.example',
    raw: Buffer.from('Subject: x\r\n\r\nx\r\n'),
    gate: async () => true,
    signal: never(),
  });
}

describe('lending connections', () => {
  test('a released connection is used again', async () => {
    const server = await real();
    const carrier = carrierTo(server.url);
    for (let n = 0; n < 5; n++) {
      const link = await carrier.acquire(never());
      expect((await send(link)).kind).toBe('accepted');
      link.release();
      link.release();
    }
    expect(server.connections).toBe(1);
    expect(server.messages).toHaveLength(5);
    expect(carrier.stats()).toEqual({ inUse: 0, idle: 1, waiting: 0, opened: 1 });
  });

  test('first come, first served, and no more connections than allowed', async () => {
    const server = await real();
    const carrier = carrierTo(server.url, { maxConnections: 2 });
    const held = [await carrier.acquire(never()), await carrier.acquire(never())];
    const order: number[] = [];
    const waiting = [1, 2, 3].map(async (n) => {
      const link = await carrier.acquire(never());
      order.push(n);
      link.release();
    });
    expect(carrier.stats()).toMatchObject({ inUse: 2, waiting: 3 });
    held[0]?.release();
    await Promise.all(waiting);
    held[1]?.release();
    expect(order).toEqual([1, 2, 3]);
    expect(server.mostAtOnce).toBe(2);
  });

  test('an abort in line leaves the line to the others', async () => {
    const server = await real();
    const carrier = carrierTo(server.url, { maxConnections: 1 });
    const held = await carrier.acquire(never());
    const abort = new AbortController();
    const impatient = carrier.acquire(abort.signal);
    const patient = carrier.acquire(never());
    abort.abort(new Error('stopped'));
    await expect(impatient).rejects.toThrow('stopped');
    await expect(carrier.acquire(AbortSignal.abort(new Error('stopped before')))).rejects.toThrow('stopped before');
    held.release();
    (await patient).release();
    expect(carrier.stats()).toMatchObject({ inUse: 0, waiting: 0, idle: 1 });
  });

  test('who has no more patience leaves the line to the others', async () => {
    const server = await real();
    const carrier = carrierTo(server.url, { maxConnections: 1 });
    const held = await carrier.acquire(never());
    const patient = carrier.acquire(never(), 60_000);
    await expect(carrier.acquire(never(), 10)).rejects.toThrow(NoConnectionFree);
    expect(carrier.stats()).toMatchObject({ inUse: 1, waiting: 1 });
    held.release();
    (await patient).release();
    expect(carrier.stats()).toMatchObject({ inUse: 0, waiting: 0 });
  });

  test('an abort while connecting frees the place', async () => {
    const server = await faulty({ greeting: 'hang' });
    const carrier = carrierTo(server.url, { maxConnections: 1 });
    const abort = new AbortController();
    const acquiring = carrier.acquire(abort.signal);
    await new Promise(setImmediate);
    abort.abort(new Error('stopped'));
    await expect(acquiring).rejects.toThrow('stopped');
    expect(carrier.stats()).toMatchObject({ inUse: 0 });
    server.script.greeting = '220 hello';
    (await carrier.acquire(never())).release();
  });

  test('a failure to connect lets the next one try', async () => {
    const server = await faulty({ greeting: { last: '421 4.3.2 full' } });
    const carrier = carrierTo(server.url, { maxConnections: 1 });
    const failures = await Promise.all([1, 2, 3].map(() => refusalOf(carrier.acquire(never()))));
    expect(failures.map((failure) => failure.code)).toEqual([421, 421, 421]);
    server.script.greeting = '220 hello';
    (await carrier.acquire(never())).release();
  });

  test('an idle connection that the server closed is noticed', async () => {
    const server = await faulty({});
    const carrier = carrierTo(server.url);
    const link = await carrier.acquire(never());
    const ended = once(link.connection, 'end');
    link.release();
    expect(carrier.stats().idle).toBe(1);
    for (const socket of server.sockets) socket.end();
    await ended;
    expect(carrier.stats().idle).toBe(0);
    const next = await carrier.acquire(never());
    expect((await send(next)).kind).toBe('accepted');
    next.release();
    expect(server.connections).toBe(2);
  });

  test('an idle connection that the server ended with 421 is noticed', async () => {
    const server = await faulty({});
    const carrier = carrierTo(server.url);
    const link = await carrier.acquire(never());
    const ended = once(link.connection, 'end');
    link.release();
    for (const socket of server.sockets) socket.end('421 4.4.2 idle for too long\r\n');
    await ended;
    expect(carrier.stats().idle).toBe(0);
  });

  test.each([
    ['is dead', 'drop', 2],
    ['refuses', '502 5.5.1 no', 2],
    ['answers', '250 ok', 1],
  ] as const)(
    'one that was idle for a while is asked first, and renewed when it %s',
    async (_what, RSET, connections) => {
      const server = await faulty({ RSET });
      const carrier = carrierTo(server.url);
      (await carrier.acquire(never())).release();
      const later = Date.now() + 5_000;
      const clock = jest.spyOn(Date, 'now').mockImplementation(() => later);
      try {
        const link = await carrier.acquire(never());
        expect((await send(link)).kind).toBe('accepted');
        link.release();
      } finally {
        clock.mockRestore();
      }
      expect(server.commands).toContain('RSET');
      expect(server.connections).toBe(connections);
    },
  );

  test('connections are renewed after so many messages, with QUIT', async () => {
    const server = await faulty({});
    const carrier = carrierTo(server.url, { maxConnections: 1, maxMessagesPerConnection: 3 });
    for (let n = 0; n < 7; n++) {
      const link = await carrier.acquire(never());
      expect((await send(link)).kind).toBe('accepted');
      link.release();
    }
    expect(server.connections).toBe(3);
    expect(server.commands.filter((command) => command === 'QUIT')).toHaveLength(2);
  });

  test('an unused connection is closed, with QUIT', async () => {
    const server = await faulty({});
    const carrier = carrierTo(server.url, { idleTimeoutMs: 20 });
    (await carrier.acquire(never())).release();
    await server.seen('QUIT');
    await server.seen('close');
    expect(carrier.stats()).toMatchObject({ idle: 0, inUse: 0 });
  });

  test('close lets the lent one finish, turns the others away, and leaves nothing open', async () => {
    const server = await faulty({});
    const carrier = carrierTo(server.url, { maxConnections: 2 });
    const [lent, idle] = [await carrier.acquire(never()), await carrier.acquire(never())];
    idle.release();
    const busy = await carrier.acquire(never());
    const waiting = refusalOf(carrier.acquire(never()));
    let closed = false;
    const closing = carrier.close().then(() => {
      closed = true;
    });
    expect((await waiting).message).toBe('smtp connect ECARRIERCLOSED');
    expect((await refusalOf(carrier.acquire(never()))).judgement.verdict).toBe('refused-us');
    busy.release();
    expect((await send(lent)).kind).toBe('accepted');
    expect(closed).toBe(false);
    lent.release();
    await closing;
    expect(lent.connection.destroyed && idle.connection.destroyed).toBe(true);
    expect(carrier.stats()).toMatchObject({ inUse: 0, idle: 0, waiting: 0 });
  });
});

describe('opening a session', () => {
  test('with user and password', async () => {
    const logins: unknown[] = [];
    const server = await real({
      authOptional: false,
      allowInsecureAuth: true,
      onAuth(auth, _session, done) {
        logins.push([auth.username, auth.password]);
        done(null, { user: auth.username ?? '' });
      },
    });
    const carrier = carrierTo(`smtp://shop%40x.example:p%3Ass%20w%C3%B6rd@127.0.0.1:${server.port}?pool=true`);
    const link = await carrier.acquire(never());
    expect((await send(link)).kind).toBe('accepted');
    link.release();
    expect(logins).toEqual([['shop@x.example', 'p:ss wörd']]);
  });

  const wrongs: Array<[string, Script, string, string]> = [
    ['greeting', { greeting: '554 5.7.1 blocked by ana@shop.example' }, 'smtp greeting 554 5.7.1', 'refused-us'],
    ['greeting', { greeting: { last: '421 4.3.2 full' } }, 'smtp greeting 421 4.3.2', 'refused-us'],
    ['greeting', { greeting: 'drop' }, 'smtp greeting ECONN(ECTION|RESET)', 'refused-us'],
    ['greeting', { greeting: 'hang' }, 'smtp greeting ETIMEDOUT', 'refused-us'],
    ['helo', { EHLO: { last: '421 4.7.0 not you, ana@shop.example' } }, 'smtp helo 421 4.7.0', 'refused-us'],
    ['helo', { EHLO: 'hang' }, 'smtp helo ETIMEDOUT', 'refused-us'],
    ['helo', { EHLO: 'drop' }, 'smtp helo ECONN(ECTION|RESET)', 'refused-us'],
    ['auth', { AUTH: '535 5.7.8 no such user ana@shop.example' }, 'smtp auth 535 5.7.8', 'refused-us'],
    ['auth', { AUTH: '454 4.7.0 later' }, 'smtp auth 454 4.7.0', 'refused-us'],
    ['auth', { AUTH: { last: '421 4.7.0 bye' } }, 'smtp auth 421 4.7.0', 'refused-us'],
    ['auth', { AUTH: 'hang' }, 'smtp auth ETIMEDOUT', 'refused-us'],
    ['auth', { AUTH: 'drop' }, 'smtp auth ECONN(ECTION|RESET)', 'refused-us'],
  ];
  test.each(wrongs)('P5 a refusal in %s (%j) tells codes only: %s', async (phase, script, message, verdict) => {
    const server = await faulty(script);
    const options = message.includes('ETIMEDOUT') ? { connectTimeoutMs: 1_500 } : {};
    const carrier = carrierTo(`smtp://ana%40shop.example:secret@127.0.0.1:${server.port}`, options);
    const refusal = await refusalOf(carrier.acquire(never()));
    expect(refusal.message).toMatch(new RegExp(`^${message}$`));
    expect(refusal).toMatchObject({ phase, judgement: { verdict, severity: 'soft' } });
    expect(`${refusal.stack} ${JSON.stringify(refusal)}`).not.toMatch(/ana@shop|secret|@shop\.example/);
    expect(carrier.stats()).toMatchObject({ inUse: 0, idle: 0 });
  });

  test('nobody listens', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    server.close();
    await once(server, 'close');
    const refusal = await refusalOf(carrierTo(`smtp://127.0.0.1:${port}`).acquire(never()));
    expect(refusal.message).toBe('smtp connect ECONNREFUSED');
    expect(refusal).toMatchObject({
      phase: 'connect',
      code: null,
      judgement: { cause: 'network', verdict: 'refused-us' },
    });
  });

  test('implicit TLS, with a certificate that is not trusted unless told', async () => {
    const server = await real({ secure: true, secured: false });
    const url = `smtps://127.0.0.1:${server.port}`;
    const refusal = await refusalOf(carrierTo(url).acquire(never()));
    expect(refusal.message).toMatch(/^smtp tls [A-Z_]*(CERT|SIGNATURE)[A-Z_]*$/);
    const link = await carrierTo(url, { tls: { rejectUnauthorized: false } }).acquire(never());
    expect(link.connection.secure).toBe(true);
    expect((await send(link)).kind).toBe('accepted');
    link.release();
  });

  // 0.0.0.0 reaches this machine and is not loopback by name: it stands for a server elsewhere.
  test('STARTTLS or nothing with a server that is not on loopback', async () => {
    const server = await real({ onAuth: (auth, _session, done) => done(null, { user: auth.username ?? '' }) });
    const link = await carrierTo(`smtp://ana:secret@0.0.0.0:${server.port}`, {
      tls: { rejectUnauthorized: false },
    }).acquire(never());
    expect(link.connection.secure).toBe(true);
    expect((await send(link)).kind).toBe('accepted');
    link.release();

    const plain = await faulty({ AUTH: '235 2.7.0 Ok' });
    const refusal = await refusalOf(carrierTo(`smtp://ana:secret@0.0.0.0:${plain.port}`).acquire(never()));
    expect(refusal.message).toBe('smtp tls 500 5.5.2');
    expect(plain.commands.some((command) => command.startsWith('AUTH'))).toBe(false);
  });

  test('in the clear with another machine only where the URL says so, and never with a password', async () => {
    const plain = await faulty({});
    const link = await carrierTo(`smtp://0.0.0.0:${plain.port}?ignoreTLS=true`).acquire(never());
    expect((await send(link)).kind).toBe('accepted');
    link.release();
    expect(() => createCarrier({ url: `smtp://ana:secret@mail.example:25?ignoreTLS=true` })).toThrow('in the clear');
  });

  test('a certificate for another name is refused, however trusted; with STARTTLS too', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    // Made out to another host, and its own authority.
    const cert = selfSigned(privateKey, [new Date(Date.now() - 86_400_000), new Date(Date.now() + 86_400_000)]);
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
    for (const [secure, url] of [
      [true, 'smtps://127.0.0.1'],
      [false, 'smtp://0.0.0.0'],
    ] as const) {
      const server = await real({ secure, key, cert });
      const to = `${url}:${server.port}`;
      const refusal = await refusalOf(carrierTo(to, { tls: { ca: [cert] } }).acquire(never()));
      expect(refusal.message).toBe('smtp tls ERR_TLS_CERT_ALTNAME_INVALID');
      expect((await refusalOf(carrierTo(to).acquire(never()))).message).toMatch(/^smtp tls [A-Z_]*(CERT|SIGNATURE)/);
      const link = await carrierTo(to, { tls: { ca: [cert], servername: 'sns.amazonaws.com' } }).acquire(never());
      expect((await send(link)).kind).toBe('accepted');
      link.release();
      expect(server.messages).toHaveLength(1);
    }
  });

  test('a STARTTLS that is offered and then refused ends the session', async () => {
    const server = await faulty({ EHLO: '250-faulty.example\r\n250-STARTTLS\r\n250 8BITMIME' });
    const refusal = await refusalOf(carrierTo(`smtp://0.0.0.0:${server.port}`).acquire(never()));
    expect(refusal).toMatchObject({ phase: 'tls', judgement: { verdict: 'refused-us' } });
    expect(server.commands.map((command) => command.slice(0, 4))).toEqual(['EHLO', 'STAR']);
  });

  test.each([
    'mail.example',
    'http://mail.example',
    'smtp://',
    'smtp://ana:@mail.example',
    'smtp://ana:%zz@mail.example',
  ])('a URL that is no good is refused without quoting it: %s', (url) => {
    expect(() => createCarrier({ url })).toThrow(TypeError);
    expect(() => createCarrier({ url })).toThrow(/^(?!.*(ana|mail\.example)).*SMTP URL/);
  });
});

describe('logging in by access token (XOAUTH2)', () => {
  /** A token endpoint that counts; `token-1`, `token-2` … */
  async function tokenEndpoint(answer: (n: number) => object | null = (n) => ({ access_token: `token-${n}` })) {
    const endpoint = { requests: 0, tokenUrl: '' };
    const server = createHttpServer((_request, response) => {
      const body = answer(++endpoint.requests);
      response.writeHead(body === null ? 400 : 200).end(JSON.stringify(body ?? { error: 'invalid_grant' }));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    endpoint.tokenUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    closing.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return endpoint;
  }
  const closing: Array<() => void> = [];
  afterEach(() => {
    for (const close of closing.splice(0)) close();
  });

  const oauth2 = (tokenUrl: string) => ({
    tokenUrl,
    clientId: 'client-1',
    clientSecret: 's3cret',
    refreshToken: 'refresh-1',
    scope: null,
  });

  /** A real server that takes these tokens only. */
  async function tokenServer(good: Set<string>) {
    const logins: unknown[] = [];
    const server = await real({
      authOptional: false,
      allowInsecureAuth: true,
      authMethods: ['XOAUTH2', 'PLAIN'],
      onAuth(auth, _session, done) {
        logins.push([auth.method, auth.username, auth.accessToken]);
        if (auth.accessToken !== undefined && good.has(auth.accessToken)) return done(null, { user: 'ana' });
        done(null, { data: { status: '401', schemes: 'bearer mac', scope: 'https://mail.example/' } });
      },
    });
    return { server, logins, url: `smtp://ana%40shop.example@127.0.0.1:${server.port}` };
  }

  test('with the user of the URL; five connections ask for one token', async () => {
    const endpoint = await tokenEndpoint();
    const { url, logins, server } = await tokenServer(new Set(['token-1']));
    const carrier = carrierTo(url, { oauth2: oauth2(endpoint.tokenUrl) });
    const links = await Promise.all([1, 2, 3, 4, 5].map(() => carrier.acquire(never())));
    for (const link of links) {
      expect((await send(link)).kind).toBe('accepted');
      link.release();
    }
    expect(logins).toEqual(Array.from({ length: 5 }, () => ['XOAUTH2', 'ana@shop.example', 'token-1']));
    expect(server.messages).toHaveLength(5);
    expect(endpoint.requests).toBe(1);
  });

  test('a token that is refused (334 with the reason, then 535) is replaced by a fresh one, once', async () => {
    const endpoint = await tokenEndpoint();
    const { url, logins } = await tokenServer(new Set(['token-2']));
    const carrier = carrierTo(url, { oauth2: oauth2(endpoint.tokenUrl) });
    const link = await carrier.acquire(never());
    expect((await send(link)).kind).toBe('accepted');
    link.release();
    expect(logins.map((login) => (login as unknown[])[2])).toEqual(['token-1', 'token-2']);
    expect(carrier.stats()).toMatchObject({ opened: 1, inUse: 0, idle: 1 });
  });

  test('P5 a fresh one that is refused too is a refusal of us, in codes only, and is not kept', async () => {
    const endpoint = await tokenEndpoint();
    const { url, logins } = await tokenServer(new Set(['token-3']));
    const carrier = carrierTo(url, { oauth2: oauth2(endpoint.tokenUrl) });
    const refusal = await refusalOf(carrier.acquire(never()));
    expect(refusal.message).toMatch(/^smtp auth 535( 5\.7\.\d)?$/);
    expect(refusal.judgement).toMatchObject({ verdict: 'refused-us', cause: 'us' });
    expect(logins).toHaveLength(2);
    (await carrier.acquire(never())).release();
    expect(endpoint.requests).toBe(3);
  });

  test('a server that answers 535 at once and hangs up, as Microsoft does', async () => {
    const endpoint = await tokenEndpoint();
    const server = await faulty({ AUTH: { last: '535 5.7.3 Authentication unsuccessful [ana@shop.example]' } });
    const carrier = carrierTo(`smtp://ana@127.0.0.1:${server.port}`, { oauth2: oauth2(endpoint.tokenUrl) });
    const refusal = await refusalOf(carrier.acquire(never()));
    expect(refusal.message).toBe('smtp auth 535 5.7.3');
    expect(server.connections).toBe(2);
    expect(endpoint.requests).toBe(2);
    const sent = server.commands.filter((command) => command.startsWith('AUTH'));
    expect(sent.map((command) => Buffer.from(command.slice('AUTH XOAUTH2 '.length), 'base64').toString())).toEqual([
      'user=ana\u0001auth=Bearer token-1\u0001\u0001',
      'user=ana\u0001auth=Bearer token-2\u0001\u0001',
    ]);
  });

  test('any other refusal is not the token’s fault', async () => {
    const endpoint = await tokenEndpoint();
    const server = await faulty({ AUTH: '454 4.7.0 later' });
    const carrier = carrierTo(`smtp://ana@127.0.0.1:${server.port}`, { oauth2: oauth2(endpoint.tokenUrl) });
    expect((await refusalOf(carrier.acquire(never()))).message).toBe('smtp auth 454 4.7.0');
    expect((await refusalOf(carrier.acquire(never()))).message).toBe('smtp auth 454 4.7.0');
    expect(endpoint.requests).toBe(1);
  });

  test('no token is to be had: refused before the server is spoken to', async () => {
    const endpoint = await tokenEndpoint(() => null);
    const server = await faulty({});
    const carrier = carrierTo(`smtp://ana@127.0.0.1:${server.port}`, { oauth2: oauth2(endpoint.tokenUrl) });
    const refusal = await refusalOf(carrier.acquire(never()));
    expect(refusal.message).toBe('smtp auth oauth2 400 invalid_grant');
    expect(refusal.judgement).toMatchObject({ verdict: 'refused-us', cause: 'us', rule: 'no-access-token' });
    expect(server.connections).toBe(0);
    expect(carrier.stats()).toMatchObject({ inUse: 0 });
  });

  test('a password is never shown as a token', async () => {
    const server = await faulty({ EHLO: '250-faulty.example\r\n250 AUTH XOAUTH2', AUTH: '535 5.7.8 no' });
    await refusalOf(carrierTo(`smtp://ana:secret@127.0.0.1:${server.port}`).acquire(never()));
    expect(server.commands.filter((command) => command.startsWith('AUTH XOAUTH2'))).toEqual([]);
  });

  test.each([
    ['smtp://mail.example', 'a user and no password'],
    ['smtp://ana:secret@mail.example', 'a user and no password'],
    ['smtp://ana@mail.example?ignoreTLS=true', 'in the clear'],
  ])('%s is no good with it', (url, why) => {
    expect(() => createCarrier({ url, oauth2: oauth2('https://login.example/token') })).toThrow(why);
  });

  test('and a user without a password is no good without it', () => {
    expect(() => createCarrier({ url: 'smtp://ana@mail.example' })).toThrow('both a user and a password');
  });
});
