import type { Client } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import type { Db } from '../db/client';
import { currentLimits } from '../db/limits';
import { queueLimits, type SendingLimits, weightOf } from '../domain/limits';
import { STREAMS, type Stream } from '../domain/streams';
import { MAIL_QUEUES } from '../workflows/contract';
import { call } from './client';
import type { Log } from './log';

/** gRPC statuses: an older server, and one where these credentials may not. */
const UNIMPLEMENTED = 12;
const PERMISSION_DENIED = 7;
/** A store of Temporal's that was lost has forgotten the limits; they are set again this often, changed or not (ms). */
const APPLY_EVERY_MS = 60 * 60_000;

/**
 * Sets the messages per second of every stream in the engine, which holds them across restarts and any number of workers
 * (promise P9). They count at once, for what is queued already too; null takes a limit away. A provider's own limit comes as
 * the weight of a task (`weightOf`), so what is queued keeps the one that it was queued with.
 */
export async function applyLimits(client: Client, namespace: string, limits: SendingLimits): Promise<void> {
  for (const stream of STREAMS) {
    const { queue, key } = queueLimits(limits[stream]);
    await call(client, () =>
      client.workflowService.updateTaskQueueConfig({
        namespace,
        taskQueue: MAIL_QUEUES[stream],
        taskQueueType: temporal.api.enums.v1.TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        updateQueueRateLimit: rateLimit(queue),
        updateFairnessKeyRateLimitDefault: rateLimit(key),
      }),
    );
  }
}

/** Without a rate it takes the limit away. */
function rateLimit(requestsPerSecond: number | null) {
  return {
    ...(requestsPerSecond === null ? {} : { rateLimit: { requestsPerSecond } }),
    reason: 'PUT /v1/sending/limits',
  };
}

/** What a process last set in the engine. */
export interface AppliedLimits {
  limits: string | null;
  at: number;
}

/** Sets the limits again where they have changed, or where an hour has passed. */
export async function keepLimits(client: Client, db: Db, log: Log, applied: AppliedLimits): Promise<void> {
  const limits = await currentLimits(db);
  const text = JSON.stringify(limits);
  if (applied.limits === text && Date.now() - applied.at < APPLY_EVERY_MS) return;
  try {
    await applyLimits(client, client.options.namespace, limits);
  } catch (error) {
    const { code } = error as { code?: number };
    if (code !== UNIMPLEMENTED && code !== PERMISSION_DENIED) throw error;
    if (STREAMS.some((stream) => Object.values(queueLimits(limits[stream])).some((rate) => rate !== null))) {
      log.error(
        {},
        'this Temporal server holds no limits for task queues; it must be 1.29 or later, and let us set them',
      );
    }
  }
  applied.limits = text;
  applied.at = Date.now();
}

/** The weight of a mail outside any journey, as a part of its workflow's input. */
export function transactionalWeight(
  limits: SendingLimits,
  { stream, fairnessKey }: { stream: Stream; fairnessKey: string },
): { fairnessWeight?: number } {
  const fairnessWeight = weightOf(limits[stream], fairnessKey);
  return fairnessWeight === undefined ? {} : { fairnessWeight };
}
