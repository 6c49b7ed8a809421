import { isAscii } from 'node:buffer';
import { Readable } from 'node:stream';
import { domainToASCII } from 'node:url';
import type { AnswerPhase } from '../answers';
import type { SmtpLink } from './connections';
import { providerIdIn } from './provider-id';
import { parseAnswer, type Refusal, refusalOf } from './refusal';

export interface DeliveryRequest {
  /** Envelope sender, where delivery reports go. */
  from: string;
  /** The one recipient. */
  to: string;
  /** ENVID (RFC 3461), which delivery reports hand back; used where the server knows DSN. */
  envelopeId?: string;
  /** The composed message as it goes out: CRLF line ends (a bare CR or LF becomes CRLF), no dot-stuffing. */
  raw: Buffer;
  /**
   * Asked once, when the server has said 354: true lets the body out, false withdraws the message. Not asked at all when
   * the server refused before. It should answer within the deadline by itself.
   */
  gate: () => Promise<boolean>;
  /** Gives up before the gate. After it there is no cancelling, only the deadline. */
  signal: AbortSignal;
  /** The one deadline for the whole delivery, from the call; 60 s unless told. */
  deadlineMs?: number;
}

export type Delivery =
  /**
   * The server has taken it. `providerId` is the server's own id, bare, as its events name it (a reply names it before the
   * @); `messageId` the Message-ID that it is known to have put in place of ours, in angle brackets.
   */
  | { kind: 'accepted'; code: number; enhanced: string | null; providerId: string | null; messageId: string | null }
  /** The server said no, to the envelope or to the message. It has accepted nothing. */
  | ({ kind: 'refused' } & Refusal)
  /** The gate stayed shut. Nothing was handed over. */
  | { kind: 'withdrawn' }
  /** The gate could not answer. Nothing was handed over. */
  | { kind: 'gate-failed'; error: unknown }
  /**
   * Nothing was handed over, and it is safe to try again. `gate` tells whether it had said yes by then (the record must be
   * taken back) or has not answered yet.
   */
  | { kind: 'unsent'; phase: AnswerPhase; reason: LossReason; gate: 'not-asked' | 'opened' | 'pending' }
  /** The gate was open and no final answer came: the server may have it or not. */
  | { kind: 'unknown'; reason: 'connection-lost' | 'deadline' };

type LossReason = 'connection-lost' | 'deadline' | 'aborted';

const DEADLINE_MS = 60_000;
/** How long a gate that was asked may still answer after the delivery is lost, so that the record and the result agree. */
const GATE_GRACE_MS = 5_000;

/**
 * Sends one message over a lent link: MAIL, RCPT, DATA, and only when the server says 354 and the gate says yes, the body.
 *
 * Never throws for what servers and networks do; every ending is one of the kinds of `Delivery`. Any ending but `accepted`
 * cuts the connection. The caller releases the link.
 */
export function deliver(link: SmtpLink, request: DeliveryRequest): Promise<Delivery> {
  const { raw, gate, signal } = request;
  const { connection } = link;
  const envelope = envelopeFor(link, request);
  if ('kind' in envelope) {
    return Promise.resolve(envelope); // not a word was said: the link is as good as before
  }
  return new Promise((resolve) => {
    // The gate's promise, once the server has said 354.
    let asked: Promise<boolean> | null = null;
    // From here on bytes may be on their way.
    let handedOver = false;
    let ended = false;

    const end = (delivery: Delivery) => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      connection.removeListener('end', onEnd);
      // First of all, so that nothing leaves any more while the gate is still thinking.
      if (delivery.kind !== 'accepted') link.discard();
      body.destroy();
      if (asked && !handedOver) void gateAnswer(asked, delivery).then(resolve);
      else resolve(delivery);
    };
    const lost = (reason: LossReason) => {
      if (handedOver) return end({ kind: 'unknown', reason: reason === 'deadline' ? 'deadline' : 'connection-lost' });
      end({ kind: 'unsent', phase: asked ? 'message' : envelopePhase(envelope), reason, gate: 'not-asked' });
    };
    const onAbort = () => {
      if (!handedOver) lost('aborted');
    };
    // 'end' comes just before the error that explains it; it comes alone when the socket was dead before the first command.
    const onEnd = () => setImmediate(() => lost('connection-lost'));
    const timer = setTimeout(() => lost('deadline'), request.deadlineMs ?? DEADLINE_MS);

    const openGate = (open: boolean) => {
      // Lost while the gate was thinking: whatever it says, nothing goes out.
      if (ended) return;
      if (!open) return end({ kind: 'withdrawn' });
      if (connection.destroyed || body.destroyed) return lost('connection-lost');
      handedOver = true;
      body.push(raw);
      body.push(null);
    };
    // nodemailer reads the body only after 354, so the first read is the moment to ask.
    const body = new Readable({
      read() {
        if (asked || ended) return;
        asked = Promise.resolve().then(gate);
        asked.then(openGate, (error: unknown) => end({ kind: 'gate-failed', error }));
      },
    });

    if (signal.aborted) return lost('aborted');
    signal.addEventListener('abort', onAbort, { once: true });
    connection.once('end', onEnd);
    connection.send(envelope, body, (error, info) => {
      if (error) {
        const refusal = refusalIn(error, envelope, asked !== null);
        return refusal ? end({ kind: 'refused', ...refusal }) : lost('connection-lost');
      }
      const answer = parseAnswer(info?.response ?? '');
      end({
        kind: 'accepted',
        code: answer?.code ?? 250,
        enhanced: answer?.enhanced ?? null,
        providerId: providerIdIn(answer?.text ?? ''),
        messageId: info?.serverMessageId ?? null,
      });
    });
  });
}

