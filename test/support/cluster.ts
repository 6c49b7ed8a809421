import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const ROOT = join(__dirname, '..', '..');
/** Building the server takes a small machine that long, once. */
const RESOLVE_MS = 40 * 60_000;

/** Found, as settings for `startCluster`; or why not. */
function binaries(): { env: NodeJS.ProcessEnv } | { missing: string } {
  const program = join(ROOT, 'test', 'support', 'fixtures', 'temporal-binaries.ts');
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', program], {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: RESOLVE_MS,
  });
  if (status !== 0) return { missing: stderr };
  return { env: JSON.parse(stdout) as NodeJS.ProcessEnv };
}

/**
 * `describe` for tests that need Temporal's server by roles, which is downloaded or built once. Where it can't be had the
 * tests are skipped, and say so; with RECUERDA_TEST_CLUSTER=required, as in CI, that is a failure.
 *
 * @param tests is given the environment for `startCluster`
 */
export function describeCluster(title: string, tests: (env: NodeJS.ProcessEnv) => void): void {
  const found = binaries();
  if ('env' in found) describe(title, () => tests({ ...process.env, ...found.env }));
  else if (process.env.RECUERDA_TEST_CLUSTER === 'required') {
    test(title, () => {
      throw new Error(found.missing);
    });
  } else {
    process.stderr.write(`${title}: skipped. ${found.missing}\n`);
    describe.skip(`${title} (skipped: needs the Temporal server)`, () => tests({}));
  }
}
