import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Db } from '../../db/client';
import { keepInbound } from '../../db/inbound';
import { eraseOldInbound, MAX_ATTEMPTS } from '../../db/inbound-queue';
import type { ProviderEvent } from '../../domain/inbound';
import type { Understand } from '../../domain/inbound-actions';
import { signMailToken } from '../../domain/mail-token';
import { createUnderstand, createUnderstandEvent } from '../../mail/receive/understand';
import { type InboundOptions, inboundOnce } from '../../temporal/inbound';
import { publishForTests } from '../support/campaigns';
import { silent } from '../support/engine';
import { ACT_DEPS } from '../support/inbound';
import { enrollForTests, requestBy, TEST_TOKEN_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
let db: Db;
let campaignId: string;
const asked = { tell: [] as string[], start: [] as string[], mails: [] as string[] };

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  campaignId = await publishForTests(db);
});
afterAll(() => database.drop());
afterEach(() => db.deleteFrom('privacy_request').execute());

const understand = createUnderstand(TEST_TOKEN_KEYS);

function options(change: Partial<InboundOptions> = {}): InboundOptions {
  return {
    db,
    log: silent,
    understand,
    understandEvent: createUnderstandEvent(TEST_TOKEN_KEYS),
    deps: ACT_DEPS,
    journeys: {
      tell: (ids) => void asked.tell.push(...ids),
      start: (ids) => void asked.start.push(...ids),
      startTransactional: (ids) => void asked.mails.push(...ids),
    },
    ...change,
  };
}

async function lead() {
  const email = `${randomUUID()}@correo.example`;
  const id = await enrollForTests(db, campaignId, requestBy(email));
  await db.updateTable('enrollment').set({ step: 1 }).where('id', '=', id).execute();
  return { email, id };
}

const ref = (id: string, step = 0) => ({ kind: 'enrollment', id, step, copy: 0 }) as const;

/** An answer to our mail, as a mail program writes it. */
function answer(email: string, id: string, text: string): Buffer {
  const ours = `<${signMailToken('message-id', ref(id), TEST_TOKEN_KEYS)}@shop.example>`;
  return Buffer.from(
    [
      `From: Ana <${email}>`,
      `To: replies+${signMailToken('reply', ref(id), TEST_TOKEN_KEYS)}@shop.example`,
      'Subject: Re: Paso 0',
      `Message-ID: <${randomUUID()}@correo.example>`,
      `In-Reply-To: ${ours}`,
      'Date: Mon, 02 Nov 2026 10:00:00 +0100',
      'Content-Type: text/plain; charset=utf-8',
      '',
      text,
      '',
      'El lun, 2 nov 2026, Lucía escribió:',
      '> Para darse de baja, pulse aquí.',
      '',
    ].join('\r\n'),
  );
}

/** What Postfix sends back when the receiving server knows no such mailbox. */
function nonDelivery(email: string, id: string): Buffer {
  return Buffer.from(
    [
      'From: MAILER-DAEMON@mx.shop.example (Mail Delivery System)',
      `To: bounces+${signMailToken('return-path', ref(id), TEST_TOKEN_KEYS)}@shop.example`,
      'Subject: Undelivered Mail Returned to Sender',
      'Auto-Submitted: auto-replied',
      `Message-ID: <${randomUUID()}@mx.shop.example>`,
      'MIME-Version: 1.0',
      'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
      '',
      '--b',
      'Content-Type: text/plain',
      '',
      'This is the mail system at host mx.shop.example.',
      '--b',
      'Content-Type: message/delivery-status',
      '',
      'Reporting-MTA: dns; mx.shop.example',
      '',
      `Final-Recipient: rfc822; ${email}`,
      `Original-Recipient: rfc822;${email}`,
      'Action: failed',
      'Status: 5.1.1',
      'Diagnostic-Code: smtp; 550 5.1.1 no such user',
      '',
      '--b--',
      '',
    ].join('\r\n'),
  );
}

async function keep(raw: Buffer): Promise<string> {
  const id = await keepInbound(db, { source: 'pipe', receivedAt: new Date(), content: { raw } });
  if (id === null) throw new Error('it was known');
  return id;
}

