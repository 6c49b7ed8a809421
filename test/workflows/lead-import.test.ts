import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { sql } from 'kysely';
import pino from 'pino';
import { createAbandonImport } from '../../activities/import-leads';
import { buildApp } from '../../api/app';
import { importFile } from '../../cli/import';
import type { Config } from '../../config';
import { freePort } from '../../stack/ports';
import { startTemporal, type TemporalServer } from '../../stack/temporal-server';
import { createTemporalClient } from '../../temporal/client';
import { createJourneys, startImport } from '../../temporal/journeys';
import { reconcileOnce } from '../../temporal/reconciler';
import { type RunningWorker, startWorker } from '../../worker';
import { importWorkflowId, JOURNEYS_QUEUE, type LeadImport } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { configForTests, installRuntime, silent, workflowBundle } from '../support/engine';
import { dirtyImport, headcount, importForTests, importOf } from '../support/imports';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { publishedDns } from '../support/published-dns';
import { type SmtpSink, startSmtpSink } from '../support/smtp-sink';
import { door, eventually } from '../support/waiting';

let temporal: TemporalServer;
let client: Client;
let database: TestDatabase;
let sink: SmtpSink;
let config: Config;
let workers: RunningWorker[];

beforeEach(async () => {
  installRuntime();
  const cli = process.env.TEST_TEMPORAL_CLI;
  if (cli === undefined) throw new Error('TEST_TEMPORAL_CLI is set by test/support/global-setup.ts');
  temporal = await startTemporal({ cli, port: await freePort() });
  client = createTemporalClient({ address: temporal.address, namespace: 'default' });
  database = await createTestDatabase();
  sink = await startSmtpSink();
  config = configForTests(database, sink, temporal.address);
  workers = [];
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  await client.connection.close();
  await temporal.stop();
  await sink.close();
  await database.drop();
});

async function work(): Promise<RunningWorker> {
  const worker = await startWorker(config, silent, workflowBundle());
  workers.push(worker);
  return worker;
}

const handleOf = (importId: string) => client.workflow.getHandle<LeadImport>(importWorkflowId(importId));
const reconcile = () => reconcileOnce({ client, db: database.db, log: silent });
const emails = (count: number) => Array.from({ length: count }, (_, at) => `lead${at}@correo.example`).join('\n');

/** Keeps the journeys of whoever is enrolled from being started: this test is about the import alone. */
async function withoutJourneys(): Promise<void> {
  await sql`
    create function asleep() returns trigger language plpgsql as $$ begin
      new.started_at = now(); return new; end $$`.execute(database.db);
  await sql`create trigger asleep before insert on enrollment for each row execute function asleep()`.execute(
    database.db,
  );
}

/** Holds imports in the middle of the batch that brings them to `total` lines, until it is let go. */
async function holdAt(total: number) {
  await sql`
    create function hold() returns trigger language plpgsql as $$ begin
      perform pg_advisory_xact_lock(42); return new; end $$`.execute(database.db);
  await sql`create trigger hold after update on lead_import for each row
    when (new.total = ${sql.lit(total)} and old.total < new.total) execute function hold()`.execute(database.db);
  let letGo = () => {};
  const gone = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  let taken = () => {};
  const isTaken = new Promise<void>((resolve) => {
    taken = resolve;
  });
  const holding = database.db.connection().execute(async (connection) => {
    await sql`select pg_advisory_lock(42)`.execute(connection);
    taken();
    await gone;
    await sql`select pg_advisory_unlock(42)`.execute(connection);
  });
  await isTaken;
  return {
    reached: async () =>
      await eventually(async () => {
        const waiting = await sql`select 1 from pg_locks where locktype = 'advisory' and not granted
          and database = (select oid from pg_database where datname = current_database())`.execute(database.db);
        return waiting.rows.length > 0;
      }),
    letGo: async () => {
      letGo();
      await holding;
    },
  };
}

