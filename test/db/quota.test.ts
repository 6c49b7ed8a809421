import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { cancelCampaign } from '../../db/cancellations';
import { createDb, type Db } from '../../db/client';
import { settle } from '../../db/ledger';
import { readLimits, saveLimits } from '../../db/limits';
import { moveUp, quotaOn, reserveTransactionalSlot, type SlotRequest, spendSlot, takeSlot } from '../../db/quota';
import { stopEnrollments } from '../../db/stops';
import { NO_LIMITS, type SendingLimits, type StreamLimits, unlimited } from '../../domain/limits';
import { PUNCTUAL_MS } from '../../domain/planner';
import { addUtcDays, startOfUtcDay, utcDay } from '../../domain/warm-up';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type Subject, seed, tally, tryClaim } from './racing';

let database: TestDatabase;
let db: Db;
/** A worker of its own: another pool of connections. */
let other: Db;

const NOON = new Date('2026-09-01T12:00:00Z');
const TODAY = '2026-09-01';
const PROVIDER = 'other-1';

beforeAll(async () => {
  database = await createTestDatabase(12);
  db = database.db;
  other = createDb({ url: database.url, maxConnections: 12, onError: () => {} });
});
afterAll(async () => {
  await other.destroy();
  await database.drop();
});
beforeEach(async () => {
  await sql`delete from sending_quota`.execute(db);
  await sql`update enrollment set slot_stream = null, slot_day = null, slot_taken = false`.execute(db);
});

const marketing = (change: Partial<StreamLimits>): SendingLimits => ({
  ...unlimited(),
  marketing: { ...NO_LIMITS, ...change },
});

function requestOf(subject: Subject, limits: SendingLimits, change: Partial<SlotRequest> = {}): SlotRequest {
  return {
    enrollmentId: subject.enrollmentId,
    step: 1,
    copy: 0,
    stream: 'marketing',
    provider: PROVIDER,
    limits,
    now: NOON,
    openingAt: (from) => from,
    ...change,
  };
}

/** `count` nudges that are due. */
const nudges = (count: number) => seed(db, count, { step: 1, dueAt: new Date('2026-08-31T10:00:00Z') });

async function rowOf({ enrollmentId }: Subject) {
  return await db
    .selectFrom('enrollment')
    .select(['slot_stream', 'slot_day', 'slot_taken', 'next_due_at', 'info_due_at', 'signal_at'])
    .where('id', '=', enrollmentId)
    .executeTakeFirstOrThrow();
}

const used = async (day: string) =>
  Object.fromEntries((await quotaOn(db, day)).map((row) => [row.provider, [row.used, row.taken]]));

describe('P9 a daily cap holds', () => {
  test('raced by twice as many, on two workers: as many as it allows go, the rest get a day each, none too many', async () => {
    const subjects = await nudges(60);
    const limits = marketing({ perDay: 13 });
    let turn = 0;
    const counts = await tally(subjects, 24, async (subject) => {
      const dueAt = await takeSlot(turn++ % 2 === 0 ? db : other, requestOf(subject, limits));
      return dueAt === null ? 'go' : utcDay(dueAt);
    });
    expect(counts).toEqual({ go: 13, '2026-09-02': 13, '2026-09-03': 13, '2026-09-04': 13, '2026-09-05': 8 });
    expect(await used(TODAY)).toEqual({ '*': [13, 13] });
    expect(await used('2026-09-02')).toEqual({ '*': [13, 0] });
  });

  test('the same attempt of one enrollment, raced against itself, counts once', async () => {
    const [subject] = await nudges(1);
    const limits = marketing({ perDay: 5, perProviderPerDay: 5 });
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) => takeSlot(index % 2 ? db : other, requestOf(subject as Subject, limits))),
    );
    expect(answers).toEqual(Array(10).fill(null));
    expect(await used(TODAY)).toEqual({ '*': [1, 1], [PROVIDER]: [1, 1] });
  });

  test('of stream and provider: a place in both or in none', async () => {
    const subjects = await nudges(12);
    const limits = marketing({ perDay: 10, providers: { gmail: { perSecond: null, perDay: 3 } } });
    const counts = await tally(subjects, 12, async (subject) => {
      const provider = subjects.indexOf(subject) < 6 ? 'gmail' : PROVIDER;
      const dueAt = await takeSlot(db, requestOf(subject, limits, { provider }));
      return `${provider} ${dueAt === null ? 'go' : utcDay(dueAt)}`;
    });
    expect(counts).toEqual({ 'gmail go': 3, 'gmail 2026-09-02': 3, [`${PROVIDER} go`]: 6 });
    expect(await used(TODAY)).toEqual({ '*': [9, 9], gmail: [3, 3] });
    expect(await used('2026-09-02')).toEqual({ '*': [3, 0], gmail: [3, 0] });
  });

  test('nothing is touched where no cap is set', async () => {
    const [subject] = await nudges(1);
    expect(await takeSlot(db, requestOf(subject as Subject, marketing({ perSecond: 3 })))).toBeNull();
    expect(await used(TODAY)).toEqual({});
    expect(await rowOf(subject as Subject)).toMatchObject({ slot_day: null });
  });

  test('the plan of a warm-up: each day has the places of that day', async () => {
    const subjects = await nudges(20);
    const limits = marketing({ warmUp: { startedOn: TODAY, firstDay: 2, growth: 2, until: 1_000 } });
    const counts = await tally(subjects, 10, async (subject) => {
      const dueAt = await takeSlot(db, requestOf(subject, limits));
      return dueAt === null ? 'go' : utcDay(dueAt);
    });
    expect(counts).toEqual({ go: 2, '2026-09-02': 4, '2026-09-03': 8, '2026-09-04': 6 });
  });
});

