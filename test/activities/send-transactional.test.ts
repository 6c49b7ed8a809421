import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { simpleParser } from 'mailparser';
import { createAbandonTransactional, createSendTransactional } from '../../activities/send-transactional';
import { pauseSending, resumeSending } from '../../db/breaker';
import { keepInbound } from '../../db/inbound';
import { saveLimits } from '../../db/limits';
import { enqueueTransactional, findTransactional } from '../../db/transactional';
import { unlimited } from '../../domain/limits';
import { readMailToken } from '../../domain/mail-token';
import { type Carrier, createCarrier } from '../../mail/deliver/connections';
import { createSigner } from '../../mail/deliver/signing';
import type { SendTransactionalResult } from '../../workflows/contract';
import { layCable } from '../support/cable';
import { publishForTests } from '../support/campaigns';
import { exitForTests } from '../support/exits';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, smtpError, startSmtpSink } from '../support/smtp-sink';
import { alertMail, pageMail, shopMail } from '../support/transactional';

const ANA = 'ana@correo.example';
const MINUTE = 60_000;

let database: TestDatabase;
let sink: SmtpSink;
let carrier: Carrier;

beforeAll(async () => {
  database = await createTestDatabase();
  sink = await startSmtpSink();
  carrier = createCarrier({ url: sink.url });
});
beforeEach(async () => {
  sink.messages.length = 0;
  sink.faults = {};
  for (const table of ['transactional', 'sending_pause', 'sending_fault', 'sending_limit', 'sending_quota'] as const) {
    await database.db.deleteFrom(table).execute();
  }
});
afterAll(async () => {
  await carrier.close();
  await sink.close();
  await database.drop();
});

async function run(
  transactionalId: string,
  change: { now?: number; over?: Carrier; exit?: object; mailBlocked?: string } = {},
) {
  const { now = Date.now(), over = carrier, exit = {}, mailBlocked = null } = change;
  const environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
  const sendTransactional = createSendTransactional({
    db: database.db,
    exit: { ...exitForTests('transactional', over), ...exit },
    tokenKeys: TEST_TOKEN_KEYS,
    addressKeys: TEST_ADDRESS_KEYS,
    mailBlocked,
  });
  return (await environment.run(sendTransactional, {
    transactionalId,
    now,
  })) as SendTransactionalResult;
}

const find = (id: string) => findTransactional(database.db, id);
const enqueue = (mail = shopMail(ANA)) => enqueueTransactional(database.db, mail);
const refusing = (code: number, text: string) => {
  sink.faults = {
    onRcpt: (to) => {
      throw smtpError(code, text.replace('<>', `<${to}>`));
    },
  };
};

test('filled, sent under a signed return path, and settled; again, it answers what is stored', async () => {
  let from = '';
  sink.faults = {
    onMail: (sender) => {
      from = sender;
    },
  };
  const id = await enqueue();
  expect(await run(id, { exit: { returnPath: 'bounces@shop.example' } })).toEqual({
    kind: 'settled',
    state: 'accepted',
  });
  const token = /^bounces\+([a-z2-7]+)@shop\.example$/.exec(from)?.[1] ?? '';
  expect(readMailToken('return-path', token, TEST_TOKEN_KEYS)).toEqual({ kind: 'transactional', id });
  expect(sink.messages[0]).toMatchObject({ to: ANA, messageId: (await find(id)).messageId });
  const mail = await simpleParser(sink.messages[0]?.raw ?? '');
  expect(mail).toMatchObject({ subject: 'Factura 17', html: '<p>Hola Ana: 17</p>' });
  expect(mail.replyTo).toBeUndefined();
  expect(await run(id)).toEqual({ kind: 'settled', state: 'accepted' });
  expect(sink.messages).toHaveLength(1);
});

