import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities';
import { streamOfStep } from '../domain/streams';
import { MAIL_QUEUES, type TestSendInput } from './contract';

/** Sends one step of a campaign to its author, outside any journey. */
export async function testSend({ testSendId, step }: TestSendInput): Promise<{ state: 'accepted' | 'refused' }> {
  const { sendTest } = proxyActivities<Activities>({
    taskQueue: MAIL_QUEUES[streamOfStep(step)],
    startToCloseTimeout: '5 minutes',
    heartbeatTimeout: '10 seconds',
    retry: { initialInterval: '5 seconds', maximumInterval: '1 minute', maximumAttempts: 10 },
  });
  return await sendTest({ testSendId });
}
