import { createHash } from 'node:crypto';
import { domainToASCII } from 'node:url';
import MimeNode from 'nodemailer/lib/mime-node';
import type { CompiledStep } from '../../domain/campaign';
import type { Stream } from '../../domain/streams';
import type { MailIdentity } from './identity';
import { quotedPrintable } from './quoted-printable';
import { htmlEngine, plainEngine, render, type TemplateValues, templateScope } from './templates';

export interface MessageInput extends TemplateValues {
  compiled: CompiledStep;
  identity: MailIdentity;
  stream: Stream;
}

export interface ComposedMessage {
  /** The whole message (RFC 5322), lines ending in CRLF, as the mail server gets it. Not signed. */
  raw: Buffer;
  messageId: string;
  subject: string;
  html: string;
  text: string;
  /** The headers as a person reads them: decoded and unfolded. */
  headers: Record<string, string>;
  envelope: { from: string; to: string[]; id: string };
}

/**
 * Fills a compiled step for one lead and puts it into MIME: multipart/alternative with text and HTML, one-click
 * unsubscribe (RFC 8058), `List-Id` (RFC 2919), `Auto-Submitted` (RFC 3834). The same input gives the same bytes.
 *
 * @throws Error if a template fails or an address can't stand in a header; the message holds no personal data
 */
export async function composeMessage(input: MessageInput): Promise<ComposedMessage> {
  const { compiled, lead, campaignId, unsubscribeUrl, identity, date } = input;
  const { messageId } = identity;
  const scope = templateScope(input);
  const subject = oneLine(filled(input.step, 'subject', () => render(plainEngine, compiled.subject, scope)));
  const html = filled(input.step, 'html', () => render(htmlEngine, compiled.html, scope));
  const text = filled(input.step, 'text', () => render(plainEngine, compiled.text, scope));

  const from = { name: oneLine(identity.from.name), address: headerAddress(identity.from.address) };
  const replyTo = { name: '', address: headerAddress(identity.replyTo) };
  const to = { name: oneLine(lead.name ?? ''), address: headerAddress(lead.email) };
  const wayOut = {
    'List-Unsubscribe': listUnsubscribe(unsubscribeUrl, identity.unsubscribeAddress),
    'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
    'List-Id': `<${campaignId}.${domainOf(from.address)}>`,
  };
  const listHeaders = {
    // From the thanks for an order nobody can unsubscribe: they come also to those who have.
    ...(input.stream === 'transactional' ? {} : wayOut),
    'Auto-Submitted': 'auto-generated',
    'Feedback-ID': feedbackId(input, from.address),
    'Content-Language': oneLine(lead.locale),
  };
  // Derived, so that the same mail is the same bytes; quoted-printable never holds "=_".
  const boundary = `=_${createHash('sha256').update(messageId).digest('hex').slice(0, 32)}`;
  const head = new MimeNode(`multipart/alternative; boundary="${boundary}"`, { newline: 'windows' });
  head.setHeader({ from, to, 'reply-to': replyTo, subject, date: utc(date), 'message-id': messageId });
  for (const [name, value] of Object.entries(listHeaders)) {
    // Prepared: a folded link would be a broken link to some readers of RFC 8058.
    head.setHeader(name, { prepared: true, value });
  }
  const part = (type: string) =>
    `\r\n--${boundary}\r\nContent-Type: ${type}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n`;
  const raw = Buffer.concat([
    Buffer.from(`${head.buildHeaders()}\r\n${part('text/plain')}`),
    quotedPrintable(text),
    Buffer.from(part('text/html')),
    quotedPrintable(html),
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);

  return {
    raw,
    messageId,
    subject,
    html,
    text,
    headers: {
      From: mailbox(from),
      To: mailbox(to),
      'Reply-To': mailbox(replyTo),
      Subject: subject,
      Date: utc(date),
      'Message-ID': messageId,
      ...listHeaders,
    },
    envelope: { from: headerAddress(identity.returnPath), to: [to.address], id: identity.envelopeId },
  };
}

/** The part of an address after the @, as DNS knows it (IDNA). */
export function domainOf(address: string): string {
  return asciiDomain(address.slice(address.lastIndexOf('@') + 1));
}

/** Text fit for a header: no line breaks or control characters, and nothing that turns the direction of reading. */
export function oneLine(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '')
    .trim();
}

/** An address as a header and an envelope take it, its domain in ASCII. @throws Error when it is none */
export function headerAddress(address: string): string {
  const match = /^([^\s<>()[\],;:"\\@\p{Cc}]+)@([^\s<>()[\],;:"\\@\p{Cc}]+)$/u.exec(address);
  const domain = asciiDomain(match?.[2] ?? '');
  if (!match || domain === '') throw new Error('an address can not stand in a header');
  return `${match[1]}@${domain}`;
}

/** One-click by HTTPS first (RFC 8058), then by mail for readers that know no other way (RFC 2369). */
function listUnsubscribe(url: string, address: string | null): string {
  const byWeb = `<${headerUrl(url)}>`;
  return address === null ? byWeb : `${byWeb}, <mailto:${headerAddress(address)}?subject=unsubscribe>`;
}

/** Campaign, step, stream and sender, by which Gmail's Postmaster Tools tells complaint rates apart; no person in it. */
function feedbackId({ campaignId, step, stream }: MessageInput, address: string): string {
  return `${campaignId.slice(0, 8)}:step${step}:${stream}:${domainOf(address)}`;
}

function headerUrl(url: string): string {
  if (/[\s<>\p{Cc}]/u.test(url)) throw new Error('the unsubscribe link can not stand in a header');
  return url;
}

function asciiDomain(domain: string): string {
  return domainToASCII(domain).toLowerCase();
}

function mailbox({ name, address }: { name: string; address: string }): string {
  return name === '' ? address : `${/^[\p{L}\p{N} ]+$/u.test(name) ? name : JSON.stringify(name)} <${address}>`;
}

/** A Date header's value (RFC 5322, 3.3). */
export function utc(date: Date): string {
  return date.toUTCString().replace('GMT', '+0000');
}

function filled(step: number, part: string, fill: () => string): string {
  try {
    return fill();
  } catch {
    // The cause may quote what is known of the lead, and this error may end up in Temporal.
    throw new Error(`the ${part} of step ${step} can not be filled`);
  }
}
