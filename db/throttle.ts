import { sql } from 'kysely';
import type { Db } from './client';

/** At most `hits` tries in each stretch of `windowMs`. */
export interface ThrottleRule {
  hits: number;
  windowMs: number;
}

/**
 * Counts a try, across all processes. Buckets must not hold personal data: give keyed hashes of addresses and IPs.
 *
 * @returns null when it is within the rule; otherwise for how long (ms) none is let through
 */
export async function throttle(db: Db, bucket: string, rule: ThrottleRule, now: Date): Promise<number | null> {
  const start = windowStart(rule, now);
  const { rows } = await sql<{ hits: number }>`
    insert into throttle as t (bucket, window_start, hits) values (${bucket}, ${start}, 1)
    on conflict (bucket, window_start) do update set hits = t.hits + 1
    returning hits`.execute(db);
  const hits = rows[0]?.hits ?? 0;
  return hits <= rule.hits ? null : start.getTime() + rule.windowMs - now.getTime();
}

/** Forgets what was counted that long ago (ms). */
export async function forgetThrottles(db: Db, olderThanMs: number, now: Date): Promise<void> {
  await db
    .deleteFrom('throttle')
    .where('window_start', '<', new Date(now.getTime() - olderThanMs))
    .execute();
}

/** Takes back a try that `throttle` counted, so that only failures count. */
export async function forgive(db: Db, bucket: string, rule: ThrottleRule, countedAt: Date): Promise<void> {
  const start = windowStart(rule, countedAt);
  await db
    .updateTable('throttle')
    .set((eb) => ({ hits: eb('hits', '-', 1) }))
    .where('bucket', '=', bucket)
    .where('window_start', '=', start)
    .where('hits', '>', 0)
    .execute();
}

function windowStart({ windowMs }: ThrottleRule, at: Date): Date {
  return new Date(Math.floor(at.getTime() / windowMs) * windowMs);
}
