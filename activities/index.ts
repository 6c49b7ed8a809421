import { type ConcludeDeps, createConclude } from './conclude';
import { createAbandonImport, createImportLeads, type ImportLeadsDeps } from './import-leads';
import { createSendStep, type SendStepDeps } from './send-step';
import { createSendTest, type SendTestDeps } from './send-test';

/** What the activities need of the process they run in. */
export type ActivityDeps = SendStepDeps & SendTestDeps & ConcludeDeps & ImportLeadsDeps;

/** Everything that our workflows may do to the world. */
export function createActivities(deps: ActivityDeps) {
  return {
    sendStep: createSendStep(deps),
    conclude: createConclude(deps),
    importLeads: createImportLeads(deps),
    abandonImport: createAbandonImport(deps),
    sendTest: createSendTest(deps),
  };
}

export type Activities = ReturnType<typeof createActivities>;
