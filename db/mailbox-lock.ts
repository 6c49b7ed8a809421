import { Client } from 'pg';

/** The right to read a mailbox. */
export interface MailboxLock {
  /** Aborts when the right is lost: whoever holds it must stop reading at once. */
  lost: AbortSignal;
  /** Gives it back. Safe to call twice. */
  release(): Promise<void>;
}

/** How often the holder shows that it is alive, ms. */
const BEAT_MS = 10_000;
const ANSWER_MS = 10_000;
/** A holder that was not heard of for this long has lost it, though its machine may only have been asleep, ms. */
const SILENT_HOLDER_MS = 45_000;

/**
 * Takes the lock of a mailbox, if nobody has it: a session-level advisory lock of Postgres on a connection of its own, so that
 * it is free again as soon as its holder is gone, however it went. It needs a connection to Postgres itself: a pooler that
 * gives each transaction another one (PgBouncer's `transaction` mode) would give the lock away.
 *
 * Should two processes read a mailbox for a moment all the same, nothing is kept twice: rows are unique.
 *
 * @param url of the database
 * @param options how often the holder is heard of, and for how long it may not be; 10 s and 45 s unless told
 * @returns null when another process has it
 * @throws when Postgres can't be reached
 */
export async function takeMailboxLock(
  url: string,
  mailbox: string,
  options: { beatMs?: number; silentHolderMs?: number } = {},
): Promise<MailboxLock | null> {
  const { beatMs = BEAT_MS, silentHolderMs = SILENT_HOLDER_MS } = options;
  const client = new Client({
    connectionString: url,
    application_name: 'recuerda inbox lock',
    connectionTimeoutMillis: 10_000,
    query_timeout: ANSWER_MS,
    keepAlive: true,
  });
  const lost = new AbortController();
  const onEnd = () => lost.abort(new MailboxLockLost());
  client.on('error', onEnd);
  client.on('end', onEnd);
  let beat: NodeJS.Timeout | undefined;
  let ended: Promise<void> | undefined;
  const end = (): Promise<void> => {
    clearInterval(beat);
    ended ??= client.end().catch(() => {});
    return ended;
  };
  try {
    await client.connect();
    await client.query(`set idle_session_timeout = ${silentHolderMs}`);
    const { rows } = await client.query<{ taken: boolean }>(
      'select pg_try_advisory_lock(hashtextextended($1, 0)) as taken',
      [`recuerda mailbox ${mailbox}`],
    );
    if (rows[0]?.taken !== true) {
      await end();
      return null;
    }
  } catch (error) {
    await end();
    throw error;
  }
  lost.signal.addEventListener('abort', () => void end(), { once: true });
  beat = setInterval(() => client.query('select 1').catch(onEnd), beatMs);
  beat.unref();
  return { lost: lost.signal, release: end };
}

/** The connection that held the lock of a mailbox has ended. */
class MailboxLockLost extends Error {
  readonly code = 'MAILBOX_LOCK_LOST';
  constructor() {
    super('the lock of a mailbox was lost');
  }
}
