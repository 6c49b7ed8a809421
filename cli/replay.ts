import { Runtime, Worker } from '@temporalio/worker';
import { readConfig } from '../config';
import { createTemporalClient, temporalOptions } from '../temporal/client';
import { type SampledRun, sampleHistories } from '../temporal/history-sample';
import { withBundle } from './bundle';
import { grid } from './table';

export interface HistoryOptions {
  /** A visibility query. */
  query?: string;
  limit: string;
}

/** How many runs of one workflow type were replayed. */
interface Count {
  open: number;
  closed: number;
  failed: number;
}

/**
 * `recuerda replay`: replays runs that the engine has recorded with this release's workflow code, and prints one line for each
 * that it can't go on with. It changes nothing: it reads the engine, and neither Postgres nor a mail server. Histories hold no
 * personal data, so what it prints may be kept anywhere.
 *
 * @returns the exit code: 1 when a run failed, or when a query was given and nothing matched it
 */
export async function runReplay(
  env: NodeJS.ProcessEnv,
  options: HistoryOptions,
  out: { write(text: string): unknown },
): Promise<number> {
  const limit = Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1) {
    out.write('--limit must be a whole number from 1 on.\n');
    return 1;
  }
  const config = readConfig(env);
  installQuietRuntime();
  const client = createTemporalClient(temporalOptions(config));
  try {
    const runs = sampleHistories(client, { query: options.query ?? null, limit, now: new Date() });
    const counts = await withBundle((workflowBundle) => replayAll(runs, workflowBundle, out));
    return conclude(counts, options.query !== undefined, out);
  } finally {
    await client.connection.close();
  }
}

/**
 * Replays one run after another and prints those that fail.
 *
 * @param workflowBundle the code to replay them with
 * @returns how many runs of each workflow type there were
 */
export async function replayAll(
  runs: AsyncIterable<SampledRun>,
  workflowBundle: { codePath: string },
  out: { write(text: string): unknown },
): Promise<Map<string, Count>> {
  const counts = new Map<string, Count>();
  let run: SampledRun | undefined;
  const histories = async function* () {
    for await (run of runs) {
      // Nobody has worked on it yet, so there is nothing that code could disagree with.
      if (run.history.events?.some((event) => event.workflowTaskCompletedEventAttributes)) yield run;
    }
  };
  for await (const { error } of Worker.runReplayHistories({ workflowBundle }, histories())) {
    // One at a time: the one that was asked for last.
    const { type, workflowId, runId, isOpen } = run as SampledRun;
    const count = counts.get(type) ?? { open: 0, closed: 0, failed: 0 };
    counts.set(type, count);
    count[isOpen ? 'open' : 'closed'] += 1;
    if (error === undefined) continue;
    count.failed += 1;
    const fault = error.message.replace(/\s+/g, ' ').slice(0, 300);
    out.write(`failed  ${isOpen ? 'open  ' : 'closed'}  ${type}  ${workflowId}  ${runId}  ${fault}\n`);
  }
  return counts;
}

function conclude(counts: Map<string, Count>, wasAsked: boolean, out: { write(text: string): unknown }): number {
  const lines = [...counts].map(([type, { open, closed, failed }]) => [type, open, closed, failed]);
  if (lines.length === 0) {
    out.write(wasAsked ? 'No run matches this query.\n' : 'There are no runs to replay yet.\n');
    return wasAsked ? 1 : 0;
  }
  const failed = [...counts.values()].reduce((sum, count) => sum + count.failed, 0);
  out.write(`${grid(['replayed', 'open', 'closed', 'failed'], lines)}\n`);
  if (failed > 0) out.write('This release can not go on with the runs that failed: do not deploy it.\n');
  return failed > 0 ? 1 : 0;
}

/** What a replay has to say stands in its result; the SDK would log it a second time. */
function installQuietRuntime(): void {
  const none = () => {};
  Runtime.install({
    logger: { log: none, trace: none, debug: none, info: none, warn: none, error: none },
    telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' }, forward: {} } },
  });
}
