import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path, { join } from 'node:path';
import { ConfigError, deriveKey, readConfig } from '../config';
import { MAIL_TOKEN_LENGTH } from '../domain/mail-token';

const SOUND = {
  DATABASE_URL: 'postgres://localhost/recuerda',
  TEMPORAL_ADDRESS: 'localhost:7233',
  SMTP_URL: 'smtp://127.0.0.1:1025',
  RECUERDA_PUBLIC_URL: 'http://localhost:3000/',
  RECUERDA_SECRET: 'a'.repeat(64),
  RECUERDA_API_KEY: 'key-0123456789abcdef,another-0123456789',
};

test('what is set is read, what is not has its default, and nothing can change it', () => {
  const config = readConfig(SOUND);
  expect(config).toMatchObject({
    publicUrl: 'http://localhost:3000',
    temporalNamespace: 'default',
    port: 3000,
    timeFactor: 1,
    mailBlocked: null,
    apiKeys: ['key-0123456789abcdef', 'another-0123456789'],
  });
  expect(Object.isFrozen(config)).toBe(true);
});

test('a deployment has a name and a build, or is none', () => {
  const read = (name: string, build: string) =>
    readConfig({ ...SOUND, RECUERDA_DEPLOYMENT: name, RECUERDA_BUILD_ID: build });
  expect(read('', '').deployment).toBeNull();
  expect(read('recuerda', '0.2.0-3f2a9c1').deployment).toEqual({ name: 'recuerda', buildId: '0.2.0-3f2a9c1' });
  expect(() => read('recuerda', '')).toThrow('RECUERDA_BUILD_ID must be set together with RECUERDA_DEPLOYMENT');
  expect(() => read('', '0.2.0')).toThrow('RECUERDA_DEPLOYMENT must be set together with RECUERDA_BUILD_ID');
  // The engine keeps dots and colons to itself.
  expect(() => read('shop.mail', 'a')).toThrow('RECUERDA_DEPLOYMENT must be a name');
  expect(() => read('shop', 'a:b')).toThrow('RECUERDA_BUILD_ID must have');
});

test('traces are kept where a collector is named, as OpenTelemetry names it', () => {
  const read = (settings: Record<string, string>) => readConfig({ ...SOUND, ...settings }).tracing;
  expect(read({})).toBeNull();
  expect(read({ OTEL_SERVICE_NAME: 'shop', OTEL_EXPORTER_OTLP_ENDPOINT: '' })).toBeNull();
  expect(read({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/' })).toEqual({
    url: 'http://collector:4318/v1/traces',
    headers: {},
    serviceName: null,
    sampler: 'parentbased_always_on',
    ratio: 1,
  });
  expect(
    read({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://traces.example/in',
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20abc=, x-tenant = shop',
      OTEL_SERVICE_NAME: 'mail',
      OTEL_TRACES_SAMPLER: 'traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
    }),
  ).toEqual({
    url: 'https://traces.example/in',
    headers: { authorization: 'Bearer abc=', 'x-tenant': 'shop' },
    serviceName: 'mail',
    sampler: 'traceidratio',
    ratio: 0.25,
  });
  const faulty = {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'grpc://secret',
    OTEL_EXPORTER_OTLP_HEADERS: 'secret',
    OTEL_TRACES_SAMPLER: 'secret',
    OTEL_TRACES_SAMPLER_ARG: '2',
  };
  for (const name of Object.keys(faulty)) expect(() => read(faulty)).toThrow(name);
  expect(() => read(faulty)).not.toThrow('secret');
});

test('every fault is named, not only the first, and no value is quoted', () => {
  const faulty = {
    ...SOUND,
    DATABASE_URL: 'mysql://secret@localhost',
    TEMPORAL_ADDRESS: '',
    PORT: 'eighty',
    RECUERDA_SECRET: 'short',
    RECUERDA_ADDRESS_KEYS: '2:zz',
    WEBHOOK_SENDGRID_KEY: 'no key',
  };
  const read = () => readConfig(faulty);
  expect(read).toThrow(ConfigError);
  const named = ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'PORT', 'RECUERDA_SECRET', 'RECUERDA_ADDRESS_KEYS'];
  for (const name of [...named, 'WEBHOOK_SENDGRID_KEY']) expect(read).toThrow(name);
  expect(read).not.toThrow(/mysql|secret@|eighty/);
});

