import { randomUUID } from 'node:crypto';
import { defaultActivityInfo, MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { type ParsedMail, simpleParser } from 'mailparser';
import { createSendTest } from '../../activities/send-test';
import { createCampaign } from '../../db/campaigns';
import { createTestSend, findTestSend, leaseUnstartedTestSends, markTestSendsStarted } from '../../db/test-sends';
import { hashAddress } from '../../domain/address-hash';
import { type Carrier, createCarrier } from '../../mail/deliver/connections';
import { layCable } from '../support/cable';
import { definitionForTests } from '../support/campaigns';
import { exitForTests } from '../support/exits';
import { TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, smtpError, startSmtpSink } from '../support/smtp-sink';

const STAFF = 'staff@shop.example';
const HASHES = hashAddress(STAFF, TEST_ADDRESS_KEYS);

let database: TestDatabase;
let sink: SmtpSink;
let carrier: Carrier;

beforeAll(async () => {
  database = await createTestDatabase();
  sink = await startSmtpSink();
  carrier = createCarrier({ url: sink.url });
});
beforeEach(() => {
  sink.messages.length = 0;
  sink.faults = {};
});
afterAll(async () => {
  await carrier.close();
  await sink.close();
  await database.drop();
});

async function queued(change: { locale?: string; subject?: string } = {}): Promise<string> {
  const { steps: _, ...definition } = definitionForTests(1, { locale: change.locale ?? 'es' });
  const campaign = await createCampaign(database.db, definition);
  return await createTestSend(database.db, {
    campaignId: campaign.id,
    version: null,
    step: 2,
    address: STAFF,
    lead: { email: 'lead@example.org', name: 'Íñigo', locale: 'es', timeZone: 'Europe/Madrid', attributes: {} },
    content: {
      definition,
      compiled: {
        subject: change.subject ?? 'Hola {{ lead.firstName }}',
        html: '<p>{{ requestedAt | ago }} <a href="{{ unsubscribeUrl }}">Baja</a></p>',
        text: '{{ requestedAt | ago }} {{ unsubscribeUrl }}',
      },
      stepCount: 3,
      requestedAt: new Date(Date.now() - 100 * 86_400_000).toISOString(),
      consentSource: null,
      hashes: HASHES,
    },
  });
}

async function run(testSendId: string, { attempt = 1, mailBlocked = null as string | null, over = carrier } = {}) {
  const info = { ...defaultActivityInfo, attempt, retryPolicy: { maximumAttempts: 10 } };
  const environment = new MockActivityEnvironment(info, { logger: new DefaultLogger('ERROR') });
  const sendTest = createSendTest({
    db: database.db,
    exit: exitForTests('marketing', over),
    publicUrl: 'https://recuerda.test',
    replyAddress: null,
    tokenKeys: TEST_TOKEN_KEYS,
    mailBlocked,
  });
  return await environment.run(sendTest, { testSendId });
}

async function rowOf(id: string) {
  return await database.db.selectFrom('test_send').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

const ERASED = { address: null, lead: null, content: null };

test('a test goes to staff, filled for its lead, its subject marked, and is forgotten once it is taken', async () => {
  const id = await queued();
  expect(await run(id)).toEqual({ state: 'accepted' });
  expect(sink.messages).toHaveLength(1);
  expect(sink.messages[0]?.to).toBe(STAFF);
  const mail: ParsedMail = await simpleParser(sink.messages[0]?.raw ?? '');
  expect(mail.subject).toBe('[Prueba] Hola Íñigo');
  expect(mail.text).toContain('hace 3 meses https://recuerda.test/u/preview');
  expect(mail.headers.get('auto-submitted')).toBe('auto-generated');
  expect(await rowOf(id)).toMatchObject({ ...ERASED, state: 'accepted', code: expect.stringMatching(/^250/) });
  expect(await database.db.selectFrom('message').select('step').execute()).toEqual([]);

  // Once more, as after a lost answer: nothing is sent again.
  expect(await run(id)).toEqual({ state: 'accepted' });
  expect(sink.messages).toHaveLength(1);
});

test.each([
  ['en-GB', '[Test] Hola'],
  ['pt', '[Teste] Hola'],
])('in %s its subject begins as %s', async (locale, subject) => {
  await run(await queued({ locale, subject: 'Hola' }));
  expect(sink.messages[0]?.subject).toBe(subject);
});

test('nothing leaves while mail is blocked, and whoever waits is told', async () => {
  const id = await queued();
  expect(await run(id, { mailBlocked: 'links would be dead' })).toEqual({ state: 'refused' });
  expect(sink.messages).toEqual([]);
  expect(await rowOf(id)).toMatchObject({ ...ERASED, state: 'refused', code: 'mail_blocked' });
});

test('an address that came back since it was asked for gets nothing', async () => {
  const id = await queued();
  await database.db.insertInto('address').values({ hash: HASHES[0], undeliverable_at: new Date() }).execute();
  expect(await run(id)).toEqual({ state: 'refused' });
  await database.db.deleteFrom('address').where('hash', '=', HASHES[0]).execute();
  expect(sink.messages).toEqual([]);
  expect(await rowOf(id)).toMatchObject({ ...ERASED, code: 'undeliverable' });
});

test('a refusal for good is kept as codes, and suppresses nobody', async () => {
  const id = await queued();
  sink.faults = {
    onRcpt: (to) => {
      throw smtpError(550, `5.1.1 <${to}> no such user`);
    },
  };
  expect(await run(id)).toEqual({ state: 'refused' });
  expect(await rowOf(id)).toMatchObject({ ...ERASED, state: 'refused', code: '550 5.1.1' });
  expect(await database.db.selectFrom('address').selectAll().execute()).toEqual([]);
});

test('P5 what may pass is tried again, its failure holds codes only, and after the last attempt it is refused', async () => {
  const id = await queued();
  sink.faults = {
    onRcpt: (to) => {
      throw smtpError(451, `4.7.1 <${to}> greylisted`);
    },
  };
  await expect(run(id, { attempt: 9 })).rejects.toMatchObject({
    type: 'smtp_refused',
    nonRetryable: false,
    message: 'smtp rcpt 451 4.7.1',
  });
  expect(await findTestSend(database.db, id)).toMatchObject({ state: 'queued', code: null });
  expect(await run(id, { attempt: 10 })).toEqual({ state: 'refused' });
  expect(await rowOf(id)).toMatchObject({ ...ERASED, state: 'refused', code: 'smtp rcpt 451 4.7.1' });
});

test('a connection that breaks before the answer leaves open whether it arrived, and it is not sent again', async () => {
  const id = await queued();
  const cable = await layCable(Number(new URL(sink.url).port));
  const over = createCarrier({ url: `smtp://127.0.0.1:${cable.port}` });
  sink.faults = { beforeAccept: () => cable.cut() };
  expect(await run(id, { over })).toEqual({ state: 'refused' });
  await over.close();
  await cable.close();
  expect(await rowOf(id)).toMatchObject({ ...ERASED, state: 'refused', code: 'unknown connection-lost' });
  expect(sink.messages).toHaveLength(1);
});

test('P4 a test whose start was lost is leased to one reconciler at a time, until it is started', async () => {
  await database.db.deleteFrom('test_send').execute();
  const ids = [await queued(), await queued()];
  const leased = await Promise.all([1, 2].map(() => leaseUnstartedTestSends(database.db, 10, 30_000)));
  expect(
    leased
      .flat()
      .map((test) => test.testSendId)
      .sort(),
  ).toEqual([...ids].sort());
  expect(await leaseUnstartedTestSends(database.db, 10, 30_000)).toEqual([]);
  await database.db
    .updateTable('test_send')
    .set({ leased_until: new Date(0) })
    .execute();
  await markTestSendsStarted(database.db, ids.slice(0, 1));
  expect(await leaseUnstartedTestSends(database.db, 10, 30_000)).toEqual([{ testSendId: ids[1], step: 2 }]);
});

test('a test that was never sent is given up after a day, and forgotten', async () => {
  const id = await queued();
  await markTestSendsStarted(database.db, [id]);
  await database.db
    .updateTable('test_send')
    .set({ created_at: new Date(Date.now() - 25 * 3_600_000) })
    .where('id', '=', id)
    .execute();
  expect(await leaseUnstartedTestSends(database.db, 10, 30_000)).not.toContainEqual({ testSendId: id, step: 2 });
  expect(await rowOf(id)).toMatchObject({ ...ERASED, state: 'refused', code: 'expired' });
});

test('a test that is not there fails', async () => {
  await expect(run(randomUUID())).rejects.toMatchObject({ code: 'not-found' });
});
