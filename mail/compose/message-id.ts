import { type MailRef, readMailToken, signMailToken } from '../../domain/mail-token';
import type { TokenKey } from '../../domain/signed-token';

/**
 * The Message-ID of a mail, in angle brackets (RFC 5322, 3.6.4): the same mail always gets the same one (P3), and
 * `readMessageId` reads it back. It is signed, so that nobody can make one up to have a lead stopped.
 *
 * @param domain the part after the @, in ASCII
 * @throws RangeError if the parts are not those of a mail of ours
 */
export function messageIdFor(ref: MailRef, domain: string, keys: readonly TokenKey[]): string {
  if (!/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(domain)) throw new RangeError('the domain of a Message-ID is ASCII');
  return `<${signMailToken('message-id', ref, keys)}@${domain.toLowerCase()}>`;
}

/** Which mail of ours a Message-ID stands for, with or without the angle brackets; null for an id that is not ours. */
export function readMessageId(messageId: string, keys: readonly TokenKey[]): MailRef | null {
  const local = /^<?([a-z2-7]+)@[^@\s<>]+>?$/i.exec(messageId.trim())?.[1];
  return local === undefined ? null : readMailToken('message-id', local, keys);
}
