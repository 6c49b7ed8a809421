import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import type { Db } from '../../db/client';
import { answersOf } from '../../db/erasure';
import { recordEvents } from '../../db/events';
import { reserveKey, storeAnswer } from '../../db/idempotency';
import { keepInbound } from '../../db/inbound';
import { actOnInbound } from '../../db/inbound-actions';
import { exportLead, RAW_EXPORTED_BYTES } from '../../db/lead-export';
import { findEnrollment, findLead } from '../../db/leads';
import { loadTouch, passGate, settle } from '../../db/ledger';
import { keepPrivacyRequest } from '../../db/privacy-requests';
import { recordPurchase } from '../../db/purchases';
import { enforceRetention } from '../../db/retention';
import { campaignStats } from '../../db/stats';
import { stopEnrollments } from '../../db/stops';
import { createTestSend } from '../../db/test-sends';
import {
  attachmentsOf,
  claimTransactional,
  enqueueTransactional,
  passTransactionalGate,
  settleTransactional,
} from '../../db/transactional';
import { hashAddress } from '../../domain/address-hash';
import { verifyEvidence } from '../../domain/evidence-document';
import { unsealEvidence } from '../../domain/sealing';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { ERASING, eraseForTests } from '../support/erasing';
import { ACT_DEPS, bounced, classified, stepRef, understoodAs } from '../support/inbound';
import { enrollAll, enrollForTests, requestBy, TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { disguises, dumpOf, tracesOf } from '../support/traces';
import { eventually } from '../support/waiting';
import { together, tryClaim } from './racing';

let database: TestDatabase;
let db: Db;
let coffee: string;
let tea: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
  coffee = await publishForTests(db);
  tea = await publishForTests(db, definitionForTests(3, { name: 'Té' }));
});
afterAll(() => database.drop());

interface Person {
  email: string;
  first: string;
  last: string;
  phone: string;
  ip: string;
}

/** All that tells who somebody is. */
const needlesOf = ({ email, first, last, phone, ip }: Person) => [
  email,
  email.split('@')[1] ?? '',
  first,
  last,
  phone,
  ip,
];

async function leadOf(enrollmentId: string): Promise<string> {
  return (await findEnrollment(db, enrollmentId)).leadId;
}

/** Somebody who agreed to nudges, enrolled in one campaign. */
async function somebody(email = `${randomUUID()}@shop.example`, campaignId = coffee) {
  const request = requestBy(email);
  const enrollmentId = await enrollForTests(db, campaignId, request);
  return { email, request, hashes: request.hashes, enrollmentId, leadId: await leadOf(enrollmentId) };
}

