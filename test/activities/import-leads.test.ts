import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MockActivityEnvironment } from '@temporalio/testing';
import { sql } from 'kysely';
import { createAbandonImport } from '../../activities/import-leads';
import type { Db } from '../../db/client';
import { storeUpload } from '../../db/imports';
import { recordPurchase } from '../../db/purchases';
import { stopEnrollments } from '../../db/stops';
import { hashAddress } from '../../domain/address-hash';
import { encode, inPieces } from '../domain/leads-file/dirty-file';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { dirtyImport, headcount, importForTests, importOf, runImport } from '../support/imports';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
let children: ChildProcess[];

beforeEach(async () => {
  database = await createTestDatabase();
  children = [];
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await database.drop();
});

async function chunksLeft(): Promise<number> {
  const row = await database.db
    .selectFrom('lead_import_chunk')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

async function totalOf(db: Db, importId: string): Promise<number> {
  return (await db.selectFrom('lead_import').select('total').where('id', '=', importId).executeTakeFirstOrThrow())
    .total;
}

async function enrollmentOf(email: string) {
  return await database.db
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .selectAll('e')
    .select(['l.name', 'l.attributes', 'l.time_zone', 'l.locale'])
    .where('l.email', '=', email)
    .orderBy('e.enrolled_at', 'desc')
    .executeTakeFirstOrThrow();
}

async function suppress(email: string, suppression: 'objection' | 'complaint' = 'objection') {
  await stopEnrollments(database.db, {
    who: { hashes: hashAddress(email, TEST_ADDRESS_KEYS) },
    outcome: suppression === 'complaint' ? 'complained' : 'unsubscribed',
    suppress: suppression,
    now: new Date(),
  });
}

describe('a file of leads', () => {
  test('every data line counts once, and every rejected one is told with its number and reason', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const file = dirtyImport(1_500);
    const importId = await importForTests(db, campaignId, file.bytes);

    expect(await runImport(db, importId)).toEqual({ state: 'completed' });

    const view = await importOf(db, importId);
    expect(view).toMatchObject({ state: 'completed', failure: null, encoding: 'windows-1252', ...file.counts });
    expect(view.errors).toEqual(file.errors);
    expect(view.finishedAt).not.toBeNull();
    const people = file.counts.created;
    expect(await headcount(db, campaignId)).toEqual({
      leads: people,
      enrollments: people,
      consents: people,
      events: people,
      twice: 0,
    });
    expect(await chunksLeft()).toBe(0);
  });

  test('P7 each lead carries the consent of the file, dated when they asked', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const csv =
      'Correo,Nombre,Fecha,Idioma,Zona horaria,Ciudad\nana@correo.example,Ana,03/09/2025,inglés,Atlantic/Canary,Teror\n' +
      'bea@correo.example,Bea,,,,\n';
    const importId = await importForTests(db, campaignId, csv);
    await runImport(db, importId);

    const view = await importOf(db, importId);
    const ana = await enrollmentOf('ana@correo.example');
    expect(ana).toMatchObject({ name: 'Ana', time_zone: 'Atlantic/Canary', locale: 'en', priority: 4, step: 0 });
    expect(ana.attributes).toEqual({ ciudad: 'Teror' });
    expect(ana.requested_at.toISOString()).toBe('2025-09-03T11:00:00.000Z');
    expect(ana.agreed_at).toEqual(ana.requested_at);
    const bea = await enrollmentOf('bea@correo.example');
    expect(bea.agreed_at).toEqual(view.createdAt);
    const consents = await db.selectFrom('consent').selectAll().orderBy('captured_at').execute();
    expect(consents.map((consent) => [consent.purpose, consent.text, consent.source, consent.captured_at])).toEqual([
      ['nudges', 'Sí, escríbanme sobre la cafetera.', 'ficha de la feria', ana.requested_at],
      ['nudges', 'Sí, escríbanme sobre la cafetera.', 'ficha de la feria', view.createdAt],
    ]);
    const event = await db.selectFrom('event').selectAll().where('enrollment_id', '=', ana.id).executeTakeFirst();
    expect(event).toMatchObject({ kind: 'enrolled', detail: { via: `import:${importId}`, consent: 'nudges' } });
  });

  test('P7 a purpose that is not for nudges leaves them without one, so they end as informed', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const importId = await importForTests(db, campaignId, 'email\nana@correo.example\n', { purpose: 'information' });
    await runImport(db, importId);
    expect((await enrollmentOf('ana@correo.example')).agreed_at).toBeNull();
    expect(await db.selectFrom('consent').select('purpose').execute()).toEqual([{ purpose: 'information' }]);
  });

  test('warnings are told beside the lines they are about, which are taken in', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const csv = 'email;fecha;idioma\nana@correo.example;ayer;klingon\nbea@correo.example;;es\n';
    const importId = await importForTests(db, campaignId, csv);
    await runImport(db, importId);
    expect(await importOf(db, importId)).toMatchObject({
      total: 2,
      created: 2,
      warningCount: 2,
      errors: [],
      warnings: [
        { line: 2, column: 'idioma', reason: 'not a language: left out' },
        { line: 2, column: 'fecha', reason: 'not a date: left out' },
      ],
    });
  });

  test('of lines with the same address the first enrolls, and what later ones add is kept', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const csv = `email,city\n${Array.from({ length: 450 }, (_, at) => `${at % 2 ? 'Ana' : 'ana'}@correo.example,c${at}`).join('\n')}`;
    const importId = await importForTests(db, campaignId, csv);
    await runImport(db, importId);
    expect(await importOf(db, importId)).toMatchObject({ total: 450, created: 1, existing: 449, rejected: 0 });
    expect((await enrollmentOf('ana@correo.example')).attributes).toEqual({ city: 'c449' });
  });

  test('a second import of the same file creates nobody', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const file = dirtyImport(600);
    await runImport(db, await importForTests(db, campaignId, file.bytes));
    const before = await headcount(db, campaignId);

    const again = await importForTests(db, campaignId, file.bytes);
    await runImport(db, again);

    const { total, created, existing, rejected } = file.counts;
    expect(await importOf(db, again)).toMatchObject({ total, created: 0, existing: created + existing, rejected });
    expect(await headcount(db, campaignId)).toEqual(before);
  });

  test('P6 a re-import refuses suppressed addresses, each with its reason', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const other = await publishForTests(db, definitionForTests(2));
    const csv =
      'email\nana@correo.example\nbea@correo.example\ncarla@correo.example\nana@correo.example\ndora@correo.example';
    await runImport(db, await importForTests(db, campaignId, csv));
    await suppress('ana@correo.example');
    await suppress('bea@correo.example', 'complaint');
    await stopEnrollments(db, {
      who: { hashes: hashAddress('carla@correo.example', TEST_ADDRESS_KEYS) },
      outcome: 'unsubscribed',
      suppress: 'campaign',
      campaignId,
      now: new Date(),
    });

    const again = await importForTests(db, campaignId, csv);
    await runImport(db, again);
    expect(await importOf(db, again)).toMatchObject({
      total: 5,
      created: 0,
      existing: 1,
      rejected: 4,
      errors: [
        { line: 2, column: null, reason: 'suppressed: objection' },
        { line: 3, column: null, reason: 'suppressed: complaint' },
        { line: 4, column: null, reason: 'suppressed: campaign' },
        { line: 5, column: null, reason: 'suppressed: objection' },
      ],
    });
    const elsewhere = await importForTests(db, other, csv);
    await runImport(db, elsewhere);
    expect(await importOf(db, elsewhere)).toMatchObject({ total: 5, created: 2, existing: 0, rejected: 3 });
  });

  test('P2 who has bought since they asked is refused', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    await recordPurchase(db, {
      who: { hashes: hashAddress('ana@correo.example', TEST_ADDRESS_KEYS) },
      orderId: 'A-1',
      now: new Date(),
    });
    const csv = 'email;fecha\nana@correo.example;03/09/2025\nbea@correo.example;03/09/2025\n';
    const importId = await importForTests(db, campaignId, csv);
    await runImport(db, importId);
    expect(await importOf(db, importId)).toMatchObject({
      total: 2,
      created: 1,
      rejected: 1,
      errors: [{ line: 2, column: null, reason: 'has bought since they asked' }],
    });
  });

  test('P1 who is open already is not asked again by a file', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const enrollmentId = await enrollForTests(db, campaignId, requestBy('ana@correo.example'));
    await runImport(db, await importForTests(db, campaignId, 'email\nana@correo.example\n'));
    const row = await enrollmentOf('ana@correo.example');
    expect(row).toMatchObject({ id: enrollmentId, info_copies: 0, info_due_at: null, signal_at: null });
  });

  test.each(['utf-8', 'utf-16le', 'utf-16be', 'windows-1252'] as const)('is read whole in %s', async (encoding) => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const lines = Array.from({ length: 9_000 }, (_, at) => `lead${at}@correo.example;Íñigo Núñez;${'ñ'.repeat(30)} €`);
    const bytes = encode(`Correo;Nombre;Ciudad\r\n${lines.join('\r\n')}`, encoding, encoding.startsWith('utf-16'));
    expect(bytes.length).toBeGreaterThan(2 * 256 * 1024);
    const importId = await importForTests(db, campaignId, bytes);
    await runImport(db, importId);
    expect(await importOf(db, importId)).toMatchObject({ encoding, total: 9_000, created: 9_000, rejected: 0 });
    const last = await enrollmentOf('lead8999@correo.example');
    expect(last).toMatchObject({ name: 'Íñigo Núñez', attributes: { ciudad: `${'ñ'.repeat(30)} €` } });
  });
});

