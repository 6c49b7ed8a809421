import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { dependencies } from '../../package.json';
import { freePort } from '../../stack/ports';
import { resolveTemporalBinaries, TEMPORAL_VERSION } from '../../stack/temporal-binaries';
import { resolveTemporalCli } from '../../stack/temporal-cli';
import { resolveTestServer } from '../../stack/test-server';
import { defaultCacheDir, run } from '../../stack/tool-cache';

const SDK_VERSION = dependencies['@temporalio/worker'];
const CLI_SCRIPT = '#!/bin/sh\necho "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)"\n';

let dir: string;
let bin: string;
let cacheDir: string;
let closed: string;
let progress: string[];
let server: Server | undefined;

async function script(path: string, text: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  await chmod(path, 0o755);
  return path;
}

/** Options with a private PATH (the system's `tar` and `sh` behind it) and a download service where nobody listens. */
function options(more: { explicitPath?: string; downloadService?: string } = {}) {
  const onProgress = (line: string): void => {
    progress.push(line);
  };
  return { cacheDir, path: bin, env: { PATH: bin }, onProgress, downloadService: closed, ...more };
}

/** A download service with one archive, which answers as the real one does; gives its base URL and what was asked. */
async function downloads(artifact: string, file: string, text: string): Promise<{ url: string; asked: string[] }> {
  await script(join(dir, 'archive', file), text);
  await run('tar', ['-czf', join(dir, 'archive.tar.gz'), '-C', join(dir, 'archive'), file], { timeoutMs: 20_000 });
  const archive = await readFile(join(dir, 'archive.tar.gz'));
  const asked: string[] = [];
  const listening = createServer((request, response) => {
    const url = request.url ?? '';
    asked.push(url);
    if (url === '/archive.tar.gz') return void response.end(archive);
    if (!url.startsWith(`/${artifact}/default?`)) return void response.writeHead(404).end();
    response.end(JSON.stringify({ archiveUrl: `http://${request.headers.host}/archive.tar.gz`, fileToExtract: file }));
  });
  server = listening;
  await new Promise<void>((done) => listening.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}`, asked };
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-resolvers-'));
  bin = join(dir, 'bin');
  cacheDir = join(dir, 'cache');
  await mkdir(bin);
  // What the scripts call, without the machine's own temporal, go, java and mvn.
  for (const tool of ['mkdir', 'cat', 'chmod', 'dirname', 'tar', 'gzip']) {
    await script(join(bin, tool), `#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin exec ${tool} "$@"\n`);
  }
  closed = `http://127.0.0.1:${await freePort()}`;
  progress = [];
});

afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(dir, { recursive: true, force: true });
});

