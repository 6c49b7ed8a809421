import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { versionOf } from '../../db/campaigns';
import { claim, passGate } from '../../db/ledger';
import type { MessageState } from '../../db/schema';
import { OUTCOMES } from '../../domain/outcomes';
import { Problem } from '../../domain/problem';
import { TEMPLATE_VARIABLES } from '../../mail/compose/templates';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type ApiUnderTest, AUTH, apiUnderTest, bodyFor, get, post } from './api-under-test';
import { mjmlWith, publishableDraft } from './publishable-draft';

let api: ApiUnderTest;

beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

const patch = async (url: string, body: unknown, type = 'application/merge-patch+json') =>
  await api.app.inject({
    method: 'PATCH',
    url,
    headers: { ...AUTH, 'content-type': type },
    payload: JSON.stringify(body),
  });

async function created(draft: unknown = publishableDraft()): Promise<string> {
  const answer = await post(api.app, '/v1/campaigns', draft);
  expect(answer.statusCode).toBe(201);
  return answer.json<{ id: string }>().id;
}

async function published(draft: unknown = publishableDraft()): Promise<string> {
  const id = await created(draft);
  const answer = await post(api.app, `/v1/campaigns/${id}/publish`);
  expect(answer.json()).toEqual({ campaignId: id, version: 1, warnings: [] });
  return id;
}

async function enrolledIn(campaignId: string, body = bodyFor(`${randomUUID()}@example.com`)): Promise<string> {
  const answer = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, body);
  expect(answer.statusCode).toBe(202);
  return answer.json<{ enrollmentId: string }>().enrollmentId;
}

describe('a draft', () => {
  test('needs no more than a name, and says where it is', async () => {
    const answer = await post(api.app, '/v1/campaigns', { name: 'Molinillos' });
    expect(answer.statusCode).toBe(201);
    const campaign = answer.json();
    expect(answer.headers.location).toBe(`/v1/campaigns/${campaign.id}`);
    expect(campaign).toMatchObject({ state: 'draft', latestVersion: null, draft: { name: 'Molinillos' } });
    expect((await get(api.app, `/v1/campaigns/${campaign.id}`)).json()).toEqual(campaign);
  });

  test('is refused with a pointer to each part that is not of the right form', async () => {
    const answer = await post(api.app, '/v1/campaigns', { name: '', steps: [{ subject: 'x' }], colour: 'red' });
    expect(answer.statusCode).toBe(400);
    expect(
      answer
        .json()
        .errors.map((error: { pointer: string }) => error.pointer)
        .sort(),
    ).toEqual(['/colour', '/name', '/steps/0/mjml']);
  });

  test('is changed by a merge patch (RFC 7396), as either media type', async () => {
    const draft = publishableDraft(2);
    const id = await created(draft);
    const url = `/v1/campaigns/${id}`;
    const first = await patch(url, { name: 'Otra', cadence: { min: 'P1M' }, sender: { taxId: null }, locale: null });
    expect(first.statusCode).toBe(200);
    const { locale: _, sender, ...rest } = draft;
    const { taxId: __, ...otherwise } = sender as NonNullable<typeof sender>;
    expect(first.json().draft).toEqual({
      ...rest,
      sender: otherwise,
      name: 'Otra',
      cadence: { min: 'P1M', max: 'P3M' },
    });
    const steps = [{ subject: 'Una sola', mjml: mjmlWith() }];
    const second = await patch(url, { steps }, 'application/json');
    expect(second.json().draft.steps).toEqual(steps);
    expect(second.json().draft.name).toBe('Otra');
    expect(Date.parse(second.json().updatedAt)).toBeGreaterThanOrEqual(Date.parse(first.json().updatedAt));
    expect((await get(api.app, url)).json()).toEqual(second.json());
  });

  test('stays as it was when a change would spoil it', async () => {
    const id = await created({ name: 'Sin remitente' });
    const answer = await patch(`/v1/campaigns/${id}`, { name: null, cadence: { min: 'P1M' }, extra: 1 });
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toMatchObject({ type: 'https://recuerda.test/problems/invalid-request' });
    expect(
      answer
        .json()
        .errors.map((error: { pointer: string }) => error.pointer)
        .sort(),
    ).toEqual(['/cadence/max', '/extra', '/name']);
    expect((await get(api.app, `/v1/campaigns/${id}`)).json().draft).toEqual({ name: 'Sin remitente' });
    expect((await patch(`/v1/campaigns/${randomUUID()}`, { name: 'x' })).statusCode).toBe(404);
    expect((await patch(`/v1/campaigns/${id}`, { name: 'x' }, 'application/xml')).statusCode).toBe(415);
  });

  test('may have eight long steps', async () => {
    const long = `<mj-text>${'ñandú '.repeat(20_000)}</mj-text>`;
    const steps = Array.from({ length: 8 }, () => ({ subject: 'x', mjml: mjmlWith(long) }));
    await created({ name: 'Largas', steps });
  });
});

