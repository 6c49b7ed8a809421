import type { BounceFinding } from '../../domain/inbound';
import { type BounceReason, judgeFailure, judgeWords, quotesAnswer } from './bounce-reason';
import {
  DELAYED_SUBJECT,
  DELAYED_TEXT,
  FAILED_SUBJECT,
  FAILED_TEXT,
  FILTER_SENDER,
  FILTER_SUBJECT,
  FILTER_TEXT,
  GIVEN_UP_TEXT,
  MAIL_SYSTEMS,
  RETURNED_COPY,
  WAITING_FOR_US,
} from './bounce-words';
import { daemonSigns, looksHandled } from './daemon';
import { mailedAddress } from './delivery-report';
import { addressesIn } from './header-block';
import { header, type ReceivedMessage } from './received';

/** What the table found in a bounce that follows no RFC. */
export interface TableFinding {
  /** Null: a warning that it is being tried on. */
  bounce: BounceFinding | null;
  /** 0 to 1. */
  confidence: number;
  evidence: string[];
}

/** Explanations stand at the top; some systems put a page of advice first. */
const EXPLANATION = 12_000;
/** What a person's own words about a bounce would have to begin with to be taken for one. */
const OPENING = 1_500;

/** Signs that a mail system wrote the message because another one failed. */
interface Signs {
  daemonAddress: boolean;
  nullSender: boolean;
  failedRecipients: boolean;
  report: boolean;
  subject: boolean;
  sentence: boolean;
  system: string | null;
  returned: boolean;
  answer: boolean;
}

/**
 * Judges the many bounces that follow no RFC: who signs them, their subject and their structure weigh first, then the
 * phrases of known mail systems, so that a person who quotes "user unknown" or forwards a bounce is not taken for one.
 * Null when it is no bounce.
 */
export function tableBounce(message: ReceivedMessage): TableFinding | null {
  if (looksHandled(message)) return null;
  const told = explanationOf(message);
  const lower = plain(unquoted(told));
  const subject = plain(message.subject);
  const filter = filterNotice(message, subject, lower);
  if (filter !== null) return filter;
  const signs = signsOf(message, subject, lower);
  if (!isBounce(message, signs)) return null;
  if (!signs.returned && !signs.failedRecipients && !signs.report && !signs.answer && WAITING_FOR_US.test(lower)) {
    return null;
  }
  const evidence = evidenceOf(signs);
  const score = scoreOf(signs);
  const confidence = Math.min(0.98, 0.6 + score * 0.04);
  if (isWarning(subject, lower))
    return { bounce: null, confidence, evidence: [...evidence, 'it is still being tried'] };
  const recipient = failedAddress(message, told);
  const { rule, ...reason } = reasonOf(told, recipient, message.subject);
  return {
    bounce: { ...reason, recipient: mailedAddress(message, { original: null, final: recipient }, 1) },
    confidence,
    evidence: [...evidence, `reason: ${rule}`],
  };
}

function signsOf(message: ReceivedMessage, subject: string, lower: string): Signs {
  const { daemonAddress, nullSender } = daemonSigns(message);
  const system = MAIL_SYSTEMS.find(({ text }) => text.test(lower))?.name ?? null;
  return {
    daemonAddress,
    nullSender,
    failedRecipients: header(message, 'x-failed-recipients') !== null,
    report:
      message.contentType === 'multipart/report' && /delivery-status|^$/.test(message.parameters['report-type'] ?? ''),
    subject: FAILED_SUBJECT.test(subject) || DELAYED_SUBJECT.test(subject),
    sentence: FAILED_TEXT.test(lower) || DELAYED_TEXT.test(lower),
    system,
    returned: message.embeddedHeaders.length > 0 || RETURNED_COPY.test(message.text),
    answer: lower.split('\n').some(quotesAnswer) || /^<[^<>\s]+@[^<>\s]+>:/m.test(lower),
  };
}

function scoreOf(signs: Signs): number {
  return (
    (signs.failedRecipients ? 4 : 0) +
    (signs.report ? 3 : 0) +
    (signs.daemonAddress ? 2 : 0) +
    (signs.nullSender ? 1 : 0) +
    (signs.subject ? 2 : 0) +
    (signs.sentence ? 1 : 0) +
    (signs.system === null ? 0 : 1) +
    (signs.returned ? 1 : 0) +
    (signs.answer ? 1 : 0)
  );
}

