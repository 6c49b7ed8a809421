import { pendingRequest } from '../../db/confirmation-outbox';
import { viewLink } from '../../db/confirmations';
import { keepRequestGoing } from '../../temporal/confirmations';
import { type DoubleOptIn, doubleOptInWorkflowId } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { formForTests, sentBy, submitToConfirm } from '../support/form-requests';

const DAY = 24 * 3_600_000;
const [ANA, BERTA] = ['ana@correo.example', 'berta@correo.example'] as const;

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine('time-skipping');
});
afterAll(async () => await engine.stop());

const subjectsTo = (email: string) =>
  engine.sink.messages.filter((mail) => mail.to === email).map((mail) => mail.subject);
const requestOf = (id: string) =>
  engine.db.selectFrom('form_request').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

async function start(id: string) {
  const pending = await pendingRequest(engine.db, id);
  if (pending === null) throw new Error('it should wait');
  await keepRequestGoing(engine.client, pending);
  return engine.client.workflow.getHandle<DoubleOptIn>(doubleOptInWorkflowId(id));
}

test('whom nobody confirms it expires for after its time; a reminder goes out once where the form has one, else none', async () => {
  const campaignId = await publishForTests(engine.db, definitionForTests(3));
  const plain = await formForTests(engine.db, campaignId, { confirmation: { expiresAfter: 'P3D' } });
  const reminding = await formForTests(engine.db, campaignId, { confirmation: { remindAfter: 'PT48H' } });
  const now = new Date();
  const ids = [
    await submitToConfirm(engine.db, sentBy(plain, ANA, {}, now)),
    await submitToConfirm(engine.db, sentBy(reminding, BERTA, {}, now)),
  ] as const;
  const [ana, berta] = [await start(ids[0]), await start(ids[1])];
  expect(await ana.result()).toEqual({ state: 'expired' });
  expect(await berta.result()).toEqual({ state: 'expired' });

  expect(subjectsTo(ANA)).toEqual(['Confirme su solicitud']);
  const row = await requestOf(ids[0]);
  expect(row).toMatchObject({ state: 'expired', expires_at: new Date(now.getTime() + 3 * DAY), signal_at: null });
  expect(row.ended_at?.getTime()).toBeGreaterThanOrEqual(now.getTime() + 3 * DAY);
  // Erased later.
  expect(row.content).not.toBeNull();
  expect(await viewLink(engine.db, ids[0], now)).toMatchObject({ state: 'expired' });

  expect(subjectsTo(BERTA)).toEqual(['Confirme su solicitud', 'Falta confirmar su solicitud']);
  const reminded = await requestOf(ids[1]);
  expect(reminded).toMatchObject({ state: 'expired', reminder_id: expect.any(String) });
  expect(reminded.remind_at?.getTime()).toBeGreaterThanOrEqual(now.getTime() + 2 * DAY);
  expect(await engine.db.selectFrom('enrollment').select('id').execute()).toEqual([]);
});
