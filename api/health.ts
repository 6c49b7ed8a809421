import { Type } from 'typebox';
import { journalBacklog } from '../db/journal';
import { isMigrated } from '../db/migrate';
import { pingDb } from '../db/reachability';
import type { Api, ApiContext } from './context';

const PING_MS = 2_000;
/** An entry of the journal that waits for this long (ms) waits for somebody to mend it. */
const JOURNAL_LATE_MS = 60_000;

const Up = Type.Enum(['up', 'down']);
const Readiness = Type.Object({
  status: Type.Enum(['ready', 'not-ready']),
  postgres: Up,
  schema: Type.Enum(['current', 'behind', 'unknown'], {
    description: 'Whether the database has every migration of this release.',
  }),
  draining: Type.Boolean({ description: 'This process is about to stop; requests are still taken.' }),
  temporal: Type.Optional({ ...Up, description: 'While it is down leads and stops are taken, and acted on later.' }),
  mail: Type.String({ description: '`ready`, or why no mail may leave: leads are taken, and wait.' }),
  journal: Type.Enum(['none', 'written', 'behind', 'unknown'], {
    description:
      '`none` is kept; or whether all that was stopped, suppressed and erased more than a minute ago stands in it.',
  }),
});

/**
 * `/healthz` lives as long as the process; `/readyz` as long as what the API promises can be kept, which takes Postgres
 * with this release's schema and nothing else (promise P4), and until the process is told to stop.
 *
 * @param process `pingTemporal` rejects when Temporal can't be reached; `isDraining`: it was told to stop
 */
export function healthRoutes(
  app: Api,
  { db, config, clock }: ApiContext,
  { pingTemporal, isDraining = () => false }: { pingTemporal?: () => Promise<void>; isDraining?: () => boolean },
): void {
  let migrated = false;
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
          'Ready means: Postgres answers, has the schema of this release, and the process is not about to stop. Temporal and mail are told beside it, since neither is needed to accept.',
        security: [],
        response: {
          200: { ...Readiness, description: 'Yes.' },
          503: {
            ...Readiness,
            description: 'Not now: Postgres does not answer, or lacks a migration, or this process is about to stop.',
          },
        },
      },
    },
    async (_request, reply) => {
      const [postgres, temporal] = await Promise.all([
        state(pingDb(db, PING_MS)),
        pingTemporal === undefined ? undefined : state(within(pingTemporal(), PING_MS)),
      ]);
      const schema = postgres === 'up' ? await schemaState() : 'unknown';
      const draining = isDraining();
      const ready = schema === 'current' && !draining;
      return await reply.code(ready ? 200 : 503).send({
        status: ready ? 'ready' : 'not-ready',
        postgres,
        schema,
        draining,
        ...(temporal === undefined ? {} : { temporal }),
        mail: config.mailBlocked === null ? 'ready' : `blocked: ${config.mailBlocked}`,
        journal: config.journal === null ? 'none' : postgres === 'up' ? await journalState() : 'unknown',
      });
    },
  );

  /** Once it is current it stays so: migrations only add. */
  async function schemaState(): Promise<'current' | 'behind' | 'unknown'> {
    try {
      migrated ||= await isMigrated(db);
      return migrated ? 'current' : 'behind';
    } catch {
      return 'unknown';
    }
  }

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
