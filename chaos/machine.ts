import { cpus, totalmem } from 'node:os';

/** What a run was made on, in a few words. */
export function machine(): string {
  const [first] = cpus();
  return `${cpus().length} CPUs (${first?.model ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GB, Node ${process.version}`;
}