test('P4, P5 from the command line to the mail: every good line gets its information, and Temporal knows no name', async () => {
  const { db } = database;
  const journeys = createJourneys(client, db, silent);
  const app = await buildApp({
    db,
    journeys,
    config,
    clock: () => new Date(),
    dns: publishedDns({}),
    logger: pino({ level: 'silent' }),
  });
  const folder = await mkdtemp(join(tmpdir(), 'recuerda-import-'));
  try {
    await app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = app.server.address() as AddressInfo;
    await work();
    const campaignId = await publishForTests(db, definitionForTests(1));
    const file = dirtyImport(120);
    await writeFile(join(folder, 'leads.csv'), file.bytes);
    let printed = '';
    const code = await importFile(
      {},
      folder,
      join(folder, 'leads.csv'),
      {
        campaign: campaignId,
        purpose: 'nudges',
        consentText: 'Sí, escríbanme.',
        source: 'feria',
        mapping: ['email=Correo electrónico'],
        url: `http://127.0.0.1:${port}/`,
        key: config.apiKeys[0] as string,
        errors: join(folder, 'errors.csv'),
      },
      {
        write: (text) => {
          printed += text;
        },
      },
    );

    expect(printed).toMatch(/State +completed\n/);
    expect(code).toBe(0);
    expect(printed).toMatch(new RegExp(`New leads +${file.counts.created}\n`));
    expect(printed).toMatch(new RegExp(`Rejected +${file.counts.rejected}\n`));
    const written = readFileSync(join(folder, 'errors.csv'), 'utf8').trim().split('\r\n');
    expect(written).toEqual([
      'line,column,reason',
      ...file.errors.map(({ line, column, reason }) => `${line},${column},${reason}`),
    ]);

    await eventually(() => sink.messages.length >= file.people);
    const mails = sink.messages;
    expect(new Set(mails.map((mail) => mail.to.toLowerCase())).size).toBe(file.people);
    expect(mails).toHaveLength(file.people);

    const [importId] = (await db.selectFrom('lead_import').select('id').execute()).map((row) => row.id);
    const handle = handleOf(importId as string);
    expect(await handle.result()).toEqual({ state: 'completed' });
    const stored = JSON.stringify([await handle.fetchHistory(), (await handle.describe()).raw]).replaceAll(
      /"data":"([^"]*)"/g,
      (_, data: string) => Buffer.from(data, 'base64').toString('utf8'),
    );
    expect(stored).toContain('"state":"completed"');
    for (const secret of ['gmail', 'Íñigo', 'Núñez', 'Correo', 'feria', 'críban']) expect(stored).not.toContain(secret);
  } finally {
    await app.close();
    await journeys.settled();
    await rm(folder, { recursive: true });
  }
});

test('the command tells why a file is refused', async () => {
  const app = await buildApp({
    db: database.db,
    journeys: createJourneys(client, database.db, silent),
    config,
    clock: () => new Date(),
    dns: publishedDns({}),
    logger: pino({ level: 'silent' }),
  });
  const folder = await mkdtemp(join(tmpdir(), 'recuerda-import-'));
  try {
    await app.listen({ host: '127.0.0.1', port: 0 });
    const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
    const campaign = await publishForTests(database.db);
    const file = join(folder, 'phones.csv');
    await writeFile(file, `Nombre;Teléfono\n${'Ana;600000000\n'.repeat(500_000)}`);
    const run = async (change: object, path = file) => {
      let printed = '';
      const options = {
        campaign,
        purpose: 'nudges',
        consentText: 'Sí.',
        source: 'feria',
        url,
        key: config.apiKeys[0] as string,
      };
      const code = await importFile(
        {},
        folder,
        path,
        { ...options, ...change },
        { write: (text) => (printed += text) },
      );
      expect(code).toBe(1);
      return printed;
    };
    expect(await run({})).toContain('no column holds e-mail addresses');
    expect(await run({ purpose: 'spam' })).toContain('must be one of');
    expect(await run({ key: 'a-key-that-is-not-known' })).toContain('not known');
    expect(await run({ campaign: 'x' })).toContain('UUID');
    expect(await run({ mapping: ['Correo'] })).toContain('email=Correo');
    expect(await run({}, join(folder, 'none.csv'))).toContain('no such file');
    expect(await run({ url: undefined, key: undefined })).toContain('nothing is running');
  } finally {
    await app.close();
    await rm(folder, { recursive: true });
  }
});

