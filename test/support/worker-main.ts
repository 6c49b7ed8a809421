import { DefaultLogger, Runtime } from '@temporalio/worker';
import { readConfig } from '../../config';
import { exitWithParent } from '../../stack/supervisor';
import type { Log } from '../../temporal/log';
import { startWorker } from '../../worker';

// The worker process of the crash tests: the product's own worker with its own settings, and the bundle that the test
// run has made. It tells its parent when it takes tasks.

const log: Log = {
  info: (fields, message) => console.log(JSON.stringify({ level: 'info', message, ...fields })),
  warn: (fields, message) => console.log(JSON.stringify({ level: 'warn', message, ...fields })),
  error: (fields, message) => console.log(JSON.stringify({ level: 'error', message, ...fields })),
};

async function main(): Promise<void> {
  exitWithParent(5_000);
  Runtime.install({ logger: new DefaultLogger('WARN'), shutdownSignals: [] });
  const codePath = process.env.TEST_WORKFLOW_BUNDLE;
  if (codePath === undefined) throw new Error('TEST_WORKFLOW_BUNDLE is set by test/support/global-setup.ts');
  const worker = await startWorker(readConfig(process.env), log, { codePath });
  process.once('SIGTERM', () => void worker.stop());
  process.send?.('ready');
  await worker.finished;
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