test.each([
  ['smtp://mail.shop.example:587', 'http://localhost:3000', true],
  ['smtp://mail.shop.example:587', 'http://127.0.0.1:3000', true],
  ['smtp://mail.shop.example:587', 'https://cartas.shop.example', false],
  ['smtp://127.0.0.1:1025', 'http://localhost:3000', false],
])('P13: mail through %s with links to %s: blocked %p', (smtp, publicUrl, blocked) => {
  const config = readConfig({ ...SOUND, SMTP_URL: smtp, RECUERDA_PUBLIC_URL: publicUrl });
  expect(config.mailBlocked !== null).toBe(blocked);
});

test('P6, P13: a newer key leaves what the secret gave in force', () => {
  const before = readConfig(SOUND);
  const after = readConfig({
    ...SOUND,
    RECUERDA_ADDRESS_KEYS: `2:${'ab'.repeat(16)}`,
    RECUERDA_TOKEN_KEYS: `3:${'cd'.repeat(16)}`,
  });
  expect(after.addressKeys).toEqual([
    { version: 2, secret: Buffer.from('ab'.repeat(16), 'hex') },
    ...before.addressKeys,
  ]);
  expect(after.tokenKeys).toEqual([{ version: 3, secret: Buffer.from('cd'.repeat(16), 'hex') }, ...before.tokenKeys]);
});

test('P6: without the secret a list stands alone', () => {
  const lists = { RECUERDA_ADDRESS_KEYS: `1:${'ab'.repeat(16)}`, RECUERDA_TOKEN_KEYS: `1:${'cd'.repeat(16)}` };
  const config = readConfig({ ...SOUND, RECUERDA_SECRET: '', ...lists });
  expect(config.addressKeys).toHaveLength(1);
});

test('P6, P13: the command in the docs gives what the secret gave, so that a secret that has leaked can be left behind', () => {
  const page = readFileSync(join(__dirname, '..', 'docs', 'versioning.md'), 'utf8');
  const [, code = ''] = /^node -e "([^"]+)"$/m.exec(page) ?? [];
  const printed = execFileSync(process.execPath, ['-e', code], {
    env: { RECUERDA_SECRET: SOUND.RECUERDA_SECRET },
    encoding: 'utf8',
  });
  const given = (purpose: string) => new RegExp(`^${purpose} (1:[0-9a-f]{64})$`, 'm').exec(printed)?.[1];
  const before = readConfig(SOUND);
  const after = readConfig({
    ...SOUND,
    RECUERDA_SECRET: '',
    RECUERDA_ADDRESS_KEYS: `2:${'ab'.repeat(32)},${given('address hashes')}`,
    RECUERDA_TOKEN_KEYS: `2:${'cd'.repeat(32)},${given('unsubscribe links')}`,
  });
  expect(after.addressKeys.slice(1)).toEqual(before.addressKeys);
  expect(after.tokenKeys.slice(1)).toEqual(before.tokenKeys);
});

/** The faults that this environment has; none if it is sound. */
function faultsOf(env: Record<string, string>): readonly string[] {
  try {
    readConfig({ ...SOUND, ...env });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.faults;
  }
}

const OAUTH2 = {
  SMTP_OAUTH2_TOKEN_URL: 'https://login.example/token',
  SMTP_OAUTH2_CLIENT_ID: 'client-1',
  SMTP_OAUTH2_CLIENT_SECRET: 'secret-1',
  SMTP_OAUTH2_REFRESH_TOKEN: 'refresh-1',
  SMTP_OAUTH2_SCOPE: 'mail',
};

