import { type Carrier, type CarrierOptions, createCarrier } from '../../../mail/deliver/connections';
import { type Delivery, type DeliveryRequest, deliver } from '../../../mail/deliver/send';
import { type FaultyServer, faultyServer, type RealServer, realServer, type Script } from './smtp-servers';

const TO = 'maria.lopez@lead.example';
const RAW = Buffer.from('From: ana@shop.example\r\nSubject: Hola\r\n\r\n¿Aún me recuerda?\r\n');
const PIPELINING = '250-faulty.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES';

const open = { carriers: [] as Carrier[], servers: [] as Array<RealServer | FaultyServer> };

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

/** One delivery over the carrier; counts how often the gate was asked. */
async function send(
  carrier: Carrier,
  request: Partial<DeliveryRequest> = {},
): Promise<{ result: Delivery; asked: number }> {
  let asked = 0;
  const { gate = async () => true, ...rest } = request;
  const link = await carrier.acquire(new AbortController().signal);
  try {
    const result = await deliver(link, {
      from: 'bounces@shop.example',
      to: TO,
      raw: RAW,
      signal: new AbortController().signal,
      ...rest,
      gate: () => {
        asked++;
        return gate();
      },
    });
    return { result, asked };
  } finally {
    link.release();
  }
}

describe('a message that goes out', () => {
  test('is accepted, with the queue id and codes, and the gate is asked once', async () => {
    const server = await real();
    const { result, asked } = await send(carrierTo(server.url));
    expect(result).toEqual({
      kind: 'accepted',
      code: 250,
      enhanced: '2.0.0',
      providerId: '4bQ9xY1TzQ',
      messageId: null,
    });
    expect(asked).toBe(1);
    expect(server.messages).toHaveLength(1);
    expect(server.messages[0]).toMatchObject({ from: 'bounces@shop.example', to: [TO] });
  });

  test('passes byte for byte: leading dots, 8-bit, long lines, binary-looking octets', async () => {
    const server = await real({ size: 1_000_000 });
    const octets = Buffer.from(
      Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 10 && byte !== 13),
    );
    const raw = Buffer.concat([
      Buffer.from('Subject: =?utf-8?q?=C2=BFA=C3=BAn=3F?=\r\n\r\n.\r\n..\r\n.hola\r\n...\r\nfin.\r\n\r\n.\r\nñ €\r\n'),
      octets,
      Buffer.from(`\r\n${'x'.repeat(300_000)}\r\n.\r\n`),
    ]);
    const { result } = await send(carrierTo(server.url), { raw });
    expect(result.kind).toBe('accepted');
    expect(server.messages[0]?.body.equals(raw)).toBe(true);
    expect(server.messages[0]?.args).toMatchObject({ BODY: '8BITMIME', SIZE: String(raw.length) });
  });

  test('a bare LF or CR, which SMTP has no room for, becomes CRLF and cannot end the message early', async () => {
    const server = await real();
    const raw = Buffer.from('Subject: x\n\nuno\n.\ndos\r.\rtres\n');
    await send(carrierTo(server.url), { raw });
    expect(server.messages).toHaveLength(1);
    expect(server.messages[0]?.body.toString()).toBe('Subject: x\r\n\r\nuno\r\n.\r\ndos\r\n.\r\ntres\r\n');
  });

  test('200 deliveries at once share 5 connections, each message arriving once', async () => {
    const server = await real();
    const carrier = carrierTo(server.url, { maxConnections: 5 });
    const results = await Promise.all(
      Array.from({ length: 200 }, (_, n) =>
        send(carrier, { to: `lead${n}@lead.example`, raw: Buffer.from(`Subject: ${n}\r\n\r\n${n}\r\n`) }),
      ),
    );
    expect(results.filter(({ result }) => result.kind === 'accepted')).toHaveLength(200);
    expect(results.every(({ asked }) => asked === 1)).toBe(true);
    expect(new Set(server.messages.map(({ to, body }) => `${to[0]} ${body}`)).size).toBe(200);
    expect(server.messages).toHaveLength(200);
    expect(server.mostAtOnce).toBeLessThanOrEqual(5);
    expect(server.connections).toBe(5);
  });
});

