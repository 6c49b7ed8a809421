import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Db } from '../../db/client';
import { appendEvidence, evidenceDocument, removeEvidence } from '../../db/evidence';
import { stopEnrollments } from '../../db/stops';
import { liftSuppressions } from '../../db/suppressions';
import {
  evidencePublicKeyText,
  evidenceSigningKey,
  evidenceText,
  verifyEvidence,
} from '../../domain/evidence-document';
import { ledgerRow } from '../api/api-under-test';
import { publishForTests } from '../support/campaigns';
import { enrollAll, enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

const KEY = evidenceSigningKey(Buffer.alloc(32, 9));

let database: TestDatabase;
let db: Db;
let campaign: string;

beforeAll(async () => {
  database = await createTestDatabase(60);
  db = database.db;
  campaign = await publishForTests(db);
});
afterAll(() => database.drop());

const somebody = () => requestBy(`${randomUUID()}@shop.example`);

async function leadOf(enrollmentId: string): Promise<string> {
  const row = await db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('id', '=', enrollmentId)
    .executeTakeFirstOrThrow();
  return row.lead_id;
}

/** The document, and what a verifier says of it. */
async function documentOf(leadId: string) {
  const document = await evidenceDocument(db, leadId, KEY, new Date());
  const { faults, entries } = verifyEvidence(Buffer.from(evidenceText(document)), evidencePublicKeyText(KEY));
  return { document, faults, entries, kinds: entries.map(({ kind }) => kind) };
}

const link = (leadId: string) => sql`update evidence set body = body where lead_id = ${leadId}`;

describe('P7 evidence is append-only', () => {
  test('no link is changed, and none is taken away, whoever tries', async () => {
    const leadId = await leadOf(await enrollForTests(db, campaign, somebody()));
    for (const statement of [
      link(leadId),
      sql`delete from evidence where lead_id = ${leadId}`,
      sql`truncate evidence`,
    ]) {
      await expect(statement.execute(db)).rejects.toThrow('evidence is append-only');
    }
    expect((await documentOf(leadId)).kinds).toEqual(['consent']);
  });

  test('an erasure takes the whole chain, and only that; what follows it is refused again', async () => {
    const [leadId, other] = [
      await leadOf(await enrollForTests(db, campaign, somebody())),
      await leadOf(await enrollForTests(db, campaign, somebody())),
    ];
    await db.transaction().execute(async (tx) => {
      await removeEvidence(tx, leadId);
      await sql`savepoint erased`.execute(tx);
      await expect(sql`delete from evidence where lead_id = ${other}`.execute(tx)).rejects.toThrow('append-only');
      await sql`rollback to savepoint erased`.execute(tx);
    });
    expect((await documentOf(leadId)).document.chain).toEqual([]);
    expect((await documentOf(other)).kinds).toEqual(['consent']);
    await expect(sql`delete from evidence where lead_id = ${other}`.execute(db)).rejects.toThrow('append-only');
  });

  test('an erasure changes no link either', async () => {
    const leadId = await leadOf(await enrollForTests(db, campaign, somebody()));
    await expect(
      db.transaction().execute(async (tx) => {
        await sql`set local recuerda.erasing = 'on'`.execute(tx);
        await link(leadId).execute(tx);
      }),
    ).rejects.toThrow('append-only');
  });
});

describe('P7 whoever writes at the same time, the chain is one and unbroken', () => {
  test('50 requests, and people who unsubscribe meanwhile', async () => {
    const request = somebody();
    const leadId = await leadOf(await enrollForTests(db, campaign, request));
    const second = await publishForTests(db);
    const asks = Array.from({ length: 50 }, (_, index) =>
      enrollAll(db, index % 2 === 0 ? campaign : second, [
        requestBy(request.email, { consent: { ...request.consent, capturedAt: new Date() } as never }),
      ]),
    );
    const stops = Array.from({ length: 10 }, (_, index) =>
      stopEnrollments(db, {
        who: index % 2 === 0 ? { leadId } : { hashes: request.hashes },
        outcome: 'unsubscribed',
        suppress: 'campaign',
        campaignId: index < 5 ? campaign : second,
        detail: { via: 'page' },
        now: new Date(),
      }),
    );
    const results = (await Promise.all(asks)).flat();
    await Promise.all(stops);
    const { faults, kinds, document } = await documentOf(leadId);
    expect(faults).toEqual([]);
    expect(kinds.filter((kind) => kind === 'withdrawn')).toHaveLength(2);
    const taken = results.filter(({ kind }) => kind !== 'refused');
    expect(kinds.filter((kind) => kind === 'consent')).toHaveLength(1 + taken.length);
    expect(document.chain.map(({ seq }) => seq)).toEqual(kinds.map((_, index) => index + 1));
  });

  test('lines of files in opposite orders beside people who ask', async () => {
    const people = Array.from({ length: 30 }, somebody);
    await Promise.all(
      Array.from({ length: 12 }, (_, batch) =>
        enrollAll(db, campaign, batch % 2 === 0 ? people : [...people].reverse(), { asksInPerson: batch % 3 === 0 }),
      ),
    );
    const leads = await db
      .selectFrom('lead')
      .select('id')
      .where(
        'email',
        'in',
        people.map(({ email }) => email),
      )
      .execute();
    expect(leads).toHaveLength(30);
    for (const { id } of leads) expect((await documentOf(id)).faults).toEqual([]);
  });

  test('a writer that forgot the lock loses, rather than forking the chain', async () => {
    const leadId = await leadOf(await enrollForTests(db, campaign, somebody()));
    const fact = { leadId, kind: 'confirmed' as const, at: new Date(), detail: {} };
    const results = await Promise.allSettled(
      Array.from({ length: 5 }, () => db.transaction().execute((tx) => appendEvidence(tx, [fact]))),
    );
    const won = results.filter(({ status }) => status === 'fulfilled').length;
    const { faults, kinds } = await documentOf(leadId);
    expect(faults).toEqual([]);
    expect(kinds).toHaveLength(1 + won);
  });
});

describe('P7 the evidence document', () => {
  test('holds consents, withdrawals, who lifted what, and the dates of mails; no texts of mails', async () => {
    const request = somebody();
    const enrollmentId = await enrollForTests(db, campaign, request);
    const leadId = await leadOf(enrollmentId);
    const messageId = await ledgerRow(db, enrollmentId, 'accepted');
    await stopEnrollments(db, {
      who: { enrollmentId },
      outcome: 'unsubscribed',
      suppress: 'objection',
      detail: { via: 'one-click' },
      now: new Date(),
    });
    await db
      .transaction()
      .execute((tx) => liftSuppressions(tx, { hashes: request.hashes, by: 'person', because: null, now: new Date() }));
    const { document, faults, kinds } = await documentOf(leadId);
    expect(faults).toEqual([]);
    expect(kinds).toEqual(['consent', 'withdrawn', 'lifted']);
    expect(document.subject).toEqual({ leadId, email: request.email, name: 'Íñigo Núñez' });
    expect(JSON.parse(document.chain[0]?.body ?? '')).toMatchObject({
      detail: { campaignId: campaign, enrollmentId, purpose: 'nudges', text: request.consent?.text },
    });
    expect(document.enrollments).toEqual([
      expect.objectContaining({ enrollmentId, campaign: 'Cafeteras', version: 1, outcome: 'unsubscribed' }),
    ]);
    expect(document.mails).toEqual([
      expect.objectContaining({ enrollmentId, kind: 'information', step: 0, messageId, state: 'accepted' }),
    ]);
    expect(document.suppressions).toEqual([
      expect.objectContaining({ kind: 'objection', by: 'one-click', liftedBy: 'person' }),
    ]);
    expect(evidenceText(document)).not.toContain('Paso 0');
  });

  test('a nobody and an erased lead have none', async () => {
    await expect(evidenceDocument(db, randomUUID(), KEY, new Date())).rejects.toMatchObject({ code: 'not-found' });
    const leadId = await leadOf(await enrollForTests(db, campaign, somebody()));
    await db.updateTable('lead').set({ erased_at: new Date(), email: null }).where('id', '=', leadId).execute();
    await expect(evidenceDocument(db, leadId, KEY, new Date())).rejects.toMatchObject({ code: 'not-found' });
  });
});
