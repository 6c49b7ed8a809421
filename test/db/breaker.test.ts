import { sql } from 'kysely';
import {
  enterComplaintRates,
  lastAlerts,
  listPauses,
  mayLeave,
  pauseSending,
  recordFault,
  resumeAfterProbe,
  resumeAll,
  resumeSending,
  sendingPause,
  sendingRates,
  tellAlerts,
} from '../../db/breaker';
import { createDb, type Db } from '../../db/client';
import { holdForPause, wakeHeld, wakeProbes } from '../../db/holds';
import { passGate } from '../../db/ledger';
import { leaseOverdue } from '../../db/outbox';
import type { SendingFault } from '../../domain/breaker';
import { STREAMS } from '../../domain/streams';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { jitter, type Subject, seed, together, tryClaim } from './racing';

let database: TestDatabase;
let db: Db;

const NOW = new Date('2026-09-15T12:00:00Z');
const PROVIDER = 'other-1';
const at = (minutes: number) => new Date(NOW.getTime() + minutes * 60_000);

beforeEach(async () => {
  database = await createTestDatabase(12);
  db = database.db;
});
afterEach(() => database.drop());

/** So many nudges of a stream, accepted an hour ago. */
async function delivered(count: number): Promise<Subject[]> {
  const subjects = await seed(db, count, { step: 2 });
  await sql`
    insert into message (enrollment_id, step, message_id, state, token, first_claimed_at, claimed_at, settled_at, code)
    select id, 1, id::text, 'accepted', gen_random_uuid(), ${at(-60)}, ${at(-60)}, ${at(-60)}, '250' from enrollment`.execute(
    db,
  );
  return subjects;
}

const fault = (change: Partial<SendingFault>) =>
  recordFault(db, { stream: 'marketing', provider: PROVIDER, kind: 'complaint', code: null, now: NOW, ...change });
const refusal = (change: Partial<SendingFault>) => fault({ kind: 'refusal', ...change });
const pauses = async () => (await listPauses(db)).map(({ stream, provider, reason }) => [stream, provider, reason]);
const alerts = async () =>
  (await lastAlerts(db, 50)).reverse().map(({ provider, kind, reason }) => [provider, kind, reason]);

describe('rates', () => {
  test('complaints: warns from 0.1 %, stops from 0.3 %, provider and stream, and never of fewer than 1,000', async () => {
    await delivered(999);
    for (let n = 0; n < 3; n++) await fault({});
    expect(await alerts()).toEqual([]);
    await database.drop();

    database = await createTestDatabase(12);
    db = database.db;
    await delivered(1_001);
    for (let n = 0; n < 2; n++) await fault({});
    expect(await alerts()).toEqual([]);
    await fault({});
    expect(await alerts()).toEqual([
      [PROVIDER, 'warned', 'complaint-rate'],
      ['*', 'warned', 'complaint-rate'],
    ]);
    expect(await pauses()).toEqual([]);
    await fault({});
    expect(await pauses()).toEqual([
      ['marketing', '*', 'complaint-rate'],
      ['marketing', PROVIDER, 'complaint-rate'],
    ]);
    expect((await lastAlerts(db, 1))[0]?.detail).toMatchObject({ events: 4, delivered: 1_001 });
    expect((await sendingPause(db, 'marketing', 'gmail'))?.probeAt).toBeNull();
    expect(await sendingPause(db, 'requested', PROVIDER)).toBeNull();

    // Resumed by hand, the rate is counted anew: what led to the stop does not stop it again.
    for (const provider of ['*', PROVIDER]) {
      expect(await resumeSending(db, { stream: 'marketing', provider, now: at(1) })).toBe(true);
    }
    for (let n = 0; n < 5; n++) await fault({ now: at(2) });
    expect(await pauses()).toEqual([]);
  });

  test('what is older than seven days does not count, nor does another stream’s mail', async () => {
    await delivered(1_000);
    for (let n = 0; n < 5; n++) {
      await fault({ now: at(-8 * 24 * 60) });
      await fault({ stream: 'requested' });
    }
    await fault({});
    expect(await alerts()).toEqual([]);
    expect(await sendingRates(db, NOW)).toEqual([
      expect.objectContaining({ stream: 'marketing', provider: '*', delivered: 1_000, complaints: 1 }),
      expect.objectContaining({ stream: 'marketing', provider: PROVIDER, delivered: 1_000, complaints: 1 }),
      expect.objectContaining({ stream: 'requested', provider: '*', delivered: 0, complaints: 5 }),
      expect.objectContaining({ stream: 'requested', provider: PROVIDER, delivered: 0, complaints: 5 }),
    ]);
  });

  test('hard bounces stop from 5 %, and a second warning of a day is not given', async () => {
    await delivered(1_000);
    for (let n = 0; n < 49; n++) await fault({ kind: 'hard-bounce', code: '550 5.1.1' });
    expect(await alerts()).toEqual([
      [PROVIDER, 'warned', 'hard-bounce-rate'],
      ['*', 'warned', 'hard-bounce-rate'],
    ]);
    await fault({ kind: 'hard-bounce', code: '550 5.1.1' });
    expect(await pauses()).toHaveLength(2);
  });

  test('entered rates are judged at once, those of older days are kept only', async () => {
    const rate = (day: string, share: number, provider = 'gmail') => ({
      stream: 'marketing' as const,
      provider,
      day,
      rate: share,
    });
    await enterComplaintRates(db, [rate('2026-09-01', 0.5)], NOW);
    expect(await alerts()).toEqual([]);
    await enterComplaintRates(db, [rate('2026-09-14', 0.002), rate('2026-09-13', 0.0009, 'outlook')], NOW);
    expect(await alerts()).toEqual([['gmail', 'warned', 'complaint-rate']]);
    await enterComplaintRates(db, [rate('2026-09-14', 0.004)], NOW);
    expect(await pauses()).toEqual([['marketing', 'gmail', 'complaint-rate']]);
    const gmail = (await sendingRates(db, NOW)).find((row) => row.provider === 'gmail');
    expect(gmail?.entered).toEqual({ day: '2026-09-14', rate: 0.004 });
  });
});

