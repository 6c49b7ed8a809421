import { userInfo } from 'node:os';
import { readDatabaseUrl } from '../config';
import type { Caller } from '../db/audit';
import { createDb, type Db } from '../db/client';
import { Problem } from '../domain/problem';
import { SCOPES, type Scope } from '../domain/scopes';
import { homeOf, readStackInfo } from './home';

/** What a command that works on the database is given. */
export interface DatabaseCommand {
  env: NodeJS.ProcessEnv;
  /** The checkout, where a stack of this machine keeps its home. */
  root: string;
  output: { write(text: string): unknown };
}

/** A refusal that is told in words, without where in the code it came from. */
export class CommandRefused extends Error {}

/**
 * Does something on the database of DATABASE_URL, or of the stack that runs on this machine.
 *
 * @returns the exit code; what was refused is told on stderr
 */
export async function onDatabase({ env, root }: DatabaseCommand, work: (db: Db) => Promise<void>): Promise<number> {
  const url = readDatabaseUrl(env) ?? readStackInfo(homeOf(env, root))?.databaseUrl;
  if (url === undefined) {
    console.error('Set DATABASE_URL, or run npx recuerda start first.');
    return 1;
  }
  const db = createDb({ url, maxConnections: 2, onError: () => {} });
  try {
    await work(db);
    return 0;
  } catch (error) {
    if (!(error instanceof Problem || error instanceof CommandRefused)) throw error;
    console.error(error.message);
    return 1;
  } finally {
    await db.destroy();
  }
}

/** Whoever can reach the database may do everything; the audit log names the machine's user. */
export function atTheMachine(): Caller {
  return { kind: 'cli', id: nameOfUser(), scopes: SCOPES };
}

/** Reads scopes as they are given on the command line. @throws CommandRefused naming those that there are none of */
export function scopesIn(text: string): Scope[] {
  const words = text.split(',').map((word) => word.trim());
  const unknown = words.filter((word) => !SCOPES.some((scope) => scope === word));
  if (unknown.length > 0) {
    throw new CommandRefused(`${unknown.join(', ') || 'An empty word'}: there are ${SCOPES.join(', ')}.`);
  }
  return SCOPES.filter((scope) => words.includes(scope));
}

function nameOfUser(): string {
  try {
    return userInfo().username;
  } catch {
    // In containers the user may have no name.
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}
