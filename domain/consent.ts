/**
 * Purposes a consent can name. Only the first kind allows nudges; a consent to receive the information, or none, gets
 * the information and ends as `informed` (promise P7).
 */
export const NUDGE_PURPOSES = ['nudges', 'follow-up', 'marketing'] as const;
export const INFORMATION_PURPOSES = ['information'] as const;
export const PURPOSES = [...NUDGE_PURPOSES, ...INFORMATION_PURPOSES] as const;
export type Purpose = (typeof PURPOSES)[number];

/** Does a consent to this purpose allow nudges? */
export function allowsNudges(purpose: string): boolean {
  return (NUDGE_PURPOSES as readonly string[]).includes(purpose);
}

/** Evidence that a person agreed to a purpose (GDPR art. 7.1). */
export interface ConsentEvidence {
  purpose: Purpose;
  /** The exact words that were agreed to. */
  text: string;
  capturedAt: Date;
  /** Which form, file or conversation it came from. */
  source: string;
  ip?: string | undefined;
  userAgent?: string | undefined;
}
