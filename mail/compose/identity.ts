import { type MailRef, signMailToken } from '../../domain/mail-token';
import type { TokenKey } from '../../domain/signed-token';
import { domainOf } from './message';
import { messageIdFor } from './message-id';

/** Under which names one mail travels, and by which signed tokens its answers are known again. */
export interface MailIdentity {
  /** In angle brackets. */
  messageId: string;
  from: { name: string; address: string };
  replyTo: string;
  /** Envelope sender: `bounces+<token>@…` (VERP) where a mailbox for it is configured. */
  returnPath: string;
  /** ENVID (RFC 3461): delivery reports hand it back even where they lose the return path. */
  envelopeId: string;
  /** Address of the mailto half of List-Unsubscribe (RFC 2369); null where no mailbox of ours would read it. */
  unsubscribeAddress: string | null;
}

export interface IdentitySettings {
  /** Mailbox for delivery reports; null: they go to the From address. */
  returnPath: string | null;
  /** Mailbox of ours for answers; null: they go to `replyTo` as the campaign has it. */
  replyAddress: string | null;
  tokenKeys: readonly TokenKey[];
}

/** Names one mail. The same mail gets the same names (promise P3). */
export function mailIdentity(
  ref: MailRef,
  sender: { from: { name: string; address: string }; replyTo: string },
  { returnPath, replyAddress, tokenKeys }: IdentitySettings,
): MailIdentity {
  const envelopeId = signMailToken('return-path', ref, tokenKeys);
  return {
    messageId: messageIdFor(ref, domainOf(sender.from.address), tokenKeys),
    from: sender.from,
    replyTo: replyAddress === null ? sender.replyTo : tagged(replyAddress, signMailToken('reply', ref, tokenKeys)),
    returnPath: returnPath === null ? sender.from.address : tagged(returnPath, envelopeId),
    envelopeId,
    unsubscribeAddress:
      replyAddress === null ? null : tagged(replyAddress, signMailToken('unsubscribe', ref, tokenKeys)),
  };
}

/** `bounces@shop.example` → `bounces+<token>@shop.example` (RFC 5233). */
function tagged(mailbox: string, token: string): string {
  const at = mailbox.lastIndexOf('@');
  return `${mailbox.slice(0, at)}+${token}${mailbox.slice(at)}`;
}