test('a forward brings the message that was received, and answers go to the lead', async () => {
  const raw = Buffer.from(`From: ${ANA}\r\nSubject: Re: Hola\r\n\r\nMe interesa.\r\n`);
  const inboundId = await keepInbound(database.db, { source: 'pipe', receivedAt: new Date(), content: { raw } });
  const forward = {
    ...alertMail('ventas@shop.example'),
    kind: 'forward' as const,
    replyTo: ANA,
    attachInboundId: inboundId,
  };
  const id = await enqueueTransactional(database.db, forward);
  await run(id);
  const mail = await simpleParser(sink.messages[0]?.raw ?? '');
  expect(mail.replyTo?.value[0]?.address).toBe(ANA);
  expect(mail.attachments).toMatchObject([{ contentType: 'message/rfc822' }]);
  expect(mail.attachments[0]?.content.toString().trimEnd()).toBe(raw.toString().trimEnd());
  expect(mail.headers.get('feedback-id')).toBe('forward:transactional:shop.example');
});

test('put off by its recipient it comes again at growing distances, and is given up after five days', async () => {
  refusing(450, '4.2.0 <> greylisted');
  const id = await enqueue();
  let now = Date.now();
  const first = now;
  const waits: number[] = [];
  for (;;) {
    const answer = await run(id, { now });
    if (answer.kind === 'settled') {
      expect(answer.state).toBe('deferred');
      break;
    }
    expect(answer.reason).toBe('deferred');
    waits.push(Math.round((answer.at - now) / MINUTE));
    expect(await run(id, { now: now + MINUTE })).toEqual({ ...answer, reason: 'not-due' });
    now = answer.at;
  }
  expect(waits.slice(0, 6)).toEqual([15, 30, 60, 120, 240, 480]);
  const days = (now - first) / (24 * 60 * MINUTE);
  expect(days).toBeGreaterThan(4.5);
  expect(days).toBeLessThanOrEqual(5);
  expect(await find(id)).toMatchObject({ state: 'deferred', code: '450 4.2.0', settledAt: expect.any(Date) });
});

test('refused for good as nobody’s address: rejected, the address undeliverable, its journeys ended; the next invoice is tried all the same', async () => {
  const { db } = database;
  const enrollmentId = await enrollForTests(db, await publishForTests(db), requestBy(ANA));
  refusing(550, '5.1.1 <> no such user');
  const id = await enqueue();
  expect(await run(id)).toEqual({ kind: 'settled', state: 'rejected' });
  expect(await find(id)).toMatchObject({ state: 'rejected', code: '550 5.1.1' });
  const enrollment = await db
    .selectFrom('enrollment')
    .select('outcome')
    .where('id', '=', enrollmentId)
    .executeTakeFirst();
  expect(enrollment?.outcome).toBe('bounced');
  const faults = await db.selectFrom('sending_fault').select(['stream', 'kind', 'code']).execute();
  expect(faults).toEqual([{ stream: 'transactional', kind: 'hard-bounce', code: '550 5.1.1' }]);
  sink.faults = {};
  expect(await run(await enqueue())).toEqual({ kind: 'settled', state: 'accepted' });
});

test('an unknown 5xx is rejected and makes nobody undeliverable, and neither does a bounce of mail to staff', async () => {
  const { db } = database;
  await db.updateTable('address').set({ undeliverable_at: null }).execute();
  refusing(554, '<> no');
  expect(await run(await enqueue())).toEqual({ kind: 'settled', state: 'rejected' });
  refusing(550, '5.1.1 <> no such user');
  expect(await run(await enqueueTransactional(db, alertMail(ANA)))).toEqual({ kind: 'settled', state: 'rejected' });
  const hit = await db.selectFrom('address').select('hash').where('undeliverable_at', 'is not', null).execute();
  expect(hit).toEqual([]);
});

test('P5 a refusal of us is a failure to be retried that holds codes only, and loses nothing', async () => {
  refusing(451, '4.7.1 <> too much mail from you');
  sink.faults = {
    onMail: (from) => {
      throw smtpError(451, `4.3.0 <${from}> not now`);
    },
  };
  const id = await enqueue();
  await expect(run(id)).rejects.toMatchObject({
    type: 'smtp_refused',
    nonRetryable: false,
    message: 'smtp mail 451 4.3.0',
  });
  expect(await find(id)).toMatchObject({ state: 'queued', deferrals: 0, notBefore: null });
  sink.faults = {};
  expect(await run(id)).toEqual({ kind: 'settled', state: 'accepted' });
});

