import { chmod, mkdir, writeFile } from 'node:fs/promises';
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

/** Where to look for the time-skipping test server. */
export interface TestServerOptions {
  /** The one to use, whatever else there is. */
  explicitPath?: string;
  /** Folder for what was downloaded or assembled; see `defaultCacheDir`. */
  cacheDir: string;
  /** PATH string to search for `mvn` and `java`. */
  path: string;
  onProgress: OnProgress;
  /** Environment of Maven; without it Maven runs with its defaults. */
  env?: NodeJS.ProcessEnv;
  /** Base URL of the download service. */
  downloadService?: string;
}

/** The artifact that is run on a JVM where downloads are closed. */
const ARTIFACT_VERSION = '1.32.0';
const DEPENDENCY_PLUGIN_VERSION = '3.8.1';
const MAVEN_TIMEOUT_MS = 15 * 60_000;

/** Copies the server and everything it needs into `jars/`, by the versions that its own pom asks for. */
const POM = `<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>recuerda</groupId>
  <artifactId>test-server</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>io.temporal</groupId>
      <artifactId>temporal-test-server</artifactId>
      <version>${ARTIFACT_VERSION}</version>
    </dependency>
    <!-- Without a binding the server's logging complains on every start. -->
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-nop</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
`;

const WRAPPER = `#!/bin/sh
exec java -cp "$(dirname "$0")/jars/*" io.temporal.testserver.TestServer "$@"
`;

/**
 * Absolute path of an executable time-skipping test server, for `TestWorkflowEnvironment.createTimeSkipping` with
 * `{ type: 'existing-path', path }`: the explicit path, the cache, the SDK's download, or its Maven artifact on a JVM.
 * An explicit path that is not executable is an error. Throws one error that names every way tried and why it failed.
 */
export async function resolveTestServer(options: TestServerOptions): Promise<string> {
  const { explicitPath, cacheDir, path, onProgress } = options;
  const env = toolEnv(path, options.env);
  const binary = process.platform === 'win32' ? 'temporal-test-server.exe' : 'temporal-test-server';
  const sdkVersion = dependencies['@temporalio/worker'];
  const downloaded = join(cacheDir, 'temporal-test-server', `sdk-${sdkVersion}`);
  const assembled = join(cacheDir, 'temporal-test-server', `java-${ARTIFACT_VERSION}`);

  if (explicitPath !== undefined) {
    const absolute = isAbsolute(explicitPath) ? explicitPath : resolve(explicitPath);
    if (await isExecutable(absolute)) return absolute;
    throw new Error(`The Temporal test server given explicitly (${absolute}) is not an executable file`);
  }

  return firstThatWorks(
    'A time-skipping Temporal test server',
    [
      {
        name: `the cache folder ${cacheDir}`,
        attempt: async () => {
          const native = join(downloaded, binary);
          if (await isExecutable(native)) return native;
          const wrapper = join(assembled, binary);
          if (!(await isExecutable(wrapper))) throw new Error('nothing there yet');
          if ((await findOnPath('java', path)) === undefined) throw new Error('there is one for a JVM, but no `java`');
          return wrapper;
        },
      },
      {
        name: "the SDK's official download",
        attempt: async () => {
          onProgress('Looking for a download of the Temporal test server …');
          const service = options.downloadService ?? SDK_DOWNLOAD_SERVICE;
          await fillOnce(downloaded, onProgress, async (dir) => {
            const download = { service, artifact: 'temporal-test-server', sdkVersion, env } as const;
            await downloadFromSdk(download, join(dir, binary), onProgress);
          });
          return join(downloaded, binary);
        },
      },
      {
        name: 'the Maven artifact on a JVM',
        attempt: async () => {
          if (process.platform === 'win32') throw new Error('not on Windows');
          if ((await findOnPath('java', path)) === undefined) throw new Error('no `java` on the PATH');
          const mvn = await findOnPath('mvn', path);
          if (mvn === undefined) throw new Error('no `mvn` on the PATH');
          await fillOnce(assembled, onProgress, async (dir) => {
            await withProgress(onProgress, 'Fetching the Temporal test server with Maven (once)', async () => {
              await writeFile(join(dir, 'pom.xml'), POM);
              await mkdir(join(dir, 'jars'));
              const goal = `org.apache.maven.plugins:maven-dependency-plugin:${DEPENDENCY_PLUGIN_VERSION}:copy-dependencies`;
              const args = [
                '-B',
                '-q',
                '-f',
                join(dir, 'pom.xml'),
                goal,
                '-DoutputDirectory=jars',
                '-DincludeScope=runtime',
              ];
              await run(mvn, args, { env, timeoutMs: MAVEN_TIMEOUT_MS, cwd: dir });
            });
            await writeFile(join(dir, binary), WRAPPER);
            await chmod(join(dir, binary), 0o755);
          });
          return join(assembled, binary);
        },
      },
    ],
    'To mend it: open downloads once, or put Java (11 or later) and Maven on the PATH, or give the explicit path of a ' +
      'temporal-test-server executable.',
  );
}
