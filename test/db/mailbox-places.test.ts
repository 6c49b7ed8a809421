import { sql } from 'kysely';
import { takeMailboxLock } from '../../db/mailbox-lock';
import { findPlace, keepMessage, type MailboxMessage, setPlace } from '../../db/mailbox-places';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { eventually } from '../support/waiting';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(async () => await database.drop());

const WHERE = { mailbox: 'imap:ventas@mail.test', folder: 'INBOX' };
const DAY_MS = 24 * 60 * 60_000;

function message(uid: number, change: Partial<MailboxMessage> = {}): MailboxMessage {
  const raw = Buffer.from(`Message-ID: <${uid}@mail.test>\r\n\r\n\0${uid}`);
  return { uidvalidity: 7n, uid, internalDate: new Date('2026-03-01T10:00:00Z'), raw, size: raw.length, ...change };
}

const begin = (lastUid = 0, uidvalidity = 7n) =>
  setPlace(database.db, WHERE, { uidvalidity, lastUid, lastInternalDate: new Date('2026-02-01T00:00:00Z') });
const rows = () => database.db.selectFrom('inbound').selectAll().orderBy('uid').execute();

test('P4 a message and the place behind it are written together', async () => {
  await begin();
  expect(await keepMessage(database.db, WHERE, message(4), true)).toBe(true);
  const raw = message(4).raw;
  expect(await rows()).toEqual([
    expect.objectContaining({
      source: WHERE.mailbox,
      folder: 'INBOX',
      uidvalidity: '7',
      uid: '4',
      raw,
      bytes: raw.length,
    }),
  ]);
  expect(await findPlace(database.db, WHERE)).toEqual({
    uidvalidity: 7n,
    lastUid: 4,
    lastInternalDate: new Date('2026-03-01T10:00:00Z'),
  });
});

test.each([
  ['inbound', 'fails', "raise exception 'no'"],
  ['mailbox_place', 'fails', "raise exception 'no'"],
  ['inbound', 'takes the connection with it', 'perform pg_terminate_backend(pg_backend_pid())'],
  ['mailbox_place', 'takes the connection with it', 'perform pg_terminate_backend(pg_backend_pid())'],
])('P4 when the write to %s %s, nothing of both is there, and the next try does both', async (table, _, fault) => {
  await begin();
  await keepMessage(database.db, WHERE, message(1), true);
  await sql
    .raw(`
      create function break() returns trigger language plpgsql as $$ begin ${fault}; return new; end $$;
      create trigger break after insert or update on ${table} for each row execute function break();
    `)
    .execute(database.db);
  await expect(keepMessage(database.db, WHERE, message(2), true)).rejects.toThrow();
  expect([(await rows()).length, (await findPlace(database.db, WHERE))?.lastUid]).toEqual([1, 1]);
  await sql.raw(`drop trigger break on ${table}`).execute(database.db);
  expect(await keepMessage(database.db, WHERE, message(2), true)).toBe(true);
  expect([(await rows()).length, (await findPlace(database.db, WHERE))?.lastUid]).toEqual([2, 2]);
});

test('the same message in another folder, or under another UID, is known; other bytes of its Message-ID are kept', async () => {
  await begin();
  expect(await keepMessage(database.db, WHERE, message(1), true)).toBe(true);
  expect(await keepMessage(database.db, WHERE, message(1), true)).toBe(false);
  expect(await keepMessage(database.db, WHERE, message(9, { raw: message(1).raw }), true)).toBe(false);
  const junk = { ...WHERE, folder: 'Junk' };
  await setPlace(database.db, junk, { uidvalidity: 3n, lastUid: 0, lastInternalDate: new Date() });
  expect(await keepMessage(database.db, junk, message(5, { raw: message(1).raw, uidvalidity: 3n }), true)).toBe(false);
  const edited = Buffer.concat([message(1).raw, Buffer.from('!')]);
  expect(await keepMessage(database.db, WHERE, message(10, { raw: edited }), true)).toBe(true);
  expect(await rows()).toHaveLength(2);
  // Another mailbox has its own.
  const other = { mailbox: 'imap:ana@mail.test', folder: 'INBOX' };
  expect(await keepMessage(database.db, other, message(1), false)).toBe(true);
});

