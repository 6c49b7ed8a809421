import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { capsOn, type DailyCap, isCapped, type SendingLimits, type StreamLimits } from '../domain/limits';
import { PUNCTUAL_MS } from '../domain/planner';
import type { Stream } from '../domain/streams';
import { addUtcDays, startOfUtcDay, utcDay } from '../domain/warm-up';
import { type Db, inTransaction, type Tx } from './client';
import { currentLimits } from './limits';
import { signalStamp } from './outbox';

// Places in the daily quotas. Who finds none today is given one on the first day that has room, so that nobody wakes
// daily to ask again. `used` counts the places of a day that are given away, `taken` those of them that an attempt has
// made use of; neither exceeds the cap, also when that was lowered after places had been given away. A quota row is locked
// last, after the enrollment, and touched only where a cap is set.

/** Whose place it is. */
type Holder = { table: 'enrollment' | 'transactional'; id: string };

interface Slot {
  stream: Stream | null;
  day: string | null;
  taken: boolean;
}

const NO_SLOT: Slot = { stream: null, day: null, taken: false };

/** How far ahead places are given away (days), and how many days with room are tried before that is left to a retry. */
const HORIZON_DAYS = 366;
const TRIES = 50;

export interface SlotRequest {
  enrollmentId: string;
  step: number;
  /** 0 is the step itself, more are further copies of the information. */
  copy: number;
  stream: Stream;
  provider: string;
  limits: SendingLimits;
  now: Date;
  /** The first moment at or after another at which it may go out. */
  openingAt: (from: Date) => Date;
}

/**
 * Takes a place in today's quotas, of the stream and of the provider, for the mail that is about to be sent; or reserves
 * one on the first day with room and moves the mail's due time to its opening there. Today's place stays with the
 * enrollment until `spend`, so further attempts don't count again.
 *
 * @returns null when it may go now, otherwise when it will be due
 */
export async function takeSlot(db: Db, request: SlotRequest): Promise<Date | null> {
  const { enrollmentId, step, copy, stream, provider, now, openingAt } = request;
  const limits = request.limits[stream];
  if (!isCapped(limits, provider)) return null;
  const holder: Holder = { table: 'enrollment', id: enrollmentId };
  if (await takeToday(db, holder, { stream, provider, limits, now })) return null;
  return await reserve(db, holder, { stream, provider, limits, now, openingAt }, async (tx, dueAt) => {
    await sql`
      update enrollment
      set ${copy > 0 ? sql`info_due_at = greatest(info_due_at, ${dueAt}::timestamptz)` : sql`next_due_at = greatest(next_due_at, ${dueAt}::timestamptz)`}
      where id = ${enrollmentId} and outcome is null
        and ${copy > 0 ? sql`info_copies = ${copy}` : sql`step = ${step}`}`.execute(tx);
  });
}

/**
 * The same for a mail outside any journey.
 *
 * @returns null: go now; otherwise when to come again, at the beginning of the day on which its place is reserved
 */
export async function reserveTransactionalSlot(
  db: Db,
  { id, stream, provider, now }: { id: string; stream: Stream; provider: string; now: Date },
): Promise<Date | null> {
  const limits = (await currentLimits(db))[stream];
  if (!isCapped(limits, provider)) return null;
  const holder: Holder = { table: 'transactional', id };
  const request = { stream, provider, limits, now };
  if (await takeToday(db, holder, request)) return null;
  return await reserve(db, holder, { ...request, openingAt: (from) => from }, async () => {});
}

/** The attempt has named the recipient to the server: its place is used up, whatever follows. */
export async function spendSlot(db: Db, holder: Holder): Promise<void> {
  await sql`
    update ${sql.table(holder.table)}
    set slot_day = null, slot_taken = false ${holder.table === 'enrollment' ? sql`, slot_stream = null` : sql``}
    where id = ${holder.id} and slot_taken`.execute(db);
}

interface Taking {
  stream: Stream;
  provider: string;
  limits: StreamLimits;
  now: Date;
}

/** @returns false when today is full; the holder has no place of this stream then */
async function takeToday(db: Db, holder: Holder, { stream, provider, limits, now }: Taking): Promise<boolean> {
  const today = utcDay(now);
  return await inTransaction(db, async (tx) => {
    const slot = await lockSlot(tx, holder);
    // The claim will say what became of it.
    if (slot === null) return true;
    const todays = slot.stream === stream && slot.day === today;
    if (todays && slot.taken) return true;
    const caps = capsOn(limits, provider, today);
    if (caps.length === 0) return true;
    if (!todays) await giveBack(tx, slot, provider, today);
    const rows = await lockQuota(tx, stream, today, caps);
    const room = rows.every((row) => row.taken < row.cap && (todays || Math.max(row.used, row.taken) < row.cap));
    if (!room) {
      if (todays) await giveBack(tx, slot, provider, today);
      await setSlot(tx, holder, NO_SLOT);
      return false;
    }
    await sql`
      update sending_quota set taken = taken + 1, used = used + ${todays ? 0 : 1}
      where stream = ${stream} and day = ${today} and provider = any(${caps.map((cap) => cap.provider)}::text[])`.execute(
      tx,
    );
    await setSlot(tx, holder, { stream, day: today, taken: true });
    return true;
  });
}

