import { confirmRequest, viewLink } from '../../db/confirmations';
import { type DoubleOptIn, doubleOptInWorkflowId } from '../../workflows/contract';
import { publishForTests } from '../support/campaigns';
import { type FormForTests, formForTests, sentBy, submitToConfirm } from '../support/form-requests';
import { TEST_ADDRESS_KEYS } from '../support/leads';
import { door, eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

let stage: Stage;
let form: FormForTests;
beforeAll(async () => {
  stage = await setStage();
  form = await formForTests(stage.db, await publishForTests(stage.db));
});
afterAll(async () => {
  await stage.close();
});

const requestOf = (id: string) =>
  stage.db.selectFrom('form_request').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const handle = (id: string) => stage.client.workflow.getHandle<DoubleOptIn>(doubleOptInWorkflowId(id));
const subjectsTo = (email: string) => stage.mailsTo(email).map((mail) => mail.subject);

/** As the page does it. */
async function confirm(id: string): Promise<void> {
  const now = new Date();
  const view = await viewLink(stage.db, id, now);
  const shown = view?.state === 'pending' ? view.shown : '';
  const deps = { addressKeys: TEST_ADDRESS_KEYS, timeFactor: 1 };
  const confirmed = await confirmRequest(stage.db, deps, { requestId: id, shown, ip: null, userAgent: null, now });
  expect(confirmed.kind).toBe('confirmed');
}

test('P3, P4 a worker that is killed while it asks, and while it waits, loses nothing and asks once', async () => {
  const { db, sink } = stage;
  const [before, after] = ['antes@correo.example', 'despues@correo.example'] as const;
  const [rcpt, accept] = [door(), door()];
  sink.faults = {
    onRcpt: (to) => (to === before ? rcpt.wait() : undefined),
    // The message is taken, its 250 not yet said.
    beforeAccept: ({ to }) => (to === after ? accept.wait() : undefined),
  };
  const first = await stage.work();
  const ids = [
    await submitToConfirm(db, sentBy(form, before)),
    await submitToConfirm(db, sentBy(form, after)),
  ] as const;
  await Promise.all([rcpt.reached, accept.reached]);
  await first.kill();
  accept.open();
  rcpt.open();

  const second = await stage.work();
  await eventually(() => subjectsTo(before).length > 0);
  await eventually(async () => {
    const { mail_id: mailId } = await requestOf(ids[1]);
    const mail = await db.selectFrom('transactional').select('state').where('id', '=', mailId).executeTakeFirst();
    return mail?.state === 'unknown';
  });
  await second.kill();
  for (const id of ids) await confirm(id);
  await stage.work();
  for (const [id, email] of [
    [ids[0], before],
    [ids[1], after],
  ] as const) {
    expect(await handle(id).result()).toEqual({ state: 'confirmed' });
    await eventually(() => subjectsTo(email).includes('Paso 0'));
    expect(subjectsTo(email)).toEqual(['Confirme su solicitud', 'Paso 0']);
  }
});

test('P4 when Temporal has lost its store, what waits is found when its time comes, and what is confirmed starts its journey', async () => {
  const { db, sink } = stage;
  sink.faults = {};
  const emails = ['uno@correo.example', 'dos@correo.example'] as const;
  const ids = [
    await submitToConfirm(db, sentBy(form, emails[0])),
    await submitToConfirm(db, sentBy(form, emails[1])),
  ] as const;
  await eventually(() => emails.every((email) => subjectsTo(email).length === 1));
  await eventually(async () => (await requestOf(ids[1])).started_at !== null);
  await stage.stopTemporal();
  await confirm(ids[0]);
  await stage.startTemporal();
  // Whoever tried while it was away holds a lease of half a minute.
  await eventually(() => subjectsTo(emails[0]).includes('Paso 0'), 150_000);
  // Its time is well past, and nobody has looked since the store was lost.
  await db
    .updateTable('form_request')
    .set({ expires_at: new Date(Date.now() - 20 * 60_000), started_at: new Date(Date.now() - 60 * 60_000) })
    .where('id', '=', ids[1])
    .execute();
  await eventually(async () => (await requestOf(ids[1])).state === 'expired');
  expect(await handle(ids[1]).result()).toEqual({ state: 'expired' });
  expect(subjectsTo(emails[0])).toEqual(['Confirme su solicitud', 'Paso 0']);
  expect(subjectsTo(emails[1])).toEqual(['Confirme su solicitud']);
});
