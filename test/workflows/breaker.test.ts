import { sql } from 'kysely';
import { lastAlerts, listPauses, pauseSending, resumeSending } from '../../db/breaker';
import { stopEnrollments } from '../../db/stops';
import { journeyWorkflowId, type LeadJourney, progressQuery } from '../../workflows/contract';
import { publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { smtpError } from '../support/smtp-sink';
import { eventually } from '../support/waiting';

let engine: Engine;
let campaignId: string;

beforeAll(async () => {
  engine = await startEngine('real-time');
  campaignId = await publishForTests(engine.db);
});
afterEach(() => {
  engine.sink.faults = {};
});
afterAll(() => engine.stop());

const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);

async function enrolled(email: string): Promise<string> {
  const id = await enrollForTests(engine.db, campaignId, requestBy(email));
  await engine.start(id);
  return id;
}

async function doing(id: string): Promise<string | undefined> {
  const handle = engine.client.workflow.getHandle<LeadJourney>(journeyWorkflowId(id));
  return (await handle.query(progressQuery).catch(() => undefined))?.doing;
}

async function heldFor(id: string): Promise<string | null> {
  const row = await engine.db
    .selectFrom('enrollment')
    .select('held_for')
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
  return row.held_for;
}

const probeNow = () => sql`update sending_pause set probe_at = now() - interval '1 second'`.execute(engine.db);

test('a server that refuses us stops the stream: all are held, one tries, and once it is taken all go out', async () => {
  let attempts = 0;
  let refusing = true;
  engine.sink.faults = {
    onMail: () => {
      attempts += 1;
      if (refusing) throw smtpError(550, '5.7.1 this account is suspended');
    },
  };
  const people = ['una', 'dos', 'tres', 'cuatro'].map((name) => `${name}@correo.example`);
  const ids: string[] = [];
  for (const email of people) ids.push(await enrolled(email));
  for (const id of ids) {
    await eventually(async () => (await doing(id)) === 'holding');
    expect(await heldFor(id)).toBe('requested:*');
  }
  expect((await listPauses(engine.db)).map(({ stream, provider, code }) => [stream, provider, code])).toEqual([
    ['requested', '*', '550 5.7.1'],
  ]);
  const [alert] = await lastAlerts(engine.db, 1);
  expect(alert).toMatchObject({ kind: 'stopped', reason: 'refused', detail: { code: '550 5.7.1', phase: 'mail' } });
  const before = attempts;
  expect(before).toBeLessThanOrEqual(people.length);

  // A probe that is refused: one more attempt, and all are held again.
  await probeNow();
  await eventually(async () => (await listPauses(engine.db))[0]?.probes === 1);
  await eventually(async () => (await Promise.all(ids.map(heldFor))).every((held) => held === 'requested:*'));
  expect(attempts).toBe(before + 1);

  // P2: who stops while held is not among those who go out.
  const [stopped, ...others] = ids as [string, ...string[]];
  await stopEnrollments(engine.db, { who: { enrollmentId: stopped }, outcome: 'replied', now: new Date() });
  refusing = false;
  await probeNow();
  for (const id of others) await eventually(async () => (await doing(id)) === 'waiting');
  expect(people.map((email) => mailsTo(email).length)).toEqual([0, 1, 1, 1]);
  expect(await listPauses(engine.db)).toEqual([]);
  expect((await lastAlerts(engine.db, 1))[0]).toMatchObject({ kind: 'resumed', reason: 'probe' });
  await eventually(async () => (await heldFor(stopped)) === null);
});

test('paused by hand: only that provider is held, until somebody resumes it', async () => {
  await pauseSending(engine.db, { streams: ['requested'], provider: 'gmail', now: new Date() });
  const held = await enrolled('alguien@googlemail.com');
  const free = await enrolled('alguien@outlook.com');
  await eventually(async () => (await doing(held)) === 'holding');
  await eventually(async () => (await doing(free)) === 'waiting');
  expect(mailsTo('alguien@googlemail.com')).toEqual([]);
  await resumeSending(engine.db, { stream: 'requested', provider: 'gmail', now: new Date() });
  await eventually(async () => (await doing(held)) === 'waiting');
  expect(mailsTo('alguien@googlemail.com')).toHaveLength(1);
});