describe('P9 a reserved place', () => {
  const limits = marketing({ perDay: 1 });

  test('moves the due time there, is used on its day without counting again, and covers every attempt of that day', async () => {
    const [first, second] = (await nudges(2)) as [Subject, Subject];
    expect(await takeSlot(db, requestOf(first, limits))).toBeNull();
    const dueAt = await takeSlot(db, requestOf(second, limits));
    expect(dueAt).toEqual(new Date('2026-09-02T00:00:00Z'));
    expect(await rowOf(second)).toMatchObject({
      slot_stream: 'marketing',
      slot_day: '2026-09-02',
      slot_taken: false,
      next_due_at: dueAt,
    });
    expect(await tryClaim(db, { enrollmentId: second.enrollmentId, step: 1, copy: 0 }, NOON)).toBeNull();

    const tomorrow = new Date('2026-09-02T09:00:00Z');
    expect(await takeSlot(db, requestOf(second, limits, { now: tomorrow }))).toBeNull();
    expect(await takeSlot(other, requestOf(second, limits, { now: tomorrow }))).toBeNull();
    expect(await used('2026-09-02')).toEqual({ '*': [1, 1] });
    expect(await takeSlot(db, requestOf(first, limits, { now: tomorrow }))).toEqual(new Date('2026-09-03T00:00:00Z'));
  });

  test('is spent by an attempt that named the recipient: the next one takes another', async () => {
    const [subject] = (await nudges(1)) as [Subject];
    const two = marketing({ perDay: 2 });
    const take = () => takeSlot(db, requestOf(subject, two));
    expect(await take()).toBeNull();
    await spendSlot(db, { table: 'enrollment', id: subject.enrollmentId });
    expect(await take()).toBeNull();
    expect(await used(TODAY)).toEqual({ '*': [2, 2] });
    await spendSlot(db, { table: 'enrollment', id: subject.enrollmentId });
    expect(utcDay((await take()) as Date)).toBe('2026-09-02');
    await spendSlot(db, { table: 'enrollment', id: subject.enrollmentId });
    // Reserved is not taken.
    expect((await rowOf(subject)).slot_day).toBe('2026-09-02');
  });

  test('is spent when the message is settled', async () => {
    const [subject] = (await nudges(1)) as [Subject];
    const { enrollmentId, leadId } = subject;
    expect(await takeSlot(db, requestOf(subject, limits))).toBeNull();
    const token = await tryClaim(db, { enrollmentId, step: 1, copy: 0 }, NOON);
    await settle(db, {
      enrollmentId,
      leadId,
      step: 1,
      copy: 0,
      token,
      state: 'deferred',
      event: 'message-deferred',
      code: '450',
      providerId: null,
      move: { kind: 'again', dueAt: new Date(NOON.getTime() + 60_000) },
      now: NOON,
    });
    expect(await rowOf(subject)).toMatchObject({ slot_day: null, slot_taken: false });
    expect(utcDay((await takeSlot(db, requestOf(subject, limits))) as Date)).toBe('2026-09-02');
  });

  test('of a past day is worth nothing', async () => {
    const [first, second] = (await nudges(2)) as [Subject, Subject];
    await takeSlot(db, requestOf(first, limits));
    await takeSlot(db, requestOf(second, limits));
    const later = new Date('2026-09-05T09:00:00Z');
    expect(await takeSlot(db, requestOf(second, limits, { now: later }))).toBeNull();
    expect(await rowOf(second)).toMatchObject({ slot_day: '2026-09-05', slot_taken: true });
    expect(await used('2026-09-02')).toEqual({ '*': [1, 0] });
    expect(await used('2026-09-05')).toEqual({ '*': [1, 1] });
  });

  test('is on a day on which the send window opens', async () => {
    const [first, second, third] = (await nudges(3)) as [Subject, Subject, Subject];
    // Saturdays at ten, UTC.
    const openingAt = (from: Date) => {
      for (let day = utcDay(from); ; day = addUtcDays(day, 1)) {
        const opens = new Date(startOfUtcDay(day).getTime() + 10 * 3_600_000);
        if (opens >= from && opens.getUTCDay() === 6) return opens;
      }
    };
    await takeSlot(db, requestOf(first, limits));
    expect(await takeSlot(db, requestOf(second, limits, { openingAt }))).toEqual(new Date('2026-09-05T10:00:00Z'));
    expect(await takeSlot(db, requestOf(third, limits, { openingAt }))).toEqual(new Date('2026-09-12T10:00:00Z'));
  });

  test('a copy of the information is moved by itself, and its place is of its own stream', async () => {
    const subjects = (await nudges(2)) as [Subject, Subject];
    const due = (await rowOf(subjects[1])).next_due_at;
    for (const { enrollmentId } of subjects) {
      await sql`update enrollment set info_copies = 1, info_due_at = ${NOON} where id = ${enrollmentId}`.execute(db);
    }
    const requested: SendingLimits = { ...unlimited(), requested: { ...NO_LIMITS, perDay: 1 } };
    const copy = { step: 0, copy: 1, stream: 'requested' as const };
    expect(await takeSlot(db, requestOf(subjects[0], requested, copy))).toBeNull();
    const dueAt = await takeSlot(db, requestOf(subjects[1], requested, copy));
    expect(dueAt).toEqual(new Date('2026-09-02T00:00:00Z'));
    expect(await rowOf(subjects[1])).toMatchObject({ info_due_at: dueAt, next_due_at: due, slot_stream: 'requested' });
    // Loosened, the copy comes at once, and the nudge stays where it is.
    expect(await moveUp(db, 'requested', NOON)).toBe(1);
    expect(await rowOf(subjects[1])).toMatchObject({ info_due_at: NOON, next_due_at: due, slot_day: null });
    expect(await used('2026-09-02')).toEqual({ '*': [0, 0] });
  });
});

