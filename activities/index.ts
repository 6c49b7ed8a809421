import { type ConcludeDeps, createConclude } from './conclude';
import { withBareFailures } from './failures';
import { createAbandonImport, createImportLeads, type ImportLeadsDeps } from './import-leads';
import { createSendStep, type SendStepDeps } from './send-step';
import { createSendTest, type SendTestDeps } from './send-test';

/** What the activities need of the process they run in. */
export type ActivityDeps = SendStepDeps & SendTestDeps & ConcludeDeps & ImportLeadsDeps;

/** Everything that our workflows may do to the world. */
export function createActivities(deps: ActivityDeps) {
  return {
    sendStep: withBareFailures(createSendStep(deps)),
    conclude: withBareFailures(createConclude(deps)),
    importLeads: withBareFailures(createImportLeads(deps)),
    abandonImport: withBareFailures(createAbandonImport(deps)),
    sendTest: withBareFailures(createSendTest(deps)),
  };
}

export type Activities = ReturnType<typeof createActivities>;
