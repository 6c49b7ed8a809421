import type { CampaignDefinition } from '../domain/campaign';
import { versionOf } from './campaigns';
import type { Db, Tx } from './client';

/** Who writes, and about what: enough to tell a reader whose mail it is. */
export interface SenderNames {
  company: string;
  product: string;
}

/**
 * What the mail of an enrollment was made by: its own version, the campaign's latest one when the enrollment is gone, or null
 * when the campaign is gone too.
 */
export async function definitionBehind(
  db: Db | Tx,
  campaignId: string,
  enrollmentId: string,
): Promise<CampaignDefinition | null> {
  const row = await db
    .selectFrom('campaign as c')
    .leftJoin('enrollment as e', (join) => join.onRef('e.campaign_id', '=', 'c.id').on('e.id', '=', enrollmentId))
    .select((eb) => eb.fn.coalesce('e.version', 'c.latest_version').as('version'))
    .where('c.id', '=', campaignId)
    .executeTakeFirst();
  return row?.version == null ? null : (await versionOf(db, campaignId, row.version)).definition;
}

/** The names that the mail of an enrollment carried (`definitionBehind`). */
export async function senderNames(db: Db, campaignId: string, enrollmentId: string): Promise<SenderNames | null> {
  const definition = await definitionBehind(db, campaignId, enrollmentId);
  return definition === null ? null : { company: definition.sender.legalName, product: definition.product.name };
}