describe('stops and places', () => {
  const limits = marketing({ perDay: 2, perProviderPerDay: 2 });
  const fill = async () => {
    const subjects = (await nudges(4)) as [Subject, Subject, Subject, Subject];
    for (const subject of subjects) await takeSlot(db, requestOf(subject, limits));
    expect(await used('2026-09-02')).toEqual({ '*': [2, 0], [PROVIDER]: [2, 0] });
    return subjects;
  };

  test('P2: a stop gives a future place back, once; a place that was made use of stays used', async () => {
    const [gone, , waiting] = await fill();
    for (const { enrollmentId } of [gone, waiting, waiting]) {
      await stopEnrollments(db, { who: { enrollmentId }, outcome: 'replied', now: NOON });
    }
    expect(await used(TODAY)).toEqual({ '*': [2, 2], [PROVIDER]: [2, 2] });
    expect(await used('2026-09-02')).toEqual({ '*': [1, 0], [PROVIDER]: [1, 0] });
    // The claim will say that it has ended; it takes no place.
    expect(await takeSlot(db, requestOf(waiting, limits))).toBeNull();
    expect(await used('2026-09-02')).toEqual({ '*': [1, 0], [PROVIDER]: [1, 0] });
  });

  test('so does cancelling the campaign, for all', async () => {
    const [{ campaignId }] = await fill();
    await cancelCampaign(db, campaignId, NOON);
    expect(await used('2026-09-02')).toEqual({ '*': [0, 0], [PROVIDER]: [0, 0] });
  });

  test('raced against takes: no place is lost, none is given twice', async () => {
    const subjects = await nudges(40);
    const tight = marketing({ perDay: 10 });
    await Promise.all(
      subjects.map(async (subject, index) => {
        await takeSlot(index % 2 ? db : other, requestOf(subject, tight));
        if (index % 3 === 0) {
          await stopEnrollments(db, { who: { enrollmentId: subject.enrollmentId }, outcome: 'replied', now: NOON });
        }
      }),
    );
    const held = await sql<{ day: string; held: number }>`
      select slot_day as day, count(*)::int as held from enrollment
      where slot_day > ${TODAY} and outcome is null group by slot_day`.execute(db);
    for (const { day, held: count } of held.rows) {
      expect((await used(day))['*']?.[0]).toBe(count);
      expect(count).toBeLessThanOrEqual(10);
    }
    expect((await used(TODAY))['*']).toEqual([10, 10]);
  });
});