describe('the streams', () => {
  test('share what is set for all of them', () => {
    const shared = { url: SOUND.SMTP_URL, connections: 5, oauth2: null, returnPath: null };
    expect(readConfig(SOUND).smtp).toEqual({ transactional: shared, requested: shared, marketing: shared });
    const { smtp } = readConfig({
      ...SOUND,
      RECUERDA_SMTP_CONNECTIONS: '9',
      RECUERDA_RETURN_PATH: 'bounces@shop.example',
    });
    for (const settings of Object.values(smtp)) {
      expect(settings).toMatchObject({ connections: 9, returnPath: 'bounces@shop.example' });
    }
  });

  test('and each may have its own server, connections and return path', () => {
    const { smtp } = readConfig({
      ...SOUND,
      SMTP_URL_TRANSACTIONAL: 'smtps://u:p@mail.example',
      RECUERDA_SMTP_CONNECTIONS_MARKETING: '20',
      RECUERDA_RETURN_PATH: 'bounces@shop.example',
      RECUERDA_RETURN_PATH_REQUESTED: 'bounces@info.shop.example',
      RECUERDA_PUBLIC_URL: 'https://cartas.shop.example',
    });
    expect(smtp.transactional).toMatchObject({ url: 'smtps://u:p@mail.example', connections: 5 });
    expect(smtp.requested).toMatchObject({ url: SOUND.SMTP_URL, returnPath: 'bounces@info.shop.example' });
    expect(smtp.marketing).toMatchObject({ connections: 20, returnPath: 'bounces@shop.example' });
  });

  test('P13: one stream that leaves this machine is enough for dead links to hold the mail', () => {
    const config = readConfig({ ...SOUND, SMTP_URL_MARKETING: 'smtp://u:p@mail.example' });
    expect(config.mailBlocked).toContain('RECUERDA_PUBLIC_URL');
  });

  test('each may do without what is set for all, once it has its own', () => {
    const own = { SMTP_URL_TRANSACTIONAL: 'smtp://1', SMTP_URL_REQUESTED: 'smtp://2', SMTP_URL_MARKETING: 'smtp://3' };
    expect(faultsOf({ SMTP_URL: '', ...own, RECUERDA_PUBLIC_URL: 'https://x.example' })).toEqual([]);
  });

  test.each([
    [{ SMTP_URL: '' }, 'SMTP_URL must be set'],
    [{ SMTP_URL: 'http://x' }, 'SMTP_URL must be a URL beginning with smtp:// or smtps://'],
    [{ SMTP_URL_MARKETING: 'nowhere' }, 'SMTP_URL_MARKETING must be a URL beginning with smtp:// or smtps://'],
    [{ RECUERDA_SMTP_CONNECTIONS: '0' }, 'RECUERDA_SMTP_CONNECTIONS must be a number from 1 to 100'],
    [{ RECUERDA_SMTP_CONNECTIONS_REQUESTED: '2.5' }, 'RECUERDA_SMTP_CONNECTIONS_REQUESTED must be a whole number'],
  ])('%j is a fault that is told once, by its own name', (env, fault) => {
    expect(faultsOf(env)).toEqual([fault]);
  });
});

describe('OAuth 2.0 for SMTP', () => {
  const url = 'smtp://ana%40shop.example@mail.example';
  const env = { SMTP_URL: url, RECUERDA_PUBLIC_URL: 'https://cartas.shop.example', ...OAUTH2 };

  test('is for URLs that name a user and no password', () => {
    const { smtp } = readConfig({ ...SOUND, ...env, SMTP_URL_TRANSACTIONAL: 'smtps://u:p@other.example' });
    expect(smtp.marketing.oauth2).toEqual({
      tokenUrl: 'https://login.example/token',
      clientId: 'client-1',
      clientSecret: 'secret-1',
      refreshToken: 'refresh-1',
      scope: 'mail',
    });
    expect(smtp.transactional.oauth2).toBeNull();
  });

  test('without a refresh token the client asks for itself; each stream may have a client of its own', () => {
    const { smtp } = readConfig({
      ...SOUND,
      ...env,
      SMTP_OAUTH2_REFRESH_TOKEN: '',
      SMTP_OAUTH2_SCOPE: '',
      SMTP_OAUTH2_CLIENT_ID_MARKETING: 'client-2',
    });
    expect(smtp.requested.oauth2).toMatchObject({ clientId: 'client-1', refreshToken: null, scope: null });
    expect(smtp.marketing.oauth2).toMatchObject({ clientId: 'client-2' });
  });

  test.each([
    [{ SMTP_OAUTH2_TOKEN_URL: '' }, 'SMTP_URL names a user without a password: it needs one, or SMTP_OAUTH2_TOKEN_URL'],
    [{ SMTP_OAUTH2_CLIENT_ID: '' }, 'SMTP_OAUTH2_CLIENT_ID must be set together with SMTP_OAUTH2_TOKEN_URL'],
    [{ SMTP_OAUTH2_TOKEN_URL: 'http://login.example' }, 'SMTP_OAUTH2_TOKEN_URL must be a URL beginning with https://'],
  ])('%j is a fault that is told once', (change, fault) => {
    expect(faultsOf({ ...env, ...change })).toEqual([fault]);
  });
});

