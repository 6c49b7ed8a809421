import { sql } from 'kysely';
import { pauseSending } from '../../db/breaker';
import { COUNTED_UP_TO, FIGURES, type Figures, OVERDUE_MS, readFigures } from '../../db/figures';
import { stopEnrollments } from '../../db/stops';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
let campaignId: string;
beforeAll(async () => {
  database = await createTestDatabase();
  campaignId = await publishForTests(database.db, definitionForTests(3));
});
afterAll(async () => await database.drop());

const NOTHING = { count: 0, since: null };

async function enrolled(email: string, row: Record<string, unknown> = {}): Promise<string> {
  const id = await enrollForTests(database.db, campaignId, requestBy(email));
  const long = new Date(Date.now() - OVERDUE_MS - 60_000);
  await database.db
    .updateTable('enrollment')
    .set({ started_at: long, next_due_at: long, ...row })
    .where('id', '=', id)
    .execute();
  return id;
}

test('counts nothing where nothing is', async () => {
  const none: Figures = {
    overdue: { transactional: NOTHING, requested: NOTHING, marketing: NOTHING },
    due: { transactional: 0, requested: 0, marketing: 0 },
    mailsWaiting: { transactional: NOTHING, requested: NOTHING },
    unknown: { enrollment: 0, transactional: 0 },
    inDelivery: { claimed: 0, handing_over: 0 },
    endedLastHour: {},
    sendingPauses: [],
    pausedCampaigns: 0,
    unstarted: NOTHING,
    unsignalled: NOTHING,
    runningImports: 0,
    journal: NOTHING,
    inboxNew: NOTHING,
    inboxInReview: 0,
    webhooksWaiting: NOTHING,
  };
  // What was published and enrolled above waits for nobody.
  expect(await readFigures(database.db)).toEqual(none);
});

test('counts what is late by its stream, and what is held, paused or ended not', async () => {
  const { db } = database;
  await enrolled('tarde@correo.example');
  await enrolled('otra@correo.example', { step: 1 });
  await enrolled('comprador@correo.example', { journey: 'buyer', order_id: '1', basis: 'consent' });
  await enrolled('pausa@correo.example', { paused_at: new Date() });
  await enrolled('retenida@correo.example', { held_for: 'marketing/*', held_at: new Date() });
  await enrolled('futura@correo.example', { next_due_at: new Date(Date.now() + 60_000) });
  const stopped = await enrolled('fin@correo.example');
  await stopEnrollments(db, { who: { enrollmentId: stopped }, outcome: 'purchased', now: new Date() });
  const late = await enrolled('sin-empezar@correo.example', { started_at: null, next_due_at: new Date() });
  await db
    .insertInto('message')
    .values({
      enrollment_id: late,
      step: 0,
      message_id: '<a@b>',
      state: 'unknown',
      token: '00000000-0000-4000-8000-000000000000',
      first_claimed_at: new Date(),
      claimed_at: new Date(),
      handing_over_at: new Date(),
      settled_at: new Date(),
      code: 'crash',
    })
    .execute();
  await pauseSending(db, { streams: ['marketing'], provider: '*', now: new Date() });

  const found = await readFigures(db);
  for (const waits of Object.values(found.overdue)) {
    expect(waits.count).toBe(1);
    expect(Date.now() - (waits.since?.getTime() ?? 0)).toBeGreaterThan(OVERDUE_MS);
  }
  // The one of in a minute, and the one of just now.
  expect(found.due).toEqual({ transactional: 0, requested: 2, marketing: 0 });
  expect(found.endedLastHour).toEqual({ purchased: 1 });
  expect(found.unsignalled.count).toBe(1);
  expect(found.unstarted.count).toBe(1);
  expect(found.unknown).toEqual({ enrollment: 1, transactional: 0 });
  // The stop and the pause.
  expect(found.journal.count).toBe(2);
  expect(found.sendingPauses).toEqual([{ stream: 'marketing', provider: '*', reason: 'by-hand' }]);
});

test('no count reads the whole of a table that grows with the leads', async () => {
  await database.db.transaction().execute(async (tx) => {
    // So that the planner uses an index wherever there is one that can serve, though these tables are small.
    await sql`set local enable_seqscan = off`.execute(tx);
    const { rows } = await sql<{ 'QUERY PLAN': string }>`explain ${FIGURES}`.execute(tx);
    const plan = rows.map((row) => row['QUERY PLAN']);
    const scanned = plan.flatMap((line) => /Seq Scan on (\w+)/.exec(line)?.[1] ?? []);
    // A few rows each, and the journal's outbox is emptied every two seconds.
    expect(scanned.filter((table) => !['campaign', 'sending_pause', 'journal_outbox'].includes(table))).toEqual([]);
  });
});

test('what waits for more held ones than are counted is seen all the same', async () => {
  const { db } = database;
  // The last one here: what it makes is gone with the database.
  const held = await enrolled('muchas@correo.example', { paused_at: new Date() });
  await enrolled('detras@correo.example', { next_due_at: new Date(Date.now() - OVERDUE_MS - 1_000) });
  const before = await readFigures(db);
  const { rows: leads } = await sql<{ id: string }>`
    insert into lead select (jsonb_populate_record(l, jsonb_build_object('id', gen_random_uuid(), 'email', null, 'address_hash', null))).*
    from lead l cross join generate_series(1, ${COUNTED_UP_TO})
    where l.id = (select lead_id from enrollment where id = ${held}) returning id`.execute(db);
  const ids = leads.map(({ id }) => id);
  await sql`
    insert into enrollment
    select (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), 'lead_id', l.id, 'next_due_at', now() - interval '1 day'))).*
    from enrollment e cross join unnest(${ids}::uuid[]) as l (id) where e.id = ${held}`.execute(db);
  expect((await readFigures(db)).overdue).toEqual(before.overdue);
  expect(before.overdue.requested.count).toBeGreaterThan(1);
});
