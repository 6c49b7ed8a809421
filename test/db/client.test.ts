import { sql } from 'kysely';
import { createDb, poolLoad } from '../../db/client';
import { isUnreachable } from '../../db/reachability';
import { type Cable, layCable } from '../support/cable';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
let cable: Cable;

beforeAll(async () => {
  database = await createTestDatabase();
  cable = await layCable(Number(new URL(database.url).port));
});
afterAll(async () => {
  await cable.close();
  await database.drop();
});

test('P4: a connection lost in the middle of a transaction is an error of that transaction, not the end of the process', async () => {
  const url = new URL(database.url);
  url.port = String(cable.port);
  const db = createDb({ url: url.href, maxConnections: 2, onError: () => {} });
  try {
    const lost = db.transaction().execute(async (tx) => {
      await sql`select 1`.execute(tx);
      cable.cut();
      // The connection is lent out and asks nothing, so nobody else hears of its end.
      await new Promise((resolve) => setTimeout(resolve, 100));
      await sql`select 1`.execute(tx);
    });
    await expect(lost).rejects.toThrow();
    cable.mend();
    expect((await sql`select 1 as one`.execute(db)).rows).toEqual([{ one: 1 }]);
  } finally {
    await db.destroy();
  }
});

test('a connection whose server has gone silent is given up as it is found out, and not lent out again', async () => {
  const url = new URL(database.url);
  url.port = String(cable.port);
  const db = createDb({ url: url.href, maxConnections: 1, statementMs: 2_000, onError: () => {} });
  try {
    const silent = db.transaction().execute(async (tx) => {
      await sql`select 1`.execute(tx);
      cable.stall();
      await sql`select 1`.execute(tx);
    });
    const error = await silent.then(
      () => null,
      (given: unknown) => given,
    );
    expect(isUnreachable(error)).toBe(true);
    expect(poolLoad(db)).toMatchObject({ inUse: 0, idle: 0 });
    expect((await sql`select 1 as one`.execute(db)).rows).toEqual([{ one: 1 }]);
  } finally {
    await db.destroy();
  }
});