function isBounce(message: ReceivedMessage, signs: Signs): boolean {
  if (signs.failedRecipients && (signs.daemonAddress || signs.nullSender || signs.subject || signs.sentence))
    return true;
  // MAILER-DAEMON writes nothing but reports, also in languages that no table knows.
  if (/^mailer-?daemon@/.test(message.from?.address ?? '') && !isVacation(message) && (signs.returned || signs.answer))
    return true;
  if (!signs.subject && !signs.sentence && !signs.report) return false;
  if (signs.report && !isVacation(message) && (signs.subject || signs.sentence)) return true;
  if (signs.daemonAddress) return scoreOf(signs) >= 4;
  if (isVacation(message)) return false;
  if (signs.nullSender) return signs.subject ? scoreOf(signs) >= 4 : scoreOf(signs) >= 5 && signs.returned;
  // Signed by no mail system: all the rest must speak for it, at the very start, and it may answer nobody.
  const opening = plain(unquoted(message.text.slice(0, OPENING)));
  const others = addressesIn(opening).filter((address) => address !== message.from?.address);
  if (!signs.returned && others.every((address) => message.recipients.includes(address))) return false;
  return (
    signs.subject &&
    FAILED_TEXT.test(opening) &&
    (signs.returned ? signs.system !== null || signs.answer : signs.answer) &&
    message.references.length === 0
  );
}

/** A vacation program's mail, with the null reverse-path that RFC 3834 asks for. */
function isVacation(message: ReceivedMessage): boolean {
  return (
    /auto-replied|auto-notified/i.test(header(message, 'auto-submitted') ?? '') &&
    /^(auto(matic|mat)?|automatische|respuesta|r[eé]ponse|risposta|resposta|out of (the )?office|abwesen|ausente|fuera)/i.test(
      message.subject,
    )
  );
}

function isWarning(subject: string, lower: string): boolean {
  if (DELAYED_SUBJECT.test(subject))
    return !/fail|undeliver|unable|returned|unzustellbar/.test(subject) || DELAYED_TEXT.test(lower);
  return DELAYED_TEXT.test(lower) && !GIVEN_UP_TEXT.test(lower) && !/fail|undeliver|return/.test(subject);
}

function evidenceOf(signs: Signs): string[] {
  return [
    signs.daemonAddress ? "sent under a mail system's name" : null,
    signs.nullSender ? 'null reverse-path' : null,
    signs.failedRecipients ? 'X-Failed-Recipients' : null,
    signs.report ? 'multipart/report without a delivery status' : null,
    signs.subject ? 'subject of a delivery failure' : null,
    signs.system === null ? null : `words of ${signs.system}`,
    signs.sentence ? 'says that a mail was not delivered' : null,
    signs.returned ? 'the mail is returned with it' : null,
  ].filter((line) => line !== null);
}

/** A filter or virus scanner tells that it kept or threw away our mail. */
function filterNotice(message: ReceivedMessage, subject: string, lower: string): TableFinding | null {
  const sender = `${message.from?.address.split('@')[0] ?? ''} ${message.from?.name ?? ''}`.toLowerCase();
  const { nullSender } = daemonSigns(message);
  if (!FILTER_SENDER.test(sender) && !nullSender) return null;
  if (!FILTER_SUBJECT.test(subject) || FAILED_SUBJECT.test(subject.replace(/blocked/g, ''))) return null;
  if (!FILTER_TEXT.test(lower)) return null;
  const recipient = failedAddress(message, explanationOf(message));
  return {
    bounce: {
      severity: 'soft',
      cause: 'content',
      code: null,
      codeFrom: null,
      recipient: mailedAddress(message, { original: null, final: recipient }, 1),
    },
    confidence: 0.85,
    evidence: ['sent by a filter or a virus scanner', 'says that the mail was kept or thrown away for what is in it'],
  };
}

/** What the mail system says itself: text before the returned copy, and the status part where no parser took it. */
function explanationOf(message: ReceivedMessage): string {
  const text = message.text.slice(0, 60_000);
  const marks = [...text.matchAll(new RegExp(RETURNED_COPY.source, 'gim'))];
  for (const mark of marks) {
    // "----- Transcript of session follows -----" and "----- The following addresses had …" head the explanation.
    if (/transcript|the following|errors? (message|follow)|diagnos|reason|details/i.test(mark[0])) continue;
    if (text.slice(0, mark.index).trim().length >= 30) return text.slice(0, mark.index).slice(0, EXPLANATION);
  }
  return text.slice(0, EXPLANATION);
}

