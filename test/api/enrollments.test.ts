import { randomUUID } from 'node:crypto';
import { createCampaign } from '../../db/campaigns';
import { pauseCampaign } from '../../db/pauses';
import { stopEnrollments } from '../../db/stops';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { requestBy } from '../support/leads';
import { type ApiUnderTest, apiUnderTest, bodyFor, get, ledgerRow, post, until } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db, definitionForTests(3));
});
afterAll(async () => await api.close());

const enrollIn = async (id: string, body: unknown, headers = {}) =>
  await post(api.app, `/v1/campaigns/${id}/enrollments`, body, headers);

async function enrolled(email: string): Promise<{ enrollmentId: string; leadId: string }> {
  const answer = await enrollIn(campaignId, bodyFor(email));
  expect(answer.statusCode).toBe(202);
  return answer.json();
}

test('P1 a hundred identical requests at once make one enrollment, created once', async () => {
  const answers = await Promise.all(
    Array.from({ length: 100 }, async () => await enrollIn(campaignId, bodyFor('hundred@example.com'))),
  );
  expect(new Set(answers.map((answer) => answer.statusCode))).toEqual(new Set([202]));
  const bodies = answers.map((answer) => answer.json<{ enrollmentId: string; leadId: string; created: boolean }>());
  expect(bodies.filter((body) => body.created)).toHaveLength(1);
  expect(new Set(bodies.map((body) => body.enrollmentId)).size).toBe(1);
  const rows = await api.db
    .selectFrom('enrollment')
    .select('id')
    .where('lead_id', '=', bodies[0]?.leadId ?? '')
    .execute();
  expect(rows).toHaveLength(1);
});

test('P4 the answer comes when it is in Postgres, and the journey is started after it', async () => {
  const { enrollmentId, leadId } = await enrolled('row@example.com');
  const row = await api.db
    .selectFrom('enrollment')
    .selectAll()
    .where('id', '=', enrollmentId)
    .executeTakeFirstOrThrow();
  expect(row).toMatchObject({
    lead_id: leadId,
    campaign_id: campaignId,
    priority: 2,
    agreed_at: new Date('2026-01-10T09:00:00Z'),
  });
  const consent = await api.db
    .selectFrom('consent')
    .selectAll()
    .where('lead_id', '=', leadId)
    .executeTakeFirstOrThrow();
  expect(consent).toMatchObject({
    purpose: 'nudges',
    source: 'formulario',
    ip: '2001:db8::1',
    user_agent: 'Mozilla/5.0',
  });
  await until(() => api.asked.started.includes(enrollmentId));

  const again = await enrollIn(campaignId, bodyFor('ROW@example.com'));
  expect(again.json()).toEqual({ enrollmentId, leadId, created: false });
  await until(() => api.asked.told.includes(enrollmentId));
});

test('P7 without a consent to nudges the enrollment has none on record', async () => {
  for (const consent of [undefined, { ...bodyFor('x@example.com').consent, purpose: 'information' }]) {
    const answer = await enrollIn(campaignId, bodyFor(`${randomUUID()}@example.com`, { consent }));
    const { enrollmentId } = answer.json<{ enrollmentId: string }>();
    const row = await api.db
      .selectFrom('enrollment')
      .select('agreed_at')
      .where('id', '=', enrollmentId)
      .executeTakeFirst();
    expect(row).toEqual({ agreed_at: null });
  }
});

test.each([
  ['objection', undefined],
  ['complaint', undefined],
  ['undeliverable', undefined],
  ['campaign', 'this'],
] as const)('P6 an address suppressed for %s is refused, saying so', async (suppress, which) => {
  const email = `${suppress}@example.com`;
  const { hashes } = requestBy(email);
  await stopEnrollments(api.db, {
    who: { hashes },
    outcome: 'unsubscribed',
    suppress,
    campaignId: which && campaignId,
    now: new Date(),
  });
  const answer = await enrollIn(campaignId, bodyFor(email));
  expect(answer.statusCode).toBe(409);
  expect(answer.json()).toMatchObject({
    type: 'https://recuerda.test/problems/address-suppressed',
    status: 409,
    reason: suppress,
    detail: expect.stringMatching(/person|address/),
  });
  expect(answer.body).not.toContain(email);
  const other = await publishForTests(api.db);
  expect((await enrollIn(other, bodyFor(email))).statusCode).toBe(suppress === 'campaign' ? 202 : 409);
});

test('faults of the body are all named, each with a pointer', async () => {
  const answer = await enrollIn(campaignId, {
    lead: { nombre: 'Ana', attributes: { a: { deep: true } } },
    requestedAt: 'yesterday',
    consent: { purpose: 'spam', text: '', capturedAt: '2026-01-10T10:00:00Z', source: 'web' },
  });
  expect(answer.statusCode).toBe(400);
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  const pointers = answer.json<{ errors: { pointer: string; in: string; detail: string }[] }>().errors;
  expect(pointers.map(({ pointer }) => pointer).sort()).toEqual([
    '/consent/purpose',
    '/consent/text',
    '/lead/attributes/a',
    '/lead/email',
    '/lead/nombre',
    '/requestedAt',
  ]);
  expect(pointers.every(({ detail, in: part }) => detail.length > 5 && part === 'body')).toBe(true);
});

