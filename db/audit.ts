import type { Scope } from '../domain/scopes';
import type { Db, Tx } from './client';

/** Who did something: a key, a signed-in person, a command on the machine itself, or Recuerda. */
export interface Actor {
  kind: 'key' | 'user' | 'cli' | 'system';
  /** Of the key or the user; never an address. */
  id: string;
}

/** Codes such as `key.created`, `user.disabled`, `suppression.voided`, `lead.erased`. */
export interface AuditEntry {
  actor: Actor;
  action: string;
  /** The id of what was changed. */
  target: string | null;
  /** Ids, codes and reasons; nothing of a lead. */
  detail?: Record<string, unknown>;
  now: Date;
}

/** Writes down a change to access or to a person's rights, in the transaction that makes it. */
export async function recordAudit(db: Db | Tx, { actor, action, target, detail, now }: AuditEntry): Promise<void> {
  await db
    .insertInto('audit')
    .values({
      at: now,
      actor_kind: actor.kind,
      actor: actor.id,
      action,
      target,
      detail: JSON.stringify(detail ?? {}),
    })
    .execute();
}

/** Somebody who has shown who they are, and what they may do. Nobody gives others more than that. */
export interface Caller extends Actor {
  scopes: readonly Scope[];
}

export interface AuditRecord {
  id: string;
  at: Date;
  actor: Actor;
  action: string;
  target: string | null;
  detail: Record<string, unknown>;
}

/** What was written down, the newest first. @param before only what is older than the record of this id */
export async function listAudit(db: Db, limit: number, before: string | null): Promise<AuditRecord[]> {
  let query = db.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(limit);
  if (before !== null) query = query.where('id', '<', before);
  const rows = await query.execute();
  return rows.map(({ id, at, actor_kind, actor, action, target, detail }) => ({
    id,
    at,
    actor: { kind: actor_kind, id: actor },
    action,
    target,
    detail,
  }));
}
