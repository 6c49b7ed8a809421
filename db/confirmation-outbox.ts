import { sql } from 'kysely';
import type { Db } from './client';

// A request's row is its own outbox, as an enrollment's is (db/outbox.ts).

/** A request of which the engine should hear: that it waits, or how it ended. */
export interface PendingRequest {
  requestId: string;
  campaignId: string;
  state: 'pending' | 'confirmed' | 'expired' | 'withdrawn';
  /** Since when its workflow should know how it ended; null: it knows, or nothing has ended. */
  signalAt: Date | null;
}

const COLUMNS = sql`id as "requestId", campaign_id as "campaignId", state, signal_at as "signalAt"`;

/** Another look at a request that is overdue is taken this often (ms). */
const WATCH_AGAIN_MS = 15 * 60_000;

/** @returns null when the engine has nothing to hear of it */
export async function pendingRequest(db: Db, requestId: string): Promise<PendingRequest | null> {
  const { rows } = await sql<PendingRequest>`
    select ${COLUMNS} from form_request
    where id = ${requestId} and (state = 'pending' or signal_at is not null)`.execute(db);
  return rows[0] ?? null;
}

/**
 * Requests whose workflow was never started, or was not told how they ended, and those that should have been asked,
 * reminded or ended long ago, whatever became of their workflow; leased to the caller.
 *
 * @param graceMs how long past its time one may be
 */
export async function leaseRequests(
  db: Db,
  limit: number,
  leaseMs: number,
  graceMs: number,
): Promise<PendingRequest[]> {
  const free = sql`(leased_until is null or leased_until < now())`;
  const past = sql`now() - ${graceMs} * interval '1 millisecond'`;
  const { rows } = await sql<PendingRequest>`
    update form_request set
      leased_until = now() + (case when started_at is null or signal_at is not null then ${leaseMs}::bigint
                                   else ${WATCH_AGAIN_MS}::bigint end) * interval '1 millisecond'
    where id = any(array(
      select id from form_request where state = 'pending' and started_at is null and ${free}
      order by requested_at limit ${limit} for update skip locked
    ) || array(
      select id from form_request where signal_at is not null and ${free}
      order by signal_at limit ${limit} for update skip locked
    ) || array(
      select id from form_request
      where state = 'pending' and started_at < ${past} and ${free}
        and (expires_at < ${past} or mail_id is null or reminder_id is null and remind_at < ${past})
      order by expires_at limit ${limit} for update skip locked
    ))
    returning ${COLUMNS}`.execute(db);
  return rows;
}

/** Stamps requests of which the engine has heard. What has come up meanwhile stays, free for the next reconciler to tell. */
export async function markRequestsTold(db: Db, requests: readonly PendingRequest[]): Promise<void> {
  if (requests.length === 0) return;
  await sql`
    update form_request r set
      leased_until = case when r.started_at is null or told.at is not null then null else r.leased_until end,
      started_at = coalesce(r.started_at, now()),
      signal_at = case when told.at is null or date_trunc('milliseconds', r.signal_at) > told.at then r.signal_at end
    from unnest(${requests.map((request) => request.requestId)}::uuid[],
                ${requests.map((request) => request.signalAt)}::timestamptz[]) as told (id, at)
    where r.id = told.id`.execute(db);
}