/** What the gate makes of a delivery that ended while it was being asked: its own refusal or failure says more. */
async function gateAnswer(asked: Promise<boolean>, delivery: Delivery): Promise<Delivery> {
  if (delivery.kind === 'withdrawn' || delivery.kind === 'gate-failed') return delivery;
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<'pending'>((resolve) => {
    timer = setTimeout(resolve, GATE_GRACE_MS, 'pending');
  });
  try {
    const answer = await Promise.race([asked, patience]);
    if (answer === false) return { kind: 'withdrawn' };
    return delivery.kind === 'unsent' ? { ...delivery, gate: answer === true ? 'opened' : 'pending' } : delivery;
  } catch (error) {
    return { kind: 'gate-failed', error };
  } finally {
    clearTimeout(timer);
  }
}

/** nodemailer's envelope; it writes down in it how far the conversation got. */
interface Envelope {
  from: string;
  to: string;
  size: number;
  use8BitMime: boolean;
  /** Failures and delays are wanted, and of ours only the headers back. */
  dsn?: { id: string; return: 'headers'; notify: ('failure' | 'delay')[]; recipient: string };
  accepted?: string[];
  rejected?: string[];
  mailError?: Error;
}

/** Builds the envelope, or says why this server can't be given this message at all. */
function envelopeFor(link: SmtpLink, request: DeliveryRequest): Envelope | Delivery {
  const from = asciiDomain(request.from);
  const to = asciiDomain(request.to);
  if (from === null) return refusedHere('mail', 'us', 'invalid-sender');
  if (to === null) return refusedHere('rcpt', 'bad-address', 'invalid-recipient');
  // RFC 6531: an address with a non-ASCII local part can't be put in any other way.
  if (!link.extensions.has('SMTPUTF8')) {
    if (!isAsciiText(from)) return refusedHere('mail', 'us', 'sender-needs-smtputf8');
    if (!isAsciiText(to)) return refusedHere('rcpt', 'address', 'recipient-needs-smtputf8');
  }
  // RFC 6152 section 3: such a message must not be sent as it is. Ours are 7-bit, so this is a mistake of ours.
  const use8BitMime = !isAscii(request.raw);
  if (use8BitMime && !link.extensions.has('8BITMIME')) return refusedHere('mail', 'us', 'needs-8bitmime');
  if (link.maxSizeBytes !== null && request.raw.length > link.maxSizeBytes) {
    return refusedHere('mail', 'content', 'larger-than-server-takes');
  }
  const { envelopeId } = request;
  const wantsReports = envelopeId !== undefined && link.extensions.has('DSN') && isAsciiText(to);
  return {
    from,
    to,
    size: request.raw.length,
    use8BitMime,
    ...(wantsReports && {
      dsn: { id: envelopeId, return: 'headers', notify: ['failure', 'delay'], recipient: `rfc822;${to}` },
    }),
  };
}

/** A refusal that needed no server: same shape, no codes. */
function refusedHere(
  phase: 'mail' | 'rcpt',
  about: 'us' | 'address' | 'bad-address' | 'content',
  rule: string,
): Delivery {
  const judgement = {
    us: { severity: 'soft', cause: 'us', verdict: 'refused-us', rule },
    address: { severity: 'soft', cause: 'address', verdict: 'rejected', rule },
    'bad-address': { severity: 'hard', cause: 'address', verdict: 'bounced', rule },
    content: { severity: 'soft', cause: 'content', verdict: 'rejected', rule },
  } as const;
  return { kind: 'refused', phase, code: null, enhanced: null, judgement: judgement[about] };
}

/** The address with its domain in ASCII (RFC 5891), null when it can't be an address or would break out of the command. */
function asciiDomain(address: string): string | null {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not get in
  if (/[\x00-\x1f\x7f<>]/.test(address)) return null;
  const at = address.lastIndexOf('@');
  if (at < 1) return null;
  const domain = address.slice(at + 1);
  const ascii = isAsciiText(domain) ? domain : domainToASCII(domain);
  return ascii === '' ? null : `${address.slice(0, at)}@${ascii}`;
}

function isAsciiText(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the ASCII range is what is meant
  return /^[\x00-\x7f]*$/.test(text);
}

/**
 * The server's no in nodemailer's error, or null when there was no answer. Half a line at the end of a broken connection is
 * no answer, whatever digits it begins with.
 */
function refusalIn(error: Error, envelope: Envelope, gateAsked: boolean): Refusal | null {
  const { code, command, response } = error as { code?: string; command?: string; response?: string };
  const answer = typeof response === 'string' ? parseAnswer(response) : null;
  if (answer === null || answer.code < 400) return null;
  if (code === 'EMESSAGE') return refusalOf('message', answer);
  if (code === 'EENVELOPE') {
    return refusalOf(command === 'MAIL FROM' ? 'mail' : command === 'RCPT TO' ? 'rcpt' : 'data', answer);
  }
  // 421 ends the session at any moment and is handed to us as a connection error.
  if (code === 'ECONNECTION' && answer.code === 421) {
    return refusalOf(gateAsked ? 'message' : envelopePhase(envelope), answer);
  }
  return null;
}

/** How far the envelope had got, as far as the server's answers show. */
function envelopePhase(envelope: Envelope): 'mail' | 'rcpt' | 'data' {
  if (envelope.accepted?.length) return 'data';
  return envelope.rejected?.length ? 'rcpt' : 'mail';
}
