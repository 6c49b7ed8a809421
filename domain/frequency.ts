import { DateTime, Duration } from 'luxon';

/** At most `mails` marketing mails in `within` (ISO 8601) to one person, across campaigns. */
export interface FrequencyCap {
  mails: number;
  within: string;
}

/** Under which a mail is counted: tried again, it counts once. */
export function countedAs(enrollmentId: string, step: number): string {
  return `${enrollmentId}/${step}`;
}

/** Since when mail counts. @param factor planned time per real time */
export function countedSince(cap: FrequencyCap, now: Date, factor: number): Date {
  return new Date(now.getTime() - withinMs(cap, now, factor));
}

/**
 * When one more mail may be sent to a person.
 *
 * @param recent what was counted of late, by `countedAs`, as ISO 8601 times
 * @param key of the mail that is to be sent, which does not stand in its own way
 * @returns null: now
 */
export function freeAt(
  cap: FrequencyCap,
  recent: Readonly<Record<string, string>>,
  key: string,
  now: Date,
  factor: number,
): Date | null {
  const since = countedSince(cap, now, factor);
  const counted = Object.entries(recent)
    .filter(([other]) => other !== key)
    .map(([, at]) => new Date(at))
    .filter((at) => at > since)
    .sort((a, b) => b.getTime() - a.getTime());
  // Once this one has left the stretch of time that counts, one fewer than allowed are in it.
  const inTheWay = counted[cap.mails - 1];
  return inTheWay === undefined ? null : new Date(inTheWay.getTime() + withinMs(cap, now, factor) + 1);
}

/** The length of the stretch that ends now: months differ. */
function withinMs({ within }: FrequencyCap, now: Date, factor: number): number {
  const end = DateTime.fromJSDate(now, { zone: 'utc' });
  return (end.toMillis() - end.minus(Duration.fromISO(within)).toMillis()) / factor;
}
