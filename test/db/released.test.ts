import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultActivityInfo, MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { sql } from 'kysely';
import { createActivities } from '../../activities';
import { createDb, type Db } from '../../db/client';
import { evidenceDocument } from '../../db/evidence';
import { exportLead } from '../../db/lead-export';
import { migrate } from '../../db/migrate';
import { campaignStats } from '../../db/stats';
import { stopEnrollments } from '../../db/stops';
import { evidencePublicKeyText, evidenceText, verifyEvidence } from '../../domain/evidence-document';
import { STREAMS } from '../../domain/streams';
import { type Carrier, createCarrier } from '../../mail/deliver/connections';
import { version } from '../../package.json';
import type { SendStepResult } from '../../workflows/contract';
import { publishForTests } from '../support/campaigns';
import { type Dump, dumpDatabase, loadDump, sha256, tablesInOrder } from '../support/dump';
import { eraseForTests, TEST_SIGNING_KEY } from '../support/erasing';
import { exitForTests } from '../support/exits';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, startSmtpSink } from '../support/smtp-sink';

// Every released migration lies in released/ as its checksum (released.json, by release) and as a dump: rows in every table,
// as that release's own code had written them. docs/versioning.md says how a release is added.

const ROOT = join(__dirname, '..', '..');
const MIGRATIONS = join(ROOT, 'db', 'migrations');
const FOLDER = join(__dirname, 'released');
/** Migrations by the release that they came with, and the checksums of their files. */
const RELEASES: Record<string, Record<string, string>> = require('./released/released.json');
const RELEASED = Object.values(RELEASES).flatMap((migrations) => Object.keys(migrations));
const THIS_RELEASE = version.split('.').slice(0, 2).join('.');

let sink: SmtpSink;
let carrier: Carrier;
const databases: TestDatabase[] = [];

beforeAll(async () => {
  sink = await startSmtpSink();
  carrier = createCarrier({ url: sink.url });
});
afterAll(async () => {
  await carrier.close();
  await sink.close();
  await Promise.all(databases.map((database) => database.drop()));
});

async function emptyDatabase(): Promise<TestDatabase> {
  const database = await createTestDatabase(5, 'template1');
  databases.push(database);
  return database;
}

async function dumpOf(migration: string): Promise<Dump> {
  return JSON.parse(await readFile(join(FOLDER, `${migration}.json`), 'utf8'));
}

const migrationFiles = async () =>
  (await readdir(MIGRATIONS)).map((file) => file.replace(/\.ts$/, '')).sort((a, b) => (a < b ? -1 : 1));

describe('what was released', () => {
  test('no released migration was edited since', async () => {
    for (const migrations of Object.values(RELEASES)) {
      for (const [name, checksum] of Object.entries(migrations)) {
        expect([name, sha256(await readFile(join(MIGRATIONS, `${name}.ts`), 'utf8'))]).toEqual([name, checksum]);
      }
    }
  });

  test('none was forgotten: what came with a release is listed and has a dump, what is being made comes after', async () => {
    const files = await migrationFiles();
    expect(files.slice(0, RELEASED.length)).toEqual(RELEASED);
    if (files.length > RELEASED.length) expect(Object.keys(RELEASES)).not.toContain(THIS_RELEASE);
    // A release is known by its histories.
    const releases = (await readdir(join(ROOT, 'test', 'replay'))).filter((release) => release !== THIS_RELEASE);
    expect(Object.keys(RELEASES)).toEqual(expect.arrayContaining(releases));
    expect((await readdir(FOLDER)).sort()).toEqual([...RELEASED.map((name) => `${name}.json`), 'released.json']);
  });

  test('this release has its histories', async () => {
    expect(await readdir(join(ROOT, 'test', 'replay'))).toContain(THIS_RELEASE);
  });

  // RECORD_DATABASE=<migration> RECORD_FROM=<URL of a database> npx jest test/db/released
  (process.env.RECORD_DATABASE === undefined ? test.skip : test)('a dump is recorded', async () => {
    const db = createDb({ url: process.env.RECORD_FROM ?? '', maxConnections: 1, onError: () => {} });
    try {
      const dump = await dumpDatabase(db);
      expect(Object.keys(dump).sort()).toEqual((await tablesInOrder(db)).sort());
      await writeFile(join(FOLDER, `${process.env.RECORD_DATABASE}.json`), dumpText(dump));
    } finally {
      await db.destroy();
    }
  });
});

/** One row a line. */
function dumpText(dump: Dump): string {
  const tables = Object.entries(dump).map(
    ([table, rows]) => ` ${JSON.stringify(table)}: [\n${rows.map((row) => `  ${JSON.stringify(row)}`).join(',\n')}\n ]`,
  );
  return `{\n${tables.join(',\n')}\n}\n`;
}