test('P3, P4 a worker that is stopped half-way: the next one goes on, nobody is doubled', async () => {
  const { db } = database;
  const campaignId = await publishForTests(db, definitionForTests(1));
  await withoutJourneys();
  const importId = await importForTests(db, campaignId, `email\n${emails(1_000)}`);
  const hold = await holdAt(600);
  const first = await work();
  await hold.reached();
  const stopping = first.stop();
  await hold.letGo();
  await stopping;
  // The batch under way was finished, and no other begun.
  expect(await importOf(db, importId)).toMatchObject({ state: 'running', total: 600, created: 600 });

  await work();
  expect(await handleOf(importId).result()).toEqual({ state: 'completed' });
  expect(await importOf(db, importId)).toMatchObject({ state: 'completed', total: 1_000, created: 1_000 });
  expect(await headcount(db, campaignId)).toMatchObject({ leads: 1_000, enrollments: 1_000, twice: 0 });
});

test('P4 the reconciler starts what was never started, once, and what has stalled again', async () => {
  const { db } = database;
  const campaignId = await publishForTests(db, definitionForTests(1));
  const importId = await importForTests(db, campaignId, `email\n${emails(3)}`);
  expect(await reconcile()).toMatchObject({ imports: 1 });
  expect(await reconcile()).toMatchObject({ imports: 0 });

  await handleOf(importId).terminate();
  const hourAgo = new Date(Date.now() - 3_600_000);
  const later = { progress_at: hourAgo, leased_until: hourAgo };
  await db.updateTable('lead_import').set(later).where('id', '=', importId).execute();
  expect(await reconcile()).toMatchObject({ imports: 1 });
  expect(await reconcile()).toMatchObject({ imports: 0 });
  await work();
  expect(await handleOf(importId).result()).toEqual({ state: 'completed' });
  expect(await importOf(db, importId)).toMatchObject({ state: 'completed', total: 3, created: 3 });
  await db.updateTable('lead_import').set(later).where('id', '=', importId).execute();
  expect(await reconcile()).toMatchObject({ imports: 0 });
});

test('P12 cancelled in the Temporal UI, before or half-way: it ends as failed, and says so', async () => {
  const { db } = database;
  const campaignId = await publishForTests(db, definitionForTests(1));
  const waiting = await importForTests(db, campaignId, `email\n${emails(3)}`);
  await startImport(client, waiting);
  await handleOf(waiting).cancel();
  await work();
  expect(await handleOf(waiting).result()).toEqual({ state: 'failed' });
  expect(await importOf(db, waiting)).toMatchObject({
    state: 'failed',
    total: 0,
    failure: expect.stringContaining('operator'),
  });

  await withoutJourneys();
  const hold = await holdAt(400);
  const running = await importForTests(db, campaignId, `email\n${emails(1_000)}`);
  await startImport(client, running);
  await hold.reached();
  await handleOf(running).cancel();
  const cancelledAt = Date.now();
  // The answer to the next heartbeat brings the cancellation to the activity.
  await eventually(async () => {
    const { raw } = await handleOf(running).describe();
    return Number(raw.pendingActivities?.[0]?.lastHeartbeatTime?.seconds ?? 0) * 1000 > cancelledAt;
  });
  await hold.letGo();
  expect(await handleOf(running).result()).toEqual({ state: 'failed' });
  const view = await importOf(db, running);
  expect(view.state).toBe('failed');
  expect(view.total).toBeLessThan(1_000);
  expect((await headcount(db, campaignId)).leads).toBe(view.created);
});

test('P12 cancelled while its worker dies: it ends as failed, and says so', async () => {
  const { db } = database;
  const campaignId = await publishForTests(db, definitionForTests(1));
  const importId = await importForTests(db, campaignId, `email\n${emails(3)}`);
  const connection = await NativeConnection.connect({ address: temporal.address });
  const begun = door();
  const dead = door();
  // A worker that takes the import and is never heard of again.
  const dying = await Worker.create({
    connection,
    taskQueue: JOURNEYS_QUEUE,
    activities: {
      importLeads: async () => {
        begun.wait();
        await dead.wait();
      },
      abandonImport: createAbandonImport({ db }),
    },
    workflowBundle: workflowBundle(),
  });
  const running = dying.run();
  try {
    await startImport(client, importId);
    await begun.reached;
    await handleOf(importId).cancel();
    expect(await handleOf(importId).result()).toEqual({ state: 'failed' });
    expect(await importOf(db, importId)).toMatchObject({ state: 'failed', total: 0 });
  } finally {
    dead.open();
    dying.shutdown();
    await running;
    await connection.close();
  }
});