describe('the gate', () => {
  test.each([
    ['without pipelining', {}],
    ['with pipelining', { EHLO: PIPELINING }],
  ])('P2 is asked after 354 and before the first byte of the body, %s', async (_how, script) => {
    const server = await faulty(script);
    let atGate: { commands: string[]; bytes: number } | undefined;
    const { result } = await send(carrierTo(server.url), {
      gate: async () => {
        // The server has said 354 and is listening: give bytes every chance to arrive.
        await server.seen('DATA');
        for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
        atGate = { commands: server.commands.map((command) => command.slice(0, 4)), bytes: server.partial.length };
        return true;
      },
    });
    expect(atGate).toEqual({ commands: ['EHLO', 'MAIL', 'RCPT', 'DATA'], bytes: 0 });
    expect(result.kind).toBe('accepted');
    expect(server.complete).toHaveLength(1);
  });

  test('P2 a gate that refuses leaves the server without a message', async () => {
    const server = await real();
    const carrier = carrierTo(server.url, { maxConnections: 4 });
    const results = await Promise.all(
      Array.from({ length: 60 }, (_, n) =>
        send(carrier, { to: `lead${n}@lead.example`, gate: async () => n % 3 === 0 }),
      ),
    );
    expect(results.filter(({ result }) => result.kind === 'accepted')).toHaveLength(20);
    expect(results.filter(({ result }) => result.kind === 'withdrawn')).toHaveLength(40);
    const arrived = server.messages.map(({ to }) => Number(to[0]?.replace(/\D/g, '')));
    expect(arrived.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n * 3));
  });

  test('P2 not one byte of a withdrawn body leaves, and its connection is not used again', async () => {
    const server = await faulty({});
    const carrier = carrierTo(server.url);
    expect((await send(carrier, { gate: async () => false })).result).toEqual({ kind: 'withdrawn' });
    await server.seen('close');
    expect(server.partial).toHaveLength(0);
    expect(server.complete).toHaveLength(0);
    expect(carrier.stats()).toMatchObject({ idle: 0, inUse: 0 });
    expect((await send(carrier)).result.kind).toBe('accepted');
    expect(server.connections).toBe(2);
  });

  test.each([
    ['rejects', () => Promise.reject(new Error('no database'))],
    [
      'throws',
      () => {
        throw new Error('no database');
      },
    ],
  ])('a gate that %s hands nothing over', async (_how, gate) => {
    const server = await faulty({});
    const { result } = await send(carrierTo(server.url), { gate });
    expect(result).toEqual({ kind: 'gate-failed', error: new Error('no database') });
    await server.seen('close');
    expect(server.partial).toHaveLength(0);
    expect(server.complete).toHaveLength(0);
  });

  test('a connection that dies while the gate is asked hands nothing over, and says that the gate had opened', async () => {
    const server = await faulty({});
    const carrier = carrierTo(server.url);
    const { result } = await send(carrier, {
      gate: async () => {
        for (const socket of server.sockets) socket.destroy();
        await server.seen('close');
        for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
        return true;
      },
    });
    expect(result).toEqual({ kind: 'unsent', phase: 'message', reason: 'connection-lost', gate: 'opened' });
    expect(server.complete).toHaveLength(0);
  });

  test('a gate that refuses or fails after the connection has died says so', async () => {
    const server = await faulty({});
    const dying = (then: () => Promise<boolean>) => async () => {
      for (const socket of server.sockets) socket.destroy();
      for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
      return then();
    };
    const carrier = carrierTo(server.url);
    expect((await send(carrier, { gate: dying(async () => false) })).result).toEqual({ kind: 'withdrawn' });
    const failed = await send(carrier, { gate: dying(() => Promise.reject(new Error('gone'))) });
    expect(failed.result).toEqual({ kind: 'gate-failed', error: new Error('gone') });
  });
});

