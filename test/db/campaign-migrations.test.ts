import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import {
  cancelMigration,
  createDryRun,
  type DryRunRequest,
  findMigration,
  listMigrated,
  migrateSome,
  startMigration,
} from '../../db/campaign-migrations';
import type { Db } from '../../db/client';
import { claim, loadTouch, passGate, settle } from '../../db/ledger';
import { campaignStats } from '../../db/stats';
import { stopEnrollments } from '../../db/stops';
import { planDue } from '../../domain/planner';
import { definitionForTests, publishAgainForTests, publishForTests, stepsForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { attempt, jitter, names, seed, tally, together, tryClaim } from './racing';

/** Set RACE_TRIALS to some thousands after a change to the claim, the gate, a stop or a move. */
const TRIALS = Number(process.env.RACE_TRIALS ?? 200);
const WIDTH = 6;
const DAY = 24 * 3600_000;
const ACTOR = { kind: 'key' as const, id: 'tests' };

let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase(2 * WIDTH + 2);
  db = database.db;
});
afterAll(() => database.drop());

const version = (...steps: string[]) => definitionForTests(0, { steps: stepsForTests(...steps) });
const V1 = version('info', 'a', 'b', 'c');

async function campaign(second: ReturnType<typeof version>, first = V1): Promise<string> {
  const id = await publishForTests(db, first);
  await publishAgainForTests(db, id, second);
  return id;
}

/** A lead of version 1 who has had that many mails, the last one ten days ago. */
async function leadAt(campaignId: string, had: number, dueAt = new Date(Date.now() + 50 * DAY)): Promise<string> {
  const id = await enrollForTests(db, campaignId, requestBy(`${randomUUID()}@shop.example`), {
    now: new Date(Date.now() - 100 * DAY),
  });
  const at = new Date(Date.now() - 10 * DAY);
  await db
    .updateTable('enrollment')
    .set({ version: 1, step: had, next_due_at: had === 0 ? at : dueAt, started_at: at })
    .where('id', '=', id)
    .execute();
  for (let step = 0; step < had; step++) {
    await db
      .insertInto('message')
      .values({
        enrollment_id: id,
        step,
        message_id: `<${id}.${step}@shop.example>`,
        state: 'accepted',
        token: randomUUID(),
        first_claimed_at: at,
        claimed_at: at,
        handing_over_at: at,
        settled_at: at,
        code: '250',
        provider_id: null,
      })
      .execute();
  }
  return id;
}

async function dryRun(campaignId: string, change: Partial<DryRunRequest> = {}): Promise<string> {
  const id = await createDryRun(db, {
    campaignId,
    toVersion: 2,
    fromVersion: null,
    steps: new Map(),
    enrollmentIds: null,
    namesSource: true,
    now: new Date(),
    ...change,
  });
  await carryOut(id);
  return id;
}

async function carryOut(id: string, now = () => new Date()): Promise<void> {
  for (let look = 0; look < 200; look++) {
    if ((await migrateSome(db, id, { timeFactor: 1, now: now() })).finished) return;
    await sleep(10);
  }
  throw new Error('the migration does not end');
}

const begin = async (campaignId: string, dryRunId: string) =>
  await startMigration(db, { campaignId, dryRunId, actor: ACTOR, now: new Date() });

async function migrate(campaignId: string, change: Partial<DryRunRequest> = {}): Promise<string> {
  const id = await begin(campaignId, await dryRun(campaignId, change));
  await carryOut(id);
  return id;
}

const row = async (id: string) =>
  await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const resultOf = async (campaignId: string, migrationId: string, id: string) =>
  (await listMigrated(db, { campaignId, migrationId }, 1000, null)).find((one) => one.enrollmentId === id);

