import type { CampaignDefinition, CampaignDraft } from '../domain/campaign';
import { loadExample } from '../examples/load';
import { type Apis, call } from './client';

/** Nobody is erased by time alone while an audit is still to come. */
const KEPT = 'P10Y';

/**
 * Publishes the example campaign, all eight mails of it, over HTTP.
 *
 * @param change what is to be different
 */
export async function publishCampaign(
  apis: Apis,
  change: Partial<Pick<CampaignDefinition, 'cadence' | 'sendWindow'>> = {},
): Promise<{
  campaignId: string;
  definition: Pick<CampaignDefinition, 'cadence' | 'sendWindow' | 'timeZone'>;
  steps: number;
}> {
  const example = loadExample('en');
  const erasure = {
    afterExhausted: KEPT,
    afterUnsubscribed: KEPT,
    afterBounced: KEPT,
    afterComplained: KEPT,
    afterInformed: KEPT,
    afterCancelled: KEPT,
    afterReplied: KEPT,
    afterPurchased: KEPT,
  };
  const draft: CampaignDraft = { ...example, ...change, erasure };
  const { cadence, sendWindow, timeZone, steps } = draft;
  if (cadence === undefined || sendWindow === undefined || timeZone === undefined || steps === undefined)
    throw new Error('the example campaign is not complete');
  const created = await call<{ id: string }>(apis, '/v1/campaigns', { method: 'POST', body: draft });
  if (!created.ok) throw new Error(`the campaign was refused: ${JSON.stringify(created.body)}`);
  const published = await call(apis, `/v1/campaigns/${created.body.id}/publish`, { method: 'POST' });
  if (!published.ok) throw new Error(`the campaign was not published: ${JSON.stringify(published.body)}`);
  return { campaignId: created.body.id, definition: { cadence, sendWindow, timeZone }, steps: steps.length };
}
