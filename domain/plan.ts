import { endStep, type PublishedCampaign } from './campaign';
import type { JourneyKind } from './journeys';

// A lead's own numbering: position 0 is the information, position n the n-th nudge to this very lead. The ledger, Message-IDs
// and workflows count positions. As long as nobody has moved the lead to another version, position n is step n of its version;
// afterwards its plan tells which step of which version each position is.

/** A step of a version. */
export interface VersionStep {
  version: number;
  step: number;
}

/** One position: what it was when its mail went out, or is going to be. */
export interface PlannedStep extends VersionStep {
  /** What counts as the same mail in the versions that the lead was moved to since. */
  as?: VersionStep[];
}

/** Every position of a moved lead, those behind it too; null where it was never moved. */
export type Plan = PlannedStep[];

/** The position after the last mail: where a late answer is waited for. */
export function endPosition(plan: Plan | null, campaign: Parameters<typeof endStep>[0], journey: JourneyKind): number {
  return plan === null ? endStep(campaign, journey) : plan.length;
}

/** The step of the enrollment's version that a position is. Asked for again, the information is that of today's version. */
export function stepAt(plan: Plan | null, position: number): number {
  return position === 0 ? 0 : (plan?.[position]?.step ?? position);
}

/** The version under which a position's mail went out, or is going to: the enrollment's own where nobody moved the lead. */
export function versionAt(plan: Plan | null, position: number, version: number): number {
  return plan?.[position]?.version ?? version;
}

/** The positions of a lead, spelled out. */
export function positionsOf(plan: Plan | null, version: Pick<PublishedCampaign, 'version' | 'steps'>): PlannedStep[] {
  return plan ?? version.steps.map((_, step) => ({ version: version.version, step }));
}
