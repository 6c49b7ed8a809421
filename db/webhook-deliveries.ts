import { type Selectable, sql } from 'kysely';
import { Problem } from '../domain/problem';
import { retryWait, TEST_EVENT } from '../domain/webhook-events';
import type { Actor } from './audit';
import { type Db, inTransaction } from './client';
import type { WebhookDeliveryTable } from './schema';
import { disableEndpoint, ROTATION_HOURS } from './webhook-endpoints';

// What endpoints are to be told is written by a trigger on `event` (queue_webhooks), in the transaction in which it happened;
// from there on each delivery is its own outbox. A lease keeps two workers from the same one. Times are those of Postgres.

/** One event for one endpoint, and how far it has got. */
export interface WebhookDelivery {
  /** The header `webhook-id`, the same for every try. */
  id: string;
  endpointId: string;
  type: string;
  createdAt: Date;
  state: 'pending' | 'delivered' | 'failed';
  attempts: number;
  /** When it is tried next; null where it is not. */
  nextAt: Date | null;
  /** HTTP status of the last answer. */
  status: number | null;
  /** Why the last try failed, as a code. */
  failure: string | null;
  finishedAt: Date | null;
}

/** A delivery that is to be tried now. */
export interface LeasedDelivery {
  id: string;
  endpointId: string;
  payload: Record<string, unknown>;
  /** This one included. */
  attempts: number;
  /** Since when it is being tried, ms. */
  ageMs: number;
  url: string;
  /** The versions of the secret that sign it, the newest first. */
  secretVersions: number[];
}

/**
 * Deliveries that are due, leased to the caller. A few of each endpoint, so that one that is slow, or has much to catch up
 * on, holds up no other.
 *
 * @param busy endpoints that are to be left out
 */
export async function leaseDeliveries(
  db: Db,
  busy: readonly string[],
  perEndpoint: number,
  leaseMs: number,
): Promise<LeasedDelivery[]> {
  const result = await sql<LeasedDelivery>`
    with due as materialized (
      select one.id from webhook_endpoint w cross join lateral (
        select d.id from webhook_delivery d
        where d.endpoint_id = w.id and d.state = 'pending' and d.next_at <= now()
          and (d.leased_until is null or d.leased_until < now())
        order by d.next_at limit ${perEndpoint} for update skip locked
      ) one
      where w.disabled_at is null and w.id != all(${busy}::uuid[])
    )
    update webhook_delivery d
    set leased_until = now() + ${leaseMs} * interval '1 millisecond', attempts = attempts + 1
    from due, webhook_endpoint w
    where d.id = due.id and w.id = d.endpoint_id
    returning d.id, d.endpoint_id as "endpointId", d.payload, d.attempts, w.url,
      (extract(epoch from now() - d.tried_since) * 1000)::float8 as "ageMs",
      array(select generate_series(w.secret_version,
        case when w.rotated_at > now() - ${ROTATION_HOURS} * interval '1 hour' then w.signs_from else w.secret_version end,
        -1)) as "secretVersions"`.execute(db);
  return result.rows;
}

/** What the receiver answered, or why there was no answer. */
export type Answer = { status: number } | { failure: string };

const SYSTEM: Actor = { kind: 'system', id: 'webhooks' };
/** The receiver wants no more of it (RFC 9110, section 15.5.11). */
const GONE = 410;

/**
 * Keeps what became of a try: delivered (2xx); to be tried again; or given up. An endpoint that answers 410, or to which
 * nothing has got through for as long as a delivery is tried, is switched off.
 *
 * @returns what has become of it; null when another worker has taken it over meanwhile
 */
export async function settleDelivery(
  db: Db,
  { id, endpointId, attempts, ageMs }: LeasedDelivery,
  answer: Answer,
  now: Date,
): Promise<'delivered' | 'again' | 'failed' | 'disabled' | null> {
  const status = 'status' in answer ? answer.status : null;
  const delivered = status !== null && status >= 200 && status < 300;
  const wait = delivered || status === GONE ? null : retryWait(attempts, ageMs);
  return await inTransaction(db, async (tx) => {
    // Given up, it may switch the endpoint off and give up what others hold: the endpoint is locked before deliveries, everywhere.
    if (wait === null && !delivered) {
      await tx.selectFrom('webhook_endpoint').select('id').where('id', '=', endpointId).forNoKeyUpdate().execute();
    }
    const row = await tx
      .updateTable('webhook_delivery')
      .set({
        status,
        failure: 'failure' in answer ? answer.failure : null,
        leased_until: null,
        ...(wait === null
          ? { state: delivered ? ('delivered' as const) : ('failed' as const), finished_at: sql<Date>`now()` }
          : { next_at: sql<Date>`now() + ${wait} * interval '1 millisecond'` }),
      })
      .where('id', '=', id)
      .where('state', '=', 'pending')
      // It has arrived, whoever else is trying it now.
      .$if(!delivered, (query) => query.where('attempts', '=', attempts))
      .returning('tried_since')
      .executeTakeFirst();
    if (row === undefined) return null;
    if (delivered) return 'delivered';
    if (wait !== null) return 'again';
    if (status !== GONE && (await hasDelivered(tx, endpointId, row.tried_since))) return 'failed';
    await disableEndpoint(tx, endpointId, status === GONE ? 'gone' : 'failing', SYSTEM, now);
    return 'disabled';
  });
}

