import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  startChild,
} from '@temporalio/workflow';
import type { Activities } from '../activities';
import type { RequestEnd } from '../domain/confirmation';
import {
  confirmedSignal,
  type DoubleOptInInput,
  JOURNEYS_QUEUE,
  type TransactionalInput,
  type TransactionalMail,
  transactionalWorkflowId,
  withdrawnSignal,
} from './contract';

const { lookAtRequest, abandonRequest } = proxyActivities<Activities>({
  taskQueue: JOURNEYS_QUEUE,
  startToCloseTimeout: '1 minute',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { maximumInterval: '1 minute' },
});

/**
 * Follows one request until it is confirmed, withdrawn or expired: sees that its mail is sent, and its reminder where the form
 * has one. The row decides, and names what is due next; this is the clock beside it. The page confirms whatever becomes of
 * this, and the journey starts only then.
 */
export async function doubleOptIn({ requestId }: DoubleOptInInput): Promise<{ state: RequestEnd }> {
  let told = 0;
  setHandler(confirmedSignal, () => {
    told += 1;
  });
  setHandler(withdrawnSignal, () => {
    told += 1;
  });
  try {
    for (;;) {
      const toldBefore = told;
      setCurrentDetails('Looks at what is due');
      const request = await lookAtRequest({ requestId, now: Date.now() });
      if (request.kind === 'ended') {
        setCurrentDetails(`Ended: ${request.state}`);
        return { state: request.state };
      }
      if (request.mail !== null) await send(request.mail);
      const until = request.remindAt ?? request.expiresAt;
      const what = request.remindAt === null ? 'expires' : 'reminder';
      const at = new Date(until).toISOString();
      setCurrentDetails(`Waits for the confirmation; ${what} at ${at}. Ends early when it is confirmed or withdrawn`);
      await condition(() => told > toldBefore, Math.max(1, until - Date.now()), {
        summary: `${what} ${at.slice(0, 16)}Z`,
      });
    }
  } catch (error) {
    if (!isCancellation(error) && !CancellationScope.current().consideredCancelled) throw error;
    return await CancellationScope.nonCancellable(() => abandonRequest({ requestId }));
  }
}

/** It goes its own way from here: what becomes of it stands in its row. */
async function send(mail: TransactionalInput): Promise<void> {
  try {
    await startChild<TransactionalMail>('transactionalMail', {
      workflowId: transactionalWorkflowId(mail.transactionalId),
      taskQueue: JOURNEYS_QUEUE,
      args: [mail],
      parentClosePolicy: 'ABANDON',
      priority: { priorityKey: mail.priority, fairnessKey: mail.fairnessKey },
      staticSummary: 'Asks for a confirmation',
    });
  } catch (error) {
    // On its way already.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}
