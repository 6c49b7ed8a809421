import type { Bench, Workload } from '../bench';
import { withCpu } from '../bench';
import { startBareWorkers, whenReached } from '../engine';
import { median, percentile } from '../numbers';
import { inParallel, publishCampaign } from '../shop';
import { bareRound, enrollRound, type Sleeper } from './journeys';

const PATIENCE_MS = 60_000;

interface Round {
  /** Answered a second. */
  acknowledged: number;
  /** Closed a second. */
  closed: number;
  /** How long each answer took (ms). */
  answerMs: number[];
}

/** Purchases a second over HTTP, until the journeys have closed, beside bare signals that end bare workflows, in turns. */
export const stops: Workload = {
  name: 'stops',
  run: async (bench) => {
    const { sizes, stack, say } = bench;
    const all = sizes.stops * (sizes.rounds + 1);
    const campaignId = await publishCampaign(bench.shop, 'stops');
    const workers = await startBareWorkers(stack.temporalAddress, sizes.workers);
    try {
      say(`stops: ${all} leads and as many bare workflows go to sleep first`);
      const { sleepers } = await enrollRound(bench, campaignId, all);
      const { workflowIds } = await bareRound(bench, workers, all);
      const ours: Round[] = [];
      const bare: Round[] = [];
      const cpu: Record<string, Record<string, number>> = {};
      for (let round = 0; round <= sizes.rounds; round++) {
        const [from, to] = [round * sizes.stops, (round + 1) * sizes.stops];
        const mine = await withCpu(stack, sizes.stops, () => stopRound(bench, sleepers.slice(from, to)));
        const theirs = await withCpu(stack, sizes.stops, () => signalRound(bench, workflowIds.slice(from, to)), {
          bareWorker: workers.pids,
        });
        // The first warms up.
        if (round === 0) continue;
        ours.push(mine.result);
        bare.push(theirs.result);
        cpu[`stops, round ${round}`] = mine.cpuMs;
        cpu[`bare, round ${round}`] = theirs.cpuMs;
        say(`stops: ${mine.result.closed.toFixed(0)}/s closed beside ${theirs.result.closed.toFixed(0)} bare ones/s`);
      }
      const answerMs = ours.flatMap((round) => round.answerMs);
      return [
        lineOf('stops/s, HTTP to journey closed', 'bare signals/s to closed', ours, bare, 'closed', { cpuMsEach: cpu }),
        lineOf('stops/s acknowledged', 'bare signals/s acknowledged', ours, bare, 'acknowledged', {
          width: sizes.width,
          answerMs: { p50: percentile(answerMs, 0.5), p99: percentile(answerMs, 0.99) },
        }),
      ];
    } finally {
      await workers.stop();
    }
  },
};

function lineOf(
  what: string,
  beside: string,
  ours: readonly Round[],
  bare: readonly Round[],
  rate: 'acknowledged' | 'closed',
  more: Record<string, unknown>,
) {
  const rounds = ours.map((round) => round[rate]);
  const besideRounds = bare.map((round) => round[rate]);
  return {
    workload: 'stops',
    what,
    value: median(rounds),
    unit: '/s',
    beside: { what: beside, value: median(besideRounds) },
    rounds,
    besideRounds,
    more,
  };
}

let orders = 0;

async function stopRound({ shop, client, sizes }: Bench, sleepers: readonly Sleeper[]): Promise<Round> {
  const start = Date.now();
  const answers = await inParallel(sizes.width, sleepers, ({ email }) =>
    shop.post('/v1/purchases', { email, orderId: `order-${orders++}` }),
  );
  const answerMs = answers.map(({ ms }) => ms);
  return await roundOf(
    client,
    start,
    sleepers.map(({ workflowId }) => workflowId),
    answerMs,
  );
}

async function signalRound({ client, sizes }: Bench, workflowIds: readonly string[]): Promise<Round> {
  const start = Date.now();
  const answerMs = await inParallel(sizes.width, workflowIds, async (workflowId) => {
    const asked = performance.now();
    await client.workflow.getHandle(workflowId).signal('end');
    return performance.now() - asked;
  });
  return await roundOf(client, start, workflowIds, answerMs);
}

async function roundOf(
  client: Bench['client'],
  start: number,
  workflowIds: readonly string[],
  answerMs: number[],
): Promise<Round> {
  const acknowledged = (workflowIds.length * 1000) / (Date.now() - start);
  const closedAt = await whenReached(client, workflowIds, 'closed', PATIENCE_MS);
  return { acknowledged, closed: (workflowIds.length * 1000) / (Math.max(...closedAt) - start), answerMs };
}
