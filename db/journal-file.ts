import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Db } from './client';
import {
  createJournal,
  JOURNAL_KINDS,
  type Journal,
  type JournalBeat,
  type JournalEntry,
  type JournalFile,
} from './journal';

const SUFFIX = '.jsonl';

/**
 * The journal of this process in that directory; what can't be written is logged as an error, by its code.
 *
 * @param beats as in `createJournal`
 */
export function journalIn(
  db: Db,
  directory: string,
  log: { error(detail: object, message: string): void },
  beats: boolean,
): Journal {
  const onFault = (code: string) =>
    log.error({ code }, 'the journal could not be written; what is missing there waits in Postgres');
  return createJournal(db, openJournalFile(directory), onFault, beats);
}

/**
 * A file of this process's own in the journal's directory, one JSON object a line: any number of processes and machines may
 * share the directory, since nobody writes to another's file. A new file begins each day (UTC), and after every fault, so
 * that what broke off stays at the end of the old one.
 *
 * @param directory there already: one that is missing is most likely a disk that was not mounted
 */
export function openJournalFile(directory: string, clock: () => Date = () => new Date()): JournalFile {
  const mark = `${hostname().replaceAll(/[^A-Za-z0-9-]/g, '-')}-${randomBytes(6).toString('hex')}`;
  let current: { handle: FileHandle; day: string } | null = null;
  let files = 0;
  const close = async () => {
    const { handle } = current ?? {};
    current = null;
    await handle?.close().catch(() => {});
  };
  const fileFor = async (day: string): Promise<FileHandle> => {
    if (current?.day === day) return current.handle;
    await close();
    files += 1;
    const handle = await open(join(directory, `${day}-${mark}-${files}${SUFFIX}`), 'ax', 0o600);
    current = { handle, day };
    await syncDirectory(directory);
    return handle;
  };
  return {
    async append(lines) {
      try {
        const handle = await fileFor(clock().toISOString().slice(0, 10));
        await handle.appendFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
        await handle.datasync();
      } catch (error) {
        await close();
        throw error;
      }
    },
    close,
  };
}

/** A new file's name is kept by its directory. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const KINDS: ReadonlySet<unknown> = new Set(JOURNAL_KINDS);

/**
 * Reads a journal: all files of a directory, each entry once.
 *
 * @param since leaves out what is older
 * @param fromDay leaves out files of days before this one (YYYY-MM-DD, UTC)
 * @returns the entries, and how many lines were none: what broke off in a crash, or comes from a later release; `turn`: the
 *   latest write that any of the lines tells of; `beat`: the latest that a beat does, 0 where there is none
 * @throws what the file system says of the directory or a file
 */
export async function readJournal(
  directory: string,
  since: Date | null,
  fromDay = '',
): Promise<{ entries: JournalEntry[]; files: number; unreadable: number; turn: number; beat: number }> {
  const names = (await readdir(directory)).filter((name) => name.endsWith(SUFFIX) && name >= fromDay).sort();
  const entries = new Map<string, JournalEntry>();
  let unreadable = 0;
  let turn = 0;
  let beat = 0;
  for (const name of names) {
    for (const line of (await readFile(join(directory, name), 'utf8')).split('\n')) {
      if (line === '') continue;
      const entry = lineOf(line);
      turn = Math.max(turn, entry?.turn ?? 0);
      if (entry === null) unreadable += 1;
      else if (entry.kind === 'beat') beat = Math.max(beat, entry.turn);
      else if (since === null || new Date(entry.at) >= since) entries.set(entry.id, entry);
    }
  }
  return { entries: [...entries.values()], files: names.length, unreadable, turn, beat };
}

function lineOf(line: string): JournalEntry | JournalBeat | null {
  try {
    const value = JSON.parse(line) as JournalEntry | JournalBeat | null;
    if (value === null || Number.isNaN(Date.parse(value.at))) return null;
    if (value.kind === 'beat') return typeof value.turn === 'number' ? (value as JournalBeat) : null;
    return typeof value.id === 'string' && KINDS.has(value.kind) ? (value as JournalEntry) : null;
  } catch {
    return null;
  }
}
