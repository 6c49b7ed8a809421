import { randomUUID } from 'node:crypto';
import { DateTime } from 'luxon';
import { planDue } from '../../domain/planner';
import { type ApiUnderTest, apiUnderTest, bodyFor, get, post, until } from './api-under-test';
import { mjmlWith, publishableDraft } from './publishable-draft';

let api: ApiUnderTest;

beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

async function created(draft: unknown = publishableDraft()): Promise<string> {
  return (await post(api.app, '/v1/campaigns', draft)).json<{ id: string }>().id;
}

const ask = async (id: string, what: 'preview' | 'rehearsal' | 'test-send', body: unknown) =>
  await post(api.app, `/v1/campaigns/${id}/${what}`, body);

describe('a preview', () => {
  test('is the mail as a lead would get it, for somebody invented in the campaign’s language', async () => {
    const id = await created();
    const answer = await ask(id, 'preview', { step: 1 });
    expect(answer.statusCode).toBe(200);
    const mail = answer.json();
    expect(mail.subject).toBe('Paso 1: Cafetera Brava, hace 2 meses');
    expect(mail.text).toContain('Hola Ana, ¿aún me recuerda?');
    expect(mail.html).toContain('Hola Ana, ¿aún me recuerda?');
    expect(mail.html).toContain('https://recuerda.test/u/preview');
    expect(mail.from).toBe('Lucía de Casa Brava <lucia@shop.example>');
    expect(mail.to).toBe('Ana García <ana@example.com>');
    expect(mail.headers).toMatchObject({
      'List-Unsubscribe': '<https://recuerda.test/u/preview>',
      'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
      'Auto-Submitted': 'auto-generated',
      'Content-Language': 'es',
    });
    expect(mail.problems).toBeUndefined();
    expect((await api.app.inject({ method: 'POST', url: '/u/preview' })).statusCode).toBe(404);
  });

  test('is for the lead who is given, also one without a name', async () => {
    const id = await created();
    const lead = { email: 'BEN@example.org', name: '<Ben & Co>', locale: 'en-GB', timeZone: 'Pacific/Auckland' };
    const mail = (await ask(id, 'preview', { step: 2, lead })).json();
    expect(mail.subject).toMatch(/months ago$/);
    expect(mail.html).toContain('Hola &#60;Ben,');
    expect(mail.to).toBe('"<Ben & Co>" <BEN@example.org>');
    expect((await ask(id, 'preview', { step: 0, lead: {} })).json().text).toContain('Hola qué tal,');
    const bad = await ask(id, 'preview', { step: 0, lead: { email: 'nobody', timeZone: '+01:00' } });
    expect(bad.statusCode).toBe(400);
    expect(bad.json().errors[0].pointer).toBe('/lead/email');
  });

  test('can be for a lead on record, with when they asked', async () => {
    const id = await created();
    await post(api.app, `/v1/campaigns/${id}/publish`);
    const requestedAt = DateTime.now().setZone('Atlantic/Canary').minus({ days: 3 }).toISO();
    const body = { ...bodyFor('record@example.com'), requestedAt };
    const { leadId } = (await post(api.app, `/v1/campaigns/${id}/enrollments`, body)).json();
    const mail = (await ask(id, 'preview', { step: 0, leadId })).json();
    expect(mail.subject).toBe('Paso 0: Cafetera Brava, hace 3 días');
    expect(mail.to).toContain('<record@example.com>');
    expect((await ask(id, 'preview', { step: 0, leadId, lead: {} })).statusCode).toBe(400);
    expect((await ask(id, 'preview', { step: 0, leadId: randomUUID() })).statusCode).toBe(404);
  });

  test('of a version is of that version, whatever the draft has become', async () => {
    const id = await created();
    await post(api.app, `/v1/campaigns/${id}/publish`);
    await api.app.inject({
      method: 'PATCH',
      url: `/v1/campaigns/${id}`,
      headers: { authorization: 'Bearer a-key-of-the-tests-0123456789', 'content-type': 'application/json' },
      payload: JSON.stringify({ steps: [{ subject: 'Otra', mjml: mjmlWith() }] }),
    });
    expect((await ask(id, 'preview', { step: 0 })).json().subject).toBe('Otra');
    expect((await ask(id, 'preview', { step: 2, version: 1 })).json().subject).toMatch(/^Paso 2/);
    const gone = await ask(id, 'preview', { step: 2 });
    expect(gone.statusCode).toBe(400);
    expect(gone.json()).toMatchObject({ errors: [{ pointer: '/step' }] });
    expect((await ask(id, 'preview', { step: 0, version: 2 })).statusCode).toBe(404);
    expect((await ask(id, 'preview', { step: 0, version: 'latest' })).statusCode).toBe(400);
  });

  test('shows a step of a draft that is not finished, and what is wrong elsewhere', async () => {
    const steps = [
      { subject: 'Bien', mjml: mjmlWith() },
      { subject: '{{ wrong }}', mjml: mjmlWith() },
    ];
    const id = await created({ name: 'A medias', steps });
    const mail = (await ask(id, 'preview', { step: 0 })).json();
    expect(mail.subject).toBe('Bien');
    expect(mail.html).toContain('[sender.legalName]');
    expect(mail.problems.map((problem: { pointer: string }) => problem.pointer)).toEqual(
      expect.arrayContaining(['/product', '/sender', '/steps/1/subject']),
    );
    const broken = await ask(id, 'preview', { step: 1 });
    expect(broken.statusCode).toBe(422);
    expect(broken.json().errors).toEqual(
      expect.arrayContaining([expect.objectContaining({ pointer: '/steps/1/subject', line: 1 })]),
    );
  });
});

