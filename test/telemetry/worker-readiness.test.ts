import { sql } from 'kysely';
import { type RunningWorker, startWorker } from '../../worker';
import { type Engine, silent, startEngine, workflowBundle } from '../support/engine';
import { eventually } from '../support/waiting';

let engine: Engine;
let worker: RunningWorker;
beforeAll(async () => {
  engine = await startEngine('real-time');
  worker = await startWorker(engine.config, silent, workflowBundle());
});
afterAll(async () => {
  await worker?.stop();
  await engine?.stop();
});

/** Just before the reconciler would be taken for stuck if it went round now. */
const SOON_MS = 115_000;

test('a worker whose reconciler gets nowhere is not ready', async () => {
  await eventually(async () => (await worker.ready(Date.now() + SOON_MS)).ready);
  await engine.db.transaction().execute(async (tx) => {
    await sql`lock table enrollment in access exclusive mode`.execute(tx);
    await eventually(async () => {
      const { ready, checks } = await worker.ready(Date.now() + SOON_MS);
      return !ready && checks.reconciler === 'stuck' && checks.postgres === 'ok';
    });
  });
  await eventually(async () => (await worker.ready(Date.now() + SOON_MS)).ready);
});
