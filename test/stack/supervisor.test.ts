import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Supervised, supervise } from '../../stack/supervisor';
import { isAlive, until } from './waiting';

const CHILD = join(__dirname, 'fixtures', 'supervised.ts');

let supervised: Supervised | undefined;
let parent: ChildProcess | undefined;
let lines: string[];

function start(...args: string[]): Supervised {
  supervised = supervise({
    name: 'worker',
    command: process.execPath,
    args: ['--import', 'tsx', CHILD, ...args],
    env: process.env,
    cwd: process.cwd(),
    onLine: (line, name) => lines.push(`${name}: ${line}`),
    minBackoffMs: 20,
    maxBackoffMs: 50,
  });
  return supervised;
}

const saidPid = (pid: number): boolean => lines.includes(`worker: pid ${pid}`);

beforeEach(() => {
  lines = [];
});

afterEach(async () => {
  parent?.kill('SIGKILL');
  await supervised?.stop(0);
  supervised = undefined;
  parent = undefined;
});

test('forwards the output, starts a killed child again, and does not after a stop', async () => {
  const worker = start();
  const first = worker.pid() as number;
  await until('the first output', () => saidPid(first));
  process.kill(first, 'SIGKILL');
  const second = await until('a new child', () => (worker.pid() !== first ? worker.pid() : undefined));
  await until('its output', () => saidPid(second));
  expect(worker.restarts()).toBe(1);
  expect(lines).toContain('worker: ended unexpectedly (SIGKILL); starting it again in 0.02 s');

  await worker.stop(10_000);
  await worker.stop(10_000);
  expect(lines).toContain('worker: got SIGTERM');
  expect(await isAlive(second)).toBe(false);
  expect(worker.pid()).toBeUndefined();
  expect(worker.restarts()).toBe(1);
});

test('a child that ignores SIGTERM is killed after the grace time', async () => {
  const worker = start('stubborn');
  const pid = worker.pid() as number;
  await until('the output', () => saidPid(pid));
  await worker.stop(3_000);
  expect(lines).toContain('worker: got SIGTERM');
  expect(await isAlive(pid)).toBe(false);
});

test('a command that can not be started is reported and tried again, until it is stopped', async () => {
  supervised = supervise({
    name: 'worker',
    command: join(__dirname, 'no-such-program'),
    args: [],
    env: process.env,
    cwd: process.cwd(),
    onLine: (line) => lines.push(line),
    minBackoffMs: 10,
    maxBackoffMs: 20,
  });
  const worker = supervised;
  await until('three tries', () => worker.restarts() >= 2);
  expect(lines[0]).toBe('ended unexpectedly (ENOENT); starting it again in 0.01 s');
  expect(lines[2]).toBe('ended unexpectedly (ENOENT); starting it again in 0.02 s');
  await worker.stop(1_000);
});

test('a child ends when its parent is killed with -9', async () => {
  parent = spawn(process.execPath, ['--import', 'tsx', join(__dirname, 'fixtures', 'supervising.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  createInterface({ input: parent.stdout as NodeJS.ReadableStream }).on('line', (line) => lines.push(line));
  const said = await until('the child is up', () => lines.find((line) => line.startsWith('pid ')));
  const pid = Number(said.slice('pid '.length));
  expect(await isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  await until('the child is gone', async () => !(await isAlive(pid)));
});