/** Reserves a place on the first day with room. @param move notes, in the same transaction, when the mail falls due */
async function reserve(
  db: Db,
  holder: Holder,
  request: Taking & { openingAt: (from: Date) => Date },
  move: (tx: Tx, dueAt: Date) => Promise<void>,
): Promise<Date> {
  const { stream, limits, provider, now, openingAt } = request;
  const horizon = addUtcDays(utcDay(now), HORIZON_DAYS);
  let from = addUtcDays(utcDay(now), 1);
  for (let tries = 0; tries < TRIES && from < horizon; ) {
    const free = await firstDayWithRoom(db, request, from, horizon);
    const dueAt = openingAt(startOfUtcDay(free ?? horizon));
    const day = utcDay(dueAt);
    if (free !== null && day !== free) {
      // Its window is closed on that day: the first day with room from the opening on.
      from = day;
      continue;
    }
    const reserved = await inTransaction(db, async (tx) => {
      // It has ended, or is gone: the claim will say so.
      if ((await lockSlot(tx, holder)) === null) return true;
      // Beyond the horizon nothing is reserved: it asks again then.
      if (free !== null) {
        const caps = capsOn(limits, provider, day);
        const rows = await lockQuota(tx, stream, day, caps);
        if (rows.some((row) => Math.max(row.used, row.taken) >= row.cap)) return false;
        await sql`
          update sending_quota set used = used + 1
          where stream = ${stream} and day = ${day} and provider = any(${rows.map((row) => row.provider)}::text[])`.execute(
          tx,
        );
        await setSlot(tx, holder, { stream, day, taken: false });
      }
      await move(tx, dueAt);
      return true;
    });
    if (reserved) return dueAt;
    from = day;
    tries += 1;
  }
  throw Object.assign(new Error('no place could be reserved in the daily quota'), { code: 'quota_contended' });
}

/** One query for all days: on which of them do stream and provider both have a place left? */
async function firstDayWithRoom(
  db: Db,
  { stream, provider, limits }: Taking,
  from: string,
  horizon: string,
): Promise<string | null> {
  const capped: (DailyCap & { day: string })[] = [];
  const days: string[] = [];
  for (let day = from; day < horizon; day = addUtcDays(day, 1)) {
    days.push(day);
    for (const cap of capsOn(limits, provider, day)) capped.push({ day, ...cap });
  }
  const result = await sql<{ day: string }>`
    select d.day from unnest(${days}::date[]) as d (day)
    where not exists (
      select from unnest(${capped.map((cap) => cap.day)}::date[], ${capped.map((cap) => cap.provider)}::text[],
                         ${capped.map((cap) => cap.cap)}::int[]) as c (day, provider, cap)
      left join sending_quota q on q.stream = ${stream} and q.provider = c.provider and q.day = c.day
      where c.day = d.day and greatest(q.used, q.taken, 0) >= c.cap
    )
    order by d.day limit 1`.execute(db);
  return result.rows[0]?.day ?? null;
}

/** @returns null when the enrollment has ended, or is gone */
async function lockSlot(tx: Tx, holder: Holder): Promise<Slot | null> {
  const result = await sql<Slot>`
    select ${holder.table === 'enrollment' ? sql`slot_stream` : sql`stream`} as stream, slot_day as day,
           slot_taken as taken
    from ${sql.table(holder.table)}
    where id = ${holder.id} ${holder.table === 'enrollment' ? sql`and outcome is null` : sql``} for no key update`.execute(
    tx,
  );
  return result.rows[0] ?? null;
}

async function setSlot(tx: Tx, holder: Holder, slot: Slot): Promise<void> {
  await sql`
    update ${sql.table(holder.table)}
    set slot_day = ${slot.day}, slot_taken = ${slot.taken}
      ${holder.table === 'enrollment' ? sql`, slot_stream = ${slot.stream}` : sql``}
    where id = ${holder.id}`.execute(tx);
}