describe('a server that says no', () => {
  const cases: Array<[string, Script, Partial<Extract<Delivery, { kind: 'refused' }>>, string]> = [
    ['MAIL', { MAIL: '550 5.7.1 go away' }, { phase: 'mail', code: 550, enhanced: '5.7.1' }, 'refused-us'],
    ['MAIL for now', { MAIL: '451 4.3.0 busy' }, { phase: 'mail', code: 451, enhanced: '4.3.0' }, 'refused-us'],
    ['RCPT', { RCPT: `550 5.1.1 <${TO}>: User unknown` }, { phase: 'rcpt', code: 550, enhanced: '5.1.1' }, 'bounced'],
    [
      'RCPT for now',
      { RCPT: `450 4.2.2 <${TO}> is full` },
      { phase: 'rcpt', code: 450, enhanced: '4.2.2' },
      'deferred',
    ],
    [
      'RCPT in many lines',
      { RCPT: `550-5.1.1 <${TO}>\r\n550 5.1.1 no such user` },
      { phase: 'rcpt', code: 550, enhanced: '5.1.1' },
      'bounced',
    ],
    [
      'RCPT with 421',
      { RCPT: { last: '421 4.7.0 slow down' } },
      { phase: 'rcpt', code: 421, enhanced: '4.7.0' },
      'refused-us',
    ],
    [
      'MAIL with 421',
      { MAIL: { last: '421 4.3.2 shutting down' } },
      { phase: 'mail', code: 421, enhanced: '4.3.2' },
      'refused-us',
    ],
    ['DATA', { DATA: '554 5.5.1 no valid recipients' }, { phase: 'data', code: 554, enhanced: '5.5.1' }, 'rejected'],
    ['DATA with 421', { DATA: { last: '421 bye' } }, { phase: 'data', code: 421, enhanced: null }, 'refused-us'],
  ];

  test.each(
    cases.flatMap(([name, script, expected, verdict]) => [
      [name, 'one by one', script, expected, verdict] as const,
      [name, 'pipelined', { ...script, EHLO: PIPELINING }, expected, verdict] as const,
    ]),
  )('%s, %s: refused in that phase, gate not asked', async (_name, how, script, expected, verdict) => {
    const server = await faulty(script);
    // A server that has refused the envelope refuses the DATA that was pipelined behind it.
    if (how === 'pipelined' && server.script.DATA === undefined) server.script.DATA = '503 5.5.1 no';
    const { result, asked } = await send(carrierTo(server.url));
    expect(result).toMatchObject({ kind: 'refused', ...expected, judgement: { verdict } });
    expect(asked).toBe(0);
    expect(JSON.stringify(result)).not.toContain('maria');
    expect(server.complete).toHaveLength(0);
  });

  test('a server that takes DATA although it refused the only recipient gets no body and no gate', async () => {
    const server = await faulty({ EHLO: PIPELINING, RCPT: '550 5.1.1 no such user' });
    const { result, asked } = await send(carrierTo(server.url));
    expect(result).toMatchObject({ kind: 'refused', phase: 'rcpt', judgement: { verdict: 'bounced' } });
    expect(asked).toBe(0);
    expect(server.complete).toEqual([Buffer.alloc(0)]);
  });

  test.each([
    ['550 5.7.1 message looks like spam', 'rejected', '5.7.1'],
    ['554 no', 'rejected', null],
    ['451 4.3.0 later', 'deferred', '4.3.0'],
    ['421 4.7.0 too fast', 'refused-us', '4.7.0'],
  ])('after the final dot: %s → %s', async (message, verdict, enhanced) => {
    const server = await faulty({ message });
    const { result, asked } = await send(carrierTo(server.url));
    expect(result).toMatchObject({ kind: 'refused', phase: 'message', enhanced, judgement: { verdict } });
    expect(asked).toBe(1);
  });

  test('in the middle of the body', async () => {
    const server = await faulty({ firstBytes: { last: '552 5.3.4 too much' } });
    const { result } = await send(carrierTo(server.url), {
      raw: Buffer.alloc(4_000_000, 'x'.repeat(70).concat('\r\n')),
    });
    expect(result).toMatchObject({ kind: 'refused', phase: 'message', code: 552, judgement: { cause: 'content' } });
  });

  test('while the gate is being asked: refused, and nothing goes out though the gate opens', async () => {
    const server = await faulty({});
    const { result } = await send(carrierTo(server.url), {
      gate: async () => {
        for (const socket of server.sockets) socket.end('421 4.4.2 timeout\r\n');
        await server.seen('close');
        return true;
      },
    });
    expect(result).toMatchObject({
      kind: 'refused',
      phase: 'message',
      code: 421,
      judgement: { verdict: 'refused-us' },
    });
    expect(server.complete).toHaveLength(0);
    expect(server.partial).toHaveLength(0);
  });

  test('a real server that refuses recipients, then takes the next one', async () => {
    const server = await real({
      onRcptTo: (address, _session, done) =>
        address.address.startsWith('nobody')
          ? done(Object.assign(new Error('5.1.1 no such user'), { responseCode: 550 }))
          : done(),
    });
    const carrier = carrierTo(server.url, { maxConnections: 1 });
    const refused = await send(carrier, { to: 'nobody@lead.example' });
    expect(refused).toMatchObject({
      asked: 0,
      result: { kind: 'refused', phase: 'rcpt', judgement: { verdict: 'bounced' } },
    });
    expect((await send(carrier)).result.kind).toBe('accepted');
  });
});

