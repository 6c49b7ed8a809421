import { randomBytes, randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { Client } from 'pg';
import { messageIdsOf } from '../../cli/audit';
import { listPauses, mayLeave, pauseSending, recordFault, resumeAll } from '../../db/breaker';
import { migrateSome } from '../../db/campaign-migrations';
import { cancelCampaign } from '../../db/cancellations';
import { createDb, type Db, inTransaction } from '../../db/client';
import { type EnrollRequest, enroll } from '../../db/enrollments';
import { eraseLead } from '../../db/erasure';
import {
  beat,
  createJournal,
  dropJournal,
  flushJournal,
  type JournalEntry,
  type JournalFile,
  journalBacklog,
  noteForJournal,
} from '../../db/journal';
import { openJournalFile, readJournal } from '../../db/journal-file';
import { replayJournal } from '../../db/journal-replay';
import { pauseCampaign, pauseEnrollment, resumeCampaign, resumeEnrollment } from '../../db/pauses';
import { snoozeEnrollment } from '../../db/reopening';
import { noteAudit, noteReplay, noticeRestore } from '../../db/restored';
import { bounce, stopEnrollments } from '../../db/stops';
import { liftSuppressions } from '../../db/suppressions';
import { evidenceSigningKey } from '../../domain/evidence-document';
import { definitionForTests, publishAgainForTests, publishForTests, stepsForTests } from '../support/campaigns';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { beginMigration } from '../support/migrating';
import { backUp, createTestDatabase } from '../support/postgres';
import { tryClaim } from './racing';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'journal-'));
});
afterEach(async () => await rm(directory, { recursive: true, force: true }));

const erasing = (db: Db) => async (leadId: string, now: Date) => {
  const signingKey = evidenceSigningKey(Buffer.alloc(32, 9));
  const keys = { sealTo: null, sealedFor: 'P3Y', signingKey, addressKeys: TEST_ADDRESS_KEYS };
  await eraseLead(db, { leadId, by: 'journal', ...keys, now });
};

const deps = (erase: (leadId: string, now: Date) => Promise<void>) => ({
  erase,
  messageIdOf: messageIdsOf({ replyAddress: null, tokenKeys: TEST_TOKEN_KEYS }),
  counted: true,
});

const leadOf = async (db: Db, enrollmentId: string) =>
  (await db.selectFrom('enrollment').select('lead_id').where('id', '=', enrollmentId).executeTakeFirstOrThrow())
    .lead_id;
const outcomeOf = async (db: Db, enrollmentId: string) =>
  (await db.selectFrom('enrollment').select('outcome').where('id', '=', enrollmentId).executeTakeFirstOrThrow())
    .outcome;
const mayBeMailed = async (db: Db, enrollmentId: string) =>
  (await tryClaim(db, { enrollmentId, step: 0, copy: 0 })) !== null;
/** All that a replay could change. */
const everything = async (db: Db) => {
  const tables = [
    'address',
    'suppression',
    'lead',
    'enrollment',
    'message',
    'consent',
    'evidence',
    'event',
    'campaign',
  ];
  const rows = await Promise.all(
    [...tables, 'journal_outbox'].map((table) =>
      sql`select to_jsonb(t) as row from ${sql.table(table)} t order by 1`.execute(db),
    ),
  );
  return JSON.stringify(rows.map((result) => result.rows));
};

