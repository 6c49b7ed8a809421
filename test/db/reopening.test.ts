import { randomUUID } from 'node:crypto';
import { DateTime } from 'luxon';
import type { Db } from '../../db/client';
import { loadTouch, passGate } from '../../db/ledger';
import { recordPurchase } from '../../db/purchases';
import { reopenEnrollment, snoozeEnrollment } from '../../db/reopening';
import { type Stop, stopEnrollments } from '../../db/stops';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { tryClaim } from './racing';

const DAY = 24 * 3_600_000;

let database: TestDatabase;
let db: Db;
let campaignId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  const sendWindow = {
    days: ['mon', 'tue', 'wed', 'thu', 'fri'] as ('mon' | 'tue' | 'wed' | 'thu' | 'fri')[],
    from: '09:00',
    to: '18:00',
  };
  campaignId = await publishForTests(db, definitionForTests(4, { sendWindow }));
});
afterAll(() => database.drop());

/** Somebody who got the information and nudge 1 comes next, in 60 days. */
async function lead(step = 1) {
  const request = requestBy(`${randomUUID()}@correo.example`, { timeZone: 'Europe/Madrid' });
  const id = await enrollForTests(db, campaignId, request);
  const dueAt = new Date(Date.now() + 60 * DAY);
  await db.updateTable('enrollment').set({ step, next_due_at: dueAt }).where('id', '=', id).execute();
  return { id, request, dueAt };
}

