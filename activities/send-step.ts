import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { versionOf } from '../db/campaigns';
import type { Db } from '../db/client';
import { recordEvents } from '../db/events';
import {
  advancePast,
  claim,
  loadTouch,
  type MessageKey,
  passGate,
  postpone,
  releaseClaim,
  settle,
  type Touch,
} from '../db/ledger';
import { holdWhilePaused } from '../db/pauses';
import { bounce, stopEnrollments } from '../db/stops';
import type { PublishedCampaign } from '../domain/campaign';
import { deferUntil } from '../domain/deferral';
import type { Outcome } from '../domain/outcomes';
import { nextOpening, type PlanningClock, planDue } from '../domain/planner';
import { signUnsubscribeToken, type TokenKey } from '../domain/unsubscribe-token';
import { type ComposedMessage, composeMessage, domainOf } from '../mail/compose/message';
import { messageIdFor } from '../mail/compose/message-id';
import type { Carrier, SmtpLink } from '../mail/deliver/connections';
import { SmtpRefusal } from '../mail/deliver/refusal';
import { type Delivery, deliver } from '../mail/deliver/send';
import { routeOf, type SendStepInput, type SendStepResult, type WaitReason } from '../workflows/contract';
import { withHeartbeat } from './heartbeat';

export interface SendStepDeps {
  db: Db;
  carrier: Carrier;
  publicUrl: string;
  tokenKeys: readonly TokenKey[];
  timeFactor: number;
  /** Why no mail may leave; null when it may. */
  mailBlocked: string | null;
}

/** How long one delivery may take, from MAIL to the last answer. */
const DELIVERY_MS = 60_000;
/** How long to wait for a free connection before the task goes back to its queue. */
const CONNECTION_MS = 80_000;
/** For this long after a 250 its record is tried again while Postgres is away; all three fit into the activity's 5 minutes. */
const RECORD_MS = 150_000;
/** How often a touch looks at its row again when the row changes under it, before it leaves that to a retry. */
const LOOKS = 5;

/**
 * Makes the activity `sendStep`: one touch of one enrollment. It sends what is due (through claim, gate and record, so at
 * most once whatever crashes) and answers when to come again; a step that was dealt with before answers what is stored.
 *
 * The activity fails, to be retried with back-off for as long as it takes, when the fault is ours and nobody may lose their
 * place: types `smtp_refused`, `smtp_unsent`, `mail_blocked`, `gate_failed`, `ledger_behind` (Temporal knows more than
 * Postgres: a backup was restored), `contended`. Their messages hold codes only.
 */
