import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runReplayJournal } from '../../cli/replay-journal';
import { pauseSending, resumeAll } from '../../db/breaker';
import { findMigration } from '../../db/campaign-migrations';
import { createDb, type Db } from '../../db/client';
import { flushJournal } from '../../db/journal';
import { openJournalFile } from '../../db/journal-file';
import { recordPurchase } from '../../db/purchases';
import { stopEnrollments, stopIn } from '../../db/stops';
import { enqueueTransactional } from '../../db/transactional';
import { STREAMS } from '../../domain/streams';
import type { AuditReport } from '../../temporal/audit';
import {
  afterPurchaseForTests,
  definitionForTests,
  publishAgainForTests,
  publishForTests,
  stepsForTests,
} from '../support/campaigns';
import { eraseForTests } from '../support/erasing';
import { fallDue, requestBy } from '../support/leads';
import { beginMigration } from '../support/migrating';
import { backUp, type TestDatabase } from '../support/postgres';
import { shopMail } from '../support/transactional';
import { door, eventually } from '../support/waiting';
import { environmentOf, startWorkerProcess, type WorkerSettings } from '../support/worker-process';
import { audited } from './audited';
import { type Stage, setStage } from './stage';

jest.setTimeout(600_000);

let stage: Stage;
let dir: string;
let backup: TestDatabase | undefined;

beforeAll(async () => {
  [stage, dir] = await Promise.all([setStage(), mkdtemp(join(tmpdir(), 'recuerda-restore-'))]);
});
afterAll(async () => {
  await stage.close();
  await backup?.drop();
  await rm(dir, { recursive: true, force: true });
});

async function stepOf(db: Db, id: string) {
  return await db
    .selectFrom('enrollment')
    .select(['step', 'outcome', 'next_due_at', 'started_at', 'lead_id', 'held_for'])
    .where('id', '=', id)
    .executeTakeFirst();
}

/** Somebody who has bought. @returns the enrollment that follows the purchase */
async function buyer(db: Db, enroll: Stage['enroll']): Promise<string> {
  const product = { name: 'Cafetera', url: 'https://shop.example/cafetera', codes: ['C-1'] };
  const campaignId = await publishForTests(
    db,
    definitionForTests(2, { product, afterPurchase: afterPurchaseForTests() }),
  );
  const email = 'compradora@correo.example';
  await enroll(campaignId, email);
  const purchase = { who: { hashes: requestBy(email).hashes }, orderId: 'A-1', products: ['C-1'], now: new Date() };
  const { begun } = await recordPurchase(db, purchase);
  if (begun[0] === undefined) throw new Error('nothing has begun');
  return begun[0];
}

/** The differences, as kind and lead or mail. */
function found(report: AuditReport, names: Record<string, string>): string[] {
  return report.differences
    .map(({ kind, workflowId }) => `${kind} ${names[workflowId.slice(workflowId.indexOf('/') + 1)] ?? workflowId}`)
    .sort();
}

