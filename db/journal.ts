import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { errorCode } from '../domain/error-code';
import type { Plan } from '../domain/plan';
import type { Stream } from '../domain/streams';
import { type Db, inTransaction, type Tx } from './client';

/**
 * What a journal outside Postgres must know, so that after a restore nobody who left meanwhile is mailed again, and what was
 * paused stays so. Ids and keyed hashes only.
 */
export type JournalFact =
  | { kind: 'stop'; enrollmentId: string; outcome: string }
  | { kind: 'pause' | 'resume'; enrollmentId: string }
  /** Nothing is sent before this (ISO 8601). */
  | { kind: 'snooze'; enrollmentId: string; nextDueAt: string }
  /**
   * Moved to another version of its campaign, for the `moves`-th time. All positions before `step` were dealt with, which falls
   * due at `nextDueAt` (ISO 8601). `content`: see `contentDigest`.
   */
  | {
      kind: 'move';
      enrollmentId: string;
      version: number;
      content: string;
      plan: Plan | null;
      moves: number;
      step: number;
      nextDueAt: string;
    }
  /** Who bought chose, at a later checkout (`optedOutAt`, ISO 8601), to get no advertising. */
  | { kind: 'consent-withdrawn'; enrollmentId: string; optedOutAt: string }
  | { kind: 'campaign-cancelled' | 'campaign-paused' | 'campaign-resumed'; campaignId: string }
  /** Only pauses that a person ends. `provider`: `*` is the whole stream. */
  | { kind: 'sending-paused'; stream: Stream; provider: string; reason: string }
  | { kind: 'sending-resumed'; stream: Stream; provider: string }
  | {
      kind: 'suppress';
      /** Of the person, under every key. */
      hashes: readonly string[];
      reason: 'objection' | 'complaint' | 'undeliverable' | 'campaign';
      campaignId: string | null;
    }
  | { kind: 'lift'; hashes: readonly string[]; reasons: readonly string[]; campaignId: string | null; by: string }
  | { kind: 'erase'; leadId: string; hashes: readonly string[] };

/** A record, so that the compiler misses a kind that is left out. */
const KINDS: Record<JournalFact['kind'], true> = {
  stop: true,
  'campaign-cancelled': true,
  pause: true,
  resume: true,
  snooze: true,
  move: true,
  'consent-withdrawn': true,
  'campaign-paused': true,
  'campaign-resumed': true,
  'sending-paused': true,
  'sending-resumed': true,
  suppress: true,
  lift: true,
  erase: true,
};

/** All kinds, in the order of two at the same moment: an outcome before the suppression that came with it. */
export const JOURNAL_KINDS = Object.keys(KINDS) as readonly JournalFact['kind'][];

/** One line of the journal. `turn`: which write of its database to the journal brought it; older lines have none. */
export type JournalEntry = JournalFact & { id: string; at: string; turn?: number };

/**
 * A line that says only how far its database was: while nobody leaves, a restore would go unnoticed without it. Its turn is
 * committed before it is written, so no crash in between makes a healthy database look older than its journal.
 */
export interface JournalBeat {
  kind: 'beat';
  /** ISO 8601. */
  at: string;
  turn: number;
}

/** Notes what the journal must be told, in the transaction in which it happens; `flushJournal` tells it. */
export async function noteForJournal(tx: Tx, facts: readonly JournalFact[], now: Date): Promise<void> {
  if (facts.length === 0) return;
  const rows = facts.map((fact) => {
    const entry: JournalEntry = { id: randomUUID(), at: now.toISOString(), ...fact };
    return { id: entry.id, entry: JSON.stringify(entry) };
  });
  await tx.insertInto('journal_outbox').values(rows).execute();
}

/** Where the journal is written. */
export interface JournalFile {
  /** Adds lines; resolves once they would survive a loss of power. Never called twice at the same time. */
  append(lines: readonly (JournalEntry | JournalBeat)[]): Promise<void>;
  close(): Promise<void>;
}

const BATCH = 1_000;
/** How long another process may hold the outbox (ms): whoever writes to a disk that hangs must not keep all others waiting. */
const LOCK_MS = 3_000;

/**
 * Moves what the outbox holds into the journal. Deleted only once it was written, so an entry may stand there twice, with
 * the same id, but never not at all. Whoever else moves something at the same time is waited for: when this resolves, all
 * that was noted before it began is written.
 *
 * @param seen the last turn that this process has committed: a database that is behind that was restored meanwhile
 * @returns how many entries were moved
 * @throws what the file or Postgres said; what was not moved stays in the outbox
 */
