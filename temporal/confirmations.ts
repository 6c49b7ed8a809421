import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { PendingRequest } from '../db/confirmation-outbox';
import {
  campaignIdAttribute,
  confirmedSignal,
  type DoubleOptIn,
  doubleOptInWorkflowId,
  JOURNEYS_QUEUE,
  withdrawnSignal,
} from '../workflows/contract';
import { call } from './client';

/**
 * Makes the engine agree with the row of a request: starts its workflow while it waits, tells it once it has ended. Where it
 * runs already, or has closed, nothing happens; starting too often is harmless, since the row knows what was sent.
 */
export async function keepRequestGoing(client: Client, request: PendingRequest): Promise<void> {
  await (request.state === 'pending' ? start(client, request) : tell(client, request));
}

async function start(client: Client, { requestId, campaignId }: PendingRequest): Promise<void> {
  await call(client, () =>
    client.workflow.start<DoubleOptIn>('doubleOptIn', {
      workflowId: doubleOptInWorkflowId(requestId),
      taskQueue: JOURNEYS_QUEUE,
      args: [{ requestId }],
      workflowIdConflictPolicy: 'USE_EXISTING',
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      priority: { priorityKey: 2 },
      typedSearchAttributes: [{ key: campaignIdAttribute, value: campaignId }],
      staticSummary: 'Waits for somebody to confirm a request',
      staticDetails: `Request \`${requestId}\` for campaign \`${campaignId}\`. One mail asks for the confirmation; the journey starts only after it.`,
    }),
  );
}

async function tell(client: Client, { requestId, state }: PendingRequest): Promise<void> {
  const handle = client.workflow.getHandle(doubleOptInWorkflowId(requestId));
  try {
    await call(client, () => handle.signal(state === 'confirmed' ? confirmedSignal : withdrawnSignal));
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}
