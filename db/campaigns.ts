import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import type { CampaignDefinition, CampaignDraft, CompiledStep, PublishedCampaign } from '../domain/campaign';
import { Problem } from '../domain/problem';
import { type Db, inTransaction, type Tx } from './client';
import { lockSenders, takenSenders } from './transactional-templates';

export interface Campaign {
  id: string;
  draft: CampaignDraft;
  latestVersion: number | null;
  pausedAt: Date | null;
  cancelledAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
}

const COLUMNS = [
  'id',
  'draft',
  'latest_version as latestVersion',
  'paused_at as pausedAt',
  'cancelled_at as cancelledAt',
  'created_at as createdAt',
  'updated_at as updatedAt',
] as const;

export async function createCampaign(db: Db, draft: CampaignDraft): Promise<Campaign> {
  return await db
    .insertInto('campaign')
    .values({ id: randomUUID(), draft: JSON.stringify(draft) })
    .returning(COLUMNS)
    .executeTakeFirstOrThrow();
}

/** @throws Problem `not-found` */
export async function findCampaign(db: Db, id: string): Promise<Campaign> {
  const row = await db.selectFrom('campaign').select(COLUMNS).where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no campaign ${id}`);
  return row;
}

/** A page of campaigns, newest first. @param before the last of the page before */
export async function listCampaigns(
  db: Db,
  limit: number,
  before: { createdAt: Date; id: string } | null,
): Promise<Campaign[]> {
  // In milliseconds, as a cursor holds it: in microseconds, those of the same millisecond would be passed over.
  const created = sql<Date>`date_trunc('milliseconds', created_at)`;
  let query = db.selectFrom('campaign').select(COLUMNS).orderBy(created, 'desc').orderBy('id', 'desc').limit(limit);
  if (before !== null) {
    query = query.where(sql<SqlBool>`(${created}, id) < (${before.createdAt}::timestamptz, ${before.id}::uuid)`);
  }
  return await query.execute();
}

/**
 * Changes the draft: parts that are given replace the old ones, `null` takes a part out. Published versions stay.
 *
 * @throws Problem `not-found`
 */
export async function updateDraft(
  db: Db,
  id: string,
  change: (draft: CampaignDraft) => CampaignDraft,
  now: Date,
): Promise<Campaign> {
  return await inTransaction(db, async (tx) => {
    const row = await tx.selectFrom('campaign').select('draft').where('id', '=', id).forUpdate().executeTakeFirst();
    if (row === undefined) throw new Problem('not-found', `there is no campaign ${id}`);
    return await tx
      .updateTable('campaign')
      .set({ draft: JSON.stringify(change(row.draft)), updated_at: now })
      .where('id', '=', id)
      .returning(COLUMNS)
      .executeTakeFirstOrThrow();
  });
}

/** Adds the next immutable version. @throws Problem `not-found`, `campaign-cancelled`, `not-publishable` */
export async function publishVersion(
  db: Db,
  id: string,
  definition: CampaignDefinition,
  steps: readonly CompiledStep[],
  afterPurchase: readonly CompiledStep[] | null = null,
): Promise<number> {
  return await inTransaction(db, async (tx) => {
    const row = await tx
      .selectFrom('campaign')
      .select(['latest_version', 'cancelled_at'])
      .where('id', '=', id)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined) throw new Problem('not-found', `there is no campaign ${id}`);
    if (row.cancelled_at !== null) throw new Problem('campaign-cancelled', 'a cancelled campaign can not be published');
    await lockSenders(tx);
    const problems = await takenSenders(tx, id, definition);
    if (problems.length > 0) {
      throw new Problem('not-publishable', problems[0]?.detail ?? '', { errors: problems });
    }
    const version = (row.latest_version ?? 0) + 1;
    await tx
      .insertInto('campaign_version')
      .values({
        campaign_id: id,
        version,
        definition: JSON.stringify(definition),
        steps: JSON.stringify(steps),
        after_purchase: afterPurchase === null ? null : JSON.stringify(afterPurchase),
      })
      .execute();
    await tx.updateTable('campaign').set({ latest_version: version }).where('id', '=', id).execute();
    return version;
  });
}

/** Published versions never change, so those in use are kept; the oldest goes when there are too many. */
const versions = new Map<string, PublishedCampaign>();
const MAX_KEPT_VERSIONS = 200;

/** A published version. @throws Problem `not-found` */
export async function versionOf(db: Db | Tx, campaignId: string, version: number): Promise<PublishedCampaign> {
  const key = `${campaignId}/${version}`;
  const kept = versions.get(key);
  if (kept !== undefined) return kept;
  const row = await db
    .selectFrom('campaign_version')
    .select(['definition', 'steps', 'after_purchase'])
    .where('campaign_id', '=', campaignId)
    .where('version', '=', version)
    .executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no version ${version} of campaign ${campaignId}`);
  const { definition, steps, after_purchase: afterPurchase } = row;
  const published = { campaignId, version, definition, steps, afterPurchase };
  const [oldest] = versions.keys();
  if (versions.size >= MAX_KEPT_VERSIONS && oldest !== undefined) versions.delete(oldest);
  versions.set(key, published);
  return published;
}

/** SHA-256 (hex) of what somebody has written into a version, `v`: published again, the same content has the same. */
export const contentDigest = sql<string>`encode(sha256(convert_to(v.definition::text, 'UTF8')), 'hex')`;
