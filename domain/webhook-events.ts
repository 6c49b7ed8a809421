/**
 * What other systems can be told of (Standard Webhooks), and when. The function `webhook_type` of the database maps what is
 * written on a lead's timeline to these; a test compares both.
 */
export const WEBHOOK_EVENTS = {
  'enrollment.created': 'Somebody was enrolled in a campaign.',
  'enrollment.ended': 'An enrollment has ended; `outcome` says how.',
  'enrollment.reopened': 'One that had ended goes on, as a new enrollment; `from` is the old one.',
  'lead.replied': 'A person has answered. Their words are in the inbox (`inboundId`), never here.',
  'lead.confirmed': 'A person has confirmed a request by the link in a mail.',
  'lead.suppressed': 'An address may not be written to any more; `reason` says why.',
  'lead.suppression-lifted': 'It may be written to again.',
  'lead.erased': 'A person’s data was erased.',
  'message.sent': 'The mail server has taken a mail.',
  'message.rejected': 'The mail server has refused a mail for good, for what it is; the enrollment goes on.',
  'message.unknown': 'Nobody knows whether the mail server has taken a mail; it is not sent again.',
  'message.delivered': 'The receiving server has reported a mail as delivered.',
  'message.bounced': 'A mail came back after it had been taken; `report` says whether for good.',
  'message.complained': 'The recipient has marked a mail as spam.',
  'order.refunded': 'An order was paid back.',
  'privacy.requested': 'A person asks for their data, for erasure, or objects; `request` says which.',
} as const;

export type WebhookEvent = keyof typeof WEBHOOK_EVENTS;

export const WEBHOOK_EVENT_NAMES = Object.keys(WEBHOOK_EVENTS) as WebhookEvent[];

/** Sent on demand, to any endpoint, whatever it wants to be told of. */
export const TEST_EVENT = 'webhook.test';

/** How often a delivery is tried within its first day, as waits after the first, second … failure, ms. */
const FIRST_WAITS_MS = [5_000, 5 * 60_000, 30 * 60_000, 2 * 3_600_000, 5 * 3_600_000, 10 * 3_600_000];
/** Then, until `TRIED_FOR_MS` are over. */
const LATER_WAIT_MS = 14 * 3_600_000;

/** How long a delivery is tried before it is given up; how long an endpoint may fail before it is switched off. */
export const TRIED_FOR_MS = 5 * 24 * 3_600_000;

/**
 * How long to wait before the next try.
 *
 * @param attempts how often it was tried, the last one included
 * @param ageMs since it came up
 * @returns null: it is given up
 */
export function retryWait(attempts: number, ageMs: number): number | null {
  const wait = FIRST_WAITS_MS[attempts - 1] ?? LATER_WAIT_MS;
  return ageMs + wait > TRIED_FOR_MS ? null : wait;
}
