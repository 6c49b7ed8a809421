/** How an enrollment can end. A journey that has ended has exactly one of these, and never changes it. */
export const OUTCOMES = [
  'purchased',
  'replied',
  'unsubscribed',
  'bounced',
  'complained',
  'exhausted',
  'informed',
  'cancelled',
  'erased',
] as const;

export type Outcome = (typeof OUTCOMES)[number];