describe('a file that can not be taken in', () => {
  test('P12 no column of addresses: failed with words for its owner, nothing of them for Temporal', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const importId = await importForTests(db, campaignId, 'Número;Ana Pérez\n1;2\n');
    expect(await runImport(db, importId)).toEqual({ state: 'failed' });
    const view = await importOf(db, importId);
    expect(view).toMatchObject({ state: 'failed', total: 0 });
    expect(view.failure).toContain('"Ana Pérez"');
    expect(await chunksLeft()).toBe(0);
    expect(await runImport(db, importId)).toEqual({ state: 'failed' });
  });

  test('P12 a campaign that is cancelled half-way: failed, what was counted stays', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const csv = `email\n${Array.from({ length: 600 }, (_, at) => `lead${at}@correo.example`).join('\n')}`;
    const importId = await importForTests(db, campaignId, csv);
    // The second batch finds the campaign cancelled.
    await sql`
      create function cancel() returns trigger language plpgsql as $$ begin
        update campaign set cancelled_at = now() where id = new.campaign_id; return new; end $$`.execute(db);
    await sql`create trigger cancel after update on lead_import for each row when (new.total = 200)
      execute function cancel()`.execute(db);
    expect(await runImport(db, importId)).toEqual({ state: 'failed' });
    const view = await importOf(db, importId);
    expect(view).toMatchObject({ state: 'failed', total: 200, created: 200 });
    expect(view.failure).toContain('cancelled');
    expect((await headcount(db, campaignId)).leads).toBe(200);
  });

  test('one line that Postgres refuses keeps no other out', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    await sql`
      create function refuse() returns trigger language plpgsql as $$ begin
        if new.email = 'lead77@correo.example' then raise sqlstate '22021'; end if; return new; end $$`.execute(db);
    await sql`create trigger refuse before insert on lead for each row execute function refuse()`.execute(db);
    const csv = `email\n${Array.from({ length: 300 }, (_, at) => `lead${at}@correo.example`).join('\n')}`;
    const importId = await importForTests(db, campaignId, csv);
    expect(await runImport(db, importId)).toEqual({ state: 'completed' });
    expect(await importOf(db, importId)).toMatchObject({
      total: 300,
      created: 299,
      rejected: 1,
      errors: [{ line: 79, column: null, reason: 'the line can not be stored' }],
    });
    expect((await headcount(db, campaignId)).leads).toBe(299);
  });

  test('P5 a fault of the database is thrown by its code, without what it quotes, and the next attempt goes on', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    await sql`
      create function break() returns trigger language plpgsql as $$ begin
        if new.email = 'lead299@correo.example' then raise 'no room for %', new.email using errcode = '53100'; end if;
        return new; end $$`.execute(db);
    await sql`create trigger break before insert on lead for each row execute function break()`.execute(db);
    const csv = `email\n${Array.from({ length: 300 }, (_, at) => `lead${at}@correo.example`).join('\n')}`;
    const importId = await importForTests(db, campaignId, csv);

    const fault = await runImport(db, importId).then(
      () => undefined,
      (error: Error & { type?: string }) => error,
    );
    expect(fault).toMatchObject({ type: '53100' });
    expect(`${fault?.message} ${fault?.stack} ${JSON.stringify(fault)}`).not.toContain('correo.example');
    expect(fault?.cause).toBeUndefined();
    expect(await importOf(db, importId)).toMatchObject({ state: 'running', total: 200, created: 200 });

    await sql`drop trigger break on lead`.execute(db);
    expect(await runImport(db, importId)).toEqual({ state: 'completed' });
    expect(await importOf(db, importId)).toMatchObject({ total: 300, created: 300 });
  });
});

