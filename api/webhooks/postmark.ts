import type { ProviderEvent } from '../../domain/inbound';
import { codesIn, entryOf, fieldsOf, messageIdOf, objectsOf, textOf, timeOf } from './payload';
import { equalSecrets } from './proof';

/**
 * Postmark signs nothing; what it sends carries the user and password that stand in the webhook's URL (RFC 7617).
 *
 * @param expected `user:password`
 */
export function isFromPostmark(authorization: string | undefined, expected: string): boolean {
  const given = /^Basic +([A-Za-z0-9+/=]+) *$/i.exec(authorization ?? '')?.[1];
  return equalSecrets(Buffer.from(given ?? '', 'base64'), expected);
}

type Verdict = Pick<ProviderEvent, 'kind' | 'permanent'>;
type Fields = Readonly<Record<string, unknown>>;

const HARD: Verdict = { kind: 'bounced', permanent: true };
const SOFT: Verdict = { kind: 'bounced', permanent: false };
const REJECTED: Verdict = { kind: 'rejected', permanent: null };

/** Postmark's types of bounces. Those that say nothing of a delivery are left out: subscriptions, holiday notes, tests. */
const BOUNCES: Readonly<Record<string, Verdict>> = {
  HardBounce: HARD,
  BadEmailAddress: HARD,
  SoftBounce: SOFT,
  DnsError: SOFT,
  Undeliverable: SOFT,
  Unknown: { kind: 'bounced', permanent: null },
  Transient: { kind: 'delayed', permanent: null },
  // Nothing against the address: our content, our reputation, our authentication.
  SpamNotification: SOFT,
  VirusNotification: SOFT,
  Blocked: SOFT,
  DMARCPolicy: SOFT,
  ManuallyDeactivated: REJECTED,
  Unconfirmed: REJECTED,
  SMTPApiError: REJECTED,
  TemplateRenderingFailed: REJECTED,
  SpamComplaint: { kind: 'complained', permanent: null },
  Unsubscribe: { kind: 'unsubscribed', permanent: null },
};

/** What Postmark tells of one mail. Opens, clicks and inbound mail give no event. */
export function postmarkEvents(payload: unknown, now: Date): ProviderEvent[] {
  const fields = fieldsOf(payload);
  const record = textOf(fields.RecordType) ?? '';
  const verdict = verdictOn(record, fields);
  if (verdict === null) return [];
  const at = fields.BouncedAt ?? fields.DeliveredAt ?? fields.ChangedAt;
  const recipient = textOf(fields.Email) ?? textOf(fields.Recipient);
  const answer = textOf(fields.Details);
  const quoted = codesIn(answer);
  const providerId = textOf(fields.MessageID);
  return [
    {
      provider: 'postmark',
      ...verdict,
      // Only bounces and complaints have a number, and one that JSON can't hold exactly would stand for several.
      eventId: Number.isSafeInteger(fields.ID)
        ? `${record}/${fields.ID}`
        : [record, providerId, recipient, textOf(at)].join('/'),
      messageId: ownMessageId(fields),
      providerId,
      recipient,
      enhanced: quoted.enhanced,
      code: quoted.code,
      diagnostic: verdict.kind === 'bounced' ? worded(textOf(fields.Type), answer, textOf(fields.Description)) : answer,
      at: timeOf(at, now),
    },
  ];
}

function verdictOn(record: string, fields: Fields): Verdict | null {
  switch (record) {
    case 'Bounce':
      return entryOf(BOUNCES, fields.Type);
    case 'SpamComplaint':
      return { kind: 'complained', permanent: null };
    case 'Delivery':
      return { kind: 'delivered', permanent: null };
    case 'SubscriptionChange':
      return fields.SuppressSending === true ? entryOf(REASONS, fields.SuppressionReason) : null;
    default:
      return null;
  }
}

/** Why Postmark sends no more to somebody. */
const REASONS: Readonly<Record<string, Verdict>> = {
  HardBounce: HARD,
  SpamComplaint: { kind: 'complained', permanent: null },
  ManualSuppression: { kind: 'unsubscribed', permanent: null },
};

/** An answer with its codes stands for itself; otherwise Postmark's own words go before it, which say what it is about. */
function worded(type: string | null, answer: string | null, description: string | null): string | null {
  if (answer !== null && codesIn(answer).enhanced !== null) return answer;
  const words = [entryOf(WORDS, type), answer, description].filter((part) => part !== null);
  return words.length === 0 ? null : words.join('. ');
}

const WORDS: Readonly<Record<string, string>> = {
  SpamNotification: 'Blocked as spam',
  VirusNotification: 'Virus found',
  Blocked: 'Blocked by policy',
  DMARCPolicy: 'Refused by DMARC policy',
  DnsError: 'DNS error',
};

/** Postmark gives mail a Message-ID of its own unless told `X-PM-KeepID: true`; where headers are told, ours is there. */
function ownMessageId(fields: Fields): string | null {
  const header = objectsOf(fields.Headers).find(({ Name }) => textOf(Name)?.toLowerCase() === 'message-id');
  return messageIdOf(header?.Value) ?? messageIdOf(fieldsOf(fields.Metadata)['message-id']);
}