describe('a connection that dies', () => {
  test.each([
    ['at MAIL', { MAIL: 'drop' }],
    ['at RCPT', { RCPT: 'drop' }],
    ['at DATA', { DATA: 'drop' }],
  ] as Array<[string, Script]>)('%s: unsent, safe to retry, gate not asked', async (_when, script) => {
    for (const extra of [{}, { EHLO: PIPELINING }]) {
      const server = await faulty({ ...script, ...extra });
      const { result, asked } = await send(carrierTo(server.url));
      expect(result).toMatchObject({ kind: 'unsent', reason: 'connection-lost', gate: 'not-asked' });
      expect(asked).toBe(0);
    }
  });

  test.each([
    ['in the middle of the body', { firstBytes: 'drop' }],
    ['after the final dot', { message: 'drop' }],
  ] as Array<[string, Script]>)('P3 %s: unknown', async (_when, script) => {
    const server = await faulty(script);
    const { result, asked } = await send(carrierTo(server.url), {
      raw: Buffer.alloc(2_000_000, 'x'.repeat(70).concat('\r\n')),
    });
    expect(result).toEqual({ kind: 'unknown', reason: 'connection-lost' });
    expect(asked).toBe(1);
  });

  test('P3 half a line after the final dot is no answer', async () => {
    const server = await faulty({ message: 'hang' });
    const sending = send(carrierTo(server.url));
    await server.seen('message');
    for (const socket of server.sockets) socket.end('550 5.7.1 messa');
    expect((await sending).result).toEqual({ kind: 'unknown', reason: 'connection-lost' });
  });

  test('before the first command: unsent', async () => {
    const server = await faulty({});
    const carrier = carrierTo(server.url);
    const link = await carrier.acquire(new AbortController().signal);
    for (const socket of server.sockets) socket.destroy();
    const gate = jest.fn(async () => true);
    const result = await deliver(link, {
      from: 'a@shop.example',
      to: TO,
      raw: RAW,
      gate,
      signal: new AbortController().signal,
    });
    link.release();
    expect(result).toMatchObject({ kind: 'unsent', reason: 'connection-lost' });
    expect(gate).not.toHaveBeenCalled();
    expect((await send(carrier)).result.kind).toBe('accepted');
  });
});

