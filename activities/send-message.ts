import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { recordFault, resumeAfterProbe } from '../db/breaker';
import { versionOf } from '../db/campaigns';
import { type Db, inTransaction } from '../db/client';
import {
  type Claim,
  claim,
  loadTouch,
  type MessageKey,
  type Moved,
  passGate,
  releaseClaim,
  settle,
  type Touch,
  uncount,
} from '../db/ledger';
import { referralCodeOf } from '../db/referrals';
import { softBounceIn } from '../db/soft-bounces';
import { bounce } from '../db/stops';
import { type CompiledStep, cadenceBefore, contentOf, type PublishedCampaign, partiesOf } from '../domain/campaign';
import { deferUntil } from '../domain/deferral';
import { countedAs, countedSince, type FrequencyCap } from '../domain/frequency';
import type { SendingLimits } from '../domain/limits';
import type { Outcome } from '../domain/outcomes';
import { endPosition, stepAt } from '../domain/plan';
import { nextOpening, type PlanningClock, planDue } from '../domain/planner';
import type { TokenKey } from '../domain/signed-token';
import { type Stream, streamOfStep } from '../domain/streams';
import { signUnsubscribeToken } from '../domain/unsubscribe-token';
import { type MailIdentity, mailIdentity } from '../mail/compose/identity';
import { type ComposedMessage, composeMessage } from '../mail/compose/message';
import type { TemplateOrder } from '../mail/compose/templates';
import type { Carrier, SmtpLink } from '../mail/deliver/connections';
import { type Refusal, SmtpRefusal } from '../mail/deliver/refusal';
import type { Delivery } from '../mail/deliver/send';
import { MissingDkimKey, type Signer } from '../mail/deliver/signing';
import { claims } from '../telemetry/channels';
import { routeOf, type SendStepResult, type WaitReason } from '../workflows/contract';
import { afterRefusalOfUs, askLeave, type RefusalOfUs, spendPlace } from './leave-to-send';
import { type ToldDelivery, toldDelivery } from './told-delivery';

/** The way out of one stream. */
export interface StreamExit {
  stream: Stream;
  carrier: Carrier;
  sign: Signer;
  /** Mailbox for delivery reports (VERP); null: they go to the From address. */
  returnPath: string | null;
}

export interface SendMessageDeps {
  db: Db;
  /** Null on a queue that carries no mail. */
  exit: StreamExit | null;
  publicUrl: string;
  /** Mailbox of ours for answers; null: they go where the campaign says. */
  replyAddress: string | null;
  tokenKeys: readonly TokenKey[];
  timeFactor: number;
  /** How often one person gets marketing mail at most, across campaigns; as often as campaigns say where it is left out. */
  frequencyCap?: FrequencyCap | null;
  /** Why no mail may leave; null when it may. */
  mailBlocked: string | null;
}

/** How long one delivery may take, from MAIL to the last answer. */
export const DELIVERY_MS = 60_000;
/** How long to wait for a free connection before the task goes back to its queue; to open it takes 20 s more at most. */
const CONNECTION_MS = 60_000;
/** For this long after a 250 its record is tried again while Postgres is away; all of them fit into the activity's 5 minutes. */
const RECORD_MS = 150_000;

export type Attempt = SendStepResult | 'look-again';

/** One message of one enrollment that is about to be sent. */
export interface Sending {
  deps: SendMessageDeps;
  touch: Touch;
  campaign: PublishedCampaign;
  step: number;
  copy: number;
  now: Date;
  cancelled: AbortSignal;
  limits: SendingLimits;
  /** It is the one mail that may try whether a stream that was stopped can go on. */
  probe?: boolean;
}

/**
 * Sends one message: connection, claim, composition, gate, delivery, record.
 *
 * @returns `refused` when the claim was: something forbids it now
 */
