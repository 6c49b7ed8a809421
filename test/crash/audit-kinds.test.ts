import { viewLink } from '../../db/confirmations';
import { pauseEnrollment } from '../../db/pauses';
import { stopEnrollments } from '../../db/stops';
import type { AuditReport } from '../../temporal/audit';
import { doubleOptInWorkflowId } from '../../workflows/contract';
import { publishForTests } from '../support/campaigns';
import { formForTests, sentBy, submitToConfirm } from '../support/form-requests';
import { fallDue } from '../support/leads';
import { backUp, type TestDatabase } from '../support/postgres';
import { eventually } from '../support/waiting';
import type { WorkerSettings } from '../support/worker-process';
import { audited } from './audited';
import { type Stage, setStage } from './stage';

jest.setTimeout(600_000);

// The differences that restore.test.ts does not meet: of journeys that wait for a word, of copies of the information, and of
// requests that wait for a confirmation.

let stage: Stage;
let backup: TestDatabase | undefined;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
  await backup?.drop();
});

test('P2, P3, P12: held journeys, ends that were not told, copies and requests for confirmation: found, mended, nothing sent twice', async () => {
  const { db } = stage;
  const campaignId = await publishForTests(db);
  const form = await formForTests(db, campaignId);
  const settings: WorkerSettings = {
    databaseUrl: stage.database.url,
    temporalAddress: stage.temporalAddress,
    smtpUrl: stage.sink.url,
  };
  const names: Record<string, string> = {};
  const first = await stage.work(settings);
  const ids = {} as Record<'espera' | 'noavisada' | 'copia', string>;
  for (const name of ['espera', 'noavisada', 'copia'] as const) {
    ids[name] = await stage.enroll(campaignId, `${name}@correo.example`);
    names[ids[name]] = name;
  }
  for (const id of Object.values(ids)) {
    await eventually(async () => (await stage.journey(id).progress())?.doing === 'waiting');
  }
  await first.stop();
  // Asks for the information again, two days after it was sent.
  const lastInfo = new Date(Date.now() - 2 * 86_400_000);
  await db.updateTable('enrollment').set({ last_info_at: lastInfo }).where('id', '=', ids.copia).execute();
  expect(await stage.enroll(campaignId, 'copia@correo.example')).toBe(ids.copia);
  const asked = await submitToConfirm(db, sentBy(form, 'pide@correo.example'));
  const leaves = await submitToConfirm(db, sentBy(form, 'desiste@correo.example'));
  Object.assign(names, { [asked]: 'pide', [leaves]: 'desiste' });

  backup = await backUp(stage.database);

  const second = await stage.work(settings);
  await eventually(() => stage.mailsTo('copia@correo.example').length === 2);
  for (const name of ['pide', 'desiste']) {
    await eventually(() => stage.mailsTo(`${name}@correo.example`).length === 1);
  }
  await pauseEnrollment(db, ids.espera, new Date());
  await fallDue(db, ids.espera);
  await eventually(async () => (await stage.row(ids.espera)).signal_at === null);
  await eventually(async () => (await stage.journey(ids.espera).progress())?.doing === 'holding');
  // Whoever objects before they have confirmed is not asked again.
  const hashes = sentBy(form, 'desiste@correo.example').hashes;
  await stopEnrollments(db, { who: { hashes }, outcome: 'unsubscribed', suppress: 'objection', now: new Date() });
  await db
    .updateTable('form_request')
    .set({ signal_at: new Date(), leased_until: null })
    .where('id', '=', leaves)
    .execute();
  await eventually(async () => {
    const { status } = await stage.client.workflow.getHandle(doubleOptInWorkflowId(leaves)).describe();
    return status.name === 'COMPLETED';
  });
  await second.stop();

  // ---- the restore ----
  const copy = backup.db;
  const restored: WorkerSettings = { ...settings, databaseUrl: backup.url };
  // As where the store of Temporal is older than the stop: the row has ended and has been told, and the journey knows nothing of it.
  await copy
    .updateTable('enrollment')
    .set({ outcome: 'replied', ended_at: new Date(), signal_at: null })
    .where('id', '=', ids.noavisada)
    .execute();
  const expected = [
    'held espera',
    'lost-copy copia',
    'lost-ending desiste',
    'lost-mail desiste',
    'lost-mail pide',
    'not-told noavisada',
  ];
  const found = (report: AuditReport) =>
    report.differences.map(({ kind, workflowId }) => `${kind} ${names[workflowId.split('/')[1] ?? ''] ?? workflowId}`);
  const looked = await audited(restored, { restored: true });
  expect(found(looked.report).sort()).toEqual(expected);
  expect(looked.code).toBe(1);
  const mended = await audited(restored, { mend: true, force: true, restored: true });
  expect(found(mended.report).sort()).toEqual(expected);
  expect(mended.code).toBe(0);
  expect((await audited(restored, { mend: true, force: true, restored: true })).report.differences).toEqual([]);

  // ---- and on it goes ----
  await stage.work(restored);
  await eventually(async () => (await stage.journey(ids.espera).progress())?.doing === 'waiting');
  await eventually(async () => (await stage.journey(ids.noavisada).status()) === 'COMPLETED');
  const requests = await copy.selectFrom('form_request').select(['id', 'state', 'mail_id']).execute();
  const states = Object.fromEntries(requests.map(({ id, state }) => [names[id], state]));
  expect(states).toEqual({ pide: 'pending', desiste: 'withdrawn' });
  expect(requests.every(({ mail_id: mailId }) => mailId !== null)).toBe(true);
  const messages = await copy
    .selectFrom('message')
    .select(['step', 'copy', 'state', 'message_id'])
    .where('enrollment_id', '=', ids.copia)
    .orderBy('copy')
    .execute();
  expect(messages.map(({ step, copy: which, state }) => [step, which, state])).toEqual([
    [0, 0, 'accepted'],
    [0, 1, 'unknown'],
  ]);
  expect(stage.mailsTo('copia@correo.example').map(({ messageId }) => messageId)).toEqual(
    messages.map((message) => message.message_id),
  );
  // The page of the request still opens, and nobody has been asked twice.
  expect(await viewLink(copy, asked, new Date())).toMatchObject({ state: 'pending' });
  const sent = Object.entries(names).map(([, name]) => `${name} ${stage.mailsTo(`${name}@correo.example`).length}`);
  expect(sent.sort()).toEqual(['copia 2', 'desiste 1', 'espera 1', 'noavisada 1', 'pide 1']);
});
