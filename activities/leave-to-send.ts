import type { ApplicationFailure } from '@temporalio/activity';
import { mayLeave, recordFault, type SendingPause } from '../db/breaker';
import type { Db } from '../db/client';
import { recordEvents } from '../db/events';
import { holdForPause } from '../db/holds';
import type { Touch } from '../db/ledger';
import { spendSlot, takeSlot } from '../db/quota';
import type { SendingFault } from '../domain/breaker';
import { isCapped } from '../domain/limits';
import { nextOpening } from '../domain/planner';
import type { Stream } from '../domain/streams';
import { type Attempt, planning, type Sending } from './send-message';

/** What a send is told before it takes a connection. */
type Leave = { kind: 'go'; probe: boolean } | { kind: 'daily-cap' } | { kind: 'stay'; answer: Attempt | 'refused' };

const NOTHING_PAUSED = { pause: null, probe: false } as const;

/**
 * Asks whether a mail may leave now: its stream and provider not paused, and a place in today's quotas taken for it. Where
 * the day is full its due time has been moved to the day on which a place is reserved.
 */
export async function askLeave(sending: Sending, stream: Stream): Promise<Leave> {
  const { deps, touch, campaign, step, copy, now, limits } = sending;
  const { db } = deps;
  const provider = touch.fairnessKey;
  // The claim would refuse it, and neither a place nor the one try of a stopped stream should be lost to that.
  if (touch.paused !== null || touch.suppression !== null) return { kind: 'stay', answer: 'refused' };
  const asked = touch.sendingPaused ? await mayLeave(db, { stream, provider, now, asProbe: false }) : NOTHING_PAUSED;
  if (asked.pause !== null) return await hold(sending, asked.pause);
  const dueAt = await takeSlot(db, {
    enrollmentId: touch.enrollmentId,
    step,
    copy,
    stream,
    provider,
    limits,
    now,
    openingAt: (from) =>
      step === 0 ? from : nextOpening({ ...planning(deps, touch, campaign), due: touch.nextDueAt, now: from }),
  });
  if (dueAt !== null) {
    await notSent(db, touch, now, 'daily-cap', { until: dueAt });
    return { kind: 'daily-cap' };
  }
  if (!asked.probe) return { kind: 'go', probe: false };
  const tried = await mayLeave(db, { stream, provider, now, asProbe: true });
  return tried.pause === null ? { kind: 'go', probe: tried.probe } : await hold(sending, tried.pause);
}

async function hold({ deps, touch, now }: Sending, pause: SendingPause): Promise<Leave> {
  if (!(await holdForPause(deps.db, touch.enrollmentId, pause, now))) return { kind: 'stay', answer: 'look-again' };
  await notSent(deps.db, touch, now, 'paused', { by: 'stream' });
  return { kind: 'stay', answer: { kind: 'hold', by: 'stream' } };
}

/** A refusal that is not the lead's fault, as codes. */
export type RefusalOfUs = Required<Pick<SendingFault, 'phase' | 'code' | 'cause'>>;

/**
 * Tells the circuit breaker of a refusal of us.
 *
 * @returns `look-again` when that has stopped the stream, so the touch is to be held for it
 * @throws the failure otherwise, for Temporal to try again
 */
export async function afterRefusalOfUs(
  { deps, touch, now }: Pick<Sending, 'deps' | 'touch' | 'now'>,
  stream: Stream,
  refusal: RefusalOfUs,
  failure: ApplicationFailure,
): Promise<'look-again'> {
  const provider = touch.fairnessKey;
  await recordFault(deps.db, { stream, provider, kind: 'refusal', ...refusal, now });
  const { pause } = await mayLeave(deps.db, { stream, provider, now, asProbe: false });
  if (pause === null) throw failure;
  return 'look-again';
}

/** Where in the conversation the server knows the recipient, and counts the attempt. */
export const RECIPIENT_NAMED: ReadonlySet<string> = new Set(['rcpt', 'data', 'message']);

/** An attempt that has named the recipient to the server uses up its place of today; one that has not leaves it to the next. */
export async function spendPlace({ deps, touch, limits }: Sending, stream: Stream, phase: string): Promise<void> {
  if (!RECIPIENT_NAMED.has(phase) || !isCapped(limits[stream], touch.fairnessKey)) return;
  await spendSlot(deps.db, { table: 'enrollment', id: touch.enrollmentId });
}

/** Writes into the lead's timeline why something that was due was not sent. */
export async function notSent(
  db: Db,
  touch: Touch,
  now: Date,
  reason: string,
  detail: Record<string, unknown>,
): Promise<void> {
  await recordEvents(db, [
    {
      at: now,
      leadId: touch.lead.id,
      enrollmentId: touch.enrollmentId,
      kind: 'message-not-sent',
      step: touch.step,
      detail: { reason, ...detail },
    },
  ]);
}
