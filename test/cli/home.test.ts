import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emptyHome, homeOf, lockHome, readStackInfo, type StackInfo, writeStackInfo } from '../../cli/home';
import { secretsOf } from '../../stack/secrets';

let home: string;
let said: string[];
const say = (line: string) => said.push(line);

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'recuerda-home-'));
  said = [];
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

test('RECUERDA_HOME moves the home, which is .recuerda in the checkout otherwise', () => {
  expect(homeOf({}, '/checkout')).toBe('/checkout/.recuerda');
  expect(homeOf({ RECUERDA_HOME: '' }, '/checkout')).toBe('/checkout/.recuerda');
  expect(homeOf({ RECUERDA_HOME: '/elsewhere/' }, '/checkout')).toBe('/elsewhere');
});

test('of many that take the lock at the same time one gets it, and others after its release', async () => {
  const attempts = await Promise.allSettled(Array.from({ length: 20 }, () => lockHome(home, say)));
  const got = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []));
  expect(got).toHaveLength(1);
  await expect(lockHome(home, say)).rejects.toThrow(`already running in ${home} (process ${process.pid})`);
  got[0]?.release();
  got[0]?.release();
  (await lockHome(home, say)).release();
  expect(readdirSync(home)).toEqual([]);
});

test('a lock whose owner is gone is taken over, also when its number belongs to another process by now', async () => {
  const gone = spawn(process.execPath, ['-e', '']);
  await once(gone, 'exit');
  for (const held of [
    { pid: gone.pid, since: '1', servers: [] },
    { pid: process.pid, since: 'long ago', servers: [] },
  ]) {
    writeFileSync(join(home, 'lock'), JSON.stringify(held));
    (await lockHome(home, say)).release();
  }
  writeFileSync(join(home, 'lock'), '{"half a lo');
  (await lockHome(home, say)).release();
  expect(readdirSync(home)).toEqual([]);
});

test('whoever takes a lock over waits for the servers that its owner left behind', async () => {
  const server = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 600000)']);
  await once(server, 'spawn');
  const first = await lockHome(home, say);
  first.note(server.pid as number);
  const held = JSON.parse(readFileSync(join(home, 'lock'), 'utf8'));
  writeFileSync(join(home, 'lock'), JSON.stringify({ ...held, since: 'another process' }));

  let taken = false;
  const second = lockHome(home, (line) => {
    say(line);
    server.kill('SIGKILL');
  }).then((lock) => {
    taken = true;
    return lock;
  });
  expect(taken).toBe(false);
  (await second).release();
  expect(said).toEqual(['Waiting for the servers of the last start to end …']);
  expect(server.signalCode ?? (await once(server, 'exit'))[1]).toBe('SIGKILL');
});

test('secrets are drawn once and kept, for their owner only', () => {
  const drawn = secretsOf(home, false);
  expect(drawn.secret).toMatch(/^[0-9a-f]{64}$/);
  expect(drawn.apiKey.length).toBeGreaterThan(16);
  expect(secretsOf(home, false)).toEqual(drawn);
  expect(statSync(join(home, 'secrets.json')).mode & 0o777).toBe(0o600);
});

test('P6 secrets that the suppression list depends on are never drawn anew', () => {
  expect(() => secretsOf(home, true)).toThrow('nobody who unsubscribed would be known any more');
  writeFileSync(join(home, 'secrets.json'), '{"secret": 1');
  expect(() => secretsOf(home, false)).toThrow("can't be read");
});

test('a stack is found while it runs, and not after', async () => {
  const info = { apiUrl: 'http://127.0.0.1:3000', apiKey: 'key' } as StackInfo;
  const lock = await lockHome(home, say);
  writeStackInfo(home, info);
  expect(readStackInfo(home)).toEqual(info);
  lock.release();
  expect(readStackInfo(home)).toBeNull();
});

test('emptying a home leaves alone what is not ours', () => {
  writeFileSync(join(home, 'temporal.db'), '');
  writeFileSync(join(home, 'secrets.json'), '{}');
  writeFileSync(join(home, 'letter.txt'), 'mine');
  emptyHome(home);
  expect(readdirSync(home)).toEqual(['letter.txt']);
});