/** Everything that can be written down of a person is. @returns their enrollments, the lead, and a mail still to be sent */
async function everythingAbout(person: Person) {
  const { email, first, last, phone, ip } = person;
  const now = new Date();
  const hashes = hashAddress(email, TEST_ADDRESS_KEYS);
  const request = requestBy(email, {
    name: `${first} ${last}`,
    attributes: { phone, note: `Prefiere que llamemos a ${first}` },
    source: { page: `https://shop.example/?e=${encodeURIComponent(email)}`, utm: { term: first } },
    consent: {
      purpose: 'nudges',
      text: `Yo, ${first} ${last}, digo que sí.`,
      capturedAt: now,
      source: `formulario de ${email}`,
      ip,
      userAgent: `Navegador de ${first}`,
    },
  });
  const inCoffee = await enrollForTests(db, coffee, request);
  const inTea = await enrollForTests(db, tea, request);
  const leadId = await leadOf(inCoffee);
  for (const enrollmentId of [inCoffee, inTea]) {
    const token = await tryClaim(db, { enrollmentId, step: 0, copy: 0 });
    await passGate(db, { enrollmentId, step: 0, copy: 0 }, token ?? '', now);
    await settle(db, {
      enrollmentId,
      step: 0,
      copy: 0,
      leadId,
      state: 'accepted',
      token,
      code: '250 2.0.0',
      providerId: `id-for-${email}`,
      move: { kind: 'advance', dueAt: now },
      event: 'message-accepted',
      now,
    });
  }
  // They answer, from the address on file; a colleague of theirs mentions them, and a provider reports on them.
  const reply = Buffer.from(
    `From: ${first} ${last} <${email}>\r\nSubject: Re: Paso 0\r\n\r\nSoy ${first}, mi tel\u00e9fono es ${phone}.\r\n`,
  );
  const replied = (await keepInbound(db, {
    source: 'pipe',
    receivedAt: now,
    content: { raw: reply },
    envelope: { sender: email, recipient: 'ventas@shop.example' },
  })) as string;
  await actOnInbound(
    db,
    ACT_DEPS,
    replied,
    understoodAs(classified({ kind: 'reply', requests: ['access'], evidence: [`dice: ${first}`] }), {
      from: email,
      proven: stepRef(inCoffee),
      messageId: `<${email}@correo.example>`,
      text: `Soy ${first}, mi teléfono es ${phone}.`,
      recipients: ['ventas@shop.example', email],
    }),
    now,
  );
  const mention = Buffer.from(`Mi compañera es <${email.toUpperCase()}>`)
    .toString('base64')
    .replace(/(.{20})/g, '$1\r\n');
  const mentioned = (await keepInbound(db, {
    source: 'pipe',
    receivedAt: now,
    content: {
      raw: Buffer.from(`From: otra@empresa.example\r\nContent-Transfer-Encoding: base64\r\n\r\n${mention}\r\n`),
    },
  })) as string;
  await actOnInbound(
    db,
    ACT_DEPS,
    mentioned,
    understoodAs(classified({ kind: 'other' }), { from: 'otra@empresa.example', text: `Mi compañera es ${email}` }),
    now,
  );
  const told = (await keepInbound(db, {
    source: 'webhook:generic',
    receivedAt: now,
    externalId: `evt-${email}`,
    content: { event: { recipient: email } as never, body: Buffer.from(`{"recipient":"${email}"}`) },
  })) as string;
  await actOnInbound(db, ACT_DEPS, told, understoodAs(bounced({ recipient: email }), { proven: stepRef(inTea) }), now);
  // The shop writes to them: once long ago, once right now, with a file.
  const shopMail = async () =>
    await enqueueTransactional(db, {
      kind: 'shop',
      to: { email, name: `${first} ${last}` },
      hashes,
      template: 'pedido',
      content: {
        from: { name: 'Tienda', address: 'pedidos@shop.example' },
        replyTo: null,
        compiled: { subject: 'Pedido', html: '', text: '' },
        data: { name: first, phone },
        locale: 'es',
        timeZone: 'Europe/Madrid',
      },
      attachments: [
        { filename: `${last}.pdf`, contentType: 'application/pdf', contentId: null, bytes: Buffer.from(`de ${email}`) },
      ],
    });
  const settled = await shopMail();
  const token = randomUUID();
  await claimTransactional(db, { id: settled, token, messageId: `<${settled}@shop.example>`, now });
  await passTransactionalGate(db, { id: settled, token }, now);
  await settleTransactional(db, { id: settled, token, state: 'accepted', code: '250', providerId: `of ${email}`, now });
  const waiting = await shopMail();
  await createTestSend(db, {
    campaignId: coffee,
    version: 1,
    step: 0,
    address: 'autora@shop.example',
    lead: { email, name: first, locale: 'es', timeZone: 'Europe/Madrid', attributes: { phone } },
    content: { hello: `Hola ${first}` } as never,
  });
  for (const body of [
    JSON.stringify({ html: `<p>Hola ${first}</p>${'<p>Y más</p>'.repeat(20)}` }),
    `{"to":"${email}"}`,
    JSON.stringify({ text: `${phone} ${'y más '.repeat(40)}` }),
  ]) {
    const result = await reserveKey(db, randomUUID(), 'key', 'fingerprint');
    if (result.kind !== 'reserved') throw new Error('a new key is free');
    await storeAnswer(db, result.reservation, { status: 200, body, contentType: 'application/json' });
  }
  await db
    .insertInto('form_request')
    .values({
      id: randomUUID(),
      form_id: null,
      form_version: null,
      campaign_id: coffee,
      address_hash: hashes[0],
      content: JSON.stringify({ email, name: `${first} ${last}`, ip }),
      purpose: 'opt-in',
      state: 'confirmed',
      requested_at: now,
      expires_at: now,
      ended_at: now,
      remind_at: null,
      enrollment_id: inCoffee,
    })
    .execute();
  await recordPurchase(db, { who: { hashes }, orderId: `A-${leadId}`, amount: '129.90', currency: 'EUR', now });
  await db
    .insertInto('soft_bounce')
    .values({ address_hash: hashes[0], enrollment_id: inCoffee, step: 0, at: now, code: '4.2.2' })
    .execute();
  const importId = randomUUID();
  await sql`insert into lead_import (id, campaign_id, purpose, consent_text, source, time_zone, encoding, chunks, bytes)
    values (${importId}, ${coffee}, 'nudges', 'Sí', 'feria', 'UTC', 'utf-8', 0, 0)`.execute(db);
  await sql`insert into lead_import_issue (import_id, line, seq, rejected, reason)
    values (${importId}, 2, 0, true, ${`comma in the domain: did you mean ${email.split('@')[1]}?`})`.execute(db);
  return { leadId, inCoffee, inTea, hashes, settled, waiting, replied, mentioned, told, importId };
}

