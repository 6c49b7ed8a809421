import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities';
import { MAIL_QUEUES } from './contract';

const { sendTest } = proxyActivities<Activities>({
  taskQueue: MAIL_QUEUES.requested,
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: '10 seconds',
  retry: { initialInterval: '5 seconds', maximumInterval: '1 minute', maximumAttempts: 10 },
});

/** Sends one step of a campaign to its author, outside any journey. */
export async function testSend(input: { testSendId: string }): Promise<{ state: 'accepted' | 'refused' }> {
  return await sendTest(input);
}
