import type { Workload } from '../bench';
import { withCpu } from '../bench';
import { until, untold } from '../ledger';
import { importLeads, publishCampaign } from '../shop';

const PATIENCE_MS = 120_000;

/** Rows a second of one file through the API, from the upload to the last line dealt with; journeys start meanwhile. */
export const imports: Workload = {
  name: 'imports',
  run: async ({ shop, db, stack, sizes, say }) => {
    const campaignId = await publishCampaign(shop, 'imports');
    const { result, cpuMs } = await withCpu(stack, sizes.rows, () => importLeads(shop, campaignId, sizes.rows));
    // What has not been sent by now would be in the way of what is measured next.
    await shop.post(`/v1/campaigns/${campaignId}/cancel`, {});
    say('imports: the campaign was cancelled; waiting until its journeys have been told');
    await until(0, async () => -(await untold(db)), { everyMs: 1_000, patienceMs: PATIENCE_MS });
    return [
      {
        workload: 'imports',
        what: 'import rows/s, upload to done',
        value: (sizes.rows * 1000) / result.ms,
        unit: '/s',
        more: { rows: sizes.rows, seconds: result.ms / 1000, cpuMsEach: cpuMs },
      },
    ];
  },
};
