import { WHOLE_STREAM } from './limits';
import type { Stream } from './streams';

/** What speaks against our sending. */
export type FaultKind = 'complaint' | 'hard-bounce' | 'policy-bounce' | 'refusal';

/** One thing that speaks against our sending, as codes. */
export interface SendingFault {
  stream: Stream;
  /** As `providerOf` gives it. */
  provider: string;
  kind: FaultKind;
  /** The answer as codes only, such as `550 5.7.1`; null where there was none. */
  code: string | null;
  /** Of a refusal: where in the conversation it came, and what it is about (`mail/answers.ts`). */
  phase?: string;
  cause?: string;
  now: Date;
}

/** Rates are taken over this many days. */
export const RATE_DAYS = 7;
/** A rate says nothing of fewer mails, nor of fewer events. */
const LEAST_DELIVERED = 1_000;
export const LEAST_EVENTS = 3;

/** From which share of the delivered mail on operators are warned, and sending stops. */
export const RATE_BOUNDS = {
  complaint: { warn: 0.001, stop: 0.003 },
  'hard-bounce': { warn: 0.02, stop: 0.05 },
  // Blocklists and filters that answer after the mail was taken: like complaints, they mean that we are not welcome.
  'policy-bounce': { warn: 0.01, stop: 0.03 },
} as const satisfies Record<Exclude<FaultKind, 'refusal'>, { warn: number; stop: number }>;

export type RatedKind = keyof typeof RATE_BOUNDS;
export type RateVerdict = 'fine' | 'warn' | 'stop';

/** Judges how many of the delivered mails of the last days came back as faults of a kind. */
export function judgeRate(kind: RatedKind, events: number, delivered: number): RateVerdict {
  if (delivered < LEAST_DELIVERED || events < LEAST_EVENTS) return 'fine';
  return judgeShare(kind, events / delivered);
}

/** Judges a rate that a provider has told us: it has counted enough mail to tell one. @param share 0 to 1 */
export function judgeShare(kind: RatedKind, share: number): RateVerdict {
  const { warn, stop } = RATE_BOUNDS[kind];
  return share >= stop ? 'stop' : share >= warn ? 'warn' : 'fine';
}

/** So many refusals that one alone would not mean much, within this time (ms) and nothing accepted since the first, are a storm. */
export const STORM_REFUSALS = 5;
export const STORM_MS = 5 * 60_000;

/** Phases in which no recipient has been named: whatever is refused there concerns the whole stream. */
const BEFORE_RECIPIENT: ReadonlySet<string> = new Set(['connect', 'greeting', 'helo', 'tls', 'auth', 'mail']);

/**
 * What a refusal of us concerns, and whether it alone stops sending. A wrong password or a blocklist does: the next mail
 * would hear the same. A server that is away, closing (421) or asks us to slow down does when it is a storm.
 */
export function judgeRefusal({
  provider,
  code,
  phase,
  cause,
}: Pick<SendingFault, 'provider' | 'code' | 'phase' | 'cause'>): {
  provider: string;
  atOnce: boolean;
} {
  const reply = Number(/^\d{3}/.exec(code ?? '')?.[0] ?? 0);
  const wholeStream = phase === undefined || BEFORE_RECIPIENT.has(phase) || cause !== 'policy';
  const passing = reply === 0 || reply === 421 || (reply < 500 && cause !== 'policy');
  return { provider: wholeStream ? WHOLE_STREAM : provider, atOnce: phase === 'auth' ? reply !== 0 : !passing };
}

const FIRST_PROBE_MS = 60_000;
const LONGEST_PROBE_MS = 60 * 60_000;

/** How long after a stop, or after a probe that was refused, the next probe may go (ms). @param probes made so far */
export function probeAfterMs(probes: number): number {
  return Math.min(FIRST_PROBE_MS * 2 ** probes, LONGEST_PROBE_MS);
}
