import { randomUUID } from 'node:crypto';
import { claim, loadTouch, passGate, releaseClaim, uncount } from '../../db/ledger';
import { stopEnrollments } from '../../db/stops';
import { countedAs } from '../../domain/frequency';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

const CAMPAIGNS = 6;
const ROUNDS = 25;
const DAY = 24 * 3600_000;

let database: TestDatabase;
let campaigns: string[];

beforeAll(async () => {
  database = await createTestDatabase(CAMPAIGNS + 4);
  campaigns = [];
  for (let i = 0; i < CAMPAIGNS; i++) campaigns.push(await publishForTests(database.db));
});
afterAll(async () => await database.drop());

/** One person whose first nudge is due in every campaign. @returns the enrollments */
async function dueEverywhere(): Promise<string[]> {
  const request = requestBy(`${randomUUID()}@shop.example`);
  const ids: string[] = [];
  for (const campaignId of campaigns) ids.push(await enrollForTests(database.db, campaignId, request));
  await database.db
    .updateTable('enrollment')
    .set({ step: 1, next_due_at: new Date(Date.now() - 60_000) })
    .where('id', 'in', ids)
    .execute();
  return ids;
}

async function claimed(enrollmentId: string, mails: number | null, now = new Date()): Promise<string | null> {
  const token = randomUUID();
  const cap = mails === null ? null : { mails, since: new Date(now.getTime() - 30 * DAY) };
  const messageId = `<${token}@shop.example>`;
  const result = await claim(database.db, { enrollmentId, step: 1, copy: 0, messageId, token, moves: 0, cap, now });
  return result === null ? null : token;
}

const key = (enrollmentId: string) => ({ enrollmentId, step: 1, copy: 0 });

test('one person gets no more marketing mails than allowed, from however many campaigns at the same time', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const ids = await dueEverywhere();
    const tokens = await Promise.all(ids.map((id) => claimed(id, 2)));
    expect(tokens.filter((token) => token !== null)).toHaveLength(2);
  }
});

test('without a cap all of them go, and nothing is counted', async () => {
  const ids = await dueEverywhere();
  const tokens = await Promise.all(ids.map((id) => claimed(id, null)));
  expect(tokens.every((token) => token !== null)).toBe(true);
  expect((await loadTouch(database.db, ids[0] ?? ''))?.recentMarketing).toEqual({});
});

test('one that is tried again counts once, one that was given back not at all', async () => {
  const [first = '', second = '', third = ''] = await dueEverywhere();
  const token = await claimed(first, 2);
  expect(await claimed(first, 2)).not.toBeNull();
  expect(await claimed(second, 2)).not.toBeNull();
  expect(await claimed(third, 2)).toBeNull();
  expect(token).not.toBeNull();
  const at = new Date();
  const again = await claimed(first, 2, at);
  await releaseClaim(database.db, key(first), again ?? '', new Date());
  const touch = await loadTouch(database.db, first);
  await uncount(database.db, touch?.addressHash ?? '', countedAs(first, 1), at);
  expect(await claimed(third, 2)).not.toBeNull();
  expect(await claimed(first, 2)).toBeNull();
});

test('an attempt that was overtaken does not take back what the one after it has counted', async () => {
  const [first = '', second = ''] = await dueEverywhere();
  const before = new Date(Date.now() - 15_000);
  expect(await claimed(first, 1, before)).not.toBeNull();
  expect(await claimed(first, 1)).not.toBeNull();
  const touch = await loadTouch(database.db, first);
  await uncount(database.db, touch?.addressHash ?? '', countedAs(first, 1), before);
  expect(await claimed(second, 1)).toBeNull();
});

test('what lies further back than the stretch of time that counts is forgotten', async () => {
  const [first = '', second = '', third = ''] = await dueEverywhere();
  const long = new Date(Date.now() + 31 * DAY);
  expect(await claimed(first, 1)).not.toBeNull();
  expect(await claimed(second, 1)).toBeNull();
  expect(await claimed(second, 1, long)).not.toBeNull();
  const touch = await loadTouch(database.db, third);
  expect(Object.keys(touch?.recentMarketing ?? {})).toEqual([countedAs(second, 1)]);
});

test('P2 P6 under a cap, too, a stop is seen by every claim that comes after it', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const [id = '', other = ''] = await dueEverywhere();
    const [token, stopped] = await Promise.all([
      claimed(id, 2),
      stopEnrollments(database.db, {
        who: { enrollmentId: other },
        outcome: 'unsubscribed',
        suppress: 'objection',
        now: new Date(),
      }),
    ]);
    expect(stopped.stopped).toHaveLength(CAMPAIGNS);
    if (token !== null) expect(await passGate(database.db, key(id), token, new Date())).toBe(false);
    expect(await claimed(id, 2)).toBeNull();
  }
});