describe.each(RELEASED)('a database of %s, with data in every table', (migration) => {
  let db: Db;
  let before: Dump;
  beforeAll(async () => {
    ({ db } = await emptyDatabase());
    await migrate(db, migration);
    await loadDump(db, await dumpOf(migration));
    before = await dumpDatabase(db);
    expect(Object.keys(before).sort()).toEqual((await tablesInOrder(db)).sort());
    await migrate(db);
  });

  test('every row is there after the migration, as it was, and every constraint holds', async () => {
    const after = await dumpDatabase(db);
    for (const [table, rows] of Object.entries(before)) {
      const columns = Object.keys(rows[0] ?? {});
      const left = new Set(after[table]?.map((row) => JSON.stringify(columns.map((column) => row[column]))));
      const lost = rows.filter((row) => !left.has(JSON.stringify(columns.map((column) => row[column]))));
      expect([table, lost]).toEqual([table, []]);
    }
    const { rows } = await sql`select conname from pg_constraint where not convalidated`.execute(db);
    expect(rows).toEqual([]);
  });

  test('migrating again changes nothing', async () => {
    const once = await dumpDatabase(db);
    expect(await migrate(db)).toEqual([]);
    expect(await dumpDatabase(db)).toEqual(once);
  });

  test('P10, P11: journeys go on where they were, and stop', async () => {
    const open = await db
      .selectFrom('enrollment')
      .select(['id', 'step'])
      .where('outcome', 'is', null)
      .where('paused_at', 'is', null)
      .execute();
    const past = new Date(Date.now() - 60_000);
    await db.updateTable('enrollment').set({ next_due_at: past }).where('outcome', 'is', null).execute();
    const answers: SendStepResult[] = [];
    for (const { id, step } of open) answers.push(await touch(db, id, step));
    expect(answers.filter(({ kind }) => kind === 'next').length).toBeGreaterThan(0);
    const moved = await db
      .selectFrom('enrollment')
      .innerJoin('message', (join_) =>
        join_.onRef('message.enrollment_id', '=', 'enrollment.id').onRef('message.step', '<', 'enrollment.step'),
      )
      .select(['enrollment.id', 'message.state'])
      .where(
        'enrollment.id',
        'in',
        open.map(({ id }) => id),
      )
      .where('message.settled_at', '>', past)
      .where('message.state', '=', 'accepted')
      .execute();
    expect(moved.length).toBeGreaterThan(0);
    expect(sink.messages.length).toBeGreaterThanOrEqual(moved.length);

    for (const { id } of open) {
      await stopEnrollments(db, { who: { enrollmentId: id }, outcome: 'purchased', now: new Date() });
    }
    const still = await db.selectFrom('enrollment').select('id').where('outcome', 'is', null).execute();
    expect(still.filter(({ id }) => open.some((one) => one.id === id))).toEqual([]);
  });

  test('P7: what people agreed to is a whole chain, everything of them can be exported, and they can be erased', async () => {
    const leads = await db.selectFrom('lead').select('id').where('erased_at', 'is', null).execute();
    expect(leads.length).toBeGreaterThan(0);
    let entries = 0;
    for (const { id } of leads) {
      const document = await evidenceDocument(db, id, TEST_SIGNING_KEY, new Date());
      const verified = verifyEvidence(Buffer.from(evidenceText(document)), evidencePublicKeyText(TEST_SIGNING_KEY));
      expect(verified.faults).toEqual([]);
      entries += verified.entries.length;
      expect((await exportLead(db, id, 1, new Date())).evidence).toHaveLength(verified.entries.length);
    }
    expect(entries).toBeGreaterThan(0);
    for (const { id } of await db.selectFrom('campaign').select('id').execute()) {
      await campaignStats(db, id, new Date());
    }
    for (const { id } of leads) await eraseForTests(db, id);
    const known = await db.selectFrom('lead').select('id').where('email', 'is not', null).execute();
    expect(known).toEqual([]);
  });

  test('new people enter beside the old ones', async () => {
    const campaignId = await publishForTests(db);
    const id = await enrollForTests(db, campaignId, requestBy(`${randomUUID()}@correo.example`));
    expect(await touch(db, id, 0)).toMatchObject({ kind: 'next', step: 1 });
  });
});

/** One touch, on the queue that the step belongs to. */
async function touch(db: Db, enrollmentId: string, step: number): Promise<SendStepResult> {
  let answer: SendStepResult | undefined;
  for (const stream of STREAMS) {
    const { sendStep } = createActivities({
      db,
      exit: exitForTests(stream, carrier),
      replyAddress: null,
      publicUrl: 'https://recuerda.example',
      tokenKeys: TEST_TOKEN_KEYS,
      addressKeys: TEST_ADDRESS_KEYS,
      timeFactor: 1,
      mailBlocked: null,
    });
    const environment = new MockActivityEnvironment(defaultActivityInfo, { logger: new DefaultLogger('ERROR') });
    answer = (await environment.run(sendStep, { enrollmentId, step, now: 0 })) as SendStepResult;
    if (answer.kind !== 'next' || answer.step !== step) return answer;
  }
  return answer as SendStepResult;
}

describe('while releases overlap', () => {
  test.each(RELEASED)('what the release of %s writes is taken by today’s tables', async (migration) => {
    const { db } = await emptyDatabase();
    await migrate(db);
    const dump = await dumpOf(migration);
    await loadDump(db, dump);
    const after = await dumpDatabase(db);
    for (const [table, rows] of Object.entries(dump))
      expect([table, after[table]?.length]).toEqual([table, rows.length]);
  });

  test('processes that migrate at the same time: all succeed, and each migration was applied once', async () => {
    const { db, url } = await emptyDatabase();
    const outputs = await Promise.all([migrateProcess(url), migrateProcess(url), migrateProcess(url)]);
    // Each migration is a transaction of its own, so they may share them.
    const applied = outputs.flatMap((output) => /^Applied: (.+)\n$/.exec(output)?.[1]?.split(', ') ?? []);
    expect(applied.sort()).toEqual(await migrationFiles());
    expect(await migrate(db)).toEqual([]);
  });
});

/** `recuerda migrate`, in a process of its own. @returns what it wrote */
async function migrateProcess(databaseUrl: string): Promise<string> {
  const env = {
    PATH: process.env.PATH,
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    SMTP_URL: 'smtp://127.0.0.1:1',
    RECUERDA_PUBLIC_URL: 'http://localhost:3000',
    RECUERDA_SECRET: 'a'.repeat(64),
  };
  return await new Promise((resolve, reject) => {
    execFile(process.execPath, [join(ROOT, 'cli', 'recuerda.js'), 'migrate'], { env }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(stderr || error.message));
    });
  });
}
