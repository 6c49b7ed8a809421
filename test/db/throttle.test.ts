import { bucketOf, networkOf } from '../../api/throttles';
import { forgetThrottles, forgive, throttle } from '../../db/throttle';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => await database.drop());

const RULE = { hits: 3, windowMs: 60_000 };
const T0 = new Date('2026-03-01T10:00:00Z');
const later = (ms: number) => new Date(T0.getTime() + ms);

test('so many tries are let through in each stretch of time, and how long to wait is told', async () => {
  const { db } = database;
  for (let i = 0; i < 3; i++) expect(await throttle(db, 'a', RULE, later(i * 1000))).toBeNull();
  expect(await throttle(db, 'a', RULE, later(10_000))).toBe(50_000);
  expect(await throttle(db, 'b', RULE, later(10_000))).toBeNull();
  expect(await throttle(db, 'a', RULE, later(60_000))).toBeNull();
});

test('tries at the same time are each counted', async () => {
  const { db } = database;
  const waits = await Promise.all(Array.from({ length: 20 }, () => throttle(db, 'at once', RULE, T0)));
  expect(waits.filter((wait) => wait === null)).toHaveLength(3);
});

test('what is forgiven was never tried; nothing is forgiven twice below none', async () => {
  const { db } = database;
  for (let i = 0; i < 10; i++) {
    expect(await throttle(db, 'good', RULE, T0)).toBeNull();
    await forgive(db, 'good', RULE, T0);
  }
  await forgive(db, 'good', RULE, T0);
  for (let i = 0; i < 3; i++) expect(await throttle(db, 'good', RULE, T0)).toBeNull();
  expect(await throttle(db, 'good', RULE, T0)).toBe(60_000);
});

test('old counts are forgotten, newer ones not', async () => {
  const { db } = database;
  await db.deleteFrom('throttle').execute();
  await throttle(db, 'old', RULE, T0);
  await throttle(db, 'new', RULE, later(120_000));
  await forgetThrottles(db, 60_000, later(120_000));
  expect(await db.selectFrom('throttle').select('bucket').execute()).toEqual([{ bucket: 'new' }]);
});

test('a bucket tells nothing of what is counted, and is another one for another purpose or key', () => {
  const [one, two] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const bucket = bucketOf(one, 'account', 'ana@shop.example');
  expect(bucket).toMatch(/^[\w-]{43}$/);
  expect(bucketOf(one, 'account', 'ana@shop.example')).toBe(bucket);
  const others = [
    bucketOf(one, 'sign-in', 'ana@shop.example'),
    bucketOf(two, 'account', 'ana@shop.example'),
    bucketOf(one, 'account', 'bea@shop.example'),
  ];
  expect(new Set([bucket, ...others]).size).toBe(4);
});

test.each([
  ['198.51.100.7', '198.51.100.7'],
  ['::ffff:198.51.100.7', '198.51.100.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::1', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:db8:1:2::', '2001:db8:1:2::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
])('%s counts as %s', (ip, network) => {
  expect(networkOf(ip)).toBe(network);
});
