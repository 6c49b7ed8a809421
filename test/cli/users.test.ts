import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type PasswordInput, readPassword } from '../../cli/password-prompt';
import { createUser, disableUser, listUsers, setUserPassword } from '../../cli/users';
import { findForSignIn } from '../../db/staff';
import { beginSession, useSession } from '../../db/staff-sessions';
import { verifyPassword } from '../../domain/passwords';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { runCommand } from './running-command';

let database: TestDatabase;
let refusals: jest.SpyInstance;
let prompts: jest.SpyInstance;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => {
  await database.drop();
  rmSync(HOME, { recursive: true });
});
beforeEach(() => {
  refusals = jest.spyOn(console, 'error').mockImplementation(() => {});
  prompts = jest.spyOn(process.stderr, 'write').mockImplementation(() => true);
});
afterEach(() => {
  refusals.mockRestore();
  prompts.mockRestore();
});

const HOME = mkdtempSync(join(tmpdir(), 'recuerda-users-'));
const PASSWORD = 'four words in a row';

function pipe(text: string): PasswordInput {
  const input = new PassThrough();
  input.end(text);
  return input;
}

/** A terminal on which somebody types, and whether it was left as it was found. */
function terminal(...typed: string[]): { input: PasswordInput; raw: boolean[] } {
  const raw: boolean[] = [];
  const input: PasswordInput = Object.assign(new PassThrough(), {
    isTTY: true,
    setRawMode: (on: boolean) => {
      raw.push(on);
      if (on) setImmediate(() => (input as PassThrough).write(typed.shift() ?? '\u0003'));
    },
  });
  return { input, raw };
}

async function run(work: (command: Parameters<typeof createUser>[0]) => Promise<number>, input = pipe('')) {
  const lines: string[] = [];
  refusals.mockClear();
  const output = { write: (text: string) => void lines.push(text) };
  const code = await work({ env: { DATABASE_URL: database.url }, root: HOME, output, input });
  return { code, printed: lines.join(''), said: refusals.mock.calls.flat().join('\n') };
}

async function hasPassword(email: string, password: string): Promise<boolean> {
  const user = await findForSignIn(database.db, email);
  return await verifyPassword(user?.passwordHash ?? null, password);
}

test('somebody is let in, listed, given a new password and let out', async () => {
  const email = 'ana@shop.example';
  const options = { roles: 'operator,marketing', name: 'Ana' };
  const created = await run((command) => createUser(command, email, options), pipe(`${PASSWORD}\n`));
  expect([created.code, created.printed]).toEqual([
    0,
    `${email} signs in under /login and may: marketing, operator.\n`,
  ]);
  expect(await hasPassword(email, PASSWORD)).toBe(true);
  expect((await run(listUsers)).printed).toMatch(/ana@shop\.example +marketing,operator +active +Ana/);

  const user = await findForSignIn(database.db, email);
  const now = new Date();
  const begun = await beginSession(database.db, {
    userId: user?.id ?? '',
    passwordHash: user?.passwordHash ?? '',
    now,
  });
  const changed = await run((command) => setUserPassword(command, email), pipe('five words in another row'));
  expect([changed.code, changed.printed]).toEqual([0, expect.stringContaining('all their sessions have ended')]);
  expect(await hasPassword(email, 'five words in another row')).toBe(true);
  expect(await useSession(database.db, begun?.token ?? '', now)).toBeNull();

  expect((await run((command) => disableUser(command, 'ANA@shop.example'))).code).toBe(0);
  expect(await findForSignIn(database.db, email)).toBeNull();
  expect((await run(listUsers)).printed).toMatch(/disabled/);
});

test.each([
  ['what is no address', 'nobody', { roles: 'forms' }, PASSWORD, /no address/],
  ['a role that there is not', 'b@shop.example', { roles: 'boss' }, PASSWORD, /boss: there are/],
  ['a password that is too short', 'b@shop.example', { roles: 'forms' }, 'short', /at least 12 characters; it has 5/],
  ['no password', 'b@shop.example', { roles: 'forms' }, '', /it has 0/],
])('somebody with %s is not let in', async (_, email, options, password, words) => {
  const answer = await run((command) => createUser(command, email, options), pipe(password));
  expect([answer.code, answer.printed, answer.said]).toEqual([1, '', expect.stringMatching(words)]);
  expect(await findForSignIn(database.db, email)).toBeNull();
});

test('the same address twice, and somebody that there is not, are refused', async () => {
  const create = async () =>
    await run((command) => createUser(command, 'twice@shop.example', { roles: 'forms' }), pipe(PASSWORD));
  expect((await create()).code).toBe(0);
  const twice = await create();
  expect([twice.code, twice.said]).toEqual([1, 'Somebody has this address already.']);
  for (const work of [disableUser, setUserPassword]) {
    const answer = await run((command) => work(command, 'nobody@shop.example'), pipe(PASSWORD));
    expect([answer.code, answer.said]).toEqual([1, 'There is no such person.']);
  }
});

test('on a terminal the password is asked for twice, and never shown', async () => {
  const email = 'typed@shop.example';
  const { input, raw } = terminal(`${PASSWORD}x\u007f\r`, `${PASSWORD}\n`);
  const answer = await run((command) => createUser(command, email, { roles: 'forms' }), input);
  expect([answer.code, raw]).toEqual([0, [true, false, true, false]]);
  expect(await hasPassword(email, PASSWORD)).toBe(true);
  expect(prompts.mock.calls.flat().join('')).toBe('Password: \nOnce more: \n');

  const other = terminal(`${PASSWORD}\r`, 'another password\r');
  const unequal = await run((command) => createUser(command, 'u@shop.example', { roles: 'forms' }), other.input);
  expect([unequal.code, unequal.said]).toEqual([1, 'The two are not the same.']);
});

test('who breaks off is left with a terminal as it was', async () => {
  for (const key of ['\u0003', '\u0004']) {
    const { input, raw } = terminal(`abc${key}`);
    await expect(readPassword(input, { write: () => {} }, 'Password: ')).rejects.toThrow('No password was given.');
    expect(raw).toEqual([true, false]);
  }
});

test('the command itself takes the password from stdin, and makes keys', async () => {
  const env = { DATABASE_URL: database.url };
  const made = runCommand(['keys', 'create', '--name', 'x', '--scopes', 'operator'], HOME, env);
  expect([await made.ends(), made.output()]).toEqual([0, expect.stringMatching(/never again:\nrk_[\w-]{43}\n/)]);
  const refused = runCommand(['users', 'create', 'cli@shop.example', '--roles', 'operator'], HOME, env);
  expect([await refused.ends(), refused.output()]).toEqual([1, expect.stringContaining('it has 0')]);

  const args = [join(__dirname, '..', '..', 'cli', 'recuerda.js'), 'users', 'create', 'cli@shop.example'];
  const child = spawn(process.execPath, [...args, '--roles', 'operator'], {
    cwd: HOME,
    env: { ...process.env, ...env, RECUERDA_HOME: HOME },
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.stdin.end(`${PASSWORD}\n`);
  expect(await ended).toBe(0);
  expect(await hasPassword('cli@shop.example', PASSWORD)).toBe(true);
});
