import { Type } from 'typebox';
import { journalBacklog } from '../db/journal';
import { pingDb } from '../db/reachability';
import type { Api, ApiContext } from './context';

const PING_MS = 2_000;
/** An entry of the journal that waits for this long (ms) waits for somebody to mend it. */
const JOURNAL_LATE_MS = 60_000;

const Up = Type.Enum(['up', 'down']);
const Readiness = Type.Object({
  status: Type.Enum(['ready', 'not-ready']),
  postgres: Up,
  temporal: Type.Optional({ ...Up, description: 'While it is down leads and stops are taken, and acted on later.' }),
  mail: Type.String({ description: '`ready`, or why no mail may leave: leads are taken, and wait.' }),
  journal: Type.Enum(['none', 'written', 'behind', 'unknown'], {
    description:
      '`none` is kept; or whether all that was stopped, suppressed and erased more than a minute ago stands in it.',
  }),
});

/**
 * `/healthz` lives as long as the process; `/readyz` as long as what the API promises can be kept, which takes Postgres
 * and nothing else (promise P4).
 *
 * @param pingTemporal rejects when Temporal can't be reached
 */
export function healthRoutes(app: Api, { db, config, clock }: ApiContext, pingTemporal?: () => Promise<void>): void {
  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'getHealth',
        tags: ['health'],
        summary: 'Is the process alive?',
        description: 'Always 200. A supervisor that gets no answer may restart the process.',
        security: [],
        response: { 200: Type.Object({ status: Type.Literal('ok') }, { description: 'It is.' }) },
      },
    },
    async () => ({ status: 'ok' as const }),
  );

  app.get(
    '/readyz',
    {
      schema: {
        operationId: 'getReadiness',
        tags: ['health'],
        summary: 'Can requests be sent here?',
        description:
          'Ready means: Postgres answers. Temporal and mail are told beside it, since neither is needed to accept.',
        security: [],
        response: {
          200: { ...Readiness, description: 'Yes.' },
          503: { ...Readiness, description: 'Not now: Postgres does not answer.' },
        },
      },
    },
    async (_request, reply) => {
      const [postgres, temporal] = await Promise.all([
        state(pingDb(db, PING_MS)),
        pingTemporal === undefined ? undefined : state(within(pingTemporal(), PING_MS)),
      ]);
      return await reply.code(postgres === 'up' ? 200 : 503).send({
        status: postgres === 'up' ? 'ready' : 'not-ready',
        postgres,
        ...(temporal === undefined ? {} : { temporal }),
        mail: config.mailBlocked === null ? 'ready' : `blocked: ${config.mailBlocked}`,
        journal: config.journal === null ? 'none' : postgres === 'up' ? await journalState() : 'unknown',
      });
    },
  );

  async function journalState(): Promise<'written' | 'behind' | 'unknown'> {
    try {
      const { since } = await journalBacklog(db);
      return since !== null && clock().getTime() - since.getTime() > JOURNAL_LATE_MS ? 'behind' : 'written';
    } catch {
      return 'unknown';
    }
  }
}

async function state(asked: Promise<void>): Promise<'up' | 'down'> {
  return await asked.then(
    () => 'up' as const,
    () => 'down' as const,
  );
}

async function within(asked: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    await Promise.race([asked, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