async function hasDelivered(db: Pick<Db, 'selectFrom'>, endpointId: string, since: Date): Promise<boolean> {
  const row = await db
    .selectFrom('webhook_delivery')
    .select('id')
    .where('endpoint_id', '=', endpointId)
    .where('state', '=', 'delivered')
    .where('finished_at', '>=', since)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** Puts an event that says nothing in the queue of an endpoint. @throws Problem `not-found` or `endpoint-disabled` */
export async function queueTest(db: Db, endpointId: string, now: Date): Promise<WebhookDelivery> {
  return await inTransaction(db, async (tx) => {
    await lockEnabled(tx, endpointId);
    const payload = { type: TEST_EVENT, timestamp: now.toISOString(), data: { endpointId } };
    const row = await tx
      .insertInto('webhook_delivery')
      .values({ endpoint_id: endpointId, type: TEST_EVENT, payload: JSON.stringify(payload) })
      .returningAll()
      .executeTakeFirstOrThrow();
    return deliveryOf(row);
  });
}

/** Tries a delivery again at once, whatever became of it, and anew for as long as any. @throws as `queueTest` */
export async function retryDelivery(db: Db, id: string): Promise<WebhookDelivery> {
  return await inTransaction(db, async (tx) => {
    const found = await tx.selectFrom('webhook_delivery').select('endpoint_id').where('id', '=', id).executeTakeFirst();
    if (found === undefined) throw new Problem('not-found', `there is no webhook delivery ${id}`);
    await lockEnabled(tx, found.endpoint_id);
    const row = await tx
      .updateTable('webhook_delivery')
      .set({
        state: 'pending',
        attempts: 0,
        tried_since: sql<Date>`now()`,
        next_at: sql<Date>`now()`,
        leased_until: null,
        finished_at: null,
      })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    return deliveryOf(row);
  });
}

async function lockEnabled(tx: Pick<Db, 'selectFrom'>, endpointId: string): Promise<void> {
  const row = await tx
    .selectFrom('webhook_endpoint')
    .select('disabled_at')
    .where('id', '=', endpointId)
    .forShare()
    .executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no webhook endpoint ${endpointId}`);
  if (row.disabled_at !== null) {
    throw new Problem('endpoint-disabled', `The webhook endpoint ${endpointId} is switched off; switch it on first.`);
  }
}

/** Of one endpoint, the newest first. @param after where the page before has ended */
export async function listDeliveries(
  db: Db,
  endpointId: string,
  limit: number,
  after: { createdAt: Date; id: string } | null,
): Promise<WebhookDelivery[]> {
  const rows = await db
    .selectFrom('webhook_delivery')
    .selectAll()
    .where('endpoint_id', '=', endpointId)
    .$if(after !== null, (query) =>
      query.where(
        sql<boolean>`(date_trunc('milliseconds', created_at), id) < (${after?.createdAt}, ${after?.id}::uuid)`,
      ),
    )
    .orderBy(sql`date_trunc('milliseconds', created_at)`, 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
  return rows.map(deliveryOf);
}

/** How long a delivery that is over can be looked at, days. */
const KEPT_DAYS = 30;

/** Forgets what is long over, and what was left behind when an endpoint was deleted. @returns how many */
export async function forgetDeliveries(db: Db): Promise<number> {
  const result = await sql`
    delete from webhook_delivery d where finished_at < now() - ${KEPT_DAYS} * interval '1 day'
      or created_at < now() - interval '1 hour' and not exists (select from webhook_endpoint w where w.id = d.endpoint_id)`.execute(
    db,
  );
  return Number(result.numAffectedRows ?? 0n);
}

function deliveryOf(row: Selectable<WebhookDeliveryTable>): WebhookDelivery {
  return {
    id: row.id,
    endpointId: row.endpoint_id,
    type: row.type,
    createdAt: row.created_at,
    state: row.state,
    attempts: row.attempts,
    nextAt: row.state === 'pending' ? row.next_at : null,
    status: row.status,
    failure: row.failure,
    finishedAt: row.finished_at,
  };
}