describe('caps that change meanwhile', () => {
  test('P9 lowered: on the day the new cap holds, also for those who had a place', async () => {
    const subjects = await nudges(6);
    const before = marketing({ perDay: 3 });
    for (const subject of subjects) await takeSlot(db, requestOf(subject, before));
    const tomorrow = new Date('2026-09-02T09:00:00Z');
    const waiting: Subject[] = [];
    for (const subject of subjects) if ((await rowOf(subject)).slot_day === '2026-09-02') waiting.push(subject);
    expect(waiting).toHaveLength(3);
    const after = marketing({ perDay: 1 });
    const counts = await tally(waiting, 3, async (subject) => {
      const dueAt = await takeSlot(db, requestOf(subject, after, { now: tomorrow }));
      return dueAt === null ? 'go' : utcDay(dueAt);
    });
    expect(counts).toEqual({ go: 1, '2026-09-03': 1, '2026-09-04': 1 });
    expect(await used('2026-09-02')).toEqual({ '*': [1, 1] });
  });

  test('loosened: those who wait come at once, and who was moved by something else does not (P10)', async () => {
    const subjects = (await nudges(4)) as [Subject, Subject, Subject, Subject];
    const before = marketing({ perDay: 1 });
    for (const subject of subjects) await takeSlot(db, requestOf(subject, before));
    const elsewhere = new Date('2026-12-24T10:00:00Z');
    await sql`update enrollment set next_due_at = ${elsewhere} where id = ${subjects[3].enrollmentId}`.execute(db);
    expect(await moveUp(db, 'marketing', NOON)).toBe(2);
    const due = new Date(NOON.getTime() - PUNCTUAL_MS - 1);
    expect(await rowOf(subjects[1])).toMatchObject({ next_due_at: due, slot_day: null, signal_at: expect.any(Date) });
    expect(await rowOf(subjects[3])).toMatchObject({ next_due_at: elsewhere, signal_at: null });
    expect(await used('2026-09-02')).toEqual({ '*': [0, 0] });
    const counts = await tally(subjects.slice(1, 3), 2, async (subject) => {
      const dueAt = await takeSlot(db, requestOf(subject, marketing({ perDay: 2 })));
      return dueAt === null ? 'go' : utcDay(dueAt);
    });
    expect(counts).toEqual({ go: 1, '2026-09-02': 1 });
  });
});

describe('transactional mail', () => {
  const kept = async () => {
    const id = randomUUID();
    await db.insertInto('transactional').values({ id, kind: 'shop', fairness_key: PROVIDER }).execute();
    return id;
  };
  const reserve = (id: string, now = NOON) =>
    reserveTransactionalSlot(db, { id, stream: 'transactional', provider: PROVIDER, now });

  test('P9: takes today’s places, then waits for the day of its own', async () => {
    await saveLimits(db, { ...unlimited(), transactional: { ...NO_LIMITS, perDay: 2 } }, NOON);
    const ids = [await kept(), await kept(), await kept()] as const;
    const answers = await Promise.all(ids.map((id) => reserve(id)));
    expect(answers.filter((dueAt) => dueAt === null)).toHaveLength(2);
    const waiting = ids[answers.findIndex((dueAt) => dueAt !== null)] as string;
    expect(await reserve(waiting, new Date('2026-09-02T00:00:00Z'))).toBeNull();
    expect(await reserve(waiting, new Date('2026-09-02T01:00:00Z'))).toBeNull();
    expect((await quotaOn(db, '2026-09-02')).map(({ stream, used: all, taken }) => [stream, all, taken])).toEqual([
      ['transactional', 1, 1],
    ]);
  });
});

test('limits are kept as they were given', async () => {
  const limits: SendingLimits = {
    ...unlimited(),
    requested: { ...NO_LIMITS, perProviderPerDay: 7 },
    marketing: {
      perSecond: 12.5,
      perProviderPerSecond: 2,
      perDay: 1_000,
      perProviderPerDay: null,
      providers: { gmail: { perSecond: 4, perDay: null }, gmx: { perSecond: null, perDay: 9 } },
      warmUp: { startedOn: TODAY, plan: [1, 2, 3] },
    },
  };
  await saveLimits(db, limits, NOON);
  expect(await readLimits(other)).toEqual(limits);
  expect(await saveLimits(db, unlimited(), NOON)).toEqual(limits);
  expect(await readLimits(db)).toEqual(unlimited());
});