test('other bytes under a UID that was given before are kept all the same', async () => {
  await begin();
  await keepMessage(database.db, WHERE, message(1), true);
  const other = message(1, { raw: Buffer.from('From: other@mail.test\r\n\r\n') });
  expect(await keepMessage(database.db, WHERE, other, false)).toBe(true);
  expect(await keepMessage(database.db, WHERE, other, false)).toBe(false);
  expect((await rows()).map(({ uid }) => uid)).toEqual(['1', null]);
});

test('while a folder is looked through again its place stays; a place of another UIDVALIDITY is not moved', async () => {
  await begin(50, 6n);
  expect(await keepMessage(database.db, WHERE, message(1), false)).toBe(true);
  expect(await findPlace(database.db, WHERE)).toMatchObject({ uidvalidity: 6n, lastUid: 50 });
  await expect(keepMessage(database.db, WHERE, message(2), true)).rejects.toMatchObject({ code: 'PLACE_MOVED' });
  expect(await rows()).toHaveLength(1);
  await begin(2, 7n);
  expect(await keepMessage(database.db, WHERE, message(1), true)).toBe(false);
  expect((await findPlace(database.db, WHERE))?.lastUid).toBe(2);
});

test('a date in the future is kept as now, and hides no later mail', async () => {
  await begin();
  const future = new Date(Date.now() + 400 * DAY_MS);
  await keepMessage(database.db, WHERE, message(1, { internalDate: future }), true);
  const place = await findPlace(database.db, WHERE);
  expect(place?.lastInternalDate.getTime()).toBeLessThanOrEqual(Date.now() + 5_000);
  expect((await rows())[0]?.received_at.getTime()).toBeLessThanOrEqual(Date.now() + 5_000);
  await keepMessage(database.db, WHERE, message(2, { internalDate: new Date('2020-01-01T00:00:00Z') }), true);
  expect((await findPlace(database.db, WHERE))?.lastInternalDate).toEqual(place?.lastInternalDate);
});

test('of a message that was cut the whole size is told', async () => {
  await begin();
  await keepMessage(database.db, WHERE, message(1, { size: 40_000_000 }), true);
  expect((await rows())[0]).toMatchObject({ bytes: 40_000_000, raw: message(1).raw });
});

test('a mailbox is locked by one process at a time, and free again as soon as that one is gone', async () => {
  const { url } = database;
  const first = await takeMailboxLock(url, 'imap:a');
  expect(await takeMailboxLock(url, 'imap:a')).toBeNull();
  const other = await takeMailboxLock(url, 'imap:b');
  expect(other).not.toBeNull();
  await first?.release();
  await first?.release();
  const second = await eventually(() => takeMailboxLock(url, 'imap:a'));
  expect(second.lost.aborted).toBe(false);

  await sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'recuerda inbox lock' and datname = current_database()
  `.execute(database.db);
  await eventually(() => second.lost.aborted && other?.lost.aborted);
  expect(second.lost.reason).toMatchObject({ code: 'MAILBOX_LOCK_LOST' });
  const third = await eventually(() => takeMailboxLock(url, 'imap:a'));
  await third.release();
  await expect(takeMailboxLock('postgres://127.0.0.1:1/none', 'imap:a')).rejects.toMatchObject({
    code: 'ECONNREFUSED',
  });
});

test('a holder that nothing is heard of loses the lock, though its connection stands; one that shows itself keeps it', async () => {
  const silent = await takeMailboxLock(database.url, 'imap:a', { beatMs: 60_000, silentHolderMs: 1_000 });
  const alive = await takeMailboxLock(database.url, 'imap:b', { beatMs: 10, silentHolderMs: 20_000 });
  await eventually(() => silent?.lost.aborted);
  const next = await eventually(() => takeMailboxLock(database.url, 'imap:a'));
  expect(alive?.lost.aborted).toBe(false);
  await next.release();
  await alive?.release();
});
