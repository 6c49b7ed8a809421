import { randomUUID } from 'node:crypto';
import { timelineOf } from '../../api/timeline';
import { recordEvents } from '../../db/events';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type ApiUnderTest, apiUnderTest, bodyFor, get, ledgerRow, post } from './api-under-test';

let api: ApiUnderTest;
let campaignId: string;

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db, definitionForTests(3));
});
afterAll(async () => await api.close());

interface Entry {
  at: string;
  kind: string;
  text: string;
  step: number | null;
  enrollmentId: string | null;
  campaignId: string | null;
}

async function enrolled(email: string, change = {}) {
  const answer = await post(api.app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email, change));
  return answer.json<{ enrollmentId: string; leadId: string }>();
}

test('a lead is found by address, whatever its case, and by nothing less', async () => {
  const { leadId } = await enrolled('Found.Me@example.com');
  const found = await get(api.app, `/v1/leads?email=${encodeURIComponent('found.me@EXAMPLE.com')}`);
  expect(found.json()).toEqual({ items: [{ leadId, createdAt: expect.stringMatching(/Z$/) }], nextCursor: null });
  expect((await get(api.app, '/v1/leads?email=found@example.com')).json()).toEqual({ items: [], nextCursor: null });
  expect((await get(api.app, '/v1/leads?email=found')).json().errors).toMatchObject([
    { pointer: '/email', in: 'query' },
  ]);
  expect((await get(api.app, '/v1/leads')).statusCode).toBe(400);
  expect((await get(api.app, `/v1/leads/${randomUUID()}`)).statusCode).toBe(404);
});

test('a lead is told whole: data, consents with their evidence, suppression, enrollments', async () => {
  const { leadId, enrollmentId } = await enrolled('whole@example.com');
  expect((await get(api.app, `/v1/leads/${leadId}`)).json()).toMatchObject({
    leadId,
    email: 'whole@example.com',
    name: 'Íñigo Núñez',
    locale: 'es-ES',
    timeZone: 'Atlantic/Canary',
    attributes: { city: 'Bilbao' },
    suppression: { reason: null, since: null, campaigns: [] },
    consents: [
      {
        campaignId,
        enrollmentId,
        purpose: 'nudges',
        text: 'Sí, escríbanme sobre la cafetera.',
        capturedAt: '2026-01-10T09:00:00.000Z',
        source: 'formulario',
        ip: '2001:db8::1',
        userAgent: 'Mozilla/5.0',
        withdrawnAt: null,
      },
    ],
    enrollments: [{ enrollmentId, state: 'active' }],
    timelineComplete: true,
  });
});

test('the timeline tells in order what happened and why, also why mail was not sent', async () => {
  const { leadId, enrollmentId } = await enrolled('story@example.com');
  await ledgerRow(api.db, enrollmentId, 'accepted');
  const at = new Date();
  const told = (
    kind: Parameters<typeof recordEvents>[1][number]['kind'],
    detail: Record<string, unknown>,
    step = 1,
  ) => ({
    at,
    leadId,
    enrollmentId,
    kind,
    step,
    detail,
  });
  await recordEvents(api.db, [
    told('message-accepted', { code: '250 2.0.0', copy: 0, dueAt: '2026-05-04T08:00:00.000Z' }, 0),
    told('message-not-sent', { reason: 'send-window', until: '2026-05-05T08:00:00.000Z' }),
    told('message-deferred', { code: '451 4.7.1', copy: 0, dueAt: '2026-05-05T08:15:00.000Z' }),
    told('message-skipped', { code: '451 4.7.1', copy: 0 }),
    told('message-unknown', { code: 'crash', copy: 0 }),
    told('message-rejected', { code: '550 5.7.1', copy: 0 }, 2),
  ]);
  await post(api.app, `/v1/enrollments/${enrollmentId}/pause`);
  await recordEvents(api.db, [
    { ...told('message-not-sent', { reason: 'paused', by: 'enrollment' }, 2), at: new Date() },
  ]);
  await post(api.app, `/v1/enrollments/${enrollmentId}/resume`);
  await enrolled('story@example.com');
  await ledgerRow(api.db, enrollmentId, 'claimed', 2);
  await post(api.app, '/v1/purchases', { leadId, orderId: 'A-17' });
  await post(api.app, '/v1/replies', { leadId });
  await post(api.app, '/v1/unsubscribes', { leadId });

  const { timeline } = (await get(api.app, `/v1/leads/${leadId}`)).json<{ timeline: Entry[] }>();
  expect(timeline.map(({ at }) => at)).toEqual(timeline.map(({ at }) => at).sort());
  const texts = Object.fromEntries(timeline.map(({ kind, text }) => [kind, text]));
  expect(texts).toEqual({
    enrolled: 'Enrolled through the API in version 1. There is a consent to nudges.',
    'message-accepted':
      'The information was taken by the mail server (250 2.0.0). What comes next is due at 2026-05-04T08:00:00.000Z.',
    'message-deferred':
      'Nudge 1 was put off by the mail server (451 4.7.1). It was not sent yet, and is tried again at 2026-05-05T08:15:00.000Z.',
    'message-skipped':
      'Nudge 1 was put off by the mail server for five days (451 4.7.1). It was not sent, and the journey goes on without it.',
    'message-unknown':
      'Whether the mail server took nudge 1 is not known: a crash came between. It is never sent again.',
    'message-rejected':
      'Nudge 2 was refused by the mail server for good (550 5.7.1). It was not sent, and is not tried again.',
    paused: 'Paused: nothing is sent until it is resumed.',
    'message-not-sent': 'Nudge 2 was not sent: the enrollment is paused.',
    resumed: 'Resumed: what fell due meanwhile goes out in the next send window.',
    'asked-again': expect.stringMatching(/^Asked again through the API\. The information is not sent again/),
    ended: 'Ended as purchased with order A-17: no more mail is sent.',
    'message-withdrawn':
      'Nudge 2 was taken back before it was handed over, because the enrollment ended as purchased. It was not sent.',
    'stop-without-effect': 'A reply came in, and no open enrollment was ended by it.',
    suppressed: 'Unsubscribed (told through the API) from all marketing mail: nothing of any campaign is sent.',
  });
  expect(timeline.find(({ kind }) => kind === 'ended')).toMatchObject({ enrollmentId, campaignId });
});

test('P7 a lead without consent to nudges is told why none are sent', async () => {
  const { leadId } = await enrolled('informed@example.com', { consent: undefined });
  const { timeline } = (await get(api.app, `/v1/leads/${leadId}`)).json<{ timeline: Entry[] }>();
  expect(timeline[0]?.text).toContain('There is no consent on record, so only the information is sent.');
});

test('an event of a kind that is not known yet is told by its name', () => {
  const event = { at: new Date(), enrollmentId: null, kind: 'teleported' as never, step: null, detail: {} };
  expect(timelineOf({ events: [event], enrollments: [] })).toMatchObject([{ kind: 'teleported', text: 'teleported' }]);
});