describe('mailboxes of ours', () => {
  const longest = 'x'.repeat(63 - MAIL_TOKEN_LENGTH);

  test.each(['RECUERDA_RETURN_PATH', 'RECUERDA_REPLY_ADDRESS'])('%s leaves room for a token in 64 octets', (name) => {
    expect(faultsOf({ [name]: `${longest}@shop.example` })).toEqual([]);
    for (const bad of [`x${longest}@shop.example`, 'a+b@shop.example', 'nobody', 'Ana <a@b.example>']) {
      const [fault, ...others] = faultsOf({ [name]: bad });
      expect(others).toEqual([]);
      expect(fault).toContain(`${name} must be the address of a mailbox`);
      expect(fault).not.toContain(bad);
    }
  });

  test('operators are addresses', () => {
    expect(readConfig({ ...SOUND, RECUERDA_OPERATORS: 'a@b.example, c@d.example' }).operators).toEqual([
      'a@b.example',
      'c@d.example',
    ]);
    expect(faultsOf({ RECUERDA_OPERATORS: 'a@b.example,nobody' })).toEqual([
      'RECUERDA_OPERATORS must be one or more addresses, separated by commas',
    ]);
  });

  test('inboxes that are watched, by password or by access token', () => {
    const config = readConfig({
      ...SOUND,
      IMAP_URL: 'imaps://a:p@imap.example, imaps://b@imap.example?auth=oauth2',
      IMAP_OAUTH2_TOKEN_URL: 'https://login.example/token',
      IMAP_OAUTH2_CLIENT_ID: 'client-1',
    });
    expect(config.inboxes).toMatchObject([
      { url: 'imaps://a:p@imap.example', oauth2: null },
      { url: 'imaps://b@imap.example?auth=oauth2', oauth2: { clientId: 'client-1', refreshToken: null } },
    ]);
  });

  test.each([
    [{ IMAP_URL: 'smtp://a:p@imap.example' }, 'IMAP_URL must be one or more URLs'],
    [{ IMAP_URL: 'imaps://imap.example' }, 'IMAP_URL must be one or more URLs'],
    [{ IMAP_URL: 'imaps://b@imap.example?auth=oauth2' }, 'IMAP_OAUTH2_TOKEN_URL must be set'],
  ])('%j is a fault', (env, fault) => {
    expect(faultsOf(env)).toEqual([expect.stringContaining(fault)]);
  });
});

describe('DKIM keys', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'dkim-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  function keyFile(name: string, pem: string): string {
    const file = path.join(folder, name);
    writeFileSync(file, pem);
    return file;
  }
  const rsa = (modulusLength: number, type: 'pkcs1' | 'pkcs8') =>
    generateKeyPairSync('rsa', { modulusLength }).privateKey.export({ type, format: 'pem' }).toString();

  test('are read from files once, in either form of PEM, for several domains', () => {
    const [one, other] = [keyFile('one.pem', rsa(2048, 'pkcs8')), keyFile('other.pem', rsa(2048, 'pkcs1'))];
    const { dkimKeys } = readConfig({ ...SOUND, RECUERDA_DKIM_KEYS: `Shop.example:s1:${one}, b.example:s2:${other}` });
    expect(dkimKeys).toMatchObject([
      { domain: 'shop.example', selector: 's1' },
      { domain: 'b.example', selector: 's2' },
    ]);
    expect(dkimKeys.every(({ privateKey }) => privateKey.type === 'private')).toBe(true);
  });

  test('that are missing, weak or of another kind are faults, and neither key nor file is quoted', () => {
    const ed25519 = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const entries = [
      `weak.example:s1:${keyFile('weak.pem', rsa(1024, 'pkcs8'))}`,
      `ed.example:s1:${keyFile('ed.pem', ed25519)}`,
      `none.example:s1:${path.join(folder, 'none.pem')}`,
      `text.example:s1:${keyFile('text.pem', 'not a key')}`,
      'shop.example',
    ];
    const faults = faultsOf({ RECUERDA_DKIM_KEYS: entries.join(',') });
    expect(faults).toEqual([
      'RECUERDA_DKIM_KEYS: the key of weak.example must be RSA with 2048 bits or more',
      'RECUERDA_DKIM_KEYS: the key of ed.example must be RSA with 2048 bits or more',
      "RECUERDA_DKIM_KEYS: the key of none.example can't be read from its file as PEM",
      "RECUERDA_DKIM_KEYS: the key of text.example can't be read from its file as PEM",
      'RECUERDA_DKIM_KEYS must be a list such as shop.example:s1:/run/secrets/dkim.pem',
    ]);
  });
});

