import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { access, chmod, constants, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, delimiter, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** One line for the person who waits. */
export type OnProgress = (line: string) => void;

/** One way to get a tool: its name in the error message, and the attempt, which gives its path (or paths) or throws with the reason. */
export interface Way<T = string> {
  name: string;
  attempt: () => Promise<T>;
}

/** How long a connection may take before downloads count as closed, and how long a running one may stand still. */
const CONNECT_TIMEOUT_MS = 5_000;
const STALL_TIMEOUT_MS = 30_000;
/** A lock that was not touched for this long belongs to nobody any more. */
const LOCK_STALE_MS = 15_000;
const LOCK_TOUCH_MS = 3_000;

/**
 * Where fetched and built tools are kept between clones: `$XDG_CACHE_HOME/recuerda`, by default `~/.cache/recuerda`.
 */
export function defaultCacheDir(env: NodeJS.ProcessEnv): string {
  const base = env.XDG_CACHE_HOME;
  if (base !== undefined && isAbsolute(base)) return join(base, 'recuerda');
  return join(env.HOME ?? homedir(), '.cache', 'recuerda');
}

/** The ways in order; the first that works wins. Throws one error that names each way with its reason, and how to mend it. */
export async function firstThatWorks<T>(what: string, ways: Way<T>[], mend: string): Promise<T> {
  const failures: string[] = [];
  for (const way of ways) {
    try {
      return await way.attempt();
    } catch (error) {
      failures.push(`  - ${way.name}: ${(error as Error).message}`);
    }
  }
  throw new Error(`${what} was not found. Tried:\n${failures.join('\n')}\n${mend}`);
}

/**
 * The environment for a tool that is run while resolving: the caller's with this PATH, or, where none was given, only what
 * compilers and package managers need to find their own caches.
 */
export function toolEnv(path: string, env: NodeJS.ProcessEnv | undefined): NodeJS.ProcessEnv {
  return { HOME: homedir(), ...env, PATH: path };
}

/** Whether a path names a file that this process may execute. */
export async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

/** The first executable of that name in a PATH string, as an absolute path. */
export async function findOnPath(name: string, path: string): Promise<string | undefined> {
  const endings = process.platform === 'win32' ? ['.exe', '.cmd', '.bat'] : [''];
  for (const dir of path.split(delimiter)) {
    if (dir === '') continue;
    for (const ending of endings) {
      const candidate = resolve(dir, name + ending);
      if (await isExecutable(candidate)) return candidate;
    }
  }
  return undefined;
}

/**
 * Runs a command to its end and gives its output (standard output and error together). Throws with the last lines of the
 * output when it fails or takes longer than `timeoutMs`.
 */
export async function run(
  command: string,
  args: string[],
  options: { timeoutMs: number; env?: NodeJS.ProcessEnv; cwd?: string; uid?: number; gid?: number },
): Promise<string> {
  return new Promise((done, fail) => {
    const { timeoutMs, ...rest } = options;
    const child = spawn(command, args, {
      ...rest,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output = (output + chunk.toString('utf8')).slice(-20_000);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', fail);
    child.once('close', (code, signal) => {
      if (code === 0) return done(output);
      const tail = output.trim().split('\n').slice(-3).join(' | ').slice(-500);
      const how = signal === null ? `code ${code}` : `${signal}, after at most ${timeoutMs / 1_000} s`;
      fail(new Error(`${basename(command)} ended with ${how}${tail === '' ? '' : `: ${tail}`}`));
    });
  });
}

/** Reports `line` with the seconds gone by every five seconds while `work` is under way. */
export async function withProgress<T>(onProgress: OnProgress, line: string, work: () => Promise<T>): Promise<T> {
  const startedAt = Date.now();
  onProgress(`${line} …`);
  const timer = setInterval(() => {
    onProgress(`${line} … ${Math.round((Date.now() - startedAt) / 1_000)} s`);
  }, 5_000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/**
 * Makes a folder of the cache, once: `fill` writes into a temporary folder, which then takes the final name in one step,
 * so a half-made tool is never seen. Of several processes one does it and the others wait; a lock whose holder died
 * is taken over. Should two still do it at the same time, one of the two equal results stays.
 */
export async function fillOnce(
  target: string,
  onProgress: OnProgress,
  fill: (dir: string) => Promise<void>,
): Promise<void> {
  const lock = `${target}.lock`;
  await mkdir(dirname(target), { recursive: true });
  let told = false;
  for (;;) {
    if (await exists(target)) return;
    if (await makeLock(lock)) break;
    const touched = await stat(lock).then(
      (stats) => stats.mtimeMs,
      () => 0,
    );
    if (touched !== 0 && Date.now() - touched > LOCK_STALE_MS) {
      await rm(lock, { recursive: true, force: true });
      continue;
    }
    if (!told) onProgress('Another process is already fetching this tool; waiting for it …');
    told = true;
    await sleep(500);
  }
  const touch = setInterval(() => {
    const now = new Date();
    utimes(lock, now, now).catch(() => {});
  }, LOCK_TOUCH_MS);
  const temporary = `${target}.${randomBytes(6).toString('hex')}.part`;
  try {
    if (await exists(target)) return;
    for (const name of await readdir(dirname(target))) {
      const isLeftOver = name.startsWith(`${basename(target)}.`) && name.endsWith('.part');
      if (isLeftOver) await rm(join(dirname(target), name), { recursive: true, force: true });
    }
    await mkdir(temporary);
    await fill(temporary);
    try {
      await rename(temporary, target);
    } catch (error) {
      if (!(await exists(target))) throw error;
    }
  } finally {
    clearInterval(touch);
    await rm(temporary, { recursive: true, force: true });
    await rm(lock, { recursive: true, force: true });
  }
}

async function makeLock(lock: string): Promise<boolean> {
  try {
    await mkdir(lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** What to ask the SDK's download service for. */
export interface SdkDownload {
  /** Base of the service. */
  service: string;
  artifact: 'cli' | 'temporal-test-server';
  /** Version of the TypeScript SDK: the service answers with the version that goes with it. */
  sdkVersion: string;
  /** Environment of the command that unpacks. */
  env: NodeJS.ProcessEnv;
}

/** The download service that the Temporal SDKs use for their own ephemeral servers. */
export const SDK_DOWNLOAD_SERVICE = 'https://temporal.download';

/**
 * Downloads an executable the way the SDK's ephemeral servers do (a small JSON answer names the archive and the file in
 * it) and puts it at `destination`. Gives up within five seconds when there is no connection.
 */
export async function downloadFromSdk(
  download: SdkDownload,
  destination: string,
  onProgress: OnProgress,
): Promise<void> {
  const platform = { win32: 'windows', darwin: 'darwin', linux: 'linux' }[process.platform as string];
  const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch as string];
  if (platform === undefined || arch === undefined) {
    throw new Error(`there is no download for ${process.platform} on ${process.arch}`);
  }
  const query = new URLSearchParams({ arch, platform });
  if (download.artifact === 'cli') query.set('format', 'tar.gz');
  query.set('sdk-name', 'sdk-typescript');
  query.set('sdk-version', download.sdkVersion);
  const answer = await fetchInTime(`${download.service}/${download.artifact}/default?${query}`);
  const info = (await answer.json()) as { archiveUrl?: unknown; fileToExtract?: unknown };
  if (typeof info.archiveUrl !== 'string' || typeof info.fileToExtract !== 'string') {
    throw new Error('the download service gave an answer that could not be understood');
  }

  const dir = `${destination}.unpacked`;
  const archive = `${destination}.archive`;
  const extracted = resolve(dir, info.fileToExtract);
  if (relative(dir, extracted).startsWith('..'))
    throw new Error('the download service named a file outside its archive');
  await mkdir(dir, { recursive: true });
  try {
    await save(info.archiveUrl, archive, onProgress);
    // Only Windows is served a zip, and the `tar` of Windows reads those too.
    await run('tar', ['-xf', archive, '-C', dir, info.fileToExtract], { env: download.env, timeoutMs: 120_000 });
    await rename(extracted, destination);
    await chmod(destination, 0o755);
  } finally {
    await rm(archive, { force: true });
    await rm(dir, { recursive: true, force: true });
  }
}

/** A GET whose answer must begin within the connection timeout. */
async function fetchInTime(url: string, abort = new AbortController()): Promise<Response> {
  const timer = setTimeout(() => abort.abort(new Error('no answer in time')), CONNECT_TIMEOUT_MS);
  try {
    const response = await fetch(url, { signal: abort.signal });
    if (!response.ok) throw new Error(`the download service answered ${response.status}`);
    return response;
  } catch (error) {
    const cause = (error as Error).cause as NodeJS.ErrnoException | undefined;
    throw cause === undefined ? error : new Error(`no connection (${cause.code ?? cause.message})`);
  } finally {
    clearTimeout(timer);
  }
}

/** Where a file is to be had, with a list of sums such as `sha256sum` writes. */
export interface SummedDownload {
  url: string;
  /** Its line for the file ends with the last part of `url`. */
  sumsUrl: string;
}

/**
 * Downloads a file to `destination` and compares its SHA-256 with the published one. Gives up within five seconds when there
 * is no connection; throws, with no file left behind, when the sum is another.
 */
export async function downloadWithSum(
  { url, sumsUrl }: SummedDownload,
  destination: string,
  onProgress: OnProgress,
): Promise<void> {
  const name = basename(new URL(url).pathname);
  const sums = await (await fetchInTime(sumsUrl)).text();
  const line = sums.split('\n').find((candidate) => candidate.trim().split(/\s+\*?/)[1] === name);
  const wanted = line?.trim().split(/\s+/)[0]?.toLowerCase();
  if (wanted === undefined) throw new Error(`${sumsUrl} names no sum for ${name}`);
  await save(url, destination, onProgress);
  const hash = createHash('sha256');
  await pipeline(createReadStream(destination), hash);
  const found = hash.digest('hex');
  if (found === wanted) return;
  await rm(destination, { force: true });
  throw new Error(`${name} is not the file that was published: its SHA-256 is ${found}, not ${wanted}`);
}

async function save(url: string, file: string, onProgress: OnProgress): Promise<void> {
  const abort = new AbortController();
  const response = await fetchInTime(url, abort);
  if (response.body === null) throw new Error('the download was empty');
  const total = Number(response.headers.get('content-length') ?? 0);
  let received = 0;
  let reportedAt = Date.now();
  const onStall = (): void => abort.abort(new Error(`the download stood still for ${STALL_TIMEOUT_MS / 1_000} s`));
  let timer = setTimeout(onStall, STALL_TIMEOUT_MS);
  const watch = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      clearTimeout(timer);
      timer = setTimeout(onStall, STALL_TIMEOUT_MS);
      received += chunk.length;
      if (Date.now() - reportedAt > 2_000) {
        reportedAt = Date.now();
        onProgress(`Downloading: ${megabytes(received)}${total > 0 ? ` of ${megabytes(total)}` : ''} MB …`);
      }
      next(null, chunk);
    },
  });
  try {
    await pipeline(Readable.fromWeb(response.body as never), watch, createWriteStream(file));
  } finally {
    clearTimeout(timer);
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1_000_000).toFixed(0);
}