test('P2, P3, P6, P12: Postgres from a backup: nobody who left is mailed, nothing goes out twice, every difference is found and mended', async () => {
  const journal = join(dir, 'journal');
  await mkdir(journal);
  const { db, sink } = stage;
  const campaignId = await publishForTests(db);
  const settings: WorkerSettings = {
    databaseUrl: stage.database.url,
    temporalAddress: stage.temporalAddress,
    smtpUrl: sink.url,
    journal,
  };
  const worker = await stage.work(settings);
  const names: Record<string, string> = {};
  const enroll = async (name: string, campaign = campaignId) => {
    const id = await stage.enroll(campaign, `${name}@correo.example`);
    names[id] = name;
    return id;
  };
  const named = (...steps: string[]) => definitionForTests(0, { steps: stepsForTests(...steps) });
  const changing = await publishForTests(db, named('info', 'a', 'b', 'c'));

  const sleepers = [
    'avanza',
    'sigue',
    'seva',
    'borrada',
    'callada',
    'aplazada',
    'terminada',
    'entrega',
    'mudada',
  ] as const;
  const ids = {} as Record<(typeof sleepers)[number], string>;
  for (const name of sleepers) ids[name] = await enroll(name, name === 'mudada' ? changing : campaignId);
  for (const id of Object.values(ids)) await eventually(async () => (await stage.row(id)).step === 1);
  for (const id of Object.values(ids)) {
    await eventually(async () => (await stage.journey(id).progress())?.doing === 'waiting');
  }
  const bought = await buyer(db, stage.enroll);
  names[bought] = 'compradora';
  await eventually(async () => (await stage.row(bought)).step === 1);
  // One entry before the backup, so that it knows how far it was.
  const file = openJournalFile(journal);
  await stopEnrollments(db, { who: { enrollmentId: await enroll('antes') }, outcome: 'replied', now: new Date() });
  await flushJournal(db, file);
  // In somebody else's name, whose domain stands in the Message-IDs of its mails.
  const sender = { ...definitionForTests().sender, address: 'marta@otra.example' };
  await publishAgainForTests(db, changing, { ...named('info', 'b', 'a', 'd'), sender });
  // Kept, and not yet begun, when the backup is made.
  await worker.stop();
  const justIn = await enroll('reciente');
  const invoice = await enqueueTransactional(db, shopMail('factura@correo.example'));
  names[invoice] = 'factura';

  backup = await backUp(stage.database);

  const second = await stage.work(settings);
  await eventually(async () => (await stage.row(justIn)).step === 1);
  await eventually(() => sink.messages.find(({ to }) => to === 'factura@correo.example'));
  await fallDue(db, ids.avanza);
  await eventually(async () => (await stage.row(ids.avanza)).step === 2);
  await fallDue(db, ids.avanza);
  await eventually(async () => (await stage.row(ids.avanza)).step === 3);
  // She has had `a` when she is moved to where `c` is no more, and gets `b` there.
  await fallDue(db, ids.mudada);
  await eventually(async () => (await stage.row(ids.mudada)).step === 2);
  const migrationId = await beginMigration(db, changing, 2);
  await eventually(async () => (await findMigration(db, changing, migrationId)).state === 'completed');
  await fallDue(db, ids.mudada);
  await eventually(async () => (await stage.row(ids.mudada)).step === 3);
  await fallDue(db, bought);
  await eventually(async () => (await stage.row(bought)).step === 2);
  const orphan = await enroll('nueva');
  await eventually(async () => (await stage.row(orphan)).step === 1);
  // Who asked again, say: the next nudge is moved away.
  const later = new Date(Date.now() + 200 * 86_400_000);
  await db
    .updateTable('enrollment')
    .set({ next_due_at: later, signal_at: new Date() })
    .where('id', '=', ids.aplazada)
    .execute();
  await eventually(async () => Number((await stage.journey(ids.aplazada).progress())?.until ?? 0) >= later.getTime());
  const leaving = { outcome: 'unsubscribed', suppress: 'objection', now: new Date() } as const;
  await stopEnrollments(db, { who: { enrollmentId: ids.seva }, ...leaving });
  const erased = await stepOf(db, ids.borrada);
  await eraseForTests(db, erased?.lead_id ?? '');
  await flushJournal(db, file);
  await file.close();
  // This one's entry is lost with the disk of the journal, so only the engine knows of it.
  await db.transaction().execute(async (tx) => {
    await stopIn(tx, { who: { enrollmentId: ids.callada }, ...leaving });
    await tx.deleteFrom('journal_outbox').execute();
  });
  await eventually(async () => (await stage.journey(ids.callada).status()) === 'COMPLETED');
  await stage.journey(ids.terminada).terminate('an operator was too quick');
  // Everything stops while one mail is being handed over: whether it was taken nobody can tell.
  const taken = door();
  sink.faults = { beforeAccept: ({ to }) => (to === 'entrega@correo.example' ? taken.wait() : undefined) };
  await fallDue(db, ids.entrega);
  await taken.reached;
  await second.kill();
  taken.open();
  sink.faults = {};
  const sentBefore = sink.messages.length;

  // ---- the restore ----
  const restored: WorkerSettings = { ...settings, databaseUrl: backup.url };
  const copy = backup.db;
  await expect(startWorkerProcess(restored)).rejects.toThrow(/older than its journal[\s\S]*replay-journal/);
  await expect(audited(restored, { mend: true })).rejects.toThrow('older than its journal');
  expect(await runReplayJournal(environmentOf(restored), undefined, {}, { write: () => {} })).toBe(0);
  await expect(startWorkerProcess(restored)).rejects.toThrow(/does not know what was sent[\s\S]*recuerda audit/);
  expect(sink.messages).toHaveLength(sentBefore);

  const looked = await audited(restored);
  expect(looked.code).toBe(1);
  const expected = [
    'due-too-early aplazada',
    'lost-ending callada',
    'lost-mail factura',
    'lost-steps avanza',
    'lost-steps compradora',
    'lost-steps entrega',
    'lost-steps mudada',
    'lost-steps reciente',
    'missing terminada',
    'orphan nueva',
  ];
  expect(found(looked.report, names)).toEqual(expected);
  expect(looked.text).not.toMatch(/correo\.example/);
  expect(await stepOf(copy, ids.avanza)).toMatchObject({ step: 1 });

  const mended = await audited(restored, { mend: true, force: true });
  expect(mended.code).toBe(0);
  expect(found(mended.report, names)).toEqual(expected);
  expect(mended.report.differences.every((difference) => difference.mended)).toBe(true);
  await eventually(async () => (await audited(restored)).code === 0);
  expect((await audited(restored, { mend: true, force: true })).report.differences).toEqual([]);

  const ledger = await copy
    .selectFrom('message')
    .select(['enrollment_id', 'step', 'state', 'code', 'message_id'])
    .where('state', '=', 'unknown')
    .orderBy('step')
    .execute();
  const unknown = ledger.map(({ enrollment_id, step, code }) => `${names[enrollment_id]} ${step} ${code}`).sort();
  expect(unknown).toEqual(
    ['avanza 1', 'avanza 2', 'compradora 1', 'entrega 1', 'mudada 1', 'mudada 2', 'reciente 0'].map(
      (mail) => `${mail} restored`,
    ),
  );
  // Under the same names as the mails that went out, so whatever comes back about them is known again.
  const sent = new Set(sink.messages.map(({ messageId }) => messageId));
  expect(ledger.every(({ message_id }) => sent.has(message_id))).toBe(true);
  const original = await stepOf(db, ids.avanza);
  expect(await stepOf(copy, ids.avanza)).toMatchObject({ step: 3, outcome: null, next_due_at: original?.next_due_at });
  expect(await stepOf(copy, ids.callada)).toMatchObject({ outcome: 'unsubscribed' });
  expect(await stepOf(copy, ids.seva)).toMatchObject({ outcome: 'unsubscribed' });
  expect(await stepOf(copy, ids.aplazada)).toMatchObject({ next_due_at: later });
  expect(
    (await copy.selectFrom('address').select('hash').where('suppressed_at', 'is not', null).execute()).length,
  ).toBe(2);
  expect((await stage.client.workflow.getHandle(`lead-journey/${orphan}`).describe()).status.name).toBe('TERMINATED');

  // ---- and on it goes ----
  await stage.work(restored);
  await eventually(async () => (await stepOf(copy, ids.terminada))?.started_at !== null);
  const going = [ids.avanza, ids.sigue, ids.terminada, justIn, ids.entrega, ids.mudada, bought];
  const before = await Promise.all(going.map(async (id) => (await stepOf(copy, id))?.step ?? 0));
  await fallDue(copy, ...going);
  for (const [index, id] of going.entries()) {
    await eventually(async () => (await stepOf(copy, id))?.step === (before[index] ?? 0) + 1);
  }
  await fallDue(copy, ids.aplazada);
  await eventually(async () => (await stepOf(copy, ids.aplazada))?.step === 2);
  const counted = new Map<string, number>();
  for (const { to, subject } of sink.messages)
    counted.set(`${to} ${subject}`, (counted.get(`${to} ${subject}`) ?? 0) + 1);
  expect([...counted].filter(([, times]) => times > 1)).toEqual([]);
  expect(stage.mailsTo('avanza@correo.example').map(({ subject }) => subject)).toEqual([
    'Paso 0',
    'Paso 1',
    'Paso 2',
    'Paso 3',
  ]);
  const toBuyer = stage.mailsTo('compradora@correo.example').map(({ subject }) => subject);
  expect(toBuyer.filter((subject) => !subject.startsWith('Paso'))).toEqual(['Gracias A-1', 'Dudas A-1', 'Amigos A-1']);
  expect(stage.mailsTo('mudada@correo.example').map(({ subject }) => subject)).toEqual(['info', 'a', 'b', 'd']);
  for (const name of ['seva', 'borrada', 'callada', 'nueva'])
    expect(stage.mailsTo(`${name}@correo.example`)).toHaveLength(1);
});

