import { ConfigError, readConfig } from '../config';

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

test('every fault is named, not only the first, and no value is quoted', () => {
  const faulty = {
    ...SOUND,
    DATABASE_URL: 'mysql://secret@localhost',
    TEMPORAL_ADDRESS: '',
    PORT: 'eighty',
    RECUERDA_SECRET: 'short',
    RECUERDA_ADDRESS_KEYS: '2:zz',
  };
  const read = () => readConfig(faulty);
  expect(read).toThrow(ConfigError);
  for (const name of ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'PORT', 'RECUERDA_SECRET', 'RECUERDA_ADDRESS_KEYS']) {
    expect(read).toThrow(name);
  }
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