const LEOCADIA: Person = {
  email: 'leocadia.quirarte@talleres-zorrilla.example',
  first: 'Leocadia',
  last: 'Quirarte-Zorrilla',
  phone: '+34 699 550 121',
  ip: '203.0.113.121',
};
const LEOCADIO: Person = {
  email: 'leocadio.quirarte@talleres-zorrillo.example',
  first: 'Leocadio',
  last: 'Quirarte-Zorrillo',
  phone: '+34 699 550 122',
  ip: '203.0.113.122',
};

describe('everything that is kept of a person', () => {
  let her: Awaited<ReturnType<typeof everythingAbout>>;
  let before: unknown[];

  beforeAll(async () => {
    her = await everythingAbout(LEOCADIA);
    await everythingAbout(LEOCADIO);
    before = [await campaignStats(db, coffee, new Date(0)), await campaignStats(db, tea, new Date(0))];
  });

  test('is exported: what they told, what they agreed to, what was sent and received', async () => {
    const found = await exportLead(db, her.leadId, 1, new Date());
    const text = JSON.stringify(found);
    expect(needlesOf(LEOCADIA).filter((needle) => !text.includes(needle))).toEqual([]);
    expect(tracesOf(needlesOf(LEOCADIO), text)).toEqual([]);
    expect(found).toMatchObject({
      person: { email: LEOCADIA.email, name: 'Leocadia Quirarte-Zorrilla', attributes: { phone: LEOCADIA.phone } },
      purchases: [{ orderId: `A-${her.leadId}`, amount: '129.90' }],
      suppressions: [{ kind: 'undeliverable', liftedBy: 'proof-of-life' }],
      formRequests: [{ state: 'confirmed' }],
      privacyRequests: [{ kind: 'access', source: 'mail', doneAt: null }],
    });
    expect(found.enrollments.map(({ outcome, messages }) => [outcome, messages.map((one) => one.subject)])).toEqual([
      ['replied', ['Paso 0']],
      ['bounced', ['Paso 0']],
    ]);
    expect(found.consents).toHaveLength(2);
    expect(found.evidence.length).toBeGreaterThanOrEqual(2);
    expect(found.otherMails).toHaveLength(2);
    expect(found.received.map((one) => one.kind).sort()).toEqual(['bounce', 'reply']);
    expect(found.timeline.length).toBeGreaterThan(4);
  });

  test('goes: nothing of hers is found in a dump, all of his is; and every count is what it was', async () => {
    const dump = await dumpOf(db);
    expect(tracesOf(needlesOf(LEOCADIA), dump)).toEqual(needlesOf(LEOCADIA));
    expect(await eraseForTests(db, her.leadId)).toEqual({ erased: true, sealed: false, stopped: [], inFlight: [] });
    // The invoice that waits still goes out, and is erased with its settlement.
    const token = randomUUID();
    expect(await attachmentsOf(db, her.waiting)).toHaveLength(1);
    await claimTransactional(db, {
      id: her.waiting,
      token,
      messageId: `<${her.waiting}@shop.example>`,
      now: new Date(),
    });
    await passTransactionalGate(db, { id: her.waiting, token }, new Date());
    await settleTransactional(db, { id: her.waiting, token, state: 'accepted', code: '250', now: new Date() });

    const after = await dumpOf(db);
    expect(tracesOf(needlesOf(LEOCADIA), after)).toEqual([]);
    // Her address under our key stands in the journal's outbox alone, so that a restore does not bring her back.
    const [, ...tables] = after.split('\n== ');
    const holding = tables.filter((table) => tracesOf(her.hashes, table).length > 0);
    expect(holding.map((table) => table.slice(0, table.indexOf('\n')))).toEqual(['journal_outbox']);
    expect(tracesOf(needlesOf(LEOCADIO), after)).toEqual(needlesOf(LEOCADIO));
    expect([await campaignStats(db, coffee, new Date(0)), await campaignStats(db, tea, new Date(0))]).toEqual(before);
    const purchase = await db
      .selectFrom('purchase')
      .select(['address_hash', 'amount', 'currency'])
      .where('order_id', '=', `A-${her.leadId}`)
      .executeTakeFirst();
    expect(purchase).toEqual({ address_hash: null, amount: '129.90', currency: 'EUR' });
  });

  test('leaves a shell that can be read, and nothing to export', async () => {
    expect(await findLead(db, her.leadId)).toMatchObject({
      email: null,
      name: '',
      attributes: {},
      erasedAt: expect.any(Date),
      consents: [],
      suppression: null,
      enrollments: [{ outcome: 'replied' }, { outcome: 'bounced' }],
      events: [{ kind: 'erased', detail: { by: 'staff', sealed: false } }],
    });
    expect(await findEnrollment(db, her.inTea)).toMatchObject({
      outcome: 'bounced',
      messages: [{ state: 'accepted' }],
    });
    await expect(exportLead(db, her.leadId, 1, new Date())).rejects.toMatchObject({ code: 'not-found' });
    expect(await loadTouch(db, her.inCoffee)).toBeNull();
  });

  test('is not there a second time: erasing again changes nothing', async () => {
    const dump = await dumpOf(db);
    expect(await eraseForTests(db, her.leadId)).toEqual({ erased: false, sealed: false, stopped: [], inFlight: [] });
    expect(await dumpOf(db)).toBe(dump);
  });

  test('stays known as received, so that the same bytes are not taken in again', async () => {
    for (const id of [her.replied, her.mentioned, her.told]) {
      const row = await db.selectFrom('inbound').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
      expect(row).toMatchObject({
        state: 'done',
        raw: null,
        event: null,
        summary: null,
        envelope: null,
        mentions: null,
      });
      expect(row.sha256).toHaveLength(32);
    }
    const reason = await db
      .selectFrom('lead_import_issue')
      .select('reason')
      .where('import_id', '=', her.importId)
      .executeTakeFirst();
    expect(reason?.reason).toBe('this line was about somebody who has been erased');
  });
});

