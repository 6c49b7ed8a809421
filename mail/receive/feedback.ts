import { daemonSigns, looksHandled } from './daemon';
import { header, type ReceivedMessage } from './received';

/** What a feedback report amounts to. */
export interface FeedbackFinding {
  kind: 'complaint' | 'notice';
  subtype: 'not-spam' | 'auth-failure' | null;
  confidence: number;
  evidence: string[];
}

/** Providers that sent their complaints in forms of their own before ARF. */
const LOOP_SENDER =
  /^(staff@hotmail\.com|scomp@aol\.net|.*@(.*\.)?(fbl|feedback|abuse-?report|complaints?)\.|(fbl|fbl-?[\w.-]*|feedback-?loop|feedbackloop|complaints?|complaint-?arf|abuse-?reports?|spam-?reports?|arf)@|.*@(arf|fbl)\.mail\.|.*@reports\.spamcop\.net|.*@(devnull\.)?spamcop\.net)/;
const ABUSE_DESK =
  /^(abuse|security|cert|soc|spam|fbl|feedback|complaints?|trustandsafety|staff|noreply|no-reply|postmaster)/;
const COMPLAINT_SUBJECT =
  /\b(abuse|spam|complaint|feedback|junk)[ -]?(complaint|report|feedback|notification)\b|complaint about (message|e-?mail)|email feedback report|\[spamcop|reported as (spam|junk|abuse)|(marked|flagged) as (spam|junk)|spam-?beschwerde|missbrauchs?meldung|denuncia de (spam|correo|abuso)|queja (de|por) spam|signalement de (spam|courrier)|plainte|segnalazione (di )?spam|den[uú]ncia de spam|spamklacht|klacht over spam/i;

/**
 * A complaint or another report of a feedback loop (RFC 5965, 6650), or null. Abuse and fraud are complaints, and so are
 * opt-outs of old loops; not-spam, auth-failure (RFC 6591), virus and other are notices. Loops that follow no RFC count
 * where their sender, subject and the attached mail agree.
 */
export function feedbackReport(message: ReceivedMessage): FeedbackFinding | null {
  const own = message.parts.filter((part) => !part.embedded);
  const report = own.find(
    ({ contentType, text }) =>
      contentType === 'message/feedback-report' ||
      (contentType.startsWith('text/') &&
        /^Feedback-Type:[ \t]*[\w-]+/im.test(text) &&
        /^(User-Agent|Version):/im.test(text)),
  );
  const sentAsReport = message.parameters['report-type'] === 'feedback-report';
  if (
    report !== undefined &&
    (report.contentType === 'message/feedback-report' || sentAsReport || !looksHandled(message))
  ) {
    if (report.contentType.startsWith('text/') && !sentAsReport && report.text.includes('\n>')) return null;
    return ofType(/^Feedback-Type[ \t]*:[ \t]*"?([\w-]+)/im.exec(report.text)?.[1]?.toLowerCase() ?? null);
  }
  if (sentAsReport && message.embeddedHeaders.length > 0) return ofType(null);
  return looseComplaint(message);
}

function ofType(type: string | null): FeedbackFinding {
  const evidence = [`feedback report (RFC 5965) of type ${type ?? 'not named'}`];
  switch (type) {
    case 'not-spam':
    case 'miscategorized':
    case 'not_spam':
      return { kind: 'notice', subtype: 'not-spam', confidence: 0.99, evidence };
    case 'auth-failure':
    case 'auth_failure':
    case 'dkim':
    case 'dmarc':
      return { kind: 'notice', subtype: 'auth-failure', confidence: 0.99, evidence };
    case 'virus':
    case 'other':
      return { kind: 'notice', subtype: null, confidence: 0.9, evidence };
    case null:
      return { kind: 'complaint', subtype: null, confidence: 0.85, evidence };
    default:
      // abuse, fraud, opt-out, and types that loops made up for what a person pressed a button for.
      return { kind: 'complaint', subtype: null, confidence: 0.99, evidence };
  }
}

/** Without a feedback-report part it takes a known loop, or an abuse desk with the mail attached, to be clear. */
function looseComplaint(message: ReceivedMessage): FeedbackFinding | null {
  const address = message.from?.address ?? '';
  const attached = message.embeddedHeaders.length > 0;
  if (header(message, 'x-hmxmroriginalrecipient') !== null && attached) {
    return {
      kind: 'complaint',
      subtype: null,
      confidence: 0.95,
      evidence: ["Microsoft's junk mail report, mail attached"],
    };
  }
  const xarf = /^(yes|plain|secure|bulk)/i.test(header(message, 'x-arf') ?? header(message, 'x-xarf') ?? '');
  const says = COMPLAINT_SUBJECT.test(message.subject);
  if (xarf && (says || attached)) {
    return { kind: 'complaint', subtype: null, confidence: 0.9, evidence: ['abuse report in the X-ARF format'] };
  }
  if (!says || looksHandled(message) || daemonSigns(message).nullSender) return null;
  if (
    LOOP_SENDER.test(address) &&
    (attached || /received:|message-id:/i.test(message.text) || /spamcop/.test(address))
  ) {
    return {
      kind: 'complaint',
      subtype: null,
      confidence: 0.9,
      evidence: ['sent by a feedback loop, mail of ours in it'],
    };
  }
  if (ABUSE_DESK.test(address) && attached) {
    return {
      kind: 'complaint',
      subtype: null,
      confidence: 0.8,
      evidence: ['sent by an abuse desk, the mail attached'],
    };
  }
  return null;
}