test('P3 a connection that breaks before the 250 leaves it unknown, and it is never sent again', async () => {
  const cable = await layCable(Number(new URL(sink.url).port));
  const over = createCarrier({ url: `smtp://127.0.0.1:${cable.port}` });
  sink.faults = { beforeAccept: () => cable.cut() };
  const id = await enqueue();
  expect(await run(id, { over })).toEqual({ kind: 'settled', state: 'unknown' });
  await over.close();
  await cable.close();
  sink.faults = {};
  expect(await run(id)).toEqual({ kind: 'settled', state: 'unknown' });
  expect(await find(id)).toMatchObject({ state: 'unknown', code: 'connection-lost' });
  expect(sink.messages).toHaveLength(1);
});

test('P3 found past another attempt’s gate it is unknown, also when it is cancelled then', async () => {
  const [found, cancelled] = [await enqueue(), await enqueue()];
  await database.db.updateTable('transactional').set({ state: 'handing_over', token: randomUUID() }).execute();
  expect(await run(found)).toEqual({ kind: 'settled', state: 'unknown' });
  expect(await find(found)).toMatchObject({ code: 'crash' });
  const abandon = createAbandonTransactional({ db: database.db });
  expect(await abandon({ transactionalId: cancelled })).toEqual({ state: 'unknown' });
  expect(sink.messages).toEqual([]);
});

test('P9 over its daily cap it comes again when its day comes, or when the cap was raised', async () => {
  const { db } = database;
  const limits = unlimited();
  limits.transactional.perDay = 1;
  await saveLimits(db, limits, new Date());
  expect(await run(await enqueue())).toEqual({ kind: 'settled', state: 'accepted' });
  const second = await enqueue();
  const now = Date.now();
  const answer = await run(second, { now });
  expect(answer).toMatchObject({ kind: 'again', reason: 'daily-cap' });
  // Within the hour it asks again: the cap may have been raised.
  expect('at' in answer && answer.at - Date.now()).toBeLessThanOrEqual(60 * MINUTE);
  expect(sink.messages).toHaveLength(1);
  await saveLimits(db, unlimited(), new Date());
  expect(await run(second, { now: now + 61 * MINUTE })).toEqual({ kind: 'settled', state: 'accepted' });
});

test('a stream that was stopped holds it back, and it goes out once that is over', async () => {
  const { db } = database;
  const id = await enqueue();
  const stopped = { stream: 'transactional' as const, provider: '*', now: new Date() };
  await pauseSending(db, { ...stopped, streams: [stopped.stream] });
  const answer = await run(id);
  expect(answer).toMatchObject({ kind: 'again', reason: 'paused' });
  expect(sink.messages).toEqual([]);
  await resumeSending(db, stopped);
  expect(await run(id, { now: 'at' in answer ? answer.at : 0 })).toEqual({ kind: 'settled', state: 'accepted' });
});

test('a stop for rates that comes before the gate leaves no claim behind', async () => {
  const { db } = database;
  const id = await enqueue();
  const pause = { stream: 'transactional' as const, provider: '*' };
  sink.faults = {
    onRcpt: async () => {
      await db
        .insertInto('sending_pause')
        .values({ ...pause, reason: 'complaint-rate', code: null, paused_at: new Date(), probe_at: null })
        .execute();
    },
  };
  const answer = await run(id);
  expect(answer).toMatchObject({ kind: 'again', reason: 'paused' });
  expect(sink.messages).toEqual([]);
  const row = db.selectFrom('transactional').select(['state', 'not_before']).where('id', '=', id);
  expect(await row.executeTakeFirstOrThrow()).toEqual({ state: 'queued', not_before: expect.any(Date) });
  sink.faults = {};
  await resumeSending(db, { ...pause, now: new Date() });
  expect(await run(id, { now: 'at' in answer ? answer.at : 0 })).toEqual({ kind: 'settled', state: 'accepted' });
});

test('nothing leaves while mail is blocked, or unsigned where it must be signed; both are faults that show', async () => {
  const id = await enqueue();
  await expect(run(id, { mailBlocked: 'links would be dead' })).rejects.toMatchObject({ type: 'mail_blocked' });
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = { domain: 'other.example', selector: 's1', privateKey };
  const sign = createSigner([key], 'smtps://mail.provider.example');
  await expect(run(id, { exit: { sign } })).rejects.toMatchObject({ type: 'not_signed' });
  expect(await find(id)).toMatchObject({ state: 'queued' });
  expect(sink.messages).toEqual([]);
});

