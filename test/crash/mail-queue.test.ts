import { NativeConnection, Worker } from '@temporalio/worker';
import { createActivities } from '../../activities';
import { stopEnrollments } from '../../db/stops';
import type { Outcome } from '../../domain/outcomes';
import { JOURNEYS_QUEUE } from '../../workflows/contract';
import { publishForTests } from '../support/campaigns';
import { configForTests, workflowBundle } from '../support/engine';
import { door, eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

let stage: Stage;
let campaignId: string;
let connection: NativeConnection;
/** Runs workflows and bookkeeping, and takes no mail. */
let journeys: Worker;
let running: Promise<void>;

beforeAll(async () => {
  stage = await setStage();
  campaignId = await publishForTests(stage.db);
  connection = await NativeConnection.connect({ address: stage.temporalAddress });
  const { publicUrl, tokenKeys, addressKeys } = configForTests(stage.database, stage.sink, stage.temporalAddress);
  journeys = await Worker.create({
    connection,
    taskQueue: JOURNEYS_QUEUE,
    workflowBundle: workflowBundle(),
    activities: createActivities({
      db: stage.db,
      exit: null,
      replyAddress: null,
      publicUrl,
      tokenKeys,
      addressKeys,
      timeFactor: 1,
      mailBlocked: null,
    }),
  });
  running = journeys.run();
});
afterAll(async () => {
  journeys.shutdown();
  await running;
  await connection.close();
  await stage.close();
});

async function stop(enrollmentId: string, outcome: Outcome) {
  const result = await stopEnrollments(stage.db, { who: { enrollmentId }, outcome, now: new Date() });
  await stage.reconcile();
  return result;
}

/** Is its send scheduled, and taken by nobody? */
async function isQueued(enrollmentId: string): Promise<boolean> {
  const { raw } = await stage.journey(enrollmentId).describe();
  const [send] = raw.pendingActivities ?? [];
  return send !== undefined && send.lastStartedTime == null;
}

test('P2: stopped, and cancelled, with no mail worker there: each workflow closes at once and says why', async () => {
  const ids: Record<string, string> = {};
  for (const outcome of ['purchased', 'replied', 'unsubscribed', 'complained', 'cancelled']) {
    ids[outcome] = await stage.enroll(campaignId, `${outcome}@correo.example`);
  }
  await stage.reconcile();
  for (const id of Object.values(ids)) await eventually(() => isQueued(id));

  for (const outcome of ['purchased', 'replied', 'unsubscribed', 'complained'] as const) {
    const id = ids[outcome] as string;
    expect(await stop(id, outcome)).toMatchObject({ stopped: [{ enrollmentId: id }], inFlight: [] });
    expect(await stage.journey(id).result()).toEqual({ outcome, step: 0 });
    expect((await stage.journey(id).describe()).searchAttributes.Outcome).toEqual([outcome]);
  }
  const cancelled = ids.cancelled as string;
  await stage.journey(cancelled).cancel();
  expect(await stage.journey(cancelled).result()).toEqual({ outcome: 'cancelled', step: 0 });
  expect((await stage.row(cancelled)).outcome).toBe('cancelled');
});

test('P2: stopped while its mail waits in the queue behind another: it never goes out, the other does', async () => {
  const held = door();
  stage.sink.faults = { onRcpt: () => held.wait() };
  // One connection is two deliveries at a time: one on the wire, one in line for it. The third waits in the queue.
  await stage.work({ smtpConnections: 1 });
  const [first, second, third] = [
    await stage.enroll(campaignId, 'una@correo.example'),
    await stage.enroll(campaignId, 'dos@correo.example'),
    await stage.enroll(campaignId, 'tres@correo.example'),
  ];
  await stage.reconcile();
  await held.reached;
  const waiting = await eventually(async () => {
    const queued: string[] = [];
    for (const id of [first, second, third]) if (await isQueued(id)) queued.push(id);
    return queued.length === 1 ? queued[0] : undefined;
  });
  expect(await stop(waiting, 'purchased')).toMatchObject({ inFlight: [] });
  expect(await stage.journey(waiting).result()).toEqual({ outcome: 'purchased', step: 0 });
  held.open();

  const others = [first, second, third].filter((id) => id !== waiting);
  for (const id of others) await eventually(async () => (await stage.row(id)).step === 1);
  expect(await stage.messages(waiting)).toEqual([]);
  expect(stage.sink.messages).toHaveLength(2);
});
