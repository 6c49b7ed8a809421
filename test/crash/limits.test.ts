import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { saveLimits } from '../../db/limits';
import { quotaOn } from '../../db/quota';
import { stopEnrollments } from '../../db/stops';
import { NO_LIMITS, type StreamLimits, unlimited } from '../../domain/limits';
import { addUtcDays, utcDay } from '../../domain/warm-up';
import { applyLimits } from '../../temporal/limits';
import { type Subject, seed } from '../db/racing';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

let stage: Stage;

beforeEach(async () => {
  stage = await setStage();
});
afterEach(() => stage.close());

/** Limits of the marketing stream, in Postgres and in the engine. */
async function limit(change: Partial<StreamLimits>): Promise<void> {
  const limits = { ...unlimited(), marketing: { ...NO_LIMITS, ...change } };
  await saveLimits(stage.db, limits, new Date());
  await applyLimits(stage.client, 'default', limits);
}

/** So many nudges that are due now, to so many providers, their journeys unstarted. */
async function due(count: number, providerOf: (index: number) => string): Promise<Subject[]> {
  // No worker may start them before their providers are written down.
  const subjects = await seed(stage.db, count, { step: 1, dueAt: new Date(), startedAt: new Date() });
  await sql`
    update enrollment e set fairness_key = n.key, started_at = null
    from unnest(${subjects.map((subject) => subject.enrollmentId)}::uuid[],
                ${subjects.map((_, index) => providerOf(index))}::text[]) as n (id, key)
    where e.id = n.id`.execute(stage.db);
  return subjects;
}

const arrived = (subjects: readonly Subject[]) => {
  const emails = new Set(subjects.map((subject) => subject.email));
  return stage.sink.messages.filter((message) => emails.has(message.to)).map((message) => message.at);
};

/** The most that arrived within any window of so many seconds. */
function most(times: readonly number[], seconds: number): number {
  return Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + seconds * 1_000).length));
}

/**
 * Those that arrived before a limit allowed it. A token bucket lets through what it has saved up in one second, and never
 * more than its rate on top. Whatever delays a mail on its way from the engine to the mail server, on a busy machine say,
 * makes it arrive later and never earlier.
 *
 * @param from when the first of them fell due, or the limit was changed
 */
function tooEarly(times: readonly number[], perSecond: number, from: number, inHand = 0) {
  return [...times]
    .sort((a, b) => a - b)
    .map((at, index) => ({ arrived: index + 1, allowed: perSecond * ((at - from) / 1_000 + 1) + 1 + inHand }))
    .filter(({ arrived: count, allowed }) => count > allowed);
}

test('P9: 20 a second over two workers of which one is restarted, as the mail server sees it', async () => {
  await limit({ perSecond: 20 });
  const [first] = await Promise.all([stage.work(), stage.work()]);
  const from = Date.now();
  const subjects = await due(220, (index) => `other-${index % 60}`);
  await stage.reconcile();
  await eventually(() => arrived(subjects).length >= 60);
  const [third] = await Promise.all([stage.work(), first.stop()]);
  expect(third.isRunning()).toBe(true);
  await eventually(() => arrived(subjects).length === 220);

  const times = arrived(subjects);
  expect(tooEarly(times, 20, from)).toEqual([]);
  // Nor within any five seconds, whatever two busy workers (ten deliveries each) may have had in hand before them.
  expect(most(times, 5)).toBeLessThanOrEqual(20 * 5 + 20 + 2 * 10);
  expect(new Set(stage.sink.messages.map((message) => message.messageId)).size).toBe(220);
});

