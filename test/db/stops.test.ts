import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import type { Db } from '../../db/client';
import { passGate } from '../../db/ledger';
import { recordPurchase } from '../../db/purchases';
import { type Stop, stopEnrollments } from '../../db/stops';
import { OUTCOMES } from '../../domain/outcomes';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { enrollAll, enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { tryClaim } from './racing';

const DAY = 24 * 3_600_000;

let database: TestDatabase;
let db: Db;
let coffee: string;
let tea: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  coffee = await publishForTests(db);
  const product = { name: 'Té verde', url: 'https://shop.example/te' };
  tea = await publishForTests(db, definitionForTests(8, { product }));
});
afterAll(() => database.drop());

/** Somebody new who asked about both products. */
async function both(requestedAt = new Date()) {
  const request = requestBy(`${randomUUID()}@shop.example`, { requestedAt });
  const inCoffee = await enrollForTests(db, coffee, request);
  const inTea = await enrollForTests(db, tea, request);
  const { lead_id: leadId } = await enrollment(inCoffee);
  return { request, hashes: request.hashes, leadId, inCoffee, inTea };
}

async function enrollment(id: string) {
  return await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function outcomes(...ids: string[]) {
  return await Promise.all(ids.map(async (id) => (await enrollment(id)).outcome));
}

async function address(hash: string) {
  return await db.selectFrom('address').selectAll().where('hash', '=', hash).executeTakeFirstOrThrow();
}

async function timeline(leadId: string) {
  return await db
    .selectFrom('event')
    .select(['kind', 'detail', 'enrollment_id'])
    .where('lead_id', '=', leadId)
    .orderBy('id')
    .execute();
}

async function handOver(enrollmentId: string) {
  const key = { enrollmentId, step: 0, copy: 0 };
  const token = await tryClaim(db, key);
  expect(await passGate(db, key, token as string, new Date())).toBe(true);
}

const stop = (change: Pick<Stop, 'who'> & Partial<Stop>) =>
  stopEnrollments(db, { outcome: 'unsubscribed', now: new Date(), ...change });

describe('P2 purchases', () => {
  const buy = (
    change: Partial<Parameters<typeof recordPurchase>[1]> & Pick<Parameters<typeof recordPurchase>[1], 'who'>,
  ) => recordPurchase(db, { orderId: randomUUID(), now: new Date(), ...change });

  test('without a campaign, end everything the person is enrolled in; with one, only that', async () => {
    const one = await both();
    const all = await buy({ who: { hashes: one.hashes } });
    expect(all.stopped.map(({ enrollmentId }) => enrollmentId).sort()).toEqual([one.inCoffee, one.inTea].sort());
    expect(await outcomes(one.inCoffee, one.inTea)).toEqual(['purchased', 'purchased']);
    const other = await both();
    await buy({ who: { leadId: other.leadId }, campaignId: tea });
    expect(await outcomes(other.inCoffee, other.inTea)).toEqual([null, 'purchased']);
  });

  test('that are older than the request end nothing, name nothing, and the timeline says so', async () => {
    const { hashes, leadId, inCoffee, inTea } = await both();
    await handOver(inCoffee);
    const result = await buy({ who: { hashes }, purchasedAt: new Date(Date.now() - DAY) });
    expect(result).toEqual({ stopped: [], inFlight: [], begun: [] });
    expect(await outcomes(inCoffee, inTea)).toEqual([null, null]);
    expect(await timeline(leadId)).toContainEqual(
      expect.objectContaining({ kind: 'stop-without-effect', detail: expect.objectContaining({ by: 'purchase' }) }),
    );
  });

  test('end the older of two requests and leave the newer one', async () => {
    const { request, hashes } = await both(new Date(Date.now() - 3 * DAY));
    const third = await publishForTests(db);
    const newer = await enrollForTests(db, third, { ...request, requestedAt: new Date() });
    const { stopped } = await buy({ who: { hashes }, purchasedAt: new Date(Date.now() - DAY) });
    expect(stopped).toHaveLength(2);
    expect(await outcomes(newer)).toEqual([null]);
  });

  test('told twice are kept once, and do not end what began since', async () => {
    const { request, hashes, inCoffee } = await both();
    const orderId = randomUUID();
    await buy({ who: { hashes }, orderId, purchasedAt: new Date() });
    const again = await enrollForTests(db, coffee, { ...request, requestedAt: new Date(Date.now() + 1_000) });
    expect(again).not.toBe(inCoffee);
    expect((await buy({ who: { hashes }, orderId })).stopped).toEqual([]);
    expect(await outcomes(inCoffee, again)).toEqual(['purchased', null]);
    const kept = await db.selectFrom('purchase').selectAll().where('order_id', '=', orderId).execute();
    expect(kept).toHaveLength(1);
  });

  test('do not suppress: who bought may ask again', async () => {
    const { request, hashes } = await both();
    await buy({ who: { hashes } });
    expect(await enrollAll(db, coffee, [request])).toMatchObject([{ kind: 'created' }]);
  });

  test('by nobody we know are kept, and stop nothing', async () => {
    const { hashes } = requestBy(`${randomUUID()}@shop.example`);
    expect(await buy({ who: { hashes } })).toEqual({ stopped: [], inFlight: [], begun: [] });
    expect(await buy({ who: { leadId: randomUUID() } })).toEqual({ stopped: [], inFlight: [], begun: [] });
    const kept = await db.selectFrom('purchase').selectAll().where('address_hash', '=', hashes[0]).execute();
    expect(kept).toHaveLength(1);
  });
});

describe('P6 suppression', () => {
  test('unsubscribing from one campaign leaves the others, and later enrollments in it are refused', async () => {
    const { request, hashes, leadId, inCoffee, inTea } = await both();
    await stop({ who: { hashes }, suppress: 'campaign', campaignId: coffee });
    expect(await outcomes(inCoffee, inTea)).toEqual(['unsubscribed', null]);
    expect(await enrollAll(db, coffee, [request])).toMatchObject([
      { kind: 'refused', because: { reason: 'campaign' } },
    ]);
    expect(await enrollAll(db, tea, [request])).toMatchObject([{ kind: 'existing' }]);
    const consents = await db.selectFrom('consent').selectAll().where('lead_id', '=', leadId).execute();
    for (const consent of consents) expect(consent.withdrawn_at !== null).toBe(consent.campaign_id === coffee);
    await stop({ who: { hashes }, suppress: 'campaign', campaignId: coffee });
    expect((await address(hashes[0])).suppressed_campaigns).toEqual([coffee]);
  });

  test('unsubscribing from a campaign by an old enrollment ends the new one as well, before its gate', async () => {
    const { request, inCoffee } = await both();
    await stop({ who: { enrollmentId: inCoffee }, outcome: 'replied' });
    const again = await enrollForTests(db, coffee, request);
    const key = { enrollmentId: again, step: 0, copy: 0 };
    const token = await tryClaim(db, key);
    await stop({ who: { enrollmentId: inCoffee }, suppress: 'campaign', campaignId: coffee });
    expect(await passGate(db, key, token as string, new Date())).toBe(false);
    expect(await outcomes(inCoffee, again)).toEqual(['replied', 'unsubscribed']);
  });

  test('an objection by one enrollment ends all, refuses all, and withdraws every consent', async () => {
    const { request, leadId, inCoffee, inTea } = await both();
    const { stopped } = await stop({ who: { enrollmentId: inCoffee }, suppress: 'objection' });
    expect(stopped).toHaveLength(2);
    expect(await outcomes(inCoffee, inTea)).toEqual(['unsubscribed', 'unsubscribed']);
    expect(await enrollAll(db, await publishForTests(db), [request])).toMatchObject([
      { kind: 'refused', because: { reason: 'objection' } },
    ]);
    const open = await db
      .selectFrom('consent')
      .select('id')
      .where('lead_id', '=', leadId)
      .where('withdrawn_at', 'is', null)
      .execute();
    expect(open).toEqual([]);
    expect((await timeline(leadId)).map(({ kind }) => kind)).toEqual(expect.arrayContaining(['ended', 'suppressed']));
  });

  test('a complaint outranks an objection, whichever comes first; the first instant stays', async () => {
    for (const order of [['objection', 'complaint'] as const, ['complaint', 'objection'] as const]) {
      const { hashes } = requestBy(`${randomUUID()}@shop.example`);
      const first = new Date(Date.now() - DAY);
      await stop({ who: { hashes }, suppress: order[0], now: first });
      await stop({ who: { hashes }, suppress: order[1] });
      expect(await address(hashes[0])).toMatchObject({ suppressed_reason: 'complaint', suppressed_at: first });
    }
  });

  test('unknown people are suppressed by their hash, and refused when they are imported', async () => {
    const request = requestBy(`${randomUUID()}@shop.example`);
    expect(await stop({ who: { hashes: request.hashes }, suppress: 'objection' })).toEqual({
      stopped: [],
      inFlight: [],
    });
    expect(await enrollAll(db, coffee, [request], { asksInPerson: false })).toMatchObject([{ kind: 'refused' }]);
    const leads = await db.selectFrom('lead').select('id').where('address_hash', '=', request.hashes[0]).execute();
    expect(leads).toEqual([]);
  });

  test('an undeliverable address keeps its consent, and an objection on top of it counts more', async () => {
    const { request, hashes, leadId } = await both();
    await stop({ who: { hashes }, outcome: 'bounced', suppress: 'undeliverable' });
    const consents = await db.selectFrom('consent').selectAll().where('lead_id', '=', leadId).execute();
    expect(consents.every((consent) => consent.withdrawn_at === null)).toBe(true);
    await stop({ who: { hashes }, suppress: 'objection' });
    expect(await enrollAll(db, coffee, [request])).toMatchObject([{ because: { reason: 'objection' } }]);
  });
});

describe('P2 every stop', () => {
  test('names what is past its gate, again when it is repeated, until that is answered for', async () => {
    const { inCoffee, inTea, hashes } = await both();
    await handOver(inCoffee);
    const token = await tryClaim(db, { enrollmentId: inTea, step: 0, copy: 0 });
    const named = [{ enrollmentId: inCoffee, step: 0, messageId: `<${inCoffee}.0.0@shop.example>` }];
    const first = await stop({ who: { hashes }, suppress: 'objection' });
    expect(first.inFlight).toEqual(named);
    expect(await passGate(db, { enrollmentId: inTea, step: 0, copy: 0 }, token as string, new Date())).toBe(false);
    expect(await stop({ who: { hashes }, suppress: 'objection' })).toEqual({ stopped: [], inFlight: named });
    expect(await stop({ who: { enrollmentId: inCoffee }, outcome: 'replied' })).toEqual({
      stopped: [],
      inFlight: named,
    });
    await sql`update message set state = 'accepted' where enrollment_id = ${inCoffee}`.execute(db);
    expect((await stop({ who: { hashes }, suppress: 'objection' })).inFlight).toEqual([]);
    expect(await outcomes(inCoffee, inTea)).toEqual(['unsubscribed', 'unsubscribed']);
  });

  test('leaves a row whose journey is to be told, and nothing to be sent', async () => {
    const { inCoffee } = await both();
    await stop({ who: { enrollmentId: inCoffee }, outcome: 'replied' });
    const row = await enrollment(inCoffee);
    expect(row).toMatchObject({ outcome: 'replied', info_due_at: null });
    expect(row.signal_at).not.toBeNull();
    expect(row.ended_at).not.toBeNull();
  });

  test('of one enrollment leaves the rest of the person alone', async () => {
    const { inCoffee, inTea } = await both();
    await stop({ who: { enrollmentId: inCoffee }, outcome: 'cancelled' });
    expect(await outcomes(inCoffee, inTea)).toEqual(['cancelled', null]);
  });

  test('of nothing is not an error', async () => {
    for (const who of [{ enrollmentId: randomUUID() }, { leadId: randomUUID() }]) {
      expect(await stop({ who, suppress: 'objection' })).toEqual({ stopped: [], inFlight: [] });
    }
  });

  test('P12 ends with a typed outcome, or not at all', async () => {
    for (const outcome of OUTCOMES) {
      const { inCoffee } = await both();
      await stop({ who: { enrollmentId: inCoffee }, outcome });
      expect(await outcomes(inCoffee)).toEqual([outcome]);
    }
    const { inCoffee } = await both();
    await expect(stop({ who: { enrollmentId: inCoffee }, outcome: 'done' as 'exhausted' })).rejects.toThrow(/outcome/);
    await expect(sql`update enrollment set outcome = 'replied' where id = ${inCoffee}`.execute(db)).rejects.toThrow();
    const half = sql<SqlBool>`(outcome is null) <> (ended_at is null)`;
    expect(await db.selectFrom('enrollment').select('id').where(half).execute()).toEqual([]);
  });
});
