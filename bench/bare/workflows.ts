import { condition, defineSignal, proxyActivities, setHandler } from '@temporalio/workflow';

/** Ends the wait. */
export const endSignal = defineSignal('end');

const { nothing } = proxyActivities<{ nothing(): Promise<void> }>({ startToCloseTimeout: '10 seconds' });

/** The least that waits for something: one activity that does nothing, then a timer, which a signal ends. */
export async function bare(waitMs: number): Promise<void> {
  let ended = false;
  setHandler(endSignal, () => {
    ended = true;
  });
  await nothing();
  await condition(() => ended, waitMs);
}
