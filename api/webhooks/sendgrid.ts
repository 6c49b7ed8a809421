import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { ProviderEvent } from '../../domain/inbound';
import { codesIn, enhancedOf, entryOf, messageIdOf, objectsOf, textOf, timeOf } from './payload';

/** @param verificationKey base64 DER, as SendGrid shows it. @throws TypeError when it is none */
export function sendgridKey(verificationKey: string): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(verificationKey, 'base64'), format: 'der', type: 'spki' });
  } catch {
    throw new TypeError("WEBHOOK_SENDGRID_KEY is not the verification key of SendGrid's signed event webhook");
  }
}

/** Whether SendGrid has signed this: ECDSA on P-256 with SHA-256, over the time that it states and the body. */
export function isFromSendgrid(headers: Readonly<Record<string, unknown>>, body: Buffer, key: KeyObject): boolean {
  const signature = textOf(headers['x-twilio-email-event-webhook-signature']);
  const timestamp = textOf(headers['x-twilio-email-event-webhook-timestamp']);
  if (signature === null || timestamp === null) return false;
  return verify('sha256', Buffer.concat([Buffer.from(timestamp), body]), key, Buffer.from(signature, 'base64'));
}

type Fields = Readonly<Record<string, unknown>>;
type Verdict = Pick<ProviderEvent, 'kind' | 'permanent'>;

/** What SendGrid tells, a list of events. Those of engagement, and of its taking a mail in, give none. */
export function sendgridEvents(payload: unknown, now: Date): ProviderEvent[] {
  return objectsOf(payload).flatMap((fields) => {
    const verdict = verdictOn(fields);
    if (verdict === null) return [];
    const answer = textOf(fields.reason) ?? textOf(fields.response);
    const quoted = codesIn(answer);
    return [
      {
        provider: 'sendgrid' as const,
        ...verdict,
        eventId: textOf(fields.sg_event_id),
        messageId: messageIdOf(fields['smtp-id']),
        providerId: providerIdOf(fields.sg_message_id),
        recipient: textOf(fields.email),
        enhanced: enhancedOf(fields.status) ?? quoted.enhanced,
        code: quoted.code,
        diagnostic: verdict.kind === 'bounced' ? worded(fields, answer) : answer,
        at: timeOf(fields.timestamp, now),
      },
    ];
  });
}

const VERDICTS: Readonly<Record<string, Verdict>> = {
  delivered: { kind: 'delivered', permanent: null },
  deferred: { kind: 'delayed', permanent: null },
  spamreport: { kind: 'complained', permanent: null },
  unsubscribe: { kind: 'unsubscribed', permanent: null },
  group_unsubscribe: { kind: 'unsubscribed', permanent: null },
};

function verdictOn(fields: Fields): Verdict | null {
  const event = textOf(fields.event) ?? '';
  if (event === 'bounce' || event === 'blocked') return bounce(event, fields);
  if (event === 'dropped') return dropped(textOf(fields.reason) ?? '');
  return entryOf(VERDICTS, event);
}

function bounce(event: string, fields: Fields): Verdict {
  // "blocked": refused this time, for what we are or what we wrote, and nothing against the address.
  if (event === 'blocked' || textOf(fields.type) === 'blocked') return { kind: 'bounced', permanent: false };
  const classification = textOf(fields.bounce_classification);
  if (classification === 'Unclassified') return { kind: 'bounced', permanent: null };
  return { kind: 'bounced', permanent: classification === null || classification === 'Invalid Address' };
}

/** SendGrid's reasons for not sending at all. */
function dropped(reason: string): Verdict {
  if (/unsubscribed/i.test(reason)) return { kind: 'unsubscribed', permanent: null };
  if (/spam report/i.test(reason)) return { kind: 'complained', permanent: null };
  if (/^bounced|^invalid$|invalid (address|recipient)/i.test(reason)) return { kind: 'bounced', permanent: true };
  return { kind: 'rejected', permanent: null };
}

/** SendGrid's class of a bounce goes before an answer that has no code of its own. */
function worded(fields: Fields, answer: string | null): string | null {
  if (codesIn(answer).enhanced !== null) return answer;
  const about = fields.event === 'dropped' ? 'Invalid Address' : fields.bounce_classification;
  const words = [entryOf(CLASSES, about), answer].filter((part) => part !== null);
  return words.length === 0 ? null : words.join('. ');
}

const CLASSES: Readonly<Record<string, string>> = {
  'Invalid Address': 'Invalid address',
  Content: 'Blocked for its content, as spam',
  Reputation: 'Blocked for reputation',
  'Frequency/Volume': 'Blocked by policy: too much mail',
};

/** SendGrid's 250 answer names the part before the first server that its longer id goes on with. */
function providerIdOf(value: unknown): string | null {
  return textOf(value)?.replace(/\.(filter|recv)[\w-]*\..*$/, '') ?? null;
}
