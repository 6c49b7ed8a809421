import { randomUUID } from 'node:crypto';
import { CompiledQuery, sql } from 'kysely';
import type { Db } from '../../db/client';
import {
  leaseOverdue,
  leaseSignal,
  leaseSignals,
  leaseUnstarted,
  markSignalled,
  markStarted,
  startableJourney,
  unstartedJourney,
} from '../../db/outbox';
import { pauseCampaign, pauseEnrollment, resumeEnrollment } from '../../db/pauses';
import { stopEnrollments } from '../../db/stops';
import { enrollAll, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type Subject, seed } from './racing';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

let database: TestDatabase;
let db: Db;

beforeEach(async () => {
  database = await createTestDatabase();
  db = database.db;
});
afterEach(() => database.drop());

const idsOf = (rows: readonly { enrollmentId: string }[]) => rows.map((row) => row.enrollmentId);
const started = new Date();

async function stopAll(subjects: readonly Subject[], now = new Date()): Promise<void> {
  for (const { enrollmentId } of subjects)
    await stopEnrollments(db, { who: { enrollmentId }, outcome: 'replied', now });
}

/** Runs `lease` from four reconcilers until all come back empty-handed. */
async function leaseAll(lease: () => Promise<{ enrollmentId: string }[]>): Promise<{ all: string[]; each: number[] }> {
  // Whoever has to connect first would come when all is leased.
  await Promise.all(Array.from({ length: 4 }, () => sql`select pg_sleep(0.1)`.execute(db)));
  const each = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const mine: string[] = [];
      for (;;) {
        const batch = await lease();
        if (batch.length === 0) return mine;
        expect(batch.length).toBeLessThanOrEqual(50);
        mine.push(...idsOf(batch));
      }
    }),
  );
  return { all: each.flat(), each: each.map((mine) => mine.length) };
}

test('what was enrolled a moment ago is left to whoever enrolled it, and not for longer', async () => {
  const [subject] = await seed(db, 1);
  await db.updateTable('enrollment').set({ enrolled_at: new Date() }).execute();
  expect(await leaseUnstarted(db, 10, MINUTE, 10 * MINUTE)).toEqual([]);
  await db
    .updateTable('enrollment')
    .set({ enrolled_at: new Date(Date.now() - 11 * MINUTE) })
    .execute();
  expect(idsOf(await leaseUnstarted(db, 10, MINUTE, 10 * MINUTE))).toEqual([subject?.enrollmentId]);
});

describe('P4 four reconcilers at once', () => {
  test('start every journey, none twice while it is leased', async () => {
    const subjects = await seed(db, 1_000);
    const { all, each } = await leaseAll(() => leaseUnstarted(db, 50, MINUTE));
    // A round may come back empty while others hold the last rows, so what is left is leased here.
    all.push(...idsOf(await leaseUnstarted(db, 1_000, MINUTE)));
    expect(all.sort()).toEqual(idsOf(subjects).sort());
    expect(each.filter((count) => count > 0).length).toBeGreaterThan(1);
    await markStarted(db, all.slice(0, 990));
    await sql`update enrollment set leased_until = now() - interval '1 second' where leased_until is not null`.execute(
      db,
    );
    expect(idsOf(await leaseUnstarted(db, 50, MINUTE)).sort()).toEqual(all.slice(990).sort());
  });

  test('deliver every signal, none twice while it is leased', async () => {
    const subjects = await seed(db, 500, { startedAt: started });
    await sql`update enrollment set signal_at = now()`.execute(db);
    const { all } = await leaseAll(() => leaseSignals(db, 50, MINUTE));
    all.push(...idsOf(await leaseSignals(db, 500, MINUTE)));
    expect(all.sort()).toEqual(idsOf(subjects).sort());
  });
});

