import { sql } from 'kysely';
import { type EventKind, recordEvents } from '../../db/events';
import { settle } from '../../db/ledger';
import { stopEnrollments } from '../../db/stops';
import {
  forgetDeliveries,
  leaseDeliveries,
  listDeliveries,
  queueTest,
  retryDelivery,
  settleDelivery,
} from '../../db/webhook-deliveries';
import { changeEndpoint, createEndpoint, deleteEndpoint, readEndpoint, rotateSecret } from '../../db/webhook-endpoints';
import { WEBHOOK_EVENT_NAMES } from '../../domain/webhook-events';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { tryClaim } from './racing';

const BY = { kind: 'cli', id: 'tests' } as const;
const NOW = new Date('2026-03-02T12:00:00Z');

let database: TestDatabase;
let db: TestDatabase['db'];
let campaignId: string;
let enrollmentId: string;
let leadId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  campaignId = await publishForTests(db);
  enrollmentId = await enrollForTests(db, campaignId, requestBy('ana@example.com'));
  const row = await db.selectFrom('enrollment').select('lead_id').where('id', '=', enrollmentId).executeTakeFirst();
  leadId = row?.lead_id ?? '';
});
afterAll(async () => await database.drop());
afterEach(async () => {
  await db.deleteFrom('webhook_endpoint').execute();
  await db.deleteFrom('webhook_delivery').execute();
});

const endpoint = async (events: string[] = ['*'], url = 'https://crm.example/hook') =>
  await createEndpoint(db, { url, events, description: '' }, BY, NOW);
const happened = async (kind: EventKind, detail: Record<string, unknown> = {}, about: string | null = enrollmentId) =>
  await recordEvents(db, [{ at: NOW, leadId, enrollmentId: about, kind, step: 3, detail }]);
const queued = async () => await db.selectFrom('webhook_delivery').selectAll().orderBy('created_at').execute();

