import { randomUUID } from 'node:crypto';
import { createCampaign } from '../../db/campaigns';
import { cancelCampaign } from '../../db/cancellations';
import {
  abandonRequest,
  type ComposeConfirmation,
  confirmRequest,
  forgetRequests,
  lookAtRequest,
  objectByLink,
  viewLink,
} from '../../db/confirmations';
import { evidenceDocument } from '../../db/evidence';
import { withdrawRequestsOf } from '../../db/form-requests';
import { type Stop, stopEnrollments } from '../../db/stops';
import {
  bounceTransactional,
  claimTransactional,
  forgetTransactionalAddresses,
  passTransactionalGate,
  settleTransactional,
} from '../../db/transactional';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { TEST_SIGNING_KEY } from '../support/erasing';
import {
  CONSENT_TEXT,
  type FormForTests,
  formForTests,
  sentBy,
  submit,
  submitToConfirm,
} from '../support/form-requests';
import { TEST_ADDRESS_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = new Date('2026-11-20T12:00:00Z');
const at = (ms: number) => new Date(NOW.getTime() + ms);

let database: TestDatabase;
let campaignId: string;
let otherCampaignId: string;
let form: FormForTests;
let otherForm: FormForTests;
beforeAll(async () => {
  database = await createTestDatabase();
  campaignId = await publishForTests(database.db, definitionForTests(3));
  otherCampaignId = await publishForTests(database.db, definitionForTests(3));
  form = await formForTests(database.db, campaignId);
  otherForm = await formForTests(database.db, otherCampaignId);
});
afterAll(() => database.drop());

const newAddress = () => `${randomUUID()}@correo.example`;
const requestsOf = (email: string) =>
  database.db
    .selectFrom('form_request')
    .selectAll()
    .where('address_hash', '=', sentBy(form, email).hashes[0])
    .orderBy('requested_at')
    .execute();
const requestOf = (id: string) =>
  database.db.selectFrom('form_request').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const addressOf = (email: string) =>
  database.db
    .selectFrom('address')
    .select(['suppressed_at', 'suppressed_reason', 'undeliverable_at', 'suppressed_campaigns'])
    .where('hash', '=', sentBy(form, email).hashes[0])
    .executeTakeFirst();
const enrollmentsOf = (email: string) =>
  database.db
    .selectFrom('enrollment')
    .selectAll()
    .where('address_hash', '=', sentBy(form, email).hashes[0])
    .orderBy('enrolled_at')
    .execute();
const evidenceOf = async (leadId: string) => {
  const rows = await database.db
    .selectFrom('evidence')
    .select('body')
    .where('lead_id', '=', leadId)
    .orderBy('seq')
    .execute();
  return rows.map((row) => JSON.parse(row.body) as { kind: string; detail: Record<string, unknown> });
};
const mailsOf = (email: string) =>
  database.db
    .selectFrom('transactional')
    .selectAll()
    .where('address_hash', '=', sentBy(form, email).hashes[0])
    .orderBy('created_at')
    .execute();

const composed: { facts: Parameters<ComposeConfirmation>[0]; reminder: boolean }[] = [];
const compose: ComposeConfirmation = (facts, reminder) => {
  composed.push({ facts, reminder });
  return { subject: 'Confirme', text: 'Confirme', html: '<p>Confirme</p>', locale: facts.locale };
};
const look = (requestId: string, now = NOW) => lookAtRequest(database.db, { requestId, now }, compose);
const confirm = async (requestId: string, now = at(HOUR), shown?: string) => {
  const view = await viewLink(database.db, requestId, now);
  return await confirmRequest(
    database.db,
    { addressKeys: TEST_ADDRESS_KEYS, timeFactor: 1 },
    {
      requestId: view?.requestId ?? requestId,
      shown: shown ?? (view?.state === 'pending' ? view.shown : ''),
      ip: '192.0.2.9',
      userAgent: 'Firefox',
      now,
    },
  );
};
const accepted = async (mailId: string | null) => {
  await database.db
    .updateTable('transactional')
    .set({ state: 'accepted', settled_at: NOW, email: null, content: null })
    .where('id', '=', mailId)
    .execute();
};
const stop = async (email: string, suppress: NonNullable<Stop['suppress']>, now: Date) => {
  const who = { hashes: sentBy(form, email).hashes };
  await stopEnrollments(database.db, {
    who,
    outcome: 'unsubscribed',
    suppress,
    ...(suppress === 'campaign' ? { campaignId } : {}),
    detail: { by: 'test' },
    now,
  });
};

describe('a form that is sent', () => {
  test('without double opt-in, and with nothing against the address, enrolls at once, with every consent and where it came from', async () => {
    const open = await formForTests(database.db, campaignId, { doubleOptIn: false });
    const email = newAddress();
    const consents = [
      { purpose: 'nudges' as const, text: CONSENT_TEXT, textVersion: '1' },
      { purpose: 'marketing' as const, text: 'Y ofertas de otros productos suyos.', textVersion: '7' },
    ];
    const { start, tell, confirm: asking } = await submit(database.db, sentBy(open, email, { consents }, NOW));
    expect([tell, asking]).toEqual([[], []]);
    const [enrollment] = await enrollmentsOf(email);
    expect(enrollment).toMatchObject({ id: start[0], outcome: null, basis: 'consent', priority: 2 });
    expect(enrollment?.source).toMatchObject({ formId: open.id, utm: { source: 'feria' } });
    const evidence = await evidenceOf(enrollment?.lead_id ?? '');
    expect(evidence.map(({ kind, detail }) => [kind, detail.purpose, detail.text, detail.textVersion])).toEqual([
      ['consent', 'nudges', CONSENT_TEXT, '1'],
      ['consent', 'marketing', 'Y ofertas de otros productos suyos.', '7'],
    ]);
    expect(evidence[0]?.detail).toMatchObject({ ip: '2001:db8::7', source: expect.stringContaining(open.id) });
    const again = await submit(database.db, sentBy(open, email, {}, at(HOUR)));
    expect(again).toMatchObject({ start: [], tell: start, confirm: [] });
    expect(await enrollmentsOf(email)).toHaveLength(1);
  });

  test('with double opt-in it enrolls nobody, and asks', async () => {
    const email = newAddress();
    const id = await submitToConfirm(database.db, sentBy(form, email, {}, NOW));
    expect(await enrollmentsOf(email)).toEqual([]);
    expect(await requestOf(id)).toMatchObject({
      state: 'pending',
      purpose: 'opt-in',
      expires_at: at(7 * DAY),
      remind_at: null,
      content: { email, name: 'Íñigo Núñez', askedAt: NOW.toISOString() },
    });
  });

  test('100 identical ones at the same time make one request and one mail', async () => {
    const email = newAddress();
    const submitted = await Promise.all(
      Array.from({ length: 100 }, () => submit(database.db, sentBy(form, email, {}, NOW))),
    );
    const asking = submitted.flatMap((one) => one.confirm);
    expect(asking).toHaveLength(1);
    expect(await requestsOf(email)).toHaveLength(1);
    await Promise.all(Array.from({ length: 10 }, () => look(asking[0] ?? '')));
    expect(await mailsOf(email)).toHaveLength(1);
  });

  test('an address is asked once in 24 hours about one campaign and three times in 30 days in all; what is too much is kept nowhere', async () => {
    const email = newAddress();
    const send = async (which: FormForTests, ms: number) => {
      const { confirm: asking, ignored } = await submit(database.db, sentBy(which, email, {}, at(ms)));
      return ignored ?? asking.length;
    };
    expect(await send(form, 0)).toBe(1);
    expect(await send(otherForm, HOUR)).toBe(1);
    expect(await send(form, 2 * HOUR)).toBe(0);
    expect(await send(otherForm, 3 * HOUR)).toBe(0);
    expect(await send(form, 8 * DAY)).toBe(1);
    expect(await send(form, 20 * DAY)).toBe('asked-often');
    expect(await requestsOf(email)).toHaveLength(3);
    expect(await send(form, 31 * DAY)).toBe(1);
  });

  test('sent again before it was confirmed, what was sent last is what is confirmed, and only if the page has shown it', async () => {
    const email = newAddress();
    const id = await submitToConfirm(database.db, sentBy(form, email, { consents: [] }, NOW));
    const first = await viewLink(database.db, id, NOW);
    if (first?.state !== 'pending') throw new Error('it should wait');
    expect(first.facts.consents).toEqual([]);
    expect(await submit(database.db, sentBy(form, email, { name: 'Otra' }, at(HOUR)))).toMatchObject({ confirm: [] });
    expect(await requestsOf(email)).toHaveLength(1);
    expect(await confirm(id, at(2 * HOUR), first.shown)).toEqual({ kind: 'changed' });
    expect(await confirm(id, at(2 * HOUR), '')).toEqual({ kind: 'changed' });
    expect(await enrollmentsOf(email)).toEqual([]);
    expect(await confirm(id, at(2 * HOUR))).toMatchObject({ kind: 'confirmed', isNew: true });
    const [enrollment] = await enrollmentsOf(email);
    expect(enrollment).toMatchObject({ basis: 'consent', agreed_at: at(HOUR) });
  });

  test('asked again by a second mail, the link in the first leads to the same', async () => {
    const email = newAddress();
    const old = await submitToConfirm(database.db, sentBy(form, email, {}, NOW));
    const { confirm: asking } = await submit(database.db, sentBy(form, email, { name: 'Iñigo' }, at(2 * DAY)));
    expect(asking).toEqual([expect.any(String), old]);
    expect(await requestOf(old)).toMatchObject({ state: 'withdrawn', content: null, signal_at: expect.any(Date) });
    expect(await viewLink(database.db, old, at(2 * DAY))).toMatchObject({ requestId: asking[0], state: 'pending' });
    expect(await confirm(old, at(2 * DAY))).toMatchObject({ kind: 'confirmed' });
    expect(await requestOf(asking[0] ?? '')).toMatchObject({ state: 'confirmed' });
  });

  test('for a campaign that takes nobody it is kept nowhere', async () => {
    const draft = await createCampaign(database.db, definitionForTests(3));
    const gone = await publishForTests(database.db, definitionForTests(3));
    await cancelCampaign(database.db, gone, NOW);
    for (const id of [draft.id, gone]) {
      const email = newAddress();
      for (const doubleOptIn of [true, false]) {
        const closed = await formForTests(database.db, id, { doubleOptIn });
        expect(await submit(database.db, sentBy(closed, email, {}, NOW))).toEqual({
          start: [],
          tell: [],
          confirm: [],
          ignored: 'campaign-closed',
        });
      }
      expect(await requestsOf(email)).toEqual([]);
    }
  });
});

describe('a confirmation', () => {
  test('enrolls with the consents and how it was confirmed, erases what was sent, and counts once', async () => {
    const email = newAddress();
    const id = await submitToConfirm(database.db, sentBy(form, email, {}, NOW));
    await look(id);
    const results = await Promise.all(Array.from({ length: 5 }, () => confirm(id, at(HOUR), NOW.toISOString())));
    expect(results.filter((result) => result.kind === 'confirmed')).toHaveLength(1);
    expect(results.filter((result) => result.kind === 'ended' && result.state === 'confirmed')).toHaveLength(4);
    const [enrollment, ...none] = await enrollmentsOf(email);
    expect(none).toEqual([]);
    const evidence = await evidenceOf(enrollment?.lead_id ?? '');
    expect(evidence.map((one) => one.kind)).toEqual(['consent', 'confirmed']);
    expect(evidence[1]?.detail).toMatchObject({ requestId: id, ip: '192.0.2.9', userAgent: 'Firefox' });
    expect(await requestOf(id)).toMatchObject({
      state: 'confirmed',
      content: null,
      enrollment_id: enrollment?.id,
      signal_at: expect.any(Date),
    });
    const events = await database.db
      .selectFrom('event')
      .select('kind')
      .where('enrollment_id', '=', enrollment?.id ?? '')
      .execute();
    expect(events.map((event) => event.kind)).toEqual(['enrolled', 'confirmed']);
  });

  test('P7 is shown by the mail that asked, also when that mail has long forgotten whom it went to', async () => {
    const { db } = database;
    const email = newAddress();
    const id = await submitToConfirm(db, sentBy(form, email, {}, NOW));
    await look(id);
    const { mail_id: mailId } = await requestOf(id);
    await accepted(mailId);
    await confirm(id);
    await forgetTransactionalAddresses(db, 0);
    expect(await mailsOf(email)).toEqual([]);
    const [enrollment] = await enrollmentsOf(email);
    const { mails } = await evidenceDocument(db, enrollment?.lead_id ?? '', TEST_SIGNING_KEY, NOW);
    expect(mails).toEqual([
      expect.objectContaining({ kind: 'confirmation', state: 'accepted', settledAt: NOW.toISOString() }),
    ]);
  });

  test('P7 of the information alone gets no more than that', async () => {
    const email = newAddress();
    const id = await submitToConfirm(database.db, sentBy(form, email, { consents: [] }, NOW));
    await confirm(id);
    const [enrollment] = await enrollmentsOf(email);
    expect(enrollment).toMatchObject({ agreed_at: null, basis: null });
    expect((await evidenceOf(enrollment?.lead_id ?? '')).map((one) => one.kind)).toEqual(['confirmed']);
  });

  test('too late does nothing, also while nothing has marked it as expired', async () => {
    const email = newAddress();
    const id = await submitToConfirm(database.db, sentBy(form, email, {}, NOW));
    expect(await viewLink(database.db, id, at(7 * DAY))).toMatchObject({ state: 'expired', formId: form.id });
    expect(await confirm(id, at(7 * DAY), NOW.toISOString())).toEqual({ kind: 'ended', state: 'expired' });
    expect(await enrollmentsOf(email)).toEqual([]);
    expect(await look(id, at(7 * DAY))).toEqual({ kind: 'ended', state: 'expired' });
    expect(await confirm(id, at(DAY), NOW.toISOString())).toEqual({ kind: 'ended', state: 'expired' });
  });

  test('after the campaign was cancelled does nothing', async () => {
    const gone = await publishForTests(database.db, definitionForTests(3));
    const email = newAddress();
    const id = await submitToConfirm(database.db, sentBy(await formForTests(database.db, gone), email, {}, NOW));
    await cancelCampaign(database.db, gone, NOW);
    expect(await confirm(id)).toEqual({ kind: 'ended', state: 'withdrawn' });
    expect(await enrollmentsOf(email)).toEqual([]);
    expect(await requestOf(id)).toMatchObject({ content: null });
  });

  test('P6 after they have objected meanwhile does nothing', async () => {
    const email = newAddress();
    const id = await submitToConfirm(database.db, sentBy(form, email, {}, NOW));
    await stop(email, 'objection', at(HOUR));
    expect(await confirm(id, at(2 * HOUR), NOW.toISOString())).toEqual({ kind: 'ended', state: 'withdrawn' });
    expect(await enrollmentsOf(email)).toEqual([]);
    expect(await addressOf(email)).toMatchObject({ suppressed_reason: 'objection' });
  });
});

describe('P6 a suppression', () => {
  test.each([
    ['objection', 'unsubscribed'],
    ['complaint', 'unsubscribed'],
    ['campaign', 'unsubscribed'],
    ['undeliverable', 'undeliverable'],
  ] as const)(
    '%s is lifted by a confirmation, and by nothing before it, also where the form wants no double opt-in',
    async (kind, standing) => {
      const email = newAddress();
      const open = await formForTests(database.db, campaignId, { doubleOptIn: false });
      await stop(email, kind, at(-DAY));
      const id = await submitToConfirm(database.db, sentBy(open, email, {}, NOW));
      expect(await requestOf(id)).toMatchObject({ purpose: 'lift' });
      await look(id);
      expect(composed.at(-1)?.facts.standing).toBe(standing);
      const before = await addressOf(email);
      expect(await viewLink(database.db, id, at(1))).toMatchObject({ facts: { standing } });
      expect(await addressOf(email)).toEqual(before);
      expect(await enrollmentsOf(email)).toEqual([]);
      expect(await confirm(id)).toMatchObject({ kind: 'confirmed' });
      expect(await addressOf(email)).toEqual({
        suppressed_at: null,
        suppressed_reason: null,
        undeliverable_at: null,
        suppressed_campaigns: [],
      });
      expect(await enrollmentsOf(email)).toHaveLength(1);
      const history = await database.db
        .selectFrom('suppression')
        .select(['kind', 'lifted_at', 'lifted_by', 'lifted_because'])
        .where('address_hash', '=', sentBy(form, email).hashes[0])
        .execute();
      expect(history).toEqual([
        {
          kind,
          lifted_at: at(HOUR),
          lifted_by: kind === 'undeliverable' ? 'proof-of-life' : 'person',
          lifted_because: `double opt-in ${id}`,
        },
      ]);
    },
  );

  test('that came after the mail is not lifted by its link', async () => {
    const email = newAddress();
    await stop(email, 'objection', at(-DAY));
    const id = await submitToConfirm(database.db, sentBy(form, email, {}, NOW));
    await stop(email, 'complaint', at(HOUR));
    expect(await confirm(id, at(2 * HOUR), NOW.toISOString())).toEqual({ kind: 'ended', state: 'withdrawn' });
    expect(await addressOf(email)).toMatchObject({ suppressed_reason: 'complaint' });
  });

  test.each(['objection', 'complaint', 'campaign'] as const)(
    '%s that only says again what stood before withdraws what was asked in between',
    async (kind) => {
      const email = newAddress();
      await stop(email, kind, at(-DAY));
      const id = await submitToConfirm(database.db, sentBy(form, email, {}, NOW));
      // Who has complained is not asked a second time.
      const [other] = (await submit(database.db, sentBy(otherForm, email, {}, at(2 * DAY)))).confirm;
      const before = await addressOf(email);
      await stop(email, kind, at(3 * DAY));
      expect(await requestOf(id)).toMatchObject({ state: 'withdrawn', content: null, signal_at: expect.any(Date) });
      if (other !== undefined) {
        expect(await requestOf(other)).toMatchObject({ state: kind === 'campaign' ? 'pending' : 'withdrawn' });
      }
      expect(await confirm(id, at(4 * DAY), NOW.toISOString())).toEqual({ kind: 'ended', state: 'withdrawn' });
      expect(await enrollmentsOf(email)).toEqual([]);
      expect(await addressOf(email)).toEqual(before);
    },
  );

  test('of one campaign stays where another was asked for', async () => {
    const email = newAddress();
    await stop(email, 'campaign', at(-DAY));
    const id = await submitToConfirm(database.db, sentBy(otherForm, email, {}, NOW));
    expect(await requestOf(id)).toMatchObject({ purpose: 'opt-in' });
    await confirm(id);
    expect(await addressOf(email)).toMatchObject({ suppressed_campaigns: [campaignId] });
  });

  test('who has complained is asked once in 30 days, and never reminded', async () => {
    const email = newAddress();
    const reminding = await formForTests(database.db, campaignId, { confirmation: { remindAfter: 'PT24H' } });
    await stop(email, 'complaint', at(-DAY));
    const id = await submitToConfirm(database.db, sentBy(reminding, email, {}, NOW));
    expect(await requestOf(id)).toMatchObject({ remind_at: null });
    for (const days of [2, 10, 29]) {
      expect((await submit(database.db, sentBy(otherForm, email, {}, at(days * DAY)))).ignored).toBe('asked-often');
    }
    expect((await submit(database.db, sentBy(form, email, {}, at(31 * DAY)))).confirm).toHaveLength(1);
  });
});

describe('the mail that asks', () => {
  test('P3 is kept once, says nothing that was typed but the address, and goes to the requested stream', async () => {
    const email = newAddress();
    const id = await submitToConfirm(database.db, sentBy(form, email, { name: 'Compre en evil.example' }, NOW));
    const first = await look(id);
    expect(first).toMatchObject({ kind: 'waits', remindAt: null, expiresAt: at(7 * DAY) });
    expect(await look(id)).toEqual(first);
    const [mail, ...none] = await mailsOf(email);
    expect(none).toEqual([]);
    expect(mail).toMatchObject({ kind: 'confirmation', stream: 'requested', email, started_at: expect.any(Date) });
    expect(JSON.stringify(mail?.content)).not.toContain('evil.example');
    expect(JSON.stringify(composed.at(-1))).not.toContain('evil.example');
    expect(mail?.content).toMatchObject({ from: { name: 'Lucía de Casa Brava', address: 'lucia@shop.example' } });
  });

  test('is followed by one reminder where the form has one and the first was taken', async () => {
    const email = newAddress();
    const reminding = await formForTests(database.db, campaignId, { confirmation: { remindAfter: 'PT48H' } });
    const id = await submitToConfirm(database.db, sentBy(reminding, email, {}, NOW));
    expect(await look(id)).toMatchObject({ remindAt: at(2 * DAY) });
    await accepted((await requestOf(id)).mail_id);
    expect(await look(id, at(2 * DAY - 1))).toMatchObject({ remindAt: at(2 * DAY), mail: null });
    expect(await look(id, at(2 * DAY))).toMatchObject({ remindAt: null, mail: { stream: 'requested' } });
    expect(composed.at(-1)).toMatchObject({ reminder: true, facts: { requestId: id } });
    await look(id, at(3 * DAY));
    expect(await mailsOf(email)).toHaveLength(2);
    // The reminder is one of the three mails in 30 days, and another is not sent within a day of it.
    expect((await submit(database.db, sentBy(reminding, email, {}, at(2 * DAY + HOUR)))).confirm).toEqual([]);
    expect((await submit(database.db, sentBy(otherForm, email, {}, at(4 * DAY)))).ignored).toBeNull();
    expect((await submit(database.db, sentBy(form, email, {}, at(6 * DAY)))).confirm).toEqual([]);
  });

  test('is never followed by one within 24 hours, whatever the form says', async () => {
    const hasty = await formForTests(database.db, campaignId, { confirmation: { remindAfter: 'PT1H' } });
    const late = await formForTests(database.db, campaignId, {
      confirmation: { remindAfter: 'PT1H', expiresAfter: 'PT12H' },
    });
    const id = await submitToConfirm(database.db, sentBy(hasty, newAddress(), {}, NOW));
    expect(await requestOf(id)).toMatchObject({ remind_at: at(DAY) });
    await look(id);
    await accepted((await requestOf(id)).mail_id);
    await look(id, at(DAY));
    expect(await requestOf(id)).toMatchObject({ reminder_id: expect.any(String) });
    const none = await submitToConfirm(database.db, sentBy(late, newAddress(), {}, NOW));
    expect(await requestOf(none)).toMatchObject({ remind_at: null, expires_at: at(12 * HOUR) });
  });

  test('is not followed by one while it is still on its way', async () => {
    const email = newAddress();
    const reminding = await formForTests(database.db, campaignId, { confirmation: { remindAfter: 'PT48H' } });
    const id = await submitToConfirm(database.db, sentBy(reminding, email, {}, NOW));
    await look(id);
    expect(await look(id, at(2 * DAY))).toMatchObject({ remindAt: null });
    expect(await mailsOf(email)).toHaveLength(1);
  });

  test('is not kept, and the request withdrawn, once they have objected, or the campaign was cancelled', async () => {
    const gone = await publishForTests(database.db, definitionForTests(3));
    const closing = await formForTests(database.db, gone);
    const [objecting, other] = [newAddress(), newAddress()];
    const ids = [
      await submitToConfirm(database.db, sentBy(form, objecting, {}, NOW)),
      await submitToConfirm(database.db, sentBy(closing, other, {}, NOW)),
    ];
    await stop(objecting, 'objection', at(1));
    await cancelCampaign(database.db, gone, NOW);
    for (const id of ids) {
      expect(await look(id, at(2))).toEqual({ kind: 'ended', state: 'withdrawn' });
      expect(await requestOf(id)).toMatchObject({ state: 'withdrawn', content: null });
    }
    expect([...(await mailsOf(objecting)), ...(await mailsOf(other))]).toEqual([]);
  });

  test('comes back: the address is undeliverable and the request withdrawn; settled, nothing but the keyed hash is left of it', async () => {
    const { db } = database;
    const email = newAddress();
    const { hashes } = sentBy(form, email);
    const id = await submitToConfirm(db, sentBy(form, email, {}, NOW));
    await look(id);
    const mailId = (await requestOf(id)).mail_id ?? '';
    const claim = { id: mailId, token: randomUUID() };
    await claimTransactional(db, { ...claim, messageId: '<m@shop.example>', now: NOW });
    await bounceTransactional(db, claim, { hashes, code: '550 5.1.1', now: at(HOUR) });
    expect(await requestOf(id)).toMatchObject({ state: 'withdrawn', content: null, signal_at: expect.any(Date) });
    expect(await addressOf(email)).toMatchObject({ undeliverable_at: at(HOUR) });
    expect(await mailsOf(email)).toMatchObject([{ state: 'rejected', email: null, content: null }]);
  });

  test('is kept back, and what has claimed it refused at the gate, once they have objected, or the campaign was cancelled', async () => {
    const { db } = database;
    const gone = await publishForTests(db, definitionForTests(3));
    const closing = await formForTests(db, gone);
    const ways: [typeof form, (email: string) => Promise<unknown>][] = [
      [form, (email) => stop(email, 'objection', at(2))],
      [form, (email) => objectByLink(db, { addressHash: sentBy(form, email).hashes[0], now: at(2) })],
      [closing, () => cancelCampaign(db, gone, at(2))],
    ];
    for (const [of, leave] of ways) {
      const email = newAddress();
      const id = await submitToConfirm(db, sentBy(of, email, {}, NOW));
      await look(id);
      const claim = { id: (await requestOf(id)).mail_id ?? '', token: randomUUID() };
      await claimTransactional(db, { ...claim, messageId: '<m@shop.example>', now: at(1) });
      await leave(email);
      expect(await passTransactionalGate(db, claim, at(3))).toBe(false);
      expect(await claimTransactional(db, { ...claim, messageId: '<m@shop.example>', now: at(3) })).toBeNull();
      expect(await mailsOf(email)).toMatchObject([{ state: 'rejected', email: null, content: null }]);
    }
  });

  test('of whom was erased while it was on its way, not even the hash stays', async () => {
    const { db } = database;
    const email = newAddress();
    const id = await submitToConfirm(db, sentBy(form, email, {}, NOW));
    await look(id);
    const mailId = (await requestOf(id)).mail_id ?? '';
    await db.updateTable('transactional').set({ erase_when_settled: true }).where('id', '=', mailId).execute();
    const claim = { id: mailId, token: randomUUID() };
    await claimTransactional(db, { ...claim, messageId: '<m@shop.example>', now: NOW });
    await settleTransactional(db, { ...claim, state: 'accepted', code: '250', now: NOW });
    const row = await db
      .selectFrom('transactional')
      .select(['email', 'address_hash', 'content', 'state'])
      .where('id', '=', mailId)
      .executeTakeFirst();
    expect(row).toEqual({ email: null, address_hash: null, content: null, state: 'accepted' });
  });
});

describe('the way out', () => {
  test('is an objection that withdraws whatever the address was asked, and works when nothing else is known', async () => {
    const { db } = database;
    const email = newAddress();
    const { hashes } = sentBy(form, email);
    const ids = [
      await submitToConfirm(db, sentBy(form, email, {}, NOW)),
      await submitToConfirm(db, sentBy(otherForm, email, {}, at(2 * DAY))),
    ];
    const { requests } = await objectByLink(db, { addressHash: hashes[0], now: at(3 * DAY) });
    expect(requests.sort()).toEqual(ids.sort());
    for (const id of ids) expect(await requestOf(id)).toMatchObject({ state: 'withdrawn', content: null });
    expect(await addressOf(email)).toMatchObject({ suppressed_reason: 'objection' });
    await db.deleteFrom('form_request').where('id', 'in', ids).execute();
    await db.deleteFrom('address').where('hash', '=', hashes[0]).execute();
    expect(await objectByLink(db, { addressHash: hashes[0], now: at(4 * DAY) })).toMatchObject({ requests: [] });
    expect(await addressOf(email)).toMatchObject({ suppressed_reason: 'objection' });
  });

  test('cancelled in the engine a request is withdrawn, but for one that has ended', async () => {
    const { db } = database;
    const [open, done] = [newAddress(), newAddress()];
    const ids = [
      await submitToConfirm(db, sentBy(form, open, {}, NOW)),
      await submitToConfirm(db, sentBy(form, done, {}, NOW)),
    ] as const;
    await confirm(ids[1]);
    expect(await abandonRequest(db, ids[0], NOW)).toBe('withdrawn');
    expect(await abandonRequest(db, ids[1], NOW)).toBe('confirmed');
    expect(await abandonRequest(db, randomUUID(), NOW)).toBe('erased');
    const withdrawn = await db.transaction().execute((tx) => withdrawRequestsOf(tx, { mailId: randomUUID() }, NOW));
    expect(withdrawn).toEqual([]);
  });
});

describe('what nobody confirmed', () => {
  test('is erased some time after it has expired; the hash stays while mails are counted, then the row is nobody’s', async () => {
    const { db } = database;
    const [email, confirmed, keeping] = [newAddress(), newAddress(), newAddress()];
    const id = await submitToConfirm(db, sentBy(form, email, {}, NOW));
    const done = await submitToConfirm(db, sentBy(form, confirmed, {}, NOW));
    await confirm(done);
    await stop(keeping, 'objection', at(-DAY));
    const kept = await submitToConfirm(db, sentBy(form, keeping, {}, NOW));
    const forget = (now: Date) =>
      forgetRequests(db, {
        keptUntil: new Date(now.getTime() - 7 * DAY),
        countedSince: new Date(now.getTime() - 30 * DAY),
        now,
      });
    await forget(at(13 * DAY));
    expect((await requestOf(id)).content).toMatchObject({ email });
    await forget(at(15 * DAY));
    expect(await requestOf(id)).toMatchObject({ state: 'expired', content: null, ended_at: at(15 * DAY) });
    expect((await submit(db, sentBy(form, email, {}, at(1)))).ignored).toBe('asked-often');
    expect(await addressOf(email)).toBeDefined();
    await forget(at(31 * DAY));
    for (const one of [id, done, kept]) expect(await requestOf(one)).toMatchObject({ content: null, address_hash: '' });
    expect(await addressOf(email)).toBeUndefined();
    // Known for other reasons.
    expect(await addressOf(confirmed)).toBeDefined();
    expect(await addressOf(keeping)).toMatchObject({ suppressed_reason: 'objection' });
    expect(await viewLink(db, id, at(31 * DAY))).toMatchObject({ state: 'expired', formId: form.id });
  });
});
