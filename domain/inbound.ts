import type { MailRef } from './mail-token';

/** What a received message is (docs/deliverability.md tells what follows from each). */
export const INBOUND_KINDS = [
  'reply',
  'auto-reply',
  'bounce',
  'complaint',
  'unsubscribe',
  'challenge',
  'own-copy',
  'notice',
  'other',
] as const;
export type InboundKind = (typeof INBOUND_KINDS)[number];

/** What a person asks of their data; each is due one month after it was received (GDPR, art. 12.3). */
export const REQUEST_KINDS = ['erasure', 'access', 'objection', 'rectification'] as const;
export type RequestKind = (typeof REQUEST_KINDS)[number];

export interface BounceFinding {
  /** `hard`: the address will never work. */
  severity: 'hard' | 'soft';
  cause: 'address' | 'mailbox' | 'network' | 'policy' | 'content';
  /** Enhanced status code (RFC 3463), such as `5.1.1`; null where none was given or derived. */
  code: string | null;
  /** Where the code comes from: a delivery-status part, the SMTP answer it quotes, or our table of known texts. */
  codeFrom: 'dsn' | 'smtp' | 'table' | null;
  /** The address that we mailed, as far as the report tells; not one that it was forwarded to. */
  recipient: string | null;
}

/** How a message was matched to a mail of ours, strongest first. */
export type MatchedBy = 'verp' | 'reply-to' | 'references' | 'embedded' | 'envid' | 'address';

/** What a message was found to be. The JSON that `recuerda classify` prints, but for the file's name. */
export interface Classification {
  kind: InboundKind;
  /**
   * Finer than the kind, or null. auto-reply: `vacation`, `ticket`, `left`; notice: `delayed`, `relayed`, `delivered`, `expanded`,
   * `read-receipt`, `moderation`, `dmarc-report`, `tls-report`, `not-spam`, `auth-failure`; reply: `reaction`, `calendar`.
   */
  subtype: string | null;
  bounce: BounceFinding | null;
  /** First day back, `YYYY-MM-DD`, of an absence. */
  returnDate: string | null;
  requests: RequestKind[];
  matched: { enrollmentId: string; by: MatchedBy } | null;
  /** A person should look at it. */
  needsReview: boolean;
  /** 0 to 1. */
  confidence: number;
  /** Which rules decided, in words for a person. Codes and rule names; the message's own words only where they decide. */
  evidence: string[];
}

/** The mail of ours that a message speaks of, proven by a token that we signed. */
export interface ProvenRef {
  ref: MailRef;
  by: Exclude<MatchedBy, 'address'>;
}

/** What the database knows about a message's sender and the mails that it refers to. */
export interface KnownThread {
  /** The enrollment that it belongs to, found by a provider's own id or by the sender's address. */
  enrollmentId: string | null;
  by: MatchedBy | null;
  /** We have written to this sender. */
  knownSender: boolean;
}

/** What a provider told in a signed webhook, whichever it was. */
export interface ProviderEvent {
  provider: 'ses' | 'postmark' | 'sendgrid' | 'mailgun' | 'generic';
  kind: 'bounced' | 'complained' | 'delivered' | 'delayed' | 'unsubscribed' | 'rejected';
  /** The provider's id of this event, if it has one: a repeated delivery of it changes nothing. */
  eventId: string | null;
  /** Our Message-ID, with angle brackets, where the provider hands it back. */
  messageId: string | null;
  /** The provider's own id of the message, as its 250 answer gave it. */
  providerId: string | null;
  recipient: string | null;
  /** Enhanced status code, reply code and text of the receiving server, as far as given. */
  enhanced: string | null;
  code: number | null;
  diagnostic: string | null;
  /** The provider's own judgement of a bounce; null where it gives none. */
  permanent: boolean | null;
  /** ISO 8601, UTC. */
  at: string;
}
