import type { Api } from '../../api/context';
import type { Journeys } from '../../temporal/journeys';
import { apiOn } from '../support/api-on-engine';
import { measureBehindBacklog, told } from '../support/backlog';
import { type Engine, startEngine } from '../support/engine';

// P8: what comes after a backlog and is sent before it. How much it takes longer is for bench/transactional-behind-backlog.ts.

const NUDGES = 1_000;
const MAILS = 20;

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

test(`P8: transactional mails overtake ${NUDGES} nudges that wait behind their limit, and journeys being started`, async () => {
  const { alone, whileStarting, behind, waiting } = await measureBehindBacklog(engine, app, NUDGES, MAILS);
  const lines = [told('alone', alone), told('while journeys start', whileStarting), told(`behind ${waiting}`, behind)];
  process.stderr.write(`  ${lines.join('\n  ')}\n`);
  // Each was posted when the one before had arrived, and all have, before the nudges that had been there longer. Had they
  // shared the nudges' limit, these would have taken ten seconds each, longer than a test may.
  expect([alone, whileStarting, behind].map((delays) => delays.length)).toEqual([MAILS, MAILS, MAILS]);
  expect(waiting).toBeGreaterThan(NUDGES * 0.9);
});
