import pino from 'pino';
import { buildApp } from '../../api/app';
import type { Api } from '../../api/context';
import { createJourneys, type Journeys } from '../../temporal/journeys';
import { type Engine, silent } from './engine';
import { publishedDns } from './published-dns';

/** The API on an engine that runs, as in production. Whoever makes it closes `app`, and waits until `journeys` has settled. */
export async function apiOn(engine: Engine): Promise<{ app: Api; journeys: Journeys }> {
  const { db, config, client } = engine;
  const journeys = createJourneys(client, db, silent);
  const logger = pino({ level: 'silent' });
  const app = await buildApp({ db, journeys, config, clock: () => new Date(), dns: publishedDns({}), logger });
  return { app, journeys };
}
