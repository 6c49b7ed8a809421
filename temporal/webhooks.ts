import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../db/client';
import { forgetDeliveries, type LeasedDelivery, leaseDeliveries, settleDelivery } from '../db/webhook-deliveries';
import { forgetSeen } from '../db/webhook-seen';
import { errorCode } from '../domain/error-code';
import { endpointSecret, signWebhook } from '../domain/webhook-signature';
import { webhookTries } from '../telemetry/channels';
import type { Log } from './log';
import type { PostWebhook } from './webhook-post';

export interface WebhooksOptions {
  db: Db;
  log: Log;
  post: PostWebhook;
  /** `deriveKey(masterKey, OUTGOING_WEBHOOKS)`: the secrets of endpoints come from it. */
  key: Buffer;
  /** Pause between two looks that found nothing, ms. */
  everyMs?: number;
  clock?: () => Date;
}

/** How many deliveries to one endpoint are under way at a time in one worker. */
const PER_ENDPOINT = 5;
/** A delivery is over well within this time (ms); if not, its worker has died and another may try. */
const LEASE_MS = 60_000;
const TIDY_EVERY_MS = 60 * 60_000;

/**
 * Tells other systems of what has happened, for as long as `signal` lets it; what is on its way then is waited for. Any
 * number may run. Each delivery arrives once or more, with the same `webhook-id`; their order is not promised.
 */
export async function runWebhooks(options: WebhooksOptions, signal: AbortSignal): Promise<void> {
  const { db, log, everyMs = 1_000 } = options;
  const busy = new Map<string, Promise<void>>();
  let tidied = 0;
  while (!signal.aborted) {
    try {
      const rows = await leaseDeliveries(db, [...busy.keys()], PER_ENDPOINT, LEASE_MS);
      for (const endpointId of new Set(rows.map((row) => row.endpointId))) {
        const own = rows.filter((row) => row.endpointId === endpointId);
        const work = Promise.all(own.map((row) => deliver(options, row))).then(() => void busy.delete(endpointId));
        busy.set(endpointId, work);
      }
      if (Date.now() - tidied >= TIDY_EVERY_MS) {
        await forgetDeliveries(db);
        await forgetSeen(db);
        tidied = Date.now();
      }
    } catch (error) {
      log.warn({ code: errorCode(error) }, 'looking for webhooks to deliver failed; will try again');
    }
    // An endpoint that is done may have more waiting; a slow one holds up nobody.
    await Promise.race([sleep(everyMs, undefined, { signal }).catch(() => {}), ...busy.values()]);
  }
  await Promise.all(busy.values());
}

/** One look, and the deliveries that it finds. @returns how many */
export async function deliverWebhooks(options: WebhooksOptions): Promise<number> {
  const rows = await leaseDeliveries(options.db, [], PER_ENDPOINT, LEASE_MS);
  await Promise.all(rows.map((row) => deliver(options, row)));
  return rows.length;
}

/** Never rejects: what could not be written down is tried again after the lease, under the same id. */
async function deliver({ db, log, post, key, clock = () => new Date() }: WebhooksOptions, row: LeasedDelivery) {
  const { id, endpointId, attempts, secretVersions, url } = row;
  try {
    const body = JSON.stringify(inOrder(row.payload));
    const secrets = secretVersions.map((version) => endpointSecret(key, endpointId, version));
    const answer = await post(url, body, signWebhook(id, body, secrets, clock()));
    const became = await settleDelivery(db, row, answer, clock());
    if (became !== null) webhookTries.publish({ result: became });
    const told = { deliveryId: id, endpointId, attempts, ...answer };
    if (became === 'disabled') log.error(told, 'a webhook endpoint was switched off: nothing gets through to it');
    else if (became === 'failed') log.warn(told, 'a webhook was given up');
  } catch (error) {
    log.warn({ deliveryId: id, code: errorCode(error) }, 'what became of a webhook could not be written down');
  }
}

/** As the specification shows it; jsonb has an order of its own. */
function inOrder({ type, timestamp, data }: Record<string, unknown>): Record<string, unknown> {
  return { type, timestamp, data };
}
