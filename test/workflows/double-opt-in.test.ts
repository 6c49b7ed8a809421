import { simpleParser } from 'mailparser';
import type { Api } from '../../api/context';
import { pendingRequest } from '../../db/confirmation-outbox';
import { keepRequestGoing } from '../../temporal/confirmations';
import type { Journeys } from '../../temporal/journeys';
import { reconcileOnce } from '../../temporal/reconciler';
import {
  confirmedSignal,
  type DoubleOptIn,
  doubleOptInWorkflowId,
  journeyWorkflowId,
  transactionalWorkflowId,
} from '../../workflows/contract';
import { apiOn } from '../support/api-on-engine';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, silent, startEngine } from '../support/engine';
import { type FormForTests, formForTests, sentBy, submitToConfirm } from '../support/form-requests';
import { smtpError } from '../support/smtp-sink';
import { eventually } from '../support/waiting';

let engine: Engine;
let journeys: Journeys;
let app: Api;
let campaignId: string;
let form: FormForTests;
beforeAll(async () => {
  engine = await startEngine('real-time');
  ({ app, journeys } = await apiOn(engine));
  campaignId = await publishForTests(engine.db, definitionForTests(3));
  form = await formForTests(engine.db, campaignId);
});
afterAll(async () => {
  await app.close();
  await journeys.settled();
  await engine.stop();
});
beforeEach(() => {
  engine.sink.faults = {};
});

const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);
const handle = (id: string) => engine.client.workflow.getHandle<DoubleOptIn>(doubleOptInWorkflowId(id));
const requestOf = (id: string) =>
  engine.db.selectFrom('form_request').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const reconcile = () => reconcileOnce({ client: engine.client, db: engine.db, log: silent });

/** The link in the mail, as its reader would open it. */
async function linkTo(email: string): Promise<string> {
  await eventually(() => mailsTo(email).length > 0);
  const { text = '' } = await simpleParser(mailsTo(email)[0]?.raw ?? '');
  const link = /^http:\/\/localhost:3000(\/c\/[^\s/]+)$/m.exec(text)?.[1];
  if (link === undefined) throw new Error('there is no link in the mail');
  return link;
}

async function press(link: string) {
  const page = await app.inject({ method: 'GET', url: link });
  const shown = /name="shown" value="([^"]*)"/.exec(page.body)?.[1] ?? '';
  return await app.inject({
    method: 'POST',
    url: link,
    payload: new URLSearchParams({ shown }).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  });
}

/** All that Temporal keeps of a workflow, what is encoded in it too. */
async function historyText(workflowId: string): Promise<string> {
  const { events } = await engine.client.workflow.getHandle(workflowId).fetchHistory();
  const text = JSON.stringify(events);
  const payloads = [...text.matchAll(/"data":"([^"]+)"/g)].map(([, data = '']) =>
    Buffer.from(data, 'base64').toString(),
  );
  expect(payloads.length).toBeGreaterThan(0);
  return [text, ...payloads].join('\n');
}

test('the mail asks, a scanner’s GET changes nothing, a POST confirms, and the journey starts only then', async () => {
  const email = 'ana@correo.example';
  const id = await submitToConfirm(engine.db, sentBy(form, email));
  journeys.startConfirmations([id]);
  const link = await linkTo(email);
  const mail = await simpleParser(mailsTo(email)[0]?.raw ?? '');
  expect(mail.subject).toBe('Confirme su solicitud');
  expect(mail.from?.text).toContain('lucia@shop.example');
  expect(mail.headers.get('feedback-id')).toBe('confirmation:requested:shop.example');
  expect(mail.headers.get('list-unsubscribe')).toBeUndefined();
  expect(mailsTo(email)[0]?.raw).not.toContain('Íñigo');

  expect((await app.inject({ method: 'GET', url: link })).statusCode).toBe(200);
  expect((await handle(id).describe()).status.name).toBe('RUNNING');
  expect((await requestOf(id)).state).toBe('pending');
  expect(await engine.db.selectFrom('enrollment').select('id').execute()).toEqual([]);

  expect((await press(link)).statusCode).toBe(200);
  expect(await handle(id).result()).toEqual({ state: 'confirmed' });
  await eventually(() => mailsTo(email).some((message) => message.subject === 'Paso 0'));
  const { enrollment_id: enrollmentId } = await requestOf(id);
  expect((await engine.client.workflow.getHandle(journeyWorkflowId(enrollmentId ?? '')).describe()).status.name).toBe(
    'RUNNING',
  );
  expect((await press(link)).body).toContain('Ya estaba confirmada');
  expect(mailsTo(email)).toHaveLength(2);
  await eventually(async () => (await requestOf(id)).signal_at === null);
});

