import { pauseCampaign, pauseEnrollment, resumeCampaign, resumeEnrollment } from '../../db/pauses';
import { type StopResult, stopEnrollments } from '../../db/stops';
import type { Outcome } from '../../domain/outcomes';
import { signalJourney, startJourney } from '../../temporal/journeys';
import { journeyWorkflowId, progressQuery } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { smtpError } from '../support/smtp-sink';
import { door, eventually } from '../support/waiting';

let engine: Engine;
let campaignId: string;
let count = 0;

beforeAll(async () => {
  engine = await startEngine('real-time');
  campaignId = await publishForTests(engine.db, definitionForTests(4));
});
afterAll(async () => {
  await engine.stop();
});
afterEach(() => {
  engine.sink.faults = {};
});

async function newLead(): Promise<{ email: string; enrollmentId: string }> {
  const email = `lead${++count}@correo.example`;
  return { email, enrollmentId: await enrollForTests(engine.db, campaignId, requestBy(email)) };
}

const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);

/** Stops as the API does: the transaction, then the signal. */
async function stop(enrollmentId: string, outcome: Outcome = 'purchased'): Promise<StopResult> {
  const result = await stopEnrollments(engine.db, { who: { enrollmentId }, outcome, now: new Date() });
  await signalJourney(engine.client, { enrollmentId, outcome, signalAt: new Date() });
  return result;
}

const wake = (enrollmentId: string) =>
  signalJourney(engine.client, { enrollmentId, outcome: null, signalAt: new Date() });

const progress = (enrollmentId: string) =>
  engine.client.workflow.getHandle(journeyWorkflowId(enrollmentId)).query(progressQuery);

/** Makes the next step due, as if its time had come, and lets the journey look. */
async function fallDue(enrollmentId: string, at: Date): Promise<void> {
  await engine.db.updateTable('enrollment').set({ next_due_at: at }).where('id', '=', enrollmentId).execute();
  await wake(enrollmentId);
}

/** The position of the next mail; a mail is in the sink a moment before it is settled. */
async function stepOf(enrollmentId: string): Promise<number> {
  const row = engine.db.selectFrom('enrollment').select('step').where('id', '=', enrollmentId);
  return (await row.executeTakeFirstOrThrow()).step;
}

async function messageStates(enrollmentId: string): Promise<string[]> {
  const rows = await engine.db
    .selectFrom('message')
    .select('state')
    .where('enrollment_id', '=', enrollmentId)
    .orderBy('step')
    .execute();
  return rows.map((row) => row.state);
}