test('a secret may stand in a file, and not in both places', () => {
  const folder = mkdtempSync(join(tmpdir(), 'recuerda-config-'));
  const file = join(folder, 'secret');
  writeFileSync(file, `${SOUND.RECUERDA_SECRET}\n`);
  try {
    const { RECUERDA_SECRET: _, ...rest } = SOUND;
    expect(readConfig({ ...rest, RECUERDA_SECRET_FILE: file }).addressKeys).toEqual(readConfig(SOUND).addressKeys);
    expect(() => readConfig({ ...SOUND, RECUERDA_SECRET_FILE: file })).toThrow('RECUERDA_SECRET_FILE');
    expect(() => readConfig({ ...rest, RECUERDA_SECRET_FILE: join(folder, 'none') })).toThrow('RECUERDA_SECRET_FILE');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what is said of people and their data is read, and checked', () => {
  const { publicKey } = generateKeyPairSync('x25519');
  const x = publicKey.export({ format: 'jwk' }).x ?? '';
  const config = readConfig({
    ...SOUND,
    RECUERDA_EVIDENCE_PUBLIC_KEY: x,
    RECUERDA_FREQUENCY_CAP: '4/P30D',
    RECUERDA_RETENTION_RAW_MAIL: 'P1M',
    RECUERDA_CORS_ORIGINS: 'https://shop.example, https://www.shop.example',
    RECUERDA_TRUSTED_PROXIES: '10.0.0.0/8',
  });
  expect(config.evidencePublicKey?.asymmetricKeyType).toBe('x25519');
  expect(config.frequencyCap).toEqual({ mails: 4, within: 'P30D' });
  expect(config.retention).toEqual({ rawMail: 'P1M', unconfirmed: 'P7D', evidence: 'P3Y' });
  expect(config.corsOrigins).toEqual(['https://shop.example', 'https://www.shop.example']);
  expect(config.trustedProxies).toEqual(['10.0.0.0/8']);
  const faulty = {
    RECUERDA_EVIDENCE_PUBLIC_KEY: 'short',
    WEBHOOK_STANDARD_SECRET: 'whsec_c2hvcnQ=',
    RECUERDA_FREQUENCY_CAP: 'a few',
    RECUERDA_RETENTION_RAW_MAIL: '90 days',
    RECUERDA_CORS_ORIGINS: 'https://shop.example/path',
  };
  for (const [name, value] of Object.entries(faulty)) {
    expect(() => readConfig({ ...SOUND, [name]: value })).toThrow(name);
  }
});

test('derived keys differ by purpose, and stay when a newer token key is listed', () => {
  const { masterKey } = readConfig(SOUND);
  expect(deriveKey(masterKey, 'one')).not.toEqual(deriveKey(masterKey, 'another'));
  expect(readConfig({ ...SOUND, RECUERDA_TOKEN_KEYS: `3:${'cd'.repeat(16)}` }).masterKey).toEqual(masterKey);
  const listed = (tokens: string) =>
    readConfig({
      ...SOUND,
      RECUERDA_SECRET: '',
      RECUERDA_ADDRESS_KEYS: `1:${'ab'.repeat(16)}`,
      RECUERDA_TOKEN_KEYS: tokens,
    }).masterKey;
  const one = `1:${'cd'.repeat(16)}`;
  expect(listed(`2:${'ef'.repeat(16)},${one}`)).toEqual(listed(one));
});

test.each([
  ['10.0.0.0/8', true],
  ['127.0.0.1, 2001:db8::/32', true],
  ['0.0.0.0/0', false],
  ['::/0', false],
  ['10.0.0.0/33', false],
  ['10.0.0.0/8/8', false],
  ['10.0.0.0/', false],
  ['proxy.shop.example', false],
])('proxies %s are believed: %p', (value, sound) => {
  const read = () => readConfig({ ...SOUND, RECUERDA_TRUSTED_PROXIES: value });
  if (sound) expect(read().trustedProxies).toEqual(value.split(', '));
  else expect(read).toThrow('RECUERDA_TRUSTED_PROXIES');
});

describe('TLS to Temporal', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'recuerda-config-'));
    writeFileSync(join(dir, 'cert.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    writeFileSync(join(dir, 'key.pem'), '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n');
    writeFileSync(join(dir, 'api-key'), 'from a file\n');
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test('off by itself; on when asked for, and whenever something of it, or an API key, is set', () => {
    expect(readConfig(SOUND)).toMatchObject({ temporalTls: null, temporalApiKey: null });
    expect(readConfig({ ...SOUND, TEMPORAL_TLS: 'false' }).temporalTls).toBeNull();
    const plain = { serverCa: null, client: null, serverName: null };
    expect(readConfig({ ...SOUND, TEMPORAL_TLS: 'true' }).temporalTls).toEqual(plain);
    expect(readConfig({ ...SOUND, TEMPORAL_API_KEY_FILE: join(dir, 'api-key') })).toMatchObject({
      temporalTls: plain,
      temporalApiKey: 'from a file',
    });
    const cert = join(dir, 'cert.pem');
    const { temporalTls } = readConfig({
      ...SOUND,
      TEMPORAL_TLS_SERVER_CA_CERT_PATH: cert,
      TEMPORAL_TLS_CLIENT_CERT_PATH: cert,
      TEMPORAL_TLS_CLIENT_KEY_PATH: join(dir, 'key.pem'),
      TEMPORAL_TLS_SERVER_NAME: 'shop.tmprl.example',
    });
    expect(temporalTls).toMatchObject({ serverName: 'shop.tmprl.example', client: { key: expect.any(Buffer) } });
    expect(temporalTls?.serverCa?.toString()).toContain('BEGIN CERTIFICATE');
  });

  test.each([
    [{ TEMPORAL_TLS: 'yes' }, ['TEMPORAL_TLS must be true or false']],
    [
      { TEMPORAL_TLS: 'false', TEMPORAL_API_KEY: 'k' },
      ['TEMPORAL_API_KEY is never sent in the clear: leave TEMPORAL_TLS out'],
    ],
    [
      { TEMPORAL_TLS_SERVER_CA_CERT_PATH: '/nowhere.pem' },
      ['TEMPORAL_TLS_SERVER_CA_CERT_PATH names a file that can not be read'],
    ],
  ])('%j is refused', (env, expected) => {
    expect(faultsOf(env)).toEqual(expected);
  });

  test('a certificate without its key, a key in its place, and TLS that is off and wanted are refused', () => {
    const cert = join(dir, 'cert.pem');
    expect(faultsOf({ TEMPORAL_TLS_CLIENT_CERT_PATH: cert })).toEqual([
      expect.stringContaining('must be set together'),
    ]);
    const swapped = { TEMPORAL_TLS_CLIENT_CERT_PATH: join(dir, 'key.pem'), TEMPORAL_TLS_CLIENT_KEY_PATH: cert };
    expect(faultsOf(swapped)).toEqual([
      'TEMPORAL_TLS_CLIENT_CERT_PATH names a file that is no certificate in PEM',
      'TEMPORAL_TLS_CLIENT_KEY_PATH names a file that is no private key in PEM',
    ]);
    expect(faultsOf({ TEMPORAL_TLS: 'false', TEMPORAL_TLS_SERVER_NAME: 'x' })).toHaveLength(1);
  });
});
