import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { pauseEnrollment } from '../../db/pauses';
import { stopEnrollments } from '../../db/stops';
import { steadyPort } from '../../stack/ports';
import { type Cable, layCable } from '../support/cable';
import { publishForTests } from '../support/campaigns';
import { smtpError } from '../support/smtp-sink';
import { door, eventually } from '../support/waiting';
import type { WorkerProcess } from '../support/worker-process';
import { type Stage, setStage } from './stage';

let stage: Stage;
let worker: WorkerProcess;
let campaignId: string;
let dir: string;
let dbFile: string;

/** A second stage, whose worker starts with no mail server there. */
let mute: Stage;
let smtpPort: number;
let cable: Cable | undefined;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-temporal-lost-'));
  dbFile = join(dir, 'temporal.db');
  smtpPort = await steadyPort(new Set());
  [stage, mute] = await Promise.all([setStage(dbFile), setStage()]);
  [worker] = await Promise.all([stage.work(), mute.work({ smtpUrl: `smtp://127.0.0.1:${smtpPort}` })]);
  campaignId = await publishForTests(stage.db);
});
afterAll(async () => {
  await Promise.all([stage.close(), mute.close()]);
  await cable?.close();
  await rm(dir, { recursive: true, force: true });
});

/** Enrolls a lead and waits until the information has gone out and the journey sleeps. */
async function asleep(email: string): Promise<string> {
  const id = await stage.enroll(campaignId, email);
  await stage.reconcile();
  await eventually(async () => (await stage.journey(id).progress())?.doing === 'waiting');
  expect((await stage.row(id)).step).toBe(1);
  return id;
}

/** Puts the due time of a sleeping lead into the past, as if Temporal had been down when it came. */
async function overdue(...ids: string[]): Promise<void> {
  const past = new Date(Date.now() - 5_000);
  await stage.db.updateTable('enrollment').set({ next_due_at: past }).where('id', 'in', ids).execute();
}

/** Lets the leases pass that rounds of the reconciler took in vain (30 s). */
async function leasesPass(): Promise<void> {
  await stage.db.updateTable('enrollment').set({ leased_until: null }).execute();
}

const watchdog = { graceMs: 1_000, watchAgainMs: 60_000 };

async function outcomeAttribute(enrollmentId: string): Promise<unknown> {
  const { searchAttributes } = await stage.journey(enrollmentId).describe();
  return searchAttributes.Outcome?.[0];
}

describe('with Temporal there', () => {
  test.concurrent('P3, P10: a workflow that an operator terminated is started again at its step', async () => {
    const email = 'terminada@correo.example';
    const id = await asleep(email);
    await stage.journey(id).terminate('an operator was too quick');
    await overdue(id);

    // Others of these tests may be overdue by its short grace too.
    expect((await stage.reconcile(watchdog)).watched).toBeGreaterThan(0);
    await eventually(async () => (await stage.row(id)).step === 2);
    expect(stage.mailsTo(email).map((mail) => mail.subject)).toEqual(['Paso 0', 'Paso 1']);
    expect(await stage.messages(id)).toMatchObject([{ state: 'accepted' }, { state: 'accepted' }]);
    await eventually(async () => (await stage.journey(id).progress())?.doing === 'waiting');
  });

  test.concurrent('P12: cancelled in the UI while it waits', async () => {
    const id = await asleep('cancelada1@correo.example');
    await stage.journey(id).cancel();
    expect(await stage.journey(id).result()).toEqual({ outcome: 'cancelled', step: 1 });
    expect((await stage.row(id)).outcome).toBe('cancelled');
    expect(await outcomeAttribute(id)).toBe('cancelled');
    expect(await stage.timeline(id)).toEqual(['enrolled', 'message-accepted', 'ended']);
  });

  test.concurrent('P12: cancelled in the UI while it is held by a pause', async () => {
    const email = 'cancelada2@correo.example';
    const id = await stage.enroll(campaignId, email);
    await pauseEnrollment(stage.db, id, new Date());
    await stage.reconcile();
    await eventually(async () => (await stage.journey(id).progress())?.doing === 'holding');
    await stage.journey(id).cancel();
    expect(await stage.journey(id).result()).toEqual({ outcome: 'cancelled', step: 0 });
    expect((await stage.row(id)).outcome).toBe('cancelled');
    expect(await outcomeAttribute(id)).toBe('cancelled');
    expect(stage.mailsTo(email)).toEqual([]);
  });

  test.concurrent('P12: a row that is behind its workflow is visible as ledger_behind, and nothing is sent', async () => {
    const email = 'atrasada@correo.example';
    const id = await asleep(email);
    // A backup of Postgres from before the first mail was restored.
    await stage.db.deleteFrom('message').where('enrollment_id', '=', id).execute();
    await stage.db.updateTable('enrollment').set({ step: 0, signal_at: new Date() }).where('id', '=', id).execute();
    await stage.reconcile();
    const failure = await eventually(stage.journey(id).pendingFailure);
    expect(failure.type).toBe('ledger_behind');
    expect(await stage.journey(id).status()).toBe('RUNNING');
    expect(stage.mailsTo(email)).toHaveLength(1);
    await stopEnrollments(stage.db, { who: { enrollmentId: id }, outcome: 'replied', now: new Date() });
    await stage.reconcile();
    expect(await stage.journey(id).result()).toMatchObject({ outcome: 'replied' });
  });

  test.concurrent('P12: no mail server: nobody loses their place, a cancel ends the back-off, then mail goes out', async () => {
    // So many refusals at once would pause the stream: that is not what is tested here.
    await sql`create rule no_faults as on insert to sending_fault do instead nothing`.execute(mute.db);
    const campaignId = await publishForTests(mute.db);
    const emails = ['sincorreo1@correo.example', 'sincorreo2@correo.example', 'sincorreo3@correo.example'] as const;
    const ids: string[] = [];
    for (const email of [...emails, 'cancelada3@correo.example']) ids.push(await mute.enroll(campaignId, email));
    await mute.reconcile();
    for (const id of ids) {
      const failure = await eventually(mute.journey(id).pendingFailure);
      expect(failure.type).toBe('smtp_refused');
      expect(await mute.row(id)).toMatchObject({ step: 0, outcome: null });
      // No connection, no claim: a crash now would leave nothing to explain.
      expect(await mute.messages(id)).toEqual([]);
    }
    const cancelled = ids.pop() as string;
    const journey = mute.journey(cancelled);
    await journey.cancel();
    expect(await journey.result()).toEqual({ outcome: 'cancelled', step: 0 });
    expect((await mute.row(cancelled)).outcome).toBe('cancelled');
    expect((await journey.describe()).searchAttributes.Outcome).toEqual(['cancelled']);

    cable = await layCable(Number(new URL(mute.sink.url).port), smtpPort);
    for (const id of ids) await eventually(async () => (await mute.row(id)).step === 1);
    for (const email of emails) expect(mute.mailsTo(email)).toHaveLength(1);
    expect(mute.mailsTo('cancelada3@correo.example')).toEqual([]);
  });

  test.concurrent('P12: a server that refuses us is visible by code only, and the mail goes out when it takes us', async () => {
    const email = 'rechazada@correo.example';
    const refuse = door();
    let refusing = true;
    stage.sink.faults = {
      onRcpt: (to) => {
        if (to !== email || !refusing) return;
        void refuse.wait();
        throw smtpError(454, `4.7.1 <${to}> relay access denied`);
      },
    };
    const id = await stage.enroll(campaignId, email);
    await stage.reconcile();
    await refuse.reached;
    const failure = await eventually(stage.journey(id).pendingFailure);
    expect(failure).toEqual({ type: 'smtp_refused', message: 'smtp rcpt 454 4.7.1' });
    expect(await stage.row(id)).toMatchObject({ step: 0, outcome: null });
    refusing = false;
    await eventually(async () => (await stage.row(id)).step === 1);
    expect(stage.mailsTo(email)).toHaveLength(1);
  });
});

