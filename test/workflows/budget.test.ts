import { pauseEnrollment } from '../../db/pauses';
import { type Stage, setStage } from '../crash/stage';
import { publishForTests } from '../support/campaigns';
import { smtpError } from '../support/smtp-sink';
import { eventually } from '../support/waiting';

// What Temporal holds for a lead who sleeps, as its own server counts it: these are counts, so they are asserted here
// and not in a benchmark.

const MOST_EVENTS = 20;
const MOST_BYTES = 5 * 1024;
const STEPS = 8;

let stage: Stage;
let campaignId: string;

beforeAll(async () => {
  stage = await setStage();
  await stage.work();
  campaignId = await publishForTests(stage.db);
});
afterAll(async () => {
  await stage.close();
});

async function expectSmall(enrollmentId: string, doing: 'waiting' | 'holding', step: number): Promise<void> {
  const journey = stage.journey(enrollmentId);
  await eventually(async () => {
    const progress = await journey.progress();
    return progress?.doing === doing && progress.step === step;
  });
  const { historyLength, historySize } = await journey.describe();
  expect(historyLength).toBeGreaterThan(0);
  expect(historyLength).toBeLessThanOrEqual(MOST_EVENTS);
  expect(historySize).toBeGreaterThan(0);
  expect(historySize).toBeLessThanOrEqual(MOST_BYTES);
}

/** Makes the next step due now, and tells the journey. */
async function hurry(enrollmentId: string): Promise<void> {
  const now = new Date();
  const change = { next_due_at: now, signal_at: now };
  await stage.db.updateTable('enrollment').set(change).where('id', '=', enrollmentId).execute();
  await stage.reconcile();
}

async function activitiesOf(enrollmentId: string): Promise<string[][]> {
  const { workflowId } = stage.journey(enrollmentId);
  const runs: string[][] = [];
  for await (const { runId } of stage.client.workflow.list({ query: `WorkflowId = "${workflowId}"` })) {
    const { events } = await stage.client.workflow.getHandle(workflowId, runId).fetchHistory();
    runs.push((events ?? []).flatMap((event) => event.activityTaskScheduledEventAttributes?.activityType?.name ?? []));
  }
  return runs;
}

test('a sleeping lead costs 20 events and 5 KB at most, whatever the step, and a touch is one activity', async () => {
  const id = await stage.enroll(campaignId, 'ana@correo.example');
  await stage.reconcile();
  for (let step = 1; step <= STEPS; step++) {
    await expectSmall(id, 'waiting', step);
    if (step < STEPS) await hurry(id);
  }
  expect(stage.mailsTo('ana@correo.example')).toHaveLength(STEPS);
  const runs = await eventually(async () => {
    const found = await activitiesOf(id);
    // Visibility is a moment late.
    return found.length === STEPS ? found : null;
  });
  expect(runs).toEqual(Array(STEPS).fill(['sendStep']));
});

test('nor does one cost more whose mail was deferred, whose first try failed, or who is paused', async () => {
  let failures = 0;
  stage.sink.faults = {
    onRcpt: (to) => {
      if (to.startsWith('llena')) throw smtpError(452, '4.2.2 mailbox full');
      if (to.startsWith('lenta') && failures++ === 0) throw smtpError(454, '4.7.1 relay denied');
    },
  };
  const full = await stage.enroll(campaignId, 'llena@correo.example');
  const slow = await stage.enroll(campaignId, 'lenta@correo.example');
  const paused = await stage.enroll(campaignId, 'pausada@correo.example');
  await pauseEnrollment(stage.db, paused, new Date());
  await stage.reconcile();
  await expectSmall(full, 'waiting', 0);
  await hurry(full);
  await eventually(async () => (await stage.messages(full))[0]?.attempts === 2);
  await expectSmall(full, 'waiting', 0);
  await expectSmall(paused, 'holding', 0);
  await expectSmall(slow, 'waiting', 1);
});