/** The quota rows of a day, made where there were none, locked in the order of their names. */
async function lockQuota(
  tx: Tx,
  stream: Stream,
  day: string,
  caps: readonly DailyCap[],
): Promise<{ provider: string; used: number; taken: number; cap: number }[]> {
  const names = caps.map((cap) => cap.provider);
  await sql`
    insert into sending_quota (stream, provider, day)
    select ${stream}, name, ${day}::date from unnest(${names}::text[]) as name order by name
    on conflict do nothing`.execute(tx);
  const rows = await tx
    .selectFrom('sending_quota')
    .select(['provider', 'used', 'taken'])
    .where('stream', '=', stream)
    .where('day', '=', day)
    .where('provider', 'in', names)
    .orderBy('provider')
    .forUpdate()
    .execute();
  return rows.map((row) => ({ ...row, cap: caps.find((cap) => cap.provider === row.provider)?.cap ?? 0 }));
}

/** A place that was reserved and not made use of is free again; one of a past day is worth nothing. */
async function giveBack(tx: Tx, slot: Slot, provider: string, today: string): Promise<void> {
  if (slot.stream === null || slot.day === null || slot.taken || slot.day < today) return;
  await sql`
    with locked as materialized (
      select stream, provider, day from sending_quota
      where stream = ${slot.stream} and day = ${slot.day} and provider in ('*', ${provider})
      order by provider for update
    )
    update sending_quota q set used = greatest(q.used - 1, q.taken)
    from locked l where (q.stream, q.provider, q.day) = (l.stream, l.provider, l.day)`.execute(tx);
}

/**
 * Gives back the places that were reserved for enrollments and not made use of, as a part of the transaction that has ended
 * or moved them. Their rows, and those of their messages, are locked by then.
 *
 * @param enrollments which, as a condition on `e`
 */
export async function giveBackSlots(tx: Tx, enrollments: RawBuilder<SqlBool>, now: Date): Promise<void> {
  await sql`
    with freed as (
      select e.slot_stream as stream, p.provider, e.slot_day as day, count(*)::int as places
      from enrollment e cross join lateral (values ('*'), (e.fairness_key)) as p (provider)
      where e.slot_day >= ${utcDay(now)} and not e.slot_taken and (${enrollments})
      group by e.slot_stream, p.provider, e.slot_day
    ), locked as materialized (
      select q.stream, q.provider, q.day, f.places
      from sending_quota q join freed f on (q.stream, q.provider, q.day) = (f.stream, f.provider, f.day)
      order by q.stream, q.day, q.provider for update of q
    )
    update sending_quota q set used = greatest(q.used - l.places, q.taken)
    from locked l where (q.stream, q.provider, q.day) = (l.stream, l.provider, l.day)`.execute(tx);
}

/** The `slot_day` of an enrollment whose reserved place was given back: a place that an attempt is using stays. */
export const keptSlotDay = sql<string | null>`case when slot_taken then slot_day end`;

/**
 * The caps of a stream were loosened: those who wait for their day come at once and take what there is. Their mail had been
 * due when the place was reserved, so none of it is early. Of nudges the due time is set so far back that they do not count as
 * punctual: the send window is looked at again.
 *
 * @returns how many
 */
export async function moveUp(db: Db, stream: Stream, now: Date): Promise<number> {
  return await inTransaction(db, async (tx) => {
    // A due time elsewhere than on the day of the place was moved by something else, and is left alone.
    const waiting = await sql<{ id: string; copy: boolean }>`
      select id, step > 0 and slot_stream = 'requested' as copy from enrollment
      where slot_stream = ${stream} and slot_day > ${utcDay(now)} and not slot_taken and outcome is null
        and slot_day = ((case when step > 0 and slot_stream = 'requested' then info_due_at else next_due_at end)
                        at time zone 'UTC')::date
      order by id for no key update`.execute(tx);
    const ids = waiting.rows.map((row) => row.id);
    if (ids.length === 0) return 0;
    await giveBackSlots(tx, sql<SqlBool>`e.id = any(${ids}::uuid[])`, now);
    const dueAt = stream === 'marketing' ? new Date(now.getTime() - PUNCTUAL_MS - 1) : now;
    const copies = waiting.rows.filter((row) => row.copy).map((row) => row.id);
    await sql`
      update enrollment set
        info_due_at = case when id = any(${copies}::uuid[]) then ${dueAt}::timestamptz else info_due_at end,
        next_due_at = case when id = any(${copies}::uuid[]) then next_due_at else ${dueAt}::timestamptz end,
        slot_stream = null, slot_day = null, signal_at = ${signalStamp(now)}
      where id = any(${ids}::uuid[])`.execute(tx);
    return ids.length;
  });
}

/** Today's quotas as far as they are touched: given away, and made use of. */
export async function quotaOn(
  db: Db,
  day: string,
): Promise<{ stream: Stream; provider: string; used: number; taken: number }[]> {
  return await db
    .selectFrom('sending_quota')
    .select(['stream', 'provider', 'used', 'taken'])
    .where('day', '=', day)
    .orderBy('stream')
    .orderBy('provider')
    .execute();
}
