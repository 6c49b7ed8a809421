import { channel } from 'node:diagnostics_channel';
import type { Stream } from '../domain/streams';

// What the rooms tell of their work while it is done, over Node's own diagnostics channels: whoever does the work need not
// know whether metrics or traces are kept, and where nobody listens telling costs nothing. Ids, codes and counts only,
// never a person (promise P5).

/** One try to hand a mail over, from the wish for a connection to the server's last word. Times are ms since the epoch. */
export interface DeliveryTold {
  stream: Stream;
  /** What the mail is, and its id in our database. */
  mail: 'enrollment' | 'transactional' | 'test-send';
  id: string;
  step?: number;
  /** Where the mail server said no (`refused`), the verdict of `mail/answers.ts` instead. */
  result: DeliveryResult;
  /** Where the conversation ended: a phase of SMTP; null where it ended well, or by our own gate. */
  phase: string | null;
  /** Codes only, such as `250 2.0.0`, or a word of ours where there was no answer. */
  code: string | null;
  /** When a connection was asked for and had, MAIL was said, the server asked for the body (354), the gate answered, all was over. */
  at: { asked: number; connected?: number; mail?: number; data?: number; gate?: number; ended: number };
}

export const DELIVERY_RESULTS = [
  'accepted',
  'bounced',
  'rejected',
  'deferred',
  'refused-us',
  'withdrawn',
  'gate-failed',
  'unsent',
  'unknown',
  'no-connection',
] as const;
export type DeliveryResult = (typeof DELIVERY_RESULTS)[number];

export const deliveries = told<DeliveryTold>('recuerda:delivery');

/** Whether a claim was granted; a refused one found that something forbids the mail now. */
export const claims = told<{ stream: Stream; granted: boolean }>('recuerda:claim');

export const RECONCILER_WORK = [
  'started',
  'mails',
  'testSends',
  'signalled',
  'watched',
  'woken',
  'imports',
  'leftBehind',
] as const;
type ReconcilerWork = (typeof RECONCILER_WORK)[number];

/** A round of the reconciler that went through, with what it has done, or one that failed, with its code. */
export const reconcilerRounds = told<{
  ms: number;
  /** How much of each kind. */
  done: Record<ReconcilerWork, number> | null;
}>('recuerda:reconciler-round');

/** A round over what was received. */
export const inboundRounds = told<{ done: number; failed: number; decided: number }>('recuerda:inbound-round');

/** One try to deliver a webhook to somebody else's system. */
export const webhookTries = told<{ result: 'delivered' | 'again' | 'failed' | 'disabled' }>('recuerda:webhook-try');

/** An HTTP request has come in; `ended` is to be told once it was answered, or its reader has gone. */
export const requestsBegun = told<object>('recuerda:request-begun');
export const requestsEnded = told<{ method: string; route: string; status: number; ms: number }>(
  'recuerda:request-ended',
);

interface Told<T> {
  publish(what: T): void;
  /** @returns what ends it */
  subscribe(listener: (what: T) => void): () => void;
}

function told<T>(name: string): Told<T> {
  const underlying = channel(name);
  return {
    publish: (what) => {
      if (underlying.hasSubscribers) underlying.publish(what);
    },
    subscribe: (listener) => {
      const onMessage = (what: unknown) => listener(what as T);
      underlying.subscribe(onMessage);
      return () => void underlying.unsubscribe(onMessage);
    },
  };
}
