import { randomUUID } from 'node:crypto';
import { publishVersion, versionOf } from '../../db/campaigns';
import { type Db, inTransaction } from '../../db/client';
import { replayJournal } from '../../db/journal-replay';
import { passGate } from '../../db/ledger';
import { type Purchase, recordPurchase } from '../../db/purchases';
import { recordRefund } from '../../db/refunds';
import { stopEnrollments } from '../../db/stops';
import { liftSuppressions } from '../../db/suppressions';
import { hashAddress } from '../../domain/address-hash';
import type { CampaignDefinition } from '../../domain/campaign';
import type { SoftOptIn } from '../../domain/consent';
import { afterPurchaseForTests, definitionForTests, publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { tryClaim } from './racing';

const DAY = 24 * 3_600_000;

let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
});
afterAll(() => database.drop());

const COFFEE = { name: 'Cafetera', url: 'https://shop.example/cafetera', codes: ['C-1'], group: 'coffee' };
const TEA = { name: 'Tetera', url: 'https://shop.example/tetera', codes: ['T-1'] };
const SOFT: SoftOptIn = { optOutOffered: true, optedOut: false, noticeVersion: '2026-1', productGroup: 'coffee' };

async function campaign(change: Partial<CampaignDefinition> = {}): Promise<string> {
  const afterPurchase = afterPurchaseForTests();
  return await publishForTests(db, definitionForTests(3, { product: COFFEE, afterPurchase, ...change }));
}

/** Somebody who asked for the information of these campaigns; they agreed to nudges only if told. */
async function lead(campaignIds: readonly string[], agreed = false) {
  const email = `${randomUUID()}@shop.example`;
  const request = requestBy(email, {
    requestedAt: new Date(Date.now() - 3 * DAY),
    ...(agreed ? {} : { consent: null }),
  });
  const ids: string[] = [];
  for (const campaignId of campaignIds) ids.push(await enrollForTests(db, campaignId, request));
  return { email, hashes: request.hashes, ids };
}

const buy = (who: Purchase['who'], change: Partial<Purchase> = {}) =>
  recordPurchase(db, { who, orderId: randomUUID(), now: new Date(), ...change });

