import { reconcileOnce } from '../../temporal/reconciler';
import { journeyWorkflowId, type LeadJourney, stopSignal } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, silent, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { smtpError } from '../support/smtp-sink';
import { eventually } from '../support/waiting';

let engine: Engine;
let campaignId: string;

beforeAll(async () => {
  engine = await startEngine('real-time');
  campaignId = await publishForTests(engine.db, definitionForTests(3));
});
afterEach(() => {
  engine.sink.faults = {};
});
afterAll(async () => {
  await engine.stop();
});

const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);
const journey = (id: string) => engine.client.workflow.getHandle<LeadJourney>(journeyWorkflowId(id));

async function rowOf(id: string) {
  return await engine.db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

/** Starts the journey of a new lead, as if it had been due for some time. */
async function overdue(email: string, minutes: number): Promise<string> {
  const id = await enrollForTests(engine.db, campaignId, requestBy(email));
  await engine.db
    .updateTable('enrollment')
    .set({ next_due_at: new Date(Date.now() - minutes * 60_000), started_at: new Date() })
    .where('id', '=', id)
    .execute();
  await engine.start(id);
  return id;
}

/** The watchdog's round; it comes back to every enrollment at once. */
async function watch(): Promise<number> {
  const options = { client: engine.client, db: engine.db, log: silent, graceMs: 60_000, watchAgainMs: 0 };
  return (await reconcileOnce(options)).watched;
}

test('P12: a journey whose send waits for its turn or is tried again is not disturbed, however overdue it is', async () => {
  engine.sink.faults = {
    onMail: () => {
      throw smtpError(451, '4.3.0 not now');
    },
  };
  const id = await overdue('reintento@correo.example', 5);
  await eventually(async () => (await journey(id).describe()).raw.pendingActivities?.[0]?.lastFailure);
  for (let round = 0; round < 5; round++) expect(await watch()).toBeGreaterThan(0);
  const { events } = await journey(id).fetchHistory();
  expect(events?.filter((event) => event.workflowExecutionSignaledEventAttributes)).toEqual([]);

  engine.sink.faults = {};
  await eventually(async () => (await rowOf(id)).step === 1);
});

test('P10: a journey that sleeps past its due time is woken', async () => {
  const email = 'dormilona@correo.example';
  const id = await overdue(email, 1);
  await eventually(async () => (await rowOf(id)).step === 1);
  await eventually(async () => ((await journey(id).query('progress')) as { doing: string }).doing === 'waiting');
  // As after the restore of a row that had been moved away.
  const past = new Date(Date.now() - 5 * 60_000);
  await engine.db.updateTable('enrollment').set({ next_due_at: past }).where('id', '=', id).execute();
  expect(await watch()).toBeGreaterThan(0);
  await eventually(() => mailsTo(email).length === 2);
});

test('P2: a journey that was stopped in the engine, behind its row, ends its row too, and mails nobody', async () => {
  const email = 'parada@correo.example';
  const id = await overdue(email, 1);
  await eventually(async () => (await rowOf(id)).step === 1);
  await journey(id).signal(stopSignal, { outcome: 'purchased' });
  await journey(id).result();
  expect((await rowOf(id)).outcome).toBeNull();

  const past = new Date(Date.now() - 5 * 60_000);
  await engine.db.updateTable('enrollment').set({ next_due_at: past }).where('id', '=', id).execute();
  expect(await watch()).toBeGreaterThan(0);
  expect((await rowOf(id)).outcome).toBe('purchased');
  await watch();
  expect(mailsTo(email)).toHaveLength(1);
});

test('P12: a journey that a stop without a known outcome has ended counts as cancelled', async () => {
  const id = await overdue('rara@correo.example', 1);
  await eventually(async () => (await rowOf(id)).step === 1);
  await journey(id).signal('stop', { outcome: 'ana@correo.example' });
  await journey(id).result();
  const past = new Date(Date.now() - 5 * 60_000);
  await engine.db.updateTable('enrollment').set({ next_due_at: past }).where('id', '=', id).execute();
  await watch();
  expect((await rowOf(id)).outcome).toBe('cancelled');
});
