import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { versionOf } from '../db/campaigns';
import type { Db } from '../db/client';
import { advancePast, loadTouch, postpone, settle, type Touch } from '../db/ledger';
import { currentLimits } from '../db/limits';
import { holdWhilePaused } from '../db/pauses';
import { stopEnrollments } from '../db/stops';
import { countedAs, freeAt } from '../domain/frequency';
import type { Outcome } from '../domain/outcomes';
import { endPosition } from '../domain/plan';
import { nextOpening } from '../domain/planner';
import type { SendStepInput, SendStepResult } from '../workflows/contract';
import { withHeartbeat } from './heartbeat';
import { notSent } from './leave-to-send';
import {
  type Attempt,
  advance,
  concluded,
  next,
  planning,
  planStep,
  type Sending,
  type SendMessageDeps,
  sendMessage,
} from './send-message';

/** How often a touch looks at its row again when the row changes under it, before it leaves that to a retry. */
const LOOKS = 5;

/**
 * Makes the activity `sendStep`: one touch of one enrollment. It sends what is due (through claim, gate and record, so at
 * most once whatever crashes) and answers when to come again; a step that was dealt with before answers what is stored.
 *
 * The activity fails, to be retried with back-off for as long as it takes, when the fault is ours and nobody may lose their
 * place: types `smtp_refused`, `smtp_unsent`, `mail_blocked`, `not_signed`, `gate_failed`, `ledger_behind` (Temporal knows more than
 * Postgres: a backup was restored), `contended`. Their messages hold codes only.
 */
export function createSendStep(deps: SendMessageDeps): (input: SendStepInput) => Promise<SendStepResult> {
  return (input) =>
    withHeartbeat(async (cancelled) => {
      for (let look = 0; look < LOOKS; look++) {
        const answer = await touchOnce(deps, input, cancelled);
        if (answer !== 'look-again') return answer;
        if (cancelled.aborted) throw new CancelledFailure('cancelled before anything was handed over');
      }
      throw ApplicationFailure.retryable('the enrollment keeps changing', 'contended');
    });
}

async function touchOnce(deps: SendMessageDeps, input: SendStepInput, cancelled: AbortSignal): Promise<Attempt> {
  const { db } = deps;
  const limits = await currentLimits(db);
  // Under a time-skipping server, and on a worker whose clock lags, workflow time is the later one.
  const now = new Date(Math.max(input.now, Date.now()));
  const touch = await loadTouch(db, input.enrollmentId);
  if (touch === null) return { kind: 'concluded', outcome: 'erased', step: input.step };
  if (touch.outcome !== null) return concluded(touch, touch.outcome);
  if (touch.step < input.step) {
    throw ApplicationFailure.retryable(
      `step ${input.step} was asked for, the ledger is at ${touch.step}`,
      'ledger_behind',
    );
  }
  const campaign = await versionOf(db, touch.campaignId, touch.version);
  const end = endPosition(touch.plan, campaign, touch.journey);
  if (touch.step > input.step) return next(touch, campaign, touch.step === end ? 'late-answer' : 'cadence', limits);

  if (touch.infoDueAt !== null && touch.infoDueAt <= now) {
    return await send({ deps, touch, campaign, step: 0, copy: touch.infoCopies, now, cancelled, limits });
  }
  if (touch.nextDueAt > now) return next(touch, campaign, 'not-due', limits);
  if (touch.step >= end) return await exhaustUnlessInReview(db, touch, now);
  const opening =
    touch.step === 0 ? now : nextOpening({ ...planning(deps, touch, campaign), due: touch.nextDueAt, now });
  if (opening > now) {
    await postpone(db, touch.enrollmentId, touch.step, opening);
    await notSent(db, touch, now, 'send-window', { until: opening });
    return next({ ...touch, nextDueAt: opening }, campaign, 'send-window', limits);
  }
  const sending = { deps, touch, campaign, step: touch.step, copy: 0, now, cancelled, limits };
  return (await waitForTurn(sending, touch)) ?? (await send(sending));
}

/** One person gets no more marketing mail than a cap allows: puts a nudge off that would be one too many. Null: it may go. */
async function waitForTurn(sending: Sending, touch: Touch): Promise<Attempt | null> {
  const { deps, campaign, step, copy, now, limits } = sending;
  const { frequencyCap = null, timeFactor, db } = deps;
  if (frequencyCap === null || step === 0 || copy > 0) return null;
  const key = countedAs(touch.enrollmentId, step);
  const free = freeAt(frequencyCap, touch.recentMarketing, key, now, timeFactor);
  if (free === null) return null;
  const dueAt = nextOpening({ ...planning(deps, touch, campaign), due: touch.nextDueAt, now: free });
  await postpone(db, touch.enrollmentId, step, dueAt);
  await notSent(db, touch, now, 'frequency-cap', { until: dueAt });
  return next({ ...touch, nextDueAt: dueAt }, campaign, 'frequency-cap', limits);
}

