import { createCampaign } from '../../db/campaigns';
import { createTestSend, findTestSend } from '../../db/test-sends';
import { hashAddress } from '../../domain/address-hash';
import { reconcileOnce } from '../../temporal/reconciler';
import { testSendWorkflowId } from '../../workflows/contract';
import { definitionForTests } from '../support/campaigns';
import { type Engine, silent, startEngine } from '../support/engine';
import { TEST_ADDRESS_KEYS } from '../support/leads';
import { eventually } from '../support/waiting';

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine('time-skipping');
});
afterAll(async () => {
  await engine.stop();
});

test('P4, P5: a test mail that nobody started is started by the reconciler, and its history names nobody', async () => {
  const { db, client, sink } = engine;
  const { steps: _, ...definition } = definitionForTests(1);
  const { id: campaignId } = await createCampaign(db, definition);
  const address = 'curiosa@tienda.example';
  const testSendId = await createTestSend(db, {
    campaignId,
    version: null,
    step: 0,
    address,
    lead: { email: 'x@y.example', name: 'Remedios', locale: 'es', timeZone: 'Europe/Madrid', attributes: {} },
    content: {
      definition,
      compiled: {
        subject: 'Hola {{ lead.firstName }}',
        html: '<p>{{ unsubscribeUrl }}</p>',
        text: '{{ unsubscribeUrl }}',
      },
      stepCount: 1,
      requestedAt: new Date().toISOString(),
      consentSource: null,
      hashes: hashAddress(address, TEST_ADDRESS_KEYS),
    },
  });

  // The worker's own reconciler may be quicker; both are right.
  await reconcileOnce({ client, db, log: silent });
  const handle = client.workflow.getHandle(testSendWorkflowId(testSendId));
  await eventually(async () => {
    const row = db.selectFrom('test_send').select('started_at').where('id', '=', testSendId);
    return (await row.executeTakeFirstOrThrow()).started_at !== null;
  });
  expect(await handle.result()).toEqual({ state: 'accepted' });
  expect(sink.messages.filter((message) => message.to === address).map((message) => message.subject)).toEqual([
    '[Prueba] Hola Remedios',
  ]);
  expect(await findTestSend(db, testSendId)).toMatchObject({ state: 'accepted' });
  const history = textIn([await handle.fetchHistory(), (await handle.describe()).raw]);
  expect(history).toContain(JSON.stringify({ testSendId }));
  for (const personal of [address, 'tienda.example', 'Remedios', 'x@y.example'])
    expect(history).not.toContain(personal);
});

/** Every text in it, payloads included, which are bytes. */
function textIn(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (value === null || typeof value !== 'object') return String(value);
  return Object.values(value).map(textIn).join('\n');
}
