import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { signUnsubscribeToken } from '../../domain/unsubscribe-token';
import { publishForTests } from '../support/campaigns';
import { enrollForTests, requestBy, TEST_TOKEN_KEYS } from '../support/leads';
import { eventually } from '../support/waiting';
import { type ApiUnderTest, AUTH, apiUnderTest } from './api-under-test';

// The answer goes out after the commit, and the engine is told after the answer: what an answer promises holds already when
// it arrives, and no engine that is slow or away holds an answer up.

let api: ApiUnderTest;
let url: string;
let campaignId: string;
/** Called when an answer is about to go out; it goes when this has resolved. */
let beforeAnswer: (request: IncomingMessage) => Promise<void> = async () => {};

beforeAll(async () => {
  api = await apiUnderTest();
  campaignId = await publishForTests(api.db);
  api.app.server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse;
    response.end = ((...args: unknown[]) => {
      void beforeAnswer(request).then(() => end(...args));
      return response;
    }) as ServerResponse['end'];
  });
  await api.app.listen({ port: 0, host: '127.0.0.1' });
  url = `http://127.0.0.1:${(api.app.server.address() as AddressInfo).port}`;
});
afterEach(() => {
  beforeAnswer = async () => {};
});
afterAll(async () => {
  // `fetch` connects again after a call that was broken off, and a connection without a request is not idle to Node.
  api.app.server.closeAllConnections();
  await api.close();
});

interface Lead {
  enrollmentId: string;
  leadId: string;
  email: string;
}

let count = 0;
async function lead(): Promise<Lead> {
  const email = `despues${++count}@correo.example`;
  const enrollmentId = await enrollForTests(api.db, campaignId, requestBy(email));
  const row = await rowOf(enrollmentId);
  return { enrollmentId, leadId: row.lead_id, email };
}

async function rowOf(enrollmentId: string) {
  return await api.db.selectFrom('enrollment').selectAll().where('id', '=', enrollmentId).executeTakeFirstOrThrow();
}

async function unsubscribePath({ enrollmentId }: Lead): Promise<string> {
  const { address_hash } = await rowOf(enrollmentId);
  const mail = { addressHash: address_hash ?? '', campaignId, enrollmentId, locale: 'es' };
  return `/u/${signUnsubscribeToken(mail, TEST_TOKEN_KEYS)}`;
}

const json = (path: string, body: unknown): [string, RequestInit] => [
  path,
  { method: 'POST', headers: { ...AUTH, 'content-type': 'application/json' }, body: JSON.stringify(body) },
];

/** Every way in which a stop comes in over HTTP. */
const STOPS: Record<string, (lead: Lead) => Promise<[string, RequestInit]>> = {
  'a purchase': async ({ email, enrollmentId }) => json('/v1/purchases', { email, orderId: `A-${enrollmentId}` }),
  'a reply': async ({ enrollmentId }) => json('/v1/replies', { enrollmentId }),
  'an unsubscribe': async ({ email }) => json('/v1/unsubscribes', { email }),
  'a cancel': async ({ enrollmentId }) => [`/v1/enrollments/${enrollmentId}/cancel`, { method: 'POST', headers: AUTH }],
  'an erasure': async ({ leadId }) => [`/v1/leads/${leadId}`, { method: 'DELETE', headers: AUTH }],
  'one click in a mail program': async (person) => [
    await unsubscribePath(person),
    {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'List-Unsubscribe=One-Click',
    },
  ],
};

describe('P2 the answer goes out after the commit, and the signal after the answer', () => {
  test.each(Object.entries(STOPS))('%s', async (_, requestOf) => {
    const person = await lead();
    const [path, init] = await requestOf(person);
    const { enrollmentId } = person;
    let outcome: string | null = null;
    let toldEarly = true;
    beforeAnswer = async () => {
      // Over another connection, so it sees only what has been committed.
      ({ outcome } = await rowOf(enrollmentId));
      await sleep(150);
      toldEarly = api.asked.told.includes(enrollmentId);
    };
    const response = await fetch(`${url}${path}`, init);
    expect(response.ok).toBe(true);
    expect(outcome).not.toBeNull();
    expect(toldEarly).toBe(false);
    await eventually(() => api.asked.told.includes(enrollmentId));
  });

  test('a resume', async () => {
    const { enrollmentId } = await lead();
    const paused = await fetch(`${url}/v1/enrollments/${enrollmentId}/pause`, { method: 'POST', headers: AUTH });
    expect(paused.ok).toBe(true);
    let seen: { pausedAt: Date | null; toldEarly: boolean } | null = null;
    beforeAnswer = async () => {
      const { paused_at } = await rowOf(enrollmentId);
      await sleep(150);
      seen = { pausedAt: paused_at, toldEarly: api.asked.told.includes(enrollmentId) };
    };
    const resumed = await fetch(`${url}/v1/enrollments/${enrollmentId}/resume`, { method: 'POST', headers: AUTH });
    expect(resumed.ok).toBe(true);
    expect(seen).toEqual({ pausedAt: null, toldEarly: false });
    await eventually(() => api.asked.told.includes(enrollmentId));
  });

  test('P4 who hangs up before the answer has stopped all the same, and the engine is told', async () => {
    const { enrollmentId, email } = await lead();
    const caller = new AbortController();
    beforeAnswer = async () => {
      caller.abort();
      await sleep(50);
    };
    const [path, init] = json('/v1/unsubscribes', { email });
    await expect(fetch(`${url}${path}`, { ...init, signal: caller.signal })).rejects.toThrow();
    expect((await rowOf(enrollmentId)).outcome).toBe('unsubscribed');
    await eventually(() => api.asked.told.includes(enrollmentId));
    expect(api.asked.told.filter((told) => told === enrollmentId)).toHaveLength(1);
  });
});