export async function flushJournal(db: Db, file: JournalFile, seen: { turn: number } = { turn: 0 }): Promise<number> {
  let moved = 0;
  for (;;) {
    const { rows: some } = await sql<{ any: boolean }>`select exists (select from journal_outbox) as any`.execute(db);
    if (some[0]?.any !== true) return moved;
    const { count, turn } = await inTransaction(db, async (tx) => {
      await sql`set local lock_timeout = ${sql.lit(LOCK_MS)}`.execute(tx);
      const rows = await tx
        .selectFrom('journal_outbox')
        .select(['id', 'entry'])
        .orderBy('seq')
        .limit(BATCH)
        .forUpdate()
        .execute();
      if (rows.length === 0) return { count: 0, turn: seen.turn };
      const turn = await takeTurn(tx, seen.turn);
      await file.append(rows.map((row) => ({ ...row.entry, turn })));
      const ids = rows.map((row) => row.id);
      await tx.deleteFrom('journal_outbox').where('id', '=', sql<string>`any(${ids}::uuid[])`).execute();
      return { count: rows.length, turn };
    });
    // Not before it is committed: a turn that was rolled back is taken again, and would look like a restored database.
    seen.turn = turn;
    moved += count;
    if (count < BATCH) return moved;
  }
}

async function takeTurn(tx: Tx, seen: number): Promise<number> {
  const { rows } = await sql<{ turn: string }>`
    update journal_state set turn = turn + 1, turned_at = now(),
      restored_at = case when turn < ${seen} then coalesce(restored_at, now()) else restored_at end
    returning turn`.execute(tx);
  return Number(rows[0]?.turn ?? 0);
}

/** What happened before this long (ms) ago, a database from a backup is known to lack. */
const BEAT_MS = 60_000;

/**
 * Writes a beat where the journal has been told nothing for a minute, by whatever process.
 *
 * @param seen as in `flushJournal`
 * @returns whether it did
 * @throws what the file or Postgres said
 */
export async function beat(db: Db, file: JournalFile, seen: { turn: number }, now: Date): Promise<boolean> {
  const turn = await inTransaction(db, async (tx) => {
    const { rows: due } = await sql`
      select from journal_state where turned_at is null or turned_at <= now() - ${BEAT_MS} * interval '1 millisecond'
      for update skip locked`.execute(tx);
    return due.length === 0 ? null : await takeTurn(tx, seen.turn);
  });
  if (turn === null) return false;
  seen.turn = turn;
  await file.append([{ kind: 'beat', at: now.toISOString(), turn }]);
  return true;
}

/** The journal of one process. */
export interface Journal {
  /** Writes what was noted before this call. Never rejects: what can't be written now stays, and is told. */
  keep(): Promise<void>;
  close(): Promise<void>;
}

/** How long whoever waits for the journal waits (ms). What is written later counts all the same. */
const PATIENCE_MS = 5_000;

/**
 * The journal of this process: any number may ask at the same time, and one write serves all that wait.
 *
 * @param onFault told, as a code, when the journal can't be written
 * @param beats whether writing also keeps the journal's beat
 */
export function createJournal(db: Db, file: JournalFile, onFault: (code: string) => void, beats: boolean): Journal {
  let running: Promise<void> = Promise.resolve();
  let waiting: Promise<void> | null = null;
  const seen = { turn: 0 };
  const flush = async () => {
    try {
      await flushJournal(db, file, seen);
      if (beats) await beat(db, file, seen, new Date());
    } catch (error) {
      onFault(errorCode(error));
    }
  };
  const next = () => {
    // Whoever asks while a write is under way needs the one after: what they noted may have come too late for it.
    waiting ??= running.then(() => {
      waiting = null;
      running = flush();
      return running;
    });
    return waiting;
  };
  return {
    keep: () => inTime(next(), onFault),
    close: async () => {
      await running;
      await file.close();
    },
  };
}

async function inTime(written: Promise<void>, onFault: (code: string) => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      onFault('ETIMEDOUT');
      resolve();
    }, PATIENCE_MS);
  });
  try {
    await Promise.race([written, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What waits to be written, and since when. */
export async function journalBacklog(db: Db): Promise<{ entries: number; since: Date | null }> {
  const { rows } = await sql<{ entries: number; since: Date | null }>`
    select count(*)::int as entries, min((entry->>'at')::timestamptz) as since from journal_outbox`.execute(db);
  return rows[0] ?? { entries: 0, since: null };
}

/** Where no journal is kept, what was noted for it goes after this time (ms): long enough to set one up that was forgotten. */
export async function dropJournal(db: Db, olderThanMs: number, now: Date): Promise<void> {
  await sql`
    delete from journal_outbox
    where (entry->>'at')::timestamptz < ${new Date(now.getTime() - olderThanMs)}`.execute(db);
}
