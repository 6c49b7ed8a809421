import { type RawBuilder, sql } from 'kysely';
import type { JourneyKind } from '../domain/journeys';
import type { Outcome } from '../domain/outcomes';
import type { Db } from './client';

// An enrollment's row is its own outbox: what Temporal has not been told yet is a column of it, and the reconciler finds
// it there. A lease keeps two reconcilers from doing the same work; it is not needed for correctness, since starting
// and signalling twice is harmless, and it holds no lock while Temporal is being called.

/** Whoever tells Temporal something is done well within this time (ms); if not, they have died and another may. */
export const LEASE_MS = 30_000;

export interface StartableJourney {
  enrollmentId: string;
  /** `lead` where it is left out. */
  journey?: JourneyKind;
  campaignId: string;
  step: number;
  /** One past its last step. */
  steps: number;
  infoAgain: boolean;
  fairnessKey: string;
  priority: number;
}

const startable = sql`e.id as "enrollmentId", e.journey, e.campaign_id as "campaignId", e.step, e.fairness_key as "fairnessKey",
  e.priority, e.info_due_at is not null as "infoAgain",
  (select case when e.plan is not null then jsonb_array_length(e.plan)
               when e.journey = 'lead' then jsonb_array_length(v.steps)
               -- Without a thanks, its first mail is step 1 (domain/campaign.ts, firstBuyerStep).
               else coalesce(jsonb_array_length(v.after_purchase), 0)
                    + (v.definition #>> '{afterPurchase,steps,0,kind}' is distinct from 'thanks')::int end
   from campaign_version v
   where v.campaign_id = e.campaign_id and v.version = e.version) as steps`;

/** What an enrollment needs to be started; null if it has ended or is gone. */
export async function startableJourney(db: Db, enrollmentId: string): Promise<StartableJourney | null> {
  const result = await sql<StartableJourney>`
    select ${startable} from enrollment e where e.id = ${enrollmentId} and e.outcome is null`.execute(db);
  return result.rows[0] ?? null;
}

/** The same, null too where its workflow was started already, or a reconciler has leased it and is about to. */
export async function unstartedJourney(db: Db, enrollmentId: string): Promise<StartableJourney | null> {
  const result = await sql<StartableJourney>`
    select ${startable} from enrollment e
    where e.id = ${enrollmentId} and e.outcome is null and e.started_at is null
      and (e.leased_until is null or e.leased_until < now())`.execute(db);
  return result.rows[0] ?? null;
}

/** Open enrollments whose workflow was never started, leased to the caller. @param freshMs leaves out what is younger */
export async function leaseUnstarted(db: Db, limit: number, leaseMs: number, freshMs = 0): Promise<StartableJourney[]> {
  const result = await sql<StartableJourney>`
    update enrollment e set leased_until = now() + ${leaseMs} * interval '1 millisecond'
    where e.id = any(array(
      select id from enrollment
      where started_at is null and outcome is null and (leased_until is null or leased_until < now())
        and enrolled_at <= now() - ${freshMs} * interval '1 millisecond'
      order by priority, enrolled_at limit ${limit} for update skip locked
    ))
    returning ${startable}`.execute(db);
  return result.rows;
}

/** Stamps enrollments whose workflow is known to be started. */
export async function markStarted(db: Db, enrollmentIds: readonly string[]): Promise<void> {
  await sql`
    update enrollment set started_at = coalesce(started_at, now()), leased_until = null
    where id = any(${enrollmentIds}::uuid[])`.execute(db);
}

export interface PendingSignal {
  enrollmentId: string;
  /** `lead` where it is left out. */
  journey?: JourneyKind;
  /** Null: wake it. */
  outcome: Outcome | null;
  signalAt: Date;
}

/** Enrollments whose workflow has not been told of a change, leased to the caller. */
export async function leaseSignals(db: Db, limit: number, leaseMs: number): Promise<PendingSignal[]> {
  const result = await sql<PendingSignal>`
    update enrollment e set leased_until = now() + ${leaseMs} * interval '1 millisecond'
    where e.id = any(array(
      select id from enrollment
      where signal_at is not null and (leased_until is null or leased_until < now())
      order by signal_at limit ${limit} for update skip locked
    ))
    returning e.id as "enrollmentId", e.journey, e.outcome, e.signal_at as "signalAt"`.execute(db);
  return result.rows;
}

/**
 * What an enrollment's workflow has not been told yet, leased to the caller as by `leaseSignals` with the same `leaseMs`; null when it
 * knows all, or when somebody else has leased it since the change, and is about to tell it.
 */
export async function leaseSignal(db: Db, enrollmentId: string, leaseMs: number): Promise<PendingSignal | null> {
  const result = await sql<PendingSignal>`
    update enrollment e set leased_until = now() + ${leaseMs} * interval '1 millisecond'
    where e.id = ${enrollmentId} and e.signal_at is not null
      and (e.leased_until is null or e.leased_until < now()
           or e.leased_until - ${leaseMs} * interval '1 millisecond' < e.signal_at)
    returning e.id as "enrollmentId", e.journey, e.outcome, e.signal_at as "signalAt"`.execute(db);
  return result.rows[0] ?? null;
}

/** The stamp of a change that a workflow must be told of; always a new one, whatever the clocks of other processes say. */
export function signalStamp(now: Date): RawBuilder<Date> {
  return sql<Date>`greatest(${now}::timestamptz, signal_at + interval '1 millisecond')`;
}

/** Stamps what was told. What has come up meanwhile stays, free for the next reconciler to tell. */
export async function markSignalled(db: Db, signals: readonly PendingSignal[]): Promise<void> {
  if (signals.length === 0) return;
  await sql`
    update enrollment e set leased_until = null,
      signal_at = case when date_trunc('milliseconds', e.signal_at) > told.at then e.signal_at end
    from unnest(${signals.map((signal) => signal.enrollmentId)}::uuid[],
                ${signals.map((signal) => signal.signalAt)}::timestamptz[]) as told (id, at)
    where e.id = told.id and e.signal_at is not null`.execute(db);
}

/**
 * The watchdog's finds: open, unpaused enrollments, not held for a paused stream, whose due time is well past, whatever became of their workflow. Each
 * is looked at again only after `againMs`.
 */
export async function leaseOverdue(
  db: Db,
  graceMs: number,
  limit: number,
  againMs: number,
): Promise<StartableJourney[]> {
  const result = await sql<StartableJourney>`
    update enrollment e set watched_until = now() + ${againMs} * interval '1 millisecond'
    where e.id = any(array(
      select o.id from enrollment o join campaign c on c.id = o.campaign_id
      where o.outcome is null and o.started_at is not null and o.paused_at is null and c.paused_at is null
        and (o.review_since is null or o.step = 0 or o.info_due_at is not null)
        and o.held_for is null
        and least(o.next_due_at, o.info_due_at) < now() - ${graceMs} * interval '1 millisecond'
        and (o.watched_until is null or o.watched_until < now())
      order by least(o.next_due_at, o.info_due_at) limit ${limit} for update of o skip locked
    ))
    returning ${startable}`.execute(db);
  return result.rows;
}
