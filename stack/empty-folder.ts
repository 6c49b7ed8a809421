import { mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

/**
 * The folder of one run: the one that was asked for, new or empty, or one of its own in the system's folder for such.
 *
 * @throws Error where there is something in it: what an earlier run left would be looked at with this one
 */
export async function emptyFolder(wanted: string | undefined, prefix: string): Promise<string> {
  if (wanted === undefined) return await mkdtemp(path.join(tmpdir(), prefix));
  await mkdir(wanted, { recursive: true });
  if ((await readdir(wanted)).length > 0) throw new Error(`${wanted} is not empty: give each run a folder of its own`);
  return wanted;
}
