import { loadExample } from '../examples/load';
import { type ApiAccess, callApi } from './own-api';

/** A campaign as the API lists it; what is needed of it here. */
export interface ListedCampaign {
  id: string;
  name: string;
  locale?: string;
  state: 'draft' | 'published' | 'paused' | 'cancelled';
}

/**
 * Where there is no campaign at all, creates and publishes the examples, so that there is something to enroll leads in.
 *
 * @returns the newest campaigns, those of the examples among them where they are new
 */
export async function offerExamples(api: ApiAccess, signal: AbortSignal): Promise<ListedCampaign[]> {
  const known = await listCampaigns(api, signal);
  if (known.length > 0) return known;
  for (const language of ['en', 'es'] as const) {
    const { id } = await callApi<{ id: string }>(api, 'POST', '/v1/campaigns', loadExample(language), signal);
    await callApi(api, 'POST', `/v1/campaigns/${id}/publish`, undefined, signal);
  }
  return await listCampaigns(api, signal);
}

/** The newest campaigns, the newest first. */
async function listCampaigns(api: ApiAccess, signal: AbortSignal): Promise<ListedCampaign[]> {
  return (await callApi<{ items: ListedCampaign[] }>(api, 'GET', '/v1/campaigns?limit=6', undefined, signal)).items;
}