test('campaigns are listed newest first, page by page, none twice and none left out', async () => {
  const ids = await Promise.all(Array.from({ length: 12 }, async (_, i) => await created({ name: `Lista ${i}` })));
  // All in the same millisecond, which is where pages would lose some.
  await api.db
    .updateTable('campaign')
    .set({ created_at: new Date('2026-01-01T00:00:00Z') })
    .where('id', 'in', ids)
    .execute();
  const seen: { id: string; createdAt: string }[] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const answer = await get(api.app, `/v1/campaigns?limit=5${cursor === '' ? '' : `&cursor=${cursor}`}`);
    expect(answer.statusCode).toBe(200);
    const page = answer.json<{ items: typeof seen; nextCursor: string | null }>();
    seen.push(...page.items);
    cursor = page.nextCursor;
  }
  expect(new Set(seen.map((campaign) => campaign.id)).size).toBe(seen.length);
  expect(ids.filter((id) => !seen.some((campaign) => campaign.id === id))).toEqual([]);
  const times = seen.map((campaign) => Date.parse(campaign.createdAt));
  expect(times).toEqual([...times].sort((a, b) => b - a));
  expect(seen.find((campaign) => campaign.id === ids[0])).toMatchObject({
    name: expect.stringMatching(/^Lista/),
    state: 'draft',
    latestVersion: null,
  });
});

