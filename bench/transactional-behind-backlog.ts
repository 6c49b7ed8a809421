import pino from 'pino';
import { buildApp } from '../api/app';
import { createJourneys } from '../temporal/journeys';
import { measureBehindBacklog, medianOf, told, worstOf } from '../test/support/backlog';
import { silent, startEngine } from '../test/support/engine';
import globalSetup from '../test/support/global-setup';
import globalTeardown from '../test/support/global-teardown';
import { publishedDns } from '../test/support/published-dns';

// Promise P8 in full: `npx tsx bench/transactional-behind-backlog.ts [NUDGES]`. How long invoices take from the request to
// the mail server alone, while 10,000 journeys are being started, and behind their 10,000 nudges.

async function main(): Promise<void> {
  // A few go out while the others are being started; more than 10,000 are left.
  const nudges = Number(process.argv[2] ?? 11_000);
  await globalSetup();
  const engine = await startEngine('real-time');
  const journeys = createJourneys(engine.client, engine.db, silent);
  const { db, config } = engine;
  const logger = pino({ level: 'silent' });
  const app = await buildApp({ db, journeys, config, clock: () => new Date(), dns: publishedDns({}), logger });
  const { alone, whileStarting, behind, waiting, startedInMs } = await measureBehindBacklog(engine, app, nudges, 20);
  console.log(told('alone', alone));
  console.log(told('while journeys start', whileStarting));
  console.log(told(`behind ${waiting} nudges (started in ${Math.round(startedInMs / 1000)} s)`, behind));
  const added = { median: medianOf(behind) - medianOf(alone), worst: worstOf(behind) - medianOf(alone) };
  console.log(`added: median ${Math.round(added.median)} ms, worst ${Math.round(added.worst)} ms; allowed 1000 ms`);
  if (added.worst >= 1_000) process.exitCode = 1;
  await app.close();
  await journeys.settled();
  await engine.stop();
  await globalTeardown();
}

main().then(
  () => process.exit(),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
