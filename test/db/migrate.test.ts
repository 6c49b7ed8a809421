import { sql } from 'kysely';
import { createDb } from '../../db/client';
import { isMigrated, migrate } from '../../db/migrate';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { eventually } from '../support/waiting';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase(5, 'template1');
});
afterEach(() => database.drop());

test('a lock that somebody holds is waited for in short tries, between which others get on', async () => {
  const { db } = database;
  await migrate(db, '0003-people');
  const impatient = createDb({ url: database.url, maxConnections: 2, lockMs: 200, onError: () => {} });
  try {
    let waits = 0;
    let migrating: Promise<string[]> | undefined;
    await db.transaction().execute(async (tx) => {
      await sql`lock table enrollment in access share mode`.execute(tx);
      migrating = migrate(impatient, undefined, () => waits++);
      // Past the first try. Whoever comes behind a try goes on when it is over.
      await eventually(() => waits > 0);
      await sql`select from enrollment`.execute(db);
      expect(await isMigrated(db)).toBe(false);
    });
    expect(await migrating).toEqual([
      '0004-campaign-migrations',
      '0005-figures',
      '0006-journal-state',
      '0007-answers-of-people',
    ]);
    expect(await isMigrated(db)).toBe(true);
  } finally {
    await impatient.destroy();
  }
});

test('what fails leaves everything before it applied, and nothing of it; mended, it goes on from there', async () => {
  const { db } = database;
  await migrate(db, '0003-people');
  await sql`create table journal_state (one int)`.execute(db);
  await expect(migrate(db)).rejects.toThrow('already exists');
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name desc limit 1`.execute(
    db,
  );
  expect(rows).toEqual([{ name: '0005-figures' }]);
  await sql`drop table journal_state`.execute(db);
  expect(await migrate(db)).toEqual(['0006-journal-state', '0007-answers-of-people']);
});

test('a migration may take as long as it takes, any other statement may not', async () => {
  const timeouts = async (limits: { statementMs?: number; lockMs?: number }) => {
    const db = createDb({ url: database.url, maxConnections: 1, ...limits, onError: () => {} });
    try {
      const { rows } = await sql<{ statement: string; lock: string }>`
        select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock`.execute(db);
      return rows[0];
    } finally {
      await db.destroy();
    }
  };
  expect(await timeouts({})).toEqual({ statement: '1min', lock: '0' });
  expect(await timeouts({ statementMs: 0, lockMs: 3_000 })).toEqual({ statement: '0', lock: '3s' });
});