describe('publishing', () => {
  test('keeps an immutable version, which later edits and versions do not touch', async () => {
    const draft = publishableDraft(2);
    const id = await created(draft);
    const first = await post(api.app, `/v1/campaigns/${id}/publish`);
    expect(first.statusCode).toBe(201);
    expect(first.headers.location).toBe(`/v1/campaigns/${id}/versions/1`);
    expect(first.json()).toEqual({ campaignId: id, version: 1, warnings: [] });
    const enrollmentId = await enrolledIn(id);

    await patch(`/v1/campaigns/${id}`, { name: 'Cambiada', steps: [{ subject: 'Nueva', mjml: mjmlWith('Nueva') }] });
    expect((await post(api.app, `/v1/campaigns/${id}/publish`)).json()).toEqual({
      campaignId: id,
      version: 2,
      warnings: [],
    });
    const one = (await get(api.app, `/v1/campaigns/${id}/versions/1`)).json();
    expect(one).toEqual({ campaignId: id, version: 1, definition: draft });
    expect((await get(api.app, `/v1/campaigns/${id}/versions/2`)).json().definition.name).toBe('Cambiada');
    expect((await get(api.app, `/v1/enrollments/${enrollmentId}`)).json().version).toBe(1);
    expect((await get(api.app, `/v1/campaigns/${id}`)).json()).toMatchObject({ state: 'published', latestVersion: 2 });
    const { steps } = await versionOf(api.db, id, 1);
    expect(steps).toHaveLength(2);
    expect(steps[0]?.html).toContain('{{ unsubscribeUrl }}');
    expect(steps[0]?.text).toContain('{{ unsubscribeUrl }}');

    expect((await get(api.app, `/v1/campaigns/${id}/versions/3`)).statusCode).toBe(404);
    expect((await get(api.app, `/v1/campaigns/${id}/versions/zero`)).statusCode).toBe(400);
  });

  test('with the same key twice is one version', async () => {
    const id = await created();
    const headers = { 'idempotency-key': randomUUID() };
    const answers = await Promise.all(
      [1, 2].map(() => post(api.app, `/v1/campaigns/${id}/publish`, undefined, headers)),
    );
    expect(answers.map((answer) => answer.json())).toEqual([
      { campaignId: id, version: 1, warnings: [] },
      { campaignId: id, version: 1, warnings: [] },
    ]);
  });

  const withStep = (mjml: string, change = {}) => ({ steps: [{ subject: 'Hola', mjml, ...change }] });
  const { sender } = publishableDraft();
  test.each([
    ['an unknown variable', withStep(mjmlWith('Hola {{ lead.nmae }}')), '/steps/0/mjml', 5, 'lead.nmae'],
    [
      'an unknown variable in a subject',
      withStep(mjmlWith(), { subject: 'Hola {{ who }}' }),
      '/steps/0/subject',
      1,
      'who',
    ],
    ['an unknown filter', withStep(mjmlWith('{{ lead.name | shout }}')), '/steps/0/mjml', 5, 'shout'],
    ['a tag that is left open', withStep(mjmlWith('{% if lead.name %}Hola')), '/steps/0/mjml', 5, 'if'],
    ['bad markup', withStep(mjmlWith('</mj-text><mj-txt>Hola</mj-txt><mj-text>')), '/steps/0/mjml', 5, 'mj-txt'],
    [
      'no unsubscribe link',
      withStep(mjmlWith().replace('<a href="{{ unsubscribeUrl }}">Baja</a>', '')),
      '/steps/0/mjml',
      10,
      'unsubscribeUrl',
    ],
    [
      'no legal identity in the mail',
      withStep(mjmlWith().replace('{{ sender.legalName }}', '')),
      '/steps/0/mjml',
      10,
      'sender.legalName',
    ],
    ['no sender', { sender: undefined }, '/sender', undefined, 'sender is missing'],
    [
      'a blank legal name',
      { sender: { ...sender, legalName: ' ' } },
      '/sender/legalName',
      undefined,
      'legalName is blank',
    ],
    [
      'no legal name at all',
      { sender: { name: 'Marta', address: 'marta@shop.example', replyTo: 'marta@shop.example' } },
      '/sender/legalName',
      undefined,
      'legalName is missing',
    ],
    ['an empty legal name', { sender: { ...sender, legalName: '' } }, '/sender/legalName', undefined, 'legalName'],
    ['a cadence below a day', { cadence: { min: 'PT12H', max: 'P3M' } }, '/cadence/min', undefined, 'PT12H'],
    ['a cadence above two years', { cadence: { min: 'P2M', max: 'P25M' } }, '/cadence/max', undefined, 'P25M'],
    ['a cadence the wrong way round', { cadence: { min: 'P3M', max: 'P2M' } }, '/cadence/min', undefined, 'P3M'],
    ['an eighth nudge', { steps: publishableDraft(9).steps }, '/steps/8', undefined, 'nudge 8'],
  ])('is refused for %s, by line and name', async (_, change, pointer, line, name) => {
    const id = await created({ ...publishableDraft(1), ...(change as object) });
    const answer = await post(api.app, `/v1/campaigns/${id}/publish`);
    expect(answer.statusCode).toBe(422);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    const problem = answer.json<{ type: string; errors: { pointer: string; line?: number; detail: string }[] }>();
    expect(problem.type).toBe('https://recuerda.test/problems/not-publishable');
    const found = problem.errors.find((error) => error.pointer === pointer);
    expect(found?.detail).toContain(name);
    expect(found?.line).toBe(line);
    expect((await get(api.app, `/v1/campaigns/${id}`)).json()).toMatchObject({ state: 'draft', latestVersion: null });
  });

  test('names everything that is wrong at once', async () => {
    const id = await created({ name: 'Casi', steps: [{ subject: '{{ a }}', mjml: mjmlWith('{{ b }}') }] });
    const { errors, detail } = (await post(api.app, `/v1/campaigns/${id}/publish`)).json();
    const pointers = errors.map((error: { pointer: string }) => error.pointer);
    expect(pointers).toEqual(expect.arrayContaining(['/product', '/sender', '/steps/0/subject', '/steps/0/mjml']));
    expect(detail).toContain(`${errors.length} things`);
  });
});