test('answers that hold ids only are not searched: what may name somebody is found by an index', async () => {
  await db.transaction().execute(async (tx) => {
    await sql`set local enable_seqscan = off`.execute(tx);
    for (const statement of answersOf(['ana@correo.example'], ['(?i)\\mAna\\M'])) {
      const { rows } = await sql<{ 'QUERY PLAN': string }>`explain ${statement}`.execute(tx);
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      expect(plan).toMatch(/idempotency_(key_with_address|body_of_person)/);
      expect(plan).not.toMatch(/Seq Scan on idempotency|idempotency_age|idempotency_pkey/);
    }
  });
});

test('the search finds an address in every disguise', () => {
  const text = (before: string) => Buffer.from(`${before}${LEOCADIA.email}, and more`);
  const hidden = ['', 'a', 'ab', 'abc'].map((before) => text(before).toString('base64'));
  hidden.push(text('a').toString('hex'), encodeURIComponent(LEOCADIA.email), LEOCADIA.email.replace('@', '=40'));
  for (const file of hidden) {
    expect(disguises(LEOCADIA.email).some((disguise) => file.includes(disguise))).toBe(true);
    expect(tracesOf([LEOCADIA.email, LEOCADIO.email], file)).toEqual([LEOCADIA.email]);
  }
});

test('nobody is erased who is not there', async () => {
  await expect(eraseForTests(db, randomUUID())).rejects.toMatchObject({ code: 'not-found' });
});

describe('P2 erasing stops', () => {
  test('what is open ends as erased, what is claimed is withdrawn, what is past the gate is named and settles', async () => {
    const { leadId, enrollmentId, request } = await somebody();
    const inTea = await enrollForTests(db, tea, request);
    const [claimed, passed] = [
      { enrollmentId, step: 0, copy: 0 },
      { enrollmentId: inTea, step: 0, copy: 0 },
    ];
    const withdrawn = (await tryClaim(db, claimed)) as string;
    const late = (await tryClaim(db, passed)) as string;
    expect(await passGate(db, passed, late, new Date())).toBe(true);

    const result = await eraseForTests(db, leadId);
    expect(result).toMatchObject({ erased: true, inFlight: [{ enrollmentId: inTea, step: 0 }] });
    expect([...result.stopped].sort()).toEqual([enrollmentId, inTea].sort());
    expect(await passGate(db, claimed, withdrawn, new Date())).toBe(false);
    expect(await findEnrollment(db, inTea)).toMatchObject({ state: 'ended', outcome: 'erased' });
    const outbox = db.selectFrom('enrollment').select('signal_at').where('lead_id', '=', leadId);
    expect((await outbox.execute()).map((row) => row.signal_at)).toEqual([expect.any(Date), expect.any(Date)]);

    // The mail server's answer still comes; nothing of the person is written down by it.
    const settled = await settle(db, {
      ...passed,
      leadId,
      state: 'accepted',
      token: late,
      code: '250 2.0.0',
      providerId: 'their-id',
      move: { kind: 'advance', dueAt: new Date() },
      event: 'message-accepted',
      now: new Date(),
    });
    expect(settled).toEqual({ settled: true, moved: null });
    await enforceRetention(db, { erasure: ERASING, timeFactor: 1 }, new Date());
    const rows = db.selectFrom('message').select(['state', 'provider_id']).where('enrollment_id', '=', inTea);
    expect(await rows.execute()).toEqual([{ state: 'accepted', provider_id: null }]);
  });

  test('a forward that waits is not sent any more', async () => {
    const { leadId, email, enrollmentId } = await somebody();
    const inboundId = (await keepInbound(db, {
      source: 'pipe',
      receivedAt: new Date(),
      content: { raw: Buffer.from(`From: ${email}\r\n\r\nHola ${randomUUID()}`) },
    })) as string;
    const { mails } = await actOnInbound(
      db,
      ACT_DEPS,
      inboundId,
      understoodAs(classified({ kind: 'reply' }), { from: email, proven: stepRef(enrollmentId) }),
      new Date(),
    );
    expect(mails).toHaveLength(1);
    const forward = () =>
      db
        .selectFrom('transactional')
        .select(['state', 'code', 'email', 'content'])
        .where('id', '=', mails[0] ?? '');
    expect(await forward().executeTakeFirst()).toMatchObject({ state: 'queued', email: 'lucia@shop.example' });
    await eraseForTests(db, leadId);
    const gone = { state: 'rejected', code: 'erased', email: null, content: null };
    expect(await forward().executeTakeFirst()).toEqual(gone);
  });
});

