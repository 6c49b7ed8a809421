import { randomUUID } from 'node:crypto';
import type { Db } from '../../db/client';
import type { EnrollRequest } from '../../db/enrollments';
import { passGate, settle } from '../../db/ledger';
import { reopenEnrollment } from '../../db/reopening';
import { stopEnrollments } from '../../db/stops';
import { type LiftedBy, liftSuppressions } from '../../db/suppressions';
import { publishForTests } from '../support/campaigns';
import { enrollAll, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { tryClaim } from './racing';

const DAY = 24 * 3_600_000;

let database: TestDatabase;
let db: Db;
let coffee: string;
let tea: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  coffee = await publishForTests(db);
  tea = await publishForTests(db);
});
afterAll(() => database.drop());

const ago = (days: number) => new Date(Date.now() - days * DAY);

function agreeing(email: string, capturedAt: Date, change: Partial<EnrollRequest> = {}): EnrollRequest {
  const consent = { purpose: 'nudges' as const, text: 'Sí.', capturedAt, source: 'ficha' };
  return requestBy(email, { requestedAt: capturedAt, consent, ...change });
}

async function enrolled(campaign: string, request: EnrollRequest, asksInPerson = true) {
  const [result] = await enrollAll(db, campaign, [request], { asksInPerson });
  return result;
}

async function idOf(campaign: string, request: EnrollRequest, asksInPerson = true): Promise<string> {
  const result = await enrolled(campaign, request, asksInPerson);
  if (result === undefined || result.kind === 'refused') throw new Error('not enrolled');
  return result.enrollmentId;
}

