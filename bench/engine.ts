import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { inParallel } from './shop';

const { EventType } = temporal.api.enums.v1;
/** Histories asked for at the same time. */
const WIDTH = 8;
const LOOK_AGAIN_MS = 200;

export async function connectTemporal(address: string): Promise<Client> {
  return new Client({ connection: await Connection.connect({ address }) });
}

export type Landmark = 'timer-started' | 'closed';

const LANDMARKS: Record<Landmark, ReadonlySet<number>> = {
  'timer-started': new Set([EventType.EVENT_TYPE_TIMER_STARTED]),
  closed: new Set([EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED]),
};

/**
 * When each of these workflows reached a point of its history, by the server's clock (ms since the epoch). Asked for
 * afterwards, so that nothing is asked of the server while it is being measured; whoever is not there yet is waited for.
 *
 * @throws when somebody is not there after `patienceMs`
 */
export async function whenReached(
  client: Client,
  workflowIds: readonly string[],
  landmark: Landmark,
  patienceMs: number,
): Promise<number[]> {
  const deadline = Date.now() + patienceMs;
  return await inParallel(WIDTH, workflowIds, async (workflowId) => {
    for (;;) {
      const at = await landmarkOf(client, workflowId, landmark);
      if (at !== null) return at;
      if (Date.now() > deadline) throw new Error(`${workflowId} is not ${landmark} after ${patienceMs} ms`);
      await sleep(LOOK_AGAIN_MS);
    }
  });
}

async function landmarkOf(client: Client, workflowId: string, landmark: Landmark): Promise<number | null> {
  const { history } = await client.workflowService.getWorkflowExecutionHistory({
    namespace: 'default',
    execution: { workflowId },
    maximumPageSize: 200,
  });
  // The last: a journey that was woken has set its timer again.
  const event = (history?.events ?? []).findLast(({ eventType }) => LANDMARKS[landmark].has(eventType ?? 0));
  return event === undefined
    ? null
    : Number(event.eventTime?.seconds ?? 0) * 1000 + (event.eventTime?.nanos ?? 0) / 1e6;
}

export interface BareWorkers {
  pids: number[];
  /** How many activities they have run. */
  done(): number;
  stop(): Promise<void>;
}

/** Starts worker processes of the bare workflows, as many as the product has. */
export async function startBareWorkers(address: string, count: number): Promise<BareWorkers> {
  const children = Array.from({ length: count }, () =>
    fork(path.join(__dirname, 'bare', 'worker.ts'), [address], {
      execArgv: ['--import', 'tsx'],
      // The SDK tells of its bundle.
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    }),
  );
  const done = children.map((child, index) => {
    child.on('message', (count) => {
      done[index] = Number(count);
    });
    return 0;
  });
  await Promise.all(children.map((child) => once(child, 'message')));
  return {
    pids: children.flatMap((child) => child.pid ?? []),
    done: () => done.reduce((sum, count) => sum + count, 0),
    stop: async () => {
      const ended = children.map((child) => once(child, 'exit'));
      for (const child of children) child.disconnect();
      await Promise.all(ended);
    },
  };
}