describe('with Temporal away', () => {
  const sleeping: string[] = [];

  beforeAll(async () => {
    for (const name of ['una', 'dos', 'tres']) sleeping.push(await asleep(`${name}@correo.example`));
  });

  test('P4: enrolled and stopped with Temporal down: delivered when it is back, with nobody doing anything', async () => {
    const [stopped = ''] = sleeping;
    await stage.stopTemporal();
    const enrolled = await stage.enroll(campaignId, 'nueva@correo.example');
    await stopEnrollments(stage.db, { who: { enrollmentId: stopped }, outcome: 'purchased', now: new Date() });
    // The worker's reconciler has seen it, and can do nothing.
    await eventually(async () => (await stage.row(enrolled)).leased_until !== null);
    expect(await stage.row(enrolled)).toMatchObject({ started_at: null, step: 0 });
    expect((await stage.row(stopped)).signal_at).not.toBeNull();

    await stage.startTemporal(dbFile);
    await eventually(async () => {
      await leasesPass();
      return (await stage.row(enrolled)).step === 1 && (await stage.row(stopped)).signal_at === null;
    });
    expect(await stage.journey(stopped).result()).toEqual({ outcome: 'purchased', step: 1 });
    expect(stage.mailsTo('nueva@correo.example')).toHaveLength(1);
    expect(worker.isRunning()).toBe(true);
  });

  test('P3, P4, P10: its whole store lost: journeys carry on at their step, on the same worker', async () => {
    const [, due = '', early = ''] = sleeping;
    await stage.stopTemporal();
    await stage.startTemporal();
    await overdue(due);
    const enrolled = await stage.enroll(campaignId, 'despues@correo.example');
    // The worker's own reconciler starts it. The new store knows no search attributes, so its first rounds fail.
    await eventually(async () => {
      await leasesPass();
      return (await stage.row(enrolled)).started_at !== null;
    });
    await eventually(async () => (await stage.row(enrolled)).step === 1);
    expect(await stage.reconcile(watchdog)).toMatchObject({ watched: 1 });
    await eventually(async () => (await stage.row(due)).step === 2);
    expect(stage.mailsTo('dos@correo.example').map((mail) => mail.subject)).toEqual(['Paso 0', 'Paso 1']);
    await eventually(async () => (await stage.journey(due).progress())?.doing === 'waiting');
    expect((await stage.journey(due).describe()).searchAttributes.CampaignId).toEqual([campaignId]);

    // Not due yet, so nobody has looked; it is stopped all the same, and a workflow that is not there is no error.
    await stopEnrollments(stage.db, { who: { enrollmentId: early }, outcome: 'unsubscribed', now: new Date() });
    await eventually(async () => (await stage.row(early)).signal_at === null);
    expect(stage.mailsTo('tres@correo.example')).toHaveLength(1);
    expect(worker.isRunning()).toBe(true);
  });
});
