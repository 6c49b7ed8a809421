import { spawn } from 'node:child_process';
import { createMember, type Member } from '../../stack/member';
import { killTree } from '../../stack/process-tree';
import { isAlive, until } from './waiting';

let member: Member | undefined;
let lines: string[];

/** A shell that has started a process in a session of its own, as Postgres does. */
function sleeper(supervised: boolean): Member {
  member = createMember({
    name: 'sleeper',
    kind: 'worker',
    supervised,
    say: (line) => lines.push(line),
    launch: async (onExit) => {
      const child = spawn('/bin/sh', ['-c', 'setsid sleep 300 & echo $!; wait'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      child.once('exit', (code, signal) => onExit(signal ?? `code ${code}`));
      await new Promise<void>((resolve) => {
        child.stdout.once('data', (chunk: Buffer) => {
          grandchild = Number(chunk.toString('utf8'));
          resolve();
        });
      });
      const { pid = 0 } = child;
      const kill = () => killTree(pid);
      return { pid, kill, stop: kill };
    },
  });
  return member;
}
let grandchild = 0;

beforeEach(() => {
  lines = [];
});
afterEach(async () => {
  await member?.stop();
});

test('a kill ends what it has started too, in other sessions as well, and it stays down until a start', async () => {
  const sleeping = sleeper(false);
  await sleeping.start();
  const [pid, child] = [sleeping.pid() ?? 0, grandchild];
  expect(await isAlive(child)).toBe(true);
  await sleeping.kill();
  expect(await Promise.all([pid, child].map(isAlive))).toEqual([false, false]);
  expect(sleeping.isRunning()).toBe(false);
  await Promise.all([sleeping.start(), sleeping.start()]);
  expect(sleeping.isRunning()).toBe(true);
  expect(lines).toEqual([]);
});

test('one that is supervised is started again when it dies, and not after a stop', async () => {
  const sleeping = sleeper(true);
  await sleeping.start();
  const pid = sleeping.pid() ?? 0;
  await killTree(pid);
  await until('another process', () => sleeping.pid() !== undefined && sleeping.pid() !== pid);
  await until('its line', () => lines.includes('sleeper: is up again'));
  expect(lines[0]).toBe('sleeper: ended unexpectedly (SIGKILL); starting it again in 1 s');
  await sleeping.stop();
  expect(sleeping.isRunning()).toBe(false);
  expect(lines).toHaveLength(2);
});
