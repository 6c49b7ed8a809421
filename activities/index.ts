import { type ConcludeDeps, createConclude } from './conclude';
import { createSendStep, type SendStepDeps } from './send-step';

/** What the activities need of the process they run in. */
export type ActivityDeps = SendStepDeps & ConcludeDeps;

/** Everything that our workflows may do to the world. */
export function createActivities(deps: ActivityDeps) {
  return {
    sendStep: createSendStep(deps),
    conclude: createConclude(deps),
  };
}

export type Activities = ReturnType<typeof createActivities>;
