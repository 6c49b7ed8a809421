import { sql } from 'kysely';
import { type Db, READ_TIMEOUT } from './client';

/**
 * Asks Postgres for an answer.
 *
 * @throws when there is none within `timeoutMs`
 */
export async function pingDb(db: Db, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Postgres did not answer within ${timeoutMs} ms`)), timeoutMs);
  });
  const asked = sql`select 1`.execute(db).then(() => {});
  // When the timeout wins, what becomes of the question no longer matters.
  asked.catch(() => {});
  try {
    await Promise.race([asked, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

const NETWORK_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
]);

/** SQLSTATEs: shutting down or starting up, no connection left, a statement or transaction that took too long. */
const AWAY_STATES = new Set(['57P01', '57P02', '57P03', '53300', '57014', '25P03']);

/** node-postgres gives these no code. */
const DRIVER_MESSAGES = [
  'timeout exceeded when trying to connect',
  'Connection terminated',
  'Client was closed and is not queryable',
  READ_TIMEOUT,
  'Client has encountered a connection error',
];

/** Does this error mean that Postgres is away for the moment, rather than that something is wrong with the request? */
export function isUnreachable(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (typeof code === 'string') {
    return NETWORK_CODES.has(code) || AWAY_STATES.has(code) || /^08[0-9A-Z]{3}$/.test(code);
  }
  return typeof message === 'string' && DRIVER_MESSAGES.some((beginning) => message.startsWith(beginning));
}
