import { randomUUID } from 'node:crypto';
import { recordPurchase } from '../../db/purchases';
import { recordRefund } from '../../db/refunds';
import { stopEnrollments } from '../../db/stops';
import { createJourneys } from '../../temporal/journeys';
import { journeyWorkflowId, type LeadJourney, progressQuery, wakeSignal } from '../../workflows/contract';
import { afterPurchaseForTests, definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, silent, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { door, eventually } from '../support/waiting';

let engine: Engine;
let campaignId: string;

beforeAll(async () => {
  engine = await startEngine('real-time');
  const product = { name: 'Cafetera', url: 'https://shop.example/cafetera', codes: ['C-1'] };
  const afterPurchase = afterPurchaseForTests();
  campaignId = await publishForTests(engine.db, definitionForTests(2, { product, afterPurchase }));
});
afterAll(async () => {
  await engine.stop();
});
afterEach(() => {
  engine.sink.faults = {};
});

const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);
const handleOf = (id: string) => engine.client.workflow.getHandle<LeadJourney>(journeyWorkflowId(id, 'buyer'));
const waits = async (id: string) => (await handleOf(id).query(progressQuery)).doing === 'waiting';

/** A history with what its payloads say. */
function inClear(history: unknown): string {
  return JSON.stringify(history).replace(/"data":"([^"]*)"/g, (_, data: string) =>
    Buffer.from(data, 'base64').toString(),
  );
}

/** Somebody who agreed to nudges and has bought before their information went out. */
async function buyer() {
  const email = `${randomUUID()}@correo.example`;
  const request = requestBy(email);
  const orderId = randomUUID();
  await enrollForTests(engine.db, campaignId, request);
  const now = new Date();
  const purchase = { who: { hashes: request.hashes }, orderId, products: ['C-1'], now };
  const journeys = createJourneys(engine.client, engine.db, silent);
  return {
    email,
    orderId,
    journeys,
    hashes: request.hashes,
    /** As the API does it. */
    buy: async () => {
      const { begun, stopped } = await recordPurchase(engine.db, purchase);
      journeys.tell(stopped.map(({ enrollmentId }) => enrollmentId));
      journeys.start(begun);
      return begun[0] as string;
    },
    refund: async () => {
      const result = await recordRefund(engine.db, { orderId, now: new Date() });
      journeys.tell(result.stopped.map(({ enrollmentId }) => enrollmentId));
      return result;
    },
  };
}

describe('P2: a refund', () => {
  test('in the wait ends the journey at once', async () => {
    const { email, buy, refund } = await buyer();
    const id = await buy();
    await eventually(() => mailsTo(email).some(({ subject }) => subject.startsWith('Gracias')));
    await eventually(() => waits(id));
    await refund();
    expect(await handleOf(id).result()).toEqual({ outcome: 'cancelled', step: 1 });
  });

  test('past the gate is named, and that mail is the last', async () => {
    const { email, buy, refund } = await buyer();
    const body = door();
    engine.sink.faults = {
      onMessage: ({ to, subject }) => (to === email && subject.startsWith('Gracias') ? body.wait() : undefined),
    };
    const id = await buy();
    await body.reached;
    const { inFlight } = await refund();
    body.open();
    expect(inFlight).toMatchObject([{ enrollmentId: id, step: 0 }]);
    expect(await handleOf(id).result()).toMatchObject({ outcome: 'cancelled' });
  });

  test('before the gate withdraws the thanks', async () => {
    const { email, buy, refund } = await buyer();
    const rcpt = door();
    engine.sink.faults = { onRcpt: (to) => (to === email ? rcpt.wait() : undefined) };
    const id = await buy();
    await rcpt.reached;
    const { inFlight } = await refund();
    rcpt.open();
    expect(inFlight).toEqual([]);
    expect(await handleOf(id).result()).toEqual({ outcome: 'cancelled', step: 0 });
    expect(mailsTo(email)).toEqual([]);
  });
});

test('P2: an unsubscribe in the wait ends the journey, and a purchase of something else does not', async () => {
  const { email, hashes, journeys, buy } = await buyer();
  const id = await buy();
  await eventually(() => mailsTo(email).length === 1);
  await eventually(() => waits(id));
  const other = await recordPurchase(engine.db, {
    who: { hashes },
    orderId: randomUUID(),
    products: ['X'],
    now: new Date(),
  });
  expect(other).toMatchObject({ stopped: [], begun: [] });
  expect(await waits(id)).toBe(true);
  const { stopped } = await stopEnrollments(engine.db, {
    who: { hashes },
    outcome: 'unsubscribed',
    suppress: 'objection',
    now: new Date(),
  });
  journeys.tell(stopped.map(({ enrollmentId }) => enrollmentId));
  expect(await handleOf(id).result()).toEqual({ outcome: 'unsubscribed', step: 1 });
});

test('P4: a journey that the API could not start, or not tell, is started and told by the reconciler as what it is', async () => {
  const { email, orderId, hashes } = await buyer();
  const { begun } = await recordPurchase(engine.db, {
    who: { hashes },
    orderId,
    products: ['C-1'],
    now: new Date(),
  });
  const id = begun[0] as string;
  await eventually(() => mailsTo(email).length === 1);
  await eventually(() => waits(id));
  await recordRefund(engine.db, { orderId, now: new Date() });
  expect(await handleOf(id).result()).toEqual({ outcome: 'cancelled', step: 1 });
  await eventually(async () => {
    const row = await engine.db
      .selectFrom('enrollment')
      .select(['started_at', 'signal_at'])
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    return row.started_at !== null && row.signal_at === null;
  });
});

test('P5, P8: its workflow is one of its own kind that knows nothing of the order; thanks go with the invoices, the rest with the nudges', async () => {
  const { email, orderId, buy } = await buyer();
  const id = await buy();
  await eventually(() => mailsTo(email).length === 1);
  await eventually(() => waits(id));
  const { type } = await handleOf(id).describe();
  expect(type).toBe('buyerJourney');
  const history = inClear(await handleOf(id).fetchHistory());
  expect(history).toContain('mail-transactional');
  expect(history).toContain('step 1 due');
  expect(history).not.toContain('mail-requested');
  expect(history).not.toContain(orderId);
  // The first run sent the thanks; the next one takes the nudges' way.
  await engine.db.updateTable('enrollment').set({ next_due_at: new Date() }).where('id', '=', id).execute();
  await handleOf(id).signal(wakeSignal);
  await eventually(() => mailsTo(email).length === 2);
  const second = inClear(await handleOf(id).fetchHistory());
  expect(second).toContain('mail-marketing');
});
