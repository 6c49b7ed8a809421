import { randomUUID } from 'node:crypto';
import { normaliseAddress } from '../domain/addresses';
import { mayGrant } from '../domain/granting';
import { Problem } from '../domain/problem';
import type { Scope } from '../domain/scopes';
import { type Caller, recordAudit } from './audit';
import { type Db, inTransaction, type Tx } from './client';

/** One who signs in. */
export interface StaffUser {
  id: string;
  email: string;
  name: string;
  roles: Scope[];
  createdAt: Date;
  disabledAt: Date | null;
}

const COLUMNS = ['id', 'email', 'name', 'roles', 'created_at as createdAt', 'disabled_at as disabledAt'] as const;

export interface NewStaffUser {
  /** An address that `parseAddress` took. */
  email: string;
  name: string;
  roles: readonly Scope[];
  passwordHash: string;
  by: Caller;
  now: Date;
}

/** What changes; the rest stays. */
export interface StaffChange {
  name?: string;
  roles?: readonly Scope[];
  disabled?: boolean;
  passwordHash?: string;
}

/**
 * @throws Problem `already-there` when somebody has this address; `forbidden` when they would have more roles than whoever
 * adds them
 */
export async function createStaffUser(db: Db, user: NewStaffUser): Promise<StaffUser> {
  const { by, now } = user;
  mayGrant(by.scopes, user.roles);
  const made = { id: randomUUID(), email: normaliseAddress(user.email), name: user.name, roles: distinct(user.roles) };
  return await inTransaction(db, async (tx) => {
    const { numInsertedOrUpdatedRows } = await tx
      .insertInto('staff_user')
      .values({ ...made, password_hash: user.passwordHash, created_at: now, changed_at: now })
      .onConflict((conflict) => conflict.column('email').doNothing())
      .executeTakeFirstOrThrow();
    if (numInsertedOrUpdatedRows !== 1n) throw new Problem('already-there', 'Somebody has this address already.');
    await recordAudit(tx, { actor: by, action: 'user.created', target: made.id, detail: { roles: made.roles }, now });
    return { ...made, createdAt: now, disabledAt: null };
  });
}

/** Everybody, the newest first, and the disabled with them. */
export async function listStaff(
  db: Db,
  limit: number,
  after: { createdAt: Date; id: string } | null,
): Promise<StaffUser[]> {
  let query = db
    .selectFrom('staff_user')
    .select(COLUMNS)
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit);
  if (after !== null) {
    query = query.where((eb) =>
      eb.or([
        eb('created_at', '<', after.createdAt),
        eb.and([eb('created_at', '=', after.createdAt), eb('id', '<', after.id)]),
      ]),
    );
  }
  return await query.execute();
}

/** @throws Problem `not-found` */
export async function findStaffUser(db: Db, id: string): Promise<StaffUser> {
  const user = await db.selectFrom('staff_user').select(COLUMNS).where('id', '=', id).executeTakeFirst();
  if (user === undefined) throw nobody();
  return user;
}

/** Who has this address, with what their password is checked against; null for nobody, also where they are disabled. */
export async function findForSignIn(db: Db, email: string): Promise<{ id: string; passwordHash: string } | null> {
  const user = await db
    .selectFrom('staff_user')
    .select(['id', 'password_hash as passwordHash'])
    .where('email', '=', normaliseAddress(email))
    .where('disabled_at', 'is', null)
    .executeTakeFirst();
  return user ?? null;
}

/** The id of whoever has this address, disabled or not. @throws Problem `not-found` */
export async function staffIdOf(db: Db, email: string): Promise<string> {
  const user = await db
    .selectFrom('staff_user')
    .select('id')
    .where('email', '=', normaliseAddress(email))
    .executeTakeFirst();
  if (user === undefined) throw nobody();
  return user.id;
}

/**
 * Changes somebody. Who is disabled, or gets a new password, is signed out everywhere in the same transaction.
 *
 * @throws Problem `not-found`; `forbidden` when roles are added that `by` has not, or when somebody with more roles than `by`
 * would get a password that `by` knows
 */
export async function changeStaffUser(
  db: Db,
  id: string,
  change: StaffChange,
  by: Caller,
  now: Date,
): Promise<StaffUser> {
  return await inTransaction(db, async (tx) => {
    const user = await tx.selectFrom('staff_user').select(COLUMNS).where('id', '=', id).forUpdate().executeTakeFirst();
    if (user === undefined) throw nobody();
    const changed: StaffUser = { ...user };
    const record = (action: string, detail: Record<string, unknown> = {}) =>
      recordAudit(tx, { actor: by, action, target: id, detail, now });
    if (change.name !== undefined && change.name !== user.name) {
      changed.name = change.name;
      await record('user.renamed');
    }
    if (change.roles !== undefined) {
      const roles = distinct(change.roles);
      mayGrant(
        by.scopes,
        roles.filter((role) => !user.roles.includes(role)),
      );
      changed.roles = roles;
      await record('user.roles-changed', { from: user.roles, to: roles });
    }
    if (change.passwordHash !== undefined) {
      if (by.id !== id) mayGrant(by.scopes, [...user.roles, ...changed.roles]);
      await record('user.password-changed');
    }
    if (change.disabled !== undefined && change.disabled !== (user.disabledAt !== null)) {
      changed.disabledAt = change.disabled ? now : null;
      await record(change.disabled ? 'user.disabled' : 'user.enabled');
    }
    await store(tx, changed, change.passwordHash, now);
    return changed;
  });
}

async function store(tx: Tx, user: StaffUser, passwordHash: string | undefined, now: Date): Promise<void> {
  const { id, name, roles, disabledAt } = user;
  const password = passwordHash === undefined ? {} : { password_hash: passwordHash, changed_at: now };
  await tx
    .updateTable('staff_user')
    .set({ name, roles, disabled_at: disabledAt, ...password })
    .where('id', '=', id)
    .execute();
  // After the row: whoever signs in at this moment waits for its lock, and then finds what it says now.
  if (passwordHash !== undefined || disabledAt !== null) {
    await tx.deleteFrom('staff_session').where('user_id', '=', id).execute();
  }
}

function distinct(roles: readonly Scope[]): Scope[] {
  return [...new Set(roles)];
}

function nobody(): Problem {
  return new Problem('not-found', 'There is no such person.');
}
