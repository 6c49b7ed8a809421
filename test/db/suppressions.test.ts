import { randomUUID } from 'node:crypto';
import { suppressionOf } from '../../db/addresses';
import { type Db, inTransaction } from '../../db/client';
import { stopEnrollments } from '../../db/stops';
import { type Lift, liftSuppressions, suppressionsOf } from '../../db/suppressions';
import { hashAddress } from '../../domain/address-hash';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { classified, receive, stepRef } from '../support/inbound';
import { enrollAll, enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { seed, tally, together } from './racing';

let database: TestDatabase;
let db: Db;
let coffee: string;
let tea: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  coffee = await publishForTests(db);
  tea = await publishForTests(db, definitionForTests(3));
});
afterAll(() => database.drop());

type Suppress = 'objection' | 'complaint' | 'undeliverable' | 'campaign';

async function suppress(hashes: [string, ...string[]], reason: Suppress, campaignId?: string, now = new Date()) {
  const outcome = reason === 'undeliverable' ? 'bounced' : 'unsubscribed';
  await stopEnrollments(db, { who: { hashes }, outcome, suppress: reason, campaignId, detail: { by: 'test' }, now });
}

const lift = async (change: Pick<Lift, 'hashes' | 'by'> & Partial<Lift>) =>
  await inTransaction(db, (tx) => liftSuppressions(tx, { because: null, now: new Date(), ...change }));

async function standing(hash: string, campaignId = coffee) {
  const row = await db.selectFrom('address').selectAll().where('hash', '=', hash).executeTakeFirstOrThrow();
  return suppressionOf(row, campaignId)?.reason ?? null;
}

async function known() {
  const request = requestBy(`${randomUUID()}@correo.example`);
  const id = await enrollForTests(db, coffee, request);
  const { lead_id } = await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  return { request, hashes: request.hashes, email: request.email, id, leadId: lead_id };
}

