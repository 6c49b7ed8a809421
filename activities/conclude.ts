import type { Db } from '../db/client';
import { loadTouch } from '../db/ledger';
import { stopEnrollments } from '../db/stops';
import type { Outcome } from '../domain/outcomes';
import type { ConcludeInput } from '../workflows/contract';

export interface ConcludeDeps {
  db: Db;
}

/**
 * Writes down how a journey ended that was ended in the engine (cancelled in its UI). What the row already says wins.
 */
export function createConclude({ db }: ConcludeDeps): (input: ConcludeInput) => Promise<Outcome> {
  return async ({ enrollmentId, outcome, now }) => {
    const at = new Date(Math.max(now, Date.now()));
    await stopEnrollments(db, { who: { enrollmentId }, outcome, detail: { by: 'engine' }, now: at });
    const touch = await loadTouch(db, enrollmentId);
    return touch === null ? 'erased' : (touch.outcome ?? outcome);
  };
}