describe('P6, P13 what stays of an address', () => {
  const addressRow = (hashes: readonly string[]) =>
    db.selectFrom('address').selectAll().where(sql<SqlBool>`hash = any(${hashes}::text[])`).executeTakeFirst();

  test('P6 nothing where they did not object; asking again makes a new lead', async () => {
    const { leadId, hashes, email, enrollmentId } = await somebody();
    await stopEnrollments(db, {
      who: { enrollmentId },
      outcome: 'bounced',
      suppress: 'undeliverable',
      now: new Date(),
    });
    await eraseForTests(db, leadId);
    expect(await addressRow(hashes)).toBeUndefined();
    const history = db.selectFrom('suppression').select('id').where('address_hash', '=', hashes[0]);
    expect(await history.execute()).toEqual([]);
    const again = await somebody(email);
    expect(again.leadId).not.toBe(leadId);
  });

  test.each([
    ['objection', 'unsubscribed'],
    ['complaint', 'complained'],
    ['campaign', 'unsubscribed'],
  ] as const)('P6 an %s stays, and the same line of a file is refused', async (suppress, outcome) => {
    const { leadId, hashes, request, enrollmentId } = await somebody();
    const campaignId = suppress === 'campaign' ? coffee : undefined;
    await stopEnrollments(db, { who: { enrollmentId }, outcome, suppress, campaignId, now: new Date() });
    await eraseForTests(db, leadId);
    expect(await addressRow(hashes)).toMatchObject({ undeliverable_at: null, recent_marketing: {} });
    const fromFile = { priority: 4, via: 'import:x', asksInPerson: false };
    const [result] = await enrollAll(db, coffee, [{ ...request, consent: null }], fromFile);
    expect(result).toMatchObject({ kind: 'refused', because: { reason: suppress } });
    expect(tracesOf([request.email], await dumpOf(db))).toEqual([]);
  });

  test('an address that came back dead is no objection, but the objection beside it stays', async () => {
    const { leadId, hashes, enrollmentId } = await somebody();
    const stop = { who: { enrollmentId }, now: new Date() };
    await stopEnrollments(db, { ...stop, outcome: 'bounced', suppress: 'undeliverable' });
    await stopEnrollments(db, { ...stop, outcome: 'unsubscribed', suppress: 'objection' });
    await eraseForTests(db, leadId);
    expect(await addressRow(hashes)).toMatchObject({ undeliverable_at: null, suppressed_reason: 'objection' });
    const history = await db.selectFrom('suppression').select('kind').where('address_hash', '=', hashes[0]).execute();
    expect(history).toEqual([{ kind: 'objection' }]);
  });

  test('P13 the link in an old mail still keeps mail from them', async () => {
    const { leadId, hashes, request } = await somebody();
    await eraseForTests(db, leadId);
    // What the link's page does with the hash that the link carries.
    const wish = { who: { hashes }, outcome: 'unsubscribed', suppress: 'objection', now: new Date() } as const;
    expect(await stopEnrollments(db, wish)).toEqual({ stopped: [], inFlight: [] });
    expect(await addressRow(hashes)).toMatchObject({ suppressed_reason: 'objection' });
    const [result] = await enrollAll(db, coffee, [request]);
    expect(result).toMatchObject({ kind: 'refused', because: { reason: 'objection' } });
  });

  test('rows under older keys go too', async () => {
    const { leadId, email, hashes } = await somebody();
    const addressKeys = [{ version: 2, secret: Buffer.alloc(32, 3) }, ...TEST_ADDRESS_KEYS];
    const [newest] = hashAddress(email, addressKeys);
    await db.insertInto('address').values({ hash: newest }).execute();
    await eraseForTests(db, leadId, { addressKeys });
    expect(await addressRow([newest, ...hashes])).toBeUndefined();
  });

  test('what they sent as it came is exported up to a size that no process is ended by, the newest first', async () => {
    const { leadId, enrollmentId, email } = await somebody();
    for (const day of [1, 2, 3]) {
      const raw = Buffer.from(`From: <${email}>\r\n\r\nDía ${day}\r\n${'='.repeat((RAW_EXPORTED_BYTES / 5) * 2)}\r\n`);
      const receivedAt = new Date(`2026-11-0${day}T00:00:00Z`);
      const id = (await keepInbound(db, { source: 'pipe', receivedAt, content: { raw } })) as string;
      const understood = { from: email, proven: stepRef(enrollmentId), text: `Día ${day}` };
      await actOnInbound(db, ACT_DEPS, id, understoodAs(classified({ kind: 'other' }), understood), receivedAt);
    }
    const { received } = await exportLead(db, leadId, 1, new Date());
    expect(received.map(({ text, raw }) => [text, raw !== null])).toEqual([
      ['Día 1', false],
      ['Día 2', true],
      ['Día 3', true],
    ]);
  });

  test('a mail that was written down under a newer key than the lead is exported too', async () => {
    const { leadId, email } = await somebody();
    const hashes = hashAddress(email, [{ version: 2, secret: Buffer.alloc(32, 3) }]);
    await enqueueTransactional(db, {
      kind: 'shop',
      to: { email: email.toUpperCase() },
      hashes,
      template: 'pedido',
      content: {
        from: { name: 'Tienda', address: 'pedidos@shop.example' },
        replyTo: null,
        compiled: { subject: 'Pedido', html: '', text: '' },
        data: {},
        locale: 'es',
        timeZone: 'Europe/Madrid',
      },
      attachments: [],
    });
    expect((await exportLead(db, leadId, 1, new Date())).otherMails).toMatchObject([{ template: 'pedido' }]);
  });
});

