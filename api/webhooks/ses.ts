import type { ProviderEvent } from '../../domain/inbound';
import { codesIn, enhancedOf, entryOf, fieldsOf, messageIdOf, objectsOf, textOf, timeOf } from './payload';
import type { SnsMessage } from './sns';

type Fields = Readonly<Record<string, unknown>>;
type Told = Pick<ProviderEvent, 'kind' | 'permanent' | 'diagnostic' | 'enhanced'> & { recipient: string | null };

/**
 * What Amazon SES tells, in either of its two forms ("notifications" with `notificationType`, "event publishing" with
 * `eventType`): one event for each recipient. Sends, opens, clicks and what SES says of its own set-up give none.
 */
export function sesEvents(
  message: Pick<SnsMessage, 'MessageId' | 'Message' | 'Timestamp'>,
  now: Date,
): ProviderEvent[] {
  const payload = fieldsOf(jsonOrNothing(message.Message));
  const mail = fieldsOf(payload.mail);
  const type = textOf(payload.notificationType) ?? textOf(payload.eventType) ?? '';
  const part = fieldsOf(payload[entryOf(PARTS, type) ?? '']);
  return told(type, part, mail).map((event, index) => {
    const quoted = codesIn(event.diagnostic);
    return {
      provider: 'ses',
      kind: event.kind,
      eventId: `${message.MessageId}/${index}`,
      messageId: originalMessageId(mail),
      providerId: textOf(mail.messageId),
      recipient: event.recipient,
      enhanced: event.enhanced ?? quoted.enhanced,
      code: quoted.code,
      diagnostic: event.diagnostic,
      permanent: event.permanent,
      at: timeOf(part.timestamp ?? message.Timestamp, now),
    };
  });
}

const PARTS: Readonly<Record<string, string>> = {
  Bounce: 'bounce',
  Complaint: 'complaint',
  Delivery: 'delivery',
  DeliveryDelay: 'deliveryDelay',
  Reject: 'reject',
  Subscription: 'subscription',
};

/** Reports of a reader's mail program that are no complaint. */
const NO_COMPLAINT = ['not-spam', 'auth-failure'];

function told(type: string, part: Fields, mail: Fields): Told[] {
  const base = { permanent: null, diagnostic: null, enhanced: null };
  const destinations = (value: unknown) => (Array.isArray(value) ? value.map(textOf) : []);
  switch (type) {
    case 'Bounce':
      return objectsOf(part.bouncedRecipients).map((recipient) => bounce(part, recipient));
    case 'Complaint':
      if (NO_COMPLAINT.includes(textOf(part.complaintFeedbackType) ?? '')) return [];
      return objectsOf(part.complainedRecipients).map(({ emailAddress }) => ({
        ...base,
        kind: 'complained',
        recipient: textOf(emailAddress),
        diagnostic: textOf(part.complaintFeedbackType),
      }));
    case 'Delivery':
      return destinations(part.recipients).map((recipient) => ({
        ...base,
        kind: 'delivered',
        recipient,
        diagnostic: textOf(part.smtpResponse),
      }));
    case 'DeliveryDelay':
      return objectsOf(part.delayedRecipients).map(({ emailAddress, status, diagnosticCode }) => ({
        ...base,
        kind: 'delayed',
        recipient: textOf(emailAddress),
        enhanced: enhancedOf(status),
        diagnostic: textOf(diagnosticCode) ?? textOf(part.delayType),
      }));
    case 'Reject':
      return destinations(mail.destination).map((recipient) => ({
        ...base,
        kind: 'rejected',
        recipient,
        diagnostic: textOf(part.reason),
      }));
    case 'Subscription':
      if (fieldsOf(part.newTopicPreferences).unsubscribeAll !== true) return [];
      return destinations(mail.destination).map((recipient) => ({ ...base, kind: 'unsubscribed', recipient }));
    default:
      return [];
  }
}

const PERMANENT: Readonly<Record<string, boolean>> = { Permanent: true, Transient: false };

function bounce(part: Fields, recipient: Fields): Told {
  const subtype = textOf(part.bounceSubType);
  const answer = textOf(recipient.diagnosticCode);
  return {
    // Not sent at all, since the person is on a list of SES of those who left.
    kind: subtype === 'UnsubscribedRecipient' ? 'unsubscribed' : 'bounced',
    recipient: textOf(recipient.emailAddress),
    enhanced: enhancedOf(recipient.status),
    // Where no server has answered, the words that SES has for it say what it is about.
    diagnostic: answer ?? entryOf(WORDS, subtype),
    permanent: entryOf(PERMANENT, part.bounceType),
  };
}

const WORDS: Readonly<Record<string, string>> = {
  NoEmail: 'no address could be found in the bounce',
  Suppressed: 'invalid address: on the suppression list of Amazon SES, since it bounced before',
  OnAccountSuppressionList: 'invalid address: on the suppression list of the account, since it bounced before',
  MailboxFull: 'mailbox full',
  MessageTooLarge: 'message too large',
  CustomTimeoutExceeded: 'delivery timed out',
  ContentRejected: 'message rejected for its content',
  AttachmentRejected: 'message rejected: prohibited attachment',
};

/** Ours, as we gave it: SES puts its own in its place on the way out. It is told where original headers are included. */
function originalMessageId(mail: Fields): string | null {
  const header = objectsOf(mail.headers).find(({ name }) => textOf(name)?.toLowerCase() === 'message-id');
  return messageIdOf(header?.value) ?? messageIdOf(fieldsOf(mail.commonHeaders).messageId);
}

/** SES also tells in plain words that a topic was set up. */
function jsonOrNothing(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