async function row(id: string) {
  return await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

/** Whether the claim lets a nudge of this enrollment out, once its information is out. */
async function nudged(enrollmentId: string): Promise<boolean> {
  const { lead_id: leadId, step } = await row(enrollmentId);
  const now = new Date();
  if (step === 0) {
    const key = { enrollmentId, step: 0, copy: 0 };
    const token = (await tryClaim(db, key)) as string;
    expect(await passGate(db, key, token, now)).toBe(true);
    await settle(db, {
      ...key,
      leadId,
      token,
      state: 'accepted',
      event: 'message-accepted',
      code: '250',
      providerId: null,
      move: { kind: 'advance', dueAt: now },
      now,
    });
  }
  return (await tryClaim(db, { enrollmentId, step: 1, copy: 0 })) !== null;
}

async function unsubscribe(request: EnrollRequest, suppress: 'objection' | 'complaint' | 'campaign', at: Date) {
  await stopEnrollments(db, {
    who: { hashes: request.hashes },
    outcome: suppress === 'complaint' ? 'complained' : 'unsubscribed',
    suppress,
    ...(suppress === 'campaign' ? { campaignId: coffee } : {}),
    detail: { via: 'page' },
    now: at,
  });
}

async function lift(request: EnrollRequest, by: LiftedBy = 'person') {
  await db
    .transaction()
    .execute((tx) => liftSuppressions(tx, { hashes: request.hashes, by, because: null, now: new Date() }));
}

const someone = () => `${randomUUID()}@shop.example`;

describe('P7 a consent carries nudges of its own campaign and purpose, and nothing else', () => {
  test('it does (so that what follows says something)', async () => {
    expect(await nudged(await idOf(coffee, agreeing(someone(), ago(1))))).toBe(true);
  });

  test('not those of another campaign', async () => {
    const email = someone();
    await idOf(coffee, agreeing(email, ago(1)));
    const other = await idOf(tea, requestBy(email, { consent: null }));
    expect(await row(other)).toMatchObject({ agreed_at: null, basis: null });
    expect(await nudged(other)).toBe(false);
  });

  test('a consent to the information carries no nudge', async () => {
    const consent = { purpose: 'information' as const, text: 'Sí.', capturedAt: ago(1), source: 'ficha' };
    const id = await idOf(coffee, requestBy(someone(), { consent }));
    expect(await row(id)).toMatchObject({ agreed_at: null, basis: null });
    expect(await nudged(id)).toBe(false);
  });

  test('nor does one to the information widen when they ask again without', async () => {
    const email = someone();
    const consent = { purpose: 'information' as const, text: 'Sí.', capturedAt: ago(1), source: 'ficha' };
    const id = await idOf(coffee, requestBy(email, { consent }));
    await idOf(coffee, requestBy(email, { consent: null }));
    expect(await nudged(id)).toBe(false);
  });
});

describe('P7 a consent that was withdrawn carries nothing any more, also where nothing stands against mail', () => {
  test('who asks again without a new one gets the information alone', async () => {
    const request = agreeing(someone(), ago(9));
    await idOf(coffee, request);
    await unsubscribe(request, 'campaign', ago(2));
    expect(await enrolled(coffee, request)).toMatchObject({ kind: 'refused', because: { reason: 'campaign' } });
    await lift(request);
    const id = await idOf(coffee, requestBy(request.email, { consent: null }));
    expect(await nudged(id)).toBe(false);
  });

  test.each(['objection', 'complaint', 'campaign'] as const)(
    'the old one handed over again after %s is kept as evidence, and carries no nudge; a newer one does',
    async (suppress) => {
      const request = agreeing(someone(), ago(9));
      await idOf(coffee, request);
      await unsubscribe(request, suppress, ago(2));
      await lift(request);
      const id = await idOf(coffee, request);
      expect(await row(id)).toMatchObject({ agreed_at: null, basis: null });
      expect(await nudged(id)).toBe(false);
      const newer = await idOf(coffee, agreeing(request.email, ago(1)));
      expect(await row(newer)).toMatchObject({ agreed_at: expect.any(Date), basis: 'consent' });
      expect(await nudged(newer)).toBe(true);
    },
  );

  test('an objection takes back what was agreed to in every campaign; one campaign alone, only there', async () => {
    const objecting = agreeing(someone(), ago(9));
    await idOf(coffee, objecting);
    await unsubscribe(objecting, 'objection', ago(2));
    await lift(objecting);
    expect((await row(await idOf(tea, objecting))).agreed_at).toBeNull();

    const leaving = agreeing(someone(), ago(9));
    await idOf(coffee, leaving);
    await unsubscribe(leaving, 'campaign', ago(2));
    await lift(leaving);
    expect((await row(await idOf(tea, leaving))).agreed_at).toEqual(leaving.consent?.capturedAt);
  });

  test('what was entered in error took nothing back', async () => {
    const request = agreeing(someone(), ago(9));
    await idOf(coffee, request);
    await unsubscribe(request, 'objection', ago(2));
    await lift(request, 'privacy');
    expect(await nudged(await idOf(coffee, request))).toBe(true);
  });

  test('a file from before is refused, and so is one without dates; a line of somebody who asked since is taken', async () => {
    const request = agreeing(someone(), ago(9));
    await idOf(coffee, request);
    await unsubscribe(request, 'objection', ago(2));
    await lift(request);
    const refused = { kind: 'refused', because: { reason: 'withdrawn', since: expect.any(Date) } };
    expect(await enrolled(tea, agreeing(request.email, ago(9)), false)).toMatchObject(refused);
    const undated = agreeing(request.email, new Date(), { requestedAt: null });
    expect(await enrolled(tea, undated, false)).toMatchObject(refused);
    const since = await idOf(tea, agreeing(request.email, ago(1)), false);
    expect(await nudged(since)).toBe(true);
  });

  test('reopening brings it back neither', async () => {
    const request = agreeing(someone(), ago(9));
    const id = await idOf(coffee, request);
    expect(await nudged(id)).toBe(true);
    await stopEnrollments(db, { who: { enrollmentId: id }, outcome: 'replied', now: ago(3) });
    await unsubscribe(request, 'objection', ago(2));
    await lift(request);
    const reopening = { enrollmentId: id, via: 'api', timeFactor: 1, addressKeys: TEST_ADDRESS_KEYS, now: new Date() };
    await expect(reopenEnrollment(db, reopening)).rejects.toMatchObject({ code: 'not-reopenable' });
  });
});

describe('a line of a file about somebody whose enrollment is open', () => {
  const line = (email: string, capturedAt: Date): EnrollRequest => {
    const file = { importId: randomUUID(), line: 7, sha256: 'a'.repeat(64) };
    const consent = { purpose: 'nudges' as const, text: 'Sí, en la feria.', capturedAt, source: 'feria', file };
    return requestBy(email, { requestedAt: capturedAt, consent });
  };
  const chain = async (leadId: string) => {
    const rows = await db.selectFrom('evidence').select('body').where('lead_id', '=', leadId).orderBy('seq').execute();
    return rows.map(({ body }) => JSON.parse(body) as { kind: string; detail: Record<string, unknown> });
  };

  test('adds the consent that it brings, naming file and line, without asking again', async () => {
    const email = someone();
    const id = await idOf(coffee, requestBy(email, { consent: null }));
    const before = await row(id);
    const brought = line(email, ago(1));
    expect(await enrolled(coffee, brought, false)).toMatchObject({ kind: 'existing', enrollmentId: id });
    const after = await row(id);
    expect(after).toEqual({ ...before, agreed_at: brought.consent?.capturedAt, basis: 'consent' });
    expect(await chain(after.lead_id)).toEqual([
      expect.objectContaining({
        kind: 'consent',
        detail: expect.objectContaining({ source: 'feria', text: 'Sí, en la feria.', file: brought.consent?.file }),
      }),
    ]);
    const events = await db.selectFrom('event').select('kind').where('enrollment_id', '=', id).orderBy('id').execute();
    expect(events.map(({ kind }) => kind)).toEqual(['enrolled', 'consent-added']);
    expect(await nudged(id)).toBe(true);
  });

  test('leaves what was agreed to before as it is', async () => {
    const email = someone();
    const first = agreeing(email, ago(5));
    const id = await idOf(coffee, first);
    await enrolled(coffee, line(email, ago(1)), false);
    const { agreed_at, lead_id } = await row(id);
    expect(agreed_at).toEqual(first.consent?.capturedAt);
    expect(await chain(lead_id)).toHaveLength(2);
  });

  test('adds nothing for a consent that is on record in the same words and of the same time', async () => {
    const email = someone();
    const id = await idOf(coffee, requestBy(email, { consent: null }));
    const brought = line(email, ago(1));
    for (let time = 0; time < 3; time++) await enrolled(coffee, brought, false);
    expect(await chain((await row(id)).lead_id)).toHaveLength(1);
  });

  test('without a consent adds nothing', async () => {
    const email = someone();
    const id = await idOf(coffee, requestBy(email, { consent: null }));
    await enrolled(coffee, requestBy(email, { consent: null }), false);
    const { lead_id, agreed_at } = await row(id);
    expect([await chain(lead_id), agreed_at]).toEqual([[], null]);
  });
});