test('P2, P3, P4, P10: moved to an empty Temporal as the runbook says: every journey is started at its step, due times stay, and who left meanwhile is left alone', async () => {
  const [from, to] = await Promise.all([setStage(), setStage()]);
  const journal = join(dir, 'journal-of-the-move');
  await mkdir(journal);
  const old: WorkerSettings = {
    databaseUrl: from.database.url,
    temporalAddress: from.temporalAddress,
    smtpUrl: to.sink.url,
    journal,
  };
  let moved: TestDatabase | undefined;
  try {
    const theirs = await publishForTests(from.db);
    const worker = await from.work(old);
    const asleep = await from.enroll(theirs, 'duerme@mudanza.example');
    const due = await from.enroll(theirs, 'vence@mudanza.example');
    const paused = await from.enroll(theirs, 'pausa@mudanza.example');
    const leaving = await from.enroll(theirs, 'seva@mudanza.example');
    const all = [asleep, due, paused, leaving];
    for (const id of all) await eventually(async () => (await from.row(id)).step === 1);
    await from.db.updateTable('enrollment').set({ paused_at: new Date() }).where('id', '=', paused).execute();
    // Everything is paused before the copy is made, and the journal goes on after it.
    await pauseSending(from.db, { streams: STREAMS, provider: '*', now: new Date() });
    const file = openJournalFile(journal);
    await flushJournal(from.db, file);
    await worker.stop();
    const dueTimes = new Map<string, Date>();
    for (const id of [asleep, due, paused]) dueTimes.set(id, (await from.row(id)).next_due_at);
    moved = await backUp(from.database);
    const copy = createDb({ url: moved.url, maxConnections: 2, onError: () => {} });
    await stopEnrollments(from.db, { who: { enrollmentId: leaving }, outcome: 'unsubscribed', now: new Date() });
    await flushJournal(from.db, file);
    await file.close();

    // The new engine knows none of them.
    const now: WorkerSettings = { ...old, databaseUrl: moved.url, temporalAddress: to.temporalAddress };
    await expect(startWorkerProcess(now)).rejects.toThrow('older than its journal');
    expect(await runReplayJournal(environmentOf(now), undefined, {}, { write: () => {} })).toBe(0);
    expect(await stepOf(copy, leaving)).toMatchObject({ outcome: 'unsubscribed' });
    const looked = await audited(now);
    const theirOwn = looked.report.differences
      .filter(({ kind }) => kind === 'missing')
      .map(({ workflowId }) => workflowId);
    expect(theirOwn.sort()).toEqual([asleep, due, paused].map((id) => `lead-journey/${id}`).sort());
    await audited(now, { mend: true, force: true });
    await to.work(now);
    for (const id of [asleep, due, paused]) {
      const progress = await eventually(to.journey(id).waiting);
      expect(progress.until).toBe(dueTimes.get(id)?.getTime());
    }
    await fallDue(copy, due);
    await eventually(async () => (await stepOf(copy, due))?.held_for != null);
    expect(to.mailsTo('vence@mudanza.example')).toHaveLength(1);
    expect(await resumeAll(copy, new Date())).toEqual([...STREAMS].sort());
    await eventually(async () => (await stepOf(copy, due))?.step === 2);
    await copy.destroy();
    const subjects = (name: string) => to.mailsTo(`${name}@mudanza.example`).map(({ subject }) => subject);
    expect(subjects('duerme')).toEqual(['Paso 0']);
    expect(subjects('pausa')).toEqual(['Paso 0']);
    expect(subjects('seva')).toEqual(['Paso 0']);
    expect(subjects('vence')).toEqual(['Paso 0', 'Paso 1']);
  } finally {
    await Promise.all([from.close(), to.close()]);
    await moved?.drop();
  }
});
