import { DateTime } from 'luxon';
import type { RatedKind } from './breaker';
import type {
  BounceFinding,
  Classification,
  InboundKind,
  KnownThread,
  ProvenRef,
  ProviderEvent,
  RequestKind,
} from './inbound';

/** What a received message says of mails of ours and of its sender, for a look-up in the database. */
export interface Clues {
  proven: ProvenRef | null;
  /** Message-IDs that it answers or returns: some providers put their own in place of ours. */
  messageIds: readonly string[];
  /** From and Reply-To. */
  senders: readonly string[];
}

export type Lookup = (clues: Clues) => Promise<KnownThread>;

/** A received message, as far as it was understood. Everything in it was written by a stranger. */
export interface Understood {
  classification: Classification;
  clues: Clues;
  /** Its own Message-ID; two messages with the same one are the same message. */
  messageId: string | null;
  from: { address: string; name: string } | null;
  /** Where its sender wants answers: Reply-To, else From. */
  answerTo: string | null;
  /** Everybody it was addressed to. */
  recipients: readonly string[];
  subject: string;
  /** What its sender wrote now: without quotes, signature and footer. */
  newText: string;
  /** It came to the unsubscribe address of a mail (the mailto half of List-Unsubscribe). */
  byUnsubscribeAddress: boolean;
}

/** Reads a message and says what it is. Never rejects because of what the message is like. */
export type Understand = (
  raw: Buffer,
  envelope: { sender: string | null; recipient: string | null } | null,
  lookup: Lookup,
) => Promise<Understood>;

/** The same for what a provider told by a signed webhook. */
export type UnderstandEvent = (event: ProviderEvent) => Understood;

/** Whose mail a received message speaks of. */
export type MailOfOurs = 'enrollment' | 'shop' | 'forward' | 'alert' | 'test' | 'page';

/** All that decides what follows from a received message, besides what it is. */
export interface Situation {
  /** The mail that it answers, returns or reports on; null where none of ours was recognised. */
  mail: MailOfOurs | null;
  /** An enrollment, or for the shop's mail an address, is known: there is somebody to act for. */
  known: boolean;
  /** By a token that we signed, by a provider's signature, or by a person's word. Anyone can forge the rest. */
  proven: boolean;
  /** It came from the very address that we mail. */
  fromLead: boolean;
  byUnsubscribeAddress: boolean;
  /** There is new text in it. */
  hasText: boolean;
  /** How many tickets, and how many challenges, came for this enrollment before. */
  ticketsBefore: number;
  challengesBefore: number;
  /** A person, or the end of the time for a person to decide, overrules doubts. */
  judgedBy: 'rules' | 'person' | 'time';
}

export type ReportKind = 'delivered' | 'delayed' | 'bounced-soft' | 'bounced-hard' | 'complained';

/** One thing that follows, in the order in which they are done. */
export type Consequence =
  | {
      do: 'stop';
      outcome: 'replied' | 'unsubscribed' | 'bounced' | 'complained';
      suppress?: 'objection' | 'complaint' | 'undeliverable';
    }
  /** A "not now" from the receiving side; enough of them over time make the address undeliverable. */
  | { do: 'count-soft-bounce'; code: string | null }
  /** No mail until a person has decided what this is, or 14 days are over. */
  | { do: 'hold' }
  /** No nudge before this day, `YYYY-MM-DD` in the lead's zone. */
  | { do: 'wait'; until: string }
  /** Whatever became of the handover, the mail has left: an `unknown` becomes `accepted`. */
  | { do: 'resolve-unknown' }
  | { do: 'report'; report: ReportKind; code: string | null }
  /** The address works: soft bounces count no more. */
  | { do: 'forget-soft-bounces' }
  | { do: 'request'; request: RequestKind }
  /** A mail to the salespeople; `unsure`: they are asked to decide. */
  | { do: 'forward'; as: 'reply' | 'unsubscribe' | 'unsure' }
  /** For the circuit breaker. */
  | { do: 'fault'; fault: RatedKind; code: string | null }
  /** A person should look at it; nothing waits for that. */
  | { do: 'show'; why: string };

/** Below this confidence a message that needs review is in doubt. */
const SURE = 0.6;

/** Kinds that a person writes, or could have written: where one of these is in doubt, the next mail waits. */
const DOUBTFUL: ReadonlySet<InboundKind> = new Set(['reply', 'auto-reply', 'unsubscribe', 'challenge', 'other']);

/**
 * What follows from a received message. Pure: the table of docs/deliverability.md in code. What can't be matched has no
 * consequences; it is shown all the same, as everything is.
 */
