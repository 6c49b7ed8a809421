import { randomUUID } from 'node:crypto';
import { keepInbound } from '../../db/inbound';
import {
  abandonTransactional,
  attachmentsOf,
  bounceTransactional,
  claimTransactional,
  deferTransactional,
  enqueueTransactional,
  findTransactional,
  forgetTransactionalAddresses,
  inboundRaw,
  leaseTransactional,
  loadTransactional,
  markTransactionalStarted,
  passTransactionalGate,
  releaseTransactional,
  settleTransactional,
  startableTransactional,
} from '../../db/transactional';
import { hashAddress } from '../../domain/address-hash';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { alertMail, pageMail, shopMail } from '../support/transactional';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => {
  await database.drop();
});
beforeEach(async () => {
  await database.db.deleteFrom('transactional').execute();
});

const MINUTE = 60_000;
const now = new Date('2026-03-01T10:00:00Z');
const later = (ms: number) => new Date(now.getTime() + ms);

/** One attempt's view of a mail: the calls that the activity makes, with its token. */
function attemptAt(id: string, token = randomUUID()) {
  const { db } = database;
  return {
    id,
    token,
    claim: (at = now) => claimTransactional(db, { id, token, messageId: '<m@shop.example>', now: at }),
    gate: () => passTransactionalGate(db, { id, token }, now),
    release: () => releaseTransactional(db, { id, token }),
    defer: (until: Date) => deferTransactional(db, { id, token }, { code: '450 4.2.0', until }),
    settle: (state: 'accepted' | 'rejected' | 'deferred' | 'unknown', code = '250 2.0.0') =>
      settleTransactional(db, { id, token, state, code, now }),
  };
}

const stateOf = async (id: string) => (await findTransactional(database.db, id)).state;
const rowOf = (id: string) =>
  database.db.selectFrom('transactional').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

test('P4 a mail is kept whole with its files; in a transaction that fails, nothing of it', async () => {
  const { db } = database;
  const bytes = Buffer.from([0, 255, 10]);
  const file = { filename: 'factura.pdf', contentType: 'application/pdf', contentId: null, bytes };
  const id = await enqueueTransactional(
    db,
    shopMail('ana@correo.example', { attachments: [file, { ...file, contentId: 'x' }] }),
  );
  expect(await attachmentsOf(db, id)).toEqual([file, { ...file, contentId: 'x' }]);
  expect(await loadTransactional(db, id)).toMatchObject({
    kind: 'shop',
    email: 'ana@correo.example',
    state: 'queued',
    provider: expect.stringMatching(/^other-\d+$/),
    content: { shop: { name: 'Ana', data: { number: 17 } } },
  });
  expect(await startableTransactional(db, id)).toMatchObject({ transactionalId: id, priority: 1 });
  const failed = db.transaction().execute(async (tx) => {
    await enqueueTransactional(tx, shopMail('eva@gmail.com', { attachments: [file] }));
    throw new Error('rolled back');
  });
  await expect(failed).rejects.toThrow('rolled back');
  expect(await db.selectFrom('transactional').select('id').execute()).toEqual([{ id }]);
});

test('mail to staff waits behind the shop’s, and brings the received message', async () => {
  const { db } = database;
  const raw = Buffer.from('From: a\r\n\r\nHola');
  const inboundId = await keepInbound(db, { source: 'pipe', receivedAt: now, content: { raw } });
  const id = await enqueueTransactional(db, {
    ...alertMail('ventas@shop.example'),
    kind: 'forward',
    attachInboundId: inboundId,
  });
  expect(await loadTransactional(db, id)).toMatchObject({
    kind: 'forward',
    inboundId,
    content: { ready: { subject: 'Aviso', html: null, replyTo: null } },
  });
  expect(await startableTransactional(db, id)).toMatchObject({ priority: 2 });
  expect(await inboundRaw(db, inboundId ?? '')).toEqual({ raw, whole: true });
});

