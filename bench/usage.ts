import { readdirSync, readFileSync } from 'node:fs';

// What processes cost, read from Linux's /proc; elsewhere nothing is told.

/** Clock ticks a second, as `getconf CLK_TCK` says on every Linux there is. */
const TICKS = 100;

/** CPU that these processes and all of their children have used so far (s), user and system. */
export function cpuSeconds(pids: readonly number[]): number {
  const stats = processes();
  return treeOf(pids, stats).reduce((sum, pid) => sum + (stats.get(pid)?.ticks ?? 0), 0) / TICKS;
}

/** Resident memory of these processes and their children (bytes); pages that they share count for each. */
export function residentBytes(pids: readonly number[]): number {
  const stats = processes();
  return treeOf(pids, stats).reduce((sum, pid) => sum + residentOf(pid), 0);
}

interface Process {
  parent: number;
  ticks: number;
}

function processes(): Map<number, Process> {
  const found = new Map<number, Process>();
  for (const name of entries('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const text = read(`/proc/${name}/stat`);
    // The name of the command may hold spaces and brackets; what follows the last bracket does not.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    if (fields.length < 15) continue;
    // Its own, and that of its children that have ended: Postgres has a process for each connection.
    const ticks = [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0);
    found.set(Number(name), { parent: Number(fields[1]), ticks });
  }
  return found;
}

function treeOf(pids: readonly number[], stats: ReadonlyMap<number, Process>): number[] {
  const tree = new Set(pids);
  for (let before = -1; before !== tree.size; ) {
    before = tree.size;
    for (const [pid, { parent }] of stats) if (tree.has(parent)) tree.add(pid);
  }
  return [...tree];
}

function residentOf(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1];
  return Number(kilobytes ?? 0) * 1024;
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