export async function sendMessage(sending: Sending): Promise<Attempt | 'refused'> {
  const { deps, touch, campaign, step, copy, now, cancelled } = sending;
  const { db, exit, mailBlocked } = deps;
  const key: MessageKey = { enrollmentId: touch.enrollmentId, step, copy };
  // The streams never meet: what is due here by another one is sent on its way there.
  if (exit?.stream !== streamOfStep(step, touch.journey))
    return next({ ...touch, nextDueAt: dueNow(touch, now) }, campaign, 'not-due', sending.limits);
  if (mailBlocked !== null) throw ApplicationFailure.retryable(mailBlocked, 'mail_blocked');

  const leave = await askLeave(sending, exit.stream);
  if (leave.kind !== 'go') {
    return leave.kind === 'daily-cap' ? await answerFromRow(sending, 'daily-cap') : leave.answer;
  }
  const told = toldDelivery({ stream: exit.stream, mail: 'enrollment', id: touch.enrollmentId, step });
  const link = await acquire(exit.carrier, cancelled, told);
  if (link instanceof SmtpRefusal) {
    const failure = ApplicationFailure.retryable(link.message, 'smtp_refused');
    return await afterRefusalOfUs(sending, exit.stream, refusalOf(link), failure);
  }
  try {
    const token = randomUUID();
    const identity = identityOf(sending, exit);
    const cap = capOf(deps, exit.stream, now);
    const claimed = await claim(db, { ...key, messageId: identity.messageId, token, moves: touch.moves, cap, now });
    claims.publish({ stream: exit.stream, granted: claimed !== null });
    if (claimed === null) return 'refused';
    let message: ComposedMessage;
    let signed: Buffer;
    try {
      message = await compose(sending, exit, identity);
      signed = await exit.sign(message.raw, identity.from.address, now);
    } catch (error) {
      await release(sending, { ...key, token, claimedAt: now });
      if (error instanceof MissingDkimKey) throw ApplicationFailure.retryable(error.message, 'not_signed');
      throw error;
    }
    const delivery = await told.deliver(link, {
      from: message.envelope.from,
      to: touch.lead.email,
      envelopeId: message.envelope.id,
      raw: signed,
      gate: async () =>
        !cancelled.aborted &&
        (await passGate(db, key, token, now, { stream: exit.stream, provider: touch.fairnessKey })),
      signal: cancelled,
      deadlineMs: DELIVERY_MS,
    });
    // The next interval counts from here: the mail was not taken before (promise P10).
    const taken = new Date(Math.max(now.getTime(), Date.now()));
    const sent = { ...sending, now: taken, probe: leave.probe };
    return await record(sent, exit.stream, { ...key, token, claimedAt: now }, claimed, delivery);
  } finally {
    link.release();
  }
}

function dueNow(touch: Touch, now: Date): Date {
  return touch.nextDueAt > now ? touch.nextDueAt : now;
}

/** A connection to send over, or the server's no. @throws CancelledFailure, or a failure to be retried */
export async function acquire(
  carrier: Carrier,
  cancelled: AbortSignal,
  told: ToldDelivery,
): Promise<SmtpLink | SmtpRefusal> {
  try {
    const link = await carrier.acquire(cancelled, CONNECTION_MS);
    told.connected();
    return link;
  } catch (error) {
    if (cancelled.aborted) throw new CancelledFailure('cancelled before anything was handed over');
    told.noConnection(error instanceof SmtpRefusal ? error : null);
    if (error instanceof SmtpRefusal) return error;
    throw ApplicationFailure.retryable('no SMTP connection came free', 'smtp_busy');
  }
}

function identityOf({ deps, touch, campaign, step, copy }: Sending, exit: StreamExit): MailIdentity {
  return mailIdentity(
    { kind: 'enrollment', id: touch.enrollmentId, step, copy },
    partiesOf(campaign.definition, touch.journey, step),
    { ...deps, returnPath: exit.returnPath },
  );
}

async function compose(
  { deps, touch, campaign, step, now }: Sending,
  { stream }: StreamExit,
  identity: MailIdentity,
): Promise<ComposedMessage> {
  const content = contentOf(campaign, touch.journey, stepAt(touch.plan, step));
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
    order: await orderOf(deps, touch, content, now),
    consentSource: touch.consentSource,
    consentCapturedAt: touch.consentCapturedAt,
    step,
    stepCount: touch.plan?.length ?? campaign.steps.length,
    unsubscribeUrl: `${deps.publicUrl}/u/${token}`,
    identity,
    stream,
    date: now,
  });
}

/** What a mail to a buyer may say of their order; a personal link is made when a mail first needs it. */
async function orderOf(
  { db, publicUrl }: SendMessageDeps,
  { orderId, enrollmentId, campaignId, lead, requestedAt }: Touch,
  content: CompiledStep,
  now: Date,
): Promise<TemplateOrder | null> {
  if (orderId === null) return null;
  const asksForReferrals = Object.values(content).some((part) => part.includes('referral'));
  const buyer = { enrollmentId, campaignId, leadId: lead.id };
  const referralUrl = asksForReferrals ? `${publicUrl}/r/${await referralCodeOf(db, buyer, now)}` : null;
  return { number: orderId, purchasedAt: requestedAt, referralUrl };
}

/** A message under this attempt's claim. */
type ClaimedMessage = MessageKey & { token: string; claimedAt: Date };

