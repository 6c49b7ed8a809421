const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** For this long after its first try a deferred step is tried again; then it is skipped and the journey goes on. */
export const DEFER_FOR_MS = 5 * 24 * HOUR;

/** Waits after the first, second … temporary refusal of a recipient: greylisting lifts early, a full mailbox late. */
const WAITS = [15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR];
const LONGEST_WAIT = 8 * HOUR;

/**
 * When to try again after a recipient's temporary refusal, or null when its five days are over (RFC 5321 §4.5.4.1).
 *
 * @param attempts how often it has been tried, from 1
 * @param firstTriedAt when it was tried first
 */
export function deferUntil(attempts: number, firstTriedAt: Date, now: Date): Date | null {
  const next = now.getTime() + (WAITS[attempts - 1] ?? LONGEST_WAIT);
  return next - firstTriedAt.getTime() > DEFER_FOR_MS ? null : new Date(next);
}
