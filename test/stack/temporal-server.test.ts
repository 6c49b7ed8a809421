import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../stack/ports';
import { resolveTemporalCli } from '../../stack/temporal-cli';
import { startTemporal, type TemporalServer } from '../../stack/temporal-server';
import { defaultCacheDir, run } from '../../stack/tool-cache';
import { isAlive, until } from './waiting';

let cli: string;
let dir: string;
let server: TemporalServer | undefined;

beforeAll(async () => {
  const { env } = process;
  const cacheDir = defaultCacheDir(env);
  cli = await resolveTemporalCli({ cacheDir, path: env.PATH ?? '', onProgress: () => {}, env });
}, 30 * 60_000);

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-temporal-'));
});

afterEach(async () => {
  await server?.stop();
  server = undefined;
  await rm(dir, { recursive: true, force: true });
});

async function operator(address: string, ...args: string[]): Promise<string> {
  return run(cli, [...args, '--address', address, '-o', 'json', '--disable-config-env'], { timeoutMs: 20_000 });
}

test('keeps its store in the file between starts, with 30 days of retention, and leaves no process behind', async () => {
  const dbFile = join(dir, 'temporal.db');
  const logFile = join(dir, 'temporal.log');
  server = await startTemporal({ cli, dbFile, logFile, port: await freePort() });
  const first = server;
  expect(first.uiUrl).toBeUndefined();
  const described = JSON.parse(await operator(first.address, 'operator', 'namespace', 'describe', '-n', 'default'));
  expect(described.config.workflowExecutionRetentionTtl).toBe('2592000s');
  const start = ['workflow', 'start', '--type', 'sleeper', '--task-queue', 'nobody', '--workflow-id', 'kept'];
  await operator(first.address, ...start);
  await first.stop();
  expect(await isAlive(first.pid)).toBe(false);
  expect((await stat(dbFile)).size).toBeGreaterThan(0);

  server = await startTemporal({ cli, dbFile, logFile, port: await freePort() });
  const workflow = JSON.parse(await operator(server.address, 'workflow', 'describe', '--workflow-id', 'kept'));
  expect(workflow.workflowExecutionInfo.status).toBe('WORKFLOW_EXECUTION_STATUS_RUNNING');
});

test('serves the UI when it is given a port, keeps its queue limits, and reports its own end', async () => {
  const exits: string[] = [];
  const logFile = join(dir, 'temporal.log');
  const [port, uiPort] = [await freePort(), await freePort()];
  server = await startTemporal({ cli, logFile, port, uiPort, onExit: (how) => exits.push(how) });
  const { uiUrl, address, pid } = server;
  expect((await fetch(uiUrl as string)).status).toBe(200);
  const limits = [
    '--queue-rps-limit',
    '5',
    '--queue-rps-limit-reason',
    'test',
    '--fairness-key-rps-limit-default',
    '2',
  ];
  const queue = ['--task-queue', 'mail-marketing', '--task-queue-type', 'activity'];
  const config = await operator(
    address,
    'task-queue',
    'config',
    'set',
    ...queue,
    ...limits,
    '--fairness-key-rps-limit-reason',
    'test',
  );
  expect(config).toContain('"requestsPerSecond": 5');
  process.kill(pid, 'SIGKILL');
  await until('the exit is reported', () => exits.length > 0);
  expect(exits).toEqual(['SIGKILL']);
});

/** A CLI whose server ends while it comes up, so many times; then it is the real one. */
async function failing(times: number, saying: string, code: number): Promise<string> {
  const path = join(dir, 'temporal-failing');
  const starts = join(dir, 'starts');
  const words = join(dir, 'words');
  await writeFile(words, saying);
  const script = `#!/bin/sh
[ "$1" = server ] || exec '${cli}' "$@"
echo start >>'${starts}'
[ "$(wc -l <'${starts}')" -gt ${times} ] && exec '${cli}' "$@"
cat '${words}' >&2
exit ${code}
`;
  await writeFile(path, script, { mode: 0o700 });
  return path;
}

const CRASH = 'panic: invalid memory address\n\ngoroutine 1 [running]:\na()\n\t1\nb()\n\t2\nmain.main()\n';
const TAKEN = 'msg="failed listening for HTTP API on 127.0.0.1:44383: listen tcp: bind: address already in use"\n';

test.each([
  ['crashes', CRASH, 2],
  ['finds a port taken', TAKEN, 1],
])('is started again when it %s while it comes up', async (_what, saying, code) => {
  const logFile = join(dir, 'temporal.log');
  server = await startTemporal({ cli: await failing(2, saying, code), port: await freePort(), logFile });
  expect(await readFile(join(dir, 'starts'), 'utf8')).toBe('start\n'.repeat(3));
});

test('is given up when it crashes again and again, with what it died of this time', async () => {
  const logFile = join(dir, 'temporal.log');
  await writeFile(logFile, 'panic: of another year\n');
  const start = startTemporal({ cli: await failing(100, CRASH, 2), port: await freePort(), logFile });
  await expect(start).rejects.toThrow(/ended with code 2\)\npanic: invalid memory address\n/);
  expect(await readFile(join(dir, 'starts'), 'utf8')).toBe('start\n'.repeat(3));
});

test('is not started again for an error that it names', async () => {
  const logFile = join(dir, 'temporal.log');
  await writeFile(logFile, TAKEN);
  const start = startTemporal({ cli: await failing(100, 'msg="no such file"\n', 1), port: await freePort(), logFile });
  await expect(start).rejects.toThrow('The Temporal server did not start (ended with code 1)\nmsg="no such file"');
  expect(await readFile(join(dir, 'starts'), 'utf8')).toBe('start\n');
});

test('says why it does not start', async () => {
  const port = await freePort();
  server = await startTemporal({ cli, port });
  await expect(startTemporal({ cli, port })).rejects.toThrow(`Port ${port} for the Temporal server is already in use`);
  const logFile = join(dir, 'temporal.log');
  await expect(startTemporal({ cli, port: await freePort(), dbFile: dir, logFile })).rejects.toThrow(
    /ended with code 1/,
  );
  expect(await readFile(logFile, 'utf8')).not.toBe('');
});