describe('P6 lifting', () => {
  test('clears what holds, keeps the row with who lifted it, and writes it down for the person, the timeline and the journal', async () => {
    const { request, hashes, leadId } = await known();
    await suppress(hashes, 'objection');
    expect(await enrollAll(db, coffee, [request])).toMatchObject([{ kind: 'refused' }]);
    await db.deleteFrom('journal_outbox').execute();

    expect(await lift({ hashes, by: 'person', because: 'asked anew' })).toEqual(['objection']);
    expect(await standing(hashes[0])).toBeNull();
    expect(await suppressionsOf(db, hashes)).toMatchObject([
      { kind: 'objection', by: 'test', liftedBy: 'person', liftedBecause: 'asked anew', liftedAt: expect.any(Date) },
    ]);
    const last = db.selectFrom('evidence').select('body').where('lead_id', '=', leadId).orderBy('seq', 'desc');
    const { body } = await last.executeTakeFirstOrThrow();
    expect(JSON.parse(body)).toMatchObject({ kind: 'lifted', detail: { reasons: ['objection'], by: 'person' } });
    const events = await db.selectFrom('event').select(['kind', 'detail']).where('lead_id', '=', leadId).execute();
    expect(events.at(-1)).toEqual({
      kind: 'suppression-lifted',
      detail: { reasons: ['objection'], campaignIds: [], by: 'person' },
    });
    const journal = await db.selectFrom('journal_outbox').select('entry').execute();
    expect(journal.map((row) => row.entry)).toMatchObject([
      { kind: 'lift', hashes, reasons: ['objection'], campaignId: null, by: 'person' },
    ]);
    expect(await enrollAll(db, coffee, [request])).toMatchObject([{ kind: 'created' }]);

    expect(await lift({ hashes, by: 'person' })).toEqual([]);
    expect(await db.selectFrom('journal_outbox').select('entry').execute()).toHaveLength(journal.length);
  });

  test('only what is named; a weaker suppression behind a lifted one holds again, whichever came first', async () => {
    for (const order of [['objection', 'complaint'] as const, ['complaint', 'objection'] as const]) {
      const { hashes } = requestBy(`${randomUUID()}@correo.example`);
      for (const reason of order) await suppress(hashes, reason);
      await suppress(hashes, 'undeliverable');
      expect(await lift({ hashes, by: 'privacy', because: 'in error', kinds: ['complaint'] })).toEqual(['complaint']);
      expect(await standing(hashes[0])).toBe('objection');
      expect(await lift({ hashes, by: 'person', kinds: ['objection', 'complaint'] })).toEqual(['objection']);
      expect(await standing(hashes[0])).toBe('undeliverable');
    }
  });

  test('of one campaign leaves the others', async () => {
    const { hashes } = requestBy(`${randomUUID()}@correo.example`);
    await suppress(hashes, 'campaign', coffee);
    await suppress(hashes, 'campaign', tea);
    expect(await lift({ hashes, by: 'person', kinds: ['campaign'], campaignId: coffee })).toEqual(['campaign']);
    expect([await standing(hashes[0], coffee), await standing(hashes[0], tea)]).toEqual([null, 'campaign']);
  });

  test('finds it under every key, and of an address that nobody knows lifts nothing and leaves no row', async () => {
    const keys = [...TEST_ADDRESS_KEYS, { version: 2, secret: Buffer.alloc(32, 8) }];
    const email = `${randomUUID()}@correo.example`;
    const [newer, older] = hashAddress(email, keys);
    await suppress([older ?? ''], 'objection');
    expect(await lift({ hashes: [newer, older ?? ''], by: 'person' })).toEqual(['objection']);
    expect(await standing(older ?? '')).toBeNull();
    const stranger = requestBy(`${randomUUID()}@correo.example`);
    expect(await lift({ hashes: stranger.hashes, by: 'person' })).toEqual([]);
    const rows = await db.selectFrom('address').select('hash').where('hash', '=', stranger.hashes[0]).execute();
    expect(rows).toEqual([]);
  });

  test('against an objection at the same time: what holds is what the rows say, in 300 races', async () => {
    const subjects = await seed(db, 300);
    const counts = await tally(subjects, 12, async ({ hashes }) => {
      await suppress(hashes, 'undeliverable');
      await together(
        () => suppress(hashes, 'objection'),
        () => lift({ hashes, by: 'proof-of-life', kinds: ['undeliverable'] }),
      );
      const rows = (await suppressionsOf(db, hashes)).filter((row) => row.liftedAt === null).map((row) => row.kind);
      return (await standing(hashes[0])) === 'objection' && rows.join() === 'objection' ? 'sound' : 'broken';
    });
    expect(counts).toEqual({ sound: 300 });
  });
});

describe('proof of life', () => {
  const isDeliverable = async (hash: string) => (await standing(hash)) === null;

  test.each([
    ['a reply', classified({ kind: 'reply' }), true],
    ['an out-of-office reply', classified({ kind: 'auto-reply', subtype: 'out-of-office' }), true],
    ['"has left"', classified({ kind: 'auto-reply', subtype: 'left' }), false],
    ['a notice', classified({ kind: 'notice', subtype: 'delayed' }), false],
  ])('%s from the address itself', async (_, classification, lifts) => {
    const { hashes, email, id } = await known();
    await suppress(hashes, 'undeliverable');
    await receive(db, classification, { from: email, proven: stepRef(id, 0, 'reply-to') });
    expect(await isDeliverable(hashes[0])).toBe(lifts);
    if (lifts) expect(await suppressionsOf(db, hashes)).toMatchObject([{ liftedBy: 'proof-of-life' }]);
  });

  test('from somebody else proves nothing, and an objection is never lifted by an answer', async () => {
    const { hashes, email, id } = await known();
    await suppress(hashes, 'undeliverable');
    await receive(db, classified({ kind: 'reply' }), {
      from: `${randomUUID()}@other.example`,
      proven: stepRef(id, 0, 'reply-to'),
    });
    expect(await isDeliverable(hashes[0])).toBe(false);
    await suppress(hashes, 'objection');
    await receive(db, classified({ kind: 'reply' }), { from: email, proven: stepRef(id, 0, 'reply-to') });
    expect(await standing(hashes[0])).toBe('objection');
  });
});