describe('what is queued', () => {
  const MAPPED: [EventKind, Record<string, unknown>, string | null][] = [
    ['enrolled', {}, 'enrollment.created'],
    ['ended', { outcome: 'replied' }, 'enrollment.ended'],
    ['reopened', { from: 'e0' }, 'enrollment.reopened'],
    ['reopened', { as: 'e1' }, null],
    ['received', { kind: 'reply' }, 'lead.replied'],
    ['received', { kind: 'reply', duplicateOf: 'i0' }, null],
    ['received', { kind: 'bounce' }, null],
    ['review-decided', { kind: 'reply', was: 'other' }, 'lead.replied'],
    ['review-decided', { kind: 'reply', was: 'reply' }, null],
    ['review-decided', { kind: 'auto-reply', was: 'reply' }, null],
    ['message-accepted', {}, 'message.sent'],
    ['message-rejected', {}, 'message.rejected'],
    ['message-unknown', {}, 'message.unknown'],
    ['message-reported', { report: 'bounced-soft' }, 'message.bounced'],
    ['message-reported', { report: 'bounced-hard' }, 'message.bounced'],
    ['message-reported', { report: 'complained' }, 'message.complained'],
    ['message-reported', { report: 'delivered' }, 'message.delivered'],
    ['message-reported', { report: 'delayed' }, null],
    ['suppressed', { reason: 'objection' }, 'lead.suppressed'],
    ['suppression-lifted', {}, 'lead.suppression-lifted'],
    ['confirmed', {}, 'lead.confirmed'],
    ['privacy-request', { request: 'erasure' }, 'privacy.requested'],
    ['erased', {}, 'lead.erased'],
    ['refunded', { orderId: 'A-1' }, 'order.refunded'],
    ['paused', {}, null],
    ['stop-without-effect', {}, null],
    ['message-deferred', {}, null],
  ];

  test.each(MAPPED)('%s %j is %s', async (kind, detail, type) => {
    await endpoint();
    await happened(kind, detail);
    expect((await queued()).map((row) => row.type)).toEqual(type === null ? [] : [type]);
  });

  test('the database and the reference name the same types', () => {
    expect(new Set(MAPPED.flatMap(([, , type]) => type ?? []))).toEqual(new Set(WEBHOOK_EVENT_NAMES));
  });

  test('ids and codes, in the envelope of Standard Webhooks', async () => {
    await endpoint();
    await happened('ended', { outcome: 'purchased', by: 'purchase', orderId: 'A-1001/2' });
    expect((await queued())[0]?.payload).toEqual({
      type: 'enrollment.ended',
      timestamp: '2026-03-02T12:00:00.000Z',
      data: { leadId, enrollmentId, campaignId, step: 3, outcome: 'purchased', by: 'purchase', orderId: 'A-1001/2' },
    });
  });

  test('what is about a person and no enrollment names the campaign that it is about, if any', async () => {
    await endpoint();
    await happened('suppressed', { reason: 'campaign', campaignId }, null);
    await happened('suppressed', { reason: 'objection', campaignId: null }, null);
    expect((await queued()).map((row) => (row.payload as { data: object }).data)).toEqual([
      { leadId, enrollmentId: null, campaignId, step: 3, reason: 'campaign' },
      { leadId, enrollmentId: null, campaignId: null, step: 3, reason: 'objection' },
    ]);
  });

  test('never an address, a text or a field that is not on the list', async () => {
    await endpoint();
    const detail = {
      outcome: 'replied',
      by: 'ana@example.com',
      reason: 'ya tengo una, ¡gracias!',
      words: 'Ana',
      via: ['x'],
    };
    await happened('ended', { ...detail, leadId: 'another' });
    expect((await queued())[0]?.payload).toEqual({
      type: 'enrollment.ended',
      timestamp: '2026-03-02T12:00:00.000Z',
      data: { leadId, enrollmentId, campaignId, step: 3, outcome: 'replied' },
    });
  });

  test('for each endpoint that wants it and is switched on', async () => {
    const all = await endpoint();
    const some = await endpoint(['message.sent', 'enrollment.ended']);
    await endpoint(['lead.replied']);
    const off = await endpoint();
    await changeEndpoint(db, off.id, { disabled: true }, BY, NOW);
    await happened('ended', { outcome: 'replied' });
    expect((await queued()).map((row) => row.endpoint_id).sort()).toEqual([all.id, some.id].sort());
  });

  test('in the transaction in which it happened, or not at all', async () => {
    await endpoint();
    const failing = db.transaction().execute(async (tx) => {
      await recordEvents(tx, [{ at: NOW, leadId, enrollmentId, kind: 'ended', detail: { outcome: 'replied' } }]);
      throw new Error('later');
    });
    await expect(failing).rejects.toThrow('later');
    expect(await queued()).toEqual([]);
  });

  test('of a mail that ends an enrollment as well, both', async () => {
    const id = await enrollForTests(db, campaignId, requestBy('luis@example.com', { consent: null }));
    await endpoint();
    const key = { enrollmentId: id, step: 0, copy: 0 };
    const token = await tryClaim(db, key);
    await sql`update message set state = 'handing_over', handing_over_at = now() where enrollment_id = ${id}`.execute(
      db,
    );
    await settle(db, {
      ...key,
      leadId,
      state: 'accepted',
      token,
      code: '250 2.0.0',
      providerId: null,
      move: { kind: 'advance', dueAt: new Date('2027-01-01T00:00:00Z') },
      event: 'message-accepted',
      now: NOW,
    });
    expect((await queued()).map((row) => row.type).sort()).toEqual(['enrollment.ended', 'message.sent']);
  });

  test('a stop of many enrollments tells of each', async () => {
    const ids = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => {
        const other = await publishForTests(db);
        return await enrollForTests(db, other, requestBy('eva@example.com', { name }));
      }),
    );
    await endpoint(['enrollment.ended']);
    const [first = ''] = ids;
    const lead = await db.selectFrom('enrollment').select('lead_id').where('id', '=', first).executeTakeFirstOrThrow();
    await stopEnrollments(db, {
      who: { leadId: lead.lead_id },
      outcome: 'unsubscribed',
      suppress: 'objection',
      now: NOW,
    });
    const told = (await queued()).map((row) => (row.payload as { data: { enrollmentId: string } }).data.enrollmentId);
    expect(told.sort()).toEqual(ids.sort());
  });

  test('an endpoint that is being deleted at this moment stops no mail', async () => {
    const { id } = await endpoint();
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let deleted = () => {};
    const isDeleted = new Promise<void>((resolve) => {
      deleted = resolve;
    });
    const deleting = db.transaction().execute(async (tx) => {
      await tx.deleteFrom('webhook_endpoint').where('id', '=', id).execute();
      deleted();
      await held;
    });
    await isDeleted;
    await happened('ended', { outcome: 'replied' });
    release();
    await deleting;
    expect(await leaseDeliveries(db, [], 5, 60_000)).toEqual([]);
    await sql`update webhook_delivery set created_at = now() - interval '2 hours'`.execute(db);
    expect(await forgetDeliveries(db)).toBe(1);
  });
});

