import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long the system may take to end processes that were killed, ms. */
const GONE_TIMEOUT_MS = 10_000;

/**
 * SIGKILL for a process and everything that it has started, in other process groups and sessions too (each process of a
 * Postgres server is in one of its own). Resolves when none of them is left; throws when one stays for ten seconds.
 */
export async function killTree(pid: number): Promise<void> {
  // Stopped first, so that it starts nothing while we look.
  signal(pid, 'SIGSTOP');
  const tree = [pid, ...descendantsOf(pid)];
  for (const member of tree) signal(member, 'SIGKILL');
  const deadline = Date.now() + GONE_TIMEOUT_MS;
  while (tree.some(isThere)) {
    if (Date.now() > deadline) throw new Error(`Process ${tree.find(isThere)} was killed and does not end`);
    await sleep(10);
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function descendantsOf(root: number): number[] {
  const parents = parentsOfAll();
  const found = new Set([root]);
  // A child may have a lower number than its parent, so until nothing is added.
  for (let size = 0; size !== found.size; ) {
    size = found.size;
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid);
  }
  found.delete(root);
  return [...found];
}

/** The parent of each process of this machine. */
function parentsOfAll(): Map<number, number> {
  const parents = new Map<number, number>();
  try {
    for (const name of readdirSync('/proc')) {
      const parent = /^\d+$/.test(name) ? statOf(Number(name))?.parent : undefined;
      if (parent !== undefined) parents.set(Number(name), parent);
    }
  } catch {
    // No /proc here.
  }
  if (parents.size > 0) return parents;
  const listed = execFileSync('ps', ['-axo', 'pid=,ppid='], { encoding: 'utf8' });
  for (const line of listed.trim().split('\n')) {
    const [pid = 0, parent = 0] = line.trim().split(/\s+/).map(Number);
    parents.set(pid, parent);
  }
  return parents;
}

/** Whether a process is there and is not merely waiting to be reaped by its parent. */
function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  return statOf(pid)?.state !== 'Z';
}

function statOf(pid: number): { state: string; parent: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name before may hold anything.
    const [state = '', parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}
