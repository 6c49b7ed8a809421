import { randomUUID } from 'node:crypto';
import { enroll } from '../../db/enrollments';
import { listReferrers, referralCodeOf, referralTarget, referralTotals, refuseReferral } from '../../db/referrals';
import { stopEnrollments } from '../../db/stops';
import { publishForTests } from '../support/campaigns';
import { requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
let campaignId: string;

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => await database.drop());
beforeEach(async () => {
  campaignId = await publishForTests(database.db);
});

async function enrolled(email: string, referralCode?: string) {
  const request = { ...requestBy(email), referralCode };
  const [result] = await enroll(database.db, [request], {
    campaignId,
    now: new Date(),
    priority: 2,
    via: 'api',
    asksInPerson: true,
    timeFactor: 1,
  });
  if (result === undefined || result.kind === 'refused') throw new Error('must be enrolled');
  const row = await database.db
    .selectFrom('enrollment')
    .select(['referral_code', 'lead_id'])
    .where('id', '=', result.enrollmentId)
    .executeTakeFirstOrThrow();
  return { ...result, hashes: request.hashes, email: request.email, referralCode: row.referral_code };
}

async function linkOf(lead: { enrollmentId: string; leadId: string }): Promise<string> {
  return await referralCodeOf(database.db, { ...lead, campaignId }, new Date());
}

async function referralEvent(enrollmentId: string): Promise<unknown> {
  const row = await database.db
    .selectFrom('event')
    .select('detail')
    .where('enrollment_id', '=', enrollmentId)
    .where('kind', '=', 'enrolled')
    .executeTakeFirstOrThrow();
  return row.detail.referral;
}

test('a buyer has one link, the same whenever and by however many it is asked for', async () => {
  const buyer = await enrolled(`buyer-${randomUUID()}@shop.example`);
  const codes = await Promise.all(Array.from({ length: 10 }, () => linkOf(buyer)));
  expect(new Set(codes).size).toBe(1);
  expect(codes[0]).toMatch(/^[a-z2-7]{16}$/);
  expect(await referralTotals(database.db, campaignId)).toEqual({ links: 1, leads: 0, bought: 0 });
});

test('who comes by it is put down to the buyer, and counted when they buy', async () => {
  const buyer = await enrolled(`buyer-${randomUUID()}@shop.example`);
  const code = await linkOf(buyer);
  const one = await enrolled(`one-${randomUUID()}@shop.example`, code);
  const two = await enrolled(`two-${randomUUID()}@shop.example`, code);
  expect([one.referralCode, two.referralCode, await referralEvent(one.enrollmentId)]).toEqual([code, code, 'counted']);
  await stopEnrollments(database.db, {
    who: { enrollmentId: one.enrollmentId },
    outcome: 'purchased',
    now: new Date(),
  });
  expect(await listReferrers(database.db, campaignId, 10, null)).toMatchObject([
    { leadId: buyer.leadId, code, leads: 2, bought: 1 },
  ]);
  expect(await referralTotals(database.db, campaignId)).toEqual({ links: 1, leads: 2, bought: 1 });
});

test('nobody refers themselves', async () => {
  const email = `self-${randomUUID()}@shop.example`;
  const buyer = await enrolled(email);
  const code = await linkOf(buyer);
  await stopEnrollments(database.db, {
    who: { enrollmentId: buyer.enrollmentId },
    outcome: 'purchased',
    now: new Date(),
  });
  const again = await enrolled(email.toUpperCase(), code);
  expect([again.kind, again.referralCode, await referralEvent(again.enrollmentId)]).toEqual(['created', null, 'self']);
});

test('nobody refers those who referred them, through however many others', async () => {
  const a = await enrolled(`a-${randomUUID()}@shop.example`);
  const b = await enrolled(`b-${randomUUID()}@shop.example`, await linkOf(a));
  const c = await enrolled(`c-${randomUUID()}@shop.example`, await linkOf(b));
  const codeOfC = await linkOf(c);
  const refuse = (lead: { leadId: string; hashes: readonly string[] }) =>
    database.db.transaction().execute((tx) => refuseReferral(tx, codeOfC, lead));
  expect([await refuse(a), await refuse(b), await refuse(c)]).toEqual(['loop', 'loop', 'self']);
  expect(await refuse({ leadId: randomUUID(), hashes: ['1.nobody'] })).toBeNull();
});

test('a code that is none counts for nothing, and is no error', async () => {
  const unknown = await enrolled(`unknown-${randomUUID()}@shop.example`, 'a'.repeat(16));
  const wrong = await enrolled(`wrong-${randomUUID()}@shop.example`, "'; drop table lead; --");
  expect([unknown.referralCode, wrong.referralCode]).toEqual([null, null]);
  expect(await referralEvent(wrong.enrollmentId)).toBe('unknown');
});

test('a link leads to the form that is open, or to the product, and nowhere once the campaign is over', async () => {
  const code = await linkOf(await enrolled(`buyer-${randomUUID()}@shop.example`));
  expect(await referralTarget(database.db, code)).toEqual({ productUrl: expect.stringMatching(/^https:/) });
  const formId = randomUUID();
  await database.db.insertInto('form').values({ id: formId, campaign_id: campaignId, version: 1 }).execute();
  expect(await referralTarget(database.db, code)).toEqual({ formId });
  await database.db.updateTable('form').set({ disabled_at: new Date() }).where('id', '=', formId).execute();
  expect(await referralTarget(database.db, code)).toHaveProperty('productUrl');
  await database.db.updateTable('campaign').set({ cancelled_at: new Date() }).where('id', '=', campaignId).execute();
  expect(await referralTarget(database.db, code)).toBeNull();
  expect(await referralTarget(database.db, 'no code')).toBeNull();
});

test('lists go on where a page ends', async () => {
  for (const name of ['x', 'y', 'z']) await linkOf(await enrolled(`${name}-${randomUUID()}@shop.example`));
  const [first, second] = await listReferrers(database.db, campaignId, 2, null);
  if (first === undefined || second === undefined) throw new Error('must be listed');
  const rest = await listReferrers(database.db, campaignId, 2, second);
  expect(new Set([first.code, second.code, ...rest.map(({ code }) => code)]).size).toBe(3);
  await expect(referralTotals(database.db, randomUUID())).rejects.toMatchObject({ code: 'not-found' });
});
