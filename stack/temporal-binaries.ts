import { rename, rm } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import {
  downloadWithSum,
  fillOnce,
  findOnPath,
  firstThatWorks,
  isExecutable,
  type OnProgress,
  run,
  toolEnv,
  withProgress,
} from './tool-cache';

/** The programs of a Temporal cluster. */
export interface TemporalBinaries {
  /** `temporal-server`: each role is a process of it. */
  server: string;
  /** `temporal-sql-tool`: makes and updates the schema, which it has inside. */
  sqlTool: string;
}

/** Where to look for them. */
export interface TemporalBinariesOptions {
  /** The ones to use, whatever else there is; both or none. */
  explicitServer?: string;
  explicitSqlTool?: string;
  /** Folder for what was downloaded or built; see `defaultCacheDir`. */
  cacheDir: string;
  /** PATH string to search for `temporal-server`, `temporal-sql-tool` and `go`. */
  path: string;
  onProgress: OnProgress;
  /** Environment of the build (Go's own settings); without it Go runs with its defaults. */
  env?: NodeJS.ProcessEnv;
  /** Base URL of Temporal's releases. */
  releases?: string;
}

/** The release that docker-compose.yml runs too. */
export const TEMPORAL_VERSION = '1.29.1';
const RELEASES = 'https://github.com/temporalio/temporal/releases/download';
const BUILD_TIMEOUT_MS = 30 * 60_000;

/**
 * The programs of a Temporal cluster of version 1.29.1: the explicit paths, the PATH, the cache, Temporal's own release (its
 * SHA-256 is compared with the published one), or a build with Go. Explicit paths that do not work are an error, not a
 * reason to look further. Throws one error that names every way tried, why it failed, and how to mend it.
 */
export async function resolveTemporalBinaries(options: TemporalBinariesOptions): Promise<TemporalBinaries> {
  const { explicitServer, explicitSqlTool, cacheDir, path, onProgress } = options;
  const env = toolEnv(path, options.env);
  const downloaded = join(cacheDir, 'temporal-server', `release-${TEMPORAL_VERSION}`);
  const built = join(cacheDir, 'temporal-server', `v${TEMPORAL_VERSION}`);

  if (explicitServer !== undefined || explicitSqlTool !== undefined) {
    if (explicitServer === undefined || explicitSqlTool === undefined) {
      throw new Error('RECUERDA_TEMPORAL_SERVER and RECUERDA_TEMPORAL_SQL_TOOL go together: set both, or none');
    }
    const given = { server: absolute(explicitServer), sqlTool: absolute(explicitSqlTool) };
    try {
      return await usable(given, env);
    } catch (error) {
      throw new Error(`The Temporal server given explicitly can't be used: ${(error as Error).message}`);
    }
  }

  return firstThatWorks(
    'The Temporal server',
    [
      {
        name: '`temporal-server` and `temporal-sql-tool` on the PATH',
        attempt: async () => {
          const [server, sqlTool] = await Promise.all([
            findOnPath('temporal-server', path),
            findOnPath('temporal-sql-tool', path),
          ]);
          if (server === undefined || sqlTool === undefined) throw new Error('not there');
          return usable({ server, sqlTool }, env);
        },
      },
      {
        name: `the cache folder ${cacheDir}`,
        attempt: async () => {
          for (const dir of [downloaded, built]) {
            if (await isExecutable(binariesIn(dir).server)) return usable(binariesIn(dir), env);
          }
          throw new Error('nothing there yet');
        },
      },
      {
        name: "Temporal's official release",
        attempt: async () => {
          onProgress('Looking for a download of the Temporal server …');
          await fillOnce(downloaded, onProgress, async (dir) => {
            await download(options.releases ?? RELEASES, dir, env, onProgress);
            await usable(binariesIn(dir), env);
          });
          return usable(binariesIn(downloaded), env);
        },
      },
      {
        name: '`go install` of the server',
        attempt: async () => {
          const go = await findOnPath('go', path);
          if (go === undefined) throw new Error('no Go toolchain on the PATH');
          await fillOnce(built, onProgress, async (dir) => {
            const line = 'Building the Temporal server with Go (once; takes a few minutes)';
            await withProgress(onProgress, line, () => build(go, dir, env));
            await usable(binariesIn(dir), env);
          });
          return usable(binariesIn(built), env);
        },
      },
    ],
    'To mend it: open downloads once, or put Go on the PATH, or unpack the release of ' +
      `github.com/temporalio/temporal/releases/tag/v${TEMPORAL_VERSION} so that both programs are on the PATH, or set ` +
      'RECUERDA_TEMPORAL_SERVER and RECUERDA_TEMPORAL_SQL_TOOL.',
  );
}

const ENDING = process.platform === 'win32' ? '.exe' : '';

function binariesIn(dir: string): TemporalBinaries {
  return { server: join(dir, `temporal-server${ENDING}`), sqlTool: join(dir, `temporal-sql-tool${ENDING}`) };
}

function absolute(path: string): string {
  return isAbsolute(path) ? path : resolve(path);
}

async function download(releases: string, dir: string, env: NodeJS.ProcessEnv, onProgress: OnProgress): Promise<void> {
  const platform = { win32: 'windows', darwin: 'darwin', linux: 'linux' }[process.platform as string];
  const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch as string];
  if (platform === undefined || arch === undefined) {
    throw new Error(`there is no release for ${process.platform} on ${process.arch}`);
  }
  const base = `${releases}/v${TEMPORAL_VERSION}`;
  const kind = platform === 'windows' ? 'zip' : 'tar.gz';
  const archive = join(dir, `archive.${kind}`);
  const url = `${base}/temporal_${TEMPORAL_VERSION}_${platform}_${arch}.${kind}`;
  await downloadWithSum({ url, sumsUrl: `${base}/checksums.txt` }, archive, onProgress);
  const names = [`temporal-server${ENDING}`, `temporal-sql-tool${ENDING}`];
  // Only Windows is served a zip, and the `tar` of Windows reads those too.
  await run('tar', ['-xf', archive, '-C', dir, ...names], { env, timeoutMs: 120_000 });
  await rm(archive);
}

async function build(go: string, dir: string, env: NodeJS.ProcessEnv): Promise<void> {
  const packages = ['server', 'tools/sql'].map((name) => `go.temporal.io/server/cmd/${name}@v${TEMPORAL_VERSION}`);
  await run(go, ['install', ...packages], { env: { ...env, GOBIN: dir }, timeoutMs: BUILD_TIMEOUT_MS });
  const { server, sqlTool } = binariesIn(dir);
  // Go names them after their folders.
  await rename(join(dir, `server${ENDING}`), server);
  await rename(join(dir, `sql${ENDING}`), sqlTool);
}

/** The paths, when both run and are of the version that is wanted; throws with the reason otherwise. */
async function usable(binaries: TemporalBinaries, env: NodeJS.ProcessEnv): Promise<TemporalBinaries> {
  for (const path of [binaries.server, binaries.sqlTool]) {
    if (!(await isExecutable(path))) throw new Error(`${path} is not an executable file`);
    const output = await run(path, ['--version'], { env, timeoutMs: 20_000 });
    const version = /version (\d+\.\d+\.\d+)/.exec(output)?.[1];
    if (version !== TEMPORAL_VERSION) {
      throw new Error(`${path} is ${version ?? 'of no version that it tells'}, and ${TEMPORAL_VERSION} is needed`);
    }
  }
  return binaries;
}
