import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Db } from '../../db/client';
import type { Bench, Workload } from '../bench';
import { whenReached } from '../engine';
import { type InformedLead, informOne, putToSleep } from '../informed';
import { acceptedOf, until } from '../ledger';
import { median, percentile } from '../numbers';
import { publishCampaign } from '../shop';

const PATIENCE_MS = 120_000;
/** So many purchases a second while the herd is on its way. */
const STOPS_A_SECOND = 5;
/** On a slow machine the workflow tasks of a crowd last longer than its mails. */
const CLOSING_MS = 20 * 60_000;
/** All of them fall due within this time (ms), one after the other. */
const DUE_WITHIN_MS = 60_000;
const CHECKED = 200;

/** Leads that fall due in one minute, many more than a limit lets through: how well it is kept, and stops meanwhile. */
export const herd: Workload = {
  name: 'herd',
  run: async (bench) => {
    const { sizes, shop, db, client, say } = bench;
    const campaignId = await publishCampaign(shop, 'herd');
    const like = await informOne(bench, campaignId);
    const first = Date.now() + (sizes.herd * 1000) / sizes.herdStarts + 30_000;
    say(`herd: ${sizes.herd} leads go to sleep until ${new Date(first).toISOString()}`);
    const dueAt = (number: number) => new Date(first + (number * DUE_WITHIN_MS) / sizes.herd);
    const leads = await putToSleep(bench, campaignId, { count: sizes.herd, dueAt, like });
    const sample = leads.filter((_, index) => index % Math.ceil(leads.length / CHECKED) === 0);
    await whenReached(
      client,
      sample.map(({ id }) => `lead-journey/${id}`),
      'timer-started',
      first - Date.now(),
    ).catch((error: unknown) => {
      throw new Error('they fell due before all of them slept: give a smaller --herd-starts', { cause: error });
    });

    await shop.put('/v1/sending/limits', { marketing: { perSecond: sizes.herdRate } });
    try {
      await sleep(Math.max(0, first - Date.now()));
      say(`herd: ${sizes.herd} leads fall due, ${sizes.herdRate} mails a second may leave`);
      const stopping = new AbortController();
      const stops = stopSome(bench, leads, stopping.signal);
      let stopped = 0;
      await until(
        sizes.herd,
        async () => {
          stopped = await stoppedOf(db, campaignId);
          return (await acceptedOf(db, campaignId, 1)) + stopped;
        },
        { everyMs: 1_000, patienceMs: PATIENCE_MS },
      );
      stopping.abort();
      const answers = await stops;
      const closed = await closings(bench, answers);
      const seconds = await perSecondOf(db, campaignId);
      const tens = inTens(seconds);
      if (tens.length === 0)
        throw new Error('the herd was over within ten seconds: give it more leads, or a lower rate');
      return [
        {
          workload: 'herd',
          what: `mails/s of ${sizes.herd.toLocaleString('en')} leads due in a minute, limit ${sizes.herdRate}/s`,
          value: median(tens),
          unit: '/s in 10 s',
          rounds: tens,
          budget: `≤ ${sizes.herdRate}/s`,
          // One more: a mail may leave at the very beginning of ten seconds, and another at their end.
          met: Math.max(...tens) * 10 <= sizes.herdRate * 10 * 1.01 + 1,
          more: {
            perSecond: { min: Math.min(...seconds), median: median(seconds), max: Math.max(...seconds) },
            seconds: seconds.length,
            sent: await acceptedOf(db, campaignId, 1),
            stoppedBefore: stopped,
          },
        },
        {
          workload: 'herd',
          what: 'stop acknowledged meanwhile, p99',
          value: percentile(
            answers.map(({ ms }) => ms),
            0.99,
          ),
          unit: 'ms',
          budget: '< 250 ms',
          met:
            percentile(
              answers.map(({ ms }) => ms),
              0.99,
            ) < 250,
          more: {
            stops: answers.length,
            p50: percentile(
              answers.map(({ ms }) => ms),
              0.5,
            ),
          },
        },
        {
          workload: 'herd',
          what: 'journey closed after its stop, meanwhile, p99',
          value: percentile(closed, 0.99),
          unit: 'ms',
          budget: '< 1 s',
          met: percentile(closed, 0.99) < 1000,
          more: { p50: percentile(closed, 0.5) },
        },
      ];
    } finally {
      await shop.put('/v1/sending/limits', {});
    }
  },
};

interface StopAnswer {
  workflowId: string;
  /** How long the answer took (ms), and when it came (ms since the epoch). */
  ms: number;
  at: number;
}

/** Buys in the name of those who still wait, the last in line first, until told to stop. */
async function stopSome({ shop }: Bench, leads: readonly InformedLead[], signal: AbortSignal): Promise<StopAnswer[]> {
  const answers: StopAnswer[] = [];
  const running: Promise<void>[] = [];
  for (const [index, { id, email }] of leads.toReversed().entries()) {
    if (signal.aborted || index >= leads.length / 2) break;
    running.push(
      shop.post('/v1/purchases', { email, orderId: `herd-${index}` }).then(({ ms }) => {
        answers.push({ workflowId: `lead-journey/${id}`, ms, at: Date.now() });
      }),
    );
    await sleep(1000 / STOPS_A_SECOND, undefined, { signal }).catch(() => {});
  }
  await Promise.all(running);
  return answers;
}

/** How long after its answer each journey had closed (ms). */
async function closings({ client }: Bench, answers: readonly StopAnswer[]): Promise<number[]> {
  const closed = await whenReached(
    client,
    answers.map(({ workflowId }) => workflowId),
    'closed',
    CLOSING_MS,
  );
  return closed.map((at, index) => at - (answers[index]?.at ?? 0));
}

async function stoppedOf(db: Db, campaignId: string): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from enrollment e where campaign_id = ${campaignId} and outcome = 'purchased'
      and not exists (select from message m where m.enrollment_id = e.id and m.step = 1 and m.state = 'accepted')`.execute(
    db,
  );
  return rows[0]?.n ?? 0;
}

/** Mails that passed the gate in each second, the first and the last left out: they are no whole ones. */
async function perSecondOf(db: Db, campaignId: string): Promise<number[]> {
  const { rows } = await sql<{ second: number; n: number }>`
    select floor(extract(epoch from m.handing_over_at))::int as second, count(*)::int as n
    from message m join enrollment e on e.id = m.enrollment_id
    where e.campaign_id = ${campaignId} and m.step = 1 and m.state = 'accepted' group by 1 order by 1`.execute(db);
  const counts = new Map(rows.map(({ second, n }) => [second, n]));
  const [start, end] = [rows[0]?.second ?? 0, rows.at(-1)?.second ?? 0];
  return Array.from({ length: Math.max(0, end - start - 1) }, (_, index) => counts.get(start + 1 + index) ?? 0);
}

/** Means over ten seconds each, whole ones only. */
function inTens(seconds: readonly number[]): number[] {
  return Array.from({ length: Math.floor(seconds.length / 10) }, (_, index) =>
    seconds.slice(index * 10, index * 10 + 10).reduce((sum, count) => sum + count / 10, 0),
  );
}
