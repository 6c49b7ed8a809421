import { findCampaign, versionOf } from '../db/campaigns';
import type { Db } from '../db/client';
import {
  CAMPAIGN_DEFAULTS,
  type CampaignDefinition,
  type CampaignDraft,
  type CompiledStep,
  contentOf,
  endStep,
  firstBuyerStep,
  type PublishedCampaign,
  type PublishProblem,
} from '../domain/campaign';
import { Problem } from '../domain/problem';
import { compileBuyers, compileCampaign, preparePublication } from '../mail/compose/compile';
import { invalidField } from './problems';

/** One step, ready to be filled. */
export interface StepContent {
  definition: Omit<CampaignDefinition, 'steps'>;
  compiled: CompiledStep;
  stepCount: number;
  /** What still keeps the draft from being published, elsewhere than in this step. */
  problems: PublishProblem[];
}

/**
 * A campaign as it is published, or as its draft would be.
 *
 * @throws Problem `not-found`, or `not-publishable` where the draft has problems
 */
export async function wholeContent(
  db: Db,
  campaignId: string,
  version: number | 'draft',
  now: Date,
): Promise<Omit<PublishedCampaign, 'version'>> {
  if (version !== 'draft') return await versionOf(db, campaignId, version);
  const prepared = await preparePublication((await findCampaign(db, campaignId)).draft, now);
  if ('problems' in prepared) throw notPublishable(prepared.problems);
  return { campaignId, ...prepared };
}

/**
 * One step of a version, or of the draft: there it is enough that this step is sound, so that one can look at it while
 * the rest is still being written.
 *
 * @throws Problem `not-found`, `invalid-request` where there is no such step, `not-publishable`
 */
export async function stepContent(
  db: Db,
  campaignId: string,
  version: number | 'draft',
  step: number,
  now: Date,
): Promise<StepContent> {
  if (version !== 'draft') {
    const published = await versionOf(db, campaignId, version);
    return stepOf(published.definition, published.steps, step, []);
  }
  const { draft } = await findCampaign(db, campaignId);
  const prepared = await preparePublication(draft, now);
  if ('steps' in prepared) return stepOf(prepared.definition, prepared.steps, step, []);
  const { problems } = prepared;
  const given = draft.steps?.[step];
  if (given === undefined) throw noSuchStep(step, draft.steps?.length ?? 0);
  const definition = completed(draft);
  const { afterPurchase: _, ...toLeads } = definition;
  const alone = await compileCampaign({ ...toLeads, steps: [given] });
  const [compiled] = 'steps' in alone ? alone.steps : [];
  if (compiled === undefined) throw notPublishable(problems);
  return { definition, compiled, stepCount: draft.steps?.length ?? 0, problems };
}

/**
 * One mail to buyers of a version, or of the draft: there it is enough that all of these are sound.
 *
 * @throws Problem `not-found`, `invalid-request` where there is no such step, `not-publishable`
 */
export async function buyerStepContent(
  db: Db,
  campaignId: string,
  version: number | 'draft',
  step: number,
  now: Date,
): Promise<StepContent> {
  if (version !== 'draft') return buyerStepOf(await versionOf(db, campaignId, version), step, []);
  const { draft } = await findCampaign(db, campaignId);
  const prepared = await preparePublication(draft, now);
  if ('steps' in prepared) return buyerStepOf(prepared, step, []);
  const { problems } = prepared;
  if (problems.some(({ pointer }) => pointer.startsWith('/afterPurchase'))) throw notPublishable(problems);
  const definition = completed(draft);
  const alone = await compileBuyers(definition);
  if ('problems' in alone) throw notPublishable(problems);
  return buyerStepOf({ definition, afterPurchase: alone.steps }, step, problems);
}

function buyerStepOf(
  { definition, afterPurchase }: { definition: StepContent['definition']; afterPurchase: CompiledStep[] | null },
  step: number,
  problems: PublishProblem[],
): StepContent {
  const compiled = contentOf({ definition, steps: [], afterPurchase }, 'buyer', step);
  if (compiled !== undefined)
    return { definition, compiled, stepCount: endStep({ definition, steps: [] }, 'buyer'), problems };
  const { afterPurchase: mails } = definition;
  const has =
    mails === undefined
      ? 'has none'
      : `has the steps ${firstBuyerStep(mails)} to ${endStep({ definition, steps: [] }, 'buyer') - 1}`;
  throw invalidField('/step', `there is no step ${step} for buyers: the campaign ${has} (step 0 is the thanks)`);
}

function stepOf(
  definition: CampaignDefinition,
  steps: readonly CompiledStep[],
  step: number,
  problems: PublishProblem[],
): StepContent {
  const compiled = steps[step];
  if (compiled === undefined) throw noSuchStep(step, steps.length);
  return { definition, compiled, stepCount: steps.length, problems };
}

function noSuchStep(step: number, stepCount: number): Problem {
  const has = stepCount === 0 ? 'has no steps yet' : `has the steps 0 to ${stepCount - 1}`;
  return invalidField('/step', `there is no step ${step}: the campaign ${has}`);
}

/** The refusal to publish, or to go on without what is missing. @param problems at least one */
export function notPublishable(problems: readonly PublishProblem[]): Problem {
  const [first] = problems;
  const detail =
    problems.length === 1 && first !== undefined
      ? `${placeOf(first)}: ${first.detail}`
      : `${problems.length} things keep this campaign from being published; \`errors\` lists them`;
  return new Problem('not-publishable', detail, { errors: problems });
}

function placeOf({ pointer, line, column }: PublishProblem): string {
  return line === undefined ? pointer : `${pointer}, line ${line}, column ${column ?? 1}`;
}

/** A draft with marks in place of what it does not say yet. */
function completed(draft: CampaignDraft): Omit<CampaignDefinition, 'steps'> {
  return {
    ...CAMPAIGN_DEFAULTS,
    product: { name: '[product.name]', url: 'https://product.example/' },
    ...draft,
    sender: {
      name: '[sender.name]',
      address: 'sender@example.com',
      replyTo: 'sender@example.com',
      legalName: '[sender.legalName]',
      postalAddress: '[sender.postalAddress]',
      privacyUrl: 'https://privacy.example/',
      ...draft.sender,
    },
  };
}
