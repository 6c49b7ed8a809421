import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { Problem } from '../domain/problem';
import { lockAddresses } from './addresses';
import { type Actor, recordAudit } from './audit';
import { type Db, inTransaction, type Tx } from './client';
import { recordEvents } from './events';
import { appendEvidence } from './evidence';
import { noteForJournal } from './journal';

export type SuppressionKind = 'objection' | 'complaint' | 'undeliverable' | 'campaign';

const KINDS: readonly SuppressionKind[] = ['objection', 'complaint', 'undeliverable', 'campaign'];

/**
 * Who lifted it: the person by a confirmed request of their own, somebody in charge of privacy because it was entered in
 * error, or a sign that the address works.
 */
export type LiftedBy = 'person' | 'privacy' | 'proof-of-life';

/**
 * Keeps that an address was suppressed, once for each kind (and campaign) at a time; an earlier one stays as it is.
 *
 * @returns false when it was known
 */
export async function keepSuppression(
  tx: Tx,
  suppression: {
    /** Of the address row. */
    addressHash: string;
    /** Of the address, under every key that is known. */
    hashes: readonly string[];
    kind: SuppressionKind;
    campaignId: string | null;
    by: string;
    now: Date;
  },
): Promise<boolean> {
  const { addressHash, hashes, kind, campaignId, by, now } = suppression;
  const { rows } = await sql`
    insert into suppression (id, address_hash, kind, campaign_id, since, by)
    select ${randomUUID()}, ${addressHash}, ${kind}, ${campaignId}::uuid, ${now}::timestamptz, ${by}
    where not exists (
      select from suppression where address_hash = any(${[addressHash, ...hashes]}::text[]) and kind = ${kind}
        and lifted_at is null and campaign_id is not distinct from ${campaignId}::uuid
    )
    returning id`.execute(tx);
  return rows.length > 0;
}

export interface Lift {
  /** Of the address, under every key (`hashAddress`). */
  hashes: readonly [string, ...string[]];
  by: LiftedBy;
  /** Why, in words, where somebody decided it. */
  because: string | null;
  /** Only these; all where it is left out. */
  kinds?: readonly SuppressionKind[];
  /** Of the kind `campaign` only that of this one; of all where it is left out or null. */
  campaignId?: string | null;
  /** It stands in the journal already. */
  replayed?: boolean;
  now: Date;
}

/**
 * Lifts suppressions of an address, in the caller's transaction, in which nothing is locked yet that comes after addresses.
 * Their rows stay, with who lifted them; a weaker one that stood behind a lifted one holds again. Who may lift what is the
 * caller's to know: an objection or a complaint only the person, or `privacy` where it was an error.
 *
 * @returns what was lifted, each kind once; empty when nothing stood against the address
 */
export async function liftSuppressions(tx: Tx, lift: Lift): Promise<SuppressionKind[]> {
  const { hashes, by, because, kinds = KINDS, now } = lift;
  const campaignId = lift.campaignId ?? null;
  const { rows: some } = await sql<{ any: boolean }>`
    select exists (select from suppression where address_hash = any(${hashes}::text[]) and lifted_at is null) as any`.execute(
    tx,
  );
  if (some[0]?.any !== true) return [];
  await lockAddresses(tx, [hashes]);
  const { rows: lifted } = await sql<{ kind: SuppressionKind; campaign_id: string | null }>`
    update suppression set lifted_at = ${now}, lifted_by = ${by}, lifted_because = ${because}
    where address_hash = any(${hashes}::text[]) and lifted_at is null and kind = any(${kinds}::text[])
      and (${lift.replayed !== true} or since <= ${now}) -- what came after that lift stays
      and (kind <> 'campaign' or ${campaignId}::uuid is null or campaign_id = ${campaignId}::uuid)
    returning kind, campaign_id`.execute(tx);
  if (lifted.length === 0) return [];
  await alignAddress(tx, hashes);
  const reasons = KINDS.filter((kind) => lifted.some((one) => one.kind === kind));
  if (reasons.includes('undeliverable')) {
    // Counted before it was known to work.
    await sql`delete from soft_bounce where address_hash = any(${hashes}::text[])`.execute(tx);
  }
  const leads = await tx
    .selectFrom('lead')
    .select('id')
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .execute();
  const campaignIds = lifted.flatMap((one) => (one.campaign_id === null ? [] : [one.campaign_id]));
  await appendEvidence(
    tx,
    leads.map(({ id }) => ({
      leadId: id,
      kind: 'lifted' as const,
      at: now,
      detail: { reasons, campaignIds, by, because },
    })),
  );
  if (lift.replayed !== true) {
    await noteForJournal(tx, [{ kind: 'lift', hashes: [...hashes], reasons, campaignId, by }], now);
  }
  await recordEvents(
    tx,
    leads.map(({ id }) => ({
      at: now,
      leadId: id,
      enrollmentId: null,
      kind: 'suppression-lifted' as const,
      detail: { reasons, campaignIds, by },
    })),
  );
  return reasons;
}

