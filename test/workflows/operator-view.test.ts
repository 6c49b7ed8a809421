import { signalJourney } from '../../temporal/journeys';
import { journeyWorkflowId, progressQuery } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { eventually } from '../support/waiting';

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine('real-time');
});
afterAll(async () => {
  await engine.stop();
});

describe('what an operator sees in the Temporal UI', () => {
  test('which step, why and until when; findable by campaign and outcome', async () => {
    const campaignId = await publishForTests(engine.db, definitionForTests(3));
    const id = await enrollForTests(engine.db, campaignId, requestBy('ana@correo.example'));
    const handle = await engine.start(id);
    const firstRun = (await handle.describe()).runId;
    await eventually(async () => (await handle.query(progressQuery)).doing === 'waiting');
    const waits = async () =>
      (await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata')).currentDetails;
    const details = await waits();
    expect(details).toMatch(/^Step 1: waits until \d{4}-\d\d-\d\dT.*Z \(cadence\)/);

    await signalJourney(engine.client, { enrollmentId: id, outcome: null, signalAt: new Date() });
    await eventually(async () => (await handle.describe()).runId !== firstRun);
    await eventually(async () => (await handle.query(progressQuery)).doing === 'waiting');

    const described = await handle.describe();
    expect(described.memo).toEqual({ step: 1 });
    expect(await waits()).toMatch(/^Step 1: waits until .* \(not-due\)/);

    // The server does not carry a static summary over to the next run; what later runs show is memo and current details.
    const atStart = await engine.client.workflow.getHandle(journeyWorkflowId(id), firstRun).describe();
    expect(await atStart.staticSummary()).toBe('Follows one lead through 3 steps');
    expect(await atStart.staticDetails()).toContain(id);
    const history = await engine.client.workflow.getHandle(journeyWorkflowId(id), firstRun).fetchHistory();
    const summaries = (history.events ?? []).flatMap((event) => {
      const summary = event.userMetadata?.summary?.data;
      return summary == null ? [] : [JSON.parse(Buffer.from(summary).toString()) as string];
    });
    expect([...new Set(summaries)]).toEqual([
      'Follows one lead through 3 steps',
      'step 0',
      expect.stringMatching(/^step 1 due \d{4}-\d\d-\d\dT\d\d:\d\dZ \(cadence\)$/),
    ]);

    await handle.cancel();
    await handle.result();
    await eventually(async () => {
      const found: string[] = [];
      for await (const workflow of engine.client.workflow.list({
        query: `CampaignId = '${campaignId}' AND Outcome = 'cancelled'`,
      })) {
        found.push(workflow.workflowId);
      }
      return found.length === 1 && found[0] === journeyWorkflowId(id);
    });
  });
});
