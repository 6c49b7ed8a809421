import { createHash } from 'node:crypto';

// What the mail server does to one message, or to one connection. Drawn from the seed and from who it is about and the
// how-manieth time, so that it is the same in every run, whatever else goes on.

/** `hang`: says nothing until the other side gives up. `drop`: closes the connection. Numbers are the SMTP answer. */
export type Fault =
  | 'greeting-421'
  | 'greeting-hang'
  | 'mail-451'
  | 'rcpt-452'
  | 'rcpt-450-greylisted'
  | 'rcpt-550-unknown'
  | 'rcpt-hang'
  | 'data-drop'
  | 'body-drop'
  | 'message-452'
  | 'message-554-content'
  | 'message-slow'
  | 'message-drop-kept'
  | 'message-drop-lost'
  | 'message-hang-kept';

/** No mailbox whose name begins like this exists at the mail server. */
export const UNKNOWN_PREFIX = 'unknown';

/** Share of connections, or of attempts to hand a message over, that meet each fault. */
export type FaultRates = Partial<Record<Fault, number>>;

/** Met by a connection before anything else. */
export const isAtGreeting = (fault: Fault): boolean => fault.startsWith('greeting-');
/** Met before a recipient is named. */
export const isAtMail = (fault: Fault): boolean => fault.startsWith('mail-');
/** Met by one message, from RCPT on. */
export const isOfMessage = (fault: Fault): boolean => !isAtGreeting(fault) && !isAtMail(fault);

/**
 * Those of a long run. Answers are slow often, so that most kills of a worker find mails between gate and record. A mail server that temporarily refuses a recipient makes that lead wait 15 minutes and more, however
 * time is compressed, so few meet that.
 */
export const ALL_FAULTS: FaultRates = {
  'greeting-421': 0.01,
  'greeting-hang': 0.005,
  'mail-451': 0.01,
  'rcpt-452': 0.01,
  'rcpt-450-greylisted': 0.002,
  'rcpt-hang': 0.003,
  'data-drop': 0.01,
  'body-drop': 0.005,
  'message-452': 0.01,
  'message-554-content': 0.002,
  'message-slow': 0.15,
  'message-drop-kept': 0.01,
  'message-drop-lost': 0.01,
  'message-hang-kept': 0.002,
};

/** Those of a short one: the same, more often, but for what takes minutes. */
export const QUICK_FAULTS: FaultRates = {
  'greeting-421': 0.02,
  'mail-451': 0.01,
  'rcpt-452': 0.02,
  'rcpt-450-greylisted': 0.005,
  'data-drop': 0.02,
  'body-drop': 0.01,
  'message-452': 0.02,
  'message-554-content': 0.005,
  'message-slow': 0.2,
  'message-drop-kept': 0.02,
  'message-drop-lost': 0.02,
};

/**
 * The fault that is due, or null.
 *
 * @param about a recipient, or `connection`
 * @param attempt how often there was one for it before
 */
export function faultFor(
  rates: FaultRates,
  among: (fault: Fault) => boolean,
  { seed, about, attempt }: { seed: number; about: string; attempt: number },
): Fault | null {
  let left = drawFor(seed, about, attempt);
  for (const [fault, rate] of Object.entries(rates) as [Fault, number][]) {
    if (!among(fault)) continue;
    if (left < rate) return fault;
    left -= rate;
  }
  return null;
}

function drawFor(seed: number, about: string, attempt: number): number {
  const digest = createHash('sha256').update(`${seed}/${about}/${attempt}`).digest();
  return digest.readUIntBE(0, 6) / 2 ** 48;
}
