import { createTokenSource } from '../../../mail/oauth2';
import { foldersToRead, imapErrorCode, LoginRefused, openImap } from '../../../mail/receive/imap';
import { parseImapUrl } from '../../../mail/receive/imap-url';
import { freePort } from '../../../stack/ports';
import { type FakeImap, type FakeImapOptions, startFakeImap } from './fake-imap';

let fake: FakeImap | undefined;
afterEach(async () => {
  await fake?.close();
  fake = undefined;
});

const never = new AbortController().signal;

async function open(options: FakeImapOptions, query = '', signal = never) {
  fake = await startFakeImap(options);
  return await openImap({ mailbox: parseImapUrl(`imap://ana:p@127.0.0.1:${fake.port}${query}`), tokens: null }, signal);
}

/** Tokens from a source that the test makes up. */
function tokens(...values: string[]) {
  const forgotten: (string | undefined)[] = [];
  return {
    forgotten,
    token: async () => values[Math.min(forgotten.length, values.length - 1)] as string,
    forget: (token?: string) => void forgotten.push(token),
  };
}

const OAUTH = { capabilities: ['IMAP4rev1', 'IDLE', 'AUTH=XOAUTH2', 'SASL-IR'] };
const tokenIn = (commands: readonly string[]) =>
  commands
    .filter((command) => command.startsWith('AUTHENTICATE XOAUTH2 '))
    .map((command) => Buffer.from(command.split(' ')[2] ?? '', 'base64').toString());

test('an access token is given as XOAUTH2, and no password is sent', async () => {
  fake = await startFakeImap(OAUTH);
  const mailbox = parseImapUrl(`imap://ana%40shop.example@127.0.0.1:${fake.port}?auth=oauth2`);
  const client = await openImap({ mailbox, tokens: tokens('t1') }, never);
  expect(tokenIn(fake.commands)).toEqual(['user=ana@shop.example\x01auth=Bearer t1\x01\x01']);
  expect(fake.commands.some((command) => /^(LOGIN|AUTHENTICATE PLAIN)/.test(command))).toBe(false);
  client.close();
});

test('a token that is refused is forgotten, and a fresh one tried once', async () => {
  let refused = 0;
  fake = await startFakeImap({
    ...OAUTH,
    answer: (command) =>
      command === 'AUTHENTICATE' && ++refused === 1 ? ['TAG NO [AUTHENTICATIONFAILED] Invalid credentials'] : undefined,
  });
  const mailbox = parseImapUrl(`imap://ana@127.0.0.1:${fake.port}?auth=oauth2`);
  const source = tokens('stale', 'fresh');
  const client = await openImap({ mailbox, tokens: source }, never);
  expect(source.forgotten).toEqual(['stale']);
  expect(tokenIn(fake.commands).map((text) => /Bearer (\w+)/.exec(text)?.[1])).toEqual(['stale', 'fresh']);
  client.close();
});

test('a provider that gives no token is told by its code', async () => {
  const source = createTokenSource({
    tokenUrl: `http://127.0.0.1:${await freePort()}/token`,
    clientId: 'c',
    clientSecret: 's',
    refreshToken: 'r',
    scope: null,
  });
  const mailbox = parseImapUrl('imap://ana@127.0.0.1:1?auth=oauth2');
  const error = await openImap({ mailbox, tokens: source }, never).catch((thrown: unknown) => thrown);
  expect([(error as Error).name, imapErrorCode(error)]).toEqual(['TokenRefusal', 'ECONNREFUSED']);
});

test.each([
  ['NO [AUTHENTICATIONFAILED] ana@shop.example: wrong', 'AUTHENTICATIONFAILED'],
  ['NO LOGIN failed.', 'NO'],
  ['NO [EXPIRED] renew it', 'EXPIRED'],
])('%s is a refusal of the login, told without its words', async (answer, code) => {
  const error = await open({ answer: (command) => (command === 'AUTHENTICATE' ? [`TAG ${answer}`] : undefined) }).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(LoginRefused);
  expect(imapErrorCode(error)).toBe(code);
  expect(String(error)).not.toContain('ana');
});

test.each([['NO [UNAVAILABLE] try later'], ['NO [LIMIT] too many connections'], ['BAD what?']])(
  '%s says nothing about the password',
  async (answer) => {
    const error = await open({
      answer: (command) => (command === 'AUTHENTICATE' ? [`TAG ${answer}`] : undefined),
    }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(LoginRefused);
  },
);

test('a connection that breaks in the login is not a refusal of it', async () => {
  const error = await open({
    answer: (command) => {
      if (command === 'AUTHENTICATE') fake?.cut();
      return undefined;
    },
  }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(Error);
  expect(error).not.toBeInstanceOf(LoginRefused);
});

test('without STARTTLS nothing secret is sent to another machine', async () => {
  fake = await startFakeImap();
  const mailbox = { ...parseImapUrl(`imap://ana:p@127.0.0.1:${fake.port}`), tls: 'starttls' as const };
  const error = await openImap({ mailbox, tokens: null }, never).catch((thrown: unknown) => thrown);
  expect(imapErrorCode(error)).toBe('NO_STARTTLS');
  expect(fake.commands.some((command) => /LOGIN|AUTHENTICATE/.test(command))).toBe(false);
});

test('an abort ends it at once, before, in and after the login', async () => {
  const early = AbortSignal.abort(new Error('stop'));
  await expect(open({}, '', early)).rejects.toThrow('stop');
  await fake?.close();

  const within = new AbortController();
  const opening = open(
    {
      answer: (command) => {
        if (command !== 'AUTHENTICATE') return undefined;
        within.abort(new Error('stop'));
        return [];
      },
    },
    '',
    within.signal,
  );
  await expect(opening).rejects.toThrow('stop');
  await fake?.close();

  const after = new AbortController();
  const client = await open({}, '', after.signal);
  const closed = new Promise((resolve) => client.once('close', resolve));
  after.abort();
  await closed;
  expect(client.usable).toBe(false);
});

test('the folders are those of the URL, or INBOX and the one that is marked as junk', async () => {
  const plain = await open({});
  const mailbox = (query: string) => parseImapUrl(`imap://ana:p@127.0.0.1${query}`);
  expect(await foldersToRead(plain, mailbox(''))).toEqual(['INBOX']);
  expect(await foldersToRead(plain, mailbox('?folders=Archive,A'))).toEqual(['Archive', 'A']);
  plain.close();
  await fake?.close();

  const list = [
    '* LIST () "/" INBOX',
    '* LIST (\\Junk) "/" "Correo no deseado"',
    '* LIST (\\Trash) "/" Spam',
    'TAG OK .',
  ];
  const marked = await open({
    capabilities: ['IMAP4rev1', 'IDLE', 'AUTH=PLAIN', 'SPECIAL-USE', 'NAMESPACE'],
    answer: (command) => (command === 'LIST' ? list : undefined),
  });
  expect(await foldersToRead(marked, mailbox(''))).toEqual(['INBOX', 'Correo no deseado']);
  marked.close();
});