test('P5 neither its history nor that of its mail holds anything of the person', async () => {
  const email = 'secreta@correo.example';
  const id = await submitToConfirm(engine.db, sentBy(form, email));
  journeys.startConfirmations([id]);
  const link = await linkTo(email);
  await press(link);
  await handle(id).result();
  const { mail_id: mailId } = await requestOf(id);
  await eventually(async () => {
    const mail = await engine.client.workflow.getHandle(transactionalWorkflowId(mailId ?? '')).describe();
    return mail.status.name === 'COMPLETED';
  });
  const texts = [
    await historyText(doubleOptInWorkflowId(id)),
    await historyText(transactionalWorkflowId(mailId ?? '')),
  ];
  expect(texts[0]).toContain(id);
  for (const text of texts) {
    expect(text).toContain(`"transactionalId":"${mailId}"`);
    expect(text).not.toMatch(/secreta|correo\.example|igo|Bilbao|2001:db8|feria|Cafetera|localhost:3000/);
    expect(text).not.toContain(link);
  }
});

test('what it waits for stands in the Temporal UI', async () => {
  const email = 'berta@correo.example';
  const id = await submitToConfirm(engine.db, sentBy(form, email));
  journeys.startConfirmations([id]);
  await linkTo(email);
  const details = async () =>
    (await handle(id).query<{ currentDetails?: string }>('__temporal_workflow_metadata')).currentDetails ?? '';
  await eventually(async () => (await details()).startsWith('Waits'));
  expect(await details()).toMatch(/^Waits for the confirmation; expires at \d{4}-.*Z\. Ends early/);
  expect(await (await handle(id).describe()).staticSummary()).toBe('Waits for somebody to confirm a request');
  const text = await historyText(doubleOptInWorkflowId(id));
  expect(text).toMatch(/expires \d{4}-\d\d-\d\dT\d\d:\d\dZ/);

  // Told of what has not happened, it looks and waits on.
  await handle(id).signal(confirmedSignal);
  await eventually(
    async () => ((await historyText(doubleOptInWorkflowId(id))).match(/EVENT_TYPE_TIMER_STARTED/g) ?? []).length > 1,
  );
  expect((await handle(id).describe()).status.name).toBe('RUNNING');
  expect(mailsTo(email)).toHaveLength(1);

  await handle(id).cancel();
  expect(await handle(id).result()).toEqual({ state: 'withdrawn' });
  expect(await requestOf(id)).toMatchObject({ state: 'withdrawn', content: null });
});

test('P4 what nobody has started or told is started and told by the reconciler; starting again sends nothing twice', async () => {
  const email = 'carla@correo.example';
  const id = await submitToConfirm(engine.db, sentBy(form, email));
  await eventually(async () => (await requestOf(id)).started_at !== null);
  const link = await linkTo(email);
  const pending = await pendingRequest(engine.db, id);
  if (pending === null) throw new Error('it should wait');
  await keepRequestGoing(engine.client, pending);
  await handle(id).terminate();
  await keepRequestGoing(engine.client, pending);
  await eventually(async () => (await handle(id).describe()).status.name === 'RUNNING');
  // As the API would leave it that died after its commit.
  await press(link);
  expect(await handle(id).result()).toEqual({ state: 'confirmed' });
  await reconcile();
  await eventually(async () => (await pendingRequest(engine.db, id)) === null);
  expect(mailsTo(email).filter((message) => message.subject.startsWith('Confirme'))).toHaveLength(1);
});

test('a mail that comes back makes the address undeliverable and ends it as withdrawn', async () => {
  const email = 'nadie@correo.example';
  engine.sink.faults = {
    onRcpt: (to) => {
      if (to === email) throw smtpError(550, `5.1.1 <${to}> no such user`);
    },
  };
  const id = await submitToConfirm(engine.db, sentBy(form, email));
  journeys.startConfirmations([id]);
  await eventually(async () => (await requestOf(id)).state === 'withdrawn');
  expect(await handle(id).result()).toEqual({ state: 'withdrawn' });
  const address = await engine.db
    .selectFrom('address')
    .select('undeliverable_at')
    .where('hash', '=', sentBy(form, email).hashes[0])
    .executeTakeFirst();
  expect(address?.undeliverable_at).toBeInstanceOf(Date);
});

test('one that was erased meanwhile ends as such', async () => {
  const email = 'dolores@correo.example';
  const id = await submitToConfirm(engine.db, sentBy(form, email));
  journeys.startConfirmations([id]);
  await linkTo(email);
  await journeys.settled();
  await engine.db.deleteFrom('form_request').where('id', '=', id).execute();
  await handle(id).signal(confirmedSignal);
  expect(await handle(id).result()).toEqual({ state: 'erased' });
});