describe('P10 a rehearsal', () => {
  test('shows the journey as the planner plans it, in the lead’s own time, with filled subjects', async () => {
    const draft = publishableDraft(8);
    const id = await created(draft);
    const enrollmentId = randomUUID();
    const timeZone = 'Pacific/Auckland';
    const body = { startAt: '2026-01-31T10:00:00Z', enrollmentId, lead: { name: 'Ana', timeZone } };
    const answer = await ask(id, 'rehearsal', body);
    expect(answer.statusCode).toBe(200);
    const plan = answer.json();
    expect(plan).toMatchObject({ campaignId: id, version: null, timeZone, requestedAt: '2026-01-31T10:00:00.000Z' });
    expect(plan.steps).toHaveLength(8);
    expect(plan.steps[0]).toEqual({
      step: 0,
      dueAt: '2026-01-31T10:00:00.000Z',
      localTime: '2026-01-31T23:00:00.000+13:00',
      weekday: 'sat',
      timeZone,
      subject: expect.stringMatching(/^Paso 0: Cafetera Brava, /),
      intervalDays: null,
    });
    const { cadence = { min: '', max: '' }, sendWindow } = draft;
    if (sendWindow === undefined) throw new Error('the draft has a send window');
    let after = new Date(body.startAt);
    const clock = { origin: after.getTime(), factor: 1 };
    for (const [index, at] of [
      ...plan.steps.slice(1).map((s: { dueAt: string }) => s.dueAt),
      plan.exhausted.at,
    ].entries()) {
      const due = planDue({ enrollmentId, step: index + 1, after, cadence, sendWindow, timeZone, clock });
      expect(at).toBe(due.toISOString());
      after = due;
    }
    expect(plan.steps[3].subject).toMatch(/^Paso 3: Cafetera Brava, hace \d+ meses$/);
    for (const step of plan.steps.slice(1)) {
      const local = DateTime.fromISO(step.localTime, { setZone: true });
      expect(local.toMillis()).toBe(Date.parse(step.dueAt));
      expect(local.hour).toBeGreaterThanOrEqual(9);
      expect(local.hour).toBeLessThan(19);
      expect(['mon', 'tue', 'wed', 'thu', 'fri']).toContain(step.weekday);
      expect(step.intervalDays).toBeGreaterThanOrEqual(59);
      expect(step.intervalDays).toBeLessThanOrEqual(95);
    }
    const erased = DateTime.fromISO(plan.exhausted.at, { zone: timeZone }).plus({ days: 30 });
    expect(plan.erased.at).toBe(erased.toUTC().toISO());
    expect((await ask(id, 'rehearsal', body)).json()).toEqual(plan);
  });

  test('is of the same times for a version as for the draft it was made from, and drawn otherwise for another lead', async () => {
    const id = await created();
    await post(api.app, `/v1/campaigns/${id}/publish`);
    const startAt = '2027-10-20T08:30:00Z';
    const draft = (await ask(id, 'rehearsal', { startAt })).json();
    const version = (await ask(id, 'rehearsal', { startAt, version: 1 })).json();
    expect(version).toEqual({ ...draft, version: 1 });
    const other = (await ask(id, 'rehearsal', { startAt, enrollmentId: randomUUID() })).json();
    expect(other.steps[1].dueAt).not.toBe(draft.steps[1].dueAt);
  });

  test('is what an enrollment gets: its first nudge is due exactly then', async () => {
    const id = await created();
    await post(api.app, `/v1/campaigns/${id}/publish`);
    const { enrollmentId } = (
      await post(api.app, `/v1/campaigns/${id}/enrollments`, bodyFor('plan@example.com'))
    ).json();
    await api.db.updateTable('enrollment').set({ step: 1 }).where('id', '=', enrollmentId).execute();
    // Asking again plans the next nudge anew, from that moment.
    await post(api.app, `/v1/campaigns/${id}/enrollments`, bodyFor('plan@example.com'));
    const event = await api.db
      .selectFrom('event')
      .select(['at', 'detail'])
      .where('enrollment_id', '=', enrollmentId)
      .where('kind', '=', 'asked-again')
      .executeTakeFirstOrThrow();
    const { timeZone } = bodyFor('plan@example.com').lead;
    const plan = (
      await ask(id, 'rehearsal', { enrollmentId, startAt: event.at.toISOString(), lead: { timeZone } })
    ).json();
    expect(plan.steps[1].dueAt).toBe(event.detail.nextDueAt);
  });

  test('is refused for a draft that can not be published, and for times that do not exist', async () => {
    const id = await created({ name: 'Vacía' });
    const answer = await ask(id, 'rehearsal', {});
    expect(answer.statusCode).toBe(422);
    expect(answer.json().errors.length).toBeGreaterThan(0);
    const full = await created();
    expect((await ask(full, 'rehearsal', { startAt: '9999-12-31T00:00:00Z' })).statusCode).toBe(400);
    expect((await ask(full, 'rehearsal', { startAt: 'soon' })).statusCode).toBe(400);
    const shut = await created(
      publishableDraft(2, {
        sendWindow: { days: ['mon'], from: '09:00', to: '19:00', blackouts: ['2040-01-01/2049-12-31'] },
      }),
    );
    expect((await ask(shut, 'rehearsal', { startAt: '2040-01-10T00:00:00Z' })).statusCode).toBe(422);
  });
});

