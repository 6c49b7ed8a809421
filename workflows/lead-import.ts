import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities';

const { importLeads } = proxyActivities<Activities>({
  startToCloseTimeout: '24 hours',
  heartbeatTimeout: '30 seconds',
  retry: { maximumInterval: '1 minute' },
});

/** Takes in one uploaded file of leads. Its progress is kept with each batch of rows, so a retry goes on where it was. */
export async function leadImport(input: { importId: string }): Promise<{ state: 'completed' | 'failed' }> {
  return await importLeads(input);
}