test('P3 claim, gate, settle: once settled nothing is left to claim, and content, files and staff’s address are gone', async () => {
  const { db } = database;
  const file = { filename: 'a', contentType: 'text/plain', contentId: null, bytes: Buffer.from('a') };
  const [shop, staff] = [
    await enqueueTransactional(db, shopMail('ana@correo.example', { attachments: [file] })),
    await enqueueTransactional(db, alertMail('ops@shop.example')),
  ];
  for (const id of [shop, staff]) {
    const attempt = attemptAt(id);
    expect(await attempt.claim()).toEqual({ deferrals: 0, firstClaimedAt: now });
    expect(await attempt.gate()).toBe(true);
    expect(await attempt.gate()).toBe(false);
    expect(await attempt.settle('accepted')).toBe(true);
    expect(await attempt.settle('rejected')).toBe(false);
    expect(await attemptAt(id).claim()).toBeNull();
    expect(await loadTransactional(db, id)).toEqual({ settled: 'accepted' });
    expect(await startableTransactional(db, id)).toBeNull();
    expect(await rowOf(id)).toMatchObject({ content: null, code: '250 2.0.0', settled_at: now });
  }
  expect(await db.selectFrom('transactional_attachment').selectAll().execute()).toEqual([]);
  expect(await rowOf(shop)).toMatchObject({ email: 'ana@correo.example' });
  expect(await rowOf(staff)).toMatchObject({ email: null });
});

test('P3 who takes a claim over shuts the other’s gate, and what is past the gate is never claimed again', async () => {
  const id = await enqueueTransactional(database.db, shopMail('ana@correo.example'));
  const [dead, heir] = [attemptAt(id), attemptAt(id)];
  await dead.claim();
  expect(await heir.claim()).not.toBeNull();
  expect(await dead.gate()).toBe(false);
  await dead.release();
  expect(await dead.settle('rejected')).toBe(false);
  expect(await stateOf(id)).toBe('claimed');
  expect(await heir.gate()).toBe(true);
  expect(await attemptAt(id).claim()).toBeNull();
  // A third finds it past the gate, and writes down that nobody knows; the one that was thought dead reports late.
  expect(await settleTransactional(database.db, { id, token: null, state: 'unknown', code: 'crash', now })).toBe(true);
  expect(await heir.settle('rejected', '550 5.1.1')).toBe(false);
  expect(await heir.settle('accepted')).toBe(true);
  expect(await stateOf(id)).toBe('accepted');
});

test('P3 of many attempts at once one passes the gate', async () => {
  const id = await enqueueTransactional(database.db, shopMail('ana@correo.example'));
  const opened = await Promise.all(
    Array.from({ length: 30 }, async () => {
      const attempt = attemptAt(id);
      return (await attempt.claim()) !== null && (await attempt.gate());
    }),
  );
  expect(opened.filter(Boolean)).toHaveLength(1);
});

test('what was given back may be claimed again; put off, not before its time, and its five days run on', async () => {
  const id = await enqueueTransactional(database.db, shopMail('ana@correo.example'));
  const first = attemptAt(id);
  await first.claim();
  await first.gate();
  await first.release();
  expect(await stateOf(id)).toBe('queued');
  const second = attemptAt(id);
  expect(await second.claim(later(MINUTE))).toEqual({ deferrals: 0, firstClaimedAt: later(MINUTE) });
  await second.defer(later(16 * MINUTE));
  expect(await findTransactional(database.db, id)).toMatchObject({
    state: 'queued',
    code: '450 4.2.0',
    deferrals: 1,
    notBefore: later(16 * MINUTE),
  });
  expect(await attemptAt(id).claim(later(15 * MINUTE))).toBeNull();
  expect(await attemptAt(id).claim(later(16 * MINUTE))).toEqual({ deferrals: 1, firstClaimedAt: later(MINUTE) });
});

test('a bounce of an invoice makes the address undeliverable and ends its journeys; one of staff mail touches nobody', async () => {
  const { db } = database;
  const email = 'ana@correo.example';
  const enrollmentId = await enrollForTests(db, await publishForTests(db), requestBy(email));
  const enrollment = () =>
    db
      .selectFrom('enrollment')
      .select(['outcome', 'signal_at'])
      .where('id', '=', enrollmentId)
      .executeTakeFirstOrThrow();
  const staff = attemptAt(await enqueueTransactional(db, alertMail(email)));
  await staff.claim();
  await bounceTransactional(db, staff, { hashes: null, code: '550 5.1.1', now });
  expect(await stateOf(staff.id)).toBe('rejected');
  expect((await enrollment()).outcome).toBeNull();

  const shop = attemptAt(await enqueueTransactional(db, shopMail(email)));
  await shop.claim();
  await bounceTransactional(db, shop, { hashes: hashAddress(email, TEST_ADDRESS_KEYS), code: '550 5.1.1', now });
  expect(await findTransactional(db, shop.id)).toMatchObject({ state: 'rejected', code: '550 5.1.1' });
  expect(await enrollment()).toMatchObject({ outcome: 'bounced', signal_at: expect.any(Date) });
  const address = await db.selectFrom('address').select('undeliverable_at').executeTakeFirstOrThrow();
  expect(address.undeliverable_at).toEqual(now);
});