describe('P4 what is to be started', () => {
  test('people who wait go before files, older before newer; what has ended is left out', async () => {
    const subjects = await seed(db, 4);
    const [ended, file, person, older] = idsOf(subjects) as [string, string, string, string];
    await stopAll(subjects.slice(0, 1));
    await sql`update enrollment set priority = 1 where id = ${person}`.execute(db);
    await sql`update enrollment set enrolled_at = enrolled_at - interval '1 hour' where id = ${older}`.execute(db);
    expect(idsOf(await leaseUnstarted(db, 1, MINUTE))).toEqual([person]);
    expect(idsOf(await leaseUnstarted(db, 1, MINUTE))).toEqual([older]);
    expect(idsOf(await leaseUnstarted(db, 5, MINUTE))).toEqual([file]);
    expect(await startableJourney(db, ended)).toBeNull();
    expect(await startableJourney(db, file)).toMatchObject({ step: 0, steps: 8, infoAgain: false, priority: 3 });
    expect(await startableJourney(db, randomUUID())).toBeNull();
  });

  test('whoever enrolled a lead leaves to a reconciler what it has leased, and what is started', async () => {
    const [leased, started, open, ended] = idsOf(await seed(db, 4)) as [string, string, string, string];
    const until = (id: string, seconds: number) =>
      sql`update enrollment set leased_until = now() + ${seconds} * interval '1 second' where id = ${id}`.execute(db);
    await until(leased, 30);
    await markStarted(db, [started]);
    await sql`update enrollment set outcome = 'purchased', ended_at = now() where id = ${ended}`.execute(db);
    expect(await unstartedJourney(db, leased)).toBeNull();
    expect(await unstartedJourney(db, started)).toBeNull();
    expect(await unstartedJourney(db, ended)).toBeNull();
    expect(await unstartedJourney(db, open)).toEqual(await startableJourney(db, open));
    // A lease that ran out is of a reconciler that has died.
    await until(leased, -1);
    expect(await unstartedJourney(db, leased)).toEqual(await startableJourney(db, leased));
  });

  test('being started twice keeps the first stamp', async () => {
    const [subject] = idsOf(await seed(db, 1)) as [string];
    await markStarted(db, [subject]);
    const stamp = () => db.selectFrom('enrollment').select('started_at').executeTakeFirstOrThrow();
    const first = await stamp();
    await markStarted(db, [subject]);
    expect(first.started_at).not.toBeNull();
    expect(await stamp()).toEqual(first);
  });
});

describe('P4 what is to be told', () => {
  test('a stop and a wake, until they are marked', async () => {
    const subjects = await seed(db, 2, { startedAt: started });
    const [stopped, woken] = subjects as [Subject, Subject];
    await stopAll([stopped]);
    await pauseEnrollment(db, woken.enrollmentId, new Date());
    expect(await leaseSignal(db, woken.enrollmentId, MINUTE)).toBeNull();
    await resumeEnrollment(db, woken.enrollmentId, new Date());
    const signals = await leaseSignals(db, 10, MINUTE);
    expect(Object.fromEntries(signals.map((signal) => [signal.enrollmentId, signal.outcome]))).toEqual({
      [stopped.enrollmentId]: 'replied',
      [woken.enrollmentId]: null,
    });
    await markSignalled(db, signals);
    expect(await leaseSignal(db, stopped.enrollmentId, MINUTE)).toBeNull();
    expect(await leaseSignals(db, 10, MINUTE)).toEqual([]);
  });

  test.each([
    ['later', 1_000],
    ['at the same millisecond', 0],
    ['by a process whose clock is behind', -1_000],
  ])('a stop that comes %s while a wake is being told is told as well, and at once', async (_, skew) => {
    const subjects = await seed(db, 1, { startedAt: started });
    const { enrollmentId } = subjects[0] as Subject;
    const now = new Date();
    await resumeEnrollment(db, enrollmentId, now);
    const wake = await leaseSignals(db, 10, MINUTE);
    await stopAll(subjects, new Date(now.getTime() + skew));
    await markSignalled(db, wake);
    expect(await leaseSignals(db, 10, MINUTE)).toMatchObject([{ enrollmentId, outcome: 'replied' }]);
  });

  test('whoever recorded a stop tells it, or a reconciler does, but not both', async () => {
    const subjects = await seed(db, 2, { startedAt: started });
    const [mine, theirs] = subjects as [Subject, Subject];
    await stopAll(subjects);
    expect(await leaseSignal(db, mine.enrollmentId, MINUTE)).toMatchObject({ outcome: 'replied' });
    expect(idsOf(await leaseSignals(db, 10, MINUTE))).toEqual([theirs.enrollmentId]);
    expect(await leaseSignal(db, theirs.enrollmentId, MINUTE)).toBeNull();
    // Whoever leased it has died.
    await sql`update enrollment set leased_until = now() - interval '1 second'`.execute(db);
    expect(await leaseSignal(db, theirs.enrollmentId, MINUTE)).toMatchObject({ outcome: 'replied' });
    expect(idsOf(await leaseSignals(db, 10, MINUTE))).toEqual([mine.enrollmentId]);
  });

  test('a stop waits for nobody who has leased an earlier wake', async () => {
    const subjects = await seed(db, 1, { startedAt: started });
    const [{ enrollmentId }] = subjects as [Subject];
    await resumeEnrollment(db, enrollmentId, new Date());
    expect(await leaseSignals(db, 10, MINUTE)).toMatchObject([{ enrollmentId, outcome: null }]);
    await stopAll(subjects, new Date(Date.now() + 1_000));
    expect(await leaseSignal(db, enrollmentId, MINUTE)).toMatchObject({ outcome: 'replied' });
  });
});