async function row(id: string) {
  return await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function ended(outcome: Stop['outcome'], change: Partial<Stop> = {}, step = 1) {
  const one = await lead(step);
  await stopEnrollments(db, { who: { enrollmentId: one.id }, outcome, now: new Date(), ...change });
  return one;
}

const reopen = (enrollmentId: string, until?: Date) =>
  reopenEnrollment(db, {
    enrollmentId,
    until,
    via: 'api',
    timeFactor: 1,
    addressKeys: TEST_ADDRESS_KEYS,
    now: new Date(),
  });
const snooze = (enrollmentId: string, until: Date) =>
  snoozeEnrollment(db, { enrollmentId, until, via: 'api', timeFactor: 1, now: new Date() });

function inWindow(at: Date): boolean {
  const local = DateTime.fromJSDate(at, { zone: 'Europe/Madrid' });
  return local.weekday <= 5 && local.hour >= 9 && local.hour < 18;
}

describe('reopening', () => {
  test('goes on at the same step with the consent that was given, from the day that was asked for', async () => {
    const old = await ended('replied');
    const until = new Date(Date.now() + 200 * DAY);
    const { enrollmentId, nextDueAt } = await reopen(old.id, until);
    const [before, after] = [await row(old.id), await row(enrollmentId)];
    expect(after).toMatchObject({
      reopened_from: old.id,
      step: 1,
      agreed_at: before.agreed_at,
      requested_at: before.requested_at,
      version: before.version,
      outcome: null,
      started_at: null,
      next_due_at: nextDueAt,
    });
    expect(nextDueAt.getTime()).toBeGreaterThanOrEqual(until.getTime());
    expect(nextDueAt.getTime()).toBeLessThan(until.getTime() + 4 * DAY);
    expect(inWindow(nextDueAt)).toBe(true);
    expect(before.outcome).toBe('replied');
    expect((await loadTouch(db, enrollmentId))?.consentSource).toBe('formulario de la web');
    const events = await db
      .selectFrom('event')
      .select(['enrollment_id', 'detail'])
      .where('kind', '=', 'reopened')
      .where('lead_id', '=', after.lead_id)
      .orderBy('id')
      .execute();
    expect(events).toMatchObject([
      { enrollment_id: old.id, detail: { as: enrollmentId } },
      { enrollment_id: enrollmentId, detail: { from: old.id } },
    ]);
  });

  test('without a day, its mail falls due when it would have, and never before now', async () => {
    const old = await ended('replied');
    const { nextDueAt } = await reopen(old.id);
    expect(nextDueAt.getTime()).toBeGreaterThanOrEqual(old.dueAt.getTime());
    const overdue = await ended('replied');
    await db
      .updateTable('enrollment')
      .set({ next_due_at: new Date(Date.now() - 300 * DAY) })
      .where('id', '=', overdue.id)
      .execute();
    const before = Date.now();
    const later = await reopen(overdue.id);
    expect(later.nextDueAt.getTime()).toBeGreaterThanOrEqual(before);
    expect(inWindow(later.nextDueAt)).toBe(true);
  });

  test('P3 a mail that was past the gate when it ended is not sent again: it goes on with the next one', async () => {
    const old = await lead();
    await db
      .updateTable('enrollment')
      .set({ next_due_at: new Date(Date.now() - 1000) })
      .where('id', '=', old.id)
      .execute();
    const key = { enrollmentId: old.id, step: 1, copy: 0 };
    const token = (await tryClaim(db, key)) as string;
    await passGate(db, key, token, new Date());
    await stopEnrollments(db, { who: { enrollmentId: old.id }, outcome: 'replied', now: new Date() });
    const { enrollmentId, nextDueAt } = await reopen(old.id);
    expect(await row(enrollmentId)).toMatchObject({ step: 2 });
    const months = DateTime.fromJSDate(nextDueAt).diffNow('months').months;
    expect(months).toBeGreaterThan(1.9);
  });

  test('P1 of two at the same time one goes on, and while it is open nothing else is reopened', async () => {
    const old = await ended('replied');
    const results = await Promise.allSettled([reopen(old.id), reopen(old.id)]);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    await expect(reopen(old.id)).rejects.toMatchObject({ code: 'already-open' });
  });

  test('P6 is refused to whoever may not be written to', async () => {
    const unsubscribed = await ended('unsubscribed', { suppress: 'objection' });
    await expect(reopen(unsubscribed.id)).rejects.toMatchObject({ code: 'address-suppressed' });
    const replied = await ended('replied');
    await stopEnrollments(db, {
      who: { hashes: replied.request.hashes },
      outcome: 'complained',
      suppress: 'complaint',
      now: new Date(),
    });
    await expect(reopen(replied.id)).rejects.toMatchObject({ code: 'address-suppressed' });
  });

  test.each(['purchased', 'unsubscribed', 'complained', 'erased', 'informed', 'exhausted'] as const)(
    'is refused after %s',
    async (outcome) => {
      const old = await ended(outcome);
      await expect(reopen(old.id)).rejects.toMatchObject({ code: 'not-reopenable' });
    },
  );

  test('is refused to who has bought after the answer', async () => {
    const old = await ended('replied');
    await recordPurchase(db, { who: { hashes: old.request.hashes }, orderId: randomUUID(), now: new Date() });
    await expect(reopen(old.id)).rejects.toMatchObject({ code: 'not-reopenable' });
  });

  test('P7 is refused where no nudges were agreed to, and where every step was sent', async () => {
    const old = await ended('replied');
    await db.updateTable('enrollment').set({ agreed_at: null }).where('id', '=', old.id).execute();
    await expect(reopen(old.id)).rejects.toMatchObject({ code: 'not-reopenable' });
    const last = await ended('replied', {}, 4);
    await expect(reopen(last.id)).rejects.toMatchObject({ code: 'not-reopenable' });
  });

  test('of an unknown one, or one that was followed by another, is refused', async () => {
    await expect(reopen(randomUUID())).rejects.toMatchObject({ code: 'not-found' });
    const old = await ended('replied');
    const again = await enrollForTests(db, campaignId, old.request);
    await stopEnrollments(db, { who: { enrollmentId: again }, outcome: 'replied', now: new Date() });
    await expect(reopen(old.id)).rejects.toMatchObject({ code: 'not-reopenable' });
  });
});

test('what goes on is ended by a newer answer and by a purchase since the request, not by an answer from before', async () => {
  const yesterday = new Date(Date.now() - DAY);
  const request = requestBy(`${randomUUID()}@correo.example`, { requestedAt: new Date(Date.now() - 9 * DAY) });
  const id = await enrollForTests(db, campaignId, request);
  const who = { hashes: request.hashes };
  await stopEnrollments(db, { who, outcome: 'replied', now: new Date() });
  const { enrollmentId } = await reopen(id);
  await stopEnrollments(db, { who, outcome: 'replied', happenedAt: yesterday, now: new Date() });
  expect((await row(enrollmentId)).outcome).toBeNull();
  await recordPurchase(db, { who, orderId: randomUUID(), purchasedAt: yesterday, now: new Date() });
  expect((await row(enrollmentId)).outcome).toBe('purchased');
});

describe('snoozing', () => {
  test('P10 moves the next mail to the window’s first opening at or after the day, never nearer', async () => {
    const { id, dueAt } = await lead();
    const until = new Date(Date.now() + 150 * DAY);
    const { nextDueAt } = await snooze(id, until);
    expect(nextDueAt.getTime()).toBeGreaterThanOrEqual(until.getTime());
    expect(inWindow(nextDueAt)).toBe(true);
    expect(await row(id)).toMatchObject({ next_due_at: nextDueAt });
    expect((await row(id)).signal_at).not.toBeNull();
    const other = await lead();
    expect((await snooze(other.id, new Date(Date.now() + DAY))).nextDueAt).toEqual(other.dueAt);
    expect(dueAt.getTime()).toBeLessThan(nextDueAt.getTime());
  });

  test('P2 takes back what is claimed, and names what is past the gate', async () => {
    for (const passed of [false, true]) {
      const { id } = await lead();
      await db
        .updateTable('enrollment')
        .set({ next_due_at: new Date(Date.now() - 1000) })
        .where('id', '=', id)
        .execute();
      const key = { enrollmentId: id, step: 1, copy: 0 };
      const token = (await tryClaim(db, key)) as string;
      if (passed) await passGate(db, key, token, new Date());
      const { inFlight } = await snooze(id, new Date(Date.now() + 100 * DAY));
      expect(inFlight.map((message) => message.step)).toEqual(passed ? [1] : []);
      expect(await passGate(db, key, token, new Date())).toBe(false);
    }
  });

  test('is refused to one that has ended', async () => {
    const old = await ended('replied');
    await expect(snooze(old.id, new Date(Date.now() + DAY))).rejects.toMatchObject({ code: 'already-ended' });
  });
});
