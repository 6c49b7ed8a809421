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
  /** Which edition of them: a form's version, or the sender's own. */
  textVersion?: string | undefined;
  capturedAt: Date;
  /** Which form, file or conversation it came from. */
  source: string;
  ip?: string | undefined;
  userAgent?: string | undefined;
  /** The line of an imported file that it came with, and the file's SHA-256 (hex), by which its owner can show it. */
  file?: { importId: string; line: number; sha256: string | null } | undefined;
}

/**
 * What a shop recorded when it sold something (LSSI art. 21.2): only who was offered a way out then, and did not take it, may be
 * written to about similar products of its own without a consent.
 */
export interface SoftOptIn {
  optOutOffered: boolean;
  optedOut: boolean;
  /** Which edition of the notice was shown. */
  noticeVersion: string;
  /** Which of the shop's products count as similar. */
  productGroup: string;
}
