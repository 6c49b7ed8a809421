import type { Bench, Workload } from '../bench';
import { withCpu } from '../bench';
import { type BareWorkers, startBareWorkers, whenReached } from '../engine';
import { acceptedOf, until } from '../ledger';
import { median } from '../numbers';
import { inParallel, leadRequest, newAddress, publishCampaign } from '../shop';

/** No lead of ours, and no bare workflow, may take longer than this (ms) to be asleep. */
const PATIENCE_MS = 120_000;
const WAIT_MS = 75 * 24 * 60 * 60_000;

/** A lead whose information went out and whose journey sleeps. */
export interface Sleeper {
  email: string;
  workflowId: string;
}

/**
 * Leads a second, from the request over HTTP to the first mail accepted to the timer set, beside bare workflows: started,
 * one activity that does nothing, timer set. In turns, on the same server, with as many worker processes, and as many calls
 * under way.
 */
export const journeys: Workload = {
  name: 'journeys',
  run: async (bench) => {
    const { sizes, stack, say } = bench;
    const { leads, rounds } = sizes;
    const campaignId = await publishCampaign(bench.shop, 'journeys');
    const bareWorkers = await startBareWorkers(stack.temporalAddress, sizes.workers);
    try {
      await enrollRound(bench, campaignId, Math.ceil(leads / 4));
      await bareRound(bench, bareWorkers, Math.ceil(leads / 4));
      const ours: number[] = [];
      const bare: number[] = [];
      const cpu: Record<string, Record<string, number>> = {};
      for (let round = 0; round < rounds; round++) {
        const mine = await withCpu(stack, leads, () => enrollRound(bench, campaignId, leads));
        ours.push(mine.result.perSecond);
        const theirs = await withCpu(stack, leads, () => bareRound(bench, bareWorkers, leads), {
          bareWorker: bareWorkers.pids,
        });
        bare.push(theirs.result.perSecond);
        cpu[`leads, round ${round + 1}`] = mine.cpuMs;
        cpu[`bare, round ${round + 1}`] = theirs.cpuMs;
        say(
          `journeys: ${mine.result.perSecond.toFixed(1)} leads/s beside ${theirs.result.perSecond.toFixed(1)} bare workflows/s`,
        );
      }
      return [
        {
          workload: 'journeys',
          what: 'leads/s, HTTP to timer set',
          value: median(ours),
          unit: '/s',
          beside: { what: 'bare workflows/s', value: median(bare) },
          rounds: ours,
          besideRounds: bare,
          budget: '≥ 0.9 of the bare one',
          met: median(ours) >= 0.9 * median(bare),
          more: { leads, width: sizes.width, cpuMsEach: cpu },
        },
      ];
    } finally {
      await bareWorkers.stop();
    }
  },
};

/** Enrolls new leads over HTTP, as many at a time as there are callers, until all of them sleep. */
export async function enrollRound(
  { shop, db, client, sizes }: Bench,
  campaignId: string,
  leads: number,
): Promise<{ perSecond: number; sleepers: Sleeper[] }> {
  const emails = Array.from({ length: leads }, newAddress);
  const before = await acceptedOf(db, campaignId);
  const start = Date.now();
  const sleepers = await inParallel(sizes.width, emails, async (email) => {
    const { body } = await shop.post(`/v1/campaigns/${campaignId}/enrollments`, leadRequest(email));
    return { email, workflowId: `lead-journey/${(body as { enrollmentId: string }).enrollmentId}` };
  });
  await until(before + leads, () => acceptedOf(db, campaignId), { everyMs: 1_000, patienceMs: PATIENCE_MS });
  const ids = sleepers.map(({ workflowId }) => workflowId);
  const asleep = await whenReached(client, ids, 'timer-started', PATIENCE_MS);
  return { perSecond: (leads * 1000) / (Math.max(...asleep) - start), sleepers };
}

let bareWorkflows = 0;

/** Starts bare workflows, as many at a time as there are callers, until all of them sleep. */
export async function bareRound(
  { client, sizes }: Bench,
  workers: BareWorkers,
  count: number,
): Promise<{ perSecond: number; workflowIds: string[] }> {
  const workflowIds = Array.from({ length: count }, () => `bare/${bareWorkflows++}`);
  const before = workers.done();
  const start = Date.now();
  await inParallel(sizes.width, workflowIds, async (workflowId) => {
    await client.workflow.start('bare', { workflowId, taskQueue: 'bare', args: [WAIT_MS] });
  });
  await until(before + count, async () => workers.done(), { everyMs: 50, patienceMs: PATIENCE_MS });
  const asleep = await whenReached(client, workflowIds, 'timer-started', PATIENCE_MS);
  return { perSecond: (count * 1000) / (Math.max(...asleep) - start), workflowIds };
}
