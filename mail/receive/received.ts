/** A part of a received message that holds no other parts. */
export interface ReceivedPart {
  /** Lower case, such as `message/delivery-status`. */
  contentType: string;
  /** Parameters of Content-Type, names in lower case. */
  parameters: Readonly<Record<string, string>>;
  filename: string | null;
  /** Decoded; text in its own charset. What is no text is left out where it is large. */
  text: string;
  /** How deep it stands: 0 is the message itself, 1 a part of it … Parts of an embedded message count on from there. */
  depth: number;
  /** It belongs to a message that is embedded (message/rfc822), not to this one. */
  embedded: boolean;
}

/** A received message, taken apart. Everything in it was written by a stranger. */
export interface ReceivedMessage {
  /** Names in lower case; values unfolded and decoded (RFC 2047), in the order in which they stand. */
  headers: ReadonlyMap<string, readonly string[]>;
  /** Content type of the whole, with its parameters. */
  contentType: string;
  parameters: Readonly<Record<string, string>>;
  from: { address: string; name: string } | null;
  replyTo: readonly string[];
  /** Everybody it was addressed to: To, Cc, Delivered-To, X-Original-To, and what the envelope told. */
  recipients: readonly string[];
  subject: string;
  date: Date | null;
  /** With angle brackets. */
  messageId: string | null;
  /** In-Reply-To and References, with angle brackets, the nearest first. */
  references: readonly string[];
  /** What a person reads: the plain text, or text made from the HTML. Capped. */
  text: string;
  html: string | null;
  parts: readonly ReceivedPart[];
  /** Header blocks of embedded messages and text/rfc822-headers parts: what of ours came back. */
  embeddedHeaders: readonly ReadonlyMap<string, readonly string[]>[];
  /** It was larger than is read; the rest was not looked at. */
  truncated: boolean;
  /** Why it can't be read at all, else null. */
  problem: string | null;
}

/** The first value of a header, or null. */
export function header(message: Pick<ReceivedMessage, 'headers'>, name: string): string | null {
  return message.headers.get(name.toLowerCase())?.[0] ?? null;
}
