import { createDryRun, findMigration, migrateSome, startMigration } from '../../db/campaign-migrations';
import type { Db } from '../../db/client';
import { eventually } from './waiting';

/** A finished dry run, and the migration that follows from it, for the worker to carry out. @returns its id */
export async function beginMigration(db: Db, campaignId: string, toVersion: number): Promise<string> {
  const now = new Date();
  const about = {
    campaignId,
    toVersion,
    fromVersion: null,
    steps: new Map(),
    enrollmentIds: null,
    namesSource: true,
    now,
  };
  const dryRunId = await createDryRun(db, about);
  await eventually(async () => {
    await migrateSome(db, dryRunId, { timeFactor: 1, now: new Date(), limit: 1000 });
    return (await findMigration(db, campaignId, dryRunId)).state === 'completed';
  });
  return await startMigration(db, { campaignId, dryRunId, actor: { kind: 'cli', id: 'tests' }, now: new Date() });
}