describe('evidence', () => {
  const reader = generateKeyPairSync('x25519');
  const sealedFor = (hashes: readonly string[]) =>
    db
      .selectFrom('sealed_evidence')
      .selectAll()
      .where('address_hash', '=', hashes[0] ?? '')
      .execute();

  test('is sealed: readable with the key alone, three years from the withdrawal', async () => {
    const { leadId, hashes, email, enrollmentId } = await somebody();
    const withdrawnAt = new Date('2026-02-03T10:00:00Z');
    const stop = { who: { enrollmentId }, outcome: 'unsubscribed', suppress: 'objection' } as const;
    await stopEnrollments(db, { ...stop, now: withdrawnAt });
    expect(await eraseForTests(db, leadId, { sealTo: reader.publicKey })).toMatchObject({ erased: true, sealed: true });
    const [row, ...more] = await sealedFor(hashes);
    expect(more).toEqual([]);
    expect(row?.destroy_at).toEqual(new Date('2029-02-03T10:00:00Z'));
    const document = unsealEvidence(row?.sealed ?? Buffer.alloc(0), reader.privateKey);
    expect(verifyEvidence(document, null).faults).toEqual([]);
    const text = document.toString('utf8');
    expect(text).toContain(email);
    expect(text).toContain('Sí, escríbanme hasta siete veces');
    expect(text).not.toContain('Paso 0');
    // Sealed, it tells nobody else.
    expect(tracesOf([email], await dumpOf(db))).toEqual([]);
    const links = await db.selectFrom('evidence').select('seq').where('lead_id', '=', leadId).execute();
    expect(links).toEqual([]);
  });

  test('of somebody who was never mailed and withdrew nothing is kept from the erasure on', async () => {
    const { leadId, hashes } = await somebody();
    const now = new Date('2026-05-05T00:00:00Z');
    await eraseForTests(db, leadId, { sealTo: reader.publicKey, now });
    expect((await sealedFor(hashes))[0]?.destroy_at).toEqual(new Date('2029-05-05T00:00:00Z'));
  });

  test('counts from the last nudge, not from the information', async () => {
    const { leadId, hashes, enrollmentId } = await somebody();
    for (const [step, at] of [
      [0, new Date('2026-06-06T00:00:00Z')],
      [1, new Date('2026-04-04T00:00:00Z')],
    ] as const) {
      await db
        .insertInto('message')
        .values({
          enrollment_id: enrollmentId,
          step,
          message_id: `<${enrollmentId}.${step}@shop.example>`,
          state: 'accepted',
          token: randomUUID(),
          first_claimed_at: at,
          claimed_at: at,
          handing_over_at: at,
          settled_at: at,
          code: '250',
          provider_id: null,
        })
        .execute();
    }
    await eraseForTests(db, leadId, { sealTo: reader.publicKey, sealedFor: 'P1Y' });
    expect((await sealedFor(hashes))[0]?.destroy_at).toEqual(new Date('2027-04-04T00:00:00Z'));
  });
});

