import { randomUUID } from 'node:crypto';
import { publishForTests } from '../support/campaigns';
import { bounced, classified, keepForTests, receive, stepRef } from '../support/inbound';
import { enrollForTests, requestBy } from '../support/leads';
import { type ApiUnderTest, AUTH, apiUnderTest, get, post, until } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db);
});
afterAll(() => api.close());

async function lead(campaign = campaignId) {
  const email = `${randomUUID()}@correo.example`;
  const id = await enrollForTests(api.db, campaign, requestBy(email));
  await api.db
    .updateTable('enrollment')
    .set({ step: 1, next_due_at: new Date(Date.now() + 60 * 86_400_000) })
    .where('id', '=', id)
    .execute();
  return { email, id };
}

const reply = classified({ kind: 'reply' });
const doubtful = classified({ kind: 'auto-reply', needsReview: true, confidence: 0.4 });

interface Listed {
  items: { inboundId: string }[];
  nextCursor: string | null;
}

async function listed(query: string): Promise<string[]> {
  const response = await get(api.app, `/v1/inbox?${query}`);
  expect(response.statusCode).toBe(200);
  return response.json<Listed>().items.map((item) => item.inboundId);
}

test('a received message shows who wrote what, what it is, whose it is and what followed', async () => {
  const { email, id } = await lead();
  const { inboundId } = await receive(
    api.db,
    classified({ kind: 'reply', requests: ['access'], evidence: ['answers in a thread'] }),
    {
      from: email,
      proven: stepRef(id, 0, 'reply-to'),
      text: '¿Qué datos míos tienen?',
    },
  );
  const response = await get(api.app, `/v1/inbox/${inboundId}`);
  expect(response.statusCode).toBe(200);
  expect(response.json()).toMatchObject({
    inboundId,
    state: 'done',
    from: email,
    fromName: 'Ana',
    subject: 'Re: Paso 0',
    excerpt: '¿Qué datos míos tienen?',
    kind: 'reply',
    requests: ['access'],
    evidence: ['answers in a thread'],
    enrollmentId: id,
    campaignId,
    step: 0,
    matchedBy: 'reply-to',
    proven: true,
    needsReview: false,
    rawKept: true,
    actions: expect.arrayContaining([
      expect.objectContaining({ do: 'stop', outcome: 'replied', enrollmentIds: [id] }),
      expect.objectContaining({ do: 'request', request: 'access' }),
      expect.objectContaining({ do: 'forwarded' }),
    ]),
  });
  expect((await get(api.app, `/v1/inbox/${randomUUID()}`)).statusCode).toBe(404);
  expect((await api.app.inject({ url: `/v1/inbox/${inboundId}` })).statusCode).toBe(401);
});

test('the list is filtered and comes in pages, newest first', async () => {
  const campaign = await publishForTests(api.db);
  const since = new Date('2026-01-10T10:00:00Z');
  const at = (minutes: number) => new Date(since.getTime() + minutes * 60_000);
  const { email, id } = await lead(campaign);
  const clues = { from: email, proven: stepRef(id) };
  const vacation = await receive(api.db, classified({ kind: 'auto-reply', subtype: 'vacation' }), {
    ...clues,
    receivedAt: at(1),
  });
  const doubt = await receive(api.db, doubtful, { ...clues, receivedAt: at(2) });
  const stranger = await receive(api.db, bounced(), { receivedAt: at(3) });

  expect(await listed(`campaignId=${campaign}`)).toEqual([doubt.inboundId, vacation.inboundId]);
  expect(await listed(`enrollmentId=${id}&needsReview=true`)).toEqual([doubt.inboundId]);
  expect(await listed(`enrollmentId=${id}&needsReview=false`)).toEqual([vacation.inboundId]);
  expect(await listed(`unmatched=true&kind=bounce&since=${since.toISOString()}`)).toEqual([stranger.inboundId]);
  expect(await listed(`unmatched=false&campaignId=${campaign}&kind=reply`)).toEqual([]);

  const first = (await get(api.app, `/v1/inbox?campaignId=${campaign}&limit=1`)).json<Listed>();
  expect(first.items.map((item) => item.inboundId)).toEqual([doubt.inboundId]);
  const second = (
    await get(api.app, `/v1/inbox?campaignId=${campaign}&limit=1&cursor=${first.nextCursor}`)
  ).json<Listed>();
  expect(second).toMatchObject({ items: [{ inboundId: vacation.inboundId }], nextCursor: null });
  expect((await get(api.app, '/v1/inbox?kind=spam')).statusCode).toBe(400);
  expect((await get(api.app, '/v1/inbox?needsReview=1')).statusCode).toBe(400);
});

