import type { Classification, InboundKind, KnownThread, MatchedBy, ProvenRef } from '../../domain/inbound';
import type { TokenKey } from '../../domain/signed-token';
import { AUTOMATIC_FROM, judgeAutomatic } from './automatic';
import { tableBounce } from './bounce-table';
import { challenge } from './challenges';
import { deliveryReport, judgeReport } from './delivery-report';
import { feedbackReport } from './feedback';
import { newText } from './new-text';
import { moderationNotice, structuredNotice, textualReceipt } from './notices';
import { type OwnRefs, ownRefs } from './own-refs';
import { readMessage } from './read';
import { header, type ReceivedMessage } from './received';
import { inThread, reactionOrCalendar } from './thread';
import { wishesIn } from './wishes';

export interface ClassifyContext {
  /** None: nothing is proven and `matched` stays null. */
  keys: readonly TokenKey[];
  /** Domains that we send from, so that a copy of our own mail is known. */
  ownDomains?: readonly string[];
  /** What `ownRefs` found before, where the caller asked for it first. */
  refs?: OwnRefs;
  /** What the database knows of its sender and of the mails that it names. */
  known?: KnownThread;
}

export interface Classified {
  classification: Classification;
  proven: ProvenRef | null;
  message: ReceivedMessage;
}

/** Below this a person should look, where it is about a lead of ours. */
const SURE = 0.6;

/** What a rule says; what all classifications share is added to it. */
type Finding = { kind: InboundKind; confidence: number; evidence: string[] } & Partial<
  Pick<Classification, 'subtype' | 'bounce' | 'returnDate' | 'requests' | 'needsReview'>
>;

/** Reads and classifies raw bytes without a database; `classify` is for who wants to ask it in between. */
export async function classifyRaw(raw: Buffer, context: ClassifyContext): Promise<Classified> {
  return classify(await readMessage(raw), context);
}

/**
 * What a received message is, and what of ours it speaks of. Never throws. The first rule that fits decides: structure
 * and headers (RFC 3464, 5965, 8098), then tables of known texts, then words in what a person newly wrote.
 */
export function classify(message: ReceivedMessage, context: ClassifyContext): Classified {
  try {
    const refs = context.refs ?? ownRefs(message, context.keys, context.ownDomains);
    const finding = decide(message, refs, context.known);
    return { classification: complete(finding, message, refs, context), proven: refs.proven, message };
  } catch (error) {
    // Whatever a stranger writes, it is kept and shown; the error's own words could quote them.
    const name = error instanceof Error ? error.name : 'error';
    const finding: Finding = {
      kind: 'other',
      confidence: 0,
      evidence: [`a rule failed on it (${name})`],
      needsReview: true,
    };
    return { classification: plain(finding), proven: null, message };
  }
}

function decide(message: ReceivedMessage, refs: OwnRefs, known: KnownThread | undefined): Finding {
  if (message.problem !== null) {
    return { kind: 'other', confidence: 1, evidence: [`unreadable: ${message.problem}`] };
  }
  return (
    feedbackReport(message) ??
    reported(message) ??
    noticed(structuredNotice(message)) ??
    unsubscribed(refs) ??
    copied(refs) ??
    tabled(message) ??
    noticed(textualReceipt(message)) ??
    challenged(message) ??
    noticed(moderationNotice(message)) ??
    automatic(message, refs, known) ??
    written(message, refs, known)
  );
}

function reported(message: ReceivedMessage): Finding | null {
  const report = deliveryReport(message);
  const judged = report === null ? null : judgeReport(report, message);
  if (judged === null) return null;
  const evidence = ['delivery status notification (RFC 3464)'];
  if ('notice' in judged) {
    return {
      kind: 'notice',
      subtype: judged.notice,
      confidence: 0.98,
      evidence: [...evidence, `action: ${judged.notice}`],
    };
  }
  const { bounce, rule } = judged;
  const code = bounce.code === null ? 'no status code' : `status ${bounce.code}`;
  return {
    kind: 'bounce',
    bounce,
    confidence: 0.98,
    evidence: [...evidence, 'action: failed', code, `reason: ${rule}`],
  };
}

function noticed(notice: ReturnType<typeof structuredNotice>): Finding | null {
  if (notice === null) return null;
  return { kind: 'notice', ...notice, needsReview: notice.subtype === 'moderation' };
}

/** Mail programs and providers send these by themselves, so Auto-Submitted says nothing against it. */
function unsubscribed({ unsubscribe }: OwnRefs): Finding | null {
  if (unsubscribe === null) return null;
  return { kind: 'unsubscribe', confidence: 1, evidence: ['addressed to the unsubscribe address of a mail of ours'] };
}

function copied({ ownCopy }: OwnRefs): Finding | null {
  if (ownCopy === null) return null;
  return {
    kind: 'own-copy',
    confidence: 1,
    evidence: ['has the Message-ID that we signed, and comes from our domain'],
  };
}

function tabled(message: ReceivedMessage): Finding | null {
  const found = tableBounce(message);
  if (found === null) return null;
  if (found.bounce === null) return { ...found, kind: 'notice', subtype: 'delayed' };
  return { ...found, kind: 'bounce', bounce: found.bounce };
}