async function row(id: string) {
  return await db.selectFrom('inbound').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function outcomeOf(id: string) {
  return (await db.selectFrom('enrollment').select('outcome').where('id', '=', id).executeTakeFirstOrThrow()).outcome;
}

test('raw messages are understood and acted upon: a reply, a bounce, a wish in words', async () => {
  const [replying, bouncing, leaving] = [await lead(), await lead(), await lead()];
  const reply = await keep(answer(replying.email, replying.id, '¿Me pueden llamar mañana por la tarde?'));
  const bounce = await keep(nonDelivery(bouncing.email, bouncing.id));
  const leave = await keep(answer(leaving.email, leaving.id, 'No quiero recibir más correos. Denme de baja.'));
  const round = await inboundOnce(options());
  expect(round).toMatchObject({ done: 3, failed: 0 });
  expect(await row(reply)).toMatchObject({ kind: 'reply', matched_by: 'reply-to', proven: true });
  expect((await row(reply)).summary).toMatchObject({
    excerpt: '¿Me pueden llamar mañana por la tarde?',
    subject: 'Re: Paso 0',
  });
  expect(await row(bounce)).toMatchObject({ kind: 'bounce', matched_by: 'verp', proven: true });
  expect(await row(leave)).toMatchObject({ kind: 'unsubscribe' });
  expect(await Promise.all([replying, bouncing, leaving].map(({ id }) => outcomeOf(id)))).toEqual([
    'replied',
    'bounced',
    'unsubscribed',
  ]);
  expect(asked.tell).toEqual(expect.arrayContaining([replying.id, bouncing.id, leaving.id]));
  expect(asked.mails).toHaveLength(2);
});

test('what a provider tells is matched by its own id, and its signature is the proof', async () => {
  const { email, id } = await lead();
  const providerId = `0102018f${randomUUID()}`;
  const at = new Date();
  await db
    .insertInto('message')
    .values({
      enrollment_id: id,
      step: 0,
      message_id: `<${randomUUID()}@shop.example>`,
      state: 'unknown',
      token: randomUUID(),
      first_claimed_at: at,
      claimed_at: at,
      settled_at: at,
      provider_id: providerId,
    })
    .execute();
  const event = (change: Partial<ProviderEvent>): ProviderEvent => ({
    provider: 'ses',
    kind: 'delivered',
    eventId: randomUUID(),
    messageId: null,
    providerId,
    recipient: email,
    enhanced: null,
    code: null,
    diagnostic: null,
    permanent: null,
    at: at.toISOString(),
    ...change,
  });
  const tell = async (change: Partial<ProviderEvent>) => {
    const told = event(change);
    const content = { event: told, body: Buffer.from(JSON.stringify(told)) };
    const inboundId = await keepInbound(db, {
      source: 'webhook:ses',
      receivedAt: at,
      content,
      externalId: told.eventId,
    });
    await inboundOnce(options());
    return await row(inboundId as string);
  };
  const message = () => db.selectFrom('message').selectAll().where('enrollment_id', '=', id).executeTakeFirstOrThrow();

  expect(await tell({})).toMatchObject({ kind: 'notice', subtype: 'delivered', proven: true, step: 0 });
  expect(await message()).toMatchObject({ state: 'accepted', report: 'delivered' });

  await tell({ kind: 'bounced', enhanced: '4.4.1', diagnostic: 'smtp; 4.4.1 connection timed out', permanent: false });
  expect(await message()).toMatchObject({ report: 'bounced-soft' });
  expect(await outcomeOf(id)).toBeNull();

  await tell({ kind: 'bounced', enhanced: '5.1.1', diagnostic: 'smtp; 550 5.1.1 user unknown', permanent: true });
  expect(await message()).toMatchObject({ report: 'bounced-hard', report_code: '5.1.1' });
  expect(await outcomeOf(id)).toBe('bounced');
});

test('by two workers at once, every message is acted upon once', async () => {
  const people = await Promise.all(Array.from({ length: 60 }, () => lead()));
  const ids: string[] = [];
  for (const { email, id } of people) ids.push(await keep(answer(email, id, 'Sí, me interesa.')));
  const rounds = async () => {
    let done = 0;
    for (;;) {
      const round = await inboundOnce(options());
      done += round.done;
      if (round.done === 0) return done;
    }
  };
  const [a, b] = await Promise.all([rounds(), rounds()]);
  expect(a + b).toBe(60);
  expect(a).toBeGreaterThan(0);
  expect(b).toBeGreaterThan(0);
  const forwards = await sql<{ n: string }>`
    select count(*) as n from transactional where inbound_id = any(${ids}::uuid[])`.execute(db);
  expect(Number(forwards.rows[0]?.n)).toBe(60);
});

test('P12 what can’t be dealt with is tried again, given up as failed and shown; it never holds up another', async () => {
  const { email, id } = await lead();
  const poison = await keep(Buffer.from('Subject: poison\r\n\r\n'));
  const sound = await keep(answer(email, id, 'Sí, me interesa.'));
  const failing: Understand = async (raw, envelope, lookup) => {
    if (raw.includes('poison')) throw Object.assign(new Error('ana@correo.example broke it'), { code: 'E_POISON' });
    return await understand(raw, envelope, lookup);
  };
  expect(await inboundOnce(options({ understand: failing }))).toMatchObject({ done: 1, failed: 1 });
  expect(await row(sound)).toMatchObject({ state: 'done' });
  expect(await row(poison)).toMatchObject({ state: 'new', attempts: 1, failure: 'E_POISON' });
  for (let attempt = 2; attempt <= MAX_ATTEMPTS; attempt++) {
    // Not before its time.
    expect(await inboundOnce(options({ understand: failing }))).toMatchObject({ failed: 0 });
    await db.updateTable('inbound').set({ next_at: sql<Date>`now()` }).where('id', '=', poison).execute();
    expect(await inboundOnce(options({ understand: failing }))).toMatchObject({ failed: 1 });
  }
  expect(await row(poison)).toMatchObject({ state: 'failed', failure: 'E_POISON', needs_review: true });
});

test('a worker that died with a message leaves it to another; one that kills every worker is given up', async () => {
  const { email, id } = await lead();
  const left = await keep(answer(email, id, 'Sí, me interesa.'));
  await db
    .updateTable('inbound')
    .set({ attempts: 1, leased_until: sql<Date>`now() + interval '1 minute'` })
    .where('id', '=', left)
    .execute();
  expect(await inboundOnce(options())).toMatchObject({ done: 0 });
  await db
    .updateTable('inbound')
    .set({ leased_until: sql<Date>`now() - interval '1 second'` })
    .where('id', '=', left)
    .execute();
  expect(await inboundOnce(options())).toMatchObject({ done: 1 });

  const deadly = await keep(Buffer.from(`Subject: ${randomUUID()}\r\n\r\n`));
  await db
    .updateTable('inbound')
    .set({ attempts: MAX_ATTEMPTS, leased_until: sql<Date>`now() - interval '1 second'` })
    .where('id', '=', deadly)
    .execute();
  expect(await inboundOnce(options())).toMatchObject({ done: 0, failed: 1 });
  expect(await row(deadly)).toMatchObject({ state: 'failed', failure: 'attempts_died', needs_review: true });
});

test('after 90 days what was written is erased; what it was and what followed stays', async () => {
  const { email, id } = await lead();
  const inboundId = await keep(answer(email, id, 'Sí, me interesa.'));
  await inboundOnce(options());
  const waiting = await keep(Buffer.from(`Subject: ${randomUUID()}\r\n\r\n`));
  const in89 = new Date(Date.now() + 89 * 86_400_000);
  expect(await eraseOldInbound(db, in89, 'P90D')).toBe(0);
  await eraseOldInbound(db, new Date(Date.now() + 91 * 86_400_000), 'P90D');
  const erased = await row(inboundId);
  expect(erased).toMatchObject({ raw: null, summary: null, kind: 'reply', enrollment_id: id, state: 'done' });
  expect(erased.classification).toMatchObject({ kind: 'reply', evidence: [] });
  expect(JSON.stringify(erased)).not.toContain(email);
  expect((await row(waiting)).raw).not.toBeNull();
});
