import { createHash, randomBytes } from 'node:crypto';
import type { Scope } from '../domain/scopes';
import { recordAudit } from './audit';
import { type Db, inTransaction } from './client';

const TOKEN_BYTES = 32;
const HOUR_MS = 60 * 60_000;
/** A session that nobody used for this long (ms) is over. */
export const IDLE_MS = 12 * HOUR_MS;
/** And every session after this long (ms). */
export const LONGEST_MS = 7 * 24 * HOUR_MS;
/** The last use is written no more often than this (ms). */
const USED_EVERY_MS = 60_000;

/** Who has signed in. */
export interface Session {
  userId: string;
  email: string;
  name: string;
  roles: Scope[];
  createdAt: Date;
  /** When it ends at the latest. */
  expiresAt: Date;
}

/**
 * Begins a session for somebody whose password was just found right.
 *
 * @param passwordHash what the password was checked against: when it has changed meanwhile, there is no session
 * @returns the token for the cookie, of which only the hash is kept; null when the person may sign in no more
 */
export async function beginSession(
  db: Db,
  { userId, passwordHash, now }: { userId: string; passwordHash: string; now: Date },
): Promise<{ token: string; expiresAt: Date } | null> {
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  const expiresAt = new Date(now.getTime() + LONGEST_MS);
  return await inTransaction(db, async (tx) => {
    const user = await tx
      .selectFrom('staff_user')
      .select('id')
      .where('id', '=', userId)
      .where('password_hash', '=', passwordHash)
      .where('disabled_at', 'is', null)
      .forUpdate()
      .executeTakeFirst();
    if (user === undefined) return null;
    await tx
      .insertInto('staff_session')
      .values({ hash: digest(token), user_id: userId, created_at: now, last_used_at: now, expires_at: expiresAt })
      .execute();
    await recordAudit(tx, { actor: { kind: 'user', id: userId }, action: 'session.begun', target: null, now });
    return { token, expiresAt };
  });
}

/** Whose session it is, while it lasts; and notes that it was used. Roles are as they are now. */
export async function useSession(db: Db, token: string, now: Date): Promise<Session | null> {
  const hash = digest(token);
  const found = await db
    .selectFrom('staff_session as s')
    .innerJoin('staff_user as u', 'u.id', 's.user_id')
    .select(['s.user_id as userId', 'u.email', 'u.name', 'u.roles', 's.created_at as createdAt'])
    .select(['s.expires_at as expiresAt', 's.last_used_at'])
    .where('s.hash', '=', hash)
    .where('s.expires_at', '>', now)
    .where('s.last_used_at', '>', new Date(now.getTime() - IDLE_MS))
    .where('u.disabled_at', 'is', null)
    .executeTakeFirst();
  if (found === undefined) return null;
  const { last_used_at, ...session } = found;
  const noted = new Date(now.getTime() - USED_EVERY_MS);
  if (last_used_at <= noted) {
    await db
      .updateTable('staff_session')
      .set({ last_used_at: now })
      .where('hash', '=', hash)
      .where('last_used_at', '<=', noted)
      .execute();
  }
  return session;
}

/** Signs out here; other sessions of the same person go on. */
export async function endSession(db: Db, token: string): Promise<void> {
  await db.deleteFrom('staff_session').where('hash', '=', digest(token)).execute();
}

/** Forgets sessions that are over. */
export async function forgetSessions(db: Db, now: Date): Promise<void> {
  await db
    .deleteFrom('staff_session')
    .where((eb) => eb.or([eb('expires_at', '<=', now), eb('last_used_at', '<=', new Date(now.getTime() - IDLE_MS))]))
    .execute();
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
