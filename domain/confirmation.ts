/** How a request by a form ended; `erased`: nothing is known of it any more. */
export type RequestEnd = 'confirmed' | 'expired' | 'withdrawn' | 'erased';

/** What one mail that asks for a confirmation is made of. */
export interface ConfirmationStory {
  /** Language of the mail and of its page, BCP 47. */
  locale: string;
  /** Of the dates in it. */
  timeZone: string;
  sender: {
    legalName: string;
    postalAddress: string;
    taxId: string | null;
    privacyUrl: string;
  };
  /** As a customer would call it. */
  product: string;
  askedAt: Date;
  /** The page of ours on which it was asked for; null where that is not known for certain. */
  page: string | null;
  /** What was ticked, in the words that were shown. */
  consents: readonly string[];
  /** What stood against mail to the address when it was asked for. */
  standing: 'unsubscribed' | 'undeliverable' | null;
  expiresAt: Date;
  reminder: boolean;
  confirmUrl: string;
  /** Leads to "don't write to me again". */
  neverUrl: string;
}

const DAY_MS = 24 * 60 * 60 * 1000;
/** Nobody is asked again sooner than this (ISO 8601): by a reminder neither. */
export const ASKED_AGAIN_AFTER = 'PT24H';
/** No address gets more mails that ask for a confirmation than this, whoever types it into which form. */
const MOST_MAILS = 3;
/** The stretch of time (ms) for which those mails are counted, and the only one of somebody who has complained is. */
export const COUNTED_MS = 30 * DAY_MS;

/** A mail that has asked for a confirmation. */
export interface AskedBefore {
  at: Date;
  campaignId: string;
}

/**
 * May one more mail ask for a confirmation? At most one in 24 hours and three in 30 days; of whoever has complained, one in
 * 30 days. Who asks for two products on one day, and has never told us to stop, is asked about both.
 *
 * @param asked those of the last 30 days
 * @param onlyOf whose mails a day must lie between; of every campaign where it is null
 */
export function mayAskAgain(
  asked: readonly AskedBefore[],
  { complained, onlyOf, now }: { complained: boolean; onlyOf: string | null; now: Date },
): boolean {
  const counted = asked.filter(({ at }) => at.getTime() > now.getTime() - COUNTED_MS);
  const lately = counted.filter(({ at }) => at.getTime() > now.getTime() - DAY_MS);
  if (lately.some(({ campaignId }) => onlyOf === null || campaignId === onlyOf)) return false;
  return counted.length < (complained ? 1 : MOST_MAILS);
}

/** For this long a link confirms where its form does not say (ISO 8601). */
export const EXPIRES_AFTER = 'P7D';

/**
 * The page on which something was asked for, without its query, as far as it is certainly one of ours: anybody can send any
 * address along, and what stands in our mail must not be of their making.
 *
 * @param origins where the form may be, besides `publicUrl`
 */
export function pageOfOurs(page: string | null, origins: readonly string[], publicUrl: string): string | null {
  if (page === null || !URL.canParse(page)) return null;
  const url = new URL(page);
  const known = [...origins, publicUrl].flatMap((one) => (URL.canParse(one) ? [new URL(one).origin] : []));
  if (!known.includes(url.origin)) return null;
  const shown = `${url.origin}${url.pathname}`;
  return shown.length <= 200 ? shown : url.origin;
}