describe('what comes later', () => {
  test('a request whose answer named them is not done anew when it is sent again', async () => {
    const { leadId, email } = await somebody();
    const key = randomUUID();
    const result = await reserveKey(db, key, 'key', 'fingerprint');
    if (result.kind !== 'reserved') throw new Error('a new key is free');
    const answer = { status: 201, body: `{"to":"${email}"}`, contentType: 'application/json' };
    await storeAnswer(db, result.reservation, answer);
    await eraseForTests(db, leadId);
    expect(await reserveKey(db, key, 'key', 'fingerprint')).toEqual({
      kind: 'answered',
      answer: { ...answer, body: '{}' },
    });
  });

  test('a bounce of an old mail does nothing, and its text goes', async () => {
    const { leadId, email, enrollmentId, hashes } = await somebody();
    const token = await tryClaim(db, { enrollmentId, step: 0, copy: 0 });
    await passGate(db, { enrollmentId, step: 0, copy: 0 }, token ?? '', new Date());
    await eraseForTests(db, leadId);
    const raw = Buffer.from(`Final-Recipient: rfc822;${email}\r\n\r\n5.1.1`);
    const id = (await keepInbound(db, { source: 'pipe', receivedAt: new Date(), content: { raw } })) as string;
    const acted = await actOnInbound(
      db,
      ACT_DEPS,
      id,
      understoodAs(bounced({ recipient: email }), { proven: stepRef(enrollmentId) }),
      new Date(),
    );
    expect(acted).toEqual({ tell: [], start: [], mails: [] });
    expect(await findEnrollment(db, enrollmentId)).toMatchObject({ outcome: 'erased' });
    const address = db.selectFrom('address').select('hash').where('hash', '=', hashes[0]);
    expect(await address.execute()).toEqual([]);
    expect(await enforceRetention(db, { erasure: ERASING, timeFactor: 1 }, new Date())).toMatchObject({
      receivedLate: 1,
    });
    expect(tracesOf([email], await dumpOf(db))).toEqual([]);
  });

  test('a reply of theirs is shown like any stranger’s, and reaches nobody’s journey', async () => {
    const { leadId, email, enrollmentId } = await somebody();
    await eraseForTests(db, leadId);
    const raw = Buffer.from(`From: ${email}\r\n\r\n¿Me han borrado?`);
    const id = (await keepInbound(db, { source: 'pipe', receivedAt: new Date(), content: { raw } })) as string;
    const reply = understoodAs(classified({ kind: 'reply' }), { from: email, proven: stepRef(enrollmentId) });
    expect(await actOnInbound(db, ACT_DEPS, id, reply, new Date())).toEqual({ tell: [], start: [], mails: [] });
    expect(await enforceRetention(db, { erasure: ERASING, timeFactor: 1 }, new Date())).toMatchObject({
      receivedLate: 0,
    });
    expect(await findEnrollment(db, enrollmentId)).toMatchObject({ outcome: 'erased' });
  });

  test('a message that was not read yet is dealt with first, and goes then', async () => {
    const { leadId, email } = await somebody();
    const raw = Buffer.from(`From: ${email}\r\n\r\nQuiero saber qué guardan de mí.`);
    const id = (await keepInbound(db, { source: 'pipe', receivedAt: new Date(), content: { raw } })) as string;
    await eraseForTests(db, leadId);
    const row = () =>
      db.selectFrom('inbound').select(['raw', 'state', 'erase_when_done']).where('id', '=', id).executeTakeFirst();
    expect(await row()).toEqual({ raw, state: 'new', erase_when_done: true });
    await actOnInbound(
      db,
      ACT_DEPS,
      id,
      understoodAs(classified({ kind: 'reply', requests: ['access'] }), { from: email }),
      new Date(),
    );
    const asked = db.selectFrom('privacy_request').select(['kind', 'lead_id']).where('inbound_id', '=', id);
    expect(await asked.execute()).toEqual([{ kind: 'access', lead_id: null }]);
    await enforceRetention(db, { erasure: ERASING, timeFactor: 1 }, new Date());
    expect(await row()).toEqual({ raw: null, state: 'done', erase_when_done: false });
    expect(tracesOf([email], await dumpOf(db))).toEqual([]);
  });

  test('a message from before addresses were noted is found all the same', async () => {
    const { leadId, email } = await somebody();
    const raw = Buffer.from(`From: otra@empresa.example\r\n\r\nEscriban a ${email}.`);
    const id = (await keepInbound(db, { source: 'pipe', receivedAt: new Date(), content: { raw } })) as string;
    await db.updateTable('inbound').set({ mentions: null, state: 'done' }).where('id', '=', id).execute();
    await eraseForTests(db, leadId);
    expect(tracesOf([email], await dumpOf(db))).toEqual([]);
  });
});

