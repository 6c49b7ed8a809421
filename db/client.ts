import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient, sql, type Transaction } from 'kysely';
import { Pool, types } from 'pg';
import type { Database } from './schema';

export type Db = Kysely<Database>;
export type Tx = Transaction<Database>;

export interface DbOptions {
  url: string;
  /** The most connections this process may hold. */
  maxConnections: number;
  /** Told of faults on idle connections, which otherwise would end the process. */
  onError: (error: Error) => void;
  /** How long a statement may take (ms), and wait for a lock; a minute, and as long, where they are left out. 0: as long as it takes. */
  statementMs?: number;
  lockMs?: number;
}

/** A statement that hangs must not hold a lead's row lock, nor a caller, for longer than this (ms). */
const STATEMENT_MS = 60_000;
/** A server that has vanished answers nothing at all; so long (ms) after the time of a statement the connection is given up here. */
const SILENCE_MS = 5_000;

/** What node-postgres says then. */
export const READ_TIMEOUT = 'Query read timeout';

/** A pool of Postgres connections. Times are read and written as UTC instants. */
export function createDb(options: DbOptions): Db {
  const { statementMs = STATEMENT_MS, lockMs = 0 } = options;
  const pool = new Pool({
    connectionString: options.url,
    max: options.maxConnections,
    types: TYPES,
    connectionTimeoutMillis: 10_000,
    statement_timeout: statementMs,
    lock_timeout: lockMs,
    query_timeout: statementMs === 0 ? 0 : statementMs + SILENCE_MS,
    keepAlive: true,
    idle_in_transaction_session_timeout: 60_000,
    application_name: 'recuerda',
  });
  pool.on('error', options.onError);
  // The pool listens to idle connections only. One that is lost while it is lent out tells whoever uses it, and without a
  // listener of its own would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool: preparing(pool) }) });
  pools.set(db, { pool, most: options.maxConnections });
  return db;
}

const pools = new WeakMap<Db, { pool: Pool; most: number }>();

/** How busy a pool of `createDb` is: connections lent out, open and idle, allowed at most, and callers in line for one. */
export function poolLoad(db: Db): { inUse: number; idle: number; most: number; waiting: number } {
  const known = pools.get(db);
  if (known === undefined) return { inUse: 0, idle: 0, most: 0, waiting: 0 };
  const { pool, most } = known;
  return { inUse: pool.totalCount - pool.idleCount, idle: pool.idleCount, most, waiting: pool.waitingCount };
}

/**
 * Marks a statement that is prepared: one that every mail runs, whose plan costs Postgres more than running it. It goes by
 * primary keys, so a plan for any value is a plan for all.
 */
export const PREPARED = sql`/* prepared */`;

/** The pool, with connections that run marked statements by name, so that each parses and plans them once. */
function preparing(pool: Pool): PostgresPool {
  const names = new Map<string, string>();
  const nameOf = (text: string) => {
    const name = names.get(text) ?? `prepared_${names.size}`;
    names.set(text, name);
    return name;
  };
  return {
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect();
      let given = true;
      const giveBack = (broken: boolean) => {
        if (given) client.release(broken);
        given = false;
      };
      // Kysely hands over text and values, and for its streams, which nothing here uses, a cursor.
      const query = async (text: string, values: unknown[]) => {
        try {
          return await client.query(
            text.includes('/* prepared */') ? { name: nameOf(text), text, values } : { text, values },
          );
        } catch (error) {
          // node-postgres gives up the query only. The connection would be lent out again, and each who gets it, the rollback
          // first, would wait for as long.
          if ((error as Error).message === READ_TIMEOUT) giveBack(true);
          throw error;
        }
      };
      return { query, release: () => giveBack(false) } as unknown as PostgresPoolClient;
    },
  };
}

/** A `date` stays the text that it is: as a Date it would be midnight in the zone of this machine, and often another day. */
const DATE_OID = 1082;
const TYPES = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === DATE_OID && format !== 'binary'
      ? (value: string) => value
      : types.getTypeParser(oid, format as 'text')) as typeof types.getTypeParser,
};

const RETRYABLE = new Set(['40P01', '40001']);

/** Runs a transaction, and again (up to five times) when Postgres ended it for a deadlock or a serialisation failure. */
export async function inTransaction<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await db.transaction().execute(work);
    } catch (error) {
      if (attempt >= 5 || !RETRYABLE.has((error as { code?: string }).code ?? '')) throw error;
    }
  }
}