describe('refusals of us', () => {
  test('a wrong password stops the stream at once, a blocklist the provider', async () => {
    await refusal({ code: '535 5.7.8', phase: 'auth', cause: 'us' });
    await refusal({ provider: 'gmail', stream: 'requested', code: '550 5.7.1', phase: 'rcpt', cause: 'policy' });
    expect(await pauses()).toEqual([
      ['marketing', '*', 'refused'],
      ['requested', 'gmail', 'refused'],
    ]);
    expect(await sendingPause(db, 'marketing', 'gmail')).toMatchObject({ provider: '*', code: '535 5.7.8' });
    expect((await lastAlerts(db, 2))[1]?.detail).toEqual({ phase: 'auth', code: '535 5.7.8' });
    // Another one changes nothing.
    await refusal({ code: '535 5.7.8', phase: 'auth', cause: 'us' });
    expect(await alerts()).toHaveLength(2);
  });

  test('five within five minutes are a storm, unless something was accepted in between', async () => {
    const closing = (minute: number) => refusal({ code: '421', phase: 'mail', cause: 'network', now: at(minute) });
    for (const minute of [0, 2, 4, 6, 8]) await closing(minute);
    expect(await pauses()).toEqual([]);
    await delivered(1);
    await sql`update message set settled_at = ${at(20.5)}`.execute(db);
    for (const minute of [20, 20.2, 21, 21.2, 21.4]) await closing(minute);
    expect(await pauses()).toEqual([]);
    await closing(21.5);
    expect(await pauses()).toEqual([]);
    await closing(21.6);
    expect(await pauses()).toEqual([['marketing', '*', 'refusal-storm']]);
  });

  test('a probe: one mail only, later each time; accepted it goes on, and a pause by hand is not lifted by it', async () => {
    await refusal({ code: '535', phase: 'auth', cause: 'us' });
    const leave = (now: Date, asProbe = true) => mayLeave(db, { stream: 'marketing', provider: 'gmail', now, asProbe });
    expect(await leave(at(0.9))).toMatchObject({ pause: { probeAt: at(1) }, probe: false });
    expect(await leave(at(1), false)).toEqual({ pause: null, probe: true });
    const answers = await Promise.all(Array.from({ length: 10 }, () => leave(at(1))));
    expect(answers.filter((answer) => answer.probe)).toHaveLength(1);
    expect(answers.filter((answer) => answer.pause !== null)).toHaveLength(9);
    expect((await listPauses(db))[0]).toMatchObject({ probeAt: at(3), probes: 1 });

    await pauseSending(db, { streams: ['marketing'], provider: 'gmail', now: at(2) });
    expect(await leave(at(5))).toMatchObject({ pause: { provider: 'gmail', reason: 'by-hand' }, probe: false });
    await resumeAfterProbe(db, 'marketing', 'gmail', at(5));
    expect(await pauses()).toEqual([['marketing', 'gmail', 'by-hand']]);
    expect((await alerts()).at(-1)).toEqual(['*', 'resumed', 'probe']);
  });

  test('a pause that a probe may end becomes one by hand, and not the other way round', async () => {
    await refusal({ code: '535', phase: 'auth', cause: 'us' });
    await pauseSending(db, { streams: ['marketing'], provider: '*', now: NOW });
    expect(await sendingPause(db, 'marketing', 'gmail')).toMatchObject({ reason: 'by-hand', probeAt: null });
    await refusal({ code: '535', phase: 'auth', cause: 'us' });
    expect(await pauses()).toEqual([['marketing', '*', 'by-hand']]);
  });
});