test('a dry run tells for each lead what would change, and changes nothing', async () => {
  const campaignId = await campaign(version('info', 'x', 'a', 'y', 'c'));
  const [fresh, second, all] = [await leadAt(campaignId, 0), await leadAt(campaignId, 2), await leadAt(campaignId, 4)];
  const before = [await row(fresh), await row(second), await row(all)];
  const id = await dryRun(campaignId);
  expect([await row(fresh), await row(second), await row(all)]).toEqual(before);

  const dueAt = before[1]?.next_due_at.toISOString();
  expect(await resultOf(campaignId, id, second)).toMatchObject({
    result: 'moved',
    changes: ['next-step', 'added', 'dropped', 'passed-over'],
    detail: {
      fromVersion: 1,
      mailsHad: 2,
      nextBefore: { step: 2, dueAt },
      nextAfter: { step: 3, dueAt },
      ahead: [3, 4],
      added: [3],
      dropped: [2],
      passedOver: [1],
    },
  });
  expect(await resultOf(campaignId, id, fresh)).toMatchObject({ detail: { ahead: [0, 1, 2, 3, 4], dropped: [2] } });
  expect(await resultOf(campaignId, id, all)).toMatchObject({ changes: ['passed-over', 'nothing-ahead'] });
  expect(await findMigration(db, campaignId, id)).toMatchObject({
    state: 'completed',
    total: 3,
    results: { moved: 3, pending: 0, refused: 0 },
    changes: { 'next-step': 1, added: 2, dropped: 2, 'passed-over': 2, 'nothing-ahead': 1 },
    matching: [{ fromVersion: 1, deleted: [2], added: [1, 3] }],
  });
});

test('a move changes version and plan, keeps position and date, and stands in timeline and audit', async () => {
  const campaignId = await campaign(version('info', 'x', 'a', 'y', 'c'));
  const id = await leadAt(campaignId, 2);
  const before = await row(id);
  const migrationId = await migrate(campaignId);
  const after = await row(id);
  expect(after).toEqual({
    ...before,
    version: 2,
    moves: 1,
    plan: [
      { version: 1, step: 0, as: [{ version: 2, step: 0 }] },
      { version: 1, step: 1, as: [{ version: 2, step: 2 }] },
      { version: 2, step: 3 },
      { version: 2, step: 4 },
    ],
  });
  const events = await db.selectFrom('event').select(['kind', 'detail']).where('enrollment_id', '=', id).execute();
  expect(events.at(-1)).toMatchObject({ kind: 'moved', detail: { from: 1, to: 2, migrationId } });
  const audit = await db.selectFrom('audit').selectAll().where('target', '=', campaignId).execute();
  expect(audit).toMatchObject([{ action: 'campaign.migrated', detail: { migrationId, toVersion: 2 } }]);
  const stats = await campaignStats(db, campaignId, new Date());
  expect(stats.steps[2]).toMatchObject({ waiting: 1 });
});

test('back again, and only some of them', async () => {
  const campaignId = await campaign(version('info', 'a', 'x', 'b', 'c'));
  const [one, other] = [await leadAt(campaignId, 2), await leadAt(campaignId, 2)];
  await migrate(campaignId, { enrollmentIds: [one] });
  expect([(await row(one)).version, (await row(other)).version]).toEqual([2, 1]);
  await migrate(campaignId, { toVersion: 1, fromVersion: 2 });
  expect(await row(one)).toMatchObject({ version: 1, moves: 2 });
  expect((await row(one)).plan?.slice(2)).toEqual([
    { version: 1, step: 2 },
    { version: 1, step: 3 },
  ]);
});

test('who can’t be moved stays, and it is told why', async () => {
  const campaignId = await campaign(version('info', 'd', 'e', 'f', 'g', 'h', 'k'));
  const [many, gone, buyer] = [await leadAt(campaignId, 4), await leadAt(campaignId, 1), await leadAt(campaignId, 1)];
  await db.updateTable('enrollment').set({ journey: 'buyer' }).where('id', '=', buyer).execute();
  const dry = await dryRun(campaignId);
  await stopEnrollments(db, { who: { enrollmentId: gone }, outcome: 'replied', now: new Date() });
  const migrationId = await begin(campaignId, dry);
  await carryOut(migrationId);
  expect(await resultOf(campaignId, dry, many)).toMatchObject({ result: 'refused', because: 'too-many-mails' });
  expect(await resultOf(campaignId, migrationId, gone)).toMatchObject({ result: 'ended' });
  expect(await resultOf(campaignId, dry, buyer)).toBeUndefined();
  expect([(await row(many)).version, (await row(gone)).version, (await row(buyer)).version]).toEqual([1, 1, 1]);
});

test('imported people who have had nothing yet are not moved to an information that hides where from', async () => {
  const campaignId = await campaign(version('info', 'a', 'x', 'b', 'c'));
  const [asked, imported, informed] = [
    await leadAt(campaignId, 0),
    await leadAt(campaignId, 0),
    await leadAt(campaignId, 1),
  ];
  await sql`update event set detail = detail || '{"via": "import:1"}'
    where kind = 'enrolled' and enrollment_id in (${imported}, ${informed})`.execute(db);
  const id = await dryRun(campaignId, { namesSource: false });
  expect(await resultOf(campaignId, id, imported)).toMatchObject({ result: 'refused', because: 'source-not-named' });
  expect(await resultOf(campaignId, id, asked)).toMatchObject({ result: 'moved' });
  expect(await resultOf(campaignId, id, informed)).toMatchObject({ result: 'moved' });
});

