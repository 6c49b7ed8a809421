import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleWorkflowCode } from '@temporalio/worker';
import { createDb } from '../../db/client';
import { migrate } from '../../db/migrate';
import { freePort } from '../../stack/ports';
import { type PostgresServer, startPostgres } from '../../stack/postgres';
import { resolveTemporalCli } from '../../stack/temporal-cli';
import { resolveTestServer } from '../../stack/test-server';
import { defaultCacheDir } from '../../stack/tool-cache';

/** What one run of the tests shares: a Postgres server with a migrated template, Temporal's binaries, the workflow bundle. */
export default async function globalSetup(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'recuerda-test-'));
  const onProgress = (line: string) => process.stderr.write(`  ${line}\n`);
  const tools = { cacheDir: defaultCacheDir(process.env), path: process.env.PATH ?? '', onProgress };
  const postgres = await startPostgres({ dir: join(dir, 'postgres'), port: await freePort(), onProgress, fast: true });

  const template = createDb({ url: postgres.url, maxConnections: 2, onError: () => {} });
  await migrate(template);
  await template.destroy();

  process.env.TEST_POSTGRES_URL = postgres.url;
  process.env.TEST_TEMPORAL_CLI = await resolveTemporalCli(tools);
  process.env.TEST_TEMPORAL_TEST_SERVER = await resolveTestServer(tools);
  process.env.TEST_WORKFLOW_BUNDLE = join(dir, 'workflows.js');
  const { code } = await bundleWorkflowCode({
    workflowsPath: require.resolve('../../workflows'),
    logger: { ...console, log: () => {}, trace: () => {}, debug: () => {}, info: () => {} },
  });
  await writeFile(process.env.TEST_WORKFLOW_BUNDLE, code);
  (globalThis as { testPostgres?: PostgresServer }).testPostgres = postgres;
}
