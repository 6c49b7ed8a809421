import { randomUUID } from 'node:crypto';
import type { Db } from '../../db/client';
import { recordPurchase } from '../../db/purchases';
import { reopenEnrollment } from '../../db/reopening';
import { hashAddress } from '../../domain/address-hash';
import type { Classification } from '../../domain/inbound';
import { afterPurchaseForTests, definitionForTests, publishForTests } from '../support/campaigns';
import { bounced, classified, receive, stepRef } from '../support/inbound';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

const DAY = 24 * 3_600_000;
const reply: Classification = classified({ kind: 'reply' });

let database: TestDatabase;
let db: Db;
let campaignId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  campaignId = await publishForTests(db, definitionForTests(3, { afterPurchase: afterPurchaseForTests() }));
});
afterAll(() => database.drop());

/** Somebody who agreed to nudges and has bought; their thanks are sent, the next mail comes in some days. */
async function buyer() {
  const email = `${randomUUID()}@correo.example`;
  const request = requestBy(email);
  const asked = await enrollForTests(db, campaignId, request);
  const orderId = `A\n-${randomUUID().slice(0, 6)}`;
  const { begun } = await recordPurchase(db, { who: { hashes: request.hashes }, orderId, campaignId, now: new Date() });
  const id = begun[0] as string;
  const nextDueAt = new Date(Date.now() + 7 * DAY);
  await db.updateTable('enrollment').set({ step: 1, next_due_at: nextDueAt }).where('id', '=', id).execute();
  return { email, id, asked, orderId, request };
}

async function outcomeOf(id: string) {
  const row = await db.selectFrom('enrollment').select('outcome').where('id', '=', id).executeTakeFirstOrThrow();
  return row.outcome;
}

async function forwardsOf(inboundId: string) {
  const rows = await db
    .selectFrom('transactional')
    .select(['email', 'content'])
    .where('inbound_id', '=', inboundId)
    .orderBy('email')
    .execute();
  return rows.map(({ email, content }) => ({ email, ...(content as { subject: string; text: string }) }));
}

test('P2 a reply to a mail after the purchase ends what follows it, and goes to support with the order’s number', async () => {
  const { email, id, orderId } = await buyer();
  const { inboundId, tell } = await receive(db, reply, { from: email, proven: stepRef(id, 0) });
  expect(tell).toEqual([id]);
  expect(await outcomeOf(id)).toBe('replied');
  const number = orderId.replace('\n', ' ');
  expect(await forwardsOf(inboundId)).toMatchObject([
    { email: 'ayuda@shop.example', subject: `Re: Paso 0 [pedido ${number}] [respuesta]` },
  ]);
  const [{ text } = { text: '' }] = await forwardsOf(inboundId);
  expect(text).toContain(`pedido ${number}`);
  expect(text).not.toContain('/s/');
});

test('a reply to an older mail, from before the purchase, reaches both, and ends what follows it', async () => {
  const { email, id, asked } = await buyer();
  expect(await outcomeOf(asked)).toBe('purchased');
  const { inboundId } = await receive(db, reply, { from: email, proven: stepRef(asked, 0) });
  expect(await outcomeOf(id)).toBe('replied');
  expect((await forwardsOf(inboundId)).map((mail) => mail.email)).toEqual(['ayuda@shop.example', 'lucia@shop.example']);
});

test('a dead address and a complaint end it as they end the rest', async () => {
  const dead = await buyer();
  await receive(db, bounced(), { proven: stepRef(dead.id, 0) });
  expect(await outcomeOf(dead.id)).toBe('bounced');
  const angry = await buyer();
  await receive(db, classified({ kind: 'complaint' }), { proven: stepRef(angry.id, 0) });
  expect(await outcomeOf(angry.id)).toBe('complained');
});

test('who is away gets their next mail when they are back, on the plan of buyers', async () => {
  const { email, id } = await buyer();
  const returnDate = new Date(Date.now() + 20 * DAY).toISOString().slice(0, 10);
  const away = classified({ kind: 'auto-reply', subtype: 'vacation', returnDate });
  await receive(db, away, { from: email, proven: stepRef(id, 0) });
  const row = await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  expect(row.outcome).toBeNull();
  expect(row.next_due_at.getTime()).toBeGreaterThan(Date.now() + 18 * DAY);
});

test('what followed a purchase is not reopened, and who has bought is not reminded, whatever key their address had', async () => {
  const { email, id, asked, request } = await buyer();
  await receive(db, reply, { from: email, proven: stepRef(id, 0) });
  const reopen = (enrollmentId: string, addressKeys = TEST_ADDRESS_KEYS) =>
    reopenEnrollment(db, { enrollmentId, via: 'api', timeFactor: 1, addressKeys, now: new Date() });
  await expect(reopen(id)).rejects.toMatchObject({ code: 'not-reopenable' });

  await db.updateTable('enrollment').set({ outcome: 'replied' }).where('id', '=', asked).execute();
  const otherKeys = [{ version: 9, secret: Buffer.alloc(32, 9) }, ...TEST_ADDRESS_KEYS];
  await db
    .updateTable('purchase')
    .set({ address_hash: 'gone' })
    .where('address_hash', '=', request.hashes[0])
    .execute();
  const [newest] = hashAddress(email, otherKeys);
  await db.updateTable('purchase').set({ address_hash: newest }).where('address_hash', '=', 'gone').execute();
  await expect(reopen(asked, otherKeys)).rejects.toMatchObject({ code: 'not-reopenable' });
  await expect(reopen(asked)).resolves.toMatchObject({ enrollmentId: expect.any(String) });
});
