import { CancellationScope, isCancellation, proxyActivities } from '@temporalio/workflow';
import type { Activities } from '../activities';

const { importLeads } = proxyActivities<Activities>({
  startToCloseTimeout: '24 hours',
  heartbeatTimeout: '10 seconds',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { maximumInterval: '1 minute' },
});

const { abandonImport } = proxyActivities<Activities>({
  startToCloseTimeout: '1 minute',
  retry: { maximumInterval: '1 minute' },
});

/**
 * Takes in one uploaded file of leads. Its progress is kept with each batch of rows, so a retry goes on where it was. A
 * cancel from the UI ends it as failed; what was taken in by then stays.
 */
export async function leadImport(input: { importId: string }): Promise<{ state: 'completed' | 'failed' }> {
  try {
    return await importLeads(input);
  } catch (error) {
    // Cancelled while its worker died, an import ends as timed out and not as cancelled.
    if (!isCancellation(error) && !CancellationScope.current().consideredCancelled) throw error;
    return await CancellationScope.nonCancellable(() => abandonImport(input));
  }
}