/** Without what a person's mail program quotes; `>>> RCPT TO` is a transcript. */
function unquoted(text: string): string {
  return text.replace(/^[ \t]*>(?!>>)[^\n]*$/gm, '');
}

function plain(text: string): string {
  return text
    .toLowerCase()
    .replace(/[’‘´`]/g, "'")
    .replace(/\u00a0/g, ' ');
}

/**
 * The address that failed, in the systems' ways of naming it: a header, a line of its own, angle brackets. Not an
 * address of ours.
 */
function failedAddress(message: ReceivedMessage, told: string): string | null {
  const header1 = addressesIn(header(message, 'x-failed-recipients') ?? '')[0];
  if (header1 !== undefined) return header1;
  const ours = new Set([...message.recipients, message.from?.address ?? '']);
  const usable = (address: string | undefined): address is string =>
    address !== undefined && !ours.has(address) && !/^(postmaster|mailer-daemon|abuse|support|helpdesk)@/.test(address);
  for (const pattern of ADDRESS_PLACES) {
    for (const match of told.matchAll(pattern)) {
      const address = addressesIn(match[1] ?? '')[0];
      if (usable(address)) return address;
    }
  }
  const verp = message.recipients.map(verpAddress).find((address) => address !== null);
  if (verp !== undefined && verp !== null) return verp;
  const returned = message.embeddedHeaders
    .flatMap((fields) => (fields.get('to') ?? []).flatMap(addressesIn))
    .find(usable);
  if (returned !== undefined) return returned;
  const copied = /^[ \t>]*To:[ \t]*(.+)$/im.exec(message.text.slice(told.length))?.[1] ?? '';
  return addressesIn(copied).find(usable) ?? addressesIn(told).find(usable) ?? null;
}

/** Most telling first. */
const ADDRESS_PLACES: readonly RegExp[] = [
  /^[ \t]*(?:final-recipient|original-recipient|failed recipient|recipient address|recipient|failed address|undeliverable (?:address|to)|unknown user|destinatario|empf(?:ä|ae)nger|destinataire|to|address|user|user unknown|rcpt to|email|e-?mail)[ \t]*:[ \t]*(?:rfc822;)?[ \t]*(.{3,200})$/gim,
  /^[ \t]*<([^<>\s]+@[^<>\s]+)>[ \t]*[:,;(]?/gm,
  /rcpt to:[ \t]*<([^<>\s]+@[^<>\s]+)>/gi,
  /^[ \t]*(?:smtp:|mailto:)?["'[(]?([^\s<>"'()[\],;:]+@[^\s<>"'()[\],;:]+)["'\])]?(?:[ \t:;(,].*)?$/gm,
  /(?:to|for|an|a|à|para|naar|recipient|user|address|mailbox|unknown|failed)[: \t]+["'<[(]{0,2}([^\s<>"'()[\],;:]+@[^\s<>"'()[\],;:]+)/gi,
  /<([^<>\s]+@[^<>\s]+)>/g,
];

/** `bounces+user=example.org@list.example`: VERP without a signature (RFC-less custom of qmail). */
function verpAddress(address: string): string | null {
  const [, user, domain] = /^[^@=]*[+-]([^@=+]+)=([a-z0-9.-]+\.[a-z]{2,})@/.exec(address) ?? [];
  return user === undefined || domain === undefined ? null : `${user}@${domain}`;
}

/** Lines with an SMTP answer say most, then those next to the address, then everything. */
function reasonOf(told: string, recipient: string | null, subject: string): BounceReason {
  const lines = told.split('\n');
  const answers = withFollowing(lines, quotesAnswer);
  const near = recipient === null ? '' : withFollowing(lines, (line) => line.toLowerCase().includes(recipient));
  if (answers !== '') return judgeFailure(null, answers, near === '' ? told : `${near}\n\n${told}`);
  return judgeWords(near, `${subject}\n${told}`);
}

function withFollowing(lines: readonly string[], wanted: (line: string) => boolean): string {
  const kept = new Set<number>();
  lines.slice(0, 400).forEach((line, index) => {
    if (wanted(line) && kept.size < 40) for (const near of [index, index + 1, index + 2]) kept.add(near);
  });
  return [...kept]
    .map((index) => lines[index] ?? '')
    .join('\n')
    .trim()
    .slice(0, 4_000);
}
