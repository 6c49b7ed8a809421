import type { BounceFinding } from '../../domain/inbound';
import { judgeFailure } from './bounce-reason';
import { daemonSigns, looksHandled } from './daemon';
import { addressesIn } from './header-block';
import { header, type ReceivedMessage } from './received';

export type ReportAction = 'failed' | 'delayed' | 'delivered' | 'relayed' | 'expanded';

/** What a delivery status notification says of one recipient (RFC 3464, 2.3). */
export interface ReportedRecipient {
  action: ReportAction;
  /** Enhanced status code (RFC 3463). */
  status: string | null;
  /** Original-Recipient: the address that we mailed. */
  original: string | null;
  /** Where it was forwarded to, or the same. */
  final: string | null;
  /** The receiving server's own words. */
  diagnostic: string;
}

export interface DeliveryReport {
  /** ENVID (RFC 3461). */
  envelopeId: string | null;
  recipients: readonly ReportedRecipient[];
}

/** More recipients than a report of one mail of ours can have. */
const MAX_RECIPIENTS = 500;
/** `550 5.1.1 user unknown` needs no more; some servers add pages of advice. */
const MAX_DIAGNOSTIC = 2_000;

type Group = Map<string, string>;

/**
 * The delivery status notification in a message (RFC 3464, 6522, 6533), or null. Found as a part of its own type wherever
 * it stands, and in the text where a relay broke the multipart/report around it. One that is embedded, or that a person
 * has forwarded, is none.
 */
export function deliveryReport(message: ReceivedMessage): DeliveryReport | null {
  const parts = message.parts.filter((part) => !part.embedded);
  const signs = daemonSigns(message);
  const daemon = signs.daemonAddress || signs.nullSender;
  const isReport = message.contentType === 'multipart/report';
  if (!isReport && !daemon && looksHandled(message)) return null;
  const typed = parts.filter((part) => /^message\/(global-)?delivery-status$/.test(part.contentType));
  const candidates = typed.length > 0 ? typed : isReport || daemon ? parts.filter(readsAsStatus) : [];
  for (const { text } of candidates) {
    const report = parseStatus(text);
    if (report !== null) return report;
  }
  return null;
}

function readsAsStatus({ contentType, text }: { contentType: string; text: string }): boolean {
  return (
    /^(text\/plain|message\/|application\/octet-stream|text\/rfc822-headers)/.test(contentType) &&
    /^(Final|Original)-Recipient:/im.test(text) &&
    /^(Action|Status|Diagnostic-Code):/im.test(text)
  );
}

function parseStatus(text: string): DeliveryReport | null {
  const groups = fieldGroups(text);
  const envelopeId = groups.map((group) => group.get('original-envelope-id')).find((id) => id !== undefined) ?? null;
  const recipients = groups.flatMap((group) => recipientOf(group) ?? []);
  return recipients.length === 0 && envelopeId === null ? null : { envelopeId, recipients };
}

/** Groups of fields, parted by empty lines; also by a field that comes again, where the empty lines got lost. */
function fieldGroups(text: string): Group[] {
  const groups: Group[] = [];
  let group: Group = new Map();
  let last = '';
  const close = () => {
    if (group.size > 0 && groups.length < MAX_RECIPIENTS) groups.push(group);
    group = new Map();
    last = '';
  };
  for (const line of text.split('\n')) {
    const field = /^([A-Za-z][A-Za-z0-9-]{2,60})[ \t]*:[ \t]*(.*)$/.exec(line);
    if (line.trim() === '') close();
    else if (/^[ \t]/.test(line) && last !== '') extend(group, last, line);
    else if (field !== null) {
      const name = (field[1] ?? '').toLowerCase();
      if (/^(original|final)-recipient$/.test(name) && group.has(name)) close();
      last = name;
      if (!group.has(name)) group.set(name, (field[2] ?? '').trim());
    }
    // A line that is no field and no continuation: servers break a long diagnostic without indenting it.
    else if (last === 'diagnostic-code') extend(group, last, line);
  }
  close();
  return merged(groups);
}

function extend(group: Group, name: string, line: string): void {
  const value = group.get(name) ?? '';
  if (value.length < MAX_DIAGNOSTIC) group.set(name, `${value} ${line.trim()}`);
}

/** An empty line inside one recipient's fields parts them: its Action or Status then stands alone. */
function merged(groups: readonly Group[]): Group[] {
  const result: Group[] = [];
  for (const group of groups) {
    const before = result[result.length - 1];
    const orphan = !group.has('final-recipient') && !group.has('original-recipient') && hasVerdict(group);
    if (orphan && before !== undefined && hasRecipient(before) && !hasVerdict(before)) {
      for (const [name, value] of group) if (!before.has(name)) before.set(name, value);
    } else {
      result.push(group);
    }
  }
  return result;
}

function hasRecipient(group: Group): boolean {
  return group.has('final-recipient') || group.has('original-recipient');
}

function hasVerdict(group: Group): boolean {
  return group.has('action') || group.has('status') || group.has('diagnostic-code');
}

