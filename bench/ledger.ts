import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Db } from '../db/client';

// What the product's own tables say of how far it is: asked seldom, so that asking costs nothing that counts.

/** How many of a campaign's leads were sent a step, and the server took it. */
export async function acceptedOf(db: Db, campaignId: string, step = 0): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from message m join enrollment e on e.id = m.enrollment_id
    where e.campaign_id = ${campaignId} and m.step = ${step} and m.state = 'accepted'`.execute(db);
  return rows[0]?.n ?? 0;
}

/** How many enrollments wait for a reconciler, or for the API, to start them or to tell them something. */
export async function untold(db: Db): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select ((select count(*) from enrollment where started_at is null and outcome is null)
          + (select count(*) from enrollment where signal_at is not null))::int as n`.execute(db);
  return rows[0]?.n ?? 0;
}

/**
 * Looks until `look` is as large as wanted.
 *
 * @throws when nothing has moved for `patienceMs`
 */
export async function until(
  wanted: number,
  look: () => Promise<number>,
  options: { everyMs: number; patienceMs: number; onMove?: (value: number) => void },
): Promise<void> {
  let last = Number.NEGATIVE_INFINITY;
  let moved = Date.now();
  for (;;) {
    const value = await look();
    if (value >= wanted) return;
    if (value !== last) {
      last = value;
      moved = Date.now();
      options.onMove?.(value);
    } else if (Date.now() - moved > options.patienceMs) {
      throw new Error(`stands at ${value} of ${wanted} for ${options.patienceMs / 1000} s`);
    }
    await sleep(options.everyMs);
  }
}
