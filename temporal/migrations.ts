import { setTimeout as sleep } from 'node:timers/promises';
import { forgetDryRuns, migrateSome, runningMigrations } from '../db/campaign-migrations';
import type { Db } from '../db/client';
import { errorCode } from '../domain/error-code';
import type { Log } from './log';

export interface MigrationsOptions {
  db: Db;
  log: Log;
  timeFactor: number;
  /** Pause between two looks that found nothing to do, ms. */
  everyMs?: number;
}

const TIDY_EVERY_MS = 60 * 60_000;

/**
 * Moves leads to other versions as migrations say, and finds out for dry runs what would change, for as long as `signal` lets
 * it. Any number may run; whatever dies, another goes on where the last batch was written down. The journeys of those who
 * come due sooner are woken by the reconciler.
 */
export async function runMigrations(options: MigrationsOptions, signal: AbortSignal): Promise<void> {
  const { db, log, timeFactor, everyMs = 1_000 } = options;
  let tidied = 0;
  while (!signal.aborted) {
    let done = 0;
    try {
      for (const migrationId of await runningMigrations(db)) {
        if (signal.aborted) break;
        const batch = await migrateSome(db, migrationId, { timeFactor, now: new Date() });
        done += batch.done;
        if (batch.finished) log.info({ migrationId }, 'a migration is through');
      }
      if (Date.now() - tidied >= TIDY_EVERY_MS) {
        await forgetDryRuns(db, new Date());
        tidied = Date.now();
      }
    } catch (error) {
      done = 0;
      log.warn({ code: errorCode(error) }, 'moving leads to another version failed; will try again');
    }
    if (done === 0) await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
}
