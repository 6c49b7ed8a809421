import { sql } from 'kysely';
import { findMigration } from '../../db/campaign-migrations';
import { seed } from '../db/racing';
import { definitionForTests, publishAgainForTests } from '../support/campaigns';
import { beginMigration } from '../support/migrating';
import { door, eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

const LEADS = 2_000;
let stage: Stage;

beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

const blocked = async () =>
  (
    await sql<{ pid: number }>`
      select pid from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`.execute(
      stage.db,
    )
  ).rows.map((row) => row.pid);

test(`P3, P4: the worker is killed in the middle of moving ${LEADS} leads; another goes on, and nobody is moved twice or left`, async () => {
  const { db } = stage;
  const subjects = await seed(db, LEADS, {
    step: 2,
    startedAt: new Date(),
    dueAt: new Date(Date.now() + 30 * 24 * 3600_000),
  });
  const campaignId = subjects[0]?.campaignId as string;
  const steps = definitionForTests().steps;
  await publishAgainForTests(
    db,
    campaignId,
    definitionForTests(0, { steps: [...steps.slice(0, 4), ...steps.slice(5)] }),
  );
  // Batches get through until this many leads have moved; the next one is held in the middle of its transaction.
  const [locked, unlock] = [door(), door()];
  const first = await stage.work();
  const migrationId = await beginMigration(db, campaignId, 2);
  const locking = db.transaction().execute(async (tx) => {
    await sql`lock table event in share mode`.execute(tx);
    void locked.wait();
    await unlock.wait();
  });
  await locked.reached;
  await eventually(async () => (await blocked()).length > 0);
  const before = await findMigration(db, campaignId, migrationId);
  expect(before.results.pending).toBeGreaterThan(0);
  await first.kill();
  // The server process would finish the statement for its dead client as soon as the table is free.
  for (const pid of await blocked()) await sql`select pg_terminate_backend(${pid})`.execute(db);
  await eventually(async () => (await blocked()).length === 0);
  unlock.open();
  await locking;
  const between = await findMigration(db, campaignId, migrationId);
  expect(between.results).toEqual(before.results);

  await stage.work();
  await eventually(async () => (await findMigration(db, campaignId, migrationId)).state === 'completed');
  expect((await findMigration(db, campaignId, migrationId)).results).toMatchObject({ moved: LEADS, pending: 0 });
  const { rows } = await sql<{ version: number; moves: number; mails: number; events: number; leads: number }>`
    select e.version, e.moves, jsonb_array_length(e.plan) as mails,
           (select count(*)::int from event v where v.enrollment_id = e.id and v.kind = 'moved') as events, count(*)::int as leads
    from enrollment e group by 1, 2, 3, 4`.execute(db);
  expect(rows).toEqual([{ version: 2, moves: 1, mails: 7, events: 1, leads: LEADS }]);
});