test('the message itself is handed out as a file that no browser opens', async () => {
  const raw = `From: ana@correo.example\r\nSubject: ${randomUUID()}\r\n\r\n<script>alert(1)</script>\r\n`;
  const id = await keepForTests(api.db, new Date(), raw);
  const response = await get(api.app, `/v1/inbox/${id}/raw`);
  expect(response.statusCode).toBe(200);
  expect(response.body).toBe(raw);
  expect(response.headers).toMatchObject({
    'content-type': 'message/rfc822',
    'content-disposition': `attachment; filename="${id}.eml"`,
    'x-content-type-options': 'nosniff',
  });
  await api.db.updateTable('inbound').set({ raw: null }).where('id', '=', id).execute();
  expect((await get(api.app, `/v1/inbox/${id}/raw`)).statusCode).toBe(404);
});

describe('a decision', () => {
  test('that it is a reply ends the journey, which is told', async () => {
    const { email, id } = await lead();
    const { inboundId } = await receive(api.db, doubtful, { from: email, proven: stepRef(id) });
    const response = await post(api.app, `/v1/inbox/${inboundId}/decision`, { kind: 'reply' });
    expect(response.statusCode).toBe(202);
    expect(response.json()).toMatchObject({ kind: 'reply', classifiedAs: 'auto-reply', needsReview: false });
    expect((await get(api.app, `/v1/enrollments/${id}`)).json()).toMatchObject({ state: 'ended', outcome: 'replied' });
    await until(() => api.asked.told.includes(id));
  });

  test('that it is none lets the journey go on: the hold ends, or it is reopened and started', async () => {
    const held = await lead();
    const doubt = await receive(api.db, doubtful, { from: held.email, proven: stepRef(held.id) });
    await post(api.app, `/v1/inbox/${doubt.inboundId}/decision`, { kind: 'auto-reply' });
    await until(() => api.asked.told.includes(held.id));
    expect((await get(api.app, `/v1/enrollments/${held.id}`)).json()).toMatchObject({ state: 'active' });

    const ended = await lead();
    const wrong = await receive(api.db, reply, { from: ended.email, proven: stepRef(ended.id) });
    const answer = (await post(api.app, `/v1/inbox/${wrong.inboundId}/decision`, { kind: 'auto-reply' })).json();
    const reopened = (answer.actions as { do: string; enrollmentId: string }[]).find((one) => one.do === 'reopened');
    await until(() => api.asked.started.includes(reopened?.enrollmentId ?? ''));
    const { leadId } = (await get(api.app, `/v1/enrollments/${ended.id}`)).json();
    const { timeline } = (await get(api.app, `/v1/leads/${leadId}`)).json();
    const texts = (timeline as { text: string }[]).map((entry) => entry.text).join('\n');
    expect(texts).toContain('A person decided that their message is: auto-reply (it was taken for: reply).');
    expect(texts).toContain(`it goes on as enrollment ${reopened?.enrollmentId}`);
  });

  test('of what was not looked at yet, of nothing, or with another body is refused', async () => {
    const waiting = await keepForTests(api.db);
    const refused = await post(api.app, `/v1/inbox/${waiting}/decision`, { kind: 'reply' });
    expect(refused.statusCode).toBe(409);
    expect(refused.json().type).toContain('/problems/not-processed');
    expect((await post(api.app, `/v1/inbox/${randomUUID()}/decision`, { kind: 'reply' })).statusCode).toBe(404);
    expect((await post(api.app, `/v1/inbox/${waiting}/decision`, { kind: 'spam' })).statusCode).toBe(400);
    expect((await post(api.app, `/v1/inbox/${waiting}/decision`, {})).statusCode).toBe(400);
  });
});