export function consequencesOf(classification: Classification, situation: Situation): Consequence[] {
  const { kind } = classification;
  const { mail, known, judgedBy } = situation;
  if (mail === 'test') return [];
  if (mail === 'forward' || mail === 'alert') return ofMailToStaff(classification, situation);
  if (!known) return ofStranger(classification);
  const inDoubt = classification.needsReview && classification.confidence < SURE && judgedBy === 'rules';
  if (inDoubt && !isOutside(mail) && DOUBTFUL.has(kind)) {
    return [{ do: 'hold' }, ...requests(classification), { do: 'forward', as: 'unsure' }];
  }
  const following = BY_KIND[kind](classification, situation);
  return inDoubt && !following.some((one) => one.do === 'show')
    ? [...following, { do: 'show', why: 'low-confidence' }]
    : following;
}

/** A mail to a person that belongs to no journey: the shop's own, or one that was asked for by a page. */
function isOutside(mail: MailOfOurs | null): boolean {
  return mail === 'shop' || mail === 'page';
}

/** Whoever asks about their data gets an answer in time, also one whom we can't find. */
function ofStranger(classification: Classification): Consequence[] {
  const asked = requests(classification);
  return asked.length > 0 ? [...asked, { do: 'show', why: 'request-of-stranger' }] : [];
}

type Rule = (classification: Classification, situation: Situation) => Consequence[];

const BY_KIND: Record<InboundKind, Rule> = {
  reply: ofReply,
  'auto-reply': ofAutoReply,
  bounce: ofBounce,
  complaint: (_, { proven }) =>
    proven
      ? [
          { do: 'stop', outcome: 'complained', suppress: 'complaint' },
          { do: 'resolve-unknown' },
          { do: 'report', report: 'complained', code: null },
          { do: 'fault', fault: 'complaint', code: null },
        ]
      : [],
  unsubscribe: ofUnsubscribe,
  challenge: (_, { proven, challengesBefore }) => [
    ...(proven
      ? [{ do: 'resolve-unknown' } as const, { do: 'report', report: 'delayed', code: 'challenge' } as const]
      : []),
    ...(challengesBefore === 0 ? [{ do: 'show', why: 'challenge' } as const] : []),
  ],
  notice: ofNotice,
  'own-copy': () => [],
  other: () => [],
};

function ofReply(classification: Classification, { mail, proven, fromLead, judgedBy }: Situation): Consequence[] {
  // An answer to an invoice is no answer to the campaign, and we don't know who reads those.
  if (isOutside(mail)) return [...requests(classification), { do: 'show', why: 'answer-to-shop-mail' }];
  const leaves = classification.requests.some((request) => request === 'erasure' || request === 'objection');
  return [
    leaves ? { do: 'stop', outcome: 'unsubscribed', suppress: 'objection' } : { do: 'stop', outcome: 'replied' },
    ...reached(proven),
    ...(fromLead || judgedBy === 'person' ? [{ do: 'forget-soft-bounces' } as const] : []),
    ...requests(classification),
    { do: 'forward', as: leaves ? 'unsubscribe' : 'reply' },
  ];
}

function ofUnsubscribe(classification: Classification, situation: Situation): Consequence[] {
  const { mail, proven, byUnsubscribeAddress, hasText } = situation;
  // Mail programs send to the address by themselves; what a person has put into words, a person should read.
  const worded = !byUnsubscribeAddress && hasText;
  return [
    { do: 'stop', outcome: 'unsubscribed', suppress: 'objection' },
    ...reached(proven),
    ...requests(classification),
    ...(worded && !isOutside(mail) ? [{ do: 'forward', as: 'unsubscribe' } as const] : []),
  ];
}

function ofAutoReply({ subtype, returnDate }: Classification, situation: Situation): Consequence[] {
  const { mail, proven, fromLead, ticketsBefore } = situation;
  if (subtype === 'left') {
    // In a message that anyone may have written, "has left" would be a way to silence a lead.
    const believed = (proven || fromLead) && !isOutside(mail);
    return [
      ...(believed ? [{ do: 'stop', outcome: 'bounced', suppress: 'undeliverable' } as const] : []),
      ...reached(proven),
      { do: 'show', why: 'left' },
    ];
  }
  return [
    ...(returnDate !== null && !isOutside(mail) ? [{ do: 'wait', until: returnDate } as const] : []),
    ...reached(proven),
    ...(subtype === 'ticket' && ticketsBefore > 0 ? [{ do: 'show', why: 'helpdesk' } as const] : []),
  ];
}

/** An auto-reply, a reply or a report about a mail proves that the server took it, whatever we saw of the handover. */
function reached(proven: boolean): Consequence[] {
  return proven ? [{ do: 'resolve-unknown' }] : [];
}

