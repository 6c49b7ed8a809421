import { type Config, readConfig } from '../config';
import { createDb } from '../db/client';
import { noteAudit, noticeRestore, RestoredDatabase } from '../db/restored';
import { partiesOf } from '../domain/campaign';
import { OperatorError } from '../domain/operator-error';
import { mailIdentity } from '../mail/compose/identity';
import { type AuditOptions, type AuditReport, activeWorkers, audit } from '../temporal/audit';
import { createTemporalClient, temporalOptions } from '../temporal/client';

export interface AuditCommandOptions {
  mend?: boolean;
  restored?: boolean;
  force?: boolean;
  json?: boolean;
}

/** A worker asks for work at least once in this time (s), so one that was seen longer ago is gone. */
const WORKER_GONE_S = 70;

/**
 * `recuerda audit`: compares what Postgres and Temporal know of every journey, mail and request, and with `--mend` makes them
 * agree. Running it again changes nothing.
 *
 * @returns the exit code: 0 when they agree, 1 when differences remain
 * @throws OperatorError when it would not be safe
 */
export async function runAudit(
  env: NodeJS.ProcessEnv,
  options: AuditCommandOptions,
  out: { write(text: string): unknown },
): Promise<number> {
  const { mend = false, force = false, json = false } = options;
  const config = readConfig(env);
  const db = createDb({ url: config.databaseUrl, maxConnections: 10, onError: () => {} });
  const client = createTemporalClient(temporalOptions(config));
  try {
    const restored = await noticeRestore(db, config.journal);
    if (mend && !force && restored?.behindJournal) throw new RestoredDatabase(true);
    const [seen = null] = await activeWorkers(client, new Date());
    if (mend && !force && seen !== null && seen < WORKER_GONE_S) throw new OperatorError(workersAreUp(seen));
    const report = await audit({
      client,
      db,
      messageIdOf: messageIdsOf(config),
      timeFactor: config.timeFactor,
      counted: config.frequencyCap !== null,
      mend,
      restored: options.restored === true || restored !== null,
      evenIfOld: force,
      now: new Date(),
    });
    const left = report.differences.filter(({ mended }) => !mended).length;
    if (mend && left === 0) await noteAudit(db);
    out.write(
      json ? `${JSON.stringify({ ...report, lastWorkerSeenSeconds: seen, left })}\n` : textOf(report, mend, seen),
    );
    return left === 0 ? 0 : 1;
  } finally {
    await client.connection.close();
    await db.destroy();
  }
}

/** The same Message-IDs that `sendStep` gives, so that what comes back about such a mail is known again. */
export function messageIdsOf({
  replyAddress,
  tokenKeys,
}: Pick<Config, 'replyAddress' | 'tokenKeys'>): AuditOptions['messageIdOf'] {
  return ({ enrollmentId, journey, step, copy }, campaign) =>
    mailIdentity({ kind: 'enrollment', id: enrollmentId, step, copy }, partiesOf(campaign.definition, journey, step), {
      returnPath: null,
      replyAddress,
      tokenKeys,
    }).messageId;
}

function workersAreUp(seconds: number): string {
  return (
    `A worker asked for work ${seconds} s ago: stop every worker first, since they change what is being compared. One that has ` +
    `stopped is forgotten after ${WORKER_GONE_S} s; --force goes on all the same`
  );
}

function textOf(
  { compared, forgotten, differences, databaseOf, retentionDays }: AuditReport,
  mend: boolean,
  seen: number | null,
): string {
  const lines = differences.map(({ kind, workflowId, detail, mended, because }) => {
    const facts = Object.entries(detail).map(
      ([name, value]) => `${name}=${value instanceof Date ? value.toISOString() : value}`,
    );
    const end = mended ? 'mended' : because === undefined ? '' : `left: ${because}`;
    return `${kind.padEnd(14)} ${workflowId} ${facts.join(' ')} ${end}`.trimEnd();
  });
  const left = differences.filter(({ mended }) => !mended).length;
  const gone = forgotten.journeys + forgotten.mails + forgotten.requests;
  const running = seen !== null && seen < WORKER_GONE_S;
  return [
    ...lines,
    `Compared ${compared.journeys} journeys, ${compared.mails} mails and ${compared.requests} requests. The database last did something at ${databaseOf?.toISOString() ?? 'no time'}; the engine remembers what has ended for ${retentionDays} days.`,
    ...(gone === 0
      ? []
      : [
          `${forgotten.journeys} journeys, ${forgotten.mails} mails and ${forgotten.requests} requests came and went of which the database knows nothing.`,
        ]),
    ...(running && differences.length > 0
      ? [`A worker asked for work ${seen} s ago, so some of this may only have been under way.`]
      : []),
    `${differences.length} differences${mend ? `, ${differences.length - left} mended` : ''}.${left > 0 && !mend ? ' Nothing was changed: --mend does that, with no worker running.' : ''}`,
    '',
  ].join('\n');
}
