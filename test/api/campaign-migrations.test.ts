import { randomUUID } from 'node:crypto';
import { migrateSome } from '../../db/campaign-migrations';
import type { CampaignDraft } from '../../domain/campaign';
import { type ApiUnderTest, AUTH, apiUnderTest, bodyFor, get, post } from './api-under-test';
import { mjmlWith, publishableDraft } from './publishable-draft';

let api: ApiUnderTest;

beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

const steps = (...keys: string[]): NonNullable<CampaignDraft['steps']> =>
  keys.map((key) => ({ key, subject: `Paso ${key}`, mjml: mjmlWith() }));

/** A campaign with two versions, and leads of the first who have had that many mails each. */
async function campaign(leads: number[], second = steps('info', 'new', 'first', 'third')) {
  const created = await post(
    api.app,
    '/v1/campaigns',
    publishableDraft(3, { steps: steps('info', 'first', 'second', 'third') }),
  );
  const { id } = created.json<{ id: string }>();
  expect((await post(api.app, `/v1/campaigns/${id}/publish`)).json()).toMatchObject({ version: 1 });
  const enrolled: string[] = [];
  for (const had of leads) {
    const answer = await post(api.app, `/v1/campaigns/${id}/enrollments`, bodyFor(`${randomUUID()}@example.com`));
    const { enrollmentId } = answer.json<{ enrollmentId: string }>();
    await api.db.updateTable('enrollment').set({ step: had }).where('id', '=', enrollmentId).execute();
    enrolled.push(enrollmentId);
  }
  await api.app.inject({ method: 'PATCH', url: `/v1/campaigns/${id}`, headers: AUTH, payload: { steps: second } });
  expect((await post(api.app, `/v1/campaigns/${id}/publish`)).json()).toMatchObject({ version: 2 });
  return { id, url: `/v1/campaigns/${id}/migrations`, enrolled };
}

test('dry run, look, move, look', async () => {
  const { id, url, enrolled } = await campaign([0, 2, 4]);
  const dry = await post(api.app, url, { dryRun: true, toVersion: 2 });
  expect(dry.statusCode).toBe(202);
  expect(dry.json()).toMatchObject({
    campaignId: id,
    dryRun: true,
    dryRunId: null,
    state: 'completed',
    total: 3,
    results: { moved: 3, pending: 0 },
    changes: { added: 1, dropped: 2, 'passed-over': 2 },
    matching: [{ fromVersion: 1, deleted: [2], added: [1] }],
  });
  const { migrationId: dryRunId } = dry.json();
  expect(dry.headers.location).toBe(`${url}/${dryRunId}`);
  const leads = (await get(api.app, `${url}/${dryRunId}/leads?change=next-step`)).json();
  expect(leads.items).toMatchObject([
    { enrollmentId: enrolled[1], result: 'moved', mailsHad: 2, ahead: [3], dropped: [2], passedOver: [1] },
  ]);
  expect(leads.items[0]).toMatchObject({ nextBefore: { step: 2 }, nextAfter: { step: 3 } });

  const moving = await post(api.app, url, { dryRunId });
  expect(moving.statusCode).toBe(202);
  expect(moving.json()).toMatchObject({ dryRun: false, dryRunId, state: 'running', results: { pending: 3 } });
  const { migrationId } = moving.json();
  await migrateSome(api.db, migrationId, { timeFactor: 1, now: new Date() });
  expect((await get(api.app, `${url}/${migrationId}`)).json()).toMatchObject({
    state: 'completed',
    results: { moved: 3 },
  });
  for (const enrollmentId of enrolled) {
    expect((await get(api.app, `/v1/enrollments/${enrollmentId}`)).json()).toMatchObject({ version: 2 });
  }
  const list = (await get(api.app, url)).json();
  expect(list.items.map((one: { migrationId: string }) => one.migrationId)).toEqual([migrationId, dryRunId]);
});

