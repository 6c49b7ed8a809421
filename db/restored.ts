import { sql } from 'kysely';
import { OperatorError } from '../domain/operator-error';
import type { Db } from './client';
import { readJournal } from './journal-file';

// The journal lies outside Postgres and is not restored with it. So a database that is behind its journal comes from a backup:
// it has forgotten who left, and what was sent, since then.

/** This database was restored, and may not be worked with before somebody has brought it up to date. */
export class RestoredDatabase extends OperatorError {
  constructor(readonly behindJournal: boolean) {
    super(
      behindJournal
        ? 'This database is older than its journal: it comes from a backup, and has forgotten who left since. Run `recuerda ' +
            'replay-journal`, then `recuerda audit --mend`. (A database that is meant to be new needs a journal directory of its own.)'
        : 'This database comes from a backup, and does not know what was sent since: run `recuerda audit --mend`.',
    );
    this.name = 'RestoredDatabase';
  }
}

/**
 * Notes it where the journal tells of writes that this database does not know of.
 *
 * @returns since when it is known to have been restored and not been audited yet; null: it was not, or is up to date
 * @throws what the file system says of the directory
 */
export async function noticeRestore(
  db: Db,
  journal: string | null,
): Promise<{ restoredAt: Date; behindJournal: boolean } | null> {
  const behindJournal = journal !== null && (await isBehind(db, journal));
  if (behindJournal) {
    await sql`update journal_state set restored_at = coalesce(restored_at, now())`.execute(db);
  }
  const { restored_at: restoredAt } = await db
    .selectFrom('journal_state')
    .select('restored_at')
    .executeTakeFirstOrThrow();
  return restoredAt === null ? null : { restoredAt, behindJournal };
}

/** @throws RestoredDatabase */
export async function assertNotRestored(db: Db, journal: string | null): Promise<void> {
  const restored = await noticeRestore(db, journal);
  if (restored !== null) throw new RestoredDatabase(restored.behindJournal);
}

async function isBehind(db: Db, journal: string): Promise<boolean> {
  const last = await db.selectFrom('journal_state').select('turned_at').executeTakeFirstOrThrow();
  // Nothing that this database does not know is older than the last that it does; clocks may differ by hours, not by a day.
  const from = last.turned_at === null ? '' : new Date(last.turned_at.getTime() - DAY_MS).toISOString().slice(0, 10);
  // The journal first: what is written to it meanwhile, the database knows by then.
  const { entries, beat } = await readJournal(journal, null, from);
  const { rows } = await sql<{ turn: string; waiting: string[] }>`
    select turn, array(select id from journal_outbox) as waiting from journal_state`.execute(db);
  const [{ turn = '0', waiting = [] } = {}] = rows;
  // Where a process has died between writing to the file and its commit, what it wrote still waits to be written.
  const own = new Set(waiting);
  if (beat > Number(turn)) return true;
  return entries.some((entry) => (entry.turn ?? 0) > Number(turn) && !own.has(entry.id));
}

const DAY_MS = 24 * 60 * 60_000;

/** The journal was replayed: from here on the database is as far as that. @param turn the latest of the journal */
export async function noteReplay(db: Db, turn: number): Promise<void> {
  await sql`
    update journal_state set
      restored_at = case when turn < ${turn} then coalesce(restored_at, now()) else restored_at end,
      turn = greatest(turn, ${turn}), turned_at = now()`.execute(db);
}

/** Postgres and Temporal were compared, and agree: workers may start. */
export async function noteAudit(db: Db): Promise<void> {
  await db.updateTable('journal_state').set({ restored_at: null }).execute();
}
