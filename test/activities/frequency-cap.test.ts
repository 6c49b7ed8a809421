import { randomUUID } from 'node:crypto';
import { defaultActivityInfo, MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { createActivities } from '../../activities';
import { type Carrier, createCarrier } from '../../mail/deliver/connections';
import type { SendStepResult } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { exitForTests } from '../support/exits';
import { enrollForTests, requestBy, TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, smtpError, startSmtpSink } from '../support/smtp-sink';

const DAY = 24 * 3600_000;

let database: TestDatabase;
let sink: SmtpSink;
let carrier: Carrier;

beforeAll(async () => {
  database = await createTestDatabase();
  sink = await startSmtpSink();
  carrier = createCarrier({ url: sink.url });
});
afterEach(() => {
  sink.faults = {};
});
afterAll(async () => {
  await carrier.close();
  await sink.close();
  await database.drop();
});

/** The nudge of a touch, with at most one mail to a person in thirty days. */
async function nudge(enrollmentId: string, now = Date.now()): Promise<SendStepResult> {
  const { sendStep } = createActivities({
    db: database.db,
    exit: exitForTests('marketing', carrier),
    replyAddress: null,
    publicUrl: 'https://recuerda.example',
    tokenKeys: TEST_TOKEN_KEYS,
    addressKeys: TEST_ADDRESS_KEYS,
    timeFactor: 1,
    frequencyCap: { mails: 1, within: 'P30D' },
    mailBlocked: null,
  });
  const environment = new MockActivityEnvironment(defaultActivityInfo, { logger: new DefaultLogger('ERROR') });
  return (await environment.run(sendStep, { enrollmentId, step: 1, now })) as SendStepResult;
}

/** A person whose first nudge is due in two campaigns. */
async function dueTwice(): Promise<[string, string, string]> {
  const email = `${randomUUID()}@shop.example`;
  const ids: string[] = [];
  for (let i = 0; i < 2; i++) {
    const campaignId = await publishForTests(database.db, definitionForTests(3));
    ids.push(await enrollForTests(database.db, campaignId, requestBy(email)));
  }
  await database.db
    .updateTable('enrollment')
    .set({ step: 1, next_due_at: new Date() })
    .where('id', 'in', ids)
    .execute();
  return [ids[0] ?? '', ids[1] ?? '', email];
}

test('a nudge too many waits until the person may be written to again, says so, and goes out then', async () => {
  const [first, second, email] = await dueTwice();
  expect(await nudge(first)).toMatchObject({ kind: 'next', step: 2 });
  const put = await nudge(second);
  expect(put).toMatchObject({ kind: 'next', step: 1, reason: 'frequency-cap' });
  const dueAt = put.kind === 'next' ? put.dueAt : 0;
  expect(Math.round((dueAt - Date.now()) / DAY)).toBe(30);
  expect(sink.messages.filter((message) => message.to === email)).toHaveLength(1);
  const event = await database.db
    .selectFrom('event')
    .select('detail')
    .where('enrollment_id', '=', second)
    .where('kind', '=', 'message-not-sent')
    .executeTakeFirstOrThrow();
  expect(event.detail).toMatchObject({ reason: 'frequency-cap' });

  expect(await nudge(second, dueAt)).toMatchObject({ kind: 'next', step: 2 });
  expect(sink.messages.filter((message) => message.to === email)).toHaveLength(2);
});

test('a mail that the server would not take keeps nobody else waiting', async () => {
  const [first, second, email] = await dueTwice();
  sink.faults.onMail = () => {
    throw smtpError(421, '4.7.0 not now');
  };
  await expect(nudge(first)).rejects.toThrow();
  sink.faults = {};
  expect(await nudge(second)).toMatchObject({ kind: 'next', step: 2 });
  expect(await nudge(first)).toMatchObject({ reason: 'frequency-cap' });
  expect(sink.messages.filter((message) => message.to === email)).toHaveLength(1);
});
