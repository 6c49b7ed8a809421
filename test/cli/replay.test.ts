import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { replayAll } from '../../cli/replay';
import { sampleHistories } from '../../temporal/history-sample';
import { journeyWorkflowId, progressQuery } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine, workflowBundle } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { eventually } from '../support/waiting';

let engine: Engine;
let dir: string;
let asleep: string;
let ended: string;

beforeAll(async () => {
  engine = await startEngine('real-time');
  dir = await mkdtemp(join(tmpdir(), 'recuerda-replay-'));
  const campaignId = await publishForTests(engine.db, definitionForTests(2));
  asleep = await enrollForTests(engine.db, campaignId, requestBy('duerme@correo.example'));
  const handle = await engine.start(asleep);
  await eventually(async () => (await handle.query(progressQuery)).doing === 'waiting');
  ended = await enrollForTests(engine.db, campaignId, requestBy('informada@correo.example'));
  await engine.db.updateTable('enrollment').set({ agreed_at: null }).where('id', '=', ended).execute();
  await engine.run(ended);
  // A workflow that no worker has taken up yet.
  await engine.client.workflow.start('leadImport', {
    workflowId: 'lead-import/waits',
    taskQueue: 'nobody-polls-this',
    args: [{ importId: 'waits' }],
  });
  // Visibility is written a moment later.
  await eventually(async () => (await engine.client.workflow.count()).count === 3);
});
afterAll(async () => {
  await engine.stop();
  await rm(dir, { recursive: true, force: true });
});

function written() {
  const lines: string[] = [];
  return { lines, write: (text: string) => void lines.push(text), text: () => lines.join('') };
}

/** Runs the command as an operator does. */
async function command(...args: string[]): Promise<{ code: number; output: string }> {
  const env = {
    PATH: process.env.PATH,
    DATABASE_URL: engine.config.databaseUrl,
    TEMPORAL_ADDRESS: engine.config.temporalAddress,
    SMTP_URL: engine.sink.url,
    RECUERDA_PUBLIC_URL: 'http://localhost:3000',
    RECUERDA_SECRET: 'a'.repeat(64),
  };
  const recuerda = join(__dirname, '..', '..', 'cli', 'recuerda.js');
  return await new Promise((resolve) => {
    execFile(process.execPath, [recuerda, 'replay', ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}

const sample = (query: string | null, limit = 100) => sampleHistories(engine.client, { query, limit, now: new Date() });

describe('P11: `recuerda replay`', () => {
  test('runs that today’s code can go on with are counted, and one that nobody began is left out', async () => {
    const out = written();
    expect(await replayAll(sample(null), workflowBundle(), out)).toEqual(
      new Map([['leadJourney', { open: 1, closed: 1, failed: 0 }]]),
    );
    expect(out.lines).toEqual([]);
  });

  test('code that changed the order of commands fails, one line a run, with nothing of a person', async () => {
    const { code } = await bundleWorkflowCode({
      workflowsPath: require.resolve('../workflows/fixtures/changed-order'),
      logger: new DefaultLogger('ERROR'),
    });
    const codePath = join(dir, 'changed.js');
    await writeFile(codePath, code);
    const out = written();
    const counts = await replayAll(sample(null), { codePath }, out);
    expect(counts.get('leadJourney')).toEqual({ open: 1, closed: 1, failed: 2 });
    expect(out.lines).toHaveLength(2);
    expect(out.text()).toMatch(new RegExp(`failed  open    leadJourney  ${journeyWorkflowId(asleep)}  .*TMPRL1100`));
    expect(out.text()).toMatch(new RegExp(`failed  closed  leadJourney  ${journeyWorkflowId(ended)}  .*TMPRL1100`));
    expect(out.text()).not.toMatch(/@|correo/);
  });

  test('a query and a limit are heeded', async () => {
    const taken: string[] = [];
    for await (const { workflowId } of sample("ExecutionStatus = 'Completed'")) taken.push(workflowId);
    expect(taken).toEqual([journeyWorkflowId(ended)]);
    let count = 0;
    for await (const _ of sample(null, 2)) count += 1;
    expect(count).toBe(2);
  });

  test('the command bundles this release’s code, says what it found, and fails where a query finds nothing', async () => {
    const all = await command('--limit', '100');
    expect(all.code).toBe(0);
    expect(all.output).toMatch(/replayed +open +closed +failed\n +leadJourney +1 +1 +0\n$/);
    const none = await command('--query', "WorkflowType = 'noSuch'");
    expect(none).toEqual({ code: 1, output: 'No run matches this query.\n' });
    expect((await command('--limit', 'many')).output).toMatch('--limit must be a whole number');
  });
});
