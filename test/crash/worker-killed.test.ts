import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { publishForTests } from '../support/campaigns';
import { door, eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

// Two stages side by side, so that the heartbeat timeouts (10 s) of both tests pass at the same time.

/** The shortest there are, and an hour of summer time less. */
const TWO_MONTHS_MS = 58 * 24 * 60 * 60 * 1000;
jest.setTimeout(600_000);

let stage: Stage;
let random: Stage;

/** The one that is cancelled just before the first kill; it has a test of its own. */
const CANCELLED = 'cancelada@correo.example';
let tellCancelled: (enrollmentId: string) => void;
const cancelledOne = new Promise<string>((resolve) => {
  tellCancelled = resolve;
});

beforeAll(async () => {
  [stage, random] = await Promise.all([setStage(), setStage()]);
});
afterAll(async () => {
  await Promise.all([stage.close(), random.close()]);
});

test.concurrent('P3: worker killed before the gate, between gate and 250, and between 250 and record', async () => {
  const { db, sink } = stage;
  const campaignId = await publishForTests(db);
  const [before, between, after] = ['antes@correo.example', 'entre@correo.example', 'despues@correo.example'] as const;
  const [rcpt, accept, record] = [door(), door(), door()];
  sink.faults = {
    onRcpt: (to) => (to === before || to === CANCELLED ? rcpt.wait() : undefined),
    beforeAccept: (message) =>
      message.to === between ? accept.wait() : message.to === after ? record.wait() : undefined,
  };
  const first = await stage.work();
  const ids = {
    before: await stage.enroll(campaignId, before),
    between: await stage.enroll(campaignId, between),
    after: await stage.enroll(campaignId, after),
  };
  const cancelledId = await stage.enroll(campaignId, CANCELLED);
  await stage.reconcile();
  await Promise.all([rcpt.reached, accept.reached, record.reached]);
  for (const id of [ids.before, cancelledId]) await eventually(async () => (await stage.messages(id)).length === 1);

  // The 250 is said, but its record finds the row locked: that is where this worker dies.
  const unlock = door();
  const locked = door();
  const locking = db.transaction().execute(async (tx) => {
    await tx.selectFrom('message').select('state').where('enrollment_id', '=', ids.after).forUpdate().execute();
    void locked.wait();
    await unlock.wait();
  });
  await locked.reached;
  record.open();
  await eventually(async () => (await blockedBackends(stage)).length > 0);
  expect((await stage.messages(ids.before)).map((row) => row.state)).toEqual(['claimed']);
  expect((await stage.messages(ids.between)).map((row) => row.state)).toEqual(['handing_over']);
  await stage.journey(cancelledId).cancel();
  // The workflow has asked for it, the delivery has not heard of it yet.
  await eventually(stage.journey(cancelledId).isSendCancelled);
  await first.kill();
  tellCancelled(cancelledId);
  // The server process would finish the statement for its dead client as soon as the row is free.
  for (const pid of await blockedBackends(stage)) await sql`select pg_terminate_backend(${pid})`.execute(db);
  await eventually(async () => (await blockedBackends(stage)).length === 0);
  unlock.open();
  await locking;
  accept.open();
  rcpt.open();

  await stage.work();
  const now = Date.now();
  for (const id of Object.values(ids)) await eventually(async () => (await stage.row(id)).step === 1);

  const fates = {
    before: { states: ['accepted'], timeline: ['enrolled', 'message-accepted'], email: before },
    between: { states: ['unknown'], timeline: ['enrolled', 'message-unknown'], email: between },
    after: { states: ['unknown'], timeline: ['enrolled', 'message-unknown'], email: after },
  };
  for (const at of ['before', 'between', 'after'] as const) {
    const [id, fate] = [ids[at], fates[at]];
    expect((await stage.messages(id)).map((row) => row.state)).toEqual(fate.states);
    expect(await stage.timeline(id)).toEqual(fate.timeline);
    expect(stage.mailsTo(fate.email)).toHaveLength(1);
    const row = await stage.row(id);
    expect(row.outcome).toBeNull();
    expect(row.next_due_at.getTime()).toBeGreaterThan(now + TWO_MONTHS_MS);
    const waiting = { step: 1, doing: 'waiting', until: row.next_due_at.getTime() };
    const progress = await eventually(stage.journey(id).waiting);
    expect(progress).toEqual(waiting);
  }
});

test.concurrent('P12: cancelled in the UI in the middle of a delivery whose worker is killed then', async () => {
  const id = await cancelledOne;
  expect(await stage.journey(id).result()).toEqual({ outcome: 'cancelled', step: 0 });
  expect((await stage.row(id)).outcome).toBe('cancelled');
  expect(stage.mailsTo(CANCELLED)).toEqual([]);
});

const KILLS = 6;
const LEADS = 60;
const SEED = 20_260_301;

test.concurrent(`P3: ${LEADS} first mails through ${KILLS} kills at random moments (seed ${SEED})`, async () => {
  const { db, sink } = random;
  const draw = seeded(SEED);
  const campaignId = await publishForTests(db);
  const pause = (ms: number) => sleep(draw() * ms);
  let begun = 0;
  sink.faults = {
    onMail: () => {
      begun += 1;
      return pause(150);
    },
    onRcpt: () => pause(150),
    onMessage: () => pause(250),
    beforeAccept: () => pause(250),
  };
  const ids: string[] = [];
  for (let lead = 0; lead < LEADS; lead++) ids.push(await random.enroll(campaignId, `lead${lead}@correo.example`));
  await random.reconcile();

  for (let kill = 0; kill < KILLS; kill++) {
    const before = begun;
    const worker = await random.work();
    // From its first delivery on, however long it has taken to start.
    await eventually(() => begun > before);
    await sleep(draw() * 700);
    await worker.kill();
  }
  await random.work();
  const settled = async () => {
    const row = await db
      .selectFrom('enrollment')
      .select((eb) => eb.fn.countAll().as('count'))
      .where('step', '=', 1)
      .executeTakeFirstOrThrow();
    return Number(row.count) === LEADS;
  };
  // Heartbeat timeouts and back-off of those that were killed several times.
  await eventually(settled, 150_000);

  const ledger = new Map<string, string>();
  for (const id of ids) {
    const messages = await random.messages(id);
    expect(messages).toHaveLength(1);
    for (const message of messages) ledger.set(message.message_id, message.state);
    expect(await random.timeline(id)).toEqual(['enrolled', `message-${messages[0]?.state}`]);
  }
  const states = [...ledger.values()];
  expect(states.filter((state) => state !== 'accepted' && state !== 'unknown')).toEqual([]);
  const sunk = sink.messages.map((message) => message.messageId);
  expect(new Set(sunk).size).toBe(sunk.length);
  expect(sunk.filter((messageId) => !ledger.has(messageId))).toEqual([]);
  const lost = [...ledger].filter(([messageId, state]) => state === 'accepted' && !sunk.includes(messageId));
  expect(lost).toEqual([]);
  // The kills did hit deliveries, or this test has proved nothing.
  expect(states.filter((state) => state === 'unknown').length).toBeGreaterThan(0);
});

/** Server processes of this database that wait for a lock: here, the record that the test holds back. */
async function blockedBackends({ db }: Stage): Promise<number[]> {
  const { rows } = await sql<{ pid: number }>`
    select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`.execute(db);
  return rows.map((row) => row.pid);
}

/** Mulberry32: numbers in [0, 1), the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
