import {
  CancellationScope,
  continueAsNew,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  sleep,
} from '@temporalio/workflow';
import type { Activities } from '../activities';
import { MAIL_QUEUES, type SendTransactionalResult, type TransactionalInput } from './contract';

/** Where nothing is to be told of a wait, it is looked at again after this. */
const LONGEST_WAIT_MS = 24 * 60 * 60 * 1000;

/**
 * Sends one mail outside any journey, at most once. What may be sent, and when, stands in its row; this is the clock beside
 * it. Transactional mail stays on its own queue, its workflow tasks too, so that nothing of the other streams is ever before
 * it (promise P8).
 */
export async function transactionalMail(input: TransactionalInput): Promise<{ state: string }> {
  const { transactionalId, stream = 'transactional', priority, fairnessKey, fairnessWeight } = input;
  const { sendTransactional, abandonTransactional } = proxyActivities<Activities>({
    taskQueue: MAIL_QUEUES[stream],
    priority: {
      priorityKey: priority,
      fairnessKey,
      ...(fairnessWeight === undefined ? {} : { fairnessWeight }),
    },
    startToCloseTimeout: '5 minutes',
    heartbeatTimeout: '10 seconds',
    cancellationType: 'WAIT_CANCELLATION_COMPLETED',
    retry: { initialInterval: '5 seconds', backoffCoefficient: 2, maximumInterval: '10 minutes' },
  });
  let answer: SendTransactionalResult;
  try {
    answer = await sendTransactional({ transactionalId, now: Date.now() });
    if (answer.kind === 'settled') return { state: answer.state };
    const at = new Date(answer.at).toISOString();
    setCurrentDetails(`Waits until ${at} (${answer.reason}), then tries again`);
    await sleep(Math.max(1, Math.min(answer.at - Date.now(), LONGEST_WAIT_MS)), {
      summary: `until ${at.slice(0, 16)}Z (${answer.reason})`,
    });
  } catch (error) {
    // Cancelled while its worker died, a send ends as timed out and not as cancelled.
    if (!isCancellation(error) && !CancellationScope.current().consideredCancelled) throw error;
    return await CancellationScope.nonCancellable(() => abandonTransactional({ transactionalId }));
  }
  const way = answer.stream === undefined ? {} : { stream: answer.stream };
  return await continueAsNew<typeof transactionalMail>({ ...input, ...way });
}