test('P9: a provider has its own limit beside the others; changed while running, the new one holds', async () => {
  await limit({ perSecond: 60, providers: { gmail: { perSecond: 1, perDay: null } } });
  await stage.work();
  // The worker goes by limits that are two seconds old at most, and sets them once more when it starts.
  const from = Date.now();
  const subjects = await due(110, (index) => (index < 20 ? 'gmail' : `other-${index % 20}`));
  const [gmail, others] = [subjects.slice(0, 20), subjects.slice(20)];
  await stage.reconcile();
  await eventually(() => arrived(subjects).length === 110);
  expect(tooEarly(arrived(gmail), 1, from)).toEqual([]);
  expect(tooEarly(arrived(others), 60, from)).toEqual([]);
  expect(Math.max(...arrived(others))).toBeLessThan(Math.max(...arrived(gmail)));

  await limit({ perSecond: 2 });
  const slowFrom = Date.now();
  const more = await due(100, (index) => `other-${index % 20}`);
  await stage.reconcile();
  await eventually(() => arrived(more).length >= 15);
  const changedAt = Date.now();
  await limit({ perSecond: 40 });
  await eventually(() => arrived(more).length === 100);
  const [before, after] = [arrived(more).filter((at) => at <= changedAt), arrived(more).filter((at) => at > changedAt)];
  expect(tooEarly(before, 2, slowFrom)).toEqual([]);
  expect(tooEarly(after, 40, changedAt, 10)).toEqual([]);
  // It is the new one that holds: the old one would not have let them through so soon.
  expect(tooEarly(after, 2, changedAt, 10)).not.toEqual([]);
});

test('P9, P2: a daily cap holds over a restart; the rest has places on later days in its window, and can be stopped', async () => {
  // Quotas are of UTC days, and all of this belongs to one.
  const untilTomorrow = 86_400_000 - (Date.now() % 86_400_000);
  if (untilTomorrow < 120_000) await sleep(untilTomorrow);
  const now = new Date();
  const today = utcDay(now);
  // It is about noon there.
  const offset = 12 - now.getUTCHours();
  const timeZone = `Etc/GMT${offset > 0 ? '-' : '+'}${Math.abs(offset)}`;
  const sendWindow = { ...definitionForTests().sendWindow, from: '09:00', to: '15:00' };
  const campaignId = await publishForTests(stage.db, definitionForTests(8, { sendWindow, timeZone }));
  await limit({ perDay: 12 });
  const subjects = await due(30, (index) => `other-${index % 20}`);
  await sql`update enrollment set campaign_id = ${campaignId}`.execute(stage.db);

  const first = await stage.work({ smtpConnections: 1 });
  await stage.reconcile();
  await eventually(() => arrived(subjects).length >= 4);
  await first.stop();
  await Promise.all([stage.work(), stage.work()]);
  const waiting = () =>
    stage.db
      .selectFrom('enrollment')
      .select(['id', 'slot_day', 'next_due_at'])
      .where('step', '=', 1)
      .where('slot_day', '>', today)
      .where('slot_taken', '=', false)
      .orderBy('slot_day')
      .execute();
  // Those that have a place may still be on their way when the last of the others has got a later day.
  await eventually(async () => (await waiting()).length === 18 && arrived(subjects).length === 12);
  const rows = await waiting();
  const [tomorrow, dayAfter] = [addUtcDays(today, 1), addUtcDays(today, 2)];
  expect(rows.map((row) => row.slot_day)).toEqual([...Array(12).fill(tomorrow), ...Array(6).fill(dayAfter)]);
  for (const { slot_day, next_due_at } of rows) {
    expect(utcDay(next_due_at)).toBe(slot_day);
    const hour = new Date(next_due_at.getTime() + offset * 3_600_000).getUTCHours();
    expect(hour >= 9 && hour < 15).toBe(true);
  }

  const [stopped] = rows.map((row) => row.id) as [string];
  await eventually(async () => (await stage.journey(stopped).progress())?.doing === 'waiting');
  expect(
    (await stopEnrollments(stage.db, { who: { enrollmentId: stopped }, outcome: 'replied', now })).inFlight,
  ).toEqual([]);
  expect(await stage.journey(stopped).result()).toEqual({ outcome: 'replied', step: 1 });
  expect(await quotaOn(stage.db, tomorrow)).toEqual([{ stream: 'marketing', provider: '*', used: 11, taken: 0 }]);
  expect(arrived(subjects)).toHaveLength(12);
});
