/**
 * How servers name the message in their answer to the final dot. First hit wins; each pattern holds one id. There is no
 * standard for this (RFC 5321 leaves the text free), so an answer that fits none gives no id.
 */
const PATTERNS: readonly RegExp[] = [
  // Exchange "2.6.0 <id> [InternalId=…, Hostname=…] Queued mail for delivery": the Message-ID, ours or its own
  /^<([\w.@+=-]{6,200})> \[internalid=/i,
  // Postfix "2.0.0 Ok: queued as 4bQ9…", SendGrid the same, Yandex "Ok: queued on host as id", Haraka "Message Queued (UUID)"
  /\bqueued (?:on \S+ )?as:? <?([\w.@+-]{4,200})>?/i,
  /\bmessage queued \(([\w.-]{4,200})\)/i,
  // Exim "OK id=1tXyzA-000abc-1B"
  /\bok id=([\w-]{6,200})/i,
  // OpenSMTPD "2.0.0 1a2b3c4d Message accepted for delivery", Sendmail the same with its queue id
  /^(?:\d\.\d\.\d )?([\w.-]{6,200}) message accepted for delivery/i,
  // Gmail "2.0.0 OK  1700000000 a1b2c3-d4e5f6.123 - gsmtp": the id, not the time before it
  /\bok\s+\d{9,11}\s+([\w.-]{8,200}) - gsmtp/i,
  // Microsoft 365 "2.0.0 OK <id@host.prod.outlook.com> [Hostname=…]", Mailgun "Great success" has none, maildev none
  /\bok:? <([\w.@+=-]{6,200})>/i,
  // Amazon SES "Ok 0100018f…-000000"
  /^ok ([0-9a-f]{8,}(?:-[0-9a-f]+){1,8})$/i,
  // SparkPost "OK 5D/89-12345-1A2B3C4D"
  /^ok ([0-9a-f]{2}\/[0-9a-f]{2}-\d+-[0-9a-f]{4,})$/i,
  // Mailjet, Brevo, Zoho and others "… message-id: <…>" or "id: …"
  /\b(?:message-?id|queue-?id)[:=]\s*<?([\w.@+=-]{6,200})>?/i,
];

/**
 * Takes the provider's own id of the message out of the text of its 250 answer, without angle brackets. Delivery
 * reports, events and replies may name this id instead of our Message-ID (Amazon SES replaces ours). Null where the
 * answer has none in a known form; the rest of the text is not kept, because it may quote the address.
 */
export function providerIdIn(text: string): string | null {
  const line = text.replace(/\s*\r?\n/g, ' ').trim();
  for (const pattern of PATTERNS) {
    const id = pattern.exec(line)?.[1];
    if (id !== undefined) return id;
  }
  return null;
}