async function send(sending: Sending): Promise<Attempt> {
  const { touch, copy } = sending;
  // What another attempt left behind needs no connection to be settled.
  if (copy === 0 && touch.message !== null && !TAKEABLE.has(touch.message)) return await settleLeftOver(sending);
  const answer = await sendMessage(sending);
  return answer === 'refused' ? await whyRefused(sending) : answer;
}

/** Ledger states in which a claim may take a message. */
const TAKEABLE: ReadonlySet<string> = new Set(['claimed', 'deferred', 'withdrawn']);

/** A claim was refused: finds out why, and says so in the lead's timeline where it matters. */
async function whyRefused(sending: Sending): Promise<Attempt> {
  const { deps, touch, step, copy, now } = sending;
  const fresh = await loadTouch(deps.db, touch.enrollmentId);
  if (fresh === null || fresh.outcome !== null || fresh.step !== touch.step) return 'look-again';
  if (fresh.suppression !== null) {
    await stopEnrollments(deps.db, {
      who: { enrollmentId: touch.enrollmentId },
      outcome: SUPPRESSED_OUTCOME[fresh.suppression.reason],
      detail: { by: 'suppression', reason: fresh.suppression.reason },
      now,
    });
    return 'look-again';
  }
  // Before the hold, as with any step: it must not stay open for as long as a pause lasts.
  if (copy > 0 && (await settleLostCopy(sending))) return 'look-again';
  const turn = await waitForTurn(sending, fresh);
  if (turn !== null) return turn;
  const by = await holdWhilePaused(deps.db, touch.enrollmentId, now);
  // A review holds nudges only; the information was refused for something else.
  if (by !== null && (by !== 'review' || step > 0)) {
    await notSent(deps.db, touch, now, by === 'review' ? 'review' : 'paused', { by });
    return { kind: 'hold', by };
  }
  const excluded = fresh.basis === 'soft-opt-in' && fresh.excluded;
  if (step > 0 && copy === 0 && (fresh.agreedAt === null || excluded)) {
    await stopEnrollments(deps.db, {
      who: { enrollmentId: touch.enrollmentId },
      outcome: 'informed',
      detail: { by: excluded ? 'exclusion-list' : 'no-consent' },
      now,
    });
  }
  return 'look-again';
}

const SUPPRESSED_OUTCOME: Record<NonNullable<Touch['suppression']>['reason'], Outcome> = {
  objection: 'unsubscribed',
  campaign: 'unsubscribed',
  complaint: 'complained',
  undeliverable: 'bounced',
};

/** A copy of the information that an earlier attempt took past the gate is not sent again either. */
async function settleLostCopy(sending: Sending): Promise<boolean> {
  const { deps, touch, campaign, copy, now } = sending;
  const dueAt = planStep(deps, touch, campaign, touch.step, now);
  const { settled } = await settle(deps.db, {
    enrollmentId: touch.enrollmentId,
    step: 0,
    copy,
    token: null,
    leadId: touch.lead.id,
    state: 'unknown',
    event: 'message-unknown',
    code: 'crash',
    providerId: null,
    move: { kind: 'advance', dueAt },
    now,
  });
  return settled;
}

/** While it is not decided whether they have answered, nobody is taken for silent. */
async function exhaustUnlessInReview(db: Db, touch: Touch, now: Date): Promise<Attempt> {
  const by = touch.inReview ? await holdWhilePaused(db, touch.enrollmentId, now) : null;
  return by === null ? await exhaust(db, touch, now) : { kind: 'hold', by };
}

async function exhaust(db: Db, touch: Touch, now: Date): Promise<Attempt> {
  await stopEnrollments(db, {
    who: { enrollmentId: touch.enrollmentId },
    outcome: 'exhausted',
    // Who asks again at this very moment moves it away, and is not ended.
    dueBy: now,
    // Who is moved to another version at this very moment may have mails ahead again.
    moves: touch.moves,
    detail: { by: 'journey' },
    byJourney: true,
    now,
  });
  return 'look-again';
}

/** An earlier attempt has passed the gate, or more: whatever became of it, this step is not sent again (promise P3). */
async function settleLeftOver(sending: Sending): Promise<Attempt> {
  const { deps, touch, campaign, step, now } = sending;
  if (touch.message === 'handing_over') {
    return await advance(sending, null, { state: 'unknown', event: 'message-unknown', code: 'crash' });
  }
  const dueAt = planStep(deps, touch, campaign, step + 1, now);
  await advancePast(deps.db, touch.enrollmentId, step, dueAt, now);
  return 'look-again';
}