describe('deadline and abort', () => {
  test.each(['MAIL', 'RCPT', 'DATA'] as const)('a server that hangs at %s: unsent at the deadline', async (phase) => {
    const server = await faulty({ [phase]: 'hang' });
    const { result, asked } = await send(carrierTo(server.url), { deadlineMs: 60 });
    expect(result).toMatchObject({ kind: 'unsent', reason: 'deadline' });
    expect(asked).toBe(0);
  });

  test('P3 a server that hangs after the final dot: unknown at the deadline', async () => {
    const server = await faulty({ message: 'hang' });
    const { result } = await send(carrierTo(server.url), { deadlineMs: 2_000 });
    expect(result).toEqual({ kind: 'unknown', reason: 'deadline' });
    expect(server.complete).toHaveLength(1);
  });

  test.each(['MAIL', 'RCPT', 'DATA'] as const)('an abort at %s: unsent', async (phase) => {
    const server = await faulty({ [phase]: 'hang' });
    const abort = new AbortController();
    const carrier = carrierTo(server.url);
    const sending = send(carrier, { signal: abort.signal });
    await server.seen(phase);
    abort.abort();
    const { result, asked } = await sending;
    expect(result).toMatchObject({ kind: 'unsent', reason: 'aborted', gate: 'not-asked' });
    expect(asked).toBe(0);
    await server.seen('close');
    expect(carrier.stats()).toMatchObject({ idle: 0, inUse: 0 });
  });

  test('an abort that was there before the start says nothing to the server', async () => {
    const server = await faulty({});
    const { result } = await send(carrierTo(server.url), { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ kind: 'unsent', reason: 'aborted' });
    expect(server.commands.map((command) => command.slice(0, 4))).toEqual(['EHLO']);
  });

  test('P2 an abort while the gate is asked hands nothing over, whatever the gate says then', async () => {
    const server = await faulty({});
    const abort = new AbortController();
    const { result } = await send(carrierTo(server.url), {
      signal: abort.signal,
      gate: async () => {
        abort.abort();
        return true;
      },
    });
    expect(result).toEqual({ kind: 'unsent', phase: 'message', reason: 'aborted', gate: 'opened' });
    await server.seen('close');
    expect(server.partial).toHaveLength(0);
    expect(server.complete).toHaveLength(0);
  });

  test('P3 an abort after the gate changes nothing: the answer that arrives counts', async () => {
    const server = await faulty({ message: 'hang' });
    const abort = new AbortController();
    const carrier = carrierTo(server.url);
    const sending = send(carrier, { signal: abort.signal });
    await server.seen('message');
    abort.abort();
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    for (const socket of server.sockets) socket.write('250 2.0.0 Ok: queued as LATE12345\r\n');
    expect((await sending).result).toMatchObject({ kind: 'accepted', providerId: 'LATE12345' });
    expect(carrier.stats().idle).toBe(1);
  });

  test('slow answers are waited for', async () => {
    const server = await faulty({ MAIL: 'hang', RCPT: 'hang', DATA: 'hang', message: 'hang' });
    const sending = send(carrierTo(server.url));
    const say = (line: string) => {
      for (const socket of server.sockets) socket.write(line);
    };
    await server.seen('MAIL');
    say('250 2.1');
    await new Promise(setImmediate);
    say('.0 Ok\r\n');
    await server.seen('RCPT');
    say('250-2.1.5 one moment\r\n');
    await new Promise(setImmediate);
    server.script.DATA = '354 now';
    say('250 2.1.5 Ok\r\n');
    await server.seen('message');
    say('250 OK id=1tXyzA-000abc-1B\r\n');
    expect((await sending).result).toMatchObject({ kind: 'accepted', enhanced: null, providerId: '1tXyzA-000abc-1B' });
  });
});