describe('who is held', () => {
  const stream = { stream: 'marketing', provider: '*' } as const;
  const own = { stream: 'marketing', provider: PROVIDER } as const;
  const held = async () =>
    await db
      .selectFrom('enrollment')
      .select(['id', 'held_for', 'held_at', 'signal_at'])
      .where('held_for', 'is not', null)
      .execute();
  const told = async () =>
    (await db.selectFrom('enrollment').select('id').where('signal_at', 'is not', null).execute()).length;

  test('is woken when the pause is over, in batches, and who has ended is only let go', async () => {
    const subjects = await seed(db, 12, { step: 1 });
    await pauseSending(db, { streams: [own.stream], provider: own.provider, now: NOW });
    for (const { enrollmentId } of subjects) expect(await holdForPause(db, enrollmentId, own, NOW)).toBe(true);
    await sql`update enrollment set outcome = 'replied', ended_at = now() where id = ${subjects[0]?.enrollmentId}`.execute(
      db,
    );
    expect(await wakeHeld(db, 500, NOW)).toBe(0);
    await resumeSending(db, { ...own, now: NOW });
    expect(await wakeHeld(db, 5, NOW)).toBe(5);
    expect(await wakeHeld(db, 500, NOW)).toBe(7);
    expect(await held()).toEqual([]);
    expect(await told()).toBe(11);
    expect(await holdForPause(db, subjects[1]?.enrollmentId as string, own, NOW)).toBe(false);
  });

  test('stays held for the stream when only the provider goes on, and the other way round looks again', async () => {
    const [one, two] = (await seed(db, 2, { step: 1 })) as [Subject, Subject];
    await pauseSending(db, { streams: [stream.stream], provider: stream.provider, now: NOW });
    await pauseSending(db, { streams: [own.stream], provider: own.provider, now: NOW });
    await holdForPause(db, one.enrollmentId, own, NOW);
    await holdForPause(db, two.enrollmentId, stream, NOW);
    await resumeSending(db, { ...own, now: NOW });
    expect(await wakeHeld(db, 500, NOW)).toBe(1);
    expect((await held()).map((row) => row.held_for)).toEqual(['marketing:*', 'marketing:*']);
    expect(await told()).toBe(0);
    await pauseSending(db, { streams: [own.stream], provider: own.provider, now: NOW });
    await resumeSending(db, { ...stream, now: NOW });
    expect(await wakeHeld(db, 500, NOW)).toBe(2);
    expect(await told()).toBe(2);
  });

  test('is never missed by a resume that comes at the same moment', async () => {
    const subjects = await seed(db, 150, { step: 1 });
    for (const { enrollmentId } of subjects) {
      await pauseSending(db, { streams: [own.stream], provider: own.provider, now: NOW });
      const [isHeld] = await together(
        () => holdForPause(db, enrollmentId, own, NOW),
        async () => {
          await jitter();
          await resumeSending(db, { ...own, now: NOW });
        },
      );
      expect(await wakeHeld(db, 500, NOW)).toBe(isHeld ? 1 : 0);
    }
  });

  test('is left alone by the watchdog, which looks after who was woken', async () => {
    const subjects = await seed(db, 2, { step: 1, startedAt: NOW });
    await pauseSending(db, { streams: [own.stream], provider: own.provider, now: NOW });
    for (const { enrollmentId } of subjects) await holdForPause(db, enrollmentId, own, NOW);
    expect(await leaseOverdue(db, 0, 10, 0)).toEqual([]);
    await resumeSending(db, { ...own, now: NOW });
    await wakeHeld(db, 500, NOW);
    expect(await leaseOverdue(db, 0, 10, 0)).toHaveLength(2);
  });

  test('tries, one of them, when the time for it has come; nobody of a paused campaign', async () => {
    const subjects = await seed(db, 3, { step: 1, campaignEach: true });
    await refusal({ code: '535', phase: 'auth', cause: 'us' });
    for (const { enrollmentId } of subjects) await holdForPause(db, enrollmentId, stream, NOW);
    await sql`update campaign set paused_at = now() where id = ${subjects[0]?.campaignId}`.execute(db);
    await sql`update enrollment set next_due_at = ${at(-999)} where id = ${subjects[0]?.enrollmentId}`.execute(db);
    expect(await wakeProbes(db, at(0.5), 30_000)).toBe(0);
    const woken = await Promise.all([1, 2, 3].map(() => wakeProbes(db, at(1), 30_000)));
    expect(woken.reduce((sum, each) => sum + each)).toBe(1);
    expect((await held()).map((row) => row.id)).toContain(subjects[0]?.enrollmentId);
    expect(await wakeProbes(db, at(1.4), 30_000)).toBe(0);
    expect(await wakeProbes(db, at(1.6), 30_000)).toBe(1);
  });
});

