import type { Outcome } from '../domain/outcomes';
import { grid } from './table';

/** What the API tells of a campaign as a whole; the parts that the funnel shows. */
export interface FunnelStats {
  enrolled: number;
  outcomes: Partial<Record<Outcome, number>>;
  steps: { step: number; accepted: number; ended: Partial<Record<Outcome, number>> }[];
}

const COLUMNS: readonly [Outcome, string][] = [
  ['purchased', 'bought'],
  ['replied', 'replied'],
  ['unsubscribed', 'unsubscribed'],
  ['informed', 'informed only'],
  ['exhausted', 'never answered'],
];

/** A campaign's funnel: for each step how many mails went out, and how many leads ended after it, and how. */
export function funnel({ enrolled, outcomes, steps }: FunnelStats): string {
  const counts = (of: Partial<Record<Outcome, number>>) => COLUMNS.map(([outcome]) => of[outcome] ?? 0);
  return grid(
    ['step', 'mails', ...COLUMNS.map(([, label]) => label)],
    [
      ...steps.map(({ step, accepted, ended }) => [
        step === 0 ? 'information' : `nudge ${step}`,
        accepted,
        ...counts(ended),
      ]),
      [`${enrolled} leads`, steps.reduce((sum, { accepted }) => sum + accepted, 0), ...counts(outcomes)],
    ],
  );
}