function recipientOf(group: Group): ReportedRecipient | null {
  if (!hasVerdict(group)) return null;
  if (!hasRecipient(group) && !group.has('action')) return null;
  const status = /([245]\.\d{1,3}\.\d{1,3})/.exec(group.get('status') ?? '')?.[1] ?? null;
  const original = typedAddress(group.get('original-recipient'));
  const final = typedAddress(group.get('final-recipient')) ?? typedAddress(group.get('x-actual-recipient'));
  const diagnostic = (group.get('diagnostic-code') ?? '').replace(
    /^\s*(smtp|x-[\w-]+|lmtp|local|dns|unix)\s*;\s*/i,
    '',
  );
  return {
    action: actionOf(group.get('action') ?? '', status),
    status,
    original,
    final,
    diagnostic: diagnostic.slice(0, MAX_DIAGNOSTIC),
  };
}

/** RFC 3464, 2.3.3; where it is missing or garbled, the status' class decides. */
function actionOf(text: string, status: string | null): ReportAction {
  const word = /fail|delay|deliver|relay|expand/.exec(text.toLowerCase())?.[0];
  if (word === 'fail' || (word === 'deliver' && /undeliver|not deliver/.test(text.toLowerCase()))) return 'failed';
  if (word === 'delay') return 'delayed';
  if (word === 'deliver') return 'delivered';
  if (word === 'relay') return 'relayed';
  if (word === 'expand') return 'expanded';
  if (status?.startsWith('2')) return 'delivered';
  return status?.startsWith('4') ? 'delayed' : 'failed';
}

/** `rfc822;a@b.example`, also with angle brackets, `utf-8;` (RFC 6533) or no type at all; xtext (RFC 3461, 4) decoded. */
function typedAddress(value: string | undefined): string | null {
  if (value === undefined) return null;
  const bare = value.replace(/^\s*[\w/-]+\s*;/, '').replace(/\+([0-9A-F]{2})/g, (whole, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    return /[+=]/.test(character) ? character : whole;
  });
  return addressesIn(bare)[0] ?? null;
}

/** What a report amounts to for us: any failure is a bounce, anything else a notice. Null where it names nobody. */
export function judgeReport(
  report: DeliveryReport,
  message: ReceivedMessage,
): { bounce: BounceFinding; rule: string } | { notice: Exclude<ReportAction, 'failed'> } | null {
  const failures = report.recipients.filter((recipient) => recipient.action === 'failed');
  const [first] = report.recipients;
  if (first === undefined) return null;
  if (failures.length === 0) return first.action === 'failed' ? null : { notice: first.action };
  const words = explanation(message);
  const judged = failures.map((failure) => ({
    failure,
    reason: judgeFailure(failure.status, failure.diagnostic, words),
  }));
  // Several recipients: the one for whom it is final says most.
  const worst = judged.find(({ reason }) => reason.severity === 'hard') ?? judged[0];
  if (worst === undefined) return null;
  const { rule, ...reason } = worst.reason;
  const recipient = mailedAddress(message, worst.failure, failures.length);
  return { bounce: { ...reason, recipient }, rule };
}

/** The part for people, without what of ours was returned. */
function explanation(message: ReceivedMessage): string {
  return message.text.split(/^(?:-{2,}.*(?:original|copy|message).*|Reporting-MTA:.*|Return-Path:.*)$/im)[0] ?? '';
}

/**
 * The address we mailed. Original-Recipient tells; without it the returned mail's own To, where it has one addressee and
 * comes from no list, since a forwarder's Final-Recipient is an address that we never had.
 */
export function mailedAddress(
  message: ReceivedMessage,
  { original, final }: Pick<ReportedRecipient, 'original' | 'final'>,
  failures: number,
): string | null {
  if (original !== null) return original;
  const generated = /generated from[:\s]+<?([^\s<>]+@[^\s<>]+?)>?[),.]?(?:\s|$)/i.exec(message.text)?.[1];
  if (generated !== undefined) return generated.toLowerCase();
  const listed = addressesIn(header(message, 'x-failed-recipients') ?? '');
  if (listed.length === 1 && listed[0] !== undefined && failures === 1) return listed[0];
  return (failures === 1 ? soleAddressee(message) : null) ?? final ?? listed[0] ?? null;
}

/** To of the returned mail, where it can only be the one who was mailed. */
function soleAddressee(message: ReceivedMessage): string | null {
  const [returned] = message.embeddedHeaders;
  if (returned === undefined) return null;
  const list = ['list-id', 'list-post', 'mailing-list', 'x-mailing-list', 'x-been-there', 'x-beenthere', 'list-help'];
  if (list.some((name) => returned.has(name)) || /list|bulk/i.test(returned.get('precedence')?.[0] ?? '')) return null;
  const to = (returned.get('to') ?? []).flatMap(addressesIn);
  const others = [...(returned.get('cc') ?? []), ...(returned.get('bcc') ?? [])].flatMap(addressesIn);
  const from = (returned.get('from') ?? []).flatMap(addressesIn);
  const [only] = to;
  if (only === undefined || to.length !== 1 || others.length > 0 || from.includes(only)) return null;
  return message.recipients.includes(only) ? null : only;
}