test('cancelled in the engine it is rejected and erased, unless it is past the gate', async () => {
  const { db } = database;
  const [waiting, going] = [
    await enqueueTransactional(db, shopMail('ana@correo.example')),
    await enqueueTransactional(db, shopMail('ana@correo.example')),
  ];
  const attempt = attemptAt(going);
  await attempt.claim();
  await attempt.gate();
  expect(await abandonTransactional(db, waiting, now)).toBe('rejected');
  expect(await rowOf(waiting)).toMatchObject({ code: 'cancelled', content: null });
  expect(await abandonTransactional(db, going, now)).toBe('handing_over');
});

test('P4 what was never started is leased to one reconciler at a time, shop mail first; what should be done by now again', async () => {
  const { db } = database;
  const staff = await enqueueTransactional(db, alertMail('ops@shop.example'));
  const shop = await enqueueTransactional(db, shopMail('ana@gmail.com'));
  const lease = () => leaseTransactional(db, 10, 30_000, 15 * MINUTE);
  const [first, ...none] = (await Promise.all([lease(), lease()])).sort((a, b) => b.length - a.length);
  expect(first?.map((mail) => mail.transactionalId).sort()).toEqual([shop, staff].sort());
  expect(first).toContainEqual({
    transactionalId: shop,
    stream: 'transactional',
    priority: 1,
    fairnessKey: 'gmail',
  });
  expect([...none.flat(), ...(await lease())]).toEqual([]);

  await markTransactionalStarted(db, [shop, staff]);
  expect(await lease()).toEqual([]);
  // Its workflow was lost, with the whole store perhaps: started long ago, and not settled.
  const hourAgo = new Date(Date.now() - 60 * MINUTE);
  await db.updateTable('transactional').set({ started_at: hourAgo }).execute();
  await db
    .updateTable('transactional')
    .set({ not_before: new Date(Date.now() + MINUTE) })
    .where('id', '=', staff)
    .execute();
  expect((await lease()).map((mail) => mail.transactionalId)).toEqual([shop]);
  await markTransactionalStarted(db, [shop]);
  expect(await lease()).toEqual([]);
  expect((await rowOf(shop)).started_at).toEqual(hourAgo);
});

test('addresses are forgotten a month after their mail was settled, and not before', async () => {
  const { db } = database;
  const ids = [1, 2, 3].map(() => enqueueTransactional(db, shopMail('ana@correo.example')));
  const [old, recent, open] = (await Promise.all(ids)) as [string, string, string];
  const day = 24 * 60 * MINUTE;
  for (const [id, days] of [
    [old, 31],
    [recent, 29],
  ] as const) {
    const settledAt = new Date(Date.now() - days * day);
    await attemptAt(id).claim();
    await db
      .updateTable('transactional')
      .set({ state: 'accepted', settled_at: settledAt })
      .where('id', '=', id)
      .execute();
  }
  await forgetTransactionalAddresses(db, 30 * day);
  expect(await rowOf(old)).toMatchObject({ email: null, address_hash: null });
  for (const id of [recent, open]) expect(await rowOf(id)).toMatchObject({ email: 'ana@correo.example' });
});

test('P8 invoices are leased before what forms ask for, however long that has waited; its hash goes with the addresses', async () => {
  const { db } = database;
  const page = await enqueueTransactional(db, pageMail('ana@correo.example', { priority: 1 }));
  const shop = await enqueueTransactional(db, shopMail('ana@correo.example', { priority: 5 }));
  const [first, ...none] = await leaseTransactional(db, 1, 60_000, 60_000);
  expect(none).toEqual([]);
  expect(first?.transactionalId).toBe(shop);
  expect(await leaseTransactional(db, 5, 60_000, 60_000)).toMatchObject([
    { transactionalId: page, stream: 'requested' },
  ]);
  const attempt = attemptAt(page);
  await attempt.claim();
  await attempt.settle('accepted');
  expect(await rowOf(page)).toMatchObject({ email: null, address_hash: expect.any(String) });
  await forgetTransactionalAddresses(db, 0);
  expect(await rowOf(page)).toMatchObject({ email: null, address_hash: null });
});
