import type { EnrollmentView, LeadEvent, LeadView, MessageView } from '../db/leads';

/** One thing that happened to a lead, or did not, and why. */
export interface TimelineEntry {
  at: Date;
  enrollmentId: string | null;
  campaignId: string | null;
  /** What happened, for programs. */
  kind: string;
  step: number | null;
  /** Codes and ids that belong to it. */
  detail: Record<string, unknown>;
  /** The same for people. */
  text: string;
}

/**
 * Everything that happened to a lead and why, oldest first, and why mail was not sent. What the ledger knows and no
 * event tells (a message on its way, one that was taken back) is told from there.
 */
export function timelineOf(lead: Pick<LeadView, 'events' | 'enrollments'>): TimelineEntry[] {
  const campaignOf = new Map(lead.enrollments.map((view) => [view.enrollmentId, view.campaignId]));
  const told = lead.events.map((event): TimelineEntry => {
    const campaignId = event.enrollmentId === null ? null : (campaignOf.get(event.enrollmentId) ?? null);
    return { ...event, campaignId, text: sentenceOf(event) };
  });
  const untold = lead.enrollments.flatMap((view) => view.messages.flatMap((message) => fromLedger(view, message)));
  return [...told, ...untold].sort((a, b) => a.at.getTime() - b.at.getTime());
}

function fromLedger(view: EnrollmentView, message: MessageView): TimelineEntry[] {
  const what = messageName(message.step, message.copy);
  const texts: Partial<Record<MessageView['state'], { kind: string; text: string }>> = {
    claimed: { kind: 'message-claimed', text: `${what} is being sent; a stop still holds it back.` },
    handing_over: {
      kind: 'message-handing-over',
      text: `${what} is being handed over to the mail server; nothing can hold it back any more.`,
    },
    withdrawn: {
      kind: 'message-withdrawn',
      text:
        view.outcome === null
          ? `${what} was taken back before it was handed over. It was not sent.`
          : `${what} was taken back before it was handed over, because the enrollment ended as ${view.outcome}. It was not sent.`,
    },
  };
  const entry = texts[message.state];
  if (entry === undefined) return [];
  const { enrollmentId, campaignId } = view;
  const { copy, messageId, state, at, step, code } = message;
  return [{ at, enrollmentId, campaignId, step, ...entry, detail: { copy, messageId, state, code } }];
}

function sentenceOf({ kind, step, detail }: LeadEvent): string {
  const what = messageName(step ?? 0, typeof detail.copy === 'number' ? detail.copy : 0);
  const answer = typeof detail.code === 'string' ? ` (${detail.code})` : '';
  const next = typeof detail.dueAt === 'string' ? detail.dueAt : null;
  switch (kind) {
    case 'enrolled':
      return `Enrolled ${viaText(detail.via)} in version ${detail.version}. ${consentText(detail.consent)}`;
    case 'asked-again':
      return askedAgainText(detail);
    case 'message-accepted':
      return `${what} was taken by the mail server${answer}.${next === null ? '' : ` What comes next is due at ${next}.`}`;
    case 'message-rejected':
      return `${what} was refused by the mail server for good${answer}. It was not sent, and is not tried again.`;
    case 'message-deferred':
      return `${what} was put off by the mail server${answer}. It was not sent yet${next === null ? '.' : `, and is tried again at ${next}.`}`;
    case 'message-skipped':
      return `${what} was put off by the mail server for five days${answer}. It was not sent, and the journey goes on without it.`;
    case 'message-unknown':
      return `Whether the mail server took ${lowerFirst(what)} is not known: a crash came between. It is never sent again.`;
    case 'message-not-sent':
      return `${what} was not sent: ${notSentText(detail)}.`;
    case 'paused':
      return 'Paused: nothing is sent until it is resumed.';
    case 'resumed':
      return 'Resumed: what fell due meanwhile goes out in the next send window.';
    case 'ended':
      return endedText(detail);
    case 'suppressed':
      return suppressedText(detail);
    case 'received':
      return receivedText(detail);
    case 'review-decided':
      return detail.by === 'time'
        ? 'Nobody decided what their message was in time: it counts as a reply.'
        : `A person decided that their message is: ${detail.kind} (it was taken for: ${detail.was}).`;
    case 'message-resolved':
      return `${what} has reached its mail server after all: something came back about it.`;
    case 'message-reported':
      return `${what}: ${REPORTS[String(detail.report)] ?? String(detail.report)}${answer}.`;
    case 'waits-for-return':
      return `They are away until ${detail.returnDate}: what comes next waits, and is due at ${detail.dueAt}.`;
    case 'forwarded':
      return 'Their message was handed to the salespeople.';
    case 'privacy-request':
      return `They ask about their data (${detail.request}). An answer is due by ${detail.dueAt}.`;
    case 'snoozed':
      return `Put to rest ${viaText(detail.via)}: what comes next is due at ${detail.dueAt}.`;
    case 'reopened':
      return typeof detail.as === 'string'
        ? `Reopened ${viaText(detail.via)}: it goes on as enrollment ${detail.as}.`
        : `Goes on after enrollment ${detail.from}, ${viaText(detail.via)}. What comes next is due at ${detail.dueAt}.`;
    case 'moved':
      return `Moved from version ${detail.from} of the campaign to version ${detail.to}. What comes next is due at ${detail.dueAt}.`;
    case 'left-ended':
      return 'The salespeople have seen the answer and leave it at that.';
    case 'erased':
      return `Erased${ERASED_BY[String(detail.by)] ?? ''}: nothing of this person is kept but what is counted${detail.sealed === true ? ', and sealed evidence' : ''}.`;
    case 'consent-withdrawn':
      return 'The consent was withdrawn: no more nudges are sent.';
    case 'consent-added':
      return `A file brought the evidence of what they agreed to. ${consentText(detail.consent)}`;
    case 'stop-without-effect':
      return `${byText(detail)} came in, and no open enrollment was ended by it.`;
    default:
      // A newer release may have written kinds that this one has no words for.
      return String(kind);
  }
}

