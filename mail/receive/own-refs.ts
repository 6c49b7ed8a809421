import type { MatchedBy, ProvenRef } from '../../domain/inbound';
import { MAIL_TOKEN_LENGTH, type MailRef, type MailTokenPurpose, readMailToken } from '../../domain/mail-token';
import type { TokenKey } from '../../domain/signed-token';
import { readMessageId } from '../compose/message-id';
import { daemonSigns } from './daemon';
import type { DeliveryReport } from './delivery-report';
import { deliveryReport } from './delivery-report';
import { messageIds } from './read';
import type { ReceivedMessage } from './received';

/** All that a message says of mails of ours. */
export interface OwnRefs {
  /** Proven by a token that we signed, the strongest place first; null without one, or without keys. */
  proven: ProvenRef | null;
  /** The mail whose unsubscribe address (the mailto half of List-Unsubscribe, RFC 2369) it was sent to. */
  unsubscribe: MailRef | null;
  /** The mail that it is a copy of: our signed Message-ID at top level, sent from a domain of ours. */
  ownCopy: MailRef | null;
  /** Message-IDs that it answers or returns, for a look-up of the ids that providers gave; with angle brackets. */
  messageIds: readonly string[];
}

/** Names in text that could be tokens; more than that is no bounce of ours. */
const MAX_CANDIDATES = 200;
const TOKEN = new RegExp(`(?<![a-z0-9])[a-z2-7]{${MAIL_TOKEN_LENGTH}}(?![a-z0-9])`, 'gi');

/**
 * Finds the mails of ours that a message speaks of: by its recipients (VERP, reply address, unsubscribe address), by what
 * it answers, by what it returns, by ENVID. Text counts where a mail system wrote it.
 *
 * @param keys none: nothing is proven
 * @param ownDomains domains that we send from; where not given, a copy of ours is known by the domain of its Message-ID
 */
export function ownRefs(message: ReceivedMessage, keys: readonly TokenKey[], ownDomains?: readonly string[]): OwnRefs {
  const report = deliveryReport(message);
  const returned = message.embeddedHeaders.flatMap((fields) =>
    ['message-id', 'references', 'in-reply-to', 'x-original-message-id', 'original-message-id'].flatMap((name) =>
      (fields.get(name) ?? []).flatMap(messageIds),
    ),
  );
  const told = reportedIds(message);
  const unsubscribe = inRecipients(message, 'unsubscribe', keys);
  const places: ReadonlyArray<readonly [ProvenRef['by'], () => MailRef | null]> = [
    ['verp', () => inRecipients(message, 'return-path', keys)],
    ['reply-to', () => inRecipients(message, 'reply', keys) ?? unsubscribe],
    ['references', () => firstMessageId(message.references, keys)],
    ['embedded', () => firstMessageId([...returned, ...told], keys) ?? returnedReturnPath(message, keys)],
    ['envid', () => inEnvelopeId(report, keys)],
    ['embedded', () => quotedByMachine(message, keys)],
  ];
  return {
    proven: keys.length === 0 ? null : firstProven(places),
    unsubscribe: keys.length === 0 ? null : unsubscribe,
    ownCopy: ownCopy(message, keys, ownDomains),
    messageIds: [...new Set([...message.references, ...returned, ...told])].slice(0, MAX_CANDIDATES),
  };
}

function firstProven(places: ReadonlyArray<readonly [Exclude<MatchedBy, 'address'>, () => MailRef | null]>) {
  for (const [by, look] of places) {
    const ref = look();
    if (ref !== null) return { ref, by };
  }
  return null;
}

/** Message-IDs that reports name in their own fields: MDNs, feedback reports. */
function reportedIds(message: ReceivedMessage): string[] {
  return message.parts
    .filter((part) => !part.embedded && /^message\//.test(part.contentType))
    .flatMap((part) => [...part.text.matchAll(/^(?:Original-Message-ID|X-Original-Message-ID|Message-ID):(.+)$/gim)])
    .flatMap((match) => messageIds(match[1] ?? ''))
    .slice(0, MAX_CANDIDATES);
}

function firstMessageId(ids: readonly string[], keys: readonly TokenKey[]): MailRef | null {
  for (const id of ids) {
    const ref = readMessageId(id, keys);
    if (ref !== null) return ref;
  }
  return null;
}

function inRecipients(message: ReceivedMessage, purpose: MailTokenPurpose, keys: readonly TokenKey[]): MailRef | null {
  return firstToken(
    message.recipients.map((address) => address.slice(0, address.lastIndexOf('@'))).join(' '),
    purpose,
    keys,
  );
}

function firstToken(text: string, purpose: MailTokenPurpose, keys: readonly TokenKey[]): MailRef | null {
  let tried = 0;
  for (const [candidate] of text.matchAll(TOKEN)) {
    const ref = readMailToken(purpose, candidate, keys);
    if (ref !== null) return ref;
    tried += 1;
    if (tried >= MAX_CANDIDATES) return null;
  }
  return null;
}

/** The returned mail's own Return-Path, where a server wrote it down. */
function returnedReturnPath(message: ReceivedMessage, keys: readonly TokenKey[]): MailRef | null {
  const paths = message.embeddedHeaders.flatMap((fields) =>
    ['return-path', 'x-envelope-from', 'envelope-from', 'x-original-sender'].flatMap((name) => fields.get(name) ?? []),
  );
  const replies = message.embeddedHeaders.flatMap((fields) => fields.get('reply-to') ?? []);
  return firstToken(paths.join(' '), 'return-path', keys) ?? firstToken(replies.join(' '), 'reply', keys);
}

function inEnvelopeId(report: DeliveryReport | null, keys: readonly TokenKey[]): MailRef | null {
  const id = report?.envelopeId ?? null;
  return id === null ? null : firstToken(id, 'return-path', keys);
}

/** Old mail systems return our header as plain text. */
function quotedByMachine(message: ReceivedMessage, keys: readonly TokenKey[]): MailRef | null {
  const { daemonAddress, nullSender } = daemonSigns(message);
  if (!daemonAddress && !nullSender && message.contentType !== 'multipart/report') return null;
  // The stripped HTML, or what stands in a part of its own.
  const text = [message.text, ...message.parts.filter((part) => !part.embedded).map((part) => part.text)].join('\n');
  return firstToken(text, 'message-id', keys) ?? firstToken(text, 'return-path', keys);
}

function ownCopy(
  message: ReceivedMessage,
  keys: readonly TokenKey[],
  ownDomains: readonly string[] | undefined,
): MailRef | null {
  if (message.messageId === null || keys.length === 0) return null;
  const ref = readMessageId(message.messageId, keys);
  if (ref === null) return null;
  const from = domainOf(message.from?.address ?? '');
  const ours = ownDomains ?? [domainOf(message.messageId.replace(/[<>]/g, ''))];
  return ours.some((domain) => domain.toLowerCase() === from) ? ref : null;
}

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1).toLowerCase();
}