test('requests about personal data are listed by their due date, and are done once', async () => {
  const { email, id } = await lead();
  const clues = { from: email, proven: stepRef(id) };
  await receive(api.db, classified({ kind: 'reply', requests: ['rectification'] }), {
    ...clues,
    receivedAt: new Date('2020-02-10T10:00:00Z'),
  });
  await receive(api.db, classified({ kind: 'unsubscribe', requests: ['erasure'] }), {
    ...clues,
    receivedAt: new Date('2020-01-10T10:00:00Z'),
  });
  const first = (await get(api.app, '/v1/privacy-requests?done=false&limit=1')).json();
  expect(first.items).toMatchObject([
    { kind: 'erasure', enrollmentId: id, dueAt: '2020-02-10T22:59:59.999Z', doneAt: null },
  ]);
  const second = (await get(api.app, `/v1/privacy-requests?done=false&limit=1&cursor=${first.nextCursor}`)).json();
  expect(second.items).toMatchObject([{ kind: 'rectification', dueAt: '2020-03-10T22:59:59.999Z' }]);
  const { requestId } = first.items[0];
  const done = await post(api.app, `/v1/privacy-requests/${requestId}/done`);
  expect(done.statusCode).toBe(200);
  const again = await post(api.app, `/v1/privacy-requests/${requestId}/done`);
  expect(again.json().doneAt).toBe(done.json().doneAt);
  const open = (await get(api.app, '/v1/privacy-requests?done=false')).json();
  expect((open.items as { requestId: string }[]).map((item) => item.requestId)).not.toContain(requestId);
  expect((await post(api.app, `/v1/privacy-requests/${randomUUID()}/done`)).statusCode).toBe(404);
});

describe('snoozing and reopening', () => {
  const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();

  test('an open enrollment rests until the day; its journey is told', async () => {
    const { id } = await lead();
    const response = await post(api.app, `/v1/enrollments/${id}/snooze`, { until: inDays(100) });
    expect(response.statusCode).toBe(202);
    expect(response.json()).toMatchObject({ enrollmentId: id, inFlight: [] });
    expect(response.json().nextDueAt >= inDays(99.9)).toBe(true);
    await until(() => api.asked.told.includes(id));
  });

  test('one that has ended as replied goes on as a new one, which is started', async () => {
    const { email, id } = await lead();
    await receive(api.db, reply, { from: email, proven: stepRef(id) });
    const response = await post(api.app, `/v1/enrollments/${id}/reopen`, { until: inDays(100) });
    expect(response.statusCode).toBe(202);
    const { enrollmentId } = response.json();
    expect(response.json()).toMatchObject({ reopenedFrom: id });
    await until(() => api.asked.started.includes(enrollmentId));
    expect((await get(api.app, `/v1/enrollments/${enrollmentId}`)).json()).toMatchObject({ state: 'active', step: 1 });
    const again = await post(api.app, `/v1/enrollments/${id}/reopen`, {});
    expect(again.statusCode).toBe(409);
    expect(again.json()).toMatchObject({ enrollmentId, type: 'https://recuerda.test/problems/already-open' });
  });

  test('the past, more than two years, an ended and an unknown one are refused', async () => {
    const { email, id } = await lead();
    for (const until of [inDays(-1), inDays(800), 'mañana']) {
      expect((await post(api.app, `/v1/enrollments/${id}/snooze`, { until })).statusCode).toBe(400);
    }
    await receive(api.db, reply, { from: email, proven: stepRef(id) });
    expect((await post(api.app, `/v1/enrollments/${id}/snooze`, { until: inDays(9) })).statusCode).toBe(409);
    expect((await post(api.app, `/v1/enrollments/${randomUUID()}/reopen`, {})).statusCode).toBe(404);
    expect(
      (await api.app.inject({ method: 'POST', url: `/v1/enrollments/${id}/reopen`, headers: { ...AUTH } })).statusCode,
    ).toBe(400);
  });
});
