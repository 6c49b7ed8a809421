import { randomUUID } from 'node:crypto';
import { defaultActivityInfo, MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { type KyselyPlugin, type RootOperationNode, sql } from 'kysely';
import { DateTime } from 'luxon';
import { createActivities } from '../../activities';
import { resumeSending } from '../../db/breaker';
import { claim, passGate } from '../../db/ledger';
import { pauseCampaign } from '../../db/pauses';
import { moveUp } from '../../db/quota';
import type { CampaignDefinition } from '../../domain/campaign';
import { type Stream, streamOfStep } from '../../domain/streams';
import { type Carrier, createCarrier } from '../../mail/deliver/connections';
import { MAIL_QUEUES, type SendStepResult } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { exitForTests } from '../support/exits';
import { enrollAll, enrollForTests, requestBy, TEST_ADDRESS_KEYS, TEST_TOKEN_KEYS } from '../support/leads';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { type SmtpSink, smtpError, startSmtpSink } from '../support/smtp-sink';
import { eventually } from '../support/waiting';

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

const DAY = 24 * 3600_000;
const mailsTo = (email: string) => sink.messages.filter((message) => message.to === email);

/**
 * Runs one touch, as the journey does: on the queue of its step, and once more where that answers that another stream is
 * to carry it. @param fault stands between the activity and its database
 */
async function touch(enrollmentId: string, step: number, fault?: KyselyPlugin, now = 0): Promise<SendStepResult> {
  const stream = streamOfStep(step);
  const answer = await touchOn(stream, enrollmentId, step, fault, now);
  const elsewhere = answer.kind === 'next' && answer.dueAt <= Date.now() && answer.route.queue !== MAIL_QUEUES[stream];
  if (!elsewhere || answer.step !== step) return answer;
  return await touchOn(stream === 'requested' ? 'marketing' : 'requested', enrollmentId, step, fault, now);
}

async function touchOn(
  stream: Stream,
  enrollmentId: string,
  step: number,
  fault: KyselyPlugin | undefined,
  now: number,
): Promise<SendStepResult> {
  const db = fault === undefined ? database.db : database.db.withPlugin(fault);
  const { sendStep } = createActivities({
    db,
    exit: exitForTests(stream, carrier),
    replyAddress: null,
    publicUrl: 'https://recuerda.example',
    tokenKeys: TEST_TOKEN_KEYS,
    addressKeys: TEST_ADDRESS_KEYS,
    timeFactor: 1,
    mailBlocked: null,
  });
  const environment = new MockActivityEnvironment(defaultActivityInfo, { logger: new DefaultLogger('ERROR') });
  return (await environment.run(sendStep, { enrollmentId, step, now })) as SendStepResult;
}

async function enrolled(email: string, change: Partial<CampaignDefinition> = {}) {
  const campaignId = await publishForTests(database.db, definitionForTests(2, change));
  return { campaignId, id: await enrollForTests(database.db, campaignId, requestBy(email)) };
}

async function rowOf(id: string) {
  return await database.db.selectFrom('enrollment').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

async function statesOf(id: string) {
  const rows = await database.db
    .selectFrom('message')
    .select('state')
    .where('enrollment_id', '=', id)
    .orderBy('step')
    .execute();
  return rows.map((row) => row.state);
}

/** Loses the connection once, for the first update of a message to this state: before Postgres has it, or before its answer. */
function losing(when: 'before' | 'after', state: string): KyselyPlugin {
  const caught = new WeakSet<object>();
  let lost = false;
  const lose = () => {
    lost = true;
    throw new Error('Connection terminated unexpectedly');
  };
  const concerns = (node: RootOperationNode) =>
    node.kind === 'UpdateQueryNode' && JSON.stringify(node.updates).includes(`"value":"${state}"`);
  return {
    transformQuery: ({ node, queryId }) => {
      if (!lost && concerns(node)) {
        if (when === 'before') lose();
        caught.add(queryId);
      }
      return node;
    },
    transformResult: async ({ result, queryId }) => {
      if (!lost && caught.has(queryId)) lose();
      return result;
    },
  };
}

/** Does something once, right after the activity has read its row. */
function afterReading(work: () => Promise<void>): KyselyPlugin {
  let done = false;
  return {
    transformQuery: ({ node }) => node,
    transformResult: async ({ result }) => {
      if (!done) {
        done = true;
        await work();
      }
      return result;
    },
  };
}

describe('P5: what Temporal is told of a fault', () => {
  test('holds a code and where it happened, not what Postgres says about a person', async () => {
    const email = 'secreta@correo.example';
    const { id } = await enrolled(email);
    await sql`
      create function refuse() returns trigger language plpgsql as $$
      begin raise exception E'no place for\n  at %', (select l.email from lead l join enrollment e on e.lead_id = l.id
        where e.id = new.enrollment_id) using errcode = '23514'; end $$`.execute(database.db);
    await sql`create trigger refuse before insert on message for each row execute function refuse()`.execute(
      database.db,
    );
    try {
      const failure = await touch(id, 0).catch((error: unknown) => error);
      expect(failure).toMatchObject({ name: 'ApplicationFailure', type: '23514', nonRetryable: false });
      const { message, stack, cause } = failure as Error;
      expect(cause).toBeUndefined();
      expect(`${message} ${stack}`).not.toContain('secreta');
      expect(stack).toMatch(/\n\s+at .*ledger/);
    } finally {
      await sql`drop trigger refuse on message`.execute(database.db);
    }
    expect(await touch(id, 0)).toMatchObject({ kind: 'next', step: 1 });
  });
});

describe('P10: the plan', () => {
  test('a nudge that its recipient deferred is tried again inside the send window', async () => {
    const email = 'tarde@correo.example';
    const sendWindow = { days: ['mon' as const, 'wed' as const], from: '10:00', to: '10:05', blackouts: [] };
    const { id } = await enrolled(email, { sendWindow });
    await touch(id, 0);
    sink.faults = {
      onRcpt: (to) => {
        if (to === email) throw smtpError(452, '4.2.2 mailbox full');
      },
    };
    const { next_due_at: due } = await rowOf(id);
    const answer = await touch(id, 1, undefined, due.getTime());
    expect(answer).toMatchObject({ kind: 'next', step: 1, reason: 'deferred' });
    expect(await statesOf(id)).toEqual(['accepted', 'deferred']);
    const again = (await rowOf(id)).next_due_at;
    expect(again.getTime()).toBeGreaterThanOrEqual(due.getTime() + 15 * 60_000);
    const local = DateTime.fromJSDate(again, { zone: 'Europe/Madrid' });
    expect([1, 3]).toContain(local.weekday);
    expect(local.toFormat('HH:mm') >= '10:00' && local.toFormat('HH:mm') < '10:05').toBe(true);
  });

  test('a nudge that comes up because a cap was raised still waits for its send window', async () => {
    const other = DateTime.utc().plus({ days: 3 }).setLocale('en').toFormat('ccc').toLowerCase();
    const sendWindow = { days: [other as 'mon'], from: '09:00', to: '18:00' };
    const email = `${randomUUID()}@example.com`;
    const { id } = await enrolled(email, { sendWindow });
    await touch(id, 0);
    expect(mailsTo(email)).toHaveLength(1);
    const tomorrow = DateTime.utc().plus({ days: 1 }).startOf('day').toJSDate();
    await sql`
      update enrollment set next_due_at = ${tomorrow}, slot_stream = 'marketing', slot_day = ${tomorrow.toISOString().slice(0, 10)}
      where id = ${id}`.execute(database.db);
    expect(await moveUp(database.db, 'marketing', new Date())).toBe(1);
    const answer = await touch(id, 1);
    expect(answer).toMatchObject({ kind: 'next', step: 1 });
    expect((await rowOf(id)).next_due_at.getTime()).toBeGreaterThan(Date.now() + DAY);
    expect(mailsTo(email)).toHaveLength(1);
  });

  test('is never early: the interval counts from when the server has taken the mail', async () => {
    const email = 'lento@correo.example';
    const { id } = await enrolled(email, { cadence: { min: 'PT24H', max: 'PT24H' } });
    let taken = 0;
    sink.faults = {
      beforeAccept: async () => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        taken = Date.now();
      },
    };
    await touch(id, 0);
    expect((await rowOf(id)).next_due_at.getTime()).toBeGreaterThanOrEqual(taken + DAY);
  });
});

describe('P3, P12: Postgres lost in the middle of a delivery', () => {
  test('at the gate, which had committed: nothing went out, so the next attempt sends it', async () => {
    const email = 'puerta@correo.example';
    const { id } = await enrolled(email);
    await expect(touch(id, 0, losing('after', 'handing_over'))).rejects.toMatchObject({ type: 'gate_failed' });
    expect(mailsTo(email)).toEqual([]);
    expect(await touch(id, 0)).toMatchObject({ kind: 'next', step: 1 });
    expect(await statesOf(id)).toEqual(['accepted']);
    expect(mailsTo(email)).toHaveLength(1);
  });

  test('when the server has refused us after the body: nobody loses their place', async () => {
    const email = 'cuota@correo.example';
    const { id } = await enrolled(email);
    sink.faults = {
      onMessage: () => {
        throw smtpError(451, '4.4.5 daily sending quota exceeded');
      },
    };
    await expect(touch(id, 0, losing('before', 'withdrawn'))).rejects.toMatchObject({ type: 'smtp_refused' });
    sink.faults = {};
    expect(await touch(id, 0)).toMatchObject({ kind: 'next', step: 1 });
    expect(await statesOf(id)).toEqual(['accepted']);
    expect(mailsTo(email)).toHaveLength(1);
  });
});

test('a stop for rates that comes before the gate takes the claim back, and the lead is held', async () => {
  const email = 'quejas@correo.example';
  const { id } = await enrolled(email);
  const pause = { stream: 'requested' as const, provider: '*' };
  sink.faults = {
    onRcpt: async () => {
      await database.db
        .insertInto('sending_pause')
        .values({ ...pause, reason: 'complaint-rate', code: null, paused_at: new Date(), probe_at: null })
        .execute();
    },
  };
  expect(await touch(id, 0)).toMatchObject({ kind: 'hold' });
  expect(await statesOf(id)).toEqual(['withdrawn']);
  expect(mailsTo(email)).toEqual([]);
  sink.faults = {};
  await resumeSending(database.db, { ...pause, now: new Date() });
  expect(await touch(id, 0)).toMatchObject({ kind: 'next', step: 1 });
  expect(mailsTo(email)).toHaveLength(1);
});

test('P3 a copy whose worker died past the gate is unknown, also where its campaign was paused since', async () => {
  const email = 'copia@correo.example';
  const { campaignId, id } = await enrolled(email);
  expect(await touch(id, 0)).toMatchObject({ kind: 'next', step: 1 });
  const now = new Date();
  await database.db.updateTable('enrollment').set({ info_due_at: now, info_copies: 1 }).where('id', '=', id).execute();
  const key = { enrollmentId: id, step: 0, copy: 1 };
  const token = randomUUID();
  await claim(database.db, { ...key, messageId: `<${token}@correo.example>`, token, moves: 0, now });
  expect(await passGate(database.db, key, token, now)).toBe(true);
  await pauseCampaign(database.db, campaignId, new Date());
  expect(await touch(id, 1)).toMatchObject({ kind: 'next', step: 1, unknown: true });
  expect(await statesOf(id)).toEqual(expect.arrayContaining(['accepted', 'unknown']));
  expect(await rowOf(id)).toMatchObject({ info_due_at: null, held_at: null });
  expect(mailsTo(email)).toHaveLength(1);
});

test('P1: who asks again at the very moment of exhaustion gets the information, and the journey goes on', async () => {
  const email = 'justo@correo.example';
  const { campaignId, id } = await enrolled(email);
  const past = new Date(Date.now() - 1_000);
  await database.db
    .updateTable('enrollment')
    .set({ step: 2, next_due_at: past, last_info_at: new Date(Date.now() - 100 * DAY) })
    .where('id', '=', id)
    .execute();
  const asking = afterReading(async () => {
    expect(await enrollAll(database.db, campaignId, [requestBy(email)])).toMatchObject([{ kind: 'existing' }]);
  });
  expect(await touch(id, 2, asking)).toMatchObject({ kind: 'next', step: 2 });
  expect((await rowOf(id)).outcome).toBeNull();
  expect(mailsTo(email).map((mail) => mail.subject)).toEqual(['Paso 0']);
});

test('a refusal of the mail itself feeds the circuit breaker, and suppresses nobody', async () => {
  const { id } = await enrolled('content@gmail.com');
  sink.faults = {
    onMessage: () => {
      throw smtpError(554, '5.6.0 message content rejected');
    },
  };
  expect(await touch(id, 0)).toMatchObject({ kind: 'next', step: 1 });
  expect(await statesOf(id)).toEqual(['rejected']);
  const faults = await database.db.selectFrom('sending_fault').select(['stream', 'provider', 'kind', 'code']).execute();
  expect(faults).toContainEqual({ stream: 'requested', provider: 'gmail', kind: 'policy-bounce', code: '554 5.6.0' });
  expect((await rowOf(id)).outcome).toBeNull();
});

test('P3 a mail that a stopped stream was tried with is on record before anything else is done', async () => {
  const { id } = await enrolled('probe@web.de');
  const now = new Date();
  await database.db
    .insertInto('sending_pause')
    .values({
      stream: 'requested',
      provider: 'gmx',
      reason: 'refused',
      paused_at: now,
      probe_at: new Date(now.getTime() - 1),
    })
    .execute();
  // Lifting the pause waits for this lock; the record must not.
  let unlock = () => {};
  const held = new Promise<void>((resolve) => {
    unlock = resolve;
  });
  let accepted: () => void = () => {};
  const taken = new Promise<void>((resolve) => {
    accepted = resolve;
  });
  sink.faults = {
    beforeAccept: async () => {
      void database.db.transaction().execute(async (tx) => {
        await tx.selectFrom('sending_pause').selectAll().where('provider', '=', 'gmx').forUpdate().execute();
        accepted();
        await held;
      });
      await taken;
    },
  };
  const sending = touch(id, 0);
  await eventually(async () => (await statesOf(id))[0] === 'accepted');
  unlock();
  expect(await sending).toMatchObject({ kind: 'next', step: 1 });
  expect(await database.db.selectFrom('sending_pause').selectAll().where('provider', '=', 'gmx').execute()).toEqual([]);
});

test('a mailbox that is full at three steps over a month makes its address undeliverable, and its journeys end', async () => {
  const { id } = await enrolled('full@box.example');
  const other = await enrolled('full@box.example');
  sink.faults = {
    onRcpt: () => {
      throw smtpError(552, '5.2.2 mailbox full');
    },
  };
  const hash = (await rowOf(id)).address_hash ?? '';
  const count = (step: number, days: number) =>
    database.db
      .insertInto('soft_bounce')
      .values({ address_hash: hash, enrollment_id: id, step, at: new Date(Date.now() - days * DAY), code: '5.2.2' })
      .execute();
  await count(1, 40);
  // Two in all: people do empty their mailboxes.
  expect(await touch(id, 0)).toMatchObject({ kind: 'next', step: 1 });
  expect(await touch(other.id, 0)).toMatchObject({ kind: 'concluded', outcome: 'bounced' });
  expect((await rowOf(id)).outcome).toBe('bounced');
});