test('P10 a new cadence counts from the last mail; who comes due sooner is woken, and gives a reserved place back', async () => {
  const slow = { ...version('info', 'a', 'b', 'c'), cadence: { min: 'P20D', max: 'P30D' } };
  const campaignId = await campaign(slow);
  const planned = await leadAt(campaignId, 2);
  const touch = await loadTouch(db, planned);
  if (touch === null) throw new Error('there is one');
  // As the record of the last mail has planned it.
  const dueAt = planDue({
    enrollmentId: planned,
    step: 2,
    after: (
      await sql<{
        at: Date;
      }>`select settled_at as at from message where enrollment_id = ${planned} and step = 1`.execute(db)
    ).rows[0]?.at as Date,
    ...V1,
    clock: { origin: touch.enrolledAt.getTime(), factor: 1 },
  });
  const day = dueAt.toISOString().slice(0, 10);
  await db
    .updateTable('enrollment')
    .set({ next_due_at: dueAt, slot_stream: 'marketing', slot_day: day })
    .where('id', '=', planned)
    .execute();
  for (const provider of ['*', 'other-1']) {
    await db.insertInto('sending_quota').values({ stream: 'marketing', provider, day, used: 5 }).execute();
  }
  const away = await leadAt(campaignId, 2, new Date(Date.now() + 300 * DAY));
  await migrate(campaignId);
  const after = await row(planned);
  expect(after.next_due_at.getTime()).toBeGreaterThanOrEqual(Date.now() + 10 * DAY - 60_000);
  expect(after.next_due_at.getTime()).toBeLessThan(Date.now() + 21 * DAY);
  expect(after).toMatchObject({ signal_at: expect.any(Date), slot_day: null });
  const quota = await db
    .selectFrom('sending_quota')
    .select('used')
    .where('provider', '=', '*')
    .executeTakeFirstOrThrow();
  expect(quota.used).toBe(4);
  // Something had moved this one's date away: it is not made sooner, and nobody need be woken.
  expect(await row(away)).toMatchObject({ signal_at: null, version: 2 });
  expect((await row(away)).next_due_at.getTime()).toBeGreaterThan(Date.now() + 299 * DAY);
});

describe('mail that is under way', () => {
  test('P3 what is claimed is taken back: its gate refuses, and a claim that looked before the move too', async () => {
    const campaignId = await campaign(version('info', 'a', 'x', 'b', 'c'));
    const id = await leadAt(campaignId, 2, new Date(Date.now() - 60_000));
    const key = { enrollmentId: id, step: 2, copy: 0 };
    const token = (await tryClaim(db, key)) as string;
    await migrate(campaignId);
    expect(await passGate(db, key, token, new Date())).toBe(false);
    expect(await tryClaim(db, key)).toBeNull();
    const again = { ...key, messageId: '<x@y>', token: randomUUID(), moves: 1, now: new Date() };
    expect(await claim(db, again)).not.toBeNull();
  });

  test('P3 who has a mail past the gate is moved after it, and it counts as had', async () => {
    const campaignId = await campaign(version('info', 'b', 'a', 'x', 'c'));
    const id = await leadAt(campaignId, 2, new Date(Date.now() - 60_000));
    const key = { enrollmentId: id, step: 2, copy: 0 };
    const token = (await tryClaim(db, key)) as string;
    expect(await passGate(db, key, token, new Date())).toBe(true);
    const dry = await dryRun(campaignId);
    expect(await resultOf(campaignId, dry, id)).toMatchObject({ changes: expect.arrayContaining(['in-flight']) });
    const migrationId = await begin(campaignId, dry);
    expect(await migrateSome(db, migrationId, { timeFactor: 1, now: new Date() })).toEqual({
      done: 0,
      finished: false,
    });
    expect(await row(id)).toMatchObject({ version: 1, moves: 0 });
    await settle(db, {
      ...key,
      leadId: (await row(id)).lead_id,
      state: 'accepted',
      token,
      code: '250',
      providerId: null,
      move: { kind: 'advance', dueAt: new Date(Date.now() + 60 * DAY) },
      event: 'message-accepted',
      now: new Date(),
    });
    await carryOut(migrationId, () => new Date(Date.now() + DAY));
    expect(await row(id)).toMatchObject({ version: 2, step: 3 });
    expect((await row(id)).plan?.slice(2)).toEqual([
      { version: 1, step: 2, as: [{ version: 2, step: 1 }] },
      // After b, in the new order: a was had, x and c were not.
      { version: 2, step: 3 },
      { version: 2, step: 4 },
    ]);
  });

  test('nobody is taken for silent by a look from before the move', async () => {
    const campaignId = await campaign(version('info', 'a', 'b', 'c', 'd'));
    const id = await leadAt(campaignId, 4, new Date(Date.now() - 60_000));
    const touch = await loadTouch(db, id);
    await migrate(campaignId);
    const stop = { who: { enrollmentId: id }, outcome: 'exhausted' as const, dueBy: new Date(), byJourney: true };
    await stopEnrollments(db, { ...stop, moves: touch?.moves ?? 0, now: new Date() });
    expect((await row(id)).outcome).toBeNull();
  });
});

