import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { claim, passGate } from '../../db/ledger';
import { pauseEnrollment, resumeEnrollment } from '../../db/pauses';
import { stopEnrollments } from '../../db/stops';
import type { Outcome } from '../../domain/outcomes';
import { signalJourney } from '../../temporal/journeys';
import { progressQuery } from '../../workflows/contract';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { smtpError } from '../support/smtp-sink';
import { door, eventually } from '../support/waiting';

// The queries of docs/monitoring.md, on a real server: each lists those that it should, and no other.

const OPEN = 'WorkflowType IN ("leadJourney","buyerJourney") AND ExecutionStatus="Running"';

let engine: Engine;
let campaignId: string;
const ids: Record<string, string> = {};

beforeAll(async () => {
  engine = await startEngine('real-time');
  campaignId = await publishForTests(engine.db, definitionForTests(3));
});
afterAll(async () => {
  await engine.stop();
});
afterEach(() => {
  engine.sink.faults = {};
});

const email = (name: string) => `${name}@correo.example`;

async function enroll(name: string): Promise<string> {
  const id = await enrollForTests(engine.db, campaignId, requestBy(email(name)));
  ids[name] = id;
  return id;
}

async function journey(name: string, doing: string): Promise<void> {
  const handle = await engine.start(ids[name] ?? (await enroll(name)));
  await eventually(async () => (await handle.query(progressQuery)).doing === doing);
}

/** Lets the next mail fall due, and tells the journey: a run of its own sends it. */
async function wake(name: string): Promise<void> {
  const id = ids[name] ?? '';
  await engine.db.updateTable('enrollment').set({ next_due_at: new Date() }).where('id', '=', id).execute();
  await signalJourney(engine.client, { enrollmentId: id, outcome: null, signalAt: new Date() });
}

async function listed(query: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { workflowId } of engine.client.workflow.list({ query })) {
    found.push(Object.keys(ids).find((name) => workflowId.endsWith(ids[name] ?? '?')) ?? workflowId);
  }
  return found.sort();
}

/** Visibility is a moment late, and between two runs of a journey it may list neither, so it must say the same twice. */
async function expectListed(query: string, names: string[]): Promise<void> {
  let seen: string[] = [];
  const matches = async () => {
    // The mail that is being refused must not open the circuit breaker, however long this takes.
    await engine.db.deleteFrom('sending_fault').execute();
    seen = await listed(query);
    return seen.join() === names.join();
  };
  const twice = async () => {
    if (!(await matches())) return false;
    await setTimeout(1_000);
    return await matches();
  };
  await eventually(twice).catch(() => expect(seen).toEqual(names));
}

/** Its worker died when the mail was on its way: nobody knows whether it was taken. */
async function doubt(name: string): Promise<void> {
  const key = { enrollmentId: await enroll(name), step: 0, copy: 0 };
  const now = new Date();
  const token = randomUUID();
  await claim(engine.db, { ...key, messageId: `<${token}@correo.example>`, token, moves: 0, now });
  expect(await passGate(engine.db, key, token, now)).toBe(true);
}

async function stop(name: string, outcome: Outcome): Promise<void> {
  const enrollmentId = ids[name] ?? '';
  await stopEnrollments(engine.db, { who: { enrollmentId }, outcome, now: new Date() });
  await signalJourney(engine.client, { enrollmentId, outcome, signalAt: new Date() });
}

test('waiting, retrying a send, held, unknown: each view lists its journeys and no others', async () => {
  await journey('asleep', 'waiting');
  // A run of its own has sent the second mail: what the first run told is not left standing.
  await journey('second', 'waiting');
  await wake('second');
  await journey('ended', 'waiting');
  await stop('ended', 'replied');
  await pauseEnrollment(engine.db, await enroll('held'), new Date());
  await journey('held', 'holding');
  for (const name of ['doubted', 'doubted-second', 'doubted-ended', 'resolved-ended']) {
    await doubt(name);
    await journey(name, 'waiting');
  }
  await wake('doubted-second');
  await stop('doubted-ended', 'unsubscribed');
  // What tells of its fate came later, and then the end, of which the journey learns by looking.
  const { 'resolved-ended': resolved = '' } = ids;
  await engine.db.updateTable('message').set({ state: 'accepted' }).where('enrollment_id', '=', resolved).execute();
  await stopEnrollments(engine.db, {
    who: { enrollmentId: resolved },
    outcome: 'purchased',
    byJourney: true,
    now: new Date(),
  });
  await signalJourney(engine.client, { enrollmentId: resolved, outcome: null, signalAt: new Date() });
  await eventually(() =>
    ['second', 'doubted-second'].every((name) => engine.sink.messages.some(({ to }) => to === email(name))),
  );
  await eventually(() => engine.sink.messages.filter(({ to }) => to === email('second')).length === 2);

  const refused = door();
  engine.sink.faults = {
    onMail: () => {
      void refused.wait();
      throw smtpError(451, '4.3.0 not now');
    },
  };
  const late = await engine.start(await enroll('late'));
  await refused.reached;

  const sleepers = ['asleep', 'doubted', 'doubted-second', 'second'];
  await expectListed(`${OPEN} AND Doing="waiting"`, sleepers);
  await expectListed(`${OPEN} AND Doing="holding"`, ['held']);
  await expectListed(`${OPEN} AND Doing="sending" AND StartTime < "${new Date().toISOString()}"`, ['late']);
  await expectListed(
    `${OPEN} AND Doing="sending" AND StartTime < "${new Date(Date.now() - 300_000).toISOString()}"`,
    [],
  );
  await expectListed(`${OPEN} AND Unknown=true`, ['doubted', 'doubted-second']);
  await expectListed('Unknown=true AND ExecutionStatus="Completed"', ['doubted-ended']);
  await expectListed('Outcome="replied"', ['ended']);
  await expectListed('Outcome="purchased"', ['resolved-ended']);
  await expectListed(`${OPEN} AND CampaignId="${campaignId}"`, [...sleepers, 'held', 'late'].sort());

  // When the server takes mail again, it sleeps like everybody; a resumed one too.
  engine.sink.faults = {};
  // It is tried again after longer and longer pauses.
  await eventually(async () => (await late.query(progressQuery)).doing === 'waiting', 200_000);
  await resumeEnrollment(engine.db, ids.held ?? '', new Date());
  await signalJourney(engine.client, { enrollmentId: ids.held ?? '', outcome: null, signalAt: new Date() });
  await expectListed(`${OPEN} AND Doing="waiting"`, [...sleepers, 'held', 'late'].sort());
  await expectListed(`${OPEN} AND Doing!="waiting"`, []);

  // What turns out to have been accepted is in doubt no longer, from the next touch on.
  const arrived = { state: 'accepted' as const };
  await engine.db
    .updateTable('message')
    .set(arrived)
    .where('enrollment_id', '=', ids.doubted ?? '')
    .execute();
  await wake('doubted');
  await eventually(() => engine.sink.messages.some(({ to }) => to === email('doubted')));
  await expectListed(`${OPEN} AND Unknown=true`, ['doubted-second']);
});