describe('P4 the watchdog', () => {
  const overdue = (grace = 15 * MINUTE) => leaseOverdue(db, grace, 10, MINUTE);

  test('finds what is past its due time and the grace, started, open and not paused, once in a while', async () => {
    const dueAt = new Date(Date.now() - 20 * MINUTE);
    const subjects = await seed(db, 3, { dueAt, startedAt: started });
    await stopAll(subjects.slice(0, 1));
    await pauseEnrollment(db, (subjects[1] as Subject).enrollmentId, new Date());
    await seed(db, 1, { dueAt });
    const [paused] = await seed(db, 1, { dueAt, startedAt: started });
    await pauseCampaign(db, (paused as Subject).campaignId, new Date());
    expect(await overdue(21 * MINUTE)).toEqual([]);
    expect(idsOf(await overdue())).toEqual([(subjects[2] as Subject).enrollmentId]);
    expect(await overdue()).toEqual([]);
    await sql`update enrollment set watched_until = now() - interval '1 second'`.execute(db);
    expect(idsOf(await overdue())).toEqual([(subjects[2] as Subject).enrollmentId]);
  });

  test('finds a copy of the information whose wake was lost', async () => {
    const [subject] = (await seed(db, 1, { step: 1, startedAt: started })) as [Subject];
    await sql`update enrollment set last_info_at = now() - interval '2 days'`.execute(db);
    await enrollAll(db, subject.campaignId, [requestBy(subject.email)], { now: new Date(Date.now() - 20 * MINUTE) });
    const { next_due_at } = await db.selectFrom('enrollment').select('next_due_at').executeTakeFirstOrThrow();
    expect(next_due_at.getTime()).toBeGreaterThan(Date.now() + 50 * DAY);
    expect(await overdue()).toMatchObject([{ enrollmentId: subject.enrollmentId, infoAgain: true }]);
  });
});

test('P4 with thousands of rows every lease goes by its index', async () => {
  await seed(db, 5_000, { startedAt: started, dueAt: new Date(Date.now() + DAY) });
  await sql`update enrollment set started_at = null where id::text < '04'`.execute(db);
  await sql`update enrollment set signal_at = now() where id::text between '04' and '08'`.execute(db);
  await sql`update enrollment set next_due_at = now() - interval '1 day' where id::text between '08' and '0c'`.execute(
    db,
  );
  await sql`analyze enrollment`.execute(db);
  const asked: CompiledQuery[] = [];
  const watched = db.withPlugin({
    transformQuery: ({ node }) => {
      asked.push(db.getExecutor().compileQuery(node, { queryId: randomUUID() }) as CompiledQuery);
      return node;
    },
    transformResult: async ({ result }) => result,
  });
  await leaseUnstarted(watched, 50, 0);
  await leaseSignals(watched, 50, 0);
  await leaseOverdue(watched, MINUTE, 50, 0);
  const plans: string[] = [];
  for (const { sql: text, parameters } of asked) {
    const explained = await db.executeQuery<Record<string, string>>(
      CompiledQuery.raw(`explain ${text}`, [...parameters]),
    );
    plans.push(explained.rows.map((line) => line['QUERY PLAN']).join('\n'));
  }
  expect(plans).toHaveLength(3);
  for (const [index, name] of ['enrollment_unstarted', 'enrollment_signal', 'enrollment_due'].entries()) {
    expect(plans[index]).toContain(name);
    expect(plans[index]).not.toContain('Seq Scan on enrollment');
  }
});
