import type { Client, WorkflowExecutionInfo, WorkflowHandle } from '@temporalio/client';
import { JOURNEY_WORKFLOWS } from '../workflows/contract';
import { call } from './client';

/** One run as the engine has recorded it. */
export interface SampledRun {
  type: string;
  workflowId: string;
  runId: string;
  /** It is still going, so this code will meet it. */
  isOpen: boolean;
  history: Awaited<ReturnType<WorkflowHandle['fetchHistory']>>;
}

export interface SampleOptions {
  /** A visibility query, taken as it stands; null: a sample of every type, state and age. */
  query: string | null;
  limit: number;
  now: Date;
}

const TYPES = [...Object.values(JOURNEY_WORKFLOWS), 'doubleOptIn', 'transactionalMail', 'leadImport', 'testSend'];
const DAY_MS = 24 * 60 * 60 * 1000;
/** Ages of runs in days; what was recorded at different ages was recorded by different releases. */
const AGES: readonly [from: number, to: number | null][] = [
  [0, 1],
  [1, 7],
  [7, 30],
  [30, 91],
  [91, null],
];
/** gRPC status NOT_FOUND. */
const NOT_FOUND = 5;
/** How many histories are fetched at once. */
const AT_ONCE = 8;

/**
 * Reads the histories of up to `limit` runs. Without a query it takes in turn from every workflow type, open and closed, of
 * every age, so that rare kinds and old runs are in the sample whatever their number. A run that is deleted meanwhile is left out.
 *
 * @throws what the client throws: the engine can't be reached, or refuses the query
 */
export async function* sampleHistories(client: Client, options: SampleOptions): AsyncGenerator<SampledRun> {
  const queries = options.query === null ? strata(options.now) : [options.query];
  let batch: WorkflowExecutionInfo[] = [];
  for await (const run of inTurn(queries, client, options.limit)) {
    batch.push(run);
    if (batch.length < AT_ONCE) continue;
    yield* await fetched(client, batch);
    batch = [];
  }
  yield* await fetched(client, batch);
}

/** Closed runs that began more than one interval ago are left out: code may no longer know how they went. */
function strata(now: Date): string[] {
  const ago = (days: number) => `'${new Date(now.getTime() - days * DAY_MS).toISOString()}'`;
  return AGES.flatMap(([from, to]) =>
    TYPES.flatMap((type) => {
      const until = from === 0 ? '' : ` AND StartTime <= ${ago(from)}`;
      const since = to === null ? '' : ` AND StartTime > ${ago(to)}`;
      const ofType = `WorkflowType = '${type}'${until}${since} AND ExecutionStatus`;
      const open = `${ofType} = 'Running'`;
      return to === null ? [open] : [open, `${ofType} != 'Running'`];
    }),
  );
}

async function* inTurn(queries: string[], client: Client, limit: number): AsyncGenerator<WorkflowExecutionInfo> {
  const pageSize = Math.min(1_000, Math.ceil(limit / queries.length));
  let open = queries.map((query) => client.workflow.list({ query, pageSize })[Symbol.asyncIterator]());
  for (let taken = 0; open.length > 0; ) {
    const more: typeof open = [];
    for (const runs of open) {
      if (taken === limit) return;
      const { value, done } = await runs.next();
      if (done) continue;
      taken += 1;
      more.push(runs);
      yield value;
    }
    open = more;
  }
}

async function fetched(client: Client, runs: WorkflowExecutionInfo[]): Promise<SampledRun[]> {
  const sampled = await Promise.all(
    runs.map(async ({ type, workflowId, runId, status }): Promise<SampledRun | null> => {
      try {
        const history = await call(client, () => client.workflow.getHandle(workflowId, runId).fetchHistory());
        return { type, workflowId, runId, isOpen: status.name === 'RUNNING', history };
      } catch (error) {
        if (isGone(error)) return null;
        throw error;
      }
    }),
  );
  return sampled.filter((run) => run !== null);
}

function isGone(error: unknown): boolean {
  return (error as Error).name === 'WorkflowNotFoundError' || (error as { code?: number }).code === NOT_FOUND;
}