describe('leases', () => {
  test('a few of each endpoint, none of those that are busy', async () => {
    const [a, b] = [await endpoint(), await endpoint()];
    for (let i = 0; i < 4; i++) await happened('ended', { outcome: 'replied' });
    const leased = await leaseDeliveries(db, [], 3, 60_000);
    const of = (id: string) => leased.filter((row) => row.endpointId === id).length;
    expect([of(a.id), of(b.id)]).toEqual([3, 3]);
    expect((await leaseDeliveries(db, [a.id], 3, 60_000)).map((row) => row.endpointId)).toEqual([b.id]);
  });

  test('any number of workers: each delivery goes to one of them', async () => {
    await endpoint();
    for (let i = 0; i < 20; i++) await happened('ended', { outcome: 'replied' });
    const leased = await Promise.all(Array.from({ length: 8 }, () => leaseDeliveries(db, [], 5, 60_000)));
    const ids = leased.flat().map((row) => row.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toHaveLength(20);
  });

  test('whoever dies with one leaves it to the next, under the same id', async () => {
    await endpoint();
    await happened('ended', { outcome: 'replied' });
    const [first] = await leaseDeliveries(db, [], 5, 60_000);
    expect(await leaseDeliveries(db, [], 5, 60_000)).toEqual([]);
    await sql`update webhook_delivery set leased_until = now() - interval '1 second'`.execute(db);
    const [second] = await leaseDeliveries(db, [], 5, 60_000);
    expect(second).toMatchObject({ id: first?.id, attempts: 2 });
    // The first was only slow: what it has to say of a failure is old, what it has to say of success is true.
    if (first === undefined || second === undefined) throw new Error('not leased');
    expect(await settleDelivery(db, first, { failure: 'timeout' }, NOW)).toBeNull();
    expect(await settleDelivery(db, first, { status: 200 }, NOW)).toBe('delivered');
    expect(await settleDelivery(db, second, { status: 500 }, NOW)).toBeNull();
  });
});

describe('what becomes of a try', () => {
  const one = async () => {
    await happened('ended', { outcome: 'replied' });
    const [leased] = await leaseDeliveries(db, [], 1, 60_000);
    if (leased === undefined) throw new Error('nothing to deliver');
    return leased;
  };
  const only = async (endpointId: string) => (await listDeliveries(db, endpointId, 10, null))[0];

  test.each([200, 201, 204, 299])('%i: delivered', async (status) => {
    const { id } = await endpoint();
    expect(await settleDelivery(db, await one(), { status }, NOW)).toBe('delivered');
    expect(await only(id)).toMatchObject({ state: 'delivered', attempts: 1, status, failure: null, nextAt: null });
  });

  test.each([[{ status: 301 }], [{ status: 404 }], [{ status: 500 }], [{ status: 0 }], [{ failure: 'timeout' }]])(
    '%j: again in five seconds',
    async (answer) => {
      const { id } = await endpoint();
      const delivery = await one();
      const before = Date.now();
      expect(await settleDelivery(db, delivery, answer, NOW)).toBe('again');
      const after = Date.now();
      const row = await only(id);
      expect(row).toMatchObject({ state: 'pending', finishedAt: null });
      expect((row?.nextAt?.getTime() ?? 0) - before).toBeGreaterThan(4_000);
      expect((row?.nextAt?.getTime() ?? 0) - after).toBeLessThan(7_000);
      expect(await leaseDeliveries(db, [], 5, 60_000)).toEqual([]);
    },
  );

  test('410: the endpoint is switched off, what waits for it is given up, and it is in the audit log', async () => {
    const { id } = await endpoint();
    await happened('ended', { outcome: 'replied' });
    expect(await settleDelivery(db, await one(), { status: 410 }, NOW)).toBe('disabled');
    expect(await readEndpoint(db, id)).toMatchObject({ disabledBecause: 'gone', disabledAt: NOW });
    const rows = await listDeliveries(db, id, 10, null);
    expect(rows.map(({ state, failure }) => [state, failure]).sort()).toEqual([
      ['failed', null],
      ['failed', 'endpoint-disabled'],
    ]);
    const audit = await db.selectFrom('audit').selectAll().where('target', '=', id).orderBy('id').execute();
    expect(audit.at(-1)).toMatchObject({
      actor_kind: 'system',
      action: 'webhook-endpoint.disabled',
      detail: { because: 'gone' },
    });
  });

  test('410 to several at the same time: one switches the endpoint off, and nobody waits for anybody in a circle', async () => {
    const { id } = await endpoint();
    for (let i = 0; i < 5; i++) await happened('ended', { outcome: 'replied' });
    const leased = await leaseDeliveries(db, [], 5, 60_000);
    const deadlocks = jest.spyOn(db, 'transaction');
    const became = await Promise.all(leased.map((one) => settleDelivery(db, one, { status: 410 }, NOW)));
    // Postgres ends one of those that wait for each other, and its transaction is begun again.
    const begun = deadlocks.mock.calls.length;
    deadlocks.mockRestore();
    expect(begun).toBe(5);
    expect(became.filter((one) => one !== null)).toEqual(['disabled']);
    const states = (await listDeliveries(db, id, 10, null)).map(({ state }) => state);
    expect(states).toEqual(Array(5).fill('failed'));
  });

  test('five days of nothing but failures: given up, and the endpoint is switched off', async () => {
    const { id } = await endpoint();
    const leased = { ...(await one()), ageMs: 5 * 86_400_000 - 3_600_000, attempts: 1 };
    expect(await settleDelivery(db, { ...leased, ageMs: 4 * 86_400_000 }, { status: 500 }, NOW)).toBe('again');
    await sql`update webhook_delivery set attempts = 9`.execute(db);
    expect(await settleDelivery(db, { ...leased, attempts: 9 }, { status: 500 }, NOW)).toBe('disabled');
    expect(await readEndpoint(db, id)).toMatchObject({ disabledBecause: 'failing' });
  });

  test('where others got through in that time, only that one is given up', async () => {
    const { id } = await endpoint();
    const stubborn = { ...(await one()), ageMs: 5 * 86_400_000 };
    expect(await settleDelivery(db, await one(), { status: 200 }, NOW)).toBe('delivered');
    expect(await settleDelivery(db, stubborn, { status: 500 }, NOW)).toBe('failed');
    expect(await readEndpoint(db, id)).toMatchObject({ disabledAt: null });
  });

  test('one that was given up is tried again by hand, under the same id', async () => {
    const { id } = await endpoint();
    const stubborn = { ...(await one()), ageMs: 5 * 86_400_000 };
    await settleDelivery(db, await one(), { status: 200 }, NOW);
    await settleDelivery(db, stubborn, { status: 500 }, NOW);
    expect(await retryDelivery(db, stubborn.id)).toMatchObject({ state: 'pending', attempts: 0, endpointId: id });
    const [leased] = await leaseDeliveries(db, [], 5, 60_000);
    expect(leased).toMatchObject({ id: stubborn.id, attempts: 1 });
    expect(leased?.ageMs).toBeLessThan(10_000);
  });

  test('what is long over is forgotten', async () => {
    const { id } = await endpoint();
    await settleDelivery(db, await one(), { status: 200 }, NOW);
    await queueTest(db, id, NOW);
    await sql`update webhook_delivery set created_at = now() - interval '40 days', finished_at = finished_at - interval '31 days'`.execute(
      db,
    );
    expect(await forgetDeliveries(db)).toBe(1);
    expect((await queued()).map((row) => row.state)).toEqual(['pending']);
  });
});

describe('secrets', () => {
  test('after a rotation both sign for a day, and a rotation that is repeated breaks nothing', async () => {
    const { id } = await endpoint();
    await queueTest(db, id, NOW);
    const versions = async () => {
      await sql`update webhook_delivery set leased_until = null`.execute(db);
      return (await leaseDeliveries(db, [], 1, 60_000))[0]?.secretVersions;
    };
    expect(await versions()).toEqual([1]);
    await rotateSecret(db, id, BY, NOW);
    expect(await versions()).toEqual([2, 1]);
    await rotateSecret(db, id, BY, NOW);
    expect(await versions()).toEqual([3, 2, 1]);
    await sql`update webhook_endpoint set rotated_at = now() - interval '25 hours'`.execute(db);
    expect(await versions()).toEqual([3]);
    await rotateSecret(db, id, BY, NOW);
    expect(await versions()).toEqual([4, 3]);
    for (let i = 0; i < 8; i++) await rotateSecret(db, id, BY, NOW);
    expect(await versions()).toEqual([12, 11, 10, 9, 8]);
  });
});

test('an endpoint that is deleted leaves nothing behind but the audit log', async () => {
  const { id } = await endpoint();
  await queueTest(db, id, NOW);
  await deleteEndpoint(db, id, BY, NOW);
  expect(await queued()).toEqual([]);
  await expect(readEndpoint(db, id)).rejects.toThrow('there is no webhook endpoint');
  const audit = await db.selectFrom('audit').select('action').where('target', '=', id).orderBy('id').execute();
  expect(audit.map((row) => row.action)).toEqual(['webhook-endpoint.created', 'webhook-endpoint.deleted']);
});