describe('what imported leads must be told', () => {
  test('that the first mail keeps it from them is no reason not to publish, but said', async () => {
    const draft = publishableDraft(2);
    const silent = mjmlWith().replace('{{ consent.source }}', '').replace('{{ privacyUrl }}', '{{ product.url }}');
    const id = await created({ ...draft, steps: [{ subject: 'Hola', mjml: silent }, ...(draft.steps ?? []).slice(1)] });
    const answer = await post(api.app, `/v1/campaigns/${id}/publish`);
    expect(answer.statusCode).toBe(201);
    expect(answer.json().warnings).toEqual([
      { pointer: '/steps/0', detail: expect.stringContaining('{{ consent.source }}') },
      { pointer: '/steps/0', detail: expect.stringContaining('{{ privacyUrl }}') },
    ]);
  });

  test('of a sender without tax number nothing is published', async () => {
    const draft = publishableDraft(1);
    const { taxId: _, ...sender } = draft.sender as NonNullable<typeof draft.sender>;
    const id = await created({ ...draft, sender: sender as typeof draft.sender });
    const answer = await post(api.app, `/v1/campaigns/${id}/publish`);
    expect([answer.statusCode, answer.json().errors]).toEqual([
      422,
      [{ pointer: '/sender/taxId', detail: expect.stringContaining('LSSI') }],
    ]);
  });
});

