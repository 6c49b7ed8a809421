import { isAscii } from 'node:buffer';
import MailComposer from 'nodemailer/lib/mail-composer';
import type { Stream } from '../../domain/streams';
import type { MailIdentity } from './identity';
import { domainOf, headerAddress, oneLine, utc } from './message';

/** A file that goes along. */
export interface MailAttachment {
  filename: string;
  /** Media type, such as `application/pdf`. */
  contentType: string;
  /** Without angle brackets; set where the HTML shows it as `cid:…`. */
  contentId: string | null;
  bytes: Buffer;
}

export interface TransactionalMessage {
  to: { email: string; name: string | null };
  subject: string;
  text: string;
  html: string | null;
  /** BCP 47; null where it is not known. */
  locale: string | null;
  /** Where answers go; null: to From. */
  replyTo: string | null;
  attachments: readonly MailAttachment[];
  /** A received message to attach as it came; `whole`: nothing of it was cut off. */
  original: { raw: Buffer; whole: boolean } | null;
  identity: MailIdentity;
  /** What sort of mail it is, for Feedback-ID: a template's name, `forward`, `alert`. No person in it. */
  sort: string;
  /** By which it goes out; `transactional` where it is left out. */
  stream?: Stream;
  date: Date;
}

export interface ComposedTransactional {
  /** The whole message (RFC 5322), 7-bit, lines ending in CRLF. Not signed. */
  raw: Buffer;
  envelope: { from: string; id: string };
}

/**
 * Puts a mail into MIME: text and HTML as multipart/alternative, pictures with a Content-ID beside the HTML, everything
 * else attached. No List-Unsubscribe, since nobody unsubscribes from invoices, or from the one mail they asked for; `Auto-Submitted` (RFC 3834) keeps robots
 * from answering.
 *
 * @throws Error if an address can't stand in a header; the message holds no personal data
 */
export async function composeTransactional(message: TransactionalMessage): Promise<ComposedTransactional> {
  const { to, html, locale, replyTo, original, identity, sort, stream = 'transactional', date } = message;
  const from = { name: oneLine(identity.from.name), address: headerAddress(identity.from.address) };
  const headers = {
    'Auto-Submitted': 'auto-generated',
    'Feedback-ID': `${sort}:${stream}:${domainOf(from.address)}`,
    ...(locale === null ? {} : { 'Content-Language': oneLine(locale) }),
  };
  const files = message.attachments.map(({ filename, contentType, contentId, bytes }) => ({
    filename: fileName(filename),
    contentType,
    content: bytes,
    // A message may not be encoded (RFC 2046, 5.2.1), and whatever else is attached is; so it travels as a file.
    ...(/^(message|multipart)\//i.test(contentType) ? { contentType: 'application/octet-stream' } : {}),
    ...(contentId === null || html === null
      ? { contentDisposition: 'attachment' as const }
      : { cid: contentId, contentDisposition: 'inline' as const }),
  }));
  const mail = new MailComposer({
    from,
    to: { name: oneLine(to.name ?? ''), address: headerAddress(to.email) },
    ...(replyTo === null ? {} : { replyTo: { name: '', address: headerAddress(replyTo) } }),
    subject: oneLine(message.subject),
    date: utc(date),
    messageId: identity.messageId,
    headers: Object.entries(headers).map(([key, value]) => ({ key, value: { prepared: true, value } })),
    text: message.text,
    ...(html === null ? {} : { html }),
    attachments: original === null ? files : [...files, originalPart(original)],
    newline: 'windows',
    // What is in the data is data: nothing is fetched or read because of it.
    disableUrlAccess: true,
    disableFileAccess: true,
  } as ConstructorParameters<typeof MailComposer>[0]);
  return {
    raw: await mail.compile().build(),
    envelope: { from: headerAddress(identity.returnPath), id: identity.envelopeId },
  };
}

/** A larger original would make the mail one that many servers refuse; its headers say at least what it was. */
const ORIGINAL_BYTES = 10 * 1024 * 1024;

/**
 * A received message as a part. Parts of type message/* may not be encoded, and ours go out in 7 bits, so one that came in 8
 * bits, or with lines too long for SMTP, travels as a file.
 */
function originalPart({ raw, whole }: { raw: Buffer; whole: boolean }) {
  const text = raw.toString('latin1').replace(/\r\n?|\n/g, '\r\n');
  if (!whole || raw.length > ORIGINAL_BYTES) {
    const end = text.indexOf('\r\n\r\n');
    return {
      filename: 'original-headers.txt',
      contentType: 'text/rfc822-headers',
      contentDisposition: 'attachment' as const,
      content: Buffer.from(end < 0 ? '' : text.slice(0, end + 2), 'latin1'),
    };
  }
  const sevenBit = isAscii(raw) && !raw.includes(0) && !/[^\r\n]{999}/.test(text);
  return {
    filename: 'original.eml',
    contentType: sevenBit ? 'message/rfc822' : 'application/octet-stream',
    contentDisposition: 'attachment' as const,
    content: sevenBit ? Buffer.from(text, 'latin1') : raw,
  };
}

/** A name without folders: readers that take it as a path would be led out of theirs. */
function fileName(name: string): string {
  return oneLine(name).replace(/[/\\]/g, '_') || 'file';
}
