import { randomUUID } from 'node:crypto';
import type { Db } from '../../db/client';
import { decideInbound } from '../../db/decisions';
import { dueReviews } from '../../db/inbound-queue';
import { recordPurchase } from '../../db/purchases';
import type { InboundKind } from '../../domain/inbound';
import { publishForTests } from '../support/campaigns';
import { ACT_DEPS, bounced, classified, keepForTests, receive, stepRef } from '../support/inbound';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

const DAY = 24 * 3_600_000;

let database: TestDatabase;
let db: Db;
let campaignId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  campaignId = await publishForTests(db);
});
afterAll(() => database.drop());

async function lead() {
  const email = `${randomUUID()}@correo.example`;
  const request = requestBy(email);
  const id = await enrollForTests(db, campaignId, request);
  const dueAt = new Date(Date.now() + 60 * DAY);
  await db
    .updateTable('enrollment')
    .set({ step: 1, next_due_at: dueAt, signal_at: null })
    .where('id', '=', id)
    .execute();
  return { email, id, request, dueAt };
}

async function row(id: string) {
  return await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function inbound(id: string) {
  return await db.selectFrom('inbound').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function forwards(inboundId: string) {
  return (await db.selectFrom('transactional').select('id').where('inbound_id', '=', inboundId).execute()).length;
}

const person = (id: string, kind: InboundKind, enrollmentId?: string) =>
  decideInbound(db, ACT_DEPS, id, { kind, enrollmentId, by: 'person' }, new Date());

const reply = classified({ kind: 'reply' });
const doubtful = classified({ kind: 'auto-reply', needsReview: true, confidence: 0.4 });

describe('a message in doubt', () => {
  test('that is no answer: the hold ends, the journey is woken and goes on at its old time', async () => {
    const { email, id, dueAt } = await lead();
    const { inboundId } = await receive(db, doubtful, { from: email, proven: stepRef(id) });
    await db.updateTable('enrollment').set({ held_at: new Date() }).where('id', '=', id).execute();
    const acted = await person(inboundId, 'auto-reply');
    expect(acted.tell).toEqual([id]);
    expect(await row(id)).toMatchObject({ review_since: null, held_at: null, outcome: null, next_due_at: dueAt });
    expect((await row(id)).signal_at).not.toBeNull();
    expect(await inbound(inboundId)).toMatchObject({
      needs_review: false,
      decided_kind: 'auto-reply',
      review_until: null,
    });
  });

  test('that is an answer: it ends as replied; the salespeople have it already', async () => {
    const { email, id } = await lead();
    const { inboundId } = await receive(db, doubtful, { from: email, proven: stepRef(id) });
    const acted = await person(inboundId, 'reply');
    expect(acted.tell).toEqual([id]);
    expect((await row(id)).outcome).toBe('replied');
    expect(await forwards(inboundId)).toBe(1);
  });

  test('of two, both must be decided before mail goes on', async () => {
    const { email, id } = await lead();
    const one = await receive(db, doubtful, { from: email, proven: stepRef(id) });
    const two = await receive(db, doubtful, { from: email });
    expect((await person(one.inboundId, 'other')).tell).toEqual([]);
    expect((await row(id)).review_since).not.toBeNull();
    expect((await person(two.inboundId, 'other')).tell).toEqual([id]);
    expect((await row(id)).review_since).toBeNull();
  });

  test('that nobody decides counts as a reply after 14 days, not before; a decision made meanwhile stays', async () => {
    const { email, id } = await lead();
    const receivedAt = new Date();
    const { inboundId } = await receive(db, doubtful, { from: email, proven: stepRef(id), receivedAt });
    const dueAfter = (days: number) => dueReviews(db, new Date(receivedAt.getTime() + days * DAY), 100);
    expect(await dueAfter(13.9)).not.toContain(inboundId);
    expect(await dueAfter(14)).toContain(inboundId);
    await decideInbound(db, ACT_DEPS, inboundId, { kind: 'reply', by: 'time' }, new Date());
    expect((await row(id)).outcome).toBe('replied');
    expect(await dueAfter(15)).not.toContain(inboundId);

    const other = await lead();
    const second = await receive(db, doubtful, { from: other.email, proven: stepRef(other.id) });
    await person(second.inboundId, 'other');
    await decideInbound(db, ACT_DEPS, second.inboundId, { kind: 'reply', by: 'time' }, new Date());
    expect((await row(other.id)).outcome).toBeNull();
  });
});

describe('a correction', () => {
  test('from reply to automatic answer lets the journey go on, as a new enrollment; once', async () => {
    const { email, id, dueAt } = await lead();
    const { inboundId } = await receive(db, reply, { from: email, proven: stepRef(id) });
    const { start } = await person(inboundId, 'auto-reply');
    expect(start).toHaveLength(1);
    expect(await row(start[0] as string)).toMatchObject({
      reopened_from: id,
      step: 1,
      next_due_at: dueAt,
      outcome: null,
    });
    expect((await row(id)).outcome).toBe('replied');
    expect((await person(inboundId, 'auto-reply')).start).toEqual([]);
  });

  test('not where something else ends it too: another answer, a purchase', async () => {
    const one = await lead();
    const first = await receive(db, reply, { from: one.email, proven: stepRef(one.id) });
    await receive(db, reply, { from: one.email, proven: stepRef(one.id) });
    expect((await person(first.inboundId, 'auto-reply')).start).toEqual([]);
    expect((await inbound(first.inboundId)).actions).toContainEqual(
      expect.objectContaining({ do: 'not-reopened', why: 'answered-by-another-message' }),
    );

    const buyer = await lead();
    const second = await receive(db, reply, { from: buyer.email, proven: stepRef(buyer.id) });
    await recordPurchase(db, { who: { hashes: buyer.request.hashes }, orderId: randomUUID(), now: new Date() });
    expect((await person(second.inboundId, 'auto-reply')).start).toEqual([]);
  });

  test('P6 never lifts a suppression', async () => {
    const { email, id, request } = await lead();
    const { inboundId } = await receive(db, classified({ kind: 'unsubscribe' }), { from: email, proven: stepRef(id) });
    expect((await person(inboundId, 'reply')).start).toEqual([]);
    const { suppressed_reason } = await db
      .selectFrom('address')
      .selectAll()
      .where('hash', '=', request.hashes[0])
      .executeTakeFirstOrThrow();
    expect(suppressed_reason).toBe('objection');
  });

  test('to reply ends what was left open and hands it to the salespeople; the same again changes nothing', async () => {
    const { email, id } = await lead();
    const vacation = classified({ kind: 'auto-reply', subtype: 'vacation' });
    const { inboundId } = await receive(db, vacation, { from: email, proven: stepRef(id) });
    expect((await row(id)).outcome).toBeNull();
    await person(inboundId, 'reply');
    expect((await row(id)).outcome).toBe('replied');
    expect(await forwards(inboundId)).toBe(1);
    await person(inboundId, 'reply');
    expect(await forwards(inboundId)).toBe(1);
  });

  test('matches what could not be matched', async () => {
    const { id } = await lead();
    const { inboundId } = await receive(db, reply, { from: 'otra.persona@otra.example' });
    await person(inboundId, 'reply', id);
    expect((await row(id)).outcome).toBe('replied');
    expect(await inbound(inboundId)).toMatchObject({ enrollment_id: id });
    await expect(person(inboundId, 'reply', randomUUID())).rejects.toMatchObject({ code: 'not-found' });
  });

  test('a person’s word stands for the proof that a bounce lacks', async () => {
    const { id, request } = await lead();
    const { inboundId } = await receive(db, bounced(), {});
    await person(inboundId, 'bounce', id);
    expect((await row(id)).outcome).toBe('bounced');
    const { undeliverable_at } = await db
      .selectFrom('address')
      .selectAll()
      .where('hash', '=', request.hashes[0])
      .executeTakeFirstOrThrow();
    expect(undeliverable_at).not.toBeNull();
  });

  test('of what was not looked at yet, or never received, is refused', async () => {
    await expect(person(await keepForTests(db), 'reply')).rejects.toMatchObject({ code: 'not-processed' });
    await expect(person(randomUUID(), 'reply')).rejects.toMatchObject({ code: 'not-found' });
  });
});
