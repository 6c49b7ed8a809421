import { randomUUID } from 'node:crypto';
import { DateTime } from 'luxon';
import type { Db } from '../../db/client';
import { actOnInbound } from '../../db/inbound-actions';
import { claim, loadTouch, passGate } from '../../db/ledger';
import { holdWhilePaused } from '../../db/pauses';
import { reopenEnrollment } from '../../db/reopening';
import { enqueueTransactional } from '../../db/transactional';
import type { Classification } from '../../domain/inbound';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { ACT_DEPS, bounced, classified, keepForTests, receive, stepRef, understoodAs } from '../support/inbound';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { seed, tally, together, tryClaim } from './racing';

const DAY = 24 * 3_600_000;

let database: TestDatabase;
let db: Db;
let coffee: string;
let tea: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  coffee = await publishForTests(db);
  tea = await publishForTests(
    db,
    definitionForTests(8, { sender: { ...definitionForTests().sender, replyTo: 'te@shop.example' } }),
  );
});
afterAll(() => database.drop());

/** Somebody new in the coffee campaign, whose nudge 1 comes next. */
async function lead(change: Partial<Parameters<typeof requestBy>[1]> = {}) {
  const email = `${randomUUID()}@correo.example`;
  const request = requestBy(email, { timeZone: 'Europe/Madrid', ...change });
  const id = await enrollForTests(db, coffee, request);
  await atStep(id, 1, new Date(Date.now() + 60 * DAY));
  const { lead_id: leadId } = await enrollment(id);
  return { email, id, leadId, hash: request.hashes[0], request };
}

async function atStep(id: string, step: number, dueAt: Date) {
  await db.updateTable('enrollment').set({ step, next_due_at: dueAt, signal_at: null }).where('id', '=', id).execute();
}

