import { randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runReplayJournal } from '../../cli/replay-journal';
import type { JournalEntry } from '../../db/journal';
import { openJournalFile } from '../../db/journal-file';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
let directory: string;
beforeAll(async () => {
  database = await createTestDatabase(5);
});
afterAll(() => database.drop());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'journal-'));
});
afterEach(async () => await rm(directory, { recursive: true, force: true }));

async function replay(change: Record<string, string> = {}, from?: string, since?: string) {
  const env = {
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    SMTP_URL: 'smtp://127.0.0.1:1',
    RECUERDA_PUBLIC_URL: 'http://127.0.0.1:3000',
    RECUERDA_SECRET: 'a secret of the tests, long enough',
    ...change,
  };
  const said: string[] = [];
  const out = { write: (text: string) => said.push(text) };
  const code = await runReplayJournal(env, from, since === undefined ? {} : { since }, out);
  return { code, said: said.join('') };
}

test('P2 replays a directory, says what it did, and does it once; an erased lead is erased again', async () => {
  const { db } = database;
  const campaignId = await publishForTests(db);
  const [leaving, erased] = [requestBy(`${randomUUID()}@example.com`), requestBy(`${randomUUID()}@example.com`)];
  const enrollmentId = await enrollForTests(db, campaignId, leaving);
  const erasedId = await enrollForTests(db, campaignId, erased);
  const { lead_id: leadId } = await db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('id', '=', erasedId)
    .executeTakeFirstOrThrow();
  const at = new Date().toISOString();
  const entries: JournalEntry[] = [
    { id: randomUUID(), at, kind: 'stop', enrollmentId, outcome: 'unsubscribed' },
    { id: randomUUID(), at, kind: 'suppress', hashes: leaving.hashes, reason: 'objection', campaignId: null },
    { id: randomUUID(), at, kind: 'erase', leadId, hashes: erased.hashes },
    { id: randomUUID(), at, kind: 'stop', enrollmentId: randomUUID(), outcome: 'replied' },
  ];
  const file = openJournalFile(directory);
  await file.append(entries);
  await file.close();
  await appendFile(join(directory, 'broken.jsonl'), '{"id":');

  expect(await replay({ RECUERDA_JOURNAL: directory }, undefined, '2999-01-01T00:00:00Z')).toMatchObject({
    code: 0,
    said: expect.stringContaining('2 files, 0 entries, 1 lines that are none'),
  });
  const first = await replay({ RECUERDA_JOURNAL: directory });
  expect(first.code).toBe(0);
  expect(first.said).toMatch(/stop +1 +0 +1\n/);
  expect(first.said).toMatch(/suppress +1 +0 +0\n/);
  expect(first.said).toMatch(/erase +1 +0 +0\n/);
  expect(first.said).not.toContain('example.com');
  const lead = await db.selectFrom('lead').select(['email', 'name']).where('id', '=', leadId).executeTakeFirstOrThrow();
  expect(lead).toEqual({ email: null, name: '' });
  const second = await replay({}, directory);
  expect(second.said).toMatch(/stop +0 +1 +1\n/);
  expect(second.said).toMatch(/erase +0 +1 +0\n/);
});

test('without a journal, or with a time that is none, it says so and fails', async () => {
  expect(await replay()).toMatchObject({ code: 1, said: expect.stringContaining('RECUERDA_JOURNAL') });
  expect(await replay({}, directory)).toMatchObject({ code: 1, said: expect.stringContaining('no journal') });
  expect(await replay({}, directory, 'yesterday')).toMatchObject({ code: 1, said: expect.stringContaining('--since') });
  await expect(replay({}, join(directory, 'missing'))).rejects.toMatchObject({ code: 'ENOENT' });
});