/** Makes what holds now, the columns that a claim looks at, what the rows that are not lifted say. */
async function alignAddress(tx: Tx, hashes: readonly string[]): Promise<void> {
  await sql`
    with standing as (
      select kind, campaign_id, since from suppression
      where address_hash = any(${hashes}::text[]) and lifted_at is null
    ), against_marketing as (
      -- A complaint weighs more than an objection.
      select kind, since from standing where kind in ('objection', 'complaint') order by kind = 'complaint' desc, since limit 1
    )
    update address set
      suppressed_reason = (select kind from against_marketing),
      suppressed_at = (select since from against_marketing),
      undeliverable_at = (select min(since) from standing where kind = 'undeliverable'),
      suppressed_campaigns = array(select distinct campaign_id from standing where kind = 'campaign' and campaign_id is not null)
    where hash = any(${hashes}::text[])`.execute(tx);
}

/** One suppression that there is, or was. */
export interface SuppressionView {
  kind: SuppressionKind;
  campaignId: string | null;
  since: Date;
  /** How it came about, as a code. */
  by: string;
  liftedAt: Date | null;
  liftedBy: LiftedBy | null;
  liftedBecause: string | null;
}

/** All that was ever kept against mail to an address, the latest first. @param hashes as `hashAddress` returns them */
export async function suppressionsOf(db: Db, hashes: readonly string[]): Promise<SuppressionView[]> {
  return await db
    .selectFrom('suppression')
    .select([
      'kind',
      'campaign_id as campaignId',
      'since',
      'by',
      'lifted_at as liftedAt',
      'lifted_by as liftedBy',
      'lifted_because as liftedBecause',
    ])
    .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
    .orderBy('since', 'desc')
    .orderBy('id')
    .execute();
}

/** The address that is known under a hash; null where we have none, or have it no more. */
export async function leadEmailOf(db: Db, hash: string): Promise<string | null> {
  const lead = await db.selectFrom('lead').select('email').where('address_hash', '=', hash).executeTakeFirst();
  return lead?.email ?? null;
}

/**
 * Takes back a suppression that was entered in error: the one thing that staff may do to an objection or a complaint. The
 * row stays, with the reason, and it is written down who did it.
 *
 * @throws Problem `not-found`
 */
export async function voidSuppression(
  db: Db,
  wrong: {
    hashes: readonly [string, ...string[]];
    kind: SuppressionKind;
    campaignId: string | null;
    because: string;
    actor: Actor;
    now: Date;
  },
): Promise<void> {
  const { hashes, kind, campaignId, because, actor, now } = wrong;
  await inTransaction(db, async (tx) => {
    const lifted = await liftSuppressions(tx, { hashes, by: 'privacy', because, kinds: [kind], campaignId, now });
    if (lifted.length === 0) throw new Problem('not-found', `no suppression of the kind ${kind} stands against it`);
    const rows = await tx
      .selectFrom('suppression')
      .select('id')
      .where('address_hash', '=', sql<string>`any(${hashes}::text[])`)
      .where('kind', '=', kind)
      .where('lifted_at', '=', now)
      .execute();
    for (const { id } of rows) {
      await recordAudit(tx, {
        actor,
        action: 'suppression.voided',
        target: id,
        detail: { kind, campaignId, reason: because },
        now,
      });
    }
  });
}