test.each([
  ['/lead/email', { lead: { email: 'ana@shop,example' } }, /comma/],
  ['/lead/locale', { lead: { email: 'ana@example.com', locale: 'e' } }, /language/],
  ['/lead/timeZone', { lead: { email: 'ana@example.com', timeZone: 'Europe/Atlantis' } }, /IANA/],
  ['/lead/timeZone', { lead: { email: 'ana@example.com', timeZone: '+01:00' } }, /IANA/],
  ['/lead/attributes/not a name', { lead: { email: 'ana@example.com', attributes: { 'not a name': 1 } } }, /field/],
  ['/lead/name', { lead: { email: 'ana@example.com', name: 'A\u0000' } }, /U\+0000/],
  ['/lead/attributes/a', { lead: { email: 'ana@example.com', attributes: { a: '\ud800' } } }, /surrogate/],
  ['/requestedAt', { lead: { email: 'ana@example.com' }, requestedAt: '2999-01-01T00:00:00Z' }, /future/],
  [
    '/consent/capturedAt',
    bodyFor('ana@example.com', { consent: { ...bodyFor('a').consent, capturedAt: '2999-01-01T00:00:00Z' } }),
    /future/,
  ],
  ['/requestedAt', { lead: { email: 'ana@example.com' }, requestedAt: '0001-01-01T00:00:00Z' }, /1980/],
  ['/requestedAt', { lead: { email: 'ana@example.com' }, requestedAt: '2016-12-31T23:59:60Z' }, /exists/],
  ['/consent/text', bodyFor('ana@example.com', { consent: { ...bodyFor('a').consent, text: ' \n' } }), /blank/],
  ['/consent/source', bodyFor('ana@example.com', { consent: { ...bodyFor('a').consent, source: ' ' } }), /blank/],
  ['/consent/ip', bodyFor('ana@example.com', { consent: { ...bodyFor('a').consent, ip: 'fe80::1%eth0' } }), /IP/],
])('a fault at %s is explained', async (pointer, body, words) => {
  const answer = await enrollIn(campaignId, body);
  expect(answer.statusCode).toBe(400);
  expect(answer.json()).toMatchObject({ errors: [{ pointer, in: 'body', detail: expect.stringMatching(words) }] });
});

test('a name around the address is understood, and a clock that is a little ahead is forgiven', async () => {
  const requestedAt = new Date(Date.now() + 60_000).toISOString();
  const answer = await enrollIn(campaignId, { lead: { email: 'Eva Gil <eva@example.com>' }, requestedAt });
  const { leadId, enrollmentId } = answer.json<{ leadId: string; enrollmentId: string }>();
  expect((await get(api.app, `/v1/leads/${leadId}`)).json()).toMatchObject({
    email: 'eva@example.com',
    name: 'Eva Gil',
  });
  const told = (await get(api.app, `/v1/enrollments/${enrollmentId}`)).json<{ requestedAt: string }>().requestedAt;
  expect(new Date(told).getTime()).toBeLessThanOrEqual(Date.now());
});

test('drafts, cancelled and unknown campaigns take no leads', async () => {
  const draft = await createCampaign(api.db, definitionForTests());
  const cancelled = await publishForTests(api.db);
  await api.db.updateTable('campaign').set({ cancelled_at: new Date() }).where('id', '=', cancelled).execute();
  const answers = await Promise.all(
    [draft.id, cancelled, randomUUID()].map((id) => enrollIn(id, bodyFor('a@example.com'))),
  );
  expect(answers.map((answer) => [answer.statusCode, answer.json<{ type: string }>().type])).toEqual([
    [409, 'https://recuerda.test/problems/not-published'],
    [409, 'https://recuerda.test/problems/campaign-cancelled'],
    [404, 'https://recuerda.test/problems/not-found'],
  ]);
});

test('an enrollment tells its state, what comes next and its messages', async () => {
  const { enrollmentId, leadId } = await enrolled('view@example.com');
  const messageId = await ledgerRow(api.db, enrollmentId, 'accepted');
  const view = (await get(api.app, `/v1/enrollments/${enrollmentId}`)).json();
  expect(view).toMatchObject({
    enrollmentId,
    leadId,
    campaignId,
    version: 1,
    state: 'active',
    pausedBy: null,
    outcome: null,
    step: 0,
    nextDueAt: expect.stringMatching(/Z$/),
    messages: [{ step: 0, copy: 0, messageId, state: 'accepted', code: '250 2.0.0', at: expect.stringMatching(/Z$/) }],
  });
  expect((await get(api.app, `/v1/enrollments/${randomUUID()}`)).statusCode).toBe(404);
  expect((await get(api.app, '/v1/enrollments/17')).json()).toMatchObject({
    status: 400,
    errors: [{ pointer: '/id', in: 'path', detail: expect.stringContaining('UUID') }],
  });
});