export function createSendStep(deps: SendStepDeps): (input: SendStepInput) => Promise<SendStepResult> {
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

type Attempt = SendStepResult | 'look-again';

async function touchOnce(deps: SendStepDeps, input: SendStepInput, cancelled: AbortSignal): Promise<Attempt> {
  const { db } = deps;
  // Under a time-skipping server, and on a worker whose clock lags, workflow time is the later one.
  const now = new Date(Math.max(input.now, Date.now()));
  const touch = await loadTouch(db, input.enrollmentId);
  if (touch === null) return { kind: 'concluded', outcome: 'erased', step: input.step };
  if (touch.outcome !== null) return { kind: 'concluded', outcome: touch.outcome, step: touch.step };
  if (touch.step < input.step) {
    throw ApplicationFailure.retryable(
      `step ${input.step} was asked for, the ledger is at ${touch.step}`,
      'ledger_behind',
    );
  }
  const campaign = await versionOf(db, touch.campaignId, touch.version);
  if (touch.step > input.step)
    return next(touch, campaign, touch.step === campaign.steps.length ? 'late-answer' : 'cadence');

  if (touch.infoDueAt !== null && touch.infoDueAt <= now) {
    return await send({ deps, touch, campaign, step: 0, copy: touch.infoCopies, now, cancelled });
  }
  if (touch.nextDueAt > now) return next(touch, campaign, 'not-due');
  if (touch.step >= campaign.steps.length) return await exhaust(db, touch, now);
  const opening =
    touch.step === 0 ? now : nextOpening({ ...planning(deps, touch, campaign), due: touch.nextDueAt, now });
  if (opening > now) {
    await postpone(db, touch.enrollmentId, touch.step, opening);
    await notSent(db, touch, now, 'send-window', { until: opening });
    return next({ ...touch, nextDueAt: opening }, campaign, 'send-window');
  }
  return await send({ deps, touch, campaign, step: touch.step, copy: 0, now, cancelled });
}

interface Sending {
  deps: SendStepDeps;
  touch: Touch;
  campaign: PublishedCampaign;
  step: number;
  copy: number;
  now: Date;
  cancelled: AbortSignal;
}

async function send(sending: Sending): Promise<Attempt> {
  const { deps, touch, campaign, step, copy, now, cancelled } = sending;
  const key: MessageKey = { enrollmentId: touch.enrollmentId, step, copy };
  // What another attempt left behind needs no connection to be settled.
  if (copy === 0 && touch.message !== null && !TAKEABLE.has(touch.message)) return await settleLeftOver(sending);
  if (deps.mailBlocked !== null) throw ApplicationFailure.retryable(deps.mailBlocked, 'mail_blocked');

  const link = await connect(deps.carrier, cancelled);
  try {
    const token = randomUUID();
    const messageId = messageIdFor({ ...key, domain: domainOf(campaign.definition.sender.address) });
    const claimed = await claim(deps.db, { ...key, messageId, token, now });
    if (claimed === null) return await whyRefused(sending);
    let message: ComposedMessage;
    try {
      message = await compose(sending, messageId);
    } catch (error) {
      await release(deps.db, { ...key, token }, now);
      throw error;
    }
    const delivery = await deliver(link, {
      from: message.envelope.from,
      to: touch.lead.email,
      raw: message.raw,
      gate: async () => !cancelled.aborted && (await passGate(deps.db, key, token, now)),
      signal: cancelled,
      deadlineMs: DELIVERY_MS,
    });
    // The next interval counts from here: the mail was not taken before (promise P10).
    const taken = new Date(Math.max(now.getTime(), Date.now()));
    return await record({ ...sending, now: taken }, { ...key, token }, claimed, delivery);
  } finally {
    link.release();
  }
}

/** Ledger states in which a claim may take a message. */
const TAKEABLE: ReadonlySet<string> = new Set(['claimed', 'deferred', 'withdrawn']);

async function connect(carrier: Carrier, cancelled: AbortSignal): Promise<SmtpLink> {
  try {
    return await carrier.acquire(AbortSignal.any([cancelled, AbortSignal.timeout(CONNECTION_MS)]));
  } catch (error) {
    if (cancelled.aborted) throw new CancelledFailure('cancelled before anything was handed over');
    if (error instanceof SmtpRefusal) throw ApplicationFailure.retryable(error.message, 'smtp_refused');
    throw ApplicationFailure.retryable('no SMTP connection came free', 'smtp_busy');
  }
}

async function compose({ deps, touch, campaign, step, now }: Sending, messageId: string): Promise<ComposedMessage> {
  const content = campaign.steps[step];
  if (content === undefined) throw new Error(`campaign version without step ${step}`);
  const { enrollmentId, campaignId, addressHash, lead } = touch;
  const locale = lead.locale ?? campaign.definition.locale;
  const token = signUnsubscribeToken({ addressHash, campaignId, enrollmentId, locale }, deps.tokenKeys);
  return await composeMessage({
    compiled: content,
    definition: campaign.definition,
    campaignId,
    lead: { ...lead, locale, timeZone: lead.timeZone ?? campaign.definition.timeZone },
    requestedAt: touch.requestedAt,
    consentSource: touch.consentSource,
    step,
    stepCount: campaign.steps.length,
    unsubscribeUrl: `${deps.publicUrl}/u/${token}`,
    messageId,
    date: now,
  });
}

async function record(
  sending: Sending,
  message: MessageKey & { token: string },
  claimed: { attempts: number; firstClaimedAt: Date },
  delivery: Delivery,
): Promise<Attempt> {
  const { deps, touch, now } = sending;
  switch (delivery.kind) {
    case 'accepted':
      return await advance(sending, message.token, {
        state: 'accepted',
        event: 'message-accepted',
        code: codes(delivery),
        providerId: delivery.messageId ?? delivery.providerId,
      });
    case 'unknown':
      return await advance(sending, message.token, {
        state: 'unknown',
        event: 'message-unknown',
        code: delivery.reason,
      });
    case 'withdrawn':
      return 'look-again';
    case 'gate-failed':
      // It may have committed all the same, and is taken back: nothing has gone out.
      await release(deps.db, message, now);
      throw ApplicationFailure.retryable('the gate could not be asked', 'gate_failed');
    case 'unsent':
      await release(deps.db, message, now);
      if (delivery.reason === 'aborted') return 'look-again';
      throw ApplicationFailure.retryable(`smtp ${delivery.phase} ${delivery.reason}`, 'smtp_unsent');
    case 'refused':
      break;
  }
  const code = codes(delivery);
  switch (delivery.judgement.verdict) {
    case 'bounced':
      await untilRecorded(() => bounce(deps.db, message, code, now));
      return 'look-again';
    case 'rejected':
      return await advance(sending, message.token, { state: 'rejected', event: 'message-rejected', code });
    case 'refused-us':
      await release(deps.db, message, now);
      throw ApplicationFailure.retryable(`smtp ${delivery.phase} ${code}`, 'smtp_refused');
    case 'deferred': {
      const until = deferUntil(claimed.attempts, claimed.firstClaimedAt, now);
      if (until === null) {
        return await advance(sending, message.token, { state: 'deferred', event: 'message-skipped', code });
      }
      const { enrollmentId, step, copy, token } = message;
      // A nudge is tried again inside the send window only (promise P10); the information at any hour.
      const dueAt =
        step === 0
          ? until
          : nextOpening({ ...planning(deps, touch, sending.campaign), due: touch.nextDueAt, now: until });
      await untilRecorded(() =>
        settle(deps.db, {
          enrollmentId,
          step,
          copy,
          token,
          leadId: touch.lead.id,
          state: 'deferred',
          event: 'message-deferred',
          code,
          providerId: null,
          move: { kind: 'again', dueAt },
          now,
        }),
      );
      return await answerFromRow(sending, 'deferred');
    }
  }
}

/** Settles a message for good and moves the enrollment on to its next step. */
async function advance(
  sending: Sending,
  token: string | null,
  fate: Pick<Parameters<typeof settle>[1], 'state' | 'event' | 'code'> & { providerId?: string | null },
): Promise<Attempt> {
  const { deps, touch, campaign, step, copy, now } = sending;
  const following = copy === 0 ? step + 1 : touch.step;
  const dueAt = planDue({ ...planning(deps, touch, campaign), step: following, after: now });
  await untilRecorded(() =>
    settle(deps.db, {
      enrollmentId: touch.enrollmentId,
      step,
      copy,
      token,
      leadId: touch.lead.id,
      providerId: null,
      ...fate,
      move: { kind: 'advance', dueAt },
      now,
    }),
  );
  return await answerFromRow(sending, following >= campaign.steps.length ? 'late-answer' : 'cadence');
}

/** The row's own word on what comes next, after it was moved on (or was stopped meanwhile). */
async function answerFromRow({ deps, touch, campaign }: Sending, reason: WaitReason): Promise<Attempt> {
  const fresh = await untilRecorded(() => loadTouch(deps.db, touch.enrollmentId));
  if (fresh === null) return { kind: 'concluded', outcome: 'erased', step: touch.step };
  if (fresh.outcome !== null) return { kind: 'concluded', outcome: fresh.outcome, step: fresh.step };
  return next(fresh, campaign, reason);
}

/** An earlier attempt has passed the gate, or more: whatever became of it, this step is not sent again (promise P3). */
async function settleLeftOver(sending: Sending): Promise<Attempt> {
  const { deps, touch, campaign, step, now } = sending;
  if (touch.message === 'handing_over') {
    return await advance(sending, null, { state: 'unknown', event: 'message-unknown', code: 'crash' });
  }
  const dueAt = planDue({ ...planning(deps, touch, campaign), step: step + 1, after: now });
  await advancePast(deps.db, touch.enrollmentId, step, dueAt, now);
  return 'look-again';
}

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
  const by = await holdWhilePaused(deps.db, touch.enrollmentId, now);
  if (by !== null) {
    await notSent(deps.db, touch, now, 'paused', { by });
    return { kind: 'hold', by };
  }
  if (copy > 0 && (await settleLostCopy(sending))) return 'look-again';
  if (step > 0 && copy === 0 && fresh.agreedAt === null) {
    await stopEnrollments(deps.db, {
      who: { enrollmentId: touch.enrollmentId },
      outcome: 'informed',
      detail: { by: 'no-consent' },
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
  const dueAt = planDue({ ...planning(deps, touch, campaign), step: touch.step, after: now });
  return await settle(deps.db, {
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
}

async function exhaust(db: Db, touch: Touch, now: Date): Promise<Attempt> {
  await stopEnrollments(db, {
    who: { enrollmentId: touch.enrollmentId },
    outcome: 'exhausted',
    // Who asks again at this very moment moves it away, and is not ended.
    dueBy: now,
    detail: { by: 'journey' },
    byJourney: true,
    now,
  });
  return 'look-again';
}

function next(touch: Touch, campaign: PublishedCampaign, reason: WaitReason): SendStepResult {
  const infoAgain = touch.infoDueAt !== null && touch.infoDueAt <= touch.nextDueAt;
  return {
    kind: 'next',
    step: touch.step,
    dueAt: Math.min(touch.nextDueAt.getTime(), touch.infoDueAt?.getTime() ?? Number.POSITIVE_INFINITY),
    route: routeOf({ ...touch, steps: campaign.steps.length, infoAgain }),
    reason,
  };
}

function planning(deps: SendStepDeps, touch: Touch, { definition }: PublishedCampaign) {
  const clock: PlanningClock = { origin: touch.enrolledAt.getTime(), factor: deps.timeFactor };
  return {
    enrollmentId: touch.enrollmentId,
    step: touch.step,
    cadence: definition.cadence,
    sendWindow: definition.sendWindow,
    timeZone: touch.lead.timeZone ?? definition.timeZone,
    clock,
  };
}

async function notSent(
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

/** Gives a claim back; were that lost, the next attempt would have to take the message for handed over. */
async function release(db: Db, { token, ...key }: MessageKey & { token: string }, now: Date): Promise<void> {
  await untilRecorded(() => releaseClaim(db, key, token, now));
}

/** Keeps trying to write down what can't be undone any more, while Postgres is away. */
async function untilRecorded<T>(work: () => Promise<T>): Promise<T> {
  const giveUpAt = Date.now() + RECORD_MS;
  for (let wait = 100; ; wait = Math.min(wait * 2, 5_000)) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() + wait > giveUpAt) throw error;
      await sleep(wait);
    }
  }
}

/** Reply code and enhanced code of an answer, never its text: that can quote an address (promise P5). */
function codes(answer: { code: number | null; enhanced: string | null }): string {
  return [answer.code ?? 'none', answer.enhanced].filter((part) => part !== null).join(' ');
}
