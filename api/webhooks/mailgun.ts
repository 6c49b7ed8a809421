import { createHmac } from 'node:crypto';
import type { ProviderEvent } from '../../domain/inbound';
import { codesIn, enhancedOf, entryOf, fieldsOf, messageIdOf, replyCodeOf, textOf, timeOf } from './payload';
import { equalSecrets } from './proof';

/** Mailgun repeats what failed for eight hours; what is older (ms) than this does not come from it any more. */
const STALE_MS = 12 * 60 * 60_000;
/** How far its clock may be ahead of ours, ms. */
const AHEAD_MS = 10 * 60_000;

/**
 * Whether Mailgun has signed this lately: HMAC-SHA256 over its time and a token. The same token again is no harm, since
 * its event is known by then.
 */
export function isFromMailgun(payload: unknown, signingKey: string, now: Date): boolean {
  const proof = fieldsOf(fieldsOf(payload).signature);
  const timestamp = String(proof.timestamp ?? '');
  const token = textOf(proof.token) ?? '';
  const expected = createHmac('sha256', signingKey).update(`${timestamp}${token}`).digest('hex');
  if (!equalSecrets(textOf(proof.signature) ?? '', expected)) return false;
  const age = now.getTime() - Number(timestamp) * 1000;
  return age < STALE_MS && age > -AHEAD_MS;
}

type Verdict = Pick<ProviderEvent, 'kind' | 'permanent'>;
type Fields = Readonly<Record<string, unknown>>;

/** What Mailgun tells of one mail. Opens, clicks and its taking a mail in give no event. */
export function mailgunEvents(payload: unknown, now: Date): ProviderEvent[] {
  const event = fieldsOf(fieldsOf(payload)['event-data']);
  const verdict = verdictOn(event);
  if (verdict === null) return [];
  const status = fieldsOf(event['delivery-status']);
  const answer = textOf(status.message) ?? textOf(status.description) ?? textOf(fieldsOf(event.reject).reason);
  const quoted = codesIn(answer);
  return [
    {
      provider: 'mailgun',
      ...verdict,
      eventId: textOf(event.id),
      messageId: messageIdOf(fieldsOf(fieldsOf(event.message).headers)['message-id']),
      providerId: null,
      recipient: textOf(event.recipient),
      enhanced: enhancedOf(status['enhanced-code']) ?? quoted.enhanced,
      // Codes above 599 are Mailgun's own.
      code: replyCodeOf(status.code) ?? quoted.code,
      diagnostic: verdict.kind === 'bounced' ? worded(textOf(event.reason), answer) : answer,
      at: timeOf(event.timestamp, now),
    },
  ];
}

const VERDICTS: Readonly<Record<string, Verdict>> = {
  delivered: { kind: 'delivered', permanent: null },
  complained: { kind: 'complained', permanent: null },
  unsubscribed: { kind: 'unsubscribed', permanent: null },
  rejected: { kind: 'rejected', permanent: null },
};

/** Why Mailgun gave up, where that says more than "permanent", by which it means no more than that. */
const REASONS: Readonly<Record<string, Verdict>> = {
  bounce: { kind: 'bounced', permanent: true },
  'suppress-bounce': { kind: 'bounced', permanent: true },
  'suppress-complaint': { kind: 'complained', permanent: null },
  'suppress-unsubscribe': { kind: 'unsubscribed', permanent: null },
  old: { kind: 'bounced', permanent: false },
  espblock: { kind: 'bounced', permanent: false },
  blacklisted: { kind: 'bounced', permanent: false },
  greylisted: { kind: 'bounced', permanent: false },
};

function verdictOn(event: Fields): Verdict | null {
  if (event.event !== 'failed') return entryOf(VERDICTS, event.event);
  // It goes on trying.
  if (event.severity === 'temporary') return { kind: 'delayed', permanent: null };
  return entryOf(REASONS, event.reason) ?? { kind: 'bounced', permanent: null };
}

/** Mailgun's reason goes before an answer that has no code of its own. */
function worded(reason: string | null, answer: string | null): string | null {
  if (codesIn(answer).enhanced !== null) return answer;
  const words = [entryOf(WORDS, reason), answer].filter((part) => part !== null);
  return words.length === 0 ? null : words.join('. ');
}

const WORDS: Readonly<Record<string, string>> = {
  'suppress-bounce': 'Invalid address',
  espblock: 'Blocked for reputation',
  blacklisted: 'Blocked: our server is on a block list',
  old: 'Too long in the queue',
};
