import { randomUUID } from 'node:crypto';
import { DateTime } from 'luxon';
import { stopEnrollments } from '../../db/stops';
import { readStaffToken, signStaffToken } from '../../domain/staff-token';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { classified, receive, stepRef } from '../support/inbound';
import { enrollForTests, requestBy, TEST_TOKEN_KEYS } from '../support/leads';
import { type ApiUnderTest, apiUnderTest } from './api-under-test';

let api: ApiUnderTest;
let spanish: string;
let english: string;

beforeAll(async () => {
  api = await apiUnderTest();
  spanish = await publishForTests(api.db);
  english = await publishForTests(api.db, definitionForTests(8, { locale: 'en' }));
});
afterAll(() => api.close());

const DAY = 86_400_000;
const reply = classified({ kind: 'reply' });
const doubtful = classified({ kind: 'auto-reply', needsReview: true, confidence: 0.4 });

/** Somebody whose answer was forwarded. @returns the link in that mail */
async function forwarded(classification = reply, campaignId = spanish) {
  const email = `${randomUUID()}@correo.example`;
  const request = requestBy(email);
  const id = await enrollForTests(api.db, campaignId, request);
  const dueAt = new Date(Date.now() + 60 * DAY);
  await api.db.updateTable('enrollment').set({ step: 1, next_due_at: dueAt }).where('id', '=', id).execute();
  const { inboundId, mails } = await receive(api.db, classification, { from: email, proven: stepRef(id) });
  const mail = await api.db
    .selectFrom('transactional')
    .select('content')
    .where('id', '=', mails[0] as string)
    .executeTakeFirstOrThrow();
  const { text } = mail.content as unknown as { text: string };
  const path = new URL(/https:\/\/\S+\/s\/\S+/.exec(text)?.[0] ?? '').pathname;
  return { id, path, request, inboundId };
}

const open = (path: string) => api.app.inject({ method: 'GET', url: path });
const press = (path: string, form: Record<string, string>) =>
  api.app.inject({
    method: 'POST',
    url: path,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: new URLSearchParams(form).toString(),
  });

async function enrollments(id: string) {
  const { lead_id } = await api.db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
  return await api.db
    .selectFrom('enrollment')
    .selectAll()
    .where('lead_id', '=', lead_id)
    .orderBy('enrolled_at')
    .execute();
}

const inDays = (days: number) => DateTime.now().plus({ days }).toISODate();

test('opening the link changes nothing, in the language of the campaign', async () => {
  const { id, path } = await forwarded();
  const before = await enrollments(id);
  const page = await open(path);
  expect(page.statusCode).toBe(200);
  expect(page.body).toContain('lang="es"');
  expect(page.body).toContain('Volver a escribirle a partir de esa fecha');
  expect(page.headers['content-security-policy']).toContain("form-action 'self'");
  expect(page.headers['referrer-policy']).toBe('no-referrer');
  expect(await enrollments(id)).toEqual(before);
  const other = await forwarded(reply, english);
  expect((await open(other.path)).body).toContain('Write again from this date');
});

test('"write again from this date" reopens it; pressed again with another date, what goes on is moved', async () => {
  const { id, path } = await forwarded();
  expect((await press(path, { action: 'later', until: inDays(100) })).body).toContain('Hecho');
  const [, reopened] = await enrollments(id);
  expect(reopened).toMatchObject({ reopened_from: id, outcome: null, step: 1 });
  expect(reopened?.next_due_at.getTime()).toBeGreaterThan(Date.now() + 98 * DAY);
  expect(api.asked.started).toContain(reopened?.id);
  await press(path, { action: 'later', until: inDays(200) });
  const after = await enrollments(id);
  expect(after).toHaveLength(2);
  expect(after[1]?.next_due_at.getTime()).toBeGreaterThan(Date.now() + 198 * DAY);
});

test('"leave it" leaves it, and stands in the timeline', async () => {
  const { id, path } = await forwarded();
  expect((await press(path, { action: 'leave' })).body).toContain('queda como está');
  expect(await enrollments(id)).toMatchObject([{ outcome: 'replied' }]);
  const events = await api.db.selectFrom('event').select('kind').where('enrollment_id', '=', id).execute();
  expect(events).toContainEqual({ kind: 'left-ended' });
});

test('a date that is missing, past or too far away changes nothing', async () => {
  const { id, path } = await forwarded();
  for (const until of ['', inDays(-2), inDays(900), '2027-13-45', "'; drop table"]) {
    const page = await press(path, { action: 'later', until: until ?? '' });
    expect(page.statusCode).toBe(200);
    expect(page.body).toContain('Falta una fecha futura');
  }
  expect(await enrollments(id)).toHaveLength(1);
});

test('P6 whoever has unsubscribed since is not written to again', async () => {
  const { id, path, request } = await forwarded();
  await stopEnrollments(api.db, {
    who: { hashes: request.hashes },
    outcome: 'unsubscribed',
    suppress: 'objection',
    now: new Date(),
  });
  expect((await press(path, { action: 'later', until: inDays(100) })).body).toContain(
    'Solo ella puede volver a pedirlos',
  );
  expect(await enrollments(id)).toHaveLength(1);
});

describe('of a message in doubt', () => {
  test('the salespeople decide', async () => {
    const stops = await forwarded(doubtful);
    expect((await open(stops.path)).body).toContain('Es una respuesta: no escribirle más');
    await press(stops.path, { action: 'stop' });
    expect(await enrollments(stops.id)).toMatchObject([{ outcome: 'replied' }]);

    const goesOn = await forwarded(doubtful);
    await press(goesOn.path, { action: 'go-on' });
    expect(await enrollments(goesOn.id)).toMatchObject([{ outcome: null, review_since: null }]);
    expect(api.asked.told).toContain(goesOn.id);
  });

  test('a date is an answer: it ends, and goes on from that day', async () => {
    const { id, path } = await forwarded(doubtful);
    await press(path, { action: 'later', until: inDays(100) });
    expect(await enrollments(id)).toMatchObject([{ outcome: 'replied' }, { outcome: null, reopened_from: id }]);
  });
});

test('a link that is changed, expired, or of another purpose is worth nothing', async () => {
  const { id, path, inboundId } = await forwarded();
  const token = path.slice('/s/'.length);
  const flipped = `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`;
  const expired = signStaffToken(
    { enrollmentId: id, inboundId, expiresAt: new Date(Date.now() - 1000) },
    TEST_TOKEN_KEYS,
  );
  for (const bad of [flipped, expired, 'x', token.slice(0, 40)]) {
    expect((await open(`/s/${bad}`)).statusCode).toBe(404);
    expect((await press(`/s/${bad}`, { action: 'later', until: inDays(100) ?? '' })).statusCode).toBe(404);
  }
  expect(await enrollments(id)).toHaveLength(1);
  const in91 = new Date(Date.now() + 91 * DAY);
  expect(readStaffToken(token, TEST_TOKEN_KEYS, new Date(Date.now() + 89 * DAY))).toMatchObject({
    enrollmentId: id,
    inboundId,
  });
  expect(readStaffToken(token, TEST_TOKEN_KEYS, in91)).toBeNull();
  expect(readStaffToken(token, [{ version: 1, secret: Buffer.alloc(32, 9) }], new Date())).toBeNull();
});