describe('P2: a stop is honoured', () => {
  test('before the start: no mail at all', async () => {
    const { email, enrollmentId } = await newLead();
    await stop(enrollmentId, 'unsubscribed');
    // A start that was already on its way when the stop came.
    await startJourney(engine.client, {
      enrollmentId,
      campaignId,
      step: 0,
      steps: 4,
      infoAgain: false,
      fairnessKey: 'other-1',
      priority: 2,
    });
    expect(await engine.run(enrollmentId)).toEqual({ outcome: 'unsubscribed', step: 0 });
    expect(mailsTo(email)).toEqual([]);
  });

  test('in a wait, and it ends at once without the rest of the wait', async () => {
    const { email, enrollmentId } = await newLead();
    const handle = await engine.start(enrollmentId);
    await eventually(() => mailsTo(email).length === 1);
    await eventually(async () => (await progress(enrollmentId)).doing === 'waiting');
    await stop(enrollmentId, 'replied');
    expect(await handle.result()).toEqual({ outcome: 'replied', step: 1 });
    expect(mailsTo(email)).toHaveLength(1);
  });

  test('while the send is in back-off', async () => {
    const { email, enrollmentId } = await newLead();
    const refused = door();
    engine.sink.faults = {
      onMail: () => {
        refused.wait();
        throw smtpError(451, '4.7.1 not now, whoever you are');
      },
    };
    const handle = await engine.start(enrollmentId);
    await refused.reached;
    await stop(enrollmentId, 'replied');
    expect(await handle.result()).toEqual({ outcome: 'replied', step: 0 });
    engine.sink.faults = {};
    expect(mailsTo(email)).toEqual([]);
  });

  test('before the gate: the message is withdrawn and not named', async () => {
    const { email, enrollmentId } = await newLead();
    const rcpt = door();
    engine.sink.faults = { onRcpt: (to) => (to === email ? rcpt.wait() : undefined) };
    const handle = await engine.start(enrollmentId);
    await rcpt.reached;
    const result = await stop(enrollmentId);
    rcpt.open();
    expect(result.inFlight).toEqual([]);
    expect(await handle.result()).toEqual({ outcome: 'purchased', step: 0 });
    expect(mailsTo(email)).toEqual([]);
    expect(await messageStates(enrollmentId)).toEqual(['withdrawn']);
  });

  test('after the gate: the message goes out, is named in the answer, and is the last', async () => {
    const { email, enrollmentId } = await newLead();
    const body = door();
    engine.sink.faults = { onMessage: (message) => (message.to === email ? body.wait() : undefined) };
    const handle = await engine.start(enrollmentId);
    await body.reached;
    const first = await stop(enrollmentId);
    const again = await stop(enrollmentId);
    body.open();
    expect(first.stopped).toEqual([{ enrollmentId, campaignId, outcome: 'purchased' }]);
    expect(first.inFlight).toEqual([
      { enrollmentId, step: 0, messageId: expect.stringMatching(/^<.+@shop\.example>$/) },
    ]);
    expect(again).toEqual({ stopped: [], inFlight: first.inFlight });
    expect(await handle.result()).toMatchObject({ outcome: 'purchased' });
    expect(mailsTo(email).map((message) => message.messageId)).toEqual([first.inFlight[0]?.messageId]);
    expect(await messageStates(enrollmentId)).toEqual(['accepted']);
  });

  test('twice, and after the close: the first outcome stays', async () => {
    const { email, enrollmentId } = await newLead();
    const handle = await engine.start(enrollmentId);
    await eventually(() => mailsTo(email).length === 1);
    await stop(enrollmentId, 'replied');
    expect((await stop(enrollmentId, 'purchased')).stopped).toEqual([]);
    expect(await handle.result()).toMatchObject({ outcome: 'replied' });
    expect((await stop(enrollmentId, 'unsubscribed')).stopped).toEqual([]);
    const row = await engine.db
      .selectFrom('enrollment')
      .select('outcome')
      .where('id', '=', enrollmentId)
      .executeTakeFirstOrThrow();
    expect(row.outcome).toBe('replied');
  });

  test('across continue-as-new: stops that meet the boundary are neither lost nor late', async () => {
    const leads = await Promise.all(Array.from({ length: 40 }, () => newLead()));
    const handles = await Promise.all(leads.map((lead) => engine.start(lead.enrollmentId)));
    await eventually(async () =>
      (await Promise.all(leads.map((lead) => stepOf(lead.enrollmentId)))).every((step) => step === 1),
    );
    const results = await Promise.all(
      leads.map(async (lead, index) => {
        // The next step falls due now, and its journey passes to its next run while the stop comes in.
        await fallDue(lead.enrollmentId, new Date());
        // A quarter is stopped the moment its second mail is taken: between record, answer and the next run.
        if (index % 4 === 0) await eventually(() => mailsTo(lead.email).length === 2);
        else await new Promise((resolve) => setTimeout(resolve, index * 10));
        const who = { enrollmentId: lead.enrollmentId };
        const { inFlight } = await stopEnrollments(engine.db, { who, outcome: 'purchased', now: new Date() });
        const acknowledged = Date.now();
        await signalJourney(engine.client, { ...who, outcome: 'purchased', signalAt: new Date() });
        return { acknowledged, named: new Set(inFlight.map((message) => message.messageId)) };
      }),
    );
    for (const [index, lead] of leads.entries()) {
      expect(await handles[index]?.result()).toMatchObject({ outcome: 'purchased' });
      const { acknowledged = 0, named } = results[index] ?? {};
      expect(mailsTo(lead.email).filter(({ at, messageId }) => at > acknowledged && !named?.has(messageId))).toEqual(
        [],
      );
    }
    // Some were stopped before their second mail and some after it, or nothing was raced here.
    const mails = leads.map((lead) => mailsTo(lead.email).length);
    expect(new Set(mails)).toEqual(new Set([1, 2]));
  });
});