describe('delivery reports (RFC 3461)', () => {
  const DSN = '250-faulty.example\r\n250-8BITMIME\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES';
  const envelope = (server: FaultyServer) => server.commands.filter((command) => /^(MAIL|RCPT)/.test(command));

  test('are asked for where the server knows how: ENVID, headers only, failures and delays, the address as we had it', async () => {
    for (const EHLO of [DSN, DSN.replace('250-DSN', '250-PIPELINING\r\n250-DSN')]) {
      const server = await faulty({ EHLO });
      const { result } = await send(carrierTo(server.url), { envelopeId: 'abc234', to: 'maria+shop=x@lead.example' });
      expect(result.kind).toBe('accepted');
      expect(envelope(server)).toEqual([
        'MAIL FROM:<bounces@shop.example> BODY=8BITMIME RET=HDRS ENVID=abc234',
        // xtext: `+` and `=` are written as hex (section 4).
        'RCPT TO:<maria+shop=x@lead.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;maria+2Bshop+3Dx@lead.example',
      ]);
    }
  });

  test('a server that takes them hands them on', async () => {
    const seen: Array<Record<string, unknown>> = [];
    const server = await real({
      hideDSN: false,
      onRcptTo(address, session, done) {
        seen.push({ ...session.envelope.dsn, ...address.dsn });
        done();
      },
    });
    expect((await send(carrierTo(server.url), { envelopeId: 'abc234' })).result.kind).toBe('accepted');
    expect(seen).toEqual([{ ret: 'HDRS', envid: 'abc234', notify: ['FAILURE', 'DELAY'], orcpt: `rfc822;${TO}` }]);
  });

  test('the ENVID can not break out of the command', async () => {
    const server = await faulty({ EHLO: DSN });
    await send(carrierTo(server.url), { envelopeId: 'a b>\r\nRCPT TO:<eve@evil.example' });
    expect(envelope(server)).toHaveLength(2);
    expect(envelope(server)[0]).toContain('ENVID=a+20b>+0D+0ARCPT+20TO:<eve@evil.example');
  });

  test.each<[string, Script, Partial<DeliveryRequest>]>([
    ['a server that does not know how', {}, { envelopeId: 'abc234' }],
    ['a message without an ENVID', { EHLO: DSN }, {}],
    [
      'an address that ORCPT has no room for',
      { EHLO: DSN.replace('250-DSN', '250-SMTPUTF8\r\n250-DSN') },
      { envelopeId: 'abc234', to: 'begoña@lead.example' },
    ],
  ])('not of %s', async (_what, script, request) => {
    const server = await faulty(script);
    expect((await send(carrierTo(server.url), request)).result.kind).toBe('accepted');
    expect(envelope(server)).toHaveLength(2);
    expect(envelope(server).join(' ')).not.toMatch(/RET=|ENVID=|NOTIFY=|ORCPT=/);
  });
});

describe('what a server cannot be given', () => {
  test('an address outside ASCII goes with SMTPUTF8 where the server knows it', async () => {
    const server = await real();
    const { result } = await send(carrierTo(server.url), { to: 'begoña@lead.example' });
    expect(result.kind).toBe('accepted');
    expect(server.messages[0]?.to).toEqual(['begoña@lead.example']);
    expect(server.messages[0]?.args).toHaveProperty('SMTPUTF8');
  });

  test('and is refused without a word where it does not; nobody is suppressed', async () => {
    const server = await real({ hideSMTPUTF8: true });
    const carrier = carrierTo(server.url);
    const { result, asked } = await send(carrier, { to: 'begoña@lead.example' });
    expect(result).toMatchObject({
      kind: 'refused',
      phase: 'rcpt',
      code: null,
      judgement: { verdict: 'rejected', severity: 'soft', cause: 'address' },
    });
    expect(asked).toBe(0);
    expect(carrier.stats().idle).toBe(1);
  });

  test('a domain outside ASCII needs no extension', async () => {
    const server = await real({ hideSMTPUTF8: true });
    expect((await send(carrierTo(server.url), { to: 'ana@señal.example' })).result.kind).toBe('accepted');
    expect(server.messages[0]?.to[0]).toMatch(/^ana@(xn--seal-hqa|señal)\.example$/);
  });

  test.each(['', 'ana', 'ana@x.example>\r\nRCPT TO:<eve@evil.example', 'ana\n@x.example'])(
    'an address that is none: %j',
    async (to) => {
      const server = await faulty({});
      const { result, asked } = await send(carrierTo(server.url), { to });
      expect(result).toMatchObject({
        kind: 'refused',
        phase: 'rcpt',
        judgement: { verdict: 'bounced', severity: 'hard' },
      });
      expect(asked).toBe(0);
      expect(server.commands.map((command) => command.slice(0, 4))).toEqual(['EHLO']);
    },
  );

  test('a message larger than the server takes', async () => {
    const server = await real({ size: 1_000 });
    const { result } = await send(carrierTo(server.url), { raw: Buffer.alloc(2_000, 'x') });
    expect(result).toMatchObject({ kind: 'refused', judgement: { verdict: 'rejected', cause: 'content' } });
  });

  test('an 8-bit message for a 7-bit server is our mistake, and waits', async () => {
    const server = await real({ hide8BITMIME: true });
    const carrier = carrierTo(server.url);
    expect((await send(carrier)).result).toMatchObject({
      kind: 'refused',
      judgement: { verdict: 'refused-us', cause: 'us' },
    });
    expect((await send(carrier, { raw: Buffer.from('Subject: x\r\n\r\nx\r\n') })).result.kind).toBe('accepted');
  });
});