describe('a test mail', () => {
  test('is kept with all it takes, and started after the answer', async () => {
    const id = await created();
    const answer = await ask(id, 'test-send', { to: 'Staff <staff@shop.example>', step: 1, lead: { name: 'Eva' } });
    expect(answer.statusCode).toBe(202);
    const { testSendId } = answer.json();
    await until(() => api.asked.tested.includes(testSendId));
    const row = await api.db.selectFrom('test_send').selectAll().where('id', '=', testSendId).executeTakeFirstOrThrow();
    expect(row).toMatchObject({ address: 'staff@shop.example', step: 1, version: null, lead: { name: 'Eva' } });
    expect(row.content).toMatchObject({ stepCount: 3, compiled: { subject: expect.stringContaining('Paso 1') } });
    expect((await get(api.app, `/v1/test-sends/${testSendId}`)).json()).toEqual({
      testSendId,
      campaignId: id,
      version: null,
      step: 1,
      state: 'queued',
      code: null,
      createdAt: expect.any(String),
    });
    expect((await get(api.app, `/v1/test-sends/${randomUUID()}`)).statusCode).toBe(404);
  });

  test('goes to staff who have unsubscribed, and not to an address that mail came back from', async () => {
    const id = await created();
    await post(api.app, `/v1/campaigns/${id}/publish`);
    const leads = await Promise.all(
      ['left@shop.example', 'dead@shop.example'].map(async (email) =>
        (await post(api.app, `/v1/campaigns/${id}/enrollments`, bodyFor(email))).json<{ leadId: string }>(),
      ),
    );
    await post(api.app, '/v1/unsubscribes', { leadId: leads[0]?.leadId });
    await api.db
      .updateTable('address')
      .set({ undeliverable_at: new Date() })
      .where('hash', 'in', (eb) =>
        eb.selectFrom('lead').select('address_hash').where('email', '=', 'dead@shop.example'),
      )
      .execute();
    expect((await ask(id, 'test-send', { to: 'left@shop.example', step: 0 })).statusCode).toBe(202);
    const refused = await ask(id, 'test-send', { to: 'DEAD@shop.example', step: 0 });
    expect(refused.statusCode).toBe(409);
    expect(refused.json()).toMatchObject({
      type: 'https://recuerda.test/problems/address-suppressed',
      reason: 'undeliverable',
    });
  });

  test('is refused where there is nothing to send, or nowhere', async () => {
    const id = await created({ name: 'Vacía' });
    expect((await ask(id, 'test-send', { to: 'staff@shop.example', step: 0 })).statusCode).toBe(400);
    const full = await created();
    expect((await ask(full, 'test-send', { to: 'nowhere', step: 0 })).json().errors[0].pointer).toBe('/to');
    expect((await ask(full, 'test-send', { to: 'staff@shop.example', step: 5 })).statusCode).toBe(400);
    expect((await ask(randomUUID(), 'test-send', { to: 'staff@shop.example', step: 0 })).statusCode).toBe(404);
  });
});
