import { pauseEnrollment, resumeEnrollment } from '../../db/pauses';
import { publishForTests } from '../support/campaigns';
import { fallDue } from '../support/leads';
import { backUp, type TestDatabase } from '../support/postgres';
import { eventually } from '../support/waiting';
import type { WorkerSettings } from '../support/worker-process';
import { audited } from './audited';
import { type Stage, setStage } from './stage';

let stage: Stage;
const backups: TestDatabase[] = [];
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
  for (const backup of backups) await backup.drop();
});

async function mended(settings: WorkerSettings, restored: boolean): Promise<string[]> {
  const { report } = await audited(settings, { mend: true, force: true, restored });
  return report.differences.map(({ kind }) => kind);
}

test('P3: a copy of the information that is held is not taken for sent by an audit, and goes out once when it is resumed', async () => {
  const { db } = stage;
  const campaignId = await publishForTests(db);
  const settings: WorkerSettings = {
    databaseUrl: stage.database.url,
    temporalAddress: stage.temporalAddress,
    smtpUrl: stage.sink.url,
  };
  const asRestored = async (): Promise<WorkerSettings> => {
    const backup = await backUp(stage.database);
    backups.push(backup);
    return { ...settings, databaseUrl: backup.url };
  };
  const first = await stage.work(settings);
  const id = await stage.enroll(campaignId, 'pide@correo.example');
  await eventually(async () => (await stage.journey(id).progress())?.doing === 'waiting');
  await pauseEnrollment(db, id, new Date());
  // Asks for the information again, two days after it was sent.
  const lastInfo = new Date(Date.now() - 2 * 86_400_000);
  await db.updateTable('enrollment').set({ last_info_at: lastInfo }).where('id', '=', id).execute();
  expect(await stage.enroll(campaignId, 'pide@correo.example')).toBe(id);
  await eventually(async () => (await stage.journey(id).progress())?.doing === 'holding');
  await eventually(async () => (await stage.row(id)).signal_at === null);
  await first.stop();

  expect(await mended(settings, false)).toEqual([]);
  const whileHeld = await asRestored();
  expect(await mended(whileHeld, true)).toEqual([]);
  // Resumed, and the journey does not know yet.
  await resumeEnrollment(db, id, new Date());
  expect(await mended(settings, false)).toEqual([]);
  expect(await mended(await asRestored(), true)).toEqual([]);
  expect(stage.mailsTo('pide@correo.example')).toHaveLength(1);

  const second = await stage.work(settings);
  await eventually(() => stage.mailsTo('pide@correo.example').length === 2);
  await eventually(async () => (await stage.journey(id).progress())?.doing === 'waiting');

  // Held again, for its nudge: of a backup that was made while the copy was held, this hold is another one.
  await pauseEnrollment(db, id, new Date());
  await fallDue(db, id);
  await eventually(async () => (await stage.journey(id).progress())?.doing === 'holding');
  await second.stop();
  const [backup] = backups;
  await backup?.db
    .updateTable('enrollment')
    // As if the hold of the backup were not of the same minute.
    .set({ held_at: new Date(Date.now() - 3_600_000) })
    .where('id', '=', id)
    .execute();
  expect(await mended(settings, false)).toEqual([]);
  expect(await mended(whileHeld, true)).toEqual(['lost-copy']);
  const copies = await backup?.db
    .selectFrom('message')
    .select('state')
    .where('enrollment_id', '=', id)
    .where('copy', '=', 1)
    .execute();
  expect(copies).toEqual([{ state: 'unknown' }]);
  expect(stage.mailsTo('pide@correo.example')).toHaveLength(2);
});
