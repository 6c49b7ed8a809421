import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { mayGrant } from '../domain/granting';
import { Problem } from '../domain/problem';
import type { Scope } from '../domain/scopes';
import { type Caller, recordAudit } from './audit';
import { type Db, inTransaction } from './client';

/** A key as it is shown, without the key. */
export interface ApiKey {
  id: string;
  name: string;
  /** How the key begins, to tell keys apart by. */
  prefix: string;
  scopes: Scope[];
  createdAt: Date;
  /** To the minute; null while it was never used. */
  lastUsedAt: Date | null;
  revokedAt: Date | null;
}

const COLUMNS = [
  'id',
  'name',
  'prefix',
  'scopes',
  'created_at as createdAt',
  'last_used_at as lastUsedAt',
  'revoked_at as revokedAt',
] as const;

const SECRET_BYTES = 32;
const PREFIX_LENGTH = 9;
/** The last use is written no more often than this (ms). */
const USED_EVERY_MS = 60_000;

/**
 * Makes a key. Only its hash is kept: SHA-256 suffices, since 256 random bits can't be guessed.
 *
 * @returns the key itself too, which is known at no later time
 * @throws Problem `forbidden` when it would have more scopes than whoever makes it
 */
export async function createApiKey(
  db: Db,
  { name, scopes, by, now }: { name: string; scopes: readonly Scope[]; by: Caller; now: Date },
): Promise<ApiKey & { key: string }> {
  mayGrant(by.scopes, scopes);
  const key = `rk_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  const id = randomUUID();
  const made = { id, name, prefix: key.slice(0, PREFIX_LENGTH), scopes: [...new Set(scopes)] };
  await inTransaction(db, async (tx) => {
    await tx
      .insertInto('api_key')
      .values({ ...made, hash: digest(key), created_at: now, created_by: `${by.kind}:${by.id}` })
      .execute();
    await recordAudit(tx, { actor: by, action: 'key.created', target: id, detail: { scopes: made.scopes }, now });
  });
  return { ...made, createdAt: now, lastUsedAt: null, revokedAt: null, key };
}

/** All keys, the newest first, and the revoked ones with them. */
export async function listApiKeys(
  db: Db,
  limit: number,
  after: { createdAt: Date; id: string } | null,
): Promise<ApiKey[]> {
  let query = db.selectFrom('api_key').select(COLUMNS).orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit);
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

/**
 * Takes a key's rights away, from the next request on. Doing it again changes nothing.
 *
 * @throws Problem `not-found`
 */
export async function revokeApiKey(db: Db, id: string, by: Caller, now: Date): Promise<ApiKey> {
  return await inTransaction(db, async (tx) => {
    const key = await tx.selectFrom('api_key').select(COLUMNS).where('id', '=', id).forUpdate().executeTakeFirst();
    if (key === undefined) throw new Problem('not-found', 'There is no such key.');
    if (key.revokedAt !== null) return key;
    await tx.updateTable('api_key').set({ revoked_at: now }).where('id', '=', id).execute();
    await recordAudit(tx, { actor: by, action: 'key.revoked', target: id, now });
    return { ...key, revokedAt: now };
  });
}

/** Whose key it is, unless nobody's or revoked; and notes that it was used. */
export async function useApiKey(db: Db, key: string, now: Date): Promise<{ id: string; scopes: Scope[] } | null> {
  const hash = digest(key);
  const found = await db
    .selectFrom('api_key')
    .select(['id', 'scopes', 'hash', 'last_used_at'])
    .where('hash', '=', hash)
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  // The index compares hashes, of which a guess of a key tells nothing; this compares them in constant time.
  if (found === undefined || !timingSafeEqual(found.hash, hash)) return null;
  const noted = new Date(now.getTime() - USED_EVERY_MS);
  if (found.last_used_at === null || found.last_used_at <= noted) {
    await db
      .updateTable('api_key')
      .set({ last_used_at: now })
      .where('id', '=', found.id)
      .where((eb) => eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<=', noted)]))
      .execute();
  }
  return { id: found.id, scopes: found.scopes };
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