async function row(id: string) {
  return await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

const outcomes = async (ids: readonly string[]) => await Promise.all(ids.map(async (id) => (await row(id)).outcome));

async function timeline(leadId: string) {
  const events = await db.selectFrom('event').selectAll().where('lead_id', '=', leadId).orderBy('id').execute();
  return events.map(({ kind }) => kind);
}

/** The one journey that a purchase of a lead of this campaign began. */
async function begunBy(campaignId: string, agreed: boolean, purchase: Partial<Purchase> = {}) {
  const person = await lead([campaignId], agreed);
  const { begun } = await buy({ hashes: person.hashes }, { products: ['C-1'], ...purchase });
  return { ...person, begun, enrollment: begun[0] === undefined ? null : await row(begun[0]) };
}

describe('P2 a purchase', () => {
  test('of one product ends its follow-ups, those of which nobody can tell, and those that end on any', async () => {
    const coffee = await campaign();
    const sameCode = await campaign({ product: { ...COFFEE, url: 'https://shop.example/otra' } });
    const tea = await campaign({ product: TEA });
    const codeless = await campaign({ product: { name: 'Algo', url: 'https://shop.example/algo' } });
    const greedy = await campaign({ product: TEA, endsOnAnyPurchase: true });
    const { hashes, ids } = await lead([coffee, sameCode, tea, codeless, greedy]);
    const { stopped } = await buy({ hashes }, { products: ['c-1'] });
    expect(stopped).toHaveLength(4);
    expect(await outcomes(ids)).toEqual(['purchased', 'purchased', null, 'purchased', 'purchased']);
  });

  test('that names a campaign ends those about the same product too, and leaves other products', async () => {
    const [coffee, sameCode, tea] = [await campaign(), await campaign(), await campaign({ product: TEA })];
    const { hashes, ids } = await lead([coffee, sameCode, tea]);
    await buy({ hashes }, { campaignId: coffee });
    expect(await outcomes(ids)).toEqual(['purchased', 'purchased', null]);
  });

  test('that is told again adds nothing to the timeline', async () => {
    const coffee = await campaign();
    const { hashes, ids } = await lead([coffee]);
    const orderId = randomUUID();
    const { begun } = await buy({ hashes }, { orderId });
    const { lead_id: leadId } = await row(ids[0] as string);
    const told = await timeline(leadId);
    expect(begun).toHaveLength(1);
    for (let again = 0; again < 3; again++) {
      expect(await buy({ hashes }, { orderId })).toEqual({ stopped: [], inFlight: [], begun: [] });
    }
    expect(await timeline(leadId)).toEqual(told);
  });

  test('is about what an open follow-up is about, also where the campaign names another product by now', async () => {
    const coffee = await campaign();
    const { hashes, ids } = await lead([coffee]);
    const product = { ...COFFEE, url: 'https://shop.example/cafetera-2', codes: ['C-2'] };
    const { definition, steps, afterPurchase } = await versionOf(db, coffee, 1);
    await publishVersion(db, coffee, { ...definition, product }, steps, afterPurchase);
    const later = await lead([coffee]);
    expect((await buy({ hashes: later.hashes }, { products: ['C-1'] })).stopped).toEqual([]);
    const { stopped, begun } = await buy({ hashes }, { products: ['C-1'] });
    expect([stopped.length, begun.length]).toEqual([1, 1]);
    expect(await outcomes(ids)).toEqual(['purchased']);
  });

  test.each([
    ['with another time', false],
    ['of somebody who was erased and has asked anew', true],
  ])('that is told again %s ends nothing that began since', async (_, erased) => {
    const coffee = await campaign();
    const { hashes } = await lead([coffee]);
    const orderId = randomUUID();
    await buy({ hashes }, { orderId, products: ['C-1'], purchasedAt: new Date(Date.now() - DAY) });
    if (erased) await db.updateTable('purchase').set({ address_hash: null }).where('order_id', '=', orderId).execute();
    const anew = await enrollForTests(db, coffee, requestBy('x@shop.example', { hashes }));
    const again = await buy({ hashes }, { orderId, products: ['C-1'], ...(erased ? {} : { purchasedAt: new Date() }) });
    expect(again.stopped).toEqual([]);
    expect(await outcomes([anew])).toEqual([null]);
  });

  test('from before it bounced does not show that the address works', async () => {
    const coffee = await campaign();
    const { hashes } = await lead([coffee]);
    const now = new Date();
    await stopEnrollments(db, { who: { hashes }, outcome: 'bounced', suppress: 'undeliverable', now });
    await buy({ hashes }, { products: ['C-1'], purchasedAt: new Date(now.getTime() - DAY) });
    const address = await db.selectFrom('address').selectAll().where('hash', '=', hashes[0]).executeTakeFirstOrThrow();
    expect(address.undeliverable_at).not.toBeNull();
  });

  test('shows that the address works', async () => {
    const coffee = await campaign();
    const { hashes, ids } = await lead([coffee]);
    await stopEnrollments(db, {
      who: { hashes },
      outcome: 'bounced',
      suppress: 'undeliverable',
      detail: { by: 'smtp' },
      now: new Date(),
    });
    await buy({ hashes }, { products: ['C-1'] });
    const address = await db.selectFrom('address').selectAll().where('hash', '=', hashes[0]).executeTakeFirstOrThrow();
    expect(address.undeliverable_at).toBeNull();
    const { lead_id: leadId } = await row(ids[0] as string);
    expect(await timeline(leadId)).toContain('suppression-lifted');
    const kept = await db.selectFrom('suppression').selectAll().where('address_hash', '=', hashes[0]).execute();
    expect(kept).toMatchObject([{ kind: 'undeliverable', lifted_by: 'proof-of-life' }]);
  });
});

describe('what begins after a purchase', () => {
  test('is one journey for the order, at its thanks, under the latest version', async () => {
    const coffee = await campaign();
    const orderId = randomUUID();
    const { enrollment, begun } = await begunBy(coffee, true, { orderId });
    expect(begun).toHaveLength(1);
    expect(enrollment).toMatchObject({
      campaign_id: coffee,
      journey: 'buyer',
      order_id: orderId,
      step: 0,
      version: 1,
      outcome: null,
      basis: 'consent',
    });
    const kept = await db.selectFrom('purchase').selectAll().where('order_id', '=', orderId).executeTakeFirstOrThrow();
    expect(kept).toMatchObject({ enrollment_id: begun[0], products: ['C-1'] });
  });

  test('is one journey where several campaigns are about the product, and one for each product', async () => {
    const [one, two, tea] = [await campaign(), await campaign(), await campaign({ product: TEA })];
    const person = await lead([one, two, tea]);
    const { stopped, begun } = await buy({ hashes: person.hashes }, { products: ['C-1', 'T-1'] });
    expect(stopped).toHaveLength(3);
    const campaigns = await Promise.all(begun.map(async (id) => (await row(id)).campaign_id));
    expect(campaigns.sort()).toEqual([two, tea].sort());
  });

  test('is nothing where nobody can tell what was bought, and the product where all were about one', async () => {
    const [coffee, tea] = [await campaign(), await campaign({ product: TEA })];
    const both = await lead([coffee, tea]);
    expect((await buy({ hashes: both.hashes })).begun).toEqual([]);
    const one = await lead([coffee]);
    expect((await buy({ hashes: one.hashes })).begun).toHaveLength(1);
  });

  test('is nothing for a campaign that only ends on any purchase, or was cancelled, or has nothing for buyers', async () => {
    const greedy = await campaign({ product: TEA, endsOnAnyPurchase: true });
    const plain = await publishForTests(db, definitionForTests(3, { product: COFFEE }));
    const cancelled = await campaign();
    const person = await lead([greedy, plain, cancelled]);
    await db.updateTable('campaign').set({ cancelled_at: new Date() }).where('id', '=', cancelled).execute();
    const { stopped, begun } = await buy({ hashes: person.hashes }, { products: ['C-1'] });
    expect(stopped).toHaveLength(3);
    expect(begun).toEqual([]);
  });

  test('also follows a purchase by somebody who had answered, once', async () => {
    const coffee = await campaign();
    const person = await lead([coffee]);
    await stopEnrollments(db, { who: { hashes: person.hashes }, outcome: 'replied', now: new Date() });
    const { stopped, begun } = await buy({ hashes: person.hashes }, { products: ['C-1'] });
    expect([stopped, begun.length]).toEqual([[], 1]);
    await stopEnrollments(db, { who: { enrollmentId: begun[0] as string }, outcome: 'exhausted', now: new Date() });
    expect((await buy({ hashes: person.hashes }, { products: ['C-1'] })).begun).toEqual([]);
  });

  test('goes on when the same product is bought again meanwhile', async () => {
    const coffee = await campaign();
    const { hashes, begun } = await begunBy(coffee, true);
    await enrollForTests(db, coffee, requestBy('x@shop.example', { hashes }));
    const again = await buy({ hashes }, { products: ['C-1'] });
    expect(again.stopped).toHaveLength(1);
    expect(again.begun).toEqual([]);
    expect(await outcomes(begun)).toEqual([null]);
  });

  test('is nothing for the same product again, though another campaign was about it too', async () => {
    const [one, two] = [await campaign(), await campaign()];
    const { hashes } = await lead([one, two]);
    const first = await buy({ hashes }, { products: ['C-1'] });
    expect(first.begun).toHaveLength(1);
    expect((await buy({ hashes }, { products: ['C-1'] })).begun).toEqual([]);
    await stopEnrollments(db, {
      who: { enrollmentId: first.begun[0] as string },
      outcome: 'exhausted',
      now: new Date(),
    });
    expect((await buy({ hashes }, { products: ['C-1'] })).begun).toEqual([]);
  });

  test('is for who was never a lead only if their campaign is named; they become one then', async () => {
    const coffee = await campaign();
    const stranger = () => {
      const email = `${randomUUID()}@shop.example`;
      return { hashes: hashAddress(email, TEST_ADDRESS_KEYS), buyer: { email, name: 'Eva', locale: 'es' } };
    };
    const unnamed = stranger();
    expect((await buy({ hashes: unnamed.hashes }, { products: ['C-1'], buyer: unnamed.buyer })).begun).toEqual([]);
    expect(await db.selectFrom('lead').select('id').where('email', '=', unnamed.buyer.email).execute()).toEqual([]);
    const named = stranger();
    const { begun } = await buy({ hashes: named.hashes }, { campaignId: coffee, buyer: named.buyer, softOptIn: SOFT });
    expect(begun).toHaveLength(1);
    const person = await db
      .selectFrom('lead')
      .selectAll()
      .where('email', '=', named.buyer.email)
      .executeTakeFirstOrThrow();
    expect(person).toMatchObject({ name: 'Eva', locale: 'es', address_hash: named.hashes[0] });
    const facts = await db.selectFrom('evidence').select('body').where('lead_id', '=', person.id).execute();
    expect(facts.map(({ body }) => JSON.parse(body))).toMatchObject([{ kind: 'soft-opt-in', detail: SOFT }]);
  });

  test('is nothing for an order that was made a month ago', async () => {
    const coffee = await campaign();
    const person = await lead([coffee]);
    await db
      .updateTable('enrollment')
      .set({ requested_at: new Date(Date.now() - 90 * DAY) })
      .where('id', '=', person.ids[0] as string)
      .execute();
    const purchasedAt = new Date(Date.now() - 31 * DAY);
    const { stopped, begun } = await buy({ hashes: person.hashes }, { purchasedAt });
    expect([stopped.length, begun]).toEqual([1, []]);
  });

  test('of purchases told at the same time, one begins it', async () => {
    const coffee = await campaign();
    const { hashes } = await lead([coffee], true);
    const orderId = randomUUID();
    const results = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        buy({ hashes }, { orderId: index % 2 === 0 ? orderId : randomUUID(), products: ['C-1'] }),
      ),
    );
    expect(results.flatMap(({ begun }) => begun)).toHaveLength(1);
  });
});

