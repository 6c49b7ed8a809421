import { erasureSettings, readConfig } from '../config';
import { createDb } from '../db/client';
import { eraseLead } from '../db/erasure';
import { readJournal } from '../db/journal-file';
import { type ReplayCounts, replayJournal } from '../db/journal-replay';
import { noteReplay } from '../db/restored';
import { messageIdsOf } from './audit';

export interface ReplayOptions {
  since?: string;
}

/**
 * `recuerda replay-journal`: brings a restored database up to date with the journal, and says what it did. Before any worker
 * starts. Running it again changes nothing.
 *
 * @param directory of the journal; RECUERDA_JOURNAL where it is left out
 * @returns the exit code: 1 when there was nothing to read
 */
export async function runReplayJournal(
  env: NodeJS.ProcessEnv,
  directory: string | undefined,
  options: ReplayOptions,
  out: { write(text: string): unknown },
): Promise<number> {
  const config = readConfig(env);
  const from = directory ?? config.journal;
  const since = options.since === undefined ? null : new Date(options.since);
  if (from === null) {
    out.write('Say where the journal is: name its directory, or set RECUERDA_JOURNAL.\n');
    return 1;
  }
  if (since !== null && Number.isNaN(since.getTime())) {
    out.write('--since must be a date or time as ISO 8601 has it, such as 2026-11-30T08:00:00Z.\n');
    return 1;
  }
  const { entries, files, unreadable, turn } = await readJournal(from, since);
  if (files === 0) {
    out.write('There is no journal in that directory.\n');
    return 1;
  }
  const db = createDb({ url: config.databaseUrl, maxConnections: 2, onError: () => {} });
  try {
    const erase = async (leadId: string, now: Date) => {
      await eraseLead(db, { ...erasureSettings(config), leadId, by: 'journal', now });
    };
    const deps = { erase, messageIdOf: messageIdsOf(config), counted: config.frequencyCap !== null };
    out.write(
      `${files} files, ${entries.length} entries${unreadable > 0 ? `, ${unreadable} lines that are none` : ''}\n`,
    );
    out.write(tableOf(await replayJournal(db, entries, deps)));
    await noteReplay(db, turn);
    return 0;
  } finally {
    await db.destroy();
  }
}

function tableOf(counts: ReplayCounts): string {
  const rows = Object.entries(counts).filter(([, { applied, known, unknown }]) => applied + known + unknown > 0);
  return [
    ['', 'applied', 'already so', 'unknown here'],
    ...rows.map(([kind, { applied, known, unknown }]) => [kind, String(applied), String(known), String(unknown)]),
  ]
    .map(([kind = '', ...cells]) => `${kind.padEnd(20)}${cells.map((cell) => cell.padStart(14)).join('')}\n`)
    .join('');
}
