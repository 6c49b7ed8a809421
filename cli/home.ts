import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StartError } from '../stack/start-error';
import { createWhole, parseObject, readIfThere, writeWhole } from '../stack/whole-file';

/** Where a stack on this machine keeps everything: `RECUERDA_HOME`, or `.recuerda` in the checkout. */
export function homeOf(env: NodeJS.ProcessEnv, root: string): string {
  return env.RECUERDA_HOME ? resolve(env.RECUERDA_HOME) : join(root, '.recuerda');
}

/** A process that can't be mistaken for a later one with the same number. */
interface ProcessMark {
  pid: number;
  /** What the system says of its beginning; empty where it says nothing. */
  since: string;
}

interface LockContent extends ProcessMark {
  /** Servers that end a moment after their owner was killed. */
  servers: ProcessMark[];
}

/** The right to run a stack in a home. */
export interface HomeLock {
  /** Names a server of this start, so that the next start waits for its end. */
  note(pid: number): void;
  /** Safe to call twice. */
  release(): void;
}

/** How long the servers of a start that was killed may take to notice and end, ms. */
const ORPHANS_MS = 60_000;

/**
 * Makes the home where there is none and takes its lock. A lock whose owner is gone is taken over, once the servers that
 * it left behind have ended.
 *
 * @throws StartError when another start uses this home
 */
export async function lockHome(home: string, say: (line: string) => void): Promise<HomeLock> {
  mkdirSync(home, { recursive: true });
  const file = join(home, 'lock');
  const content: LockContent = { ...markOf(process.pid), servers: [] };
  const orphans: ProcessMark[] = [];
  while (!createWhole(file, content)) {
    const text = readIfThere(file);
    if (text === undefined) continue;
    const held = parseLock(text);
    if (held !== undefined && isStill(held)) {
      throw new StartError(
        `Recuerda is already running in ${home} (process ${held.pid}). Stop that one first, or set RECUERDA_HOME to ` +
          'another folder for a second one.',
      );
    }
    orphans.push(...(held?.servers ?? []));
    putAside(file, text);
  }
  const lock: HomeLock = {
    note: (pid) => {
      content.servers.push(markOf(pid));
      writeWhole(file, content);
    },
    release: () => {
      const held = parseLock(readIfThere(file) ?? '');
      if (held?.pid === content.pid && held.since === content.since) rmSync(file, { force: true });
    },
  };
  try {
    await waitForOrphans(orphans, say);
  } catch (error) {
    lock.release();
    throw error;
  }
  return lock;
}

async function waitForOrphans(orphans: readonly ProcessMark[], say: (line: string) => void): Promise<void> {
  const deadline = Date.now() + ORPHANS_MS;
  let told = false;
  for (const orphan of orphans) {
    while (isStill(orphan)) {
      if (!told) say('Waiting for the servers of the last start to end …');
      told = true;
      if (Date.now() > deadline) {
        throw new StartError(`A server of the last start is still running (process ${orphan.pid}); end it first.`);
      }
      await sleep(100);
    }
  }
}

/** Where a running stack can be found; `stack.json` in its home while it runs. */
export interface StackInfo {
  apiUrl: string;
  apiKey: string;
  /** Null where Temporal is not ours. */
  temporalUi: string | null;
  /** Null where mail goes to SMTP_URL. */
  mailboxUrl: string | null;
  smtpUrl: string;
  databaseUrl: string;
  temporalAddress: string;
}

/** Writes `stack.json`, readable by its owner only. */
export function writeStackInfo(home: string, info: StackInfo): void {
  writeWhole(join(home, 'stack.json'), info);
}

/** Takes `stack.json` away. */
export function removeStackInfo(home: string): void {
  rmSync(join(home, 'stack.json'), { force: true });
}

/** The stack that runs in a home; null when none does. */
export function readStackInfo(home: string): StackInfo | null {
  const held = parseLock(readIfThere(join(home, 'lock')) ?? '');
  if (held === undefined || !isStill(held)) return null;
  return (parseObject(readIfThere(join(home, 'stack.json')) ?? '') as StackInfo | undefined) ?? null;
}

/** Takes away what earlier starts left in a home, and nothing else. Only while its lock is held. */
export function emptyHome(home: string): void {
  for (const name of ['postgres', 'mailbox', 'logs', 'journal', 'secrets.json', 'stack.json']) {
    rmSync(join(home, name), { recursive: true, force: true });
  }
  for (const suffix of ['', '-shm', '-wal']) rmSync(join(home, `temporal.db${suffix}`), { force: true });
}

function markOf(pid: number): ProcessMark {
  return { pid, since: beginningOf(pid) ?? '' };
}

function isStill(mark: ProcessMark): boolean {
  try {
    process.kill(mark.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const since = beginningOf(mark.pid);
  return since === undefined ? !existsSync('/proc/self/stat') : mark.since === '' || since === mark.since;
}

/** When a process began, as the system tells it; undefined where it is gone or the system has no way to tell. */
function beginningOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' ? undefined : fields[18];
  } catch {
    // No /proc here, or no such process.
  }
  if (existsSync('/proc/self/stat') || process.platform === 'win32') return undefined;
  try {
    const began = execFileSync('ps', ['-p', String(pid), '-o', 'lstart='], { encoding: 'utf8' }).trim();
    return began === '' ? undefined : began;
  } catch {
    return undefined;
  }
}

/** Takes a stale lock away, unless another start was quicker and this is its own already. */
function putAside(file: string, stale: string): void {
  const aside = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    renameSync(file, aside);
  } catch {
    return;
  }
  try {
    if (readFileSync(aside, 'utf8') !== stale) linkSync(aside, file);
  } catch {
    // Somebody holds the lock by now; the next look tells who.
  } finally {
    rmSync(aside, { force: true });
  }
}

function parseLock(text: string): LockContent | undefined {
  const value = parseObject(text);
  if (typeof value?.pid !== 'number' || typeof value.since !== 'string' || !Array.isArray(value.servers))
    return undefined;
  return value as unknown as LockContent;
}