describe('P7 what marketing to a buyer rests on', () => {
  test.each([
    ['a consent', true, undefined, 'consent'],
    ['a consent, and the choice to get none', true, { ...SOFT, optedOut: true }, null],
    ['nothing', false, undefined, null],
    ['a soft opt-in', false, SOFT, 'soft-opt-in'],
    ['a soft opt-in without a way out', false, { ...SOFT, optOutOffered: false }, null],
    ['a soft opt-in that was not taken', false, { ...SOFT, optedOut: true }, null],
    ['a soft opt-in for other products', false, { ...SOFT, productGroup: 'tea' }, null],
  ] as const)('%s', async (_, agreed, softOptIn, basis) => {
    const { enrollment } = await begunBy(await campaign(), agreed, { softOptIn });
    expect(enrollment?.basis ?? null).toBe(basis);
    expect(enrollment?.agreed_at === null).toBe(basis === null);
    expect(enrollment?.step).toBe(0);
  });

  test('without a group, a soft opt-in carries mail about the very product only', async () => {
    const { group: _, ...alone } = COFFEE;
    const coffee = await campaign({ product: alone });
    expect((await begunBy(coffee, false, { softOptIn: SOFT })).enrollment?.basis).toBe('soft-opt-in');
    const unsure = await begunBy(coffee, false, { softOptIn: SOFT, products: undefined });
    expect(unsure.enrollment?.basis).toBeNull();
  });

  test('an exclusion list outweighs a soft opt-in, and not a consent', async () => {
    const coffee = await campaign();
    const excluded = async (agreed: boolean) => {
      const person = await lead([coffee], agreed);
      await db.updateTable('address').set({ excluded_at: new Date() }).where('hash', '=', person.hashes[0]).execute();
      const { begun } = await buy({ hashes: person.hashes }, { products: ['C-1'], softOptIn: SOFT });
      return (await row(begun[0] as string)).basis;
    };
    expect([await excluded(false), await excluded(true)]).toEqual([null, 'consent']);
  });

  test('P6 who has objected gets the thanks only, and nothing where there are none', async () => {
    const steps = afterPurchaseForTests().steps.slice(1);
    const noThanks = await campaign({ product: TEA, afterPurchase: afterPurchaseForTests({ steps }) });
    const coffee = await campaign();
    const person = await lead([coffee, noThanks], true);
    await stopEnrollments(db, {
      who: { hashes: person.hashes },
      outcome: 'unsubscribed',
      suppress: 'objection',
      now: new Date(),
    });
    const { begun } = await buy({ hashes: person.hashes }, { products: ['C-1', 'T-1'], softOptIn: SOFT });
    expect(begun).toHaveLength(1);
    expect(await row(begun[0] as string)).toMatchObject({ campaign_id: coffee, basis: null, agreed_at: null });
  });

  test('a consent that was withdrawn carries nothing', async () => {
    const coffee = await campaign();
    const person = await lead([coffee], true);
    await db.updateTable('consent').set({ withdrawn_at: new Date() }).where('campaign_id', '=', coffee).execute();
    const { begun } = await buy({ hashes: person.hashes }, { products: ['C-1'] });
    expect((await row(begun[0] as string)).basis).toBeNull();
  });

  test('a consent from before a withdrawal carries nothing, though nothing stands against mail any more', async () => {
    const coffee = await campaign();
    const before = await lead([coffee]);
    const now = new Date();
    await stopEnrollments(db, { who: { hashes: before.hashes }, outcome: 'unsubscribed', suppress: 'objection', now });
    await inTransaction(db, (tx) =>
      liftSuppressions(tx, { hashes: before.hashes, by: 'person', because: null, now: new Date() }),
    );
    const request = requestBy(before.email);
    const consent = request.consent && { ...request.consent, capturedAt: new Date(now.getTime() - DAY) };
    await enrollForTests(db, coffee, { ...request, consent });
    const { begun } = await buy({ hashes: before.hashes }, { products: ['C-1'] });
    expect(await row(begun[0] as string)).toMatchObject({ basis: null, agreed_at: null });
  });

  test('who opts out at a checkout gets no more of what an earlier purchase began, nor of what a later one does', async () => {
    const { hashes, begun } = await begunBy(await campaign(), false, { softOptIn: SOFT });
    const key = { enrollmentId: begun[0] as string, step: 1, copy: 0 };
    await db
      .updateTable('enrollment')
      .set({ step: 1, next_due_at: new Date(Date.now() - 1_000) })
      .where('id', '=', key.enrollmentId)
      .execute();
    const token = await tryClaim(db, key);
    await buy({ hashes }, { products: ['X-1'], softOptIn: { ...SOFT, optedOut: true } });
    expect(await passGate(db, key, token ?? '', new Date())).toBe(false);
    expect(await tryClaim(db, key)).toBeNull();
    const withdrawn = await db
      .selectFrom('event')
      .select('detail')
      .where('enrollment_id', '=', key.enrollmentId)
      .where('kind', '=', 'consent-withdrawn')
      .execute();
    expect(withdrawn).toEqual([{ detail: { by: 'checkout', orderId: expect.any(String) } }]);
    const told = { softOptIn: SOFT, purchasedAt: new Date(Date.now() - DAY) };
    const late = await buy(
      { hashes },
      { ...told, campaignId: await campaign({ product: { ...TEA, group: 'coffee' } }) },
    );
    expect(late.begun).toHaveLength(1);
    expect((await row(late.begun[0] as string)).basis).toBeNull();
  });

  test('opting out at a checkout stands in the journal: a restored database takes the consent out again', async () => {
    const { hashes, begun } = await begunBy(await campaign(), false, { softOptIn: SOFT });
    const id = begun[0] as string;
    const { agreed_at } = await row(id);
    await buy({ hashes }, { products: ['X-1'], softOptIn: { ...SOFT, optedOut: true } });
    const replay = async () =>
      (await replayJournal(db, [], { erase: async () => {}, messageIdOf: () => '', counted: false }))[
        'consent-withdrawn'
      ];
    const before = await replay();
    expect(before).toMatchObject({ applied: 0, unknown: 0 });
    await db.updateTable('enrollment').set({ agreed_at }).where('id', '=', id).execute();
    expect(await replay()).toEqual({ ...before, applied: 1, known: before.known - 1 });
    expect((await row(id)).agreed_at).toBeNull();
    // A consent of afterwards is another one.
    const later = new Date(Date.now() + DAY);
    await db.updateTable('enrollment').set({ agreed_at: later }).where('id', '=', id).execute();
    expect(await replay()).toEqual(before);
    expect((await row(id)).agreed_at).toEqual(later);
  });

  test('P10 told late, the first marketing mail waits for the send window', async () => {
    const steps = afterPurchaseForTests().steps.slice(1);
    const now = new Date('2026-03-04T02:00:00Z');
    const sendWindow = { ...definitionForTests().sendWindow, from: '10:00', to: '12:00' };
    const shut = await campaign({ sendWindow, afterPurchase: afterPurchaseForTests({ steps }) });
    const email = `${randomUUID()}@shop.example`;
    const { begun } = await buy(
      { hashes: hashAddress(email, TEST_ADDRESS_KEYS) },
      { campaignId: shut, buyer: { email }, softOptIn: SOFT, purchasedAt: new Date(now.getTime() - 20 * DAY), now },
    );
    const { next_due_at: dueAt } = await row(begun[0] as string);
    expect(dueAt.toISOString()).toMatch(/^2026-03-04T(09|10):/);
  });

  test('a campaign without thanks begins at its first marketing mail, in the send window', async () => {
    const steps = afterPurchaseForTests().steps.slice(1);
    const { enrollment } = await begunBy(await campaign({ afterPurchase: afterPurchaseForTests({ steps }) }), true);
    expect(enrollment).toMatchObject({ step: 1, basis: 'consent' });
    expect((enrollment?.next_due_at.getTime() ?? 0) - Date.now()).toBeGreaterThan(6.9 * DAY);
  });
});