/** A bounce without proof is shown and nothing else: anyone can write one, to silence a lead. */
function ofBounce({ bounce }: Classification, { mail, proven }: Situation): Consequence[] {
  if (!proven || bounce === null) return [];
  const { cause, code } = bounce;
  if (isDeadAddress(bounce)) {
    return [
      { do: 'stop', outcome: 'bounced', suppress: 'undeliverable' },
      { do: 'resolve-unknown' },
      { do: 'report', report: 'bounced-hard', code },
      { do: 'fault', fault: 'hard-bounce', code },
    ];
  }
  const ours = cause === 'policy' || cause === 'content';
  return [
    ...(ours || isOutside(mail) ? [] : [{ do: 'count-soft-bounce', code } as const]),
    { do: 'resolve-unknown' },
    { do: 'report', report: 'bounced-soft', code },
    ...(ours ? [{ do: 'fault', fault: 'policy-bounce', code } as const] : []),
  ];
}

function isDeadAddress({ severity, cause }: BounceFinding): boolean {
  return severity === 'hard' && cause === 'address';
}

function ofNotice({ subtype, bounce }: Classification, { proven }: Situation): Consequence[] {
  if (!proven) return [];
  switch (subtype) {
    case 'delayed':
      return [{ do: 'resolve-unknown' }, { do: 'report', report: 'delayed', code: bounce?.code ?? null }];
    case 'delivered':
    case 'expanded':
    case 'read-receipt':
      return [
        { do: 'resolve-unknown' },
        { do: 'report', report: 'delivered', code: null },
        { do: 'forget-soft-bounces' },
      ];
    case 'relayed':
      return [{ do: 'resolve-unknown' }];
    case 'moderation':
      return [{ do: 'resolve-unknown' }, { do: 'show', why: 'moderation' }];
    default:
      return [];
  }
}

/** What comes back of a mail to our own staff is told to a person and never touches the lead it was about. */
function ofMailToStaff({ kind, bounce }: Classification, { proven }: Situation): Consequence[] {
  if (!proven || kind !== 'bounce' || bounce === null) return [];
  const { cause, code } = bounce;
  const ours = cause === 'policy' || cause === 'content';
  return [
    { do: 'resolve-unknown' },
    { do: 'report', report: isDeadAddress(bounce) ? 'bounced-hard' : 'bounced-soft', code },
    ...(ours ? [{ do: 'fault', fault: 'policy-bounce', code } as const] : []),
    { do: 'show', why: 'staff-mail-bounced' },
  ];
}

function requests(classification: Classification): Consequence[] {
  return classification.requests.map((request) => ({ do: 'request', request }));
}

/** How long a person has to decide what a doubtful message is; then it counts as a reply. */
export const REVIEW_DAYS = 14;

/**
 * When a request about personal data is due: one calendar month after it was received (GDPR, art. 12.3), the month's
 * last day where it has no such day.
 *
 * @param timeZone whose calendar counts
 */
export function requestDueAt(receivedAt: Date, timeZone: string): Date {
  return DateTime.fromJSDate(receivedAt, { zone: timeZone }).plus({ months: 1 }).endOf('day').toJSDate();
}

const SOFT_BOUNCES = 3;
const SOFT_BOUNCE_DAYS = 30;

/** Do these soft bounces, one for each step, make an address undeliverable? At least 3 of them, over 30 days or more. */
export function isWornOut(softBounces: readonly Date[]): boolean {
  const times = softBounces.map((at) => at.getTime());
  return times.length >= SOFT_BOUNCES && Math.max(...times) - Math.min(...times) >= SOFT_BOUNCE_DAYS * 86_400_000;
}

const WEIGHT: Record<ReportKind, number> = {
  delayed: 1,
  delivered: 2,
  'bounced-soft': 3,
  'bounced-hard': 4,
  complained: 5,
};

/** Whether a report says more than what was heard before: reports don't arrive in the order in which they were written. */
export function outweighs(report: ReportKind, known: ReportKind | null): boolean {
  return known === null || WEIGHT[report] > WEIGHT[known];
}

/** What an answer is about, for the mail that hands it to the salespeople. */
export interface ForwardStory {
  as: 'reply' | 'unsubscribe' | 'unsure';
  /** Language of the mail: the campaign's. */
  locale: string;
  timeZone: string;
  company: string;
  product: string;
  campaign: string;
  lead: { name: string; email: string };
  requestedAt: Date;
  /** Of a buyer: the shop's number of what was bought, and when that was. */
  order?: { number: string; purchasedAt: Date } | null;
  /** Mails that reached their server, oldest first. */
  sent: readonly { step: number; at: Date }[];
  /** As the enrollment stands now; null while it is open. */
  outcome: string | null;
  requests: readonly RequestKind[];
  message: { from: string; subject: string; text: string; receivedAt: Date };
  /** Where they snooze or reopen; null where there is nothing to go on with. */
  link: string | null;
}

export type ComposeForward = (story: ForwardStory) => { subject: string; text: string; html: string };