describe('a migration needs a dry run that holds', () => {
  const [first, second] = [V1, version('info', 'a', 'x', 'b', 'c')];
  const code = async (work: Promise<unknown>) =>
    await work.then(
      () => null,
      (error) => error.code,
    );

  test('finished, of this campaign, used once, and nothing published or moved since', async () => {
    const campaignId = await campaign(second, first);
    await leadAt(campaignId, 1);
    const another = await campaign(second, first);
    const dry = await dryRun(campaignId);
    const stale = await dryRun(campaignId);
    expect(await code(begin(another, dry))).toBe('not-found');
    const unfinished = await createDryRun(db, {
      campaignId,
      toVersion: 2,
      fromVersion: null,
      steps: new Map(),
      enrollmentIds: null,
      namesSource: true,
      now: new Date(),
    });
    expect(await code(begin(campaignId, unfinished))).toBe('dry-run-stale');
    const [one, two] = await Promise.allSettled([begin(campaignId, dry), begin(campaignId, dry)]);
    expect([one?.status, two?.status].sort()).toEqual(['fulfilled', 'rejected']);
    expect(await code(begin(campaignId, stale))).toBe('migration-running');
    await carryOut((one?.status === 'fulfilled' ? one.value : (two as { value: string }).value) as string);
    expect(await code(begin(campaignId, stale))).toBe('dry-run-stale');
    const older = await dryRun(campaignId, { toVersion: 1 });
    await publishAgainForTests(db, campaignId, first);
    expect(await code(begin(campaignId, older))).toBe('dry-run-stale');
    const late = await dryRun(campaignId, { toVersion: 3 });
    const tomorrow = { campaignId, dryRunId: late, actor: ACTOR, now: new Date(Date.now() + 25 * 3600_000) };
    expect(await code(startMigration(db, tomorrow))).toBe('dry-run-stale');
  });

  test('of two that are begun at the same moment from two dry runs, one is told that the other runs', async () => {
    // Often enough that they meet in the middle.
    for (let round = 0; round < 10; round++) {
      const campaignId = await campaign(second, first);
      await leadAt(campaignId, 1);
      const dryRuns = [await dryRun(campaignId), await dryRun(campaignId)];
      const codes = await Promise.all(dryRuns.map((dry) => code(begin(campaignId, dry))));
      expect(codes.filter((code) => code !== null)).toEqual(['migration-running']);
    }
  });

  test('what is unclear about the steps is refused, and mended by the request', async () => {
    const plain = (...subjects: string[]) =>
      definitionForTests(0, { steps: subjects.map((subject) => ({ subject, mjml: `<mjml>${subject}</mjml>` })) });
    const campaignId = await campaign(plain('info', 'a', 'new b', 'c'), plain('info', 'a', 'b', 'c'));
    const id = await leadAt(campaignId, 3);
    expect(await code(dryRun(campaignId))).toBe('steps-unclear');
    const said = await dryRun(campaignId, { fromVersion: 1, steps: new Map([[2, 2]]) });
    expect(await resultOf(campaignId, said, id)).toMatchObject({ detail: { ahead: [3], passedOver: [] } });
    const gone = await dryRun(campaignId, { fromVersion: 1, steps: new Map([[2, null]]) });
    expect(await resultOf(campaignId, gone, id)).toMatchObject({ detail: { ahead: [2, 3], added: [2] } });
  });

  test('once cancelled, nobody more is moved', async () => {
    const campaignId = await campaign(second, first);
    for (let lead = 0; lead < 5; lead++) await leadAt(campaignId, 1);
    const id = await begin(campaignId, await dryRun(campaignId));
    await migrateSome(db, id, { timeFactor: 1, now: new Date(), limit: 2 });
    await cancelMigration(db, { campaignId, migrationId: id, actor: ACTOR, now: new Date() });
    expect(await migrateSome(db, id, { timeFactor: 1, now: new Date() })).toEqual({ done: 0, finished: false });
    expect(await findMigration(db, campaignId, id)).toMatchObject({
      state: 'cancelled',
      results: { moved: 2, pending: 3 },
    });
    const again = { campaignId, migrationId: id, actor: ACTOR, now: new Date() };
    expect(await code(cancelMigration(db, again))).toBe('already-ended');
  });
});

