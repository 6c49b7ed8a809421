import { randomUUID } from 'node:crypto';
import { type Selectable, sql } from 'kysely';
import { Problem } from '../domain/problem';
import { type Actor, recordAudit } from './audit';
import type { Db, Tx } from './client';
import type { WebhookEndpointTable } from './schema';

/** Where another system wants to be told of what happens. */
export interface WebhookEndpoint {
  id: string;
  url: string;
  /** Types of events; `*` is all of them. */
  events: string[];
  description: string;
  /** Of its secret, which is derived and kept nowhere. */
  secretVersion: number;
  rotatedAt: Date | null;
  disabledAt: Date | null;
  /** `by-hand`; `gone`: it answered 410; `failing`: nothing has got through for days. */
  disabledBecause: string | null;
  createdAt: Date;
}

export type EndpointChange = Partial<Pick<WebhookEndpoint, 'url' | 'events' | 'description'>> & { disabled?: boolean };

/** After a rotation, this many older secrets sign too at most. */
const OLD_SECRETS = 4;
/** For how long they do, hours. */
export const ROTATION_HOURS = 24;

/** Takes up an endpoint: from the next event on, it is told. */
export async function createEndpoint(
  db: Db,
  { url, events, description }: Pick<WebhookEndpoint, 'url' | 'events' | 'description'>,
  by: Actor,
  now: Date,
): Promise<WebhookEndpoint> {
  return await db.transaction().execute(async (tx) => {
    const row = await tx
      .insertInto('webhook_endpoint')
      .values({ id: randomUUID(), url, events, description, created_at: now })
      .returningAll()
      .executeTakeFirstOrThrow();
    // The URL is not written there: for some receivers it is a secret in itself.
    await recordAudit(tx, { actor: by, action: 'webhook-endpoint.created', target: row.id, detail: { events }, now });
    return endpointOf(row);
  });
}

/** @throws Problem `not-found` */
export async function readEndpoint(db: Db, id: string): Promise<WebhookEndpoint> {
  const row = await db.selectFrom('webhook_endpoint').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw noEndpoint(id);
  return endpointOf(row);
}

/** The newest first. @param after where the page before has ended */
export async function listEndpoints(
  db: Db,
  limit: number,
  after: { createdAt: Date; id: string } | null,
): Promise<WebhookEndpoint[]> {
  const rows = await db
    .selectFrom('webhook_endpoint')
    .selectAll()
    .$if(after !== null, (query) =>
      query.where(
        sql<boolean>`(date_trunc('milliseconds', created_at), id) < (${after?.createdAt}, ${after?.id}::uuid)`,
      ),
    )
    .orderBy(sql`date_trunc('milliseconds', created_at)`, 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
  return rows.map(endpointOf);
}

/**
 * Changes what is given. Switched off, it is told nothing, and what it has not been told yet it is not told later either.
 *
 * @throws Problem `not-found`
 */
export async function changeEndpoint(
  db: Db,
  id: string,
  { disabled, ...change }: EndpointChange,
  by: Actor,
  now: Date,
): Promise<WebhookEndpoint> {
  return await db.transaction().execute(async (tx) => {
    const before = await tx
      .selectFrom('webhook_endpoint')
      .selectAll()
      .where('id', '=', id)
      .forUpdate()
      .executeTakeFirst();
    if (before === undefined) throw noEndpoint(id);
    const wasDisabled = before.disabled_at !== null;
    if (Object.keys(change).length > 0) {
      await tx.updateTable('webhook_endpoint').set(change).where('id', '=', id).execute();
      const detail = {
        changed: Object.keys(change),
        ...(change.events === undefined ? {} : { events: change.events }),
      };
      await recordAudit(tx, { actor: by, action: 'webhook-endpoint.changed', target: id, detail, now });
    }
    if (disabled === true && !wasDisabled) await disableEndpoint(tx, id, 'by-hand', by, now);
    if (disabled === false && wasDisabled) {
      const enabled = { disabled_at: null, disabled_because: null };
      await tx.updateTable('webhook_endpoint').set(enabled).where('id', '=', id).execute();
      await recordAudit(tx, { actor: by, action: 'webhook-endpoint.enabled', target: id, now });
    }
    const row = await tx.selectFrom('webhook_endpoint').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    return endpointOf(row);
  });
}

/** Switches one off, and gives up what it has not been told yet. Nothing, where it is off already. */
export async function disableEndpoint(
  tx: Tx,
  id: string,
  because: 'by-hand' | 'gone' | 'failing',
  by: Actor,
  now: Date,
): Promise<void> {
  const result = await tx
    .updateTable('webhook_endpoint')
    .set({ disabled_at: now, disabled_because: because })
    .where('id', '=', id)
    .where('disabled_at', 'is', null)
    .executeTakeFirst();
  if (result.numUpdatedRows === 0n) return;
  await tx
    .updateTable('webhook_delivery')
    .set({ state: 'failed', failure: 'endpoint-disabled', finished_at: sql<Date>`now()`, leased_until: null })
    .where('endpoint_id', '=', id)
    .where('state', '=', 'pending')
    .execute();
  await recordAudit(tx, { actor: by, action: 'webhook-endpoint.disabled', target: id, detail: { because }, now });
}

/** Forgets an endpoint and what it was told. @throws Problem `not-found` */
export async function deleteEndpoint(db: Db, id: string, by: Actor, now: Date): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const result = await tx.deleteFrom('webhook_endpoint').where('id', '=', id).executeTakeFirst();
    if (result.numDeletedRows === 0n) throw noEndpoint(id);
    await tx.deleteFrom('webhook_delivery').where('endpoint_id', '=', id).execute();
    await recordAudit(tx, { actor: by, action: 'webhook-endpoint.deleted', target: id, now });
  });
}

/**
 * Gives an endpoint a new secret. For `ROTATION_HOURS` the old one signs too, and where it is done again meanwhile, those
 * before it as well: a rotation whose answer got lost may be repeated.
 *
 * @throws Problem `not-found`
 */
export async function rotateSecret(db: Db, id: string, by: Actor, now: Date): Promise<WebhookEndpoint> {
  return await db.transaction().execute(async (tx) => {
    const row = await tx
      .updateTable('webhook_endpoint')
      .set({
        secret_version: sql<number>`secret_version + 1`,
        signs_from: sql<number>`case when rotated_at > now() - ${ROTATION_HOURS} * interval '1 hour'
          then greatest(signs_from, secret_version + 1 - ${OLD_SECRETS}::int) else secret_version end`,
        rotated_at: sql<Date>`now()`,
      })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirst();
    if (row === undefined) throw noEndpoint(id);
    const detail = { version: row.secret_version };
    await recordAudit(tx, { actor: by, action: 'webhook-endpoint.rotated', target: id, detail, now });
    return endpointOf(row);
  });
}

function noEndpoint(id: string): Problem {
  return new Problem('not-found', `there is no webhook endpoint ${id}`);
}

function endpointOf(row: Selectable<WebhookEndpointTable>): WebhookEndpoint {
  return {
    id: row.id,
    url: row.url,
    events: row.events,
    description: row.description,
    secretVersion: row.secret_version,
    rotatedAt: row.rotated_at,
    disabledAt: row.disabled_at,
    disabledBecause: row.disabled_because,
    createdAt: row.created_at,
  };
}