const ERASED_BY: Record<string, string> = {
  staff: ' by our staff',
  person: ' as they asked by their own page',
  reply: ' as they asked in a mail',
  retention: ' at the end of the time for which they were kept',
  journal: ' again, after a restore',
};

function messageName(step: number, copy: number): string {
  if (step > 0) return `Nudge ${step}`;
  return copy > 0 ? `The information, sent once more (${copy}),` : 'The information';
}

function viaText(via: unknown): string {
  if (typeof via !== 'string') return '';
  if (via === 'api') return 'through the API';
  if (via === 'staff-link') return 'by the salespeople';
  if (via === 'decision') return 'because their message was no reply';
  return via.startsWith('import:') ? `by import ${via.slice('import:'.length)}` : `by ${via}`;
}

function consentText(purpose: unknown): string {
  if (typeof purpose !== 'string') return 'There is no consent on record, so only the information is sent.';
  return purpose === 'information'
    ? 'The consent covers the information only, so no nudges are sent.'
    : `There is a consent to ${purpose}.`;
}

function askedAgainText(detail: Record<string, unknown>): string {
  const info = detail.infoAgain
    ? 'The information is sent again'
    : 'The information is not sent again: it went out less than 24 hours ago, or is on its way';
  const next = typeof detail.nextDueAt === 'string' ? `; the next nudge moved to ${detail.nextDueAt}` : '';
  return `Asked again ${viaText(detail.via)}. ${info}${next}.`;
}

const REPORTS: Readonly<Record<string, string>> = {
  delivered: 'it was delivered',
  delayed: 'the receiving side has not delivered it yet',
  'bounced-soft': 'it came back, for now',
  'bounced-hard': 'it came back for good',
  complained: 'it was reported as spam',
};

const RECEIVED: Readonly<Record<string, string>> = {
  reply: 'They have answered',
  'auto-reply': 'An automatic answer came',
  bounce: 'A mail came back',
  complaint: 'A complaint came',
  unsubscribe: 'They asked for no more mail',
  challenge: 'Their mail system asks us to prove that we are people',
  'own-copy': 'A copy of our own mail came',
  notice: 'A notice came about a mail',
  other: 'Something came that is none of the usual things',
};

function receivedText({ kind, subtype, matchedBy, duplicateOf, inboundId }: Record<string, unknown>): string {
  const what = `${RECEIVED[String(kind)] ?? String(kind)}${typeof subtype === 'string' ? ` (${subtype})` : ''}`;
  const how = typeof matchedBy === 'string' ? `, matched by ${matchedBy}` : '';
  const again = typeof duplicateOf === 'string' ? ' It came before, and nothing follows from it.' : '';
  return `${what}${how}: message ${inboundId}.${again}`;
}

function notSentText(detail: Record<string, unknown>): string {
  switch (detail.reason) {
    case 'paused':
      return detail.by === 'campaign' ? 'the campaign is paused' : 'the enrollment is paused';
    case 'review':
      return 'a message of theirs waits for a person to decide what it is';
    case 'send-window':
      return `the send window was closed${typeof detail.until === 'string' ? `; it opens at ${detail.until}` : ''}`;
    default:
      return String(detail.reason);
  }
}

function endedText(detail: Record<string, unknown>): string {
  const outcome = String(detail.outcome);
  switch (outcome) {
    case 'purchased':
      return `Ended as purchased${typeof detail.orderId === 'string' ? ` with order ${detail.orderId}` : ''}: no more mail is sent.`;
    case 'informed':
      return 'Ended as informed: the information went out, and there is no consent to nudges, so none are sent.';
    case 'exhausted':
      return 'Ended as exhausted: every step was dealt with, and no answer came.';
    case 'bounced':
      return `Ended as bounced: mail to this address can not be delivered${typeof detail.code === 'string' ? ` (${detail.code})` : ''}.`;
    case 'replied':
      return 'Ended as replied: a person has answered, and no more mail is sent.';
    default:
      return detail.by === 'suppression'
        ? `Ended as ${outcome}: the address is suppressed (${detail.reason}), so no more mail is sent.`
        : `Ended as ${outcome}: no more mail is sent.`;
  }
}

function suppressedText(detail: Record<string, unknown>): string {
  switch (detail.reason) {
    case 'objection':
      return `Unsubscribed${detail.via === 'api' ? ' (told through the API)' : ''} from all marketing mail: nothing of any campaign is sent.`;
    case 'complaint':
      return 'Complained about our mail: nothing of any campaign is sent.';
    case 'campaign':
      return 'Unsubscribed from one campaign: nothing of it is sent.';
    default:
      return 'Mail to this address came back as undeliverable: none is sent.';
  }
}

function byText(detail: Record<string, unknown>): string {
  switch (detail.by) {
    case 'purchase':
      return `A purchase${typeof detail.orderId === 'string' ? ` (order ${detail.orderId})` : ''}`;
    case 'reply':
      return 'A reply';
    case 'inbound':
      return `A message (${detail.kind})`;
    default:
      return `A stop (${detail.outcome})`;
  }
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
