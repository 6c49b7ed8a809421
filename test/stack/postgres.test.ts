import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { freePort } from '../../stack/ports';
import { type PostgresServer, startPostgres } from '../../stack/postgres';
import { isAlive, until } from './waiting';

let dir: string;
let server: PostgresServer | undefined;
let owner: ChildProcess | undefined;

async function start(options: { fast?: boolean; onExit?: (how: string) => void } = {}): Promise<PostgresServer> {
  server = await startPostgres({ dir, port: await freePort(), onProgress: () => {}, ...options });
  return server;
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-postgres-'));
  await chmod(dir, 0o755);
});

afterEach(async () => {
  owner?.kill('SIGKILL');
  await server?.stop();
  server = undefined;
  owner = undefined;
  await rm(dir, { recursive: true, force: true });
});

test('keeps its data and its password between starts and leaves no process behind', async () => {
  const first = await start();
  await query(first.url, 'create table kept (n int)');
  await query(first.url, 'insert into kept values (42)');
  await first.stop();
  expect(await isAlive(first.pid)).toBe(false);

  const second = await start();
  expect(await query(second.url, 'select n from kept')).toEqual([{ n: 42 }]);
  expect(new URL(second.url).password).toBe(new URL(first.url).password);
  expect((await stat(join(dir, 'password'))).mode & 0o777).toBe(0o600);
});

test('is UTF-8, sorts by code point, listens on loopback only and wants the password', async () => {
  const { url } = await start({ fast: true });
  const [row] = await query(
    url,
    `select current_database() as database, pg_encoding_to_char(encoding) as encoding, lower('ÑANDÚ') as lower,
            'Z' < 'a' as by_code_point, current_setting('listen_addresses') as listen,
            current_setting('unix_socket_directories') as sockets, current_setting('fsync') as fsync
       from pg_database where datname = current_database()`,
  );
  expect(row).toEqual({
    database: 'recuerda',
    encoding: 'UTF8',
    lower: 'ñandú',
    by_code_point: true,
    listen: '127.0.0.1',
    sockets: '',
    fsync: 'off',
  });
  const wrong = new URL(url);
  wrong.password = 'wrong';
  await expect(query(wrong.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
});

test('recovers after kill -9 of the server and tells its owner that it is gone', async () => {
  const exits: string[] = [];
  const first = await start({ onExit: (how) => exits.push(how) });
  await query(first.url, 'create table kept (n int)');
  await query(first.url, 'insert into kept values (7)');
  process.kill(first.pid, 'SIGKILL');
  await until('the exit is reported', () => exits.length > 0);
  expect(exits).toEqual(['SIGKILL']);
  expect(await readFile(join(dir, 'data', 'postmaster.pid'), 'utf8')).toContain(String(first.pid));

  const second = await start();
  expect(await query(second.url, 'select n from kept')).toEqual([{ n: 7 }]);
});

test('starts though the stale postmaster.pid names a process that is alive and something else', async () => {
  const first = await start();
  const pidFile = await readFile(join(dir, 'data', 'postmaster.pid'), 'utf8');
  await first.stop();
  await writeFile(join(dir, 'data', 'postmaster.pid'), pidFile.replace(String(first.pid), String(process.pid)));
  const second = await start();
  expect(await query(second.url, 'select 1 as one')).toEqual([{ one: 1 }]);
});

test('ends with its owner when that is killed with -9, and the next start finds the data', async () => {
  const script = join(__dirname, 'fixtures', 'postgres-owner.ts');
  const port = await freePort();
  owner = spawn(process.execPath, ['--import', 'tsx', script, dir, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(owner.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  const pid = Number(line.toString());
  expect(await isAlive(pid)).toBe(true);
  const url = `postgres://recuerda:${(await readFile(join(dir, 'password'), 'utf8')).trim()}@127.0.0.1:${port}/recuerda`;
  await query(url, 'create table kept (n int)');

  owner.kill('SIGKILL');
  await once(owner, 'exit');
  server = await startPostgres({ dir, port: await freePort(), onProgress: () => {} });
  expect(await isAlive(pid)).toBe(false);
  expect(await query(server.url, 'select n from kept')).toEqual([]);
});

test('says so when the port is taken', async () => {
  const first = await start({ fast: true });
  const port = Number(new URL(first.url).port);
  await expect(startPostgres({ dir: join(dir, 'other'), port, onProgress: () => {} })).rejects.toThrow(
    `Port ${port} for Postgres is already in use`,
  );
});

(process.getuid?.() === 0 ? test : test.skip)(
  'started by root, works under a folder that only root may pass',
  async () => {
    await chmod(dir, 0o700);
    const { url } = await start({ fast: true });
    expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
  },
);