test('P12 one that can’t be filled any more is rejected and says so', async () => {
  const mail = shopMail(ANA);
  const id = await enqueue({ ...mail, content: { ...mail.content, data: {} } });
  expect(await run(id)).toEqual({ kind: 'settled', state: 'rejected' });
  expect(await find(id)).toMatchObject({ code: 'not_fillable' });
});

describe('mail that a person asked for by a page', () => {
  const requested = () => exitForTests('requested', carrier);

  test('goes out by the requested stream, with its reply-to and language, and nothing but a keyed hash is left', async () => {
    const id = await enqueueTransactional(database.db, pageMail(ANA));
    expect(await run(id, { exit: requested() })).toEqual({ kind: 'settled', state: 'accepted' });
    const mail = await simpleParser(sink.messages[0]?.raw ?? '');
    expect(mail).toMatchObject({ subject: 'Su enlace', html: '<p>Aquí está.</p>' });
    expect(mail.replyTo?.value[0]?.address).toBe('lucia@shop.example');
    expect(mail.headers.get('feedback-id')).toBe('link:requested:shop.example');
    expect(mail.headers.get('content-language')).toBe('es');
    const row = await database.db
      .selectFrom('transactional')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    expect(row).toMatchObject({ email: null, content: null, address_hash: pageMail(ANA).hashes[0] });
  });

  test('the streams never meet: on another one’s queue nothing is sent, and it is told which is its own', async () => {
    const page = await enqueueTransactional(database.db, pageMail(ANA));
    const invoice = await enqueue();
    expect(await run(page)).toMatchObject({ kind: 'again', stream: 'requested', reason: 'not-due' });
    expect(await run(invoice, { exit: requested() })).toMatchObject({ kind: 'again', stream: 'transactional' });
    expect(await run(page, { exit: exitForTests('marketing', carrier) })).toMatchObject({ stream: 'requested' });
    expect(sink.messages).toEqual([]);
    for (const id of [page, invoice]) expect(await find(id)).toMatchObject({ state: 'queued' });
  });

  test('P9 it counts against the caps of its own stream, and is held by a stop of that alone', async () => {
    const { db } = database;
    const limits = unlimited();
    limits.requested.perDay = 1;
    await saveLimits(db, limits, new Date());
    await pauseSending(db, { streams: ['transactional'], provider: '*', now: new Date() });
    const ids = [
      await enqueueTransactional(db, pageMail(ANA)),
      await enqueueTransactional(db, pageMail('berta@correo.example')),
    ] as const;
    expect(await run(ids[0], { exit: requested() })).toEqual({ kind: 'settled', state: 'accepted' });
    expect(await run(ids[1], { exit: requested() })).toMatchObject({ kind: 'again', reason: 'daily-cap' });
    await saveLimits(db, unlimited(), new Date());
    await pauseSending(db, { streams: ['requested'], provider: '*', now: new Date() });
    const third = await enqueueTransactional(db, pageMail(ANA));
    expect(await run(third, { exit: requested() })).toMatchObject({ kind: 'again', reason: 'paused' });
  });

  test('refused as nobody’s address, that address is undeliverable, and the fault is one of its stream', async () => {
    const { db } = database;
    const email = 'nadie@correo.example';
    refusing(550, '5.1.1 <> no such user');
    const id = await enqueueTransactional(db, pageMail(email));
    expect(await run(id, { exit: requested() })).toEqual({ kind: 'settled', state: 'rejected' });
    const faults = await db.selectFrom('sending_fault').select(['stream', 'kind']).execute();
    expect(faults).toEqual([{ stream: 'requested', kind: 'hard-bounce' }]);
    const address = await db
      .selectFrom('address')
      .select('undeliverable_at')
      .where('hash', '=', pageMail(email).hashes[0])
      .executeTakeFirst();
    expect(address?.undeliverable_at).toBeInstanceOf(Date);
  });
});
