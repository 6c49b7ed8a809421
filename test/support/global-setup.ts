import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleWorkflowCode } from '@temporalio/worker';
import { createDb } from '../../db/client';
import { migrate } from '../../db/migrate';
import { freePort } from '../../stack/ports';
import { startPostgres } from '../../stack/postgres';
import { resolveTemporalCli } from '../../stack/temporal-cli';
import { resolveTestServer } from '../../stack/test-server';
import { defaultCacheDir } from '../../stack/tool-cache';
import type { SharedByTests } from './global-teardown';

/** What one run of the tests shares: a Postgres server with a migrated template, Temporal's binaries, the workflow bundle. */
export default async function globalSetup(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'recuerda-test-'));
  const onProgress = (line: string) => process.stderr.write(`  ${line}\n`);
  const { env } = process;
  const tools = { cacheDir: defaultCacheDir(env), path: env.PATH ?? '', env, onProgress };
  const cli = env.RECUERDA_TEMPORAL_CLI;
  const testServer = env.RECUERDA_TEST_SERVER;
  const postgres = await startPostgres({
    dir: join(dir, 'postgres'),
    port: await freePort(),
    onProgress,
    fast: true,
    maxConnections: 300,
  });

  Object.assign(globalThis, { testPostgres: postgres, testFolder: dir } satisfies SharedByTests);

  const template = createDb({ url: postgres.url, maxConnections: 2, onError: () => {} });
  await migrate(template);
  await template.destroy();

  process.env.TEST_POSTGRES_URL = postgres.url;
  process.env.TEST_TEMPORAL_CLI = await resolveTemporalCli({ ...tools, ...(cli ? { explicitPath: cli } : {}) });
  process.env.TEST_TEMPORAL_TEST_SERVER = await resolveTestServer({
    ...tools,
    ...(testServer ? { explicitPath: testServer } : {}),
  });
  process.env.TEST_WORKFLOW_BUNDLE = join(dir, 'workflows.js');
  const { code } = await bundleWorkflowCode({
    workflowsPath: require.resolve('../../workflows'),
    workflowInterceptorModules: [require.resolve('../../workflows/trace-headers')],
    logger: { ...console, log: () => {}, trace: () => {}, debug: () => {}, info: () => {} },
  });
  await writeFile(process.env.TEST_WORKFLOW_BUNDLE, code);
}
