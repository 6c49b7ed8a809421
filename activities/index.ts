import { type ConcludeDeps, createConclude } from './conclude';
import { type ConfirmationDeps, createAbandonRequest, createLookAtRequest } from './confirmations';
import { withBareFailures } from './failures';
import { createAbandonImport, createImportLeads, type ImportLeadsDeps } from './import-leads';
import type { SendMessageDeps } from './send-message';
import { createSendStep } from './send-step';
import { createSendTest, type SendTestDeps } from './send-test';
import { createAbandonTransactional, createSendTransactional, type SendTransactionalDeps } from './send-transactional';

/** What the activities need of the process they run in. */
export type ActivityDeps = SendMessageDeps &
  SendTestDeps &
  SendTransactionalDeps &
  ConcludeDeps &
  ImportLeadsDeps &
  ConfirmationDeps;

/** Everything that our workflows may do to the world. */
export function createActivities(deps: ActivityDeps) {
  return {
    sendStep: withBareFailures(createSendStep(deps)),
    conclude: withBareFailures(createConclude(deps)),
    importLeads: withBareFailures(createImportLeads(deps)),
    abandonImport: withBareFailures(createAbandonImport(deps)),
    sendTest: withBareFailures(createSendTest(deps)),
    sendTransactional: withBareFailures(createSendTransactional(deps)),
    abandonTransactional: withBareFailures(createAbandonTransactional(deps)),
    lookAtRequest: withBareFailures(createLookAtRequest(deps)),
    abandonRequest: withBareFailures(createAbandonRequest(deps)),
  };
}

export type Activities = ReturnType<typeof createActivities>;