describe('pausing and cancelling a campaign', () => {
  const now = () => new Date();
  const message = (enrollmentId: string, token: string) => ({
    enrollmentId,
    step: 0,
    copy: 0,
    messageId: `<${randomUUID()}@shop.example>`,
    token,
    moves: 0,
    now: now(),
  });

  /** One enrollment before the claim, one with a claim, and one past the gate. */
  async function underWay(campaignId: string) {
    const tokens = { claimed: randomUUID(), handed: randomUUID() };
    const [idle, claimed, handed] = await Promise.all([1, 2, 3].map(async () => await enrolledIn(campaignId)));
    if (idle === undefined || claimed === undefined || handed === undefined) throw new Error('three were enrolled');
    const passing = message(handed, tokens.handed);
    expect(await claim(api.db, message(claimed, tokens.claimed))).not.toBeNull();
    expect(await claim(api.db, passing)).not.toBeNull();
    expect(await passGate(api.db, passing, tokens.handed, now())).toBe(true);
    return {
      idle,
      claimed,
      handed,
      tokens,
      inFlight: [{ enrollmentId: handed, step: 0, messageId: passing.messageId }],
    };
  }

  test('P2 a pause withdraws what is claimed and names what is past the gate; a resume lets it go on', async () => {
    const id = await published();
    const { idle, claimed, tokens, inFlight } = await underWay(id);
    const answer = await post(api.app, `/v1/campaigns/${id}/pause`);
    expect(answer.statusCode).toBe(202);
    expect(answer.json()).toEqual({ campaignId: id, state: 'paused', inFlight });
    const key = { enrollmentId: claimed, step: 0, copy: 0 };
    expect(await passGate(api.db, key, tokens.claimed, now())).toBe(false);
    expect(await claim(api.db, message(idle, randomUUID()))).toBeNull();
    // It still takes leads, who wait.
    const later = await enrolledIn(id);
    expect(await claim(api.db, message(later, randomUUID()))).toBeNull();
    expect((await get(api.app, `/v1/campaigns/${id}`)).json()).toMatchObject({ state: 'paused' });
    expect((await post(api.app, `/v1/campaigns/${id}/pause`)).json()).toEqual({
      campaignId: id,
      state: 'paused',
      inFlight,
    });

    const resumed = await post(api.app, `/v1/campaigns/${id}/resume`);
    expect(resumed.statusCode).toBe(202);
    expect(resumed.json()).toEqual({ campaignId: id, state: 'published', inFlight: [] });
    expect(await claim(api.db, message(idle, randomUUID()))).not.toBeNull();
  });

  test('P2 a cancel ends every open enrollment, withdraws what is claimed and names what is past the gate', async () => {
    const id = await published();
    const { idle, claimed, handed, tokens, inFlight } = await underWay(id);
    const bought = await enrolledIn(id);
    const { leadId } = (await get(api.app, `/v1/enrollments/${bought}`)).json();
    await post(api.app, '/v1/purchases', { leadId, orderId: randomUUID() });

    const answer = await post(api.app, `/v1/campaigns/${id}/cancel`);
    expect(answer.statusCode).toBe(202);
    expect(answer.json()).toEqual({ campaignId: id, state: 'cancelled', inFlight, stopped: 3 });
    expect(await passGate(api.db, { enrollmentId: claimed, step: 0, copy: 0 }, tokens.claimed, now())).toBe(false);
    expect(await claim(api.db, message(idle, randomUUID()))).toBeNull();
    const rows = await api.db
      .selectFrom('enrollment')
      .select(['id', 'outcome', 'ended_at', 'signal_at'])
      .where('campaign_id', '=', id)
      .execute();
    for (const row of rows) {
      expect(row.outcome).toBe(row.id === bought ? 'purchased' : 'cancelled');
      // The reconciler tells the journeys of the others.
      if (row.id !== bought) expect(row.signal_at).toEqual(row.ended_at);
    }
    for (const enrollmentId of [idle, claimed, handed]) {
      const events = await api.db.selectFrom('event').selectAll().where('enrollment_id', '=', enrollmentId).execute();
      expect(events.filter((event) => event.kind === 'ended').map((event) => event.detail)).toEqual([
        { by: 'campaign', outcome: 'cancelled' },
      ]);
    }

    const again = await post(api.app, `/v1/campaigns/${id}/cancel`);
    expect(again.json()).toEqual({ campaignId: id, state: 'cancelled', inFlight, stopped: 0 });
    const refused = await post(api.app, `/v1/campaigns/${id}/enrollments`, bodyFor('late@example.com'));
    expect(refused.statusCode).toBe(409);
    expect(refused.json().type).toBe('https://recuerda.test/problems/campaign-cancelled');
    expect((await post(api.app, `/v1/campaigns/${id}/publish`)).statusCode).toBe(409);
    expect((await post(api.app, `/v1/campaigns/${id}/resume`)).json().state).toBe('cancelled');
  });

  test('P2 enrolling raced against a cancel leaves nobody open', async () => {
    for (let round = 0; round < 10; round++) {
      const id = await publishForTests(api.db, definitionForTests(2));
      const enrolling = Array.from({ length: 8 }, async () => {
        const body = bodyFor(`${randomUUID()}@example.com`);
        return (await post(api.app, `/v1/campaigns/${id}/enrollments`, body)).statusCode;
      });
      const cancelling = post(api.app, `/v1/campaigns/${id}/cancel`);
      const statuses = await Promise.all(enrolling);
      expect((await cancelling).statusCode).toBe(202);
      const rows = await api.db.selectFrom('enrollment').select('outcome').where('campaign_id', '=', id).execute();
      expect(rows).toHaveLength(statuses.filter((status) => status === 202).length);
      expect(rows.filter((row) => row.outcome !== 'cancelled')).toEqual([]);
    }
  });

  test('P2 a cancelled campaign of many leads ends in one answer', async () => {
    const id = await published();
    await enrolledIn(id);
    // More than a statement may have parameters for.
    const many = 12_000;

    await sql`
      with people as (select gen_random_uuid() as id, '1.' || gen_random_uuid() as hash from generate_series(1, ${many}::int)),
      a as (insert into address (hash) select hash from people),
      l as (insert into lead (id, address_hash, email) select id, hash, id || '@example.com' from people)
      insert into enrollment (id, campaign_id, version, lead_id, address_hash, requested_at, next_due_at, fairness_key)
      select gen_random_uuid(), ${id}, 1, id, hash, now(), now(), 'gmail' from people`.execute(api.db);
    const answer = await post(api.app, `/v1/campaigns/${id}/cancel`);
    expect(answer.json()).toMatchObject({ stopped: many + 1 });
    expect((await get(api.app, `/v1/campaigns/${id}/stats`)).json()).toMatchObject({
      enrolled: many + 1,
      open: 0,
      outcomes: { cancelled: many + 1 },
    });
  });

  test.each(['pause', 'resume', 'cancel', 'publish'])('%s of an unknown campaign is a 404', async (verb) => {
    expect((await post(api.app, `/v1/campaigns/${randomUUID()}/${verb}`)).statusCode).toBe(404);
  });
});

