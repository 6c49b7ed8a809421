import { randomUUID } from 'node:crypto';
import { DateTime } from 'luxon';
import { recordPurchase } from '../../db/purchases';
import type { SoftOptIn } from '../../domain/consent';
import { afterPurchaseForTests, definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import type { SunkMessage } from '../support/smtp-sink';

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine('time-skipping');
});
afterAll(async () => {
  await engine.stop();
});

const SOFT: SoftOptIn = { optOutOffered: true, optedOut: false, noticeVersion: '1', productGroup: 'coffee' };

/** Somebody who asked, and has bought. @returns the enrollment that follows the purchase */
async function buyer(email: string, { agreed = false, softOptIn }: { agreed?: boolean; softOptIn?: SoftOptIn } = {}) {
  const product = { name: 'Cafetera', url: 'https://shop.example/cafetera', codes: ['C-1'], group: 'coffee' };
  const afterPurchase = afterPurchaseForTests();
  const campaignId = await publishForTests(engine.db, definitionForTests(2, { product, afterPurchase }));
  const request = requestBy(email, agreed ? {} : { consent: null });
  await enrollForTests(engine.db, campaignId, request);
  const orderId = `A-${randomUUID().slice(0, 8)}`;
  const { begun } = await recordPurchase(engine.db, {
    who: { hashes: request.hashes },
    orderId,
    products: ['C-1'],
    softOptIn,
    now: new Date(),
  });
  const [enrollmentId] = begun;
  if (enrollmentId === undefined) throw new Error('nothing has begun');
  return { campaignId, orderId, enrollmentId, hashes: request.hashes };
}

/** A header's value, unfolded; null where there is none. */
function header(mail: SunkMessage | undefined, name: string): string | null {
  const [head = ''] = mail?.raw.split('\r\n\r\n') ?? [];
  return new RegExp(`^${name}: (.*)$`, 'im').exec(head.replace(/\r\n[ \t]+/g, ' '))?.[1] ?? null;
}

const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);

async function messagesOf(enrollmentId: string) {
  return await engine.db
    .selectFrom('message')
    .selectAll()
    .where('enrollment_id', '=', enrollmentId)
    .orderBy('step')
    .execute();
}

test('P7, P10, P12: thanks at once, then what the campaign has for buyers at its pace, on a soft opt-in', async () => {
  const email = 'compra@correo.example';
  const { orderId, enrollmentId, campaignId } = await buyer(email, { softOptIn: SOFT });

  expect(await engine.run(enrollmentId)).toEqual({ outcome: 'exhausted', step: 3 });

  const mails = mailsTo(email);
  expect(mails.map((mail) => mail.subject)).toEqual([`Gracias ${orderId}`, `Dudas ${orderId}`, `Amigos ${orderId}`]);
  const [thanks, doubts, friends] = mails;
  expect(header(thanks, 'from')).toContain('pedidos@pedidos.shop.example');
  expect(header(doubts, 'from')).toContain('lucia@shop.example');
  for (const mail of mails) expect(header(mail, 'reply-to')).toContain('ayuda@shop.example');
  // The thanks speak for the order; the rest is marketing, with the way out that it must have.
  expect(header(thanks, 'list-unsubscribe')).toBeNull();
  expect(header(thanks, 'feedback-id')).toContain(':transactional:');
  for (const mail of [doubts, friends]) {
    expect(header(mail, 'list-unsubscribe')).toContain('/u/');
    expect(header(mail, 'feedback-id')).toContain(':marketing:');
  }
  const link = await engine.db
    .selectFrom('referral_link')
    .selectAll()
    .where('enrollment_id', '=', enrollmentId)
    .execute();
  expect(link).toMatchObject([{ campaign_id: campaignId }]);
  expect(friends?.raw).toContain(`/r/${link[0]?.code}`);

  const [first, second, third] = (await messagesOf(enrollmentId)).map((message) => message.settled_at as Date);
  const after = (at: Date | undefined) => DateTime.fromJSDate(at as Date, { zone: 'Europe/Madrid' });
  expect(after(second).toMillis()).toBeGreaterThanOrEqual(after(first).plus({ days: 7 }).toMillis() - 1);
  expect(after(third).toMillis()).toBeGreaterThanOrEqual(after(second).plus({ months: 1 }).toMillis() - 1);
  expect(after(third).toMillis()).toBeLessThan(after(second).plus({ months: 1, minutes: 5 }).toMillis());
});

test('P7: without a basis for more the thanks go out, and the journey ends as informed', async () => {
  const { enrollmentId, orderId } = await buyer('solo-gracias@correo.example');
  expect(await engine.run(enrollmentId)).toEqual({ outcome: 'informed', step: 1 });
  expect(mailsTo('solo-gracias@correo.example').map((mail) => mail.subject)).toEqual([`Gracias ${orderId}`]);
});

test('P6: who has objected before is thanked for an order, and gets nothing else', async () => {
  const email = 'objeta@correo.example';
  const { hashes, enrollmentId } = await buyer(email, { agreed: true });
  await engine.db
    .updateTable('address')
    .set({ suppressed_at: new Date(), suppressed_reason: 'objection' })
    .where('hash', '=', hashes[0])
    .execute();
  expect(await engine.run(enrollmentId)).toEqual({ outcome: 'unsubscribed', step: 1 });
  expect(mailsTo(email)).toHaveLength(1);
});

test('P6: an exclusion list that comes after the purchase ends what rests on a soft opt-in', async () => {
  const email = 'robinson@correo.example';
  const { hashes, enrollmentId } = await buyer(email, { softOptIn: SOFT });
  await engine.db.updateTable('address').set({ excluded_at: new Date() }).where('hash', '=', hashes[0]).execute();
  expect(await engine.run(enrollmentId)).toEqual({ outcome: 'informed', step: 1 });
  expect(mailsTo(email)).toHaveLength(1);
  const told = await engine.db
    .selectFrom('event')
    .select('detail')
    .where('enrollment_id', '=', enrollmentId)
    .where('kind', '=', 'ended')
    .executeTakeFirstOrThrow();
  expect(told.detail).toMatchObject({ by: 'exclusion-list' });
});
