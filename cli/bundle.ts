import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bundleWorkflowCode } from '@temporalio/worker';

/** `recuerda bundle FILE`: puts the workflow code together in one file, as a worker loads it. */
export async function runBundle(file: string): Promise<void> {
  const quiet = { log: () => {}, trace: () => {}, debug: () => {}, info: () => {}, warn: () => {} };
  const { code } = await bundleWorkflowCode({
    workflowsPath: require.resolve('../workflows'),
    workflowInterceptorModules: [require.resolve('../workflows/trace-headers')],
    logger: { ...quiet, error: (message) => console.error(message) },
  });
  await writeFile(file, code);
}

/**
 * Has the workflow code bundled by a process of its own, whose memory is given back when it ends: webpack would keep some
 * 150 MB of the worker's for good.
 *
 * @param work what needs the file; it is gone afterwards
 * @throws what the bundler said
 */
export async function withBundle<T>(work: (bundle: { codePath: string }) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'recuerda-bundle-'));
  const codePath = join(dir, 'workflows.js');
  try {
    await promisify(execFile)(process.execPath, [join(__dirname, 'recuerda.js'), 'bundle', codePath]);
    return await work({ codePath });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
