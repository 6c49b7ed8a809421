import { isAbsolute, join, resolve } from 'node:path';
import { dependencies } from '../package.json';
import {
  downloadFromSdk,
  fillOnce,
  findOnPath,
  firstThatWorks,
  isExecutable,
  type OnProgress,
  run,
  SDK_DOWNLOAD_SERVICE,
  toolEnv,
  withProgress,
} from './tool-cache';

/** Where to look for the Temporal CLI. */
export interface TemporalCliOptions {
  /** The one to use, whatever else there is. */
  explicitPath?: string;
  /** Folder for what was downloaded or built; see `defaultCacheDir`. */
  cacheDir: string;
  /** PATH string to search for `temporal` and `go`. */
  path: string;
  onProgress: OnProgress;
  /** Environment of the build (Go's own settings); without it Go runs with its defaults. */
  env?: NodeJS.ProcessEnv;
  /** Base URL of the download service. */
  downloadService?: string;
}

/** The release that is built from source where downloads are closed. */
const CLI_VERSION = '1.5.1';
/** Fairness keys and per-key limits need this server at least, as major and minor version. */
const MINIMUM_SERVER = [1, 29] as const;
const BUILD_TIMEOUT_MS = 30 * 60_000;

/**
 * Absolute path of a Temporal CLI that can run a dev server: the explicit path, `temporal` on the PATH, the cache, the
 * SDK's download, or a build with Go. An explicit path that does not work is an error, not a reason to look further.
 * Throws one error that names every way tried, why it failed, and how to mend it.
 */
export async function resolveTemporalCli(options: TemporalCliOptions): Promise<string> {
  const { explicitPath, cacheDir, path, onProgress } = options;
  const env = toolEnv(path, options.env);
  const binary = process.platform === 'win32' ? 'temporal.exe' : 'temporal';
  const sdkVersion = dependencies['@temporalio/worker'];
  const downloaded = join(cacheDir, 'temporal-cli', `sdk-${sdkVersion}`);
  const built = join(cacheDir, 'temporal-cli', `v${CLI_VERSION}`);

  if (explicitPath !== undefined) {
    const absolute = isAbsolute(explicitPath) ? explicitPath : resolve(explicitPath);
    try {
      return await usable(absolute, env);
    } catch (error) {
      throw new Error(`The Temporal CLI given explicitly (${absolute}) can't be used: ${(error as Error).message}`);
    }
  }

  return firstThatWorks(
    'A Temporal CLI with a dev server',
    [
      {
        name: '`temporal` on the PATH',
        attempt: async () => {
          const found = await findOnPath('temporal', path);
          if (found === undefined) throw new Error('not there');
          return usable(found, env);
        },
      },
      {
        name: `the cache folder ${cacheDir}`,
        attempt: async () => {
          for (const dir of [downloaded, built]) {
            const candidate = join(dir, binary);
            if (await isExecutable(candidate)) return usable(candidate, env);
          }
          throw new Error('nothing there yet');
        },
      },
      {
        name: "the SDK's official download",
        attempt: async () => {
          onProgress('Looking for a download of the Temporal CLI …');
          const service = options.downloadService ?? SDK_DOWNLOAD_SERVICE;
          await fillOnce(downloaded, onProgress, async (dir) => {
            const file = join(dir, binary);
            await downloadFromSdk({ service, artifact: 'cli', sdkVersion, env }, file, onProgress);
            await usable(file, env);
          });
          return usable(join(downloaded, binary), env);
        },
      },
      {
        name: '`go install` of the CLI',
        attempt: async () => {
          const go = await findOnPath('go', path);
          if (go === undefined) throw new Error('no Go toolchain on the PATH');
          await fillOnce(built, onProgress, async (dir) => {
            await withProgress(
              onProgress,
              'Building the Temporal CLI with Go (once; takes a few minutes)',
              async () => {
                await run(go, ['install', `github.com/temporalio/cli/cmd/temporal@v${CLI_VERSION}`], {
                  env: { ...env, GOBIN: dir },
                  timeoutMs: BUILD_TIMEOUT_MS,
                });
              },
            );
            await usable(join(dir, binary), env);
          });
          return usable(join(built, binary), env);
        },
      },
    ],
    'To mend it: install the Temporal CLI (see docs.temporal.io/cli) so that `temporal` is on the PATH, or set its explicit ' +
      'path, or set TEMPORAL_ADDRESS to a Temporal server that is already running.',
  );
}

/** The path, when it runs and its dev server is new enough; throws with the reason otherwise. */
async function usable(path: string, env: NodeJS.ProcessEnv): Promise<string> {
  if (!(await isExecutable(path))) throw new Error('it is not an executable file');
  const output = await run(path, ['--version'], { env, timeoutMs: 20_000 });
  const version = /\(Server (\d+)\.(\d+)/.exec(output);
  if (version === null) throw new Error('it does not answer `--version` like a Temporal CLI with a dev server');
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major < MINIMUM_SERVER[0] || (major === MINIMUM_SERVER[0] && minor < MINIMUM_SERVER[1])) {
    throw new Error(`its server is ${major}.${minor}, at least ${MINIMUM_SERVER.join('.')} is needed`);
  }
  return path;
}
