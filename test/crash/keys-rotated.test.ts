import type { Api } from '../../api/context';
import { type ApiUnderTest, apiUnderTest, bodyFor, post } from '../api/api-under-test';
import { publishForTests } from '../support/campaigns';
import { fallDue, TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { eventually } from '../support/waiting';
import { type Stage, setStage } from './stage';

// The runbook's rotation of address and token keys, with leads in mid-journey: every process with the old keys is stopped
// before one that has the new ones starts.

const NEW_KEYS = {
  addressKeys: [{ version: 2, secret: Buffer.alloc(32, 11) }, ...TEST_ADDRESS_KEYS],
  tokenKeys: [{ version: 2, secret: Buffer.alloc(32, 12) }, ...TEST_TOKEN_KEYS],
};

let stage: Stage;
let api: ApiUnderTest;

beforeAll(async () => {
  [stage, api] = await Promise.all([setStage(), apiUnderTest()]);
});
afterAll(async () => {
  await api.close();
  await stage.close();
});

/** The links of the mails that somebody has got, oldest first. */
function linksOf(email: string): string[] {
  const mails = stage.sink.messages.filter((message) => message.to === email);
  return mails.map(({ raw }) => {
    const [, link] = /^List-Unsubscribe:\s*<(http[^>]+)>/im.exec(raw.replace(/\r\n[ \t]+/g, ' ')) ?? [];
    if (link === undefined) throw new Error(`no link in:\n${raw}`);
    return new URL(link).pathname;
  });
}

async function oneClick(app: Api, url: string): Promise<number> {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const answer = await app.inject({ method: 'POST', url, headers, payload: 'List-Unsubscribe=One-Click' });
  return answer.statusCode;
}

async function enroll(app: Api, campaignId: string, email: string): Promise<{ enrollmentId: string; leadId: string }> {
  const answer = await post(app, `/v1/campaigns/${campaignId}/enrollments`, bodyFor(email));
  if (answer.statusCode !== 202) throw new Error(`${answer.statusCode}: ${answer.body}`);
  return answer.json();
}

const outcome = async (enrollmentId: string) => (await stage.row(enrollmentId)).outcome;

test('P2, P3, P6, P13: keys rotated in mid-journey: old links work, stops find everybody, the suppressed stay so, nothing is sent twice', async () => {
  const before = await api.another({ db: stage.db });
  const [coffee, tea] = [await publishForTests(stage.db), await publishForTests(stage.db)];
  const people = { stays: 'sigue@llaves.example', leaves: 'seva@llaves.example', buys: 'compra@llaves.example' };
  const worker = await stage.work();
  const stays = await enroll(before, coffee, people.stays);
  const leaves = await enroll(before, coffee, people.leaves);
  const buys = await enroll(before, coffee, people.buys);
  for (const { enrollmentId } of [stays, leaves, buys]) {
    await eventually(async () => (await stage.row(enrollmentId)).step === 1);
  }
  const gone = 'nunca@llaves.example';
  expect((await post(before, '/v1/unsubscribes', { email: gone })).statusCode).toBe(202);
  await worker.stop();

  const after = await api.another({ db: stage.db, config: NEW_KEYS });
  await stage.work(NEW_KEYS);
  // Found under the old key, by a link that it signed and by the address.
  expect(await oneClick(after, linksOf(people.leaves)[0] ?? '')).toBe(200);
  expect(await outcome(leaves.enrollmentId)).toBe('unsubscribed');
  expect((await post(after, '/v1/purchases', { email: people.buys, orderId: 'o-1' })).statusCode).toBe(202);
  expect(await outcome(buys.enrollmentId)).toBe('purchased');
  for (const { enrollmentId } of [leaves, buys]) {
    await eventually(async () => (await stage.journey(enrollmentId).status()) === 'COMPLETED');
  }
  for (const email of [gone, people.leaves]) {
    const refused = await post(after, `/v1/campaigns/${tea}/enrollments`, bodyFor(email));
    expect([refused.statusCode, refused.json().type]).toEqual([409, expect.stringContaining('suppressed')]);
  }

  // Who was met under the old key stays the same lead, and their next mail is signed with the new one.
  const again = await enroll(after, tea, people.stays);
  expect(again.leadId).toBe(stays.leadId);
  await eventually(async () => (await stage.row(again.enrollmentId)).step === 1);
  await fallDue(stage.db, stays.enrollmentId);
  await eventually(async () => (await stage.row(stays.enrollmentId)).step === 2);
  const links = linksOf(people.stays);
  expect(links).toHaveLength(3);
  const page = async (app: Api, url = '') => (await app.inject({ method: 'GET', url })).statusCode;
  expect([await page(before, links[0]), await page(before, links[2])]).toEqual([200, 404]);
  expect([await page(after, links[0]), await page(after, links[2])]).toEqual([200, 200]);
  // The oldest link ends everything that is sent to them, what came after the rotation included.
  const met = await enroll(after, tea, 'nueva@llaves.example');
  await eventually(async () => (await stage.row(met.enrollmentId)).step === 1);
  expect(await oneClick(after, links[0] ?? '')).toBe(200);
  expect([await outcome(stays.enrollmentId), await outcome(again.enrollmentId)]).toEqual([
    'unsubscribed',
    'unsubscribed',
  ]);
  expect(await outcome(met.enrollmentId)).toBeNull();

  const subjects = stage.sink.messages.map(({ to, subject, messageId }) => `${to} ${subject} ${messageId}`);
  expect(new Set(subjects).size).toBe(subjects.length);
  expect(stage.mailsTo(people.leaves).length + stage.mailsTo(people.buys).length).toBe(2);
  expect(stage.mailsTo(gone)).toEqual([]);
});
