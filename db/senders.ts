import { versionOf } from './campaigns';
import type { Db } from './client';

/** Who writes, and about what: enough to tell a reader whose mail it is. */
export interface SenderNames {
  company: string;
  product: string;
}

/**
 * The names that the mail of an enrollment carried: those of its own version, of the campaign's latest one when the
 * enrollment is gone, or null when the campaign is gone too.
 */
export async function senderNames(db: Db, campaignId: string, enrollmentId: string): Promise<SenderNames | null> {
  const row = await db
    .selectFrom('campaign as c')
    .leftJoin('enrollment as e', (join) => join.onRef('e.campaign_id', '=', 'c.id').on('e.id', '=', enrollmentId))
    .select((eb) => eb.fn.coalesce('e.version', 'c.latest_version').as('version'))
    .where('c.id', '=', campaignId)
    .executeTakeFirst();
  if (row === undefined || row.version === null) return null;
  const { definition } = await versionOf(db, campaignId, row.version);
  return { company: definition.sender.legalName, product: definition.product.name };
}
