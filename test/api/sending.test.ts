import { sql } from 'kysely';
import { recordFault } from '../../db/breaker';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy } from '../support/leads';
import { type ApiUnderTest, AUTH, apiUnderTest, get, ledgerRow, post } from './api-under-test';

let api: ApiUnderTest;

beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(() => api.close());

async function put(url: string, body: unknown) {
  return await api.app.inject({
    method: 'PUT',
    url,
    headers: { ...AUTH, 'content-type': 'application/json' },
    payload: JSON.stringify(body),
  });
}

const EMPTY = {
  perSecond: null,
  perProviderPerSecond: null,
  perDay: null,
  perProviderPerDay: null,
  providers: {},
  warmUp: null,
};

describe('limits', () => {
  test('there are none at first', async () => {
    const answer = await get(api.app, '/v1/sending/limits');
    expect(answer.json()).toEqual({ transactional: EMPTY, requested: EMPTY, marketing: EMPTY });
    const state = (await get(api.app, '/v1/sending')).json();
    expect(state.streams).toEqual(
      ['transactional', 'requested', 'marketing'].map((stream) => ({
        stream,
        state: 'sending',
        limits: EMPTY,
        today: [],
        pauses: [],
        rates: [],
      })),
    );
    expect(state.alerts).toEqual([]);
  });

  test('are put as a whole, kept, and set in the engine', async () => {
    const marketing = {
      perSecond: 20,
      perDay: 500,
      providers: { gmail: { perSecond: 5 } },
      warmUp: { startedOn: '2026-09-01', plan: [1_000, 2_000] },
    };
    const before = api.asked.limitsApplied;
    const answer = await put('/v1/sending/limits', { marketing });
    expect(answer.statusCode).toBe(200);
    const kept = {
      ...EMPTY,
      ...marketing,
      providers: { gmail: { perSecond: 5, perDay: null } },
    };
    expect(answer.json()).toEqual({ transactional: EMPTY, requested: EMPTY, marketing: kept });
    expect((await get(api.app, '/v1/sending/limits')).json().marketing).toEqual(kept);
    expect(api.asked.limitsApplied).toBe(before + 1);
    const state = (await get(api.app, '/v1/sending')).json();
    expect(state.streams[2].today).toEqual([{ provider: '*', cap: 500, taken: 0, reserved: 0 }]);

    await put('/v1/sending/limits', { requested: { perProviderPerDay: 9 } });
    expect((await get(api.app, '/v1/sending/limits')).json()).toEqual({
      transactional: EMPTY,
      requested: { ...EMPTY, perProviderPerDay: 9 },
      marketing: EMPTY,
    });
  });

  test.each([
    ['nothing a second', { marketing: { perSecond: 0 } }, '/marketing/perSecond'],
    ['half a mail a day', { marketing: { perDay: 0.5 } }, '/marketing/perDay'],
    ['an unknown stream', { news: {} }, '/news'],
    ['an unknown field', { marketing: { perHour: 3 } }, '/marketing/perHour'],
    ['an unknown provider', { marketing: { providers: { gmial: { perDay: 3 } } } }, '/marketing/providers/gmial'],
    ['a bucket of small domains', { marketing: { providers: { 'other-3': {} } } }, '/marketing/providers/other-3'],
    [
      'a provider slower than can be weighed',
      { marketing: { perProviderPerSecond: 100, providers: { gmail: { perSecond: 0.01 } } } },
      '/marketing/providers/gmail/perSecond',
    ],
    [
      'a day that does not exist',
      { marketing: { warmUp: { startedOn: '2026-02-30', plan: [3] } } },
      '/marketing/warmUp/startedOn',
    ],
    ['half a plan', { marketing: { warmUp: { startedOn: '2026-02-01', firstDay: 3 } } }, '/marketing/warmUp'],
    [
      'two plans',
      { marketing: { warmUp: { startedOn: '2026-02-01', firstDay: 3, growth: 2, until: 9, plan: [3] } } },
      '/marketing/warmUp',
    ],
    [
      'a plan that ends below its beginning',
      { marketing: { warmUp: { startedOn: '2026-02-01', firstDay: 30, growth: 2, until: 9 } } },
      '/marketing/warmUp/until',
    ],
  ])('refuses %s, and says where', async (_, body, pointer) => {
    const answer = await put('/v1/sending/limits', body);
    expect(answer.statusCode).toBe(400);
    expect(answer.headers['content-type']).toContain('application/problem+json');
    expect(answer.json().errors.map((fault: { pointer: string }) => fault.pointer)).toContain(pointer);
  });

  test('an unknown provider is told the known names', async () => {
    const answer = await put('/v1/sending/limits', { marketing: { providers: { gmial: { perDay: 3 } } } });
    expect(answer.json().detail).toMatch(/gmail, outlook, yahoo/);
  });
});