test('P2 pausing withdraws what is claimed, and names what is being handed over', async () => {
  const one = await enrolled('pause1@example.com');
  await ledgerRow(api.db, one.enrollmentId, 'claimed');
  const paused = await post(api.app, `/v1/enrollments/${one.enrollmentId}/pause`);
  expect(paused.statusCode).toBe(202);
  expect(paused.json()).toEqual({ enrollmentId: one.enrollmentId, state: 'paused', outcome: null, inFlight: [] });
  expect((await get(api.app, `/v1/enrollments/${one.enrollmentId}`)).json()).toMatchObject({
    state: 'paused',
    pausedBy: 'enrollment',
    messages: [{ state: 'withdrawn' }],
  });

  const two = await enrolled('pause2@example.com');
  const messageId = await ledgerRow(api.db, two.enrollmentId, 'handing_over');
  const { inFlight } = (await post(api.app, `/v1/enrollments/${two.enrollmentId}/pause`)).json();
  expect(inFlight).toEqual([{ enrollmentId: two.enrollmentId, step: 0, messageId }]);
});

test('resuming tells the journey; cancelling ends it once, and says what was in flight', async () => {
  const { enrollmentId } = await enrolled('cancel@example.com');
  await post(api.app, `/v1/enrollments/${enrollmentId}/pause`);
  const resumed = await post(api.app, `/v1/enrollments/${enrollmentId}/resume`, undefined, {
    'content-type': 'application/json',
  });
  expect(resumed.json()).toMatchObject({ state: 'active', inFlight: [] });
  await until(() => api.asked.told.includes(enrollmentId));

  const messageId = await ledgerRow(api.db, enrollmentId, 'handing_over');
  const cancelled = await post(api.app, `/v1/enrollments/${enrollmentId}/cancel`);
  expect(cancelled.statusCode).toBe(202);
  expect(cancelled.json()).toEqual({
    enrollmentId,
    state: 'ended',
    outcome: 'cancelled',
    inFlight: [{ enrollmentId, step: 0, messageId }],
  });
  expect((await post(api.app, `/v1/enrollments/${enrollmentId}/cancel`)).json()).toMatchObject({
    outcome: 'cancelled',
  });
  expect((await get(api.app, `/v1/enrollments/${enrollmentId}`)).json()).toMatchObject({
    nextDueAt: null,
    state: 'ended',
  });
  for (const what of ['pause', 'resume']) {
    const refused = await post(api.app, `/v1/enrollments/${enrollmentId}/${what}`);
    expect([refused.statusCode, refused.json().title]).toEqual([409, 'The enrollment has ended']);
  }
  expect((await post(api.app, `/v1/enrollments/${randomUUID()}/cancel`)).statusCode).toBe(404);
});

test('enrollments are listed page by page, each once, also while others come in', async () => {
  const id = await publishForTests(api.db, definitionForTests(2));
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) {
    const answer = await enrollIn(id, bodyFor(`page${i}@example.com`));
    ids.push(answer.json<{ enrollmentId: string }>().enrollmentId);
  }
  await post(api.app, `/v1/enrollments/${ids[0]}/pause`);
  await post(api.app, `/v1/enrollments/${ids[1]}/cancel`);

  const seen: string[] = [];
  let url = `/v1/campaigns/${id}/enrollments?limit=2`;
  for (let page = 0; page < 3; page++) {
    const { items, nextCursor } = (await get(api.app, url)).json<{
      items: { enrollmentId: string }[];
      nextCursor: string | null;
    }>();
    seen.push(...items.map((item) => item.enrollmentId));
    expect(nextCursor === null).toBe(page === 2);
    url = `/v1/campaigns/${id}/enrollments?limit=2&cursor=${nextCursor}`;
  }
  expect(seen).toHaveLength(5);
  expect([...seen].sort()).toEqual([...ids].sort());

  const listed = async (query: string) =>
    (await get(api.app, `/v1/campaigns/${id}/enrollments?${query}`))
      .json<{ items: { enrollmentId: string }[] }>()
      .items.map((item) => item.enrollmentId);
  expect(await listed('state=paused')).toEqual([ids[0]]);
  expect(await listed('state=ended')).toEqual([ids[1]]);
  expect(await listed('outcome=cancelled')).toEqual([ids[1]]);
  expect((await listed('state=active')).sort()).toEqual(ids.slice(2).sort());
  await pauseCampaign(api.db, id, new Date());
  expect((await listed('state=paused')).sort()).toEqual([ids[0], ...ids.slice(2)].sort());

  const bad = [
    'limit=0',
    'limit=101',
    'limit=x',
    'cursor=%21%21',
    `cursor=${Buffer.from('"x"').toString('base64url')}`,
    'sort=up',
  ];
  for (const query of bad) {
    const answer = await get(api.app, `/v1/campaigns/${id}/enrollments?${query}`);
    expect([query, answer.statusCode, answer.json().errors[0].in]).toEqual([query, 400, 'query']);
  }
  expect((await get(api.app, `/v1/campaigns/${randomUUID()}/enrollments`)).statusCode).toBe(404);
});
