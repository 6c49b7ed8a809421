import type { JourneyKind } from './journeys';

/** The three streams of mail. They never meet: each has its own queue, SMTP settings, limits and From. */
export const STREAMS = ['transactional', 'requested', 'marketing'] as const;
export type Stream = (typeof STREAMS)[number];

/**
 * The stream that carries a step of a journey. What a lead asked for is `requested`, the thanks to a buyer, in which nothing is
 * offered, is `transactional`; both are step 0. Everything after is marketing.
 */
export function streamOfStep(step: number, journey: JourneyKind = 'lead'): Stream {
  if (step > 0) return 'marketing';
  return journey === 'lead' ? 'requested' : 'transactional';
}