describe('P6 the claim of a mail to a buyer', () => {
  const objected = (hashes: [string, ...string[]]) =>
    db
      .updateTable('address')
      .set({ suppressed_at: new Date(), suppressed_reason: 'objection' })
      .where('hash', '=', hashes[0])
      .execute();
  const at = (id: string, step: number) =>
    db
      .updateTable('enrollment')
      .set({ step, next_due_at: new Date(Date.now() - 1_000) })
      .where('id', '=', id)
      .execute();

  test('of the thanks passes an objection and a campaign that was left, and not a dead address', async () => {
    const coffee = await campaign();
    const { hashes, begun } = await begunBy(coffee, true);
    const key = { enrollmentId: begun[0] as string, step: 0, copy: 0 };
    await db
      .updateTable('address')
      .set({ suppressed_campaigns: [coffee] })
      .where('hash', '=', hashes[0])
      .execute();
    await objected(hashes);
    expect(await tryClaim(db, key)).not.toBeNull();
    await db.updateTable('address').set({ undeliverable_at: new Date() }).where('hash', '=', hashes[0]).execute();
    expect(await tryClaim(db, key)).toBeNull();
  });

  test('of marketing needs its basis, no objection, and for a soft opt-in no exclusion list', async () => {
    const coffee = await campaign();
    const soft = await begunBy(coffee, false, { softOptIn: SOFT });
    const key = { enrollmentId: soft.begun[0] as string, step: 1, copy: 0 };
    await at(key.enrollmentId, 1);
    expect(await tryClaim(db, key)).not.toBeNull();
    await db.updateTable('address').set({ excluded_at: new Date() }).where('hash', '=', soft.hashes[0]).execute();
    expect(await tryClaim(db, key)).toBeNull();

    const agreed = await begunBy(coffee, true);
    const other = { ...key, enrollmentId: agreed.begun[0] as string };
    await at(other.enrollmentId, 1);
    await db.updateTable('address').set({ excluded_at: new Date() }).where('hash', '=', agreed.hashes[0]).execute();
    expect(await tryClaim(db, other)).not.toBeNull();
    await objected(agreed.hashes);
    expect(await tryClaim(db, other)).toBeNull();

    const none = await begunBy(coffee, false);
    const third = { ...key, enrollmentId: none.begun[0] as string };
    await at(third.enrollmentId, 1);
    expect(await tryClaim(db, third)).toBeNull();
  });

  test('is refused once they unsubscribe, like any other: a stop ends what follows a purchase too', async () => {
    const { hashes, begun } = await begunBy(await campaign(), true);
    await stopEnrollments(db, { who: { hashes }, outcome: 'unsubscribed', suppress: 'objection', now: new Date() });
    expect(await outcomes(begun)).toEqual(['unsubscribed']);
    expect(await tryClaim(db, { enrollmentId: begun[0] as string, step: 0, copy: 0 })).toBeNull();
  });
});