test('leads come in pages', async () => {
  const { url } = await campaign([1, 1, 1]);
  const { migrationId } = (await post(api.app, url, { dryRun: true, toVersion: 2 })).json();
  const first = (await get(api.app, `${url}/${migrationId}/leads?limit=2`)).json();
  const rest = (await get(api.app, `${url}/${migrationId}/leads?limit=2&cursor=${first.nextCursor}`)).json();
  const seen = [...first.items, ...rest.items].map((one) => one.enrollmentId);
  expect([seen.length, new Set(seen).size, rest.nextCursor]).toEqual([3, 3, null]);
  expect((await get(api.app, `${url}/${migrationId}/leads?result=refused`)).json().items).toEqual([]);
});

test('what is wrong with a request is said with its place', async () => {
  const { url } = await campaign([1]);
  const faults = async (body: object) => {
    const answer = await post(api.app, url, body);
    expect(answer.statusCode).toBe(400);
    return answer.json<{ errors: { pointer: string }[] }>().errors.map((error) => error.pointer);
  };
  expect(await faults({ toVersion: 2 })).toEqual(['/dryRunId']);
  expect(await faults({ dryRun: true })).toEqual(['/toVersion']);
  expect(await faults({ dryRunId: randomUUID(), toVersion: 2 })).toEqual(['/toVersion']);
  expect(await faults({ dryRun: true, toVersion: 2, fromVersion: 2 })).toEqual(['/fromVersion']);
  expect(await faults({ dryRun: true, toVersion: 2, steps: { 1: 2 } })).toEqual(['/fromVersion']);
  expect(await faults({ dryRun: true, toVersion: 2, fromVersion: 1, steps: { 7: 1, 1: 0, 2: 6 } })).toEqual([
    '/steps/1',
    '/steps/2',
    '/steps/7',
  ]);
  const numbered = { 0: 3, x: 3, '1.5': 2, '01': 2, 8: 1, '-1': 1, 2: 1 };
  expect((await faults({ dryRun: true, toVersion: 2, fromVersion: 1, steps: numbered })).sort()).toEqual(
    ['0', 'x', '1.5', '01', '8', '-1'].map((key) => `/steps/${key}`).sort(),
  );
  expect((await post(api.app, url, { dryRun: true, toVersion: 9 })).statusCode).toBe(404);
  expect((await post(api.app, url, { dryRunId: randomUUID() })).statusCode).toBe(404);
  expect((await get(api.app, `${url}/${randomUUID()}`)).statusCode).toBe(404);
  expect((await get(api.app, `${url}/${randomUUID()}/leads`)).statusCode).toBe(404);
});

test('what is unclear, stale, under way or over is answered as such', async () => {
  const unnamed = [
    { subject: 'Paso info', mjml: mjmlWith() },
    { subject: 'Otra cosa', mjml: mjmlWith('Otra cosa') },
  ];
  const { url } = await campaign([1], unnamed);
  const unclear = await post(api.app, url, { dryRun: true, toVersion: 2 });
  expect(unclear.statusCode).toBe(409);
  expect(unclear.json()).toMatchObject({ type: expect.stringContaining('steps-unclear') });
  expect(unclear.json().detail).toContain('“Otra cosa”');
  const said = { dryRun: true, toVersion: 2, fromVersion: 1, steps: { 1: null, 2: null, 3: 1 } };
  const { migrationId: dryRunId } = (await post(api.app, url, said)).json();
  const { migrationId: other } = (await post(api.app, url, said)).json();
  const { migrationId } = (await post(api.app, url, { dryRunId })).json();
  const running = await post(api.app, url, { dryRunId: other });
  expect([running.statusCode, running.json().migrationId]).toEqual([409, migrationId]);
  expect(running.json().type).toContain('migration-running');
  expect((await post(api.app, `${url}/${migrationId}/cancel`)).json()).toMatchObject({ state: 'cancelled' });
  expect((await post(api.app, `${url}/${migrationId}/cancel`)).statusCode).toBe(409);
  const stale = await post(api.app, url, { dryRunId });
  expect([stale.statusCode, stale.json().type]).toEqual([409, expect.stringContaining('dry-run-stale')]);
});

test('a draft whose mails share a key is not published', async () => {
  const created = await post(api.app, '/v1/campaigns', publishableDraft(3, { steps: steps('info', 'a', 'a') }));
  const answer = await post(api.app, `/v1/campaigns/${created.json().id}/publish`);
  expect(answer.statusCode).toBe(422);
  expect(answer.json().errors).toMatchObject([{ pointer: '/steps/2/key' }]);
});
