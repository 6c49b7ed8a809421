import { findMigration } from '../../db/campaign-migrations';
import { definitionForTests, publishAgainForTests, publishForTests, stepsForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';
import { beginMigration } from '../support/migrating';
import { eventually } from '../support/waiting';

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine('time-skipping');
});
afterAll(async () => {
  await engine.stop();
});

const version = (...names: string[]) =>
  definitionForTests(0, { steps: stepsForTests(...names), cadence: { min: 'P2M', max: 'P3M' } });
const subjectsTo = (email: string) =>
  engine.sink.messages.filter((message) => message.to === email).map((message) => message.subject);

/** Leads go their way; just when one of them is about to get a certain mail, all are moved to version 2. */
async function moved(first: string[], second: string[], at: { email: string; mail: number }, campaignId?: string) {
  const { db, sink } = engine;
  const id = campaignId ?? (await publishForTests(db, version(...first)));
  let seen = 0;
  let migrationId = '';
  sink.faults = {
    onRcpt: async (to) => {
      if (to !== at.email || seen++ !== at.mail) return;
      await publishAgainForTests(db, id, version(...second));
      migrationId = await beginMigration(db, id, 2);
      // The loop of the worker carries it out; what is claimed at this moment is taken back by it.
      await eventually(async () => (await findMigration(db, id, migrationId)).state === 'completed');
    },
  };
  return { id, migration: () => findMigration(db, id, migrationId) };
}

test('P3 a lead in the middle of the journey is moved to a version with a step more, one less, and two in another order', async () => {
  const email = 'ana@correo.example';
  const first = ['info', 'a', 'b', 'c', 'd'];
  // The third mail, b, is claimed and on its way to the server when it is taken out.
  const { id, migration } = await moved(first, ['info', 'x', 'a', 'd', 'y', 'c'], { email, mail: 2 });
  const enrollmentId = await enrollForTests(engine.db, id, requestBy(email));
  expect(await engine.run(enrollmentId)).toEqual({ outcome: 'exhausted', step: 5 });
  expect(await migration()).toMatchObject({
    results: { moved: 1 },
    changes: { added: 1, dropped: 1, 'passed-over': 1 },
  });
  expect(subjectsTo(email)).toEqual(['info', 'a', 'd', 'y', 'c']);
  const messages = await engine.db
    .selectFrom('message')
    .select(['step', 'state', 'settled_at', 'message_id'])
    .where('enrollment_id', '=', enrollmentId)
    .orderBy('step')
    .execute();
  expect(messages.map(({ step, state }) => `${step} ${state}`)).toEqual(
    [0, 1, 2, 3, 4].map((step) => `${step} accepted`),
  );
  expect(new Set(messages.map((message) => message.message_id)).size).toBe(5);
  // P10: two to three months between them, across the move too.
  const days = messages.slice(1).map(({ settled_at: at }, before) => {
    const last = messages[before]?.settled_at;
    return ((at?.getTime() ?? 0) - (last?.getTime() ?? 0)) / 86_400_000;
  });
  expect(Math.min(...days)).toBeGreaterThanOrEqual(58);
  expect(Math.max(...days)).toBeLessThanOrEqual(93);
});

test('a lead who had everything and waits for nothing more goes on where the new version has more', async () => {
  const [early, late] = ['eva@correo.example', 'leo@correo.example'];
  const id = await publishForTests(engine.db, version('info', 'a'));
  await moved(['info', 'a'], ['info', 'a', 'z'], { email: late, mail: 0 }, id);
  const first = await enrollForTests(engine.db, id, requestBy(early));
  // Hers is under way beside his: his first mail finds her somewhere on hers, or done with it.
  const handle = await engine.start(first);
  await eventually(() => subjectsTo(early).length >= 1);
  const second = await enrollForTests(engine.db, id, requestBy(late));
  expect(await engine.run(second)).toEqual({ outcome: 'exhausted', step: 3 });
  expect(await handle.result()).toEqual({ outcome: 'exhausted', step: 3 });
  expect([subjectsTo(early), subjectsTo(late)]).toEqual([
    ['info', 'a', 'z'],
    ['info', 'a', 'z'],
  ]);
});