describe('P2 a refund', () => {
  test('ends what followed the purchase, tells the timeline once, and starts no follow-up again', async () => {
    const orderId = randomUUID();
    const { ids, begun, enrollment } = await begunBy(await campaign(), true, { orderId });
    const first = await recordRefund(db, { orderId, now: new Date() });
    expect(first.stopped).toMatchObject([{ enrollmentId: begun[0], outcome: 'cancelled' }]);
    expect(await recordRefund(db, { orderId, now: new Date() })).toEqual({ stopped: [], inFlight: [] });
    expect(await outcomes([...ids, ...begun])).toEqual(['purchased', 'cancelled']);
    const kinds = await timeline(enrollment?.lead_id ?? '');
    expect(kinds.filter((kind) => kind === 'refunded')).toHaveLength(1);
  });

  test('of an order that nobody knows is kept, and its purchase ends the follow-up and begins nothing', async () => {
    const orderId = randomUUID();
    expect(await recordRefund(db, { orderId, now: new Date() })).toEqual({ stopped: [], inFlight: [] });
    const { ids, begun } = await begunBy(await campaign(), true, { orderId });
    expect(begun).toEqual([]);
    expect(await outcomes(ids)).toEqual(['purchased']);
  });

  test('told at the same time as its purchase, whichever comes first, leaves nothing open', async () => {
    const coffee = await campaign();
    for (let trial = 0; trial < 25; trial++) {
      const { hashes } = await lead([coffee], true);
      const orderId = randomUUID();
      const [{ begun }] = await Promise.all([
        buy({ hashes }, { orderId, products: ['C-1'] }),
        recordRefund(db, { orderId, now: new Date() }),
      ]);
      expect((await outcomes(begun)).filter((outcome) => outcome !== 'cancelled')).toEqual([]);
    }
  });
});
