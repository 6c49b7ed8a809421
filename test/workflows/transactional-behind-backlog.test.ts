import type { Api } from '../../api/context';
import type { Journeys } from '../../temporal/journeys';
import { apiOn } from '../support/api-on-engine';
import { measureBehindBacklog, medianOf, told, worstOf } from '../support/backlog';
import { type Engine, startEngine } from '../support/engine';

// P8 with as many nudges as the dev server starts in reasonable time; bench/transactional-behind-backlog.ts has the 10,000.

jest.setTimeout(240_000);

const NUDGES = 3_000;
const MAILS = 20;
const ADDED_MS = 1_000;

let engine: Engine;
let journeys: Journeys;
let app: Api;
beforeAll(async () => {
  engine = await startEngine('real-time');
  ({ app, journeys } = await apiOn(engine));
});
afterAll(async () => {
  await app.close();
  await journeys.settled();
  await engine.stop();
});

test(`P8 ${NUDGES} nudges that wait behind their limit add less than a second to transactional mail`, async () => {
  const { alone, whileStarting, behind, waiting } = await measureBehindBacklog(engine, app, NUDGES, MAILS);
  const lines = [told('alone', alone), told('while journeys start', whileStarting), told(`behind ${waiting}`, behind)];
  process.stderr.write(`  ${lines.join('\n  ')}\n`);
  // They did wait, or this test has proved nothing.
  expect(waiting).toBeGreaterThan(NUDGES * 0.7);
  expect(medianOf(whileStarting) - medianOf(alone)).toBeLessThan(ADDED_MS);
  expect(medianOf(behind) - medianOf(alone)).toBeLessThan(ADDED_MS);
  expect(worstOf(behind) - medianOf(alone)).toBeLessThan(ADDED_MS);
});
