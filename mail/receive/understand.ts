import type { Classification, ProviderEvent } from '../../domain/inbound';
import type { Understand, UnderstandEvent } from '../../domain/inbound-actions';
import type { TokenKey } from '../../domain/signed-token';
import { readMessageId } from '../compose/message-id';
import { judgeFailure } from './bounce-reason';
import { classify } from './classify';
import { newText } from './new-text';
import { ownRefs } from './own-refs';
import { readMessage } from './read';
import type { ReceivedMessage } from './received';

/** Reads received messages with our keys: what a message says, what of ours it speaks of, then what it is. */
export function createUnderstand(keys: readonly TokenKey[]): Understand {
  return async (raw, envelope, lookup) => {
    const message = await readMessage(raw, envelope ?? undefined);
    const refs = ownRefs(message, keys);
    const from = message.from?.address ?? null;
    const clues = {
      proven: refs.proven,
      messageIds: refs.messageIds,
      senders: [...(from === null ? [] : [from]), ...message.replyTo],
    };
    const known = await lookup(clues);
    const { classification } = classify(message, { keys, refs, known });
    return {
      classification,
      clues,
      messageId: message.messageId,
      from: message.from,
      answerTo: message.replyTo[0] ?? from,
      recipients: message.recipients,
      subject: message.subject,
      newText: writtenIn(message),
      byUnsubscribeAddress: refs.unsubscribe !== null,
    };
  };
}

/** For people to read; where it can't be told from the rest, all of it. */
function writtenIn(message: ReceivedMessage): string {
  try {
    return newText(message);
  } catch {
    return message.text;
  }
}

/** The same for what a provider told by a signed webhook. */
export function createUnderstandEvent(keys: readonly TokenKey[]): UnderstandEvent {
  return (event) => {
    const ref = event.messageId === null ? null : readMessageId(event.messageId, keys);
    return {
      classification: classificationOf(event),
      clues: {
        proven: ref === null ? null : { ref, by: 'references' },
        messageIds: [event.providerId, event.messageId].filter((id) => id !== null),
        senders: event.recipient === null ? [] : [event.recipient],
      },
      messageId: null,
      from: null,
      answerTo: null,
      recipients: [],
      subject: '',
      newText: '',
      byUnsubscribeAddress: false,
    };
  };
}

function classificationOf(event: ProviderEvent): Classification {
  const base: Classification = {
    kind: 'notice',
    subtype: null,
    bounce: null,
    returnDate: null,
    requests: [],
    matched: null,
    needsReview: false,
    confidence: 1,
    evidence: [`${event.provider} reports: ${event.kind}`],
  };
  switch (event.kind) {
    case 'bounced':
      return { ...base, kind: 'bounce', bounce: bounceOf(event) };
    case 'rejected':
      // The provider itself did not pass it on: what it dislikes is ours to mend.
      return { ...base, kind: 'bounce', bounce: { ...bounceOf(event), severity: 'soft', cause: 'content' } };
    case 'complained':
      return { ...base, kind: 'complaint' };
    case 'unsubscribed':
      return { ...base, kind: 'unsubscribe' };
    case 'delayed':
    case 'delivered':
      return { ...base, subtype: event.kind };
  }
}

function bounceOf({
  enhanced,
  code,
  diagnostic,
  permanent,
  recipient,
}: ProviderEvent): NonNullable<Classification['bounce']> {
  const answer = [code, enhanced, diagnostic].filter((part) => part !== null).join(' ');
  const { severity, cause, code: status, codeFrom } = judgeFailure(enhanced, answer, '');
  // Without an answer of the receiving server the provider's word is all there is.
  if (answer === '') {
    return permanent === true
      ? { severity: 'hard', cause: 'address', code: null, codeFrom: null, recipient }
      : { severity: 'soft', cause: 'mailbox', code: null, codeFrom: null, recipient };
  }
  return { severity: permanent === false ? 'soft' : severity, cause, code: status, codeFrom, recipient };
}
