import type { Client } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { JOURNEYS_QUEUE, MAIL_QUEUES } from '../workflows/contract';
import { call } from './client';

/** What waits in one task queue of the engine; approximate, as the engine counts. */
export interface Backlog {
  queue: string;
  type: 'workflow' | 'activity';
  tasks: number;
  /** How long the oldest has waited, s. */
  ageSeconds: number;
  /** Workers that poll it, as far as the engine remembers (some minutes). */
  pollers: number;
}

const { TASK_QUEUE_TYPE_ACTIVITY, TASK_QUEUE_TYPE_WORKFLOW } = temporal.api.enums.v1.TaskQueueType;

/** Where tasks of ours wait: workflow tasks on the two queues whose workers run workflows, activities on all. */
const QUEUES: readonly [queue: string, type: Backlog['type']][] = [
  [JOURNEYS_QUEUE, 'workflow'],
  [MAIL_QUEUES.transactional, 'workflow'],
  ...[JOURNEYS_QUEUE, ...Object.values(MAIL_QUEUES)].map((queue): [string, 'activity'] => [queue, 'activity']),
];

/** The backlog of every task queue of ours. @throws what the engine said */
export async function readBacklogs(client: Client): Promise<Backlog[]> {
  const { namespace } = client.options;
  return await Promise.all(
    QUEUES.map(async ([queue, type]) => {
      const answer = await call(client, () =>
        client.workflowService.describeTaskQueue({
          namespace,
          taskQueue: { name: queue },
          taskQueueType: type === 'activity' ? TASK_QUEUE_TYPE_ACTIVITY : TASK_QUEUE_TYPE_WORKFLOW,
          reportStats: true,
        }),
      );
      const { approximateBacklogCount, approximateBacklogAge } = answer.stats ?? {};
      return {
        queue,
        type,
        tasks: Number(approximateBacklogCount ?? 0),
        ageSeconds: Number(approximateBacklogAge?.seconds ?? 0) + (approximateBacklogAge?.nanos ?? 0) / 1e9,
        pollers: answer.pollers?.length ?? 0,
      };
    }),
  );
}
