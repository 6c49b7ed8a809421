/** The three streams of mail. They never meet: each has its own queue, SMTP settings, limits and From. */
export const STREAMS = ['transactional', 'requested', 'marketing'] as const;
export type Stream = (typeof STREAMS)[number];

/** The stream that carries a step of a campaign: the initial information was asked for, everything after it is marketing. */
export function streamOfStep(step: number): Extract<Stream, 'requested' | 'marketing'> {
  return step === 0 ? 'requested' : 'marketing';
}