describe('P2: a pause', () => {
  test('of an enrollment holds it across its due time; resumed, it goes on and repeats nothing', async () => {
    const { email, enrollmentId } = await newLead();
    const handle = await engine.start(enrollmentId);
    await eventually(async () => (await stepOf(enrollmentId)) === 1);
    await pauseEnrollment(engine.db, enrollmentId, new Date());
    await fallDue(enrollmentId, new Date());
    await eventually(async () => (await progress(enrollmentId)).doing === 'holding');
    expect(mailsTo(email)).toHaveLength(1);
    await resumeEnrollment(engine.db, enrollmentId, new Date());
    await wake(enrollmentId);
    await eventually(async () => (await stepOf(enrollmentId)) === 2);
    await stop(enrollmentId);
    expect(await handle.result()).toEqual({ outcome: 'purchased', step: 2 });
    expect(mailsTo(email).map((message) => message.subject)).toEqual(['Paso 0', 'Paso 1']);
  });

  test('of a campaign holds everybody in it, and a stop is honoured while held', async () => {
    const other = await publishForTests(engine.db, definitionForTests(2));
    const [first, second] = await Promise.all(
      ['c1@correo.example', 'c2@correo.example'].map((email) => enrollForTests(engine.db, other, requestBy(email))),
    );
    if (first === undefined || second === undefined) throw new Error('two leads');
    await pauseCampaign(engine.db, other, new Date());
    const handles = await Promise.all([engine.start(first), engine.start(second)]);
    await eventually(async () => {
      const rows = await engine.db
        .selectFrom('enrollment')
        .select('held_at')
        .where('campaign_id', '=', other)
        .execute();
      return rows.every((row) => row.held_at !== null);
    });
    await stop(first, 'unsubscribed');
    expect(await handles[0]?.result()).toEqual({ outcome: 'unsubscribed', step: 0 });
    await resumeCampaign(engine.db, other, new Date());
    await wake(second);
    await eventually(async () => (await stepOf(second)) === 1);
    await stop(second);
    expect(await handles[1]?.result()).toEqual({ outcome: 'purchased', step: 1 });
    expect(mailsTo('c1@correo.example')).toEqual([]);
  });

  test('that is taken back while the send is under way is noticed: the message goes out once', async () => {
    const { email, enrollmentId } = await newLead();
    const rcpt = door();
    let tries = 0;
    engine.sink.faults = { onRcpt: (to) => (to === email && tries++ === 0 ? rcpt.wait() : undefined) };
    const handle = await engine.start(enrollmentId);
    await rcpt.reached;
    await pauseEnrollment(engine.db, enrollmentId, new Date());
    await resumeEnrollment(engine.db, enrollmentId, new Date());
    await wake(enrollmentId);
    rcpt.open();
    await eventually(() => mailsTo(email).length === 1);
    await stop(enrollmentId);
    expect(await handle.result()).toMatchObject({ outcome: 'purchased' });
    expect(mailsTo(email)).toHaveLength(1);
  });
});

describe('P12: a cancel in the engine', () => {
  test.each(['waiting', 'in back-off'])('concludes as cancelled while %s', async (when) => {
    const { email, enrollmentId } = await newLead();
    const refused = door();
    if (when === 'in back-off') {
      engine.sink.faults = {
        onMail: () => {
          refused.wait();
          throw smtpError(451, '4.3.0 not now');
        },
      };
    }
    const handle = await engine.start(enrollmentId);
    if (when === 'in back-off') await refused.reached;
    else await eventually(() => mailsTo(email).length === 1);
    await handle.cancel();
    expect(await handle.result()).toMatchObject({ outcome: 'cancelled' });
    const row = await engine.db
      .selectFrom('enrollment')
      .select(['outcome', 'ended_at'])
      .where('id', '=', enrollmentId)
      .executeTakeFirstOrThrow();
    expect(row).toEqual({ outcome: 'cancelled', ended_at: expect.any(Date) });
  });

  test('that meets a send past the gate is not lost when the next touch is due at once', async () => {
    const { email, enrollmentId } = await newLead();
    const taken = door();
    engine.sink.faults = { beforeAccept: (message) => (message.to === email ? taken.wait() : undefined) };
    const handle = await engine.start(enrollmentId);
    await taken.reached;
    await handle.cancel();
    // Meanwhile they have asked again.
    await engine.db
      .updateTable('enrollment')
      .set({ info_copies: 1, info_due_at: new Date() })
      .where('id', '=', enrollmentId)
      .execute();
    taken.open();
    expect(await handle.result()).toMatchObject({ outcome: 'cancelled' });
    expect(mailsTo(email)).toHaveLength(1);
  });
});
