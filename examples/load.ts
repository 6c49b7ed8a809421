import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { CampaignDraft } from '../domain/campaign';

type Step = NonNullable<CampaignDraft['steps']>[number];

/** A complete campaign to start from, ready to be published: `campaign.json` and one MJML file for each step. */
export function loadExample(language: 'es' | 'en'): CampaignDraft {
  const folder = path.join(__dirname, language);
  const campaign = JSON.parse(readFileSync(path.join(folder, 'campaign.json'), 'utf8')) as Omit<
    CampaignDraft,
    'steps'
  > & { steps: Omit<Step, 'mjml'>[] };
  const steps = campaign.steps.map((step, index) => ({
    ...step,
    mjml: readFileSync(path.join(folder, `${index}.mjml`), 'utf8'),
  }));
  return { ...campaign, steps };
}