async function admin(statement: string): Promise<void> {
  const url = new URL(process.env.TEST_POSTGRES_URL ?? '');
  url.pathname = '/postgres';
  const client = new Client({ connectionString: url.href });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** A copy of a database as a backup would hold it. */
async function snapshotOf(url: string): Promise<{ open(): Promise<Db>; drop(): Promise<void> }> {
  const name = `backup_${randomBytes(6).toString('hex')}`;
  await admin(`create database ${name} template ${new URL(url).pathname.slice(1)}`);
  const copy = new URL(url);
  copy.pathname = `/${name}`;
  let db: Db | undefined;
  return {
    open: async () => {
      db = createDb({ url: copy.href, maxConnections: 5, onError: () => {} });
      return db;
    },
    drop: async () => {
      await db?.destroy();
      await admin(`drop database ${name} with (force)`);
    },
  };
}

describe('after a restore', () => {
  test('P2 P6 nobody who left after the backup is mailed again, the erased are gone again, and what was lifted stays so', async () => {
    const first = await createTestDatabase(5);
    const before = first.db;
    const coffee = await publishForTests(before);
    const tea = await publishForTests(before);
    const cancelled = await publishForTests(before);
    const paused = await publishForTests(before);
    const resumed = await publishForTests(before);
    const people = new Map<string, { request: EnrollRequest; id: string }>();
    const somebody = async (name: string, campaignId = coffee) => {
      const request = requestBy(`${name}-${randomUUID()}@private-person.example`);
      const id = await enrollForTests(before, campaignId, request);
      people.set(name, { request, id });
    };
    for (const name of ['objects', 'buys', 'bounces', 'complains', 'erased', 'paused', 'resumed', 'snoozed', 'stays']) {
      await somebody(name);
    }
    await somebody('leavesOne');
    await somebody('ofCancelled', cancelled);
    await somebody('ofPaused', paused);
    await somebody('ofResumed', resumed);
    await somebody('comesBack');
    const who = (name: string) => people.get(name) ?? { request: requestBy('nobody@example.com'), id: '' };
    const inTea = await enrollForTests(before, tea, who('leavesOne').request);
    await pauseEnrollment(before, who('resumed').id, new Date());
    await pauseCampaign(before, resumed, new Date());
    // In the backup already, and taken back after it.
    await stopEnrollments(before, {
      who: { hashes: who('comesBack').request.hashes },
      outcome: 'unsubscribed',
      suppress: 'objection',
      now: new Date(),
    });
    const file = openJournalFile(directory);
    await flushJournal(before, file);
    await before.destroy();
    const backup = await snapshotOf(first.url);

    const live = createDb({ url: first.url, maxConnections: 5, onError: () => {} });
    const stop = async (
      name: string,
      outcome: 'unsubscribed' | 'purchased' | 'complained',
      suppress?: 'objection' | 'complaint',
    ) => await stopEnrollments(live, { who: { hashes: who(name).request.hashes }, outcome, suppress, now: new Date() });
    await stop('objects', 'unsubscribed', 'objection');
    await stop('buys', 'purchased');
    await stop('complains', 'complained', 'complaint');
    const key = { enrollmentId: who('bounces').id, step: 0, copy: 0 };
    await bounce(live, { ...key, token: (await tryClaim(live, key)) ?? '' }, '550 5.1.1', new Date());
    await stopEnrollments(live, {
      who: { hashes: who('leavesOne').request.hashes },
      outcome: 'unsubscribed',
      suppress: 'campaign',
      campaignId: coffee,
      now: new Date(),
    });
    const erasedLead = await leadOf(live, who('erased').id);
    await inTransaction(live, (tx) =>
      noteForJournal(tx, [{ kind: 'erase', leadId: erasedLead, hashes: who('erased').request.hashes }], new Date()),
    );
    await pauseEnrollment(live, who('paused').id, new Date());
    await resumeEnrollment(live, who('resumed').id, new Date());
    const until = new Date(Date.now() + 40 * 86_400_000);
    await snoozeEnrollment(live, {
      enrollmentId: who('snoozed').id,
      until,
      via: 'api',
      timeFactor: 1,
      now: new Date(),
    });
    await cancelCampaign(live, cancelled, new Date());
    await pauseCampaign(live, paused, new Date());
    await resumeCampaign(live, resumed, new Date());
    await inTransaction(live, (tx) =>
      liftSuppressions(tx, {
        hashes: who('comesBack').request.hashes,
        by: 'person',
        because: null,
        now: new Date(),
      }),
    );
    // Somebody whom the backup has never seen, and one who left and came back since.
    const stranger = requestBy(`stranger-${randomUUID()}@private-person.example`);
    const wavering = requestBy(`wavering-${randomUUID()}@private-person.example`);
    const leave = { outcome: 'unsubscribed', suppress: 'objection' } as const;
    await stopEnrollments(live, { who: { hashes: stranger.hashes }, ...leave, now: new Date() });
    await stopEnrollments(live, { who: { hashes: wavering.hashes }, ...leave, now: new Date() });
    await inTransaction(live, (tx) =>
      liftSuppressions(tx, { hashes: wavering.hashes, by: 'person', because: 'asked anew', now: new Date() }),
    );
    await flushJournal(live, file);
    await file.close();
    await live.destroy();

    const text = (
      await Promise.all((await readdir(directory)).map((name) => readFile(join(directory, name), 'utf8')))
    ).join('');
    expect(text).not.toMatch(/private-person|@|Íñigo|Núñez|asked anew/i);

    const db = await backup.open();
    const { entries, unreadable } = await readJournal(directory, null);
    expect(unreadable).toBe(0);
    const counts = await replayJournal(db, entries, deps(erasing(db)));
    expect(counts.stop).toEqual({ applied: 5, known: 1, unknown: 0 });
    expect(counts.suppress).toEqual({ applied: 6, known: 1, unknown: 0 });
    expect(counts.lift).toEqual({ applied: 2, known: 0, unknown: 0 });
    expect(counts.erase).toEqual({ applied: 1, known: 0, unknown: 0 });
    expect(counts['campaign-cancelled']).toEqual({ applied: 1, known: 0, unknown: 0 });

    expect(
      await Promise.all(
        ['objects', 'buys', 'bounces', 'complains', 'leavesOne'].map((name) => outcomeOf(db, who(name).id)),
      ),
    ).toEqual(['unsubscribed', 'purchased', 'bounced', 'complained', 'unsubscribed']);
    for (const name of [
      'objects',
      'buys',
      'bounces',
      'complains',
      'leavesOne',
      'erased',
      'paused',
      'snoozed',
      'ofCancelled',
      'ofPaused',
    ]) {
      expect([name, await mayBeMailed(db, who(name).id)]).toEqual([name, false]);
    }
    for (const name of ['stays', 'resumed', 'ofResumed']) {
      expect([name, await mayBeMailed(db, who(name).id)]).toEqual([name, true]);
    }
    expect(await mayBeMailed(db, inTea)).toBe(true);
    const lead = await db.selectFrom('lead').selectAll().where('id', '=', erasedLead).executeTakeFirstOrThrow();
    expect(lead).toMatchObject({ email: null, address_hash: null, name: '' });
    const anew = async (request: EnrollRequest) => {
      const options = { priority: 2, via: 'api', asksInPerson: true, timeFactor: 1 };
      return (await enroll(db, [request], { campaignId: coffee, now: new Date(), ...options }))[0];
    };
    expect(await anew(who('objects').request)).toMatchObject({ kind: 'refused', because: { reason: 'objection' } });
    expect(await anew(who('bounces').request)).toMatchObject({ because: { reason: 'undeliverable' } });
    expect(await anew(who('complains').request)).toMatchObject({ because: { reason: 'complaint' } });
    expect(await anew(stranger)).toMatchObject({ kind: 'refused', because: { reason: 'objection' } });
    expect(await anew(wavering)).toMatchObject({ kind: 'created' });
    const back = await anew(who('comesBack').request);
    expect(back).toMatchObject({ kind: 'created' });
    expect(await mayBeMailed(db, back?.kind === 'created' ? back.enrollmentId : '')).toBe(true);
    const history = await db
      .selectFrom('suppression')
      .select(['kind', 'lifted_by'])
      .where('address_hash', '=', wavering.hashes[0])
      .execute();
    expect(history).toEqual([{ kind: 'objection', lifted_by: 'person' }]);

    const once = await everything(db);
    const again = await replayJournal(db, entries, deps(erasing(db)));
    expect(Object.values(again).map(({ applied }) => applied)).toEqual(Object.values(again).map(() => 0));
    expect(await everything(db)).toEqual(once);
    expect(await db.selectFrom('journal_outbox').select('id').execute()).toEqual([]);
    await backup.drop();
    await first.drop();
  });

  test('what an erasure took along is not brought back, but an objection is', async () => {
    const { db, drop } = await createTestDatabase(5);
    const at = (minutes: number) => new Date(Date.UTC(2026, 5, 1, 10, minutes)).toISOString();
    const hashesOf = () => [...requestBy(`${randomUUID()}@example.com`).hashes];
    const [bounced, lifted, objected] = [hashesOf(), hashesOf(), hashesOf()];
    const entry = (minutes: number, fact: object) => ({ id: randomUUID(), at: at(minutes), ...fact }) as JournalEntry;
    const none = { campaignId: null };
    const entries = [
      entry(1, { kind: 'suppress', hashes: bounced, reason: 'undeliverable', ...none }),
      entry(1, { kind: 'suppress', hashes: lifted, reason: 'objection', ...none }),
      entry(1, { kind: 'suppress', hashes: objected, reason: 'objection', ...none }),
      entry(2, { kind: 'lift', hashes: lifted, reasons: ['objection'], by: 'person', ...none }),
      ...[bounced, lifted, objected].map((hashes) => entry(3, { kind: 'erase', leadId: randomUUID(), hashes })),
    ];
    const counts = await replayJournal(db, entries, deps(erasing(db)));
    expect(counts.suppress).toEqual({ applied: 1, known: 2, unknown: 0 });
    expect(counts.erase).toEqual({ applied: 0, known: 0, unknown: 3 });
    expect(await db.selectFrom('suppression').select('address_hash').execute()).toEqual([
      { address_hash: objected[0] },
    ]);
    await drop();
  });

  test('who asked anew after they had left stays enrolled, and so does somebody who came back after being erased', async () => {
    const { db, drop } = await createTestDatabase(5);
    const coffee = await publishForTests(db, definitionForTests(3));
    const request = requestBy(`${randomUUID()}@example.com`);
    const id = await enrollForTests(db, coffee, request);
    const leadId = await leadOf(db, id);
    const past = new Date(Date.now() - 60_000).toISOString();
    const entries: JournalEntry[] = [
      { id: randomUUID(), at: past, kind: 'erase', leadId: randomUUID(), hashes: request.hashes },
      { id: randomUUID(), at: past, kind: 'stop', enrollmentId: randomUUID(), outcome: 'replied' },
      { id: randomUUID(), at: past, kind: 'stop', enrollmentId: id, outcome: 'nonsense' },
    ];
    const counts = await replayJournal(db, entries, deps(erasing(db)));
    expect(counts).toMatchObject({ erase: { applied: 0, unknown: 1 }, stop: { applied: 0, known: 0, unknown: 2 } });
    expect(await outcomeOf(db, id)).toBeNull();
    const lead = await db.selectFrom('lead').select('email').where('id', '=', leadId).executeTakeFirstOrThrow();
    expect(lead.email).toBe(request.email);
    await drop();
  });
});

describe('what a person has paused of all sending', () => {
  const erase = async () => {};
  /** What a database tells its journal, and what another of an earlier time makes of it. */
  const told = async (db: Db): Promise<JournalEntry[]> => {
    const file = openJournalFile(directory);
    await flushJournal(db, file);
    await file.close();
    return (await readJournal(directory, null)).entries;
  };

  test('is paused again in a database that did not know, and goes on where it was resumed since', async () => {
    const [lived, restored] = await Promise.all([createTestDatabase(3), createTestDatabase(3)]);
    const at = (minute: number) => new Date(Date.UTC(2026, 10, 2, 9, minute));
    const marketing = { streams: ['marketing'], provider: '*' } as const;
    await pauseSending(lived.db, { ...marketing, now: at(0) });
    await pauseSending(lived.db, { streams: ['requested'], provider: 'correo.example', now: at(1) });
    await pauseSending(lived.db, { ...marketing, now: at(2) });
    const paused = await told(lived.db);
    expect(paused).toHaveLength(2);

    const counts = await replayJournal(restored.db, paused, deps(erase));
    expect(counts['sending-paused']).toEqual({ applied: 2, known: 0, unknown: 0 });
    expect(await listPauses(restored.db)).toEqual(await listPauses(lived.db));
    expect(
      await mayLeave(restored.db, { stream: 'marketing', provider: 'x.example', now: at(3), asProbe: true }),
    ).toEqual(expect.objectContaining({ probe: false, pause: expect.objectContaining({ reason: 'by-hand' }) }));
    const again = await replayJournal(restored.db, paused, deps(erase));
    expect(again['sending-paused']).toEqual({ applied: 0, known: 2, unknown: 0 });
    expect(await journalBacklog(restored.db)).toMatchObject({ entries: 0 });

    await resumeAll(lived.db, at(4));
    const resumed = await replayJournal(restored.db, await told(lived.db), deps(erase));
    expect(resumed['sending-resumed']).toEqual({ applied: 1, known: 0, unknown: 0 });
    expect(await listPauses(restored.db)).toEqual(await listPauses(lived.db));
    expect((await listPauses(restored.db)).map(({ stream }) => stream)).toEqual(['requested']);
    await Promise.all([lived.drop(), restored.drop()]);
  });

  test('counts for what only a person may end, not for a pause that a probe ends; and one of now outlives a word of before', async () => {
    const [lived, restored] = await Promise.all([createTestDatabase(3), createTestDatabase(3)]);
    const now = new Date(Date.UTC(2026, 10, 2, 9));
    const fault = { stream: 'marketing', provider: 'correo.example', kind: 'refusal', code: '554 5.7.1' } as const;
    await recordFault(lived.db, { ...fault, phase: 'greeting', now });
    expect(await listPauses(lived.db)).toEqual([expect.objectContaining({ probeAt: expect.any(Date) })]);
    expect(await told(lived.db)).toEqual([]);

    const word = { stream: 'marketing', provider: '*' } as const;
    const entry = (rest: object) => ({ id: randomUUID(), at: now.toISOString(), ...word, ...rest }) as JournalEntry;
    await pauseSending(restored.db, { streams: ['marketing'], provider: '*', now: new Date(now.getTime() + 60_000) });
    await restored.db.deleteFrom('journal_outbox').execute();
    const counts = await replayJournal(
      restored.db,
      [
        entry({ kind: 'sending-resumed' }),
        entry({ kind: 'sending-paused', stream: 'a later release', reason: 'by-hand' }),
      ],
      deps(erase),
    );
    expect(counts['sending-resumed']).toEqual({ applied: 0, known: 1, unknown: 0 });
    expect(counts['sending-paused']).toEqual({ applied: 0, known: 0, unknown: 1 });
    expect(await listPauses(restored.db)).toHaveLength(1);
    await Promise.all([lived.drop(), restored.drop()]);
  });
});

describe('leads who were moved to another version', () => {
  const steps = (...names: string[]) => definitionForTests(0, { steps: stepsForTests(...names) });
  const placeOf = async (db: Db, id: string) =>
    await db
      .selectFrom('enrollment')
      .select(['version', 'plan', 'moves', 'step', 'next_due_at', 'outcome'])
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
  const erase = async () => {};

  test('P3 P10 are moved again as they were, once, and not back; what they had had by then is never sent again', async () => {
    const lived = await createTestDatabase(5);
    const { db } = lived;
    const cadence = { min: 'P5M', max: 'P6M' };
    const second = { ...steps('info', 'b', 'x', 'a'), cadence };
    const campaignId = await publishForTests(db, steps('info', 'a', 'b'));
    const dueAt = new Date(Date.now() + 30 * 86_400_000);
    const somebody = async () => {
      const id = await enrollForTests(db, campaignId, requestBy(`${randomUUID()}@example.com`));
      await db.updateTable('enrollment').set({ step: 1, next_due_at: dueAt }).where('id', '=', id).execute();
      return id;
    };
    const [rests, goesOn, leaves] = [await somebody(), await somebody(), await somebody()];
    await publishAgainForTests(db, campaignId, second);
    const backup = await backUp(lived);

    await sql`
      insert into message (enrollment_id, step, copy, message_id, state, token, first_claimed_at, claimed_at, settled_at)
      values (${goesOn}, 1, 0, '<a@shop.example>', 'accepted', ${randomUUID()}, now(), now(), now())`.execute(db);
    await db.updateTable('enrollment').set({ step: 2 }).where('id', '=', goesOn).execute();
    await stopEnrollments(db, { who: { enrollmentId: leaves }, outcome: 'replied', now: new Date() });
    const moving = async (toVersion: number) => {
      const id = await beginMigration(db, campaignId, toVersion);
      while (!(await migrateSome(db, id, { timeFactor: 1, now: new Date() })).finished);
    };
    await moving(2);
    const [restsAfterOne, goesOnAfterOne] = [await placeOf(db, rests), await placeOf(db, goesOn)];
    expect(goesOnAfterOne.next_due_at.getTime()).toBeGreaterThan(dueAt.getTime());
    await publishAgainForTests(db, campaignId, steps('info', 'y', 'a', 'b'));
    await moving(3);
    const outbox = await db.selectFrom('journal_outbox').select('entry').orderBy('seq').execute();
    const entries = outbox.map((row) => row.entry);
    expect(entries.map(({ kind }) => kind)).toEqual(['stop', 'move', 'move', 'move', 'move']);
    const replay = async () => (await replayJournal(backup.db, entries, deps(erase))).move;

    // Version 3 was published after the backup, so nobody is moved to it there.
    expect(await replay()).toEqual({ applied: 2, known: 0, unknown: 2 });
    expect(await placeOf(backup.db, leaves)).toMatchObject({ version: 1, moves: 0, outcome: 'replied' });
    expect(await placeOf(backup.db, rests)).toEqual(restsAfterOne);
    expect(await placeOf(backup.db, goesOn)).toEqual(goesOnAfterOne);
    const had = await backup.db.selectFrom('message').select(['enrollment_id', 'step', 'state', 'code']).execute();
    expect(had).toEqual([{ enrollment_id: goesOn, step: 1, state: 'unknown', code: 'restored' }]);
    // Another version 3 is none.
    const different = await backUp(backup);
    await publishAgainForTests(different.db, campaignId, steps('info', 'z', 'a', 'b'));
    expect((await replayJournal(different.db, entries, deps(erase))).move).toEqual({
      applied: 0,
      known: 2,
      unknown: 2,
    });
    await different.drop();
    // The same, published again, is.
    await publishAgainForTests(backup.db, campaignId, steps('info', 'y', 'a', 'b'));
    expect(await replay()).toEqual({ applied: 2, known: 2, unknown: 0 });
    for (const id of [rests, goesOn]) expect(await placeOf(backup.db, id)).toEqual(await placeOf(db, id));
    expect(await replay()).toEqual({ applied: 0, known: 4, unknown: 0 });
    expect(await journalBacklog(backup.db)).toMatchObject({ entries: 0 });
    await Promise.all([lived.drop(), backup.drop()]);
  });

  test('are left alone where a worker has gone on with them since', async () => {
    const { db, drop } = await createTestDatabase(5);
    const campaignId = await publishForTests(db, steps('info', 'a', 'b'));
    await publishAgainForTests(db, campaignId, steps('info', 'b', 'a'));
    const id = await enrollForTests(db, campaignId, requestBy(`${randomUUID()}@example.com`));
    const move = { kind: 'move', enrollmentId: id, version: 1, plan: null, moves: 1, step: 0 } as const;
    const at = new Date(Date.now() - 60_000).toISOString();
    const entry: JournalEntry = { ...move, id: randomUUID(), at, content: '', nextDueAt: at };
    expect(await tryClaim(db, { enrollmentId: id, step: 0, copy: 0 })).not.toBeNull();
    const counts = await replayJournal(db, [entry], deps(erase));
    expect(counts.move).toEqual({ applied: 0, known: 1, unknown: 0 });
    await drop();
  });
});

describe('the outbox', () => {
  let db: Db;
  let drop: () => Promise<void>;
  beforeAll(async () => ({ db, drop } = await createTestDatabase(10)));
  afterAll(async () => await drop());
  beforeEach(async () => void (await db.deleteFrom('journal_outbox').execute()));

  const note = async (count: number) =>
    await inTransaction(db, (tx) =>
      noteForJournal(
        tx,
        Array.from({ length: count }, () => ({ kind: 'pause' as const, enrollmentId: randomUUID() })),
        new Date(),
      ),
    );

  test('a crash after the write and before the record loses nothing, and says nothing twice', async () => {
    await note(3);
    const file = openJournalFile(directory);
    const dying: JournalFile = {
      append: async (entries) => {
        await file.append(entries);
        throw new Error('the process has died here');
      },
      close: async () => {},
    };
    await expect(flushJournal(db, dying)).rejects.toThrow('has died');
    expect(await journalBacklog(db)).toMatchObject({ entries: 3 });
    // What the file has and the database does not is its own, and waits to be written again.
    expect(await noticeRestore(db, directory)).toBeNull();
    await file.close();
    const restarted = openJournalFile(directory);
    expect(await flushJournal(db, restarted)).toBe(3);
    await restarted.close();
    expect(await journalBacklog(db)).toEqual({ entries: 0, since: null });
    expect((await readJournal(directory, null)).entries).toHaveLength(3);
  });

  test('a database whose commit of a write failed is not taken for one that was restored', async () => {
    const faults: string[] = [];
    const journal = createJournal(db, openJournalFile(directory), (code) => faults.push(code), false);
    await note(1);
    await journal.keep();
    // Fails where nothing but the commit is left.
    await sql`create function no_commit() returns trigger language plpgsql as $$ begin raise 'no commit'; end $$`.execute(
      db,
    );
    await sql`create constraint trigger no_commit after delete on journal_outbox deferrable initially deferred
      for each row execute function no_commit()`.execute(db);
    try {
      await note(1);
      await journal.keep();
      expect(faults).toEqual(['P0001']);
      expect(await journalBacklog(db)).toMatchObject({ entries: 1 });
    } finally {
      await sql`drop trigger no_commit on journal_outbox`.execute(db);
      await sql`drop function no_commit()`.execute(db);
    }
    await journal.keep();
    await journal.close();
    expect(faults).toHaveLength(1);
    expect(await journalBacklog(db)).toMatchObject({ entries: 0 });
    expect(await noticeRestore(db, directory)).toBeNull();
  });

  test('a backup is noticed also where nobody has left since: the journal keeps a beat, one a minute for all processes', async () => {
    const faults: string[] = [];
    const journals = [0, 1].map(() => createJournal(db, openJournalFile(directory), (code) => faults.push(code), true));
    const keep = async () => void (await Promise.all(journals.map((journal) => journal.keep())));
    const state = async () =>
      await db.selectFrom('journal_state').select(['turn', 'turned_at']).executeTakeFirstOrThrow();
    const minutePasses = async () => {
      await sql`update journal_state set turned_at = turned_at - interval '1 minute'`.execute(db);
    };
    await sql`update journal_state set turned_at = now()`.execute(db);
    await keep();
    expect(await readJournal(directory, null)).toMatchObject({ files: 0 });
    await minutePasses();
    const backup = await state();
    expect(await noticeRestore(db, directory)).toBeNull();
    await keep();
    await keep();
    const told = await readJournal(directory, null);
    expect(told).toMatchObject({ entries: [], files: 1, unreadable: 0, beat: Number(backup.turn) + 1 });
    expect(told.turn).toBe(told.beat);
    expect(await noticeRestore(db, directory)).toBeNull();
    // Who leaves is a beat as well.
    await note(1);
    await keep();
    expect((await readJournal(directory, null)).beat).toBe(told.beat);
    expect(faults).toEqual([]);
    for (const journal of journals) await journal.close();

    // A beat that was never written harms nobody.
    await minutePasses();
    const broken = openJournalFile(join(directory, 'not-mounted'));
    await expect(beat(db, broken, { turn: 0 }, new Date())).rejects.toThrow('ENOENT');
    expect(await noticeRestore(db, directory)).toBeNull();

    await sql`update journal_state set turn = ${backup.turn}::bigint, turned_at = ${backup.turned_at}`.execute(db);
    expect(await noticeRestore(db, directory)).toMatchObject({ behindJournal: true });
    await noteReplay(db, (await readJournal(directory, null)).turn);
    await noteAudit(db);
    expect(await noticeRestore(db, directory)).toBeNull();
  });

  test('a line that broke off is passed over, and what follows it is not lost', async () => {
    await note(2);
    const file = openJournalFile(directory);
    await flushJournal(db, file);
    await file.close();
    const [name = ''] = await readdir(directory);
    await appendFile(join(directory, name), '{"id":"0b5c","at":"2026-');
    await writeFile(
      join(directory, 'other.jsonl'),
      '{"id":"x","at":"2026-01-01T00:00:00Z","kind":"from-a-later-release"}\n[]\nnull\n',
    );
    await note(1);
    const after = openJournalFile(directory);
    await flushJournal(db, after);
    await after.close();
    expect(await readJournal(directory, null)).toMatchObject({ entries: { length: 3 }, files: 3, unreadable: 4 });
    expect((await readJournal(directory, new Date(Date.now() + 60_000))).entries).toEqual([]);
  });

  test('a fault of the disk begins a new file, and what was not written stays', async () => {
    const file = openJournalFile(join(directory, 'not-mounted'));
    const codes: string[] = [];
    const journal = createJournal(db, file, (code) => codes.push(code), false);
    await note(1);
    await journal.keep();
    expect(codes).toEqual(['ENOENT']);
    expect(await journalBacklog(db)).toMatchObject({ entries: 1 });
    await journal.close();
  });

  test('whoever waits is told once their own entries are written, however many wait, in this process and in others', async () => {
    const journals = [0, 1, 2].map(() =>
      createJournal(
        db,
        openJournalFile(directory),
        (code) => {
          throw new Error(code);
        },
        false,
      ),
    );
    await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const id = randomUUID();
        await inTransaction(db, (tx) => noteForJournal(tx, [{ kind: 'pause', enrollmentId: id }], new Date()));
        await journals[index % 3]?.keep();
        const { entries } = await readJournal(directory, null);
        expect(entries.some((entry) => 'enrollmentId' in entry && entry.enrollmentId === id)).toBe(true);
      }),
    );
    for (const journal of journals) await journal.close();
    expect(await journalBacklog(db)).toMatchObject({ entries: 0 });
    const texts = await Promise.all((await readdir(directory)).map((name) => readFile(join(directory, name), 'utf8')));
    expect(texts.join('').trim().split('\n')).toHaveLength(60);
  });

  test('without a journal, what was noted goes in the end', async () => {
    await note(2);
    await dropJournal(db, 60_000, new Date());
    expect(await journalBacklog(db)).toMatchObject({ entries: 2 });
    await dropJournal(db, 60_000, new Date(Date.now() + 120_000));
    expect(await journalBacklog(db)).toMatchObject({ entries: 0 });
  });
});
