import { spawnSync } from 'node:child_process';

/** Debian's folders for servers are not on everybody's PATH. */
const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;

/** Is this program on the machine? */
export function isInstalled(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`], { env: { ...process.env, PATH } }).status === 0;
}

/**
 * `describe` for tests that need programs which npm can't bring (Debian's postfix, dovecot-imapd, spamassassin …), and root
 * to run servers. Where they are missing the tests are skipped, and say so; CI installs them.
 */
export function describeWith(programs: readonly string[], title: string, tests: () => void): void {
  const missing = programs.filter((program) => !isInstalled(program));
  if (missing.length === 0) describe(title, tests);
  else describe.skip(`${title} (skipped: needs ${missing.join(', ')})`, tests);
}
