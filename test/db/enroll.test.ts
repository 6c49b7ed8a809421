import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Db } from '../../db/client';
import { type EnrollRequest, enroll } from '../../db/enrollments';
import { passGate, settle } from '../../db/ledger';
import { recordPurchase } from '../../db/purchases';
import { stopEnrollments } from '../../db/stops';
import { hashAddress } from '../../domain/address-hash';
import { publishForTests } from '../support/campaigns';
import { enrollAll, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { tryClaim } from './racing';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let database: TestDatabase;
let db: Db;
let campaign: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  campaign = await publishForTests(db);
});
afterAll(() => database.drop());

const somebody = (change: Partial<EnrollRequest> = {}) => requestBy(`${randomUUID()}@shop.example`, change);

async function enrollOne(request: EnrollRequest, options: Parameters<typeof enrollAll>[3] = {}) {
  const [result] = await enrollAll(db, campaign, [request], options);
  if (result === undefined || result.kind === 'refused') throw new Error('not enrolled');
  return result;
}

async function row(id: string) {
  return await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function consents(enrollmentId: string) {
  return await db.selectFrom('consent').selectAll().where('enrollment_id', '=', enrollmentId).execute();
}

/** Sends step 0 at this time, so that the next falls due in 70 days. */
async function sendInfo(enrollmentId: string, leadId: string, now = new Date()): Promise<void> {
  const key = { enrollmentId, step: 0, copy: 0 };
  const token = await tryClaim(db, key, now);
  expect(await passGate(db, key, token as string, now)).toBe(true);
  await settle(db, {
    ...key,
    leadId,
    token,
    state: 'accepted',
    event: 'message-accepted',
    code: '250',
    providerId: null,
    move: { kind: 'advance', dueAt: new Date(now.getTime() + 70 * DAY) },
    now,
  });
}

describe('P1 once enrolled', () => {
  test('100 identical requests at the same time give one lead and one enrollment', async () => {
    const request = somebody();
    const results = await Promise.all(Array.from({ length: 100 }, () => enrollOne(request)));
    expect(results.filter(({ kind }) => kind === 'created')).toHaveLength(1);
    expect(new Set(results.map(({ enrollmentId }) => enrollmentId)).size).toBe(1);
    expect(new Set(results.map(({ leadId }) => leadId)).size).toBe(1);
    const leads = await db.selectFrom('lead').select('id').where('address_hash', '=', request.hashes[0]).execute();
    expect(leads).toHaveLength(1);
    const [{ enrollmentId }] = results as [(typeof results)[0]];
    expect(await row(enrollmentId)).toMatchObject({ step: 0, info_copies: 0, outcome: null });
    expect(await consents(enrollmentId)).toHaveLength(100);
  });

  test('overlapping batches in opposite orders give each person one enrollment, and nobody sees a deadlock', async () => {
    for (let round = 0; round < 10; round++) {
      const people = Array.from({ length: 60 }, () => somebody());
      const batches = Array.from({ length: 8 }, (_, batch) => {
        const cut = people.slice(batch * 3, batch * 3 + 40);
        return batch % 2 === 0 ? cut : cut.reverse();
      });
      const results = await Promise.all(
        batches.map((batch) => enrollAll(db, campaign, batch, { asksInPerson: false })),
      );
      const created = results.flat().filter(({ kind }) => kind === 'created');
      expect(created).toHaveLength(new Set(batches.flat().map(({ email }) => email)).size);
      for (const [index, batch] of batches.entries()) expect(results[index]).toHaveLength(batch.length);
    }
  });

  test('results come in the order of the requests', async () => {
    const known = somebody();
    const { enrollmentId } = await enrollOne(known);
    const refused = somebody();
    await stopEnrollments(db, {
      who: { hashes: refused.hashes },
      outcome: 'unsubscribed',
      suppress: 'objection',
      now: new Date(),
    });
    const results = await enrollAll(db, campaign, [somebody(), refused, known, somebody()]);
    expect(results.map(({ kind }) => kind)).toEqual(['created', 'refused', 'existing', 'created']);
    expect(results[2]).toMatchObject({ enrollmentId });
  });

  test('all or none: a batch whose campaign is not open leaves nothing behind', async () => {
    const cancelled = await publishForTests(db);
    await db.updateTable('campaign').set({ cancelled_at: new Date() }).where('id', '=', cancelled).execute();
    const request = somebody();
    await expect(enrollAll(db, cancelled, [request])).rejects.toMatchObject({ code: 'campaign-cancelled' });
    await expect(enrollAll(db, randomUUID(), [request])).rejects.toMatchObject({ code: 'not-found' });
    expect(await db.selectFrom('address').select('hash').where('hash', '=', request.hashes[0]).execute()).toEqual([]);
  });
});

describe('P1 asking again', () => {
  test('while step 0 is unsent changes nothing but adds the evidence', async () => {
    const request = somebody({ consent: null });
    const { enrollmentId } = await enrollOne(request);
    const before = await row(enrollmentId);
    expect(before.agreed_at).toBeNull();
    const agreed = requestBy(request.email);
    expect(await enrollOne(agreed)).toMatchObject({ kind: 'existing', enrollmentId });
    expect(await row(enrollmentId)).toEqual({
      ...before,
      agreed_at: agreed.consent?.capturedAt,
      basis: 'consent',
    });
    expect(await consents(enrollmentId)).toHaveLength(1);
  });

  test('within 24 hours moves the next nudge a full interval away, and sends nothing again', async () => {
    const request = somebody();
    const { enrollmentId, leadId } = await enrollOne(request);
    const sentAt = new Date();
    await sendInfo(enrollmentId, leadId, sentAt);
    const askedAt = new Date(sentAt.getTime() + 23 * HOUR);
    await enrollOne(request, { now: askedAt });
    const after = await row(enrollmentId);
    expect(after).toMatchObject({ step: 1, info_copies: 0, info_due_at: null, signal_at: askedAt });
    const days = (after.next_due_at.getTime() - askedAt.getTime()) / DAY;
    expect(days).toBeGreaterThan(57);
    expect(days).toBeLessThan(94);
  });

  test('after 24 hours sends the information again, once however many ask at the same time', async () => {
    const request = somebody();
    const { enrollmentId, leadId } = await enrollOne(request);
    const sentAt = new Date();
    await sendInfo(enrollmentId, leadId, sentAt);
    const askedAt = new Date(sentAt.getTime() + 30 * DAY);
    await Promise.all(Array.from({ length: 20 }, () => enrollOne(request, { now: askedAt })));
    const after = await row(enrollmentId);
    expect(after).toMatchObject({ step: 1, info_copies: 1, info_due_at: askedAt });
    expect(after.next_due_at.getTime() - askedAt.getTime()).toBeGreaterThan(57 * DAY);
    expect(await tryClaim(db, { enrollmentId, step: 1, copy: 0 }, new Date(sentAt.getTime() + 71 * DAY))).toBeNull();
    expect(await tryClaim(db, { enrollmentId, step: 0, copy: 1 }, askedAt)).not.toBeNull();
  });

  test('after the end starts anew, with the same lead', async () => {
    const request = somebody();
    const first = await enrollOne(request);
    await stopEnrollments(db, { who: { enrollmentId: first.enrollmentId }, outcome: 'exhausted', now: new Date() });
    const second = await enrollOne(request);
    expect(second).toMatchObject({ kind: 'created', leadId: first.leadId });
    expect(second.enrollmentId).not.toBe(first.enrollmentId);
    expect(await row(second.enrollmentId)).toMatchObject({ step: 0, outcome: null });
    expect(await row(first.enrollmentId)).toMatchObject({ outcome: 'exhausted' });
  });
});

describe('P1 files of leads', () => {
  const fromFile = { asksInPerson: false, via: 'import:1' };

  test('ask for nobody: an open enrollment stays as it is', async () => {
    const request = somebody();
    const { enrollmentId, leadId } = await enrollOne(request);
    await sendInfo(enrollmentId, leadId);
    const before = await row(enrollmentId);
    const later = { ...fromFile, now: new Date(Date.now() + 30 * DAY) };
    expect(await enrollOne(request, later)).toMatchObject({ kind: 'existing', enrollmentId });
    expect(await row(enrollmentId)).toEqual(before);
  });

  test('start anew only who has asked since the end', async () => {
    const request = somebody();
    const { enrollmentId } = await enrollOne(request);
    const endedAt = new Date();
    await stopEnrollments(db, { who: { enrollmentId }, outcome: 'replied', now: endedAt });
    for (const requestedAt of [null, new Date(endedAt.getTime() - HOUR), endedAt]) {
      const result = await enrollOne({ ...request, requestedAt }, fromFile);
      expect(result).toMatchObject({ kind: 'existing', enrollmentId });
    }
    const newer = { ...request, requestedAt: new Date(endedAt.getTime() + HOUR) };
    expect(await enrollOne(newer, fromFile)).toMatchObject({ kind: 'created' });
  });
});

describe('P7 evidence', () => {
  test('is kept as it was given, for each request', async () => {
    const consent = {
      purpose: 'nudges' as const,
      text: 'Sí, escríbanme.',
      capturedAt: new Date('2026-03-01T10:00:00Z'),
      source: 'formulario',
      ip: '192.0.2.7',
      userAgent: 'Firefox',
    };
    const { enrollmentId, leadId } = await enrollOne(somebody({ consent }));
    expect(await row(enrollmentId)).toMatchObject({ agreed_at: consent.capturedAt });
    expect(await consents(enrollmentId)).toMatchObject([
      {
        lead_id: leadId,
        campaign_id: campaign,
        purpose: 'nudges',
        text: consent.text,
        captured_at: consent.capturedAt,
        source: 'formulario',
        ip: '192.0.2.7',
        user_agent: 'Firefox',
        withdrawn_at: null,
      },
    ]);
  });

  test('for the information only does not allow nudges', async () => {
    const { consent } = requestBy('x@shop.example');
    const request = somebody({ consent: consent && { ...consent, purpose: 'information' } });
    const { enrollmentId } = await enrollOne(request);
    expect(await row(enrollmentId)).toMatchObject({ agreed_at: null });
    expect(await consents(enrollmentId)).toHaveLength(1);
  });

  test('an earlier consent is not made younger by a later one', async () => {
    const request = somebody();
    const { enrollmentId } = await enrollOne(request);
    const { agreed_at } = await row(enrollmentId);
    await enrollOne(requestBy(request.email));
    expect((await row(enrollmentId)).agreed_at).toEqual(agreed_at);
    expect(await consents(enrollmentId)).toHaveLength(2);
  });
});

describe('P6 a new address key', () => {
  const keys = [...TEST_ADDRESS_KEYS, { version: 2, secret: Buffer.alloc(32, 9) }];
  const underBoth = (email: string) => requestBy(email, { hashes: hashAddress(email, keys) });

  test('finds the same person under the old one', async () => {
    const email = `${randomUUID()}@shop.example`;
    const first = await enrollOne(requestBy(email));
    expect(underBoth(email).hashes).toHaveLength(2);
    expect(await enrollOne(underBoth(email))).toEqual({ ...first, kind: 'existing' });
    const hashes = underBoth(email).hashes as string[];
    const rows = await sql`select hash from address where hash = any(${hashes}::text[])`.execute(db);
    expect(rows.rows).toHaveLength(1);
  });

  test('finds the objection under the old one, and new people get the new one', async () => {
    const email = `${randomUUID()}@shop.example`;
    const who = { hashes: requestBy(email).hashes };
    await stopEnrollments(db, { who, outcome: 'unsubscribed', suppress: 'objection', now: new Date() });
    expect(await enrollAll(db, campaign, [underBoth(email)])).toMatchObject([{ kind: 'refused' }]);
    const { enrollmentId } = await enrollOne(underBoth(`${randomUUID()}@shop.example`));
    expect((await row(enrollmentId)).address_hash).toMatch(/^2\./);
  });

  test('while both kinds of process run, an objection under either key is seen under both', async () => {
    const email = `${randomUUID()}@shop.example`;
    await enrollOne(underBoth(email));
    const old = { hashes: requestBy(email).hashes };
    await stopEnrollments(db, { who: old, outcome: 'unsubscribed', suppress: 'objection', now: new Date() });
    expect(await enrollAll(db, campaign, [underBoth(email)])).toMatchObject([{ kind: 'refused' }]);
    const { hashes } = underBoth(email);
    await stopEnrollments(db, { who: { hashes }, outcome: 'complained', suppress: 'complaint', now: new Date() });
    const rows = await db
      .selectFrom('address')
      .select('suppressed_reason')
      .where('hash', 'in', [...hashes])
      .execute();
    expect(rows).toEqual([{ suppressed_reason: 'complaint' }, { suppressed_reason: 'complaint' }]);
  });
});

test('what a request leaves out stays as it was', async () => {
  const request = somebody({
    name: 'Ana',
    locale: 'es',
    timeZone: 'Europe/Madrid',
    attributes: { source: 'fair', size: 2 },
  });
  const { leadId } = await enrollOne(request);
  const { name: _, ...bare } = request;
  await enroll(db, [{ ...bare, locale: undefined, timeZone: undefined, attributes: { size: 3 } }], {
    campaignId: campaign,
    now: new Date(),
    priority: 2,
    via: 'api',
    asksInPerson: true,
    timeFactor: 1,
  });
  const lead = await db.selectFrom('lead').selectAll().where('id', '=', leadId).executeTakeFirstOrThrow();
  expect(lead).toMatchObject({
    name: 'Ana',
    locale: 'es',
    time_zone: 'Europe/Madrid',
    attributes: { source: 'fair', size: 3 },
  });
});

test('P2: a line of a file about somebody who has bought since they asked enrolls nobody', async () => {
  const email = `${randomUUID()}@shop.example`;
  const asked = new Date(Date.now() - 100 * 24 * 3600_000);
  const request = requestBy(email, { requestedAt: asked });
  const buy = (orderId: string, purchasedAt: Date) =>
    recordPurchase(db, { who: { hashes: request.hashes }, orderId, purchasedAt, now: new Date() });
  await buy(randomUUID(), new Date(asked.getTime() - 1));
  const before = await enrollAll(db, campaign, [requestBy(email, { requestedAt: asked })], { asksInPerson: false });
  expect(before).toMatchObject([{ kind: 'created' }]);

  const other = requestBy(`${randomUUID()}@shop.example`, { requestedAt: asked });
  await recordPurchase(db, {
    who: { hashes: other.hashes },
    orderId: randomUUID(),
    purchasedAt: new Date(asked.getTime() + 1),
    now: new Date(),
  });
  expect(await enrollAll(db, campaign, [other], { asksInPerson: false })).toEqual([
    { kind: 'refused', because: { reason: 'bought', since: expect.any(Date) } },
  ]);
  // Who is refused has no enrollment, and without one nothing would ever say when to erase them.
  const kept = db.selectFrom('lead').select('id').where('address_hash', '=', other.hashes[0]);
  expect(await kept.execute()).toEqual([]);
  // Who was known before stays.
  expect(await db.selectFrom('lead').select('id').where('email', '=', email).execute()).toHaveLength(1);
  // Asking in person is a new request, whatever they bought before.
  expect(await enrollAll(db, campaign, [other])).toMatchObject([{ kind: 'created' }]);
});