/** Nobody answers a challenge but a person, so one should see it. */
function challenged(message: ReceivedMessage): Finding | null {
  const found = challenge(message);
  return found === null ? null : { kind: 'challenge', ...found, needsReview: true };
}

function automatic(message: ReceivedMessage, refs: OwnRefs, known: KnownThread | undefined): Finding | null {
  const found = judgeAutomatic(message);
  if (found === null) return null;
  // "Don't answer this message": an invoice says so too, and it answers nothing of ours.
  const stranger = refs.proven === null && !knownHere(known) && !inThread(message);
  if (stranger && found.subtype === null && found.confidence < AUTOMATIC_FROM) return null;
  const { subtype, returnDate, confidence, evidence } = found;
  return { kind: 'auto-reply', subtype, returnDate, confidence, evidence, needsReview: subtype === 'left' };
}

/** By a person, or by a machine that says nothing of itself. */
function written(message: ReceivedMessage, refs: OwnRefs, known: KnownThread | undefined): Finding {
  const proven = refs.proven !== null;
  const isKnown = knownHere(known);
  const thread = inThread(message);
  const bulk = bulkMail(message);
  if (bulk !== null && !proven && !thread) return { kind: 'other', confidence: 0.8, evidence: [bulk] };
  const special = proven || thread || isKnown ? reactionOrCalendar(message) : null;
  if (special !== null) return { kind: 'reply', ...special };
  const wishes = wishesIn(wordsOf(message, thread));
  const { requests } = wishes;
  if (wishes.unsubscribe) {
    return { kind: 'unsubscribe', requests, confidence: wishes.confidence, evidence: wishes.evidence };
  }
  const why = [
    proven ? 'names a mail of ours' : null,
    thread ? 'answers in a thread' : null,
    known?.knownSender ? 'its sender was written to' : null,
    known !== undefined && known.enrollmentId !== null ? 'belongs to an enrollment' : null,
  ].filter((line) => line !== null);
  if (why.length > 0) {
    const confidence = proven || isKnown ? 0.95 : 0.85;
    return { kind: 'reply', requests, confidence, evidence: [...wishes.evidence, ...why] };
  }
  const evidence = [...wishes.evidence, 'answers no mail of ours, and its sender is not known'];
  return { kind: 'other', requests, confidence: 0.7, evidence, needsReview: requests.length > 0 };
}

/** The database knows its sender, or what it answers. */
function knownHere(known: KnownThread | undefined): boolean {
  return known !== undefined && (known.knownSender || known.enrollmentId !== null);
}

/** A new mail's subject is something its sender wrote, and that of an empty one all of it; that of an answer is ours. */
function wordsOf(message: ReceivedMessage, thread: boolean): string {
  const text = newText(message);
  const ownSubject = (!thread || text.trim() === '') && !/^\s*\p{L}{1,6}\s*:/u.test(message.subject);
  return ownSubject && message.subject.trim() !== '' ? `${message.subject.trim()}.\n\n${text}` : text;
}

/** Newsletters and lists say so in their header (RFC 2369, 2919). */
function bulkMail(message: ReceivedMessage): string | null {
  if (header(message, 'list-id') !== null || header(message, 'list-unsubscribe') !== null)
    return 'sent to a mailing list';
  return /^(bulk|list|junk)/i.test(header(message, 'precedence') ?? '') ? 'bulk mail' : null;
}

function complete(
  finding: Finding,
  message: ReceivedMessage,
  { proven }: OwnRefs,
  { known }: ClassifyContext,
): Classification {
  const matched = matchedBy(proven, known);
  const unsure = finding.confidence < SURE && (matched !== null || known?.knownSender === true || inThread(message));
  const base = plain(finding);
  const evidence = [
    ...base.evidence,
    ...(matched === null ? [] : [`matched by ${matched.by}`]),
    ...(message.truncated ? ['it is too large: only its beginning was read'] : []),
  ];
  return { ...base, matched, needsReview: base.needsReview || unsure, evidence };
}

function plain({
  kind,
  subtype,
  bounce,
  returnDate,
  requests,
  needsReview,
  confidence,
  evidence,
}: Finding): Classification {
  return {
    kind,
    subtype: subtype ?? null,
    bounce: bounce ?? null,
    returnDate: returnDate ?? null,
    requests: requests ?? [],
    matched: null,
    needsReview: needsReview ?? false,
    confidence: Math.round(confidence * 100) / 100,
    evidence,
  };
}

/** A token proves; what the database found by other ways is second. */
function matchedBy(
  proven: ProvenRef | null,
  known: KnownThread | undefined,
): { enrollmentId: string; by: MatchedBy } | null {
  if (proven !== null) return proven.ref.kind === 'enrollment' ? { enrollmentId: proven.ref.id, by: proven.by } : null;
  if (known === undefined || known.enrollmentId === null) return null;
  return { enrollmentId: known.enrollmentId, by: known.by ?? 'address' };
}