async function record(
  sending: Sending,
  stream: Stream,
  message: ClaimedMessage,
  claimed: { attempts: number; firstClaimedAt: Date },
  delivery: Delivery,
): Promise<Attempt> {
  const { deps, touch, now } = sending;
  switch (delivery.kind) {
    case 'accepted': {
      // First of all the record: nothing may come between a 250 and it.
      const answer = await advance(sending, message.token, {
        state: 'accepted',
        event: 'message-accepted',
        code: codes(delivery),
        providerId: delivery.providerId ?? delivery.messageId,
      });
      if (sending.probe) await untilRecorded(() => resumeAfterProbe(deps.db, stream, touch.fairnessKey, now));
      return answer;
    }
    case 'unknown':
      return await advance(sending, message.token, {
        state: 'unknown',
        event: 'message-unknown',
        code: delivery.reason,
      });
    case 'withdrawn':
      // Whoever has shut the gate may not have taken the claim back (a stop for rates does not).
      await release(sending, message);
      await spendPlace(sending, stream, 'message');
      return 'look-again';
    case 'gate-failed':
      // It may have committed all the same, and is taken back: nothing has gone out.
      await release(sending, message);
      await spendPlace(sending, stream, 'message');
      throw ApplicationFailure.retryable('the gate could not be asked', 'gate_failed');
    case 'unsent':
      await release(sending, message);
      await spendPlace(sending, stream, delivery.phase);
      if (delivery.reason === 'aborted') return 'look-again';
      return await afterRefusalOfUs(
        sending,
        stream,
        { phase: delivery.phase, code: null, cause: 'network' },
        ApplicationFailure.retryable(`smtp ${delivery.phase} ${delivery.reason}`, 'smtp_unsent'),
      );
    case 'refused':
      break;
  }
  const code = codes(delivery);
  switch (delivery.judgement.verdict) {
    case 'bounced':
      await untilRecorded(() => bounce(deps.db, message, code, now));
      await recordFault(deps.db, { stream, provider: touch.fairnessKey, kind: 'hard-bounce', code, now });
      return 'look-again';
    case 'rejected': {
      const answer = await advance(sending, message.token, { state: 'rejected', event: 'message-rejected', code });
      if (isAboutOurMail(delivery)) {
        await recordFault(deps.db, { stream, provider: touch.fairnessKey, kind: 'policy-bounce', code, now });
        return answer;
      }
      return (await wornOut(sending, code)) ? 'look-again' : answer;
    }
    case 'refused-us':
      await release(sending, message);
      await spendPlace(sending, stream, delivery.phase);
      return await afterRefusalOfUs(
        sending,
        stream,
        refusalOf(delivery),
        ApplicationFailure.retryable(`smtp ${delivery.phase} ${code}`, 'smtp_refused'),
      );
    case 'deferred': {
      const until = deferUntil(claimed.attempts, claimed.firstClaimedAt, now);
      if (until === null) {
        const answer = await advance(sending, message.token, { state: 'deferred', event: 'message-skipped', code });
        return !isAboutOurMail(delivery) && (await wornOut(sending, code)) ? 'look-again' : answer;
      }
      const { enrollmentId, step, copy, token } = message;
      // A nudge is tried again inside the send window only (promise P10); the information at any hour.
      const dueAt =
        step === 0
          ? until
          : nextOpening({ ...planning(deps, touch, sending.campaign), due: touch.nextDueAt, now: until });
      const { moved } = await untilRecorded(() =>
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
      return await answerFrom(sending, moved, 'deferred');
    }
  }
}

/** Settles a message for good and moves the enrollment on to its next step. */
export async function advance(
  sending: Sending,
  token: string | null,
  fate: Pick<Parameters<typeof settle>[1], 'state' | 'event' | 'code'> & { providerId?: string | null },
): Promise<Attempt> {
  const { deps, touch, campaign, step, copy, now } = sending;
  const following = copy === 0 ? step + 1 : touch.step;
  const dueAt = planStep(deps, touch, campaign, following, now);
  const { moved } = await untilRecorded(() =>
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
  const known = { ...touch, unknown: touch.unknown || fate.state === 'unknown' };
  return await answerFrom(
    { ...sending, touch: known },
    moved,
    following >= endPosition(touch.plan, campaign, touch.journey) ? 'late-answer' : 'cadence',
  );
}

/** Counts a mailbox that is full, or can't be reached, as a soft bounce. @returns whether that has ended its enrollments */
async function wornOut({ deps, touch, step, now }: Sending, code: string): Promise<boolean> {
  const { addressHash, enrollmentId } = touch;
  return await untilRecorded(() =>
    inTransaction(deps.db, async (tx) => {
      const bounce = { addressHash, enrollmentId, step, at: now, code };
      return (await softBounceIn(tx, bounce, { by: 'smtp', step }, now)) !== null;
    }),
  );
}

/** What comes next, as the enrollment stands after it was moved on; looked up where that was not told. */
async function answerFrom(sending: Sending, moved: Moved | null, reason: WaitReason): Promise<Attempt> {
  if (moved === null) return await answerFromRow(sending, reason);
  const { touch, campaign, limits } = sending;
  if (moved.outcome !== null) return concluded({ ...touch, ...moved }, moved.outcome);
  return next({ ...touch, ...moved }, campaign, reason, limits);
}

/** The row's own word on what comes next, after it was moved on (or was stopped meanwhile). */
async function answerFromRow({ deps, touch, limits }: Sending, reason: WaitReason): Promise<Attempt> {
  const fresh = await untilRecorded(() => loadTouch(deps.db, touch.enrollmentId));
  if (fresh === null) return { kind: 'concluded', outcome: 'erased', step: touch.step };
  if (fresh.outcome !== null) return concluded(fresh, fresh.outcome);
  return next(fresh, await versionOf(deps.db, fresh.campaignId, fresh.version), reason, limits);
}

export function concluded({ step, unknown }: Touch, outcome: Outcome): SendStepResult {
  return { kind: 'concluded', outcome, step, ...(unknown ? { unknown } : {}) };
}

export function next(
  touch: Touch,
  campaign: PublishedCampaign,
  reason: WaitReason,
  limits: SendingLimits,
): SendStepResult {
  const infoAgain = touch.infoDueAt !== null && touch.infoDueAt <= touch.nextDueAt;
  return {
    kind: 'next',
    step: touch.step,
    dueAt: Math.min(touch.nextDueAt.getTime(), touch.infoDueAt?.getTime() ?? Number.POSITIVE_INFINITY),
    route: routeOf({ ...touch, steps: endPosition(touch.plan, campaign, touch.journey), infoAgain }, limits),
    reason,
    ...(touch.unknown ? { unknown: true } : {}),
  };
}

export function planning(deps: SendMessageDeps, touch: Touch, { definition }: PublishedCampaign) {
  const clock: PlanningClock = { origin: touch.enrolledAt.getTime(), factor: deps.timeFactor };
  return {
    enrollmentId: touch.enrollmentId,
    step: touch.step,
    sendWindow: definition.sendWindow,
    timeZone: touch.lead.timeZone ?? definition.timeZone,
    clock,
  };
}

/** When a step falls due, or a late answer to the last one is waited for no longer, if the mail before went out at `after`. */
export function planStep(
  deps: SendMessageDeps,
  touch: Touch,
  campaign: PublishedCampaign,
  step: number,
  after: Date,
): Date {
  const cadence = cadenceBefore(campaign.definition, touch.journey, step);
  return planDue({ ...planning(deps, touch, campaign), cadence, step, after });
}

/** What the claim is told of the frequency cap. */
function capOf(
  { frequencyCap = null, timeFactor }: SendMessageDeps,
  stream: Stream,
  now: Date,
): NonNullable<Claim['cap']> | null {
  if (frequencyCap === null || stream !== 'marketing') return null;
  return { mails: frequencyCap.mails, since: countedSince(frequencyCap, now, timeFactor) };
}

/** Gives a claim back; were that lost, the next attempt would have to take the message for handed over. */
async function release(sending: Sending, { token, claimedAt, ...key }: ClaimedMessage): Promise<void> {
  await untilRecorded(() => releaseClaim(sending.deps.db, key, token, sending.now));
  await takeBack(sending, claimedAt);
}

/** What was claimed and not handed over does not count towards the frequency cap. */
async function takeBack({ deps, touch, step, copy }: Sending, claimedAt: Date): Promise<void> {
  if ((deps.frequencyCap ?? null) === null || step === 0 || copy > 0) return;
  const key = countedAs(touch.enrollmentId, step);
  await untilRecorded(() => uncount(deps.db, touch.addressHash, key, claimedAt));
}

/** Keeps trying to write down what can't be undone any more, while Postgres is away. */
export async function untilRecorded<T>(work: () => Promise<T>): Promise<T> {
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

/** Policy and content are about our mail, whoever it is for: they speak against us as a bounce of that kind does. */
export function isAboutOurMail({ judgement: { cause } }: Refusal): boolean {
  return cause === 'policy' || cause === 'content';
}

/** What the circuit breaker wants to know of a refusal. */
export function refusalOf(refusal: Refusal): RefusalOfUs {
  return {
    phase: refusal.phase,
    code: refusal.code === null ? null : codes(refusal),
    cause: refusal.judgement.cause,
  };
}

/** Reply code and enhanced code of an answer, never its text: that can quote an address (promise P5). */
export function codes(answer: { code: number | null; enhanced: string | null }): string {
  return [answer.code ?? 'none', answer.enhanced].filter((part) => part !== null).join(' ');
}
