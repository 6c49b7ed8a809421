import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stopEnrollments } from '../../db/stops';
import type { AuditReport } from '../../temporal/audit';
import { publishForTests } from '../support/campaigns';
import { fallDue } from '../support/leads';
import { eventually } from '../support/waiting';
import type { WorkerSettings } from '../support/worker-process';
import { audited } from './audited';
import { type Stage, setStage } from './stage';

jest.setTimeout(600_000);

let stage: Stage;
let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-older-'));
  stage = await setStage(join(dir, 'temporal.db'));
});
afterAll(async () => {
  await stage.close();
  await rm(dir, { recursive: true, force: true });
});

const subjects = (name: string) => stage.mailsTo(`${name}@correo.example`).map(({ subject }) => subject);

test('P2, P3, P12: Temporal from an older backup: what it has forgotten is started and told again, and nothing goes out twice', async () => {
  const { db } = stage;
  const campaignId = await publishForTests(db);
  const settings: WorkerSettings = {
    databaseUrl: stage.database.url,
    temporalAddress: stage.temporalAddress,
    smtpUrl: stage.sink.url,
  };
  const asleep = async (id: string) => {
    await eventually(async () => (await stage.journey(id).progress())?.doing === 'waiting');
  };
  const worker = await stage.work(settings);
  const goesOn = await stage.enroll(campaignId, 'sigue@correo.example');
  const leaves = await stage.enroll(campaignId, 'seva@correo.example');
  for (const id of [goesOn, leaves]) await asleep(id);
  await worker.stop();
  await stage.stopTemporal();
  const older = join(dir, 'older.db');
  // SQLite keeps its log beside it.
  for (const end of ['', '-wal', '-shm']) {
    await cp(`${join(dir, 'temporal.db')}${end}`, `${older}${end}`, { force: true }).catch(
      (error: { code: string }) => {
        if (error.code !== 'ENOENT' || end === '') throw error;
      },
    );
  }
  await stage.startTemporal(join(dir, 'temporal.db'));

  const second = await stage.work(settings);
  await fallDue(db, goesOn);
  await eventually(async () => (await stage.row(goesOn)).step === 2);
  await asleep(goesOn);
  const isNew = await stage.enroll(campaignId, 'nueva@correo.example');
  await eventually(async () => (await stage.row(isNew)).step === 1);
  await asleep(isNew);
  await stopEnrollments(db, {
    who: { enrollmentId: leaves },
    outcome: 'unsubscribed',
    suppress: 'objection',
    now: new Date(),
  });
  await eventually(async () => (await stage.journey(leaves).status()) === 'COMPLETED');
  await second.stop();
  // It still counts as one that may ask for work.
  await expect(audited(settings, { mend: true })).rejects.toThrow(/A worker asked for work \d+ s ago/);
  await stage.stopTemporal();

  await stage.startTemporal(older);
  const expected = [`missing lead-journey/${isNew}`, `not-told lead-journey/${leaves}`].sort();
  const found = ({ differences }: AuditReport) => differences.map(({ kind, workflowId }) => `${kind} ${workflowId}`);
  // The journey that stands before a step which was sent is no difference: it gets the stored answer.
  const looked = await audited(settings);
  expect([looked.code, found(looked.report).sort()]).toEqual([1, expected]);
  const mended = await audited(settings, { mend: true, force: true });
  expect([mended.code, found(mended.report).sort()]).toEqual([0, expected]);

  await stage.work(settings);
  await eventually(async () => (await stage.journey(leaves).status()) === 'COMPLETED');
  await asleep(isNew);
  await fallDue(db, goesOn);
  await eventually(async () => (await stage.row(goesOn)).step === 3);
  await fallDue(db, isNew);
  await eventually(async () => (await stage.row(isNew)).step === 2);
  expect([subjects('sigue'), subjects('seva'), subjects('nueva')]).toEqual([
    ['Paso 0', 'Paso 1', 'Paso 2'],
    ['Paso 0'],
    ['Paso 0', 'Paso 1'],
  ]);
  expect((await audited(settings)).report.differences).toEqual([]);
});