describe('the Temporal CLI', () => {
  const inCache = (version: string): string => join(cacheDir, 'temporal-cli', version, 'temporal');

  test('the explicit path wins over the PATH, the PATH over the cache, and the cache over a download', async () => {
    const explicitPath = await script(join(dir, 'mine', 'temporal'), CLI_SCRIPT);
    const onPath = await script(join(bin, 'temporal'), CLI_SCRIPT);
    const cached = await script(inCache(`sdk-${SDK_VERSION}`), CLI_SCRIPT);
    expect(await resolveTemporalCli(options({ explicitPath }))).toBe(explicitPath);
    expect(await resolveTemporalCli(options())).toBe(onPath);
    await rm(onPath);
    expect(await resolveTemporalCli(options())).toBe(cached);
    expect(progress).toEqual([]);
  });

  test('an explicit path that does not run is an error, whatever else there is', async () => {
    await script(join(bin, 'temporal'), CLI_SCRIPT);
    const explicitPath = join(dir, 'nowhere');
    await expect(resolveTemporalCli(options({ explicitPath }))).rejects.toThrow(
      `The Temporal CLI given explicitly (${explicitPath}) can't be used: it is not an executable file`,
    );
  });

  test('one on the PATH that is too old for fairness keys is passed over', async () => {
    await script(join(bin, 'temporal'), CLI_SCRIPT.replace('1.29.1', '1.27.2'));
    const cached = await script(inCache('v1.5.1'), CLI_SCRIPT);
    expect(await resolveTemporalCli(options())).toBe(cached);
  });

  test("is downloaded the SDK's way, once, into the cache", async () => {
    const { url, asked } = await downloads('cli', 'temporal', CLI_SCRIPT);
    const [one, two] = await Promise.all([
      resolveTemporalCli(options({ downloadService: url })),
      resolveTemporalCli(options({ downloadService: url })),
    ]);
    expect(one).toBe(inCache(`sdk-${SDK_VERSION}`));
    expect(two).toBe(one);
    expect(asked).toHaveLength(2);
    const arch = process.arch === 'x64' ? 'amd64' : process.arch;
    expect(Object.fromEntries(new URL(asked[0] as string, url).searchParams)).toEqual({
      arch,
      platform: process.platform,
      format: 'tar.gz',
      'sdk-name': 'sdk-typescript',
      'sdk-version': SDK_VERSION,
    });
    expect((await stat(one)).mode & 0o111).toBe(0o111);
  });

  test('is built with Go where downloads are closed, with progress, past the lock of a process that died', async () => {
    const written = `#!/bin/sh\nmkdir -p "$GOBIN"\ncat > "$GOBIN/temporal" <<'END'\n${CLI_SCRIPT}END\nchmod +x "$GOBIN/temporal"\n`;
    await script(join(bin, 'go'), `${written}echo "$@" > "${dir}/go-arguments"\n`);
    const lock = join(cacheDir, 'temporal-cli', 'v1.5.1.lock');
    await mkdir(lock, { recursive: true });
    const longAgo = new Date(Date.now() - 3_600_000);
    await utimes(lock, longAgo, longAgo);
    const leftOver = join(cacheDir, 'temporal-cli', 'v1.5.1.0123456789ab.part');
    await mkdir(leftOver);
    expect(await resolveTemporalCli(options())).toBe(inCache('v1.5.1'));
    expect(await readFile(join(dir, 'go-arguments'), 'utf8')).toBe(
      'install github.com/temporalio/cli/cmd/temporal@v1.5.1\n',
    );
    expect(progress.join('\n')).toContain('Building the Temporal CLI with Go');
    for (const gone of [lock, leftOver]) await expect(stat(gone)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('when nothing works, one error names every way, each reason, and what to do', async () => {
    await script(join(bin, 'go'), '#!/bin/sh\necho "module lookup disabled" >&2\nexit 1\n');
    const error = (await resolveTemporalCli(options()).catch((thrown: unknown) => thrown)) as Error;
    expect(error.message).toContain('`temporal` on the PATH: not there');
    expect(error.message).toContain('nothing there yet');
    expect(error.message).toContain("the SDK's official download: no connection (ECONNREFUSED)");
    expect(error.message).toContain('`go install` of the CLI: go ended with code 1: module lookup disabled');
    expect(error.message).toContain('TEMPORAL_ADDRESS');
    // A failed try leaves nothing half-made behind.
    await expect(stat(join(cacheDir, 'temporal-cli', 'v1.5.1'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('the Temporal server by roles', () => {
  const SERVER = '#!/bin/sh\necho "temporal version 1.29.1"\n';
  const TOOL = '#!/bin/sh\necho "temporal-sql-tool version 1.29.1"\n';
  const inCache = (folder: string) => ({
    server: join(cacheDir, 'temporal-server', folder, 'temporal-server'),
    sqlTool: join(cacheDir, 'temporal-server', folder, 'temporal-sql-tool'),
  });
  const binaries = (more: { explicitServer?: string; explicitSqlTool?: string; releases?: string } = {}) =>
    resolveTemporalBinaries({ ...options(), releases: closed, ...more });

  async function both(dir: string, version = TEMPORAL_VERSION): Promise<{ server: string; sqlTool: string }> {
    const server = await script(join(dir, 'temporal-server'), SERVER.replace('1.29.1', version));
    return { server, sqlTool: await script(join(dir, 'temporal-sql-tool'), TOOL.replace('1.29.1', version)) };
  }

  /** Temporal's releases, with this sum or the right one; gives the base URL. */
  async function releases(sum?: string): Promise<string> {
    await both(join(dir, 'archive'));
    const names = ['temporal-server', 'temporal-sql-tool'];
    const packed = join(dir, 'archive.tar.gz');
    await run('tar', ['-czf', packed, '-C', join(dir, 'archive'), ...names], { timeoutMs: 20_000 });
    const archive = await readFile(packed);
    const right = createHash('sha256').update(archive).digest('hex');
    const arch = process.arch === 'x64' ? 'amd64' : process.arch;
    const name = `temporal_${TEMPORAL_VERSION}_${process.platform}_${arch}.tar.gz`;
    const listening = createServer((request, response) => {
      if (request.url === `/v${TEMPORAL_VERSION}/${name}`) return void response.end(archive);
      if (request.url !== `/v${TEMPORAL_VERSION}/checksums.txt`) return void response.writeHead(404).end();
      response.end(`${'0'.repeat(64)}  something_else.tar.gz\n${sum ?? right}  ${name}\n`);
    });
    server = listening;
    await new Promise<void>((done) => listening.listen(0, '127.0.0.1', done));
    return `http://127.0.0.1:${(listening.address() as AddressInfo).port}`;
  }

  test('explicit paths win over the PATH, the PATH over the cache, and one of another version is passed over', async () => {
    const explicit = await both(join(dir, 'mine'));
    const onPath = await both(bin);
    const cached = await both(join(cacheDir, 'temporal-server', `v${TEMPORAL_VERSION}`));
    const explicitly = { explicitServer: explicit.server, explicitSqlTool: explicit.sqlTool };
    expect(await binaries(explicitly)).toEqual(explicit);
    expect(await binaries()).toEqual(onPath);
    await both(bin, '1.28.0');
    expect(await binaries()).toEqual(cached);
    expect(progress).toEqual([]);
  });

  test('an explicit path that does not run, or is of another version, is an error; and so is one without the other', async () => {
    await both(bin);
    const old = await both(join(dir, 'old'), '1.28.0');
    await expect(binaries({ explicitServer: old.server })).rejects.toThrow('set both, or none');
    await expect(binaries({ explicitServer: old.server, explicitSqlTool: old.sqlTool })).rejects.toThrow(
      `${old.server} is 1.28.0, and ${TEMPORAL_VERSION} is needed`,
    );
    const nowhere = join(dir, 'nowhere');
    await expect(binaries({ explicitServer: nowhere, explicitSqlTool: old.sqlTool })).rejects.toThrow(
      `${nowhere} is not an executable file`,
    );
  });

  test('is downloaded from its release, and only the two programs are kept', async () => {
    const found = await binaries({ releases: await releases() });
    expect(found).toEqual(inCache(`release-${TEMPORAL_VERSION}`));
    expect((await readdir(dirname(found.server))).sort()).toEqual(['temporal-server', 'temporal-sql-tool']);
  });

  test('a download that is not what was published is refused, and nothing of it stays', async () => {
    const base = await releases('f'.repeat(64));
    await expect(binaries({ releases: base })).rejects.toThrow('is not the file that was published: its SHA-256 is');
    await expect(stat(dirname(inCache(`release-${TEMPORAL_VERSION}`).server))).rejects.toMatchObject({
      code: 'ENOENT',
    });
  });

  test('is built with Go where downloads are closed', async () => {
    const write = (name: string, text: string) =>
      `cat > "$GOBIN/${name}" <<'END'\n${text}END\nchmod +x "$GOBIN/${name}"\n`;
    const go = `#!/bin/sh\n${write('server', SERVER)}${write('sql', TOOL)}echo "$@" > "${dir}/go-arguments"\n`;
    await script(join(bin, 'go'), go);
    expect(await binaries()).toEqual(inCache(`v${TEMPORAL_VERSION}`));
    expect(await readFile(join(dir, 'go-arguments'), 'utf8')).toBe(
      'install go.temporal.io/server/cmd/server@v1.29.1 go.temporal.io/server/cmd/tools/sql@v1.29.1\n',
    );
  });

  test('when nothing works, the error names every way, each reason and what to do', async () => {
    const error = (await binaries().catch((thrown: unknown) => thrown)) as Error;
    expect(error.message).toContain('`temporal-server` and `temporal-sql-tool` on the PATH: not there');
    expect(error.message).toContain("Temporal's official release: no connection (ECONNREFUSED)");
    expect(error.message).toContain('`go install` of the server: no Go toolchain on the PATH');
    expect(error.message).toContain('RECUERDA_TEMPORAL_SERVER');
  });
});

describe('the time-skipping test server', () => {
  const folder = (version: string): string => join(cacheDir, 'temporal-test-server', version);

  test('explicit path, then cache, then download', async () => {
    const { url, asked } = await downloads('temporal-test-server', 'temporal-test-server', '#!/bin/sh\nexit 0\n');
    const downloaded = await resolveTestServer(options({ downloadService: url }));
    expect(downloaded).toBe(join(folder(`sdk-${SDK_VERSION}`), 'temporal-test-server'));
    expect(await resolveTestServer(options())).toBe(downloaded);
    expect(asked).toHaveLength(2);
    const explicitPath = await script(join(dir, 'mine', 'server'), '#!/bin/sh\n');
    expect(await resolveTestServer(options({ explicitPath }))).toBe(explicitPath);
    await expect(resolveTestServer(options({ explicitPath: dir }))).rejects.toThrow('is not an executable file');
  });

  test('is put together from the Maven artifact where downloads are closed, and runs from where it lies', async () => {
    await script(join(bin, 'mvn'), `#!/bin/sh\ncat pom.xml > "${dir}/pom"\necho "$@" > "${dir}/mvn-arguments"\n`);
    await script(join(bin, 'java'), '#!/bin/sh\necho java "$@"\n');
    const path = await resolveTestServer(options());
    expect(path).toBe(join(folder('java-1.32.0'), 'temporal-test-server'));
    expect(await readFile(join(dir, 'pom'), 'utf8')).toContain('<artifactId>temporal-test-server</artifactId>');
    expect(await readFile(join(dir, 'mvn-arguments'), 'utf8')).toContain('copy-dependencies -DoutputDirectory=jars');
    const output = await run(path, ['7233'], { env: { PATH: bin }, timeoutMs: 20_000 });
    expect(output).toBe(`java -cp ${folder('java-1.32.0')}/jars/* io.temporal.testserver.TestServer 7233\n`);
  });

  test('when nothing works, the error names every way and each reason', async () => {
    const error = (await resolveTestServer(options()).catch((thrown: unknown) => thrown)) as Error;
    expect(error.message).toContain('nothing there yet');
    expect(error.message).toContain('no connection (ECONNREFUSED)');
    expect(error.message).toContain('the Maven artifact on a JVM: no `java` on the PATH');
  });
});

test('the cache folder follows XDG_CACHE_HOME, and is ~/.cache/recuerda without it', () => {
  expect(defaultCacheDir({ HOME: '/home/ana' })).toBe('/home/ana/.cache/recuerda');
  expect(defaultCacheDir({ HOME: '/home/ana', XDG_CACHE_HOME: '/var/cache/ana' })).toBe('/var/cache/ana/recuerda');
  expect(defaultCacheDir({ HOME: '/home/ana', XDG_CACHE_HOME: 'relative' })).toBe('/home/ana/.cache/recuerda');
});
