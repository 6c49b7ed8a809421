import { sql } from 'kysely';
import type { Stream } from '../domain/streams';
import type { SendingPause } from './breaker';
import { type Db, inTransaction } from './client';
import { signalStamp } from './outbox';

// Who waits for a paused stream or provider: `enrollment.held_for` names the pause. Nobody keeps a list for a resume: it
// deletes the pause, and those who are held for what is no longer there are found and woken here, whatever dies in between.

/** How `held_for` names a pause. */
function nameOf(pause: { stream: Stream; provider: string }): string {
  return `${pause.stream}:${pause.provider}`;
}

/** @returns false when the pause is over by now: the journey must look again instead */
export async function holdForPause(
  db: Db,
  enrollmentId: string,
  pause: Pick<SendingPause, 'stream' | 'provider'>,
  now: Date,
): Promise<boolean> {
  return await inTransaction(db, async (tx) => {
    // While this lock is held nobody can resume it, and whoever does so afterwards finds the enrollment as held.
    const standing = await tx
      .selectFrom('sending_pause')
      .select('stream')
      .where('stream', '=', pause.stream)
      .where('provider', '=', pause.provider)
      .forShare()
      .executeTakeFirst();
    if (standing === undefined) return false;
    await tx
      .updateTable('enrollment')
      .set({ held_at: now, held_for: nameOf(pause) })
      .where('id', '=', enrollmentId)
      .where('outcome', 'is', null)
      .execute();
    return true;
  });
}

/**
 * Wakes those who are held for a pause that is over. Where the whole stream is still paused they are held for that from now
 * on, and not woken.
 *
 * @returns how many were found, up to `limit`
 */
export async function wakeHeld(db: Db, limit: number, now: Date): Promise<number> {
  const over = await pausesThatAreOver(db);
  let found = 0;
  for (const name of over) {
    if (found >= limit) break;
    const whole = `${name.split(':')[0]}:*`;
    const result = await sql<{ id: string }>`
      update enrollment e set
        held_for = case when s.stands then ${whole} end,
        held_at = case when s.stands then e.held_at end,
        signal_at = case when s.stands or e.outcome is not null then e.signal_at else ${signalStamp(now)} end
      from (select exists (select from sending_pause where stream || ':' || provider = ${whole}) as stands) s
      where e.id = any(array(
        select id from enrollment where held_for = ${name} limit ${limit - found} for no key update skip locked
      ))
      returning e.id`.execute(db);
    found += result.rows.length;
  }
  return found;
}

/** Names under which somebody is held, of pauses that are gone: found by skipping through the index. */
async function pausesThatAreOver(db: Db): Promise<string[]> {
  const result = await sql<{ name: string }>`
    with recursive held (name) as (
      (select held_for from enrollment where held_for is not null order by held_for limit 1)
      union all
      select (select e.held_for from enrollment e where e.held_for > h.name order by e.held_for limit 1)
      from held h where h.name is not null
    )
    select name from held
    where name is not null and not exists (select from sending_pause where stream || ':' || provider = name)`.execute(
    db,
  );
  return result.rows.map((row) => row.name);
}

/**
 * Sends one of those who are held to try, for every pause whose time for that has come. Whoever's mail comes first takes the
 * try, so waking one too many does no harm.
 *
 * @param leaseMs how long nobody else is woken for the same try
 */
export async function wakeProbes(db: Db, now: Date, leaseMs: number): Promise<number> {
  const result = await sql`
    with due as (
      update sending_pause set leased_until = ${new Date(now.getTime() + leaseMs)}
      where probe_at <= ${now} and (leased_until is null or leased_until < ${now})
      returning stream || ':' || provider as name
    ), one as (
      select picked.id from due cross join lateral (
        select e.id from enrollment e join campaign c on c.id = e.campaign_id
        where e.held_for = due.name and e.outcome is null and e.paused_at is null and c.paused_at is null
        order by e.next_due_at limit 1 for no key update of e skip locked
      ) picked
    )
    update enrollment e set held_for = null, held_at = null, signal_at = ${signalStamp(now)}
    from one where e.id = one.id
    returning e.id`.execute(db);
  return result.rows.length;
}