describe('an import that is interrupted', () => {
  test('P3, P4 killed again and again: it goes on, nobody is doubled and the counts are exact', async () => {
    const { db, url } = database;
    const campaignId = await publishForTests(db);
    const file = dirtyImport(9_000);
    const importId = await importForTests(db, campaignId, file.bytes);
    const seen: number[] = [];

    for (let kill = 0; ; kill++) {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', join(__dirname, 'fixtures', 'importing.ts'), url, importId],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      children.push(child);
      let said = '';
      child.stdout?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      const ended = once(child, 'exit');
      if (kill < 5) {
        const before = seen.at(-1) ?? 0;
        while ((await totalOf(db, importId)) === before && child.exitCode === null) await sleep(2);
        // At any moment: between two batches, or in the middle of one.
        await sleep(Math.random() * 100);
        child.kill('SIGKILL');
      }
      await ended;
      seen.push((await importOf(db, importId)).total);
      if (said.includes('completed')) break;
    }

    // Every attempt but the last died half-way, each further on than the one before.
    expect(seen.length).toBe(6);
    expect(new Set(seen).size).toBe(6);
    const view = await importOf(db, importId);
    expect(view).toMatchObject({ state: 'completed', ...file.counts });
    expect(view.errors).toEqual(file.errors);
    const people = file.counts.created;
    expect(await headcount(db, campaignId)).toEqual({
      leads: people,
      enrollments: people,
      consents: people,
      events: people,
      twice: 0,
    });
  });

  test('P3 two attempts at the same time: one gives up, and everything counts once', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const file = dirtyImport(3_000);
    const importId = await importForTests(db, campaignId, file.bytes);
    const attempts = await Promise.allSettled([runImport(db, importId), runImport(db, importId)]);
    const faults = attempts.flatMap((attempt) => (attempt.status === 'rejected' ? [attempt.reason.type] : []));
    expect(faults.length).toBeLessThan(2);
    for (const type of faults) expect(['superseded', 'Error']).toContain(type);
    expect(await importOf(db, importId)).toMatchObject({ state: 'completed', ...file.counts });
    expect(await headcount(db, campaignId)).toMatchObject({ leads: file.people, enrollments: file.people, twice: 0 });
  });

  test('two files of the same people at the same time, in opposite order: nobody twice, no line lost', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const emails = Array.from({ length: 3_000 }, (_, at) => `lead${at}@correo.example`);
    const one = await importForTests(db, campaignId, `email\n${emails.join('\n')}`);
    const two = await importForTests(db, campaignId, `email\n${[...emails].reverse().slice(0, 2_500).join('\n')}`);
    // Both meet in the middle, batch after batch.
    expect(await Promise.all([runImport(db, one), runImport(db, two)])).toEqual([
      { state: 'completed' },
      { state: 'completed' },
    ]);
    const [first, second] = [await importOf(db, one), await importOf(db, two)];
    expect(first).toMatchObject({ total: 3_000, rejected: 0 });
    expect(second).toMatchObject({ total: 2_500, rejected: 0 });
    expect(first.created + second.created).toBe(3_000);
    expect(await headcount(db, campaignId)).toMatchObject({ leads: 3_000, enrollments: 3_000, twice: 0 });
  });

  test('a process that is told to stop gives the import back between two batches', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const importId = await importForTests(db, campaignId, dirtyImport(400).bytes);
    await expect(runImport(db, importId, { deps: { stopping: AbortSignal.abort() } })).rejects.toMatchObject({
      type: 'stopping',
    });
    expect(await importOf(db, importId)).toMatchObject({ state: 'running', total: 0 });
    expect(await runImport(db, importId)).toEqual({ state: 'completed' });
  });

  test('P12 cancelled by an operator: it ends as failed, and an attempt that still runs changes nothing more', async () => {
    const { db } = database;
    const campaignId = await publishForTests(db);
    const importId = await importForTests(db, campaignId, dirtyImport(400).bytes);
    const environment = new MockActivityEnvironment();
    environment.cancel('CANCELLED');
    await expect(runImport(db, importId, { environment })).rejects.toMatchObject({ name: 'CancelledFailure' });

    expect(await environment.run(createAbandonImport({ db }), { importId })).toEqual({ state: 'failed' });
    expect(await runImport(db, importId)).toEqual({ state: 'failed' });
    const view = await importOf(db, importId);
    expect(view).toMatchObject({ state: 'failed', total: 0 });
    expect(view.failure).toContain('operator');
    expect(await chunksLeft()).toBe(0);
  });

  test('an upload whose source breaks off leaves nothing', async () => {
    const whole = Buffer.alloc(600 * 1024, 'a');
    async function* broken() {
      yield* inPieces(whole);
      throw new Error('the line is dead');
    }
    await expect(storeUpload(database.db, broken())).rejects.toThrow('the line is dead');
    expect(await chunksLeft()).toBe(0);
  });
});