async function enrollment(id: string) {
  return await db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function outcomeOf(id: string) {
  return (await enrollment(id)).outcome;
}

async function address(hash: string) {
  return await db.selectFrom('address').selectAll().where('hash', '=', hash).executeTakeFirstOrThrow();
}

async function inbound(id: string) {
  return await db.selectFrom('inbound').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function forwardsOf(inboundId: string) {
  return await db
    .selectFrom('transactional')
    .selectAll()
    .where('inbound_id', '=', inboundId)
    .orderBy('email')
    .execute();
}

async function eventsOf(leadId: string) {
  return (await db.selectFrom('event').select('kind').where('lead_id', '=', leadId).orderBy('id').execute()).map(
    ({ kind }) => kind,
  );
}

/** A row of the ledger, as a send would have left it. */
async function sent(
  id: string,
  step: number,
  state: 'accepted' | 'unknown' = 'accepted',
  providerId: string | null = null,
) {
  const at = new Date();
  await db
    .insertInto('message')
    .values({
      enrollment_id: id,
      step,
      message_id: `<${randomUUID()}@shop.example>`,
      state,
      token: randomUUID(),
      first_claimed_at: at,
      claimed_at: at,
      settled_at: at,
      provider_id: providerId,
    })
    .execute();
}

async function message(id: string, step: number) {
  return await db
    .selectFrom('message')
    .selectAll()
    .where('enrollment_id', '=', id)
    .where('step', '=', step)
    .executeTakeFirstOrThrow();
}

async function faultsAt(provider: string) {
  return await db.selectFrom('sending_fault').select('kind').where('provider', '=', provider).execute();
}

const reply = classified({ kind: 'reply' });

describe('a reply', () => {
  test('ends its enrollment as replied and hands it to the salespeople, with the original and an answer to the lead', async () => {
    const { email, id, leadId } = await lead();
    await sent(id, 0);
    const acted = await receive(db, reply, {
      from: email,
      proven: stepRef(id, 0, 'reply-to'),
      text: '¿Cuánto cuesta?',
    });

    expect(await outcomeOf(id)).toBe('replied');
    expect(acted.tell).toEqual([id]);
    expect((await enrollment(id)).signal_at).not.toBeNull();
    const [forward, ...more] = await forwardsOf(acted.inboundId);
    expect(more).toEqual([]);
    expect(acted.mails).toEqual([forward?.id]);
    expect(forward).toMatchObject({ kind: 'forward', email: 'lucia@shop.example', address_hash: null });
    expect(forward?.content).toMatchObject({
      replyTo: email,
      from: { name: 'Íñigo Núñez via Casa Brava, S.L.', address: 'lucia@shop.example' },
      subject: 'Re: Paso 0 [respuesta]',
    });
    const { text } = (forward?.content ?? {}) as unknown as { text: string };
    expect(text).toContain('> ¿Cuánto cuesta?');
    expect(text).toContain('Cafetera Brava');
    expect(text).toContain('la información');
    expect(text).toContain('ha contestado');
    expect(text).toMatch(/https:\/\/recuerda\.test\/s\/[\w-]+/);
    expect(await inbound(acted.inboundId)).toMatchObject({
      state: 'done',
      kind: 'reply',
      enrollment_id: id,
      lead_id: leadId,
      step: 0,
      matched_by: 'reply-to',
      proven: true,
      needs_review: false,
    });
    expect(await eventsOf(leadId)).toEqual(['enrolled', 'ended', 'forwarded', 'received']);
  });

  test('in a thread ends that enrollment only; matched by address alone, all that were asked for before it came', async () => {
    const one = await lead();
    const inTea = await enrollForTests(db, tea, one.request);
    await receive(db, reply, { from: one.email, proven: stepRef(one.id) });
    expect([await outcomeOf(one.id), await outcomeOf(inTea)]).toEqual(['replied', null]);

    const other = await lead();
    const otherInTea = await enrollForTests(db, tea, other.request);
    const { inboundId } = await receive(db, reply, { from: other.email });
    expect([await outcomeOf(other.id), await outcomeOf(otherInTea)]).toEqual(['replied', 'replied']);
    expect((await forwardsOf(inboundId)).map((mail) => mail.email)).toEqual(['lucia@shop.example', 'te@shop.example']);
  });

  test('that is older than a request leaves that open', async () => {
    const { email, id } = await lead({ requestedAt: new Date() });
    await receive(db, reply, { from: email, receivedAt: new Date(Date.now() - DAY) });
    expect(await outcomeOf(id)).toBeNull();
  });

  test('in the thread of an enrollment that has ended ends the one that they have asked for since', async () => {
    const { email, id, request } = await lead();
    await receive(db, reply, { from: email, proven: stepRef(id) });
    const again = await enrollForTests(db, coffee, request);
    await receive(db, reply, { from: email, proven: stepRef(id) });
    expect(await outcomeOf(again)).toBe('replied');
  });

  test('from another address of theirs counts by its token; that address is not touched', async () => {
    const { id, hash } = await lead();
    await receive(db, reply, { from: 'personal@otra.example', proven: stepRef(id, 0, 'references') });
    expect(await outcomeOf(id)).toBe('replied');
    expect((await address(hash)).suppressed_at).toBeNull();
    expect(await db.selectFrom('address').select('hash').where('suppressed_at', 'is not', null).execute()).toEqual([]);
  });

  test('is found by the id that a provider gave our mail: bare, in angle brackets, or as a local part', async () => {
    for (const [stored, referred] of [
      ['<0102018f-aaaa@eu-west-1.amazonses.com>', '<0102018f-aaaa@eu-west-1.amazonses.com>'],
      ['0102018fbbbbbbbb-cccc', '<0102018fbbbbbbbb-cccc@eu-west-1.amazonses.com>'],
      ['abc@mailgun.example', '<abc@mailgun.example>'],
    ] as const) {
      const { id } = await lead();
      await sent(id, 0, 'accepted', stored);
      const { inboundId } = await receive(db, reply, { from: 'colega@otra.example', messageIds: [referred] });
      expect(await outcomeOf(id)).toBe('replied');
      expect(await inbound(inboundId)).toMatchObject({ matched_by: 'references', proven: false, step: 0 });
    }
    const { id } = await lead();
    await sent(id, 0, 'accepted', '4bQ9Xy');
    await receive(db, reply, { from: 'colega@otra.example', messageIds: ['<4bQ9Xy@otra.example>'] });
    expect(await outcomeOf(id)).toBeNull();
  });

  test('to what the salespeople have answered, in the thread of the forward, is the lead’s all the same', async () => {
    const { email, id } = await lead();
    const { mails } = await receive(db, reply, { from: email, proven: stepRef(id) });
    const { enrollmentId } = await reopenEnrollment(db, {
      enrollmentId: id,
      via: 'api',
      timeFactor: 1,
      addressKeys: TEST_ADDRESS_KEYS,
      now: new Date(),
    });
    const forward = { ref: { kind: 'transactional', id: mails[0] as string } as const, by: 'references' as const };
    const staff = await receive(db, reply, { from: 'lucia@shop.example', proven: forward });
    expect(await inbound(staff.inboundId)).toMatchObject({ transactional_id: mails[0], enrollment_id: null });
    expect(await outcomeOf(enrollmentId)).toBeNull();
    await receive(db, reply, { from: email, proven: forward });
    expect(await outcomeOf(enrollmentId)).toBe('replied');
  });

  test('is not forwarded where the salespeople have it: it went straight to their mailbox', async () => {
    const { email, id } = await lead();
    const { inboundId } = await receive(db, reply, {
      from: email,
      proven: stepRef(id),
      recipients: ['Lucia@Shop.example'],
    });
    expect(await outcomeOf(id)).toBe('replied');
    expect(await forwardsOf(inboundId)).toEqual([]);
    expect((await inbound(inboundId)).actions).toContainEqual(expect.objectContaining({ do: 'not-forwarded' }));
  });

  test('P3 it proves that a mail whose handover was left open has arrived', async () => {
    const { email, id } = await lead();
    await sent(id, 0, 'unknown');
    await receive(db, reply, { from: email, proven: stepRef(id, 0, 'references') });
    expect(await message(id, 0)).toMatchObject({ state: 'accepted' });
  });

  test('of somebody whom nobody knows is kept and shown, and ends nothing', async () => {
    const { inboundId } = await receive(db, reply, { from: 'nadie@otra.example' });
    expect(await inbound(inboundId)).toMatchObject({
      state: 'done',
      kind: 'reply',
      enrollment_id: null,
      matched_by: null,
    });
  });
});

describe('P2 a reply that comes while a nudge is on its way out', () => {
  test('between claim and gate takes it back', async () => {
    const { email, id } = await lead();
    await atStep(id, 1, new Date(Date.now() - 1000));
    const key = { enrollmentId: id, step: 1, copy: 0 };
    const token = (await tryClaim(db, key)) as string;
    await receive(db, reply, { from: email, proven: stepRef(id) });
    expect(await passGate(db, key, token, new Date())).toBe(false);
    expect(await message(id, 1)).toMatchObject({ state: 'withdrawn' });
  });

  test('and past the gate names it', async () => {
    const { email, id } = await lead();
    await atStep(id, 1, new Date(Date.now() - 1000));
    const key = { enrollmentId: id, step: 1, copy: 0 };
    const token = (await tryClaim(db, key)) as string;
    await passGate(db, key, token, new Date());
    const { inboundId } = await receive(db, reply, { from: email, proven: stepRef(id) });
    expect((await inbound(inboundId)).actions).toContainEqual(
      expect.objectContaining({ do: 'stop', inFlight: [{ enrollmentId: id, step: 1 }] }),
    );
  });

  test('raced 300 times: nothing is handed over after the reply but what it names', async () => {
    const people = await seed(db, 300, { step: 1 });
    const counts = await tally(people, 8, async ({ enrollmentId, email }) => {
      const key = { enrollmentId, step: 1, copy: 0 };
      const inboundId = await keepForTests(db);
      const [passed] = await together(
        async () => {
          const token = await tryClaim(db, key);
          return token !== null && (await passGate(db, key, token, new Date()));
        },
        () =>
          actOnInbound(
            db,
            ACT_DEPS,
            inboundId,
            understoodAs(reply, { from: email, proven: stepRef(enrollmentId) }),
            new Date(),
          ),
      );
      const { actions } = await inbound(inboundId);
      const named = actions.some((action) => action.do === 'stop' && (action.inFlight as unknown[]).length > 0);
      return passed ? (named ? 'named' : 'missed') : 'held back';
    });
    expect(counts.missed).toBeUndefined();
  });
});

describe('a bounce', () => {
  test('of a dead address ends whatever the address is enrolled in and suppresses it', async () => {
    const { id, hash, request } = await lead();
    const inTea = await enrollForTests(db, tea, request);
    await sent(id, 0, 'unknown');
    await db.updateTable('enrollment').set({ fairness_key: 'other-hard' }).where('id', '=', id).execute();
    await receive(db, bounced(), { proven: stepRef(id, 0) });
    expect([await outcomeOf(id), await outcomeOf(inTea)]).toEqual(['bounced', 'bounced']);
    expect((await address(hash)).undeliverable_at).not.toBeNull();
    expect(await message(id, 0)).toMatchObject({ state: 'accepted', report: 'bounced-hard', report_code: '5.1.1' });
    expect(await faultsAt('other-hard')).toEqual([{ kind: 'hard-bounce' }]);
    // The provider's webhook tells the same: it is no second fault.
    await receive(db, bounced(), { proven: stepRef(id, 0), messageId: null });
    expect(await faultsAt('other-hard')).toHaveLength(1);
  });

  test.each([
    ['bounce', bounced()],
    ['complaint', classified({ kind: 'complaint' })],
  ])(
    'forged: a %s without a token of ours never stops or suppresses, and is shown as about nobody',
    async (_, forged) => {
      const { email, id, hash } = await lead();
      await sent(id, 0, 'accepted', '0102018fdddddddd-eeee');
      for (const clue of [{ from: email }, { messageIds: ['<0102018fdddddddd-eeee@eu-west-1.amazonses.com>'] }]) {
        const { inboundId } = await receive(db, forged, clue);
        expect(await inbound(inboundId)).toMatchObject({
          state: 'done',
          enrollment_id: null,
          matched_by: null,
          proven: false,
        });
        expect((await inbound(inboundId)).classification?.matched).toBeNull();
      }
      expect(await outcomeOf(id)).toBeNull();
      expect(await address(hash)).toMatchObject({ undeliverable_at: null, suppressed_at: null });
      expect(await message(id, 0)).toMatchObject({ report: null });
    },
  );

  test('for policy or content never suppresses, however often; it is told to the breaker', async () => {
    const { id, hash } = await lead();
    await db.updateTable('enrollment').set({ fairness_key: 'other-policy' }).where('id', '=', id).execute();
    for (const step of [0, 1, 2, 3]) {
      await sent(id, step);
      const now = new Date(Date.now() + step * 40 * DAY);
      await receive(db, bounced({ severity: 'hard', cause: 'policy', code: '5.7.1' }), {
        proven: stepRef(id, step),
        receivedAt: now,
      });
    }
    expect(await outcomeOf(id)).toBeNull();
    expect((await address(hash)).undeliverable_at).toBeNull();
    expect(await message(id, 2)).toMatchObject({ report: 'bounced-soft', report_code: '5.7.1' });
    expect(await faultsAt('other-policy')).toHaveLength(4);
  });

  test('that is soft counts once for each step; three over thirty days end it', async () => {
    const full = bounced({ severity: 'soft', cause: 'mailbox', code: '5.2.2' });
    const { id, hash } = await lead();
    const start = Date.now();
    const bounceOf = (step: number, day: number) =>
      receive(db, full, { proven: stepRef(id, step), receivedAt: new Date(start + day * DAY) });
    await bounceOf(0, 0);
    await bounceOf(0, 35);
    await bounceOf(1, 20);
    await bounceOf(2, 29);
    expect(await outcomeOf(id)).toBeNull();
    await bounceOf(3, 31);
    expect(await outcomeOf(id)).toBe('bounced');
    expect((await address(hash)).undeliverable_at).not.toBeNull();
  });

  test.each(['a delivery', 'a reply', 'a fresh request'])('%s makes soft bounces forgotten', async (what) => {
    const { id, email, hash, request } = await lead();
    await receive(db, bounced({ severity: 'soft', cause: 'network' }), { proven: stepRef(id, 0) });
    expect(await db.selectFrom('soft_bounce').selectAll().where('address_hash', '=', hash).execute()).toHaveLength(1);
    if (what === 'a fresh request') await enrollForTests(db, coffee, request);
    else {
      const heard = what === 'a reply' ? reply : classified({ kind: 'notice', subtype: 'delivered' });
      await receive(db, heard, { from: email, proven: stepRef(id, 1) });
    }
    expect(await db.selectFrom('soft_bounce').selectAll().where('address_hash', '=', hash).execute()).toEqual([]);
  });

  test('of a forwarded reply touches no lead; it is noted and shown', async () => {
    const { email, id } = await lead();
    const acted = await receive(db, reply, { from: email, proven: stepRef(id) });
    const [forward] = await forwardsOf(acted.inboundId);
    const other = await lead();
    const ref = { ref: { kind: 'transactional', id: forward?.id ?? '' } as const, by: 'verp' as const };
    const { inboundId } = await receive(db, bounced(), { from: other.email, proven: ref });
    expect(await outcomeOf(other.id)).toBeNull();
    expect((await address(other.hash)).undeliverable_at).toBeNull();
    expect(await inbound(inboundId)).toMatchObject({
      transactional_id: forward?.id,
      enrollment_id: null,
      needs_review: true,
    });
    expect(await forwardsOf(acted.inboundId)).toMatchObject([{ report: 'bounced-hard' }]);
  });

  test('of a mail of the shop makes the address undeliverable', async () => {
    const { email, id, hash, request } = await lead();
    const invoice = await enqueueTransactional(db, {
      kind: 'shop',
      to: { email },
      hashes: request.hashes,
      template: 'invoice',
      content: {
        from: { name: 'Casa Brava', address: 'facturas@shop.example' },
        replyTo: null,
        compiled: { subject: 'Factura', html: '', text: '' },
        data: {},
        locale: 'es',
        timeZone: 'Europe/Madrid',
      },
      attachments: [],
    });
    await receive(db, bounced(), { proven: { ref: { kind: 'transactional', id: invoice }, by: 'verp' } });
    expect((await address(hash)).undeliverable_at).not.toBeNull();
    expect(await outcomeOf(id)).toBe('bounced');
  });
});

test('a complaint with our token ends everything and suppresses everywhere', async () => {
  const { id, hash, request } = await lead();
  const inTea = await enrollForTests(db, tea, request);
  await sent(id, 0);
  await receive(db, classified({ kind: 'complaint' }), { proven: stepRef(id, 0, 'embedded') });
  expect([await outcomeOf(id), await outcomeOf(inTea)]).toEqual(['complained', 'complained']);
  expect(await address(hash)).toMatchObject({ suppressed_reason: 'complaint' });
  expect(await message(id, 0)).toMatchObject({ report: 'complained' });
});

describe('unsubscribing by mail', () => {
  test('by the mail’s own address: suppressed, and nobody needs to read it', async () => {
    const { email, id, hash } = await lead();
    const { inboundId } = await receive(db, classified({ kind: 'unsubscribe', confidence: 1 }), {
      from: email,
      proven: stepRef(id, 0, 'reply-to'),
      byUnsubscribeAddress: true,
    });
    expect(await outcomeOf(id)).toBe('unsubscribed');
    expect(await address(hash)).toMatchObject({ suppressed_reason: 'objection' });
    expect(await forwardsOf(inboundId)).toEqual([]);
  });

  test('in words: suppressed, and a person reads it', async () => {
    const { email, id } = await lead();
    const { inboundId } = await receive(db, classified({ kind: 'unsubscribe' }), {
      from: email,
      text: 'Baja, por favor.',
    });
    expect(await outcomeOf(id)).toBe('unsubscribed');
    expect(await forwardsOf(inboundId)).toMatchObject([{ content: { subject: 'Re: Paso 0 [baja]' } }]);
  });

  test('P13 also where the enrollment was erased: the address that asks is suppressed', async () => {
    const request = requestBy(`${randomUUID()}@correo.example`);
    await receive(db, classified({ kind: 'unsubscribe', confidence: 1 }), {
      from: request.email,
      proven: stepRef(randomUUID(), 0, 'reply-to'),
      byUnsubscribeAddress: true,
    });
    expect(await address(request.hashes[0])).toMatchObject({ suppressed_reason: 'objection' });
  });

  test('a wish to be erased becomes a request with its due date', async () => {
    const { email, id } = await lead();
    const receivedAt = new Date('2027-01-31T10:00:00Z');
    const { inboundId } = await receive(db, classified({ kind: 'unsubscribe', requests: ['erasure', 'access'] }), {
      from: email,
      proven: stepRef(id),
      receivedAt,
    });
    const rows = await db
      .selectFrom('privacy_request')
      .selectAll()
      .where('inbound_id', '=', inboundId)
      .orderBy('kind')
      .execute();
    expect(
      rows.map(({ kind, due_at, done_at, enrollment_id }) => [kind, due_at.toISOString(), done_at, enrollment_id]),
    ).toEqual([
      ['access', '2027-02-28T22:59:59.999Z', null, id],
      ['erasure', '2027-02-28T22:59:59.999Z', null, id],
    ]);
    expect(await outcomeOf(id)).toBe('unsubscribed');
  });
});

describe('an automatic answer', () => {
  const away = (returnDate: string | null, change: Partial<Classification> = {}) =>
    classified({ kind: 'auto-reply', subtype: 'vacation', returnDate, ...change });

  test('P10 a nudge that would fall into the absence waits for the first day back, inside the window', async () => {
    const window = { days: ['mon', 'tue', 'wed', 'thu', 'fri'] as const, from: '09:00', to: '18:00', blackouts: [] };
    const campaignId = await publishForTests(
      db,
      definitionForTests(3, { sendWindow: { ...window, days: [...window.days] } }),
    );
    const email = `${randomUUID()}@correo.example`;
    const id = await enrollForTests(db, campaignId, requestBy(email, { timeZone: 'Atlantic/Canary' }));
    await atStep(id, 1, new Date('2099-08-05T10:00:00Z'));
    // 16 August 2099 is a Sunday.
    const acted = await receive(db, away('2099-08-16'), { from: email, proven: stepRef(id) });
    const { next_due_at: due, outcome, signal_at: signal } = await enrollment(id);
    const local = DateTime.fromJSDate(due, { zone: 'Atlantic/Canary' });
    expect(local.toISODate()).toBe('2099-08-17');
    expect(local.hour).toBeGreaterThanOrEqual(9);
    expect(local.hour).toBeLessThan(18);
    expect(outcome).toBeNull();
    expect(signal).not.toBeNull();
    expect(acted.tell).toEqual([id]);
  });

  test('a nudge that falls after the absence stays where it is, and so does the information', async () => {
    const { email, id } = await lead();
    const dueAt = new Date('2099-10-01T10:00:00Z');
    await atStep(id, 1, dueAt);
    await receive(db, away('2099-08-16'), { from: email, proven: stepRef(id) });
    expect((await enrollment(id)).next_due_at).toEqual(dueAt);
    await atStep(id, 0, new Date('2099-01-01T10:00:00Z'));
    await receive(db, away('2099-08-16'), { from: email, proven: stepRef(id) });
    expect((await enrollment(id)).next_due_at).toEqual(new Date('2099-01-01T10:00:00Z'));
  });

  test('"has left": stopped and undeliverable; the new address is never written to', async () => {
    const { email, id, hash } = await lead();
    const before = (await db.selectFrom('lead').select('id').execute()).length;
    const { inboundId } = await receive(db, away(null, { subtype: 'left', needsReview: true }), {
      from: email,
      proven: stepRef(id),
      text: 'Ya no trabajo aquí; escriban a nueva@correo.example',
    });
    expect(await outcomeOf(id)).toBe('bounced');
    expect((await address(hash)).undeliverable_at).not.toBeNull();
    expect(await inbound(inboundId)).toMatchObject({ needs_review: true, review_until: null });
    expect(await forwardsOf(inboundId)).toEqual([]);
    expect(await db.selectFrom('lead').select('id').execute()).toHaveLength(before);
  });

  test('the second ticket is shown', async () => {
    const { email, id } = await lead();
    const ticket = away(null, { subtype: 'ticket' });
    const first = await receive(db, ticket, { from: email, proven: stepRef(id) });
    const second = await receive(db, ticket, { from: email, proven: stepRef(id) });
    expect((await inbound(first.inboundId)).needs_review).toBe(false);
    expect((await inbound(second.inboundId)).needs_review).toBe(true);
    expect(await outcomeOf(id)).toBeNull();
  });
});

describe('a message in doubt', () => {
  const doubtful = classified({ kind: 'reply', needsReview: true, confidence: 0.4 });

  test('P2 holds: what is claimed is taken back, no claim passes, and the journey is told to hold', async () => {
    const { email, id } = await lead();
    await atStep(id, 1, new Date(Date.now() - 1000));
    const key = { enrollmentId: id, step: 1, copy: 0 };
    const token = (await tryClaim(db, key)) as string;
    const receivedAt = new Date();
    const { inboundId } = await receive(db, doubtful, { from: email, proven: stepRef(id), receivedAt });
    expect(await passGate(db, key, token, new Date())).toBe(false);
    expect(await claim(db, { ...key, messageId: '<x@y>', token: randomUUID(), moves: 0, now: new Date() })).toBeNull();
    expect((await loadTouch(db, id))?.inReview).toBe(true);
    expect(await holdWhilePaused(db, id, new Date())).toBe('review');
    expect(await outcomeOf(id)).toBeNull();
    expect(await inbound(inboundId)).toMatchObject({
      needs_review: true,
      review_until: new Date(receivedAt.getTime() + 14 * DAY),
    });
    expect(await forwardsOf(inboundId)).toMatchObject([{ content: { subject: 'Re: Paso 0 [¿respuesta?]' } }]);
  });

  test('does not hold the information back: that was asked for', async () => {
    const { email, id } = await lead();
    await atStep(id, 0, new Date(Date.now() - 1000));
    await receive(db, doubtful, { from: email });
    expect(await tryClaim(db, { enrollmentId: id, step: 0, copy: 0 })).not.toBeNull();
  });

  test('raced 300 times: no nudge passes the gate after the hold', async () => {
    const people = await seed(db, 300, { step: 1 });
    const counts = await tally(people, 8, async ({ enrollmentId, email }) => {
      const key = { enrollmentId, step: 1, copy: 0 };
      const inboundId = await keepForTests(db);
      let heldAt = Number.POSITIVE_INFINITY;
      const [passedAt] = await together(
        async () => {
          const token = await tryClaim(db, key);
          if (token === null) return null;
          const askedAt = performance.now();
          return (await passGate(db, key, token, new Date())) ? askedAt : null;
        },
        async () => {
          await actOnInbound(
            db,
            ACT_DEPS,
            inboundId,
            understoodAs(doubtful, { from: email, proven: stepRef(enrollmentId) }),
            new Date(),
          );
          heldAt = performance.now();
        },
      );
      return passedAt === null ? 'held back' : passedAt > heldAt ? 'missed' : 'was faster';
    });
    expect(counts.missed).toBeUndefined();
  });
});

describe('each message acts once', () => {
  test('done again, nothing happens', async () => {
    const { email, id, leadId } = await lead();
    const inboundId = await keepForTests(db);
    const understood = understoodAs(reply, { from: email, proven: stepRef(id) });
    await actOnInbound(db, ACT_DEPS, inboundId, understood, new Date());
    const events = await eventsOf(leadId);
    const again = await actOnInbound(db, ACT_DEPS, inboundId, understood, new Date());
    expect(again).toEqual({ tell: [], start: [], mails: [] });
    expect(await eventsOf(leadId)).toEqual(events);
    expect(await forwardsOf(inboundId)).toHaveLength(1);
  });

  test('by two workers at once, once', async () => {
    const people = await Promise.all(Array.from({ length: 20 }, () => lead()));
    await tally(people, 5, async ({ email, id }) => {
      const inboundId = await keepForTests(db);
      const act = () =>
        actOnInbound(db, ACT_DEPS, inboundId, understoodAs(reply, { from: email, proven: stepRef(id) }), new Date());
      const [a, b] = await together(act, act);
      expect([...a.mails, ...b.mails]).toHaveLength(1);
      expect(await forwardsOf(inboundId)).toHaveLength(1);
      return 'once';
    });
  });

  test('what dies in the middle leaves nothing behind, and is done wholly afterwards', async () => {
    const { email, id, leadId } = await lead();
    const inboundId = await keepForTests(db);
    const understood = understoodAs(reply, { from: email, proven: stepRef(id) });
    const dying = {
      ...ACT_DEPS,
      composeForward: () => {
        throw new Error('the worker dies here');
      },
    };
    const before = await eventsOf(leadId);
    await expect(actOnInbound(db, dying, inboundId, understood, new Date())).rejects.toThrow('dies');
    expect(await outcomeOf(id)).toBeNull();
    expect(await eventsOf(leadId)).toEqual(before);
    expect(await inbound(inboundId)).toMatchObject({ state: 'new' });
    await actOnInbound(db, ACT_DEPS, inboundId, understood, new Date());
    expect(await outcomeOf(id)).toBe('replied');
    expect(await forwardsOf(inboundId)).toHaveLength(1);
  });

  test('with the same Message-ID and other bytes it is a duplicate: shown, and nothing follows', async () => {
    const { email, id } = await lead();
    const messageId = `<${randomUUID()}@correo.example>`;
    const clues = { from: email, proven: stepRef(id), messageId };
    const [one, two] = await Promise.all([receive(db, reply, clues), receive(db, reply, clues)]);
    const rows = [await inbound(one.inboundId), await inbound(two.inboundId)];
    const duplicates = rows.filter((row) => row.duplicate_of !== null);
    expect(duplicates).toHaveLength(1);
    expect([...one.mails, ...two.mails]).toHaveLength(1);
    // About another enrollment it is not the same.
    const other = await lead();
    await receive(db, reply, { from: other.email, proven: stepRef(other.id), messageId });
    expect(await outcomeOf(other.id)).toBe('replied');
  });

  test('text that Postgres can’t keep does not hold it up', async () => {
    const { email, id } = await lead();
    const { inboundId } = await receive(db, classified({ kind: 'reply', evidence: ['\ud800 \u0000'] }), {
      from: email,
      proven: stepRef(id),
      text: 'a\u0000b\ud800c',
      subject: '\udfff',
    });
    expect((await inbound(inboundId)).summary).toMatchObject({ excerpt: 'ab\ufffdc', subject: '\ufffd' });
  });
});