test(`P2, P3: ${TRIALS} moves, each against a send and every other one against a stop as well`, async () => {
  const subjects = await seed(db, TRIALS, { campaignEach: true, step: 3 });
  const ids = subjects.map((subject) => subject.campaignId);
  // Version 2 does without step 3, so that position 3 is another mail there.
  await sql`
    insert into campaign_version (campaign_id, version, definition, steps)
    select campaign_id, 2, definition #- '{steps,3}', steps - 3
    from campaign_version where campaign_id = any(${ids}::uuid[]) and version = 1`.execute(db);
  await sql`update campaign set latest_version = 2 where id = any(${ids}::uuid[])`.execute(db);
  // A migration for each, written straight into the tables, so that as many trials can be had.
  const rows = subjects.map(({ campaignId, enrollmentId }) => ({
    campaignId,
    enrollmentId,
    id: randomUUID(),
    dry: randomUUID(),
  }));
  const migrations = new Map(rows.map((one) => [one.enrollmentId, one.id]));
  for (const dry of [true, false]) {
    await sql`
      insert into campaign_migration (id, campaign_id, to_version, matching, names_source, dry_run, dry_run_id, latest_version, state, created_at)
      select m.id, m.campaign_id, 2, '[]', true, ${dry}, m.dry_run_id, 2, ${dry ? 'completed' : 'running'}, now()
      from unnest(${rows.map((one) => (dry ? one.dry : one.id))}::uuid[], ${ids}::uuid[],
                  ${rows.map((one) => (dry ? null : one.dry))}::uuid[]) as m (id, campaign_id, dry_run_id)`.execute(db);
  }
  await sql`
    insert into campaign_migration_lead (migration_id, enrollment_id)
    select * from unnest(${rows.map((one) => one.id)}::uuid[], ${rows.map((one) => one.enrollmentId)}::uuid[])`.execute(
    db,
  );
  const wrong: string[] = [];
  let index = 0;
  const counts = await tally(subjects, WIDTH, async ({ enrollmentId }) => {
    const migrationId = migrations.get(enrollmentId) as string;
    const stops = index++ % 2 === 0;
    // A move asks more of the database before it locks the row than a claim does: now and then the claim comes well after it.
    const late = Math.random() < 0.3 ? Math.random() * (Math.random() < 0.2 ? 600 : 60) : 0;
    const [sent, [batch, stop]] = await together(
      async () => {
        if (late > 0) await sleep(late);
        return await attempt(db, enrollmentId, 3);
      },
      async () =>
        await Promise.all([
          migrateSome(db, migrationId, { timeFactor: 1, now: new Date() }),
          stops
            ? jitter().then(() => stopEnrollments(db, { who: { enrollmentId }, outcome: 'replied', now: new Date() }))
            : null,
        ]),
    );
    const handed = sent === 'handed over';
    const after = await row(enrollmentId);
    const moved = after.version === 2;
    if (stop !== null && handed !== names(stop.inFlight, enrollmentId, 3)) wrong.push(`${sent}, but named otherwise`);
    if (handed && moved) wrong.push('a mail of version 1 was handed over under version 2');
    if (moved && after.plan?.[3]?.version !== 2) wrong.push(`moved to ${JSON.stringify(after.plan)}`);
    if (moved && (await tryClaim(db, { enrollmentId, step: 3, copy: 0 })) !== null) wrong.push('an old look claims');
    if (!moved && !handed && stop === null && batch.finished) wrong.push('dealt with, and neither moved nor sent');
    return `${sent}, ${moved ? 'moved' : 'not moved'}`;
  });
  expect(wrong).toEqual([]);
  expect(Object.keys(counts).sort()).toEqual(expect.arrayContaining(['handed over, not moved', 'refused, moved']));
});