test('requests to be erased and to be left alone are answered by it, a request for access is not', async () => {
  const { leadId } = await somebody();
  for (const kind of ['erasure', 'objection', 'access'] as const) {
    await db.transaction().execute(async (tx) => {
      const request = { inboundId: null, source: 'page', leadId, enrollmentId: null, timeZone: 'UTC' } as const;
      await keepPrivacyRequest(tx, { ...request, kind, receivedAt: new Date() });
    });
  }
  await eraseForTests(db, leadId, { by: 'person' });
  const answers = db
    .selectFrom('privacy_request')
    .select(['kind', 'answer'])
    .where('lead_id', '=', leadId)
    .orderBy('kind');
  expect(await answers.execute()).toEqual([
    { kind: 'access', answer: null },
    { kind: 'erasure', answer: 'done' },
    { kind: 'objection', answer: 'done' },
  ]);
});

test('it is noted for the journal and in the audit log, by ids and hashes alone', async () => {
  const { leadId, hashes, enrollmentId } = await somebody();
  await eraseForTests(db, leadId, { actor: { kind: 'key', id: 'k1' } });
  const entries = await db.selectFrom('journal_outbox').select('entry').orderBy('seq', 'desc').limit(2).execute();
  expect(entries.map((row) => row.entry)).toMatchObject([
    { kind: 'erase', leadId, hashes },
    { kind: 'stop', enrollmentId, outcome: 'erased' },
  ]);
  const audit = await db.selectFrom('audit').selectAll().where('target', '=', leadId).execute();
  expect(audit).toMatchObject([
    { actor_kind: 'key', actor: 'k1', action: 'lead.erased', detail: { by: 'staff', sealed: false } },
  ]);
  // A replay does not tell the journal what it has just said.
  const other = await somebody();
  const count = () => db.selectFrom('journal_outbox').select('id').execute();
  const before = (await count()).length;
  await eraseForTests(db, other.leadId, { by: 'journal' });
  expect(await count()).toHaveLength(before);
});

describe('P1, P2 races', () => {
  const TRIALS = 40;

  test('who asks while they are erased is either erased with it or enrolled anew, never half of both', async () => {
    for (let trial = 0; trial < TRIALS; trial++) {
      const { leadId, email, request } = await somebody();
      const [erased, [asked]] = await together(
        () => eraseForTests(db, leadId),
        () => enrollAll(db, tea, [request]),
      );
      expect(erased.erased).toBe(true);
      if (asked === undefined || !('leadId' in asked)) throw new Error('nobody was refused');
      const row = await db
        .selectFrom('enrollment as e')
        .innerJoin('lead as l', 'l.id', 'e.lead_id')
        .select(['e.outcome', 'e.address_hash', 'l.email', 'l.id'])
        .where('e.id', '=', asked.enrollmentId)
        .executeTakeFirst();
      if (row?.id === leadId) expect(row).toMatchObject({ outcome: 'erased', address_hash: null, email: null });
      else expect(row).toMatchObject({ outcome: null, address_hash: request.hashes[0], email });
    }
  });

  test('two who erase at once erase once', async () => {
    for (let trial = 0; trial < TRIALS; trial++) {
      const { leadId, hashes } = await somebody();
      const both = await together(
        () => eraseForTests(db, leadId),
        () => eraseForTests(db, leadId),
      );
      expect(both.map((one) => one.erased).sort()).toEqual([false, true]);
      expect(await db.selectFrom('address').select('hash').where('hash', '=', hashes[0]).execute()).toEqual([]);
    }
  });

  test('whoever records what became of a mail meanwhile is not ended by a deadlock', async () => {
    const { leadId, enrollmentId } = await somebody();
    const erased = await db.transaction().execute(async (tx) => {
      // Whoever closes a circle is the one who is ended.
      await sql`set local deadlock_timeout = '10ms'`.execute(tx);
      await tx.selectFrom('enrollment').select('id').where('id', '=', enrollmentId).forUpdate().execute();
      const erasing = eraseForTests(db, leadId);
      const waiting = sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      await eventually(async () => (await waiting.execute(db)).rows.length === 1);
      await recordEvents(tx, [{ at: new Date(), leadId, enrollmentId, kind: 'message-accepted', detail: {} }]);
      return { erasing };
    });
    expect(await erased.erasing).toMatchObject({ erased: true, stopped: [enrollmentId] });
  });

  test('P2 a mail that is claimed meanwhile is withdrawn, or named as in flight', async () => {
    for (let trial = 0; trial < TRIALS; trial++) {
      const { leadId, enrollmentId } = await somebody();
      const key = { enrollmentId, step: 0, copy: 0 };
      const [{ inFlight }, handedOver] = await together(
        () => eraseForTests(db, leadId),
        async () => {
          const token = await tryClaim(db, key);
          return token !== null && (await passGate(db, key, token, new Date()));
        },
      );
      expect(inFlight).toHaveLength(handedOver ? 1 : 0);
    }
  });
});