test('alerts are told once, by whichever process comes first, and again when telling failed', async () => {
  const other = createDb({ url: database.url, maxConnections: 4, onError: () => {} });
  await refusal({ code: '535', phase: 'auth', cause: 'us' });
  await expect(
    tellAlerts(db, 10, NOW, async () => {
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
  const told: string[] = [];
  const tell = async (_: unknown, alert: { reason: string }) => void told.push(alert.reason);
  await Promise.all([tellAlerts(db, 10, NOW, tell), tellAlerts(other, 10, NOW, tell), tellAlerts(db, 10, NOW, tell)]);
  await other.destroy();
  expect(told).toEqual(['refused']);
});

describe('a pause by hand', () => {
  const way = { stream: 'marketing', provider: PROVIDER } as const;

  test('P2: takes back what was claimed, names what is past the gate, and shuts the gate for what is claimed after it', async () => {
    const [claimed, passing, late] = (await seed(db, 3, { step: 2 })) as [Subject, Subject, Subject];
    const keyOf = ({ enrollmentId }: Subject) => ({ enrollmentId, step: 2, copy: 0 });
    const token = (await tryClaim(db, keyOf(claimed))) ?? '';
    const passed = (await tryClaim(db, keyOf(passing))) ?? '';
    expect(await passGate(db, keyOf(passing), passed, NOW, way)).toBe(true);

    const named = await pauseSending(db, { streams: STREAMS, provider: '*', now: NOW });
    expect(named).toMatchObject([{ enrollmentId: passing.enrollmentId, step: 2, transactionalId: null }]);
    expect(await passGate(db, keyOf(claimed), token, NOW, way)).toBe(false);
    const lateToken = (await tryClaim(db, keyOf(late))) ?? '';
    expect(await passGate(db, keyOf(late), lateToken, NOW, way)).toBe(false);
    expect((await listPauses(db)).map(({ stream }) => stream)).toEqual([...STREAMS].sort());

    await fault({ kind: 'complaint' });
    expect(await resumeAll(db, NOW)).toEqual([...STREAMS].sort());
    expect(await passGate(db, keyOf(late), lateToken, NOW, way)).toBe(true);
    expect(await resumeAll(db, NOW)).toEqual([]);
  });

  test('P2: raced by sends, nothing is handed over after its answer that it has not named', async () => {
    const subjects = await seed(db, 300, { step: 2 });
    let passed = 0;
    const send = async ({ enrollmentId }: Subject) => {
      const key = { enrollmentId, step: 2, copy: 0 };
      await jitter();
      const token = await tryClaim(db, key);
      if (token === null) return;
      await jitter();
      if (await passGate(db, key, token, new Date(), way)) passed += 1;
    };
    const pausing = async () => {
      while (passed < 40) await new Promise((resolve) => setTimeout(resolve, 1));
      return await pauseSending(db, { streams: ['marketing'], provider: '*', now: new Date() });
    };
    // Fewer at a time than there are connections, so that the pause need not wait for all of them.
    const queue = subjects.values();
    const sending = Array.from({ length: 6 }, async () => {
      for (const subject of queue) await send(subject);
    });
    const [named] = await Promise.all([pausing(), ...sending]);
    const handed = await db.selectFrom('message').select('enrollment_id').where('state', '=', 'handing_over').execute();
    const told = new Set(named.map(({ enrollmentId }) => enrollmentId));
    expect(handed.map((row) => row.enrollment_id).filter((id) => !told.has(id))).toEqual([]);
    expect(handed.length).toBeGreaterThanOrEqual(40);
    expect(handed.length).toBeLessThan(300);
  });
});