describe('pauses', () => {
  test('by hand: paused, shown, resumed, told', async () => {
    const paused = await post(api.app, '/v1/sending/pauses', { stream: 'marketing', provider: 'gmail' });
    expect(paused.statusCode).toBe(201);
    expect(paused.json()).toMatchObject({ provider: 'gmail', reason: 'by-hand', probeAt: null });
    expect((await post(api.app, '/v1/sending/pauses', { stream: 'requested' })).json()).toMatchObject({
      provider: '*',
    });
    const { streams } = (await get(api.app, '/v1/sending')).json();
    expect(streams.map((each: { state: string }) => each.state)).toEqual(['sending', 'paused', 'partly-paused']);

    for (const path of ['marketing/gmail', 'requested/*']) {
      const resumed = await api.app.inject({ method: 'DELETE', url: `/v1/sending/pauses/${path}`, headers: AUTH });
      expect(resumed.statusCode).toBe(204);
      expect(resumed.body).toBe('');
      const again = await api.app.inject({ method: 'DELETE', url: `/v1/sending/pauses/${path}`, headers: AUTH });
      expect(again.statusCode).toBe(404);
    }
    const after = (await get(api.app, '/v1/sending')).json();
    expect(after.streams.every((each: { state: string }) => each.state === 'sending')).toBe(true);
    expect(after.alerts.map(({ provider, kind }: Record<string, string>) => [provider, kind])).toEqual([
      ['*', 'resumed'],
      ['gmail', 'resumed'],
      ['*', 'stopped'],
      ['gmail', 'stopped'],
    ]);
  });

  test('of nobody are refused', async () => {
    expect((await post(api.app, '/v1/sending/pauses', { stream: 'marketing', provider: 'gmial' })).statusCode).toBe(
      400,
    );
    expect((await post(api.app, '/v1/sending/pauses', { stream: 'news' })).statusCode).toBe(400);
  });

  test('by the breaker: what stopped it, and when it may try again', async () => {
    const now = new Date();
    await recordFault(api.db, {
      stream: 'transactional',
      provider: 'gmail',
      kind: 'refusal',
      code: '535 5.7.8',
      phase: 'auth',
      cause: 'us',
      now,
    });
    const [stream] = (await get(api.app, '/v1/sending')).json().streams;
    expect(stream.pauses).toEqual([
      {
        provider: '*',
        reason: 'refused',
        code: '535 5.7.8',
        pausedAt: now.toISOString(),
        probeAt: new Date(now.getTime() + 60_000).toISOString(),
        probes: 0,
      },
    ]);
    expect(stream.rates).toEqual([expect.objectContaining({ provider: '*', refusals: 1, complaintRate: null })]);
  });

  test('everything at once, the breaker’s stop taken over, and on again but for single providers', async () => {
    const campaignId = await publishForTests(api.db);
    const mailOf = async (email: string, state: 'claimed' | 'handing_over') => {
      const enrollmentId = await enrollForTests(api.db, campaignId, requestBy(email));
      return await ledgerRow(api.db, enrollmentId, state);
    };
    await mailOf('reclamado@todo.example', 'claimed');
    const leaving = await mailOf('saliendo@todo.example', 'handing_over');
    await post(api.app, '/v1/sending/pauses', { stream: 'marketing', provider: 'gmail' });
    const paused = await post(api.app, '/v1/sending/pause-all');
    expect(paused.statusCode).toBe(200);
    expect(paused.json().inFlight.map((mail: { messageId: string }) => mail.messageId)).toEqual([leaving]);
    const states = async () => {
      const { streams } = (await get(api.app, '/v1/sending')).json();
      return streams.map((each: { state: string }) => each.state);
    };
    expect(await states()).toEqual(['paused', 'paused', 'paused']);
    // What was claimed is taken back; what is past its gate may still arrive, and is named.
    const { rows } = await sql<{ state: string }>`select state from message order by state`.execute(api.db);
    expect(rows.map((row) => row.state)).toEqual(['handing_over', 'withdrawn']);

    const resumed = await post(api.app, '/v1/sending/resume-all');
    expect(resumed.json().resumed.sort()).toEqual(['marketing', 'requested', 'transactional']);
    expect(await states()).toEqual(['sending', 'sending', 'partly-paused']);
    expect((await post(api.app, '/v1/sending/resume-all')).json()).toEqual({ resumed: [] });
    await api.app.inject({ method: 'DELETE', url: '/v1/sending/pauses/marketing/gmail', headers: AUTH });
  });
});

describe('complaint rates', () => {
  const today = new Date().toISOString().slice(0, 10);

  test('are entered, shown, and stop the stream’s mail to that provider', async () => {
    const fine = await put('/v1/sending/complaint-rates', {
      rates: [{ provider: 'gmail', day: today, rate: 0.0005 }],
    });
    expect(fine.statusCode).toBe(200);
    const entered = (await get(api.app, '/v1/sending')).json().streams[2].rates;
    expect(entered.find((row: { provider: string }) => row.provider === 'gmail').entered).toEqual({
      day: today,
      rate: 0.0005,
    });
    const high = await put('/v1/sending/complaint-rates', {
      rates: [{ provider: 'gmail', day: today, rate: 0.004 }],
    });
    expect(high.json().pauses).toContainEqual(
      expect.objectContaining({ provider: 'gmail', reason: 'complaint-rate', probeAt: null }),
    );
    const { alerts } = (await get(api.app, '/v1/sending')).json();
    expect(alerts[0]).toMatchObject({
      stream: 'marketing',
      provider: 'gmail',
      kind: 'stopped',
      detail: { rate: 0.004 },
    });
  });

  test.each([
    ['percent for a share', { provider: 'gmail', day: '2026-09-01', rate: 3 }, '/rates/0/rate'],
    ['an unknown provider', { provider: 'gmial', day: '2026-09-01', rate: 0.1 }, '/rates/0/provider'],
    ['tomorrow', { provider: 'gmail', day: '2999-01-01', rate: 0.1 }, '/rates/0/day'],
    ['no day', { provider: 'gmail', day: '2026-02-30', rate: 0.1 }, '/rates/0/day'],
  ])('refuses %s', async (_, rate, pointer) => {
    const answer = await put('/v1/sending/complaint-rates', { rates: [rate] });
    expect(answer.statusCode).toBe(400);
    expect(answer.json().errors[0].pointer).toBe(pointer);
  });
});