describe('the funnel', () => {
  const zero = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0]));

  async function row(
    campaignId: string,
    at: { step: number; outcome?: string; paused?: boolean; dueInMs?: number },
    messages: [number, MessageState, number?][],
  ) {
    const id = await enrolledIn(campaignId);
    const now = new Date();
    await api.db
      .updateTable('enrollment')
      .set({
        step: at.step,
        next_due_at: new Date(now.getTime() + (at.dueInMs ?? 3_600_000)),
        ...(at.outcome === undefined ? {} : { outcome: at.outcome as 'purchased', ended_at: now }),
        ...(at.paused === true ? { paused_at: now } : {}),
      })
      .where('id', '=', id)
      .execute();
    for (const [step, state, copy = 0] of messages) {
      await api.db
        .insertInto('message')
        .values({
          enrollment_id: id,
          step,
          copy,
          state,
          message_id: `<${randomUUID()}@shop.example>`,
          token: randomUUID(),
          first_claimed_at: now,
          claimed_at: now,
        })
        .execute();
    }
  }

  test('counts every enrollment once, and every message under its step', async () => {
    const id = await published(publishableDraft(3));
    await row(id, { step: 0, dueInMs: -1000 }, []); // due
    await row(id, { step: 0, dueInMs: -1000, paused: true }, [[0, 'withdrawn']]);
    await row(id, { step: 1 }, [
      [0, 'accepted'],
      [0, 'accepted', 1],
    ]); // waits for step 1, had the information twice
    await row(id, { step: 1, dueInMs: -1 }, [
      [0, 'unknown'],
      [1, 'claimed'],
    ]);
    await row(id, { step: 2 }, [
      [0, 'accepted'],
      [1, 'deferred'],
    ]); // step 1 was given up after five days
    await row(id, { step: 3 }, [
      [0, 'accepted'],
      [1, 'accepted'],
      [2, 'accepted'],
    ]); // waits for a late answer
    await row(id, { step: 1, outcome: 'informed' }, [[0, 'accepted']]);
    await row(id, { step: 2, outcome: 'purchased' }, [
      [0, 'accepted'],
      [1, 'accepted'],
    ]);
    await row(id, { step: 1, outcome: 'unsubscribed' }, [
      [0, 'accepted'],
      [1, 'handing_over'],
    ]); // past the gate
    await row(id, { step: 0, outcome: 'bounced' }, [[0, 'rejected']]);
    await row(id, { step: 0, outcome: 'cancelled' }, []);
    await row(id, { step: 3, outcome: 'exhausted' }, [
      [0, 'accepted'],
      [1, 'accepted'],
      [2, 'accepted'],
    ]);

    const answer = await get(api.app, `/v1/campaigns/${id}/stats`);
    expect(answer.statusCode).toBe(200);
    const none = {
      waiting: 0,
      due: 0,
      sending: 0,
      accepted: 0,
      unknown: 0,
      deferred: 0,
      rejected: 0,
      withdrawn: 0,
      repeated: 0,
    };
    expect(answer.json()).toEqual({
      campaignId: id,
      at: expect.any(String),
      enrolled: 12,
      open: 6,
      paused: 1,
      awaitingAnswer: 1,
      outcomes: { ...zero, informed: 1, purchased: 1, unsubscribed: 1, bounced: 1, cancelled: 1, exhausted: 1 },
      endedBeforeStart: { ...zero, cancelled: 1 },
      buyers: { enrolled: 0, open: 0, onConsent: 0, onSoftOptIn: 0, outcomes: zero, steps: [] },
      steps: [
        {
          ...none,
          step: 0,
          due: 2,
          accepted: 7,
          unknown: 1,
          rejected: 1,
          withdrawn: 1,
          repeated: 1,
          ended: { ...zero, informed: 1, bounced: 1 },
        },
        {
          ...none,
          step: 1,
          waiting: 1,
          due: 1,
          sending: 2,
          accepted: 3,
          deferred: 1,
          ended: { ...zero, purchased: 1, unsubscribed: 1 },
        },
        { ...none, step: 2, waiting: 1, accepted: 2, ended: { ...zero, exhausted: 1 } },
      ],
    });

    await post(api.app, `/v1/campaigns/${id}/pause`);
    expect((await get(api.app, `/v1/campaigns/${id}/stats`)).json()).toMatchObject({ open: 6, paused: 6 });
  });

  test('of versions of different lengths has the steps of the longest; nobody is lost', async () => {
    const id = await published(publishableDraft(4));
    await row(id, { step: 3 }, []);
    await patch(`/v1/campaigns/${id}`, { steps: publishableDraft(2).steps });
    await post(api.app, `/v1/campaigns/${id}/publish`);
    await row(id, { step: 2 }, []); // has had both of its two steps
    const stats = (await get(api.app, `/v1/campaigns/${id}/stats`)).json();
    expect(stats).toMatchObject({ enrolled: 2, open: 2, awaitingAnswer: 1 });
    expect(stats.steps.map((step: { waiting: number }) => step.waiting)).toEqual([0, 0, 0, 1]);
  });

  test('of a draft is empty, and of an unknown campaign a 404', async () => {
    const id = await created();
    expect((await get(api.app, `/v1/campaigns/${id}/stats`)).json()).toMatchObject({ enrolled: 0, steps: [] });
    expect((await get(api.app, `/v1/campaigns/${randomUUID()}/stats`)).statusCode).toBe(404);
  });
});

test('what templates can say is told, in the reference too', async () => {
  const answer = (await get(api.app, '/v1/template-variables')).json();
  expect(answer.variables).toEqual([...TEMPLATE_VARIABLES]);
  expect(answer.filters.map((filter: { name: string }) => filter.name)).toContain('localDate');
  const { paths } = (await api.app.inject('/openapi.json')).json();
  for (const { path } of TEMPLATE_VARIABLES) expect(paths['/v1/campaigns'].post.description).toContain(`\`${path}\``);
});

test('nothing of campaigns is told without a key', async () => {
  const id = await created();
  for (const url of ['/v1/campaigns', `/v1/campaigns/${id}`, `/v1/campaigns/${id}/stats`, '/v1/template-variables']) {
    expect((await api.app.inject(url)).statusCode).toBe(401);
  }
  await expect(versionOf(api.db, id, 1)).rejects.toBeInstanceOf(Problem);
});

test('the example in the reference can be published as it is', async () => {
  const doc = (await api.app.inject('/openapi.json')).json();
  const { example } = doc.paths['/v1/campaigns'].post.requestBody.content['application/json'];
  expect(example).toMatchObject({ name: expect.any(String), steps: [{}, {}] });
  await published(example);
});
