import { randomUUID } from 'node:crypto';
import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { mayLeave, recordFault, resumeAfterProbe, type SendingPause } from '../db/breaker';
import type { Db } from '../db/client';
import { reserveTransactionalSlot, spendSlot } from '../db/quota';
import {
  abandonTransactional,
  attachmentsOf,
  bounceTransactional,
  claimTransactional,
  deferTransactional,
  inboundRaw,
  loadTransactional,
  type PendingTransactional,
  passTransactionalGate,
  postponeTransactional,
  releaseTransactional,
  settleTransactional,
  type TransactionalClaim,
} from '../db/transactional';
import type { SettledState } from '../db/transactional-fate';
import { type AddressKey, hashAddress } from '../domain/address-hash';
import { normaliseAddress } from '../domain/addresses';
import { deferUntil } from '../domain/deferral';
import type { TokenKey } from '../domain/signed-token';
import { type MailIdentity, mailIdentity } from '../mail/compose/identity';
import { type ComposedTransactional, composeTransactional } from '../mail/compose/transactional';
import { fillTransactional, NotFillable } from '../mail/compose/transactional-template';
import { SmtpRefusal } from '../mail/deliver/refusal';
import type { Delivery } from '../mail/deliver/send';
import { MissingDkimKey } from '../mail/deliver/signing';
import { claims } from '../telemetry/channels';
import type { SendTransactionalInput, SendTransactionalResult } from '../workflows/contract';
import { withHeartbeat } from './heartbeat';
import { RECIPIENT_NAMED, type RefusalOfUs } from './leave-to-send';
import { acquire, codes, DELIVERY_MS, isAboutOurMail, refusalOf, type StreamExit, untilRecorded } from './send-message';
import { toldDelivery } from './told-delivery';

export interface SendTransactionalDeps {
  db: Db;
  /** Null on a queue that carries no mail. */
  exit: StreamExit | null;
  tokenKeys: readonly TokenKey[];
  addressKeys: readonly AddressKey[];
  /** Why no mail may leave; null when it may. */
  mailBlocked: string | null;
}

/** How often a mail looks at its row again when the row changes under it, before it leaves that to a retry. */
const LOOKS = 5;

/** A cap may be raised any time, and an invoice should not sleep through that. */
const CAPPED_MS = 60 * 60_000;
/** A stream that was stopped may be resumed by hand any time. */
const PAUSED_MS = 2 * 60_000;

/**
 * Makes the activity `sendTransactional`: one try at one mail, through claim, gate and record, so that it is handed over at
 * most once whatever crashes (promise P3); on a mail that was dealt with before it answers what is stored.
 *
 * The activity fails, to be retried with back-off for as long as it takes, when the fault is ours: types `smtp_refused`,
 * `smtp_unsent`, `smtp_busy`, `mail_blocked`, `not_signed`, `gate_failed`, `contended`. Their messages hold codes only.
 */
export function createSendTransactional(
  deps: SendTransactionalDeps,
): (input: SendTransactionalInput) => Promise<SendTransactionalResult> {
  return ({ transactionalId, now: asked }) =>
    withHeartbeat(async (cancelled) => {
      for (let look = 0; look < LOOKS; look++) {
        // Under a time-skipping server, and on a worker whose clock lags, workflow time is the later one.
        const now = new Date(Math.max(asked, Date.now()));
        const answer = await tryOnce(deps, transactionalId, now, cancelled);
        if (answer !== 'look-again') return answer;
        if (cancelled.aborted) throw new CancelledFailure('cancelled before anything was handed over');
      }
      throw ApplicationFailure.retryable('the mail keeps changing', 'contended');
    });
}

/** Makes the activity `abandonTransactional`: ends a mail whose workflow was cancelled, unless it has gone out. */
export function createAbandonTransactional(
  deps: Pick<SendTransactionalDeps, 'db'>,
): (input: { transactionalId: string }) => Promise<{ state: string }> {
  return async ({ transactionalId }) => {
    const now = new Date();
    const state = await abandonTransactional(deps.db, transactionalId, now);
    if (state !== 'handing_over') return { state };
    await settle(deps.db, { id: transactionalId, token: null, state: 'unknown', code: 'crash', now });
    return { state: 'unknown' };
  };
}

async function tryOnce(
  deps: SendTransactionalDeps,
  id: string,
  now: Date,
  cancelled: AbortSignal,
): Promise<SendTransactionalResult | 'look-again'> {
  const { db, exit, mailBlocked } = deps;
  const mail = await loadTransactional(db, id);
  if (mail === null) return { kind: 'settled', state: 'erased' };
  if ('settled' in mail) return { kind: 'settled', state: mail.settled };
  if (mail.state === 'handing_over') {
    // Another attempt has passed the gate: whatever became of it, this mail is not sent again (promise P3).
    await settle(db, { id, token: null, state: 'unknown', code: 'crash', now });
    return 'look-again';
  }
  if (mail.notBefore !== null && mail.notBefore > now) {
    return { kind: 'again', at: mail.notBefore.getTime(), reason: 'not-due' };
  }
  if (mailBlocked !== null) throw ApplicationFailure.retryable(mailBlocked, 'mail_blocked');
  // The streams never meet: what came to another one's queue is sent on its way there.
  if (exit?.stream !== mail.stream) return { kind: 'again', at: now.getTime(), reason: 'not-due', stream: mail.stream };
  const leave = await askLeave(db, mail, now);
  if ('kind' in leave) return leave;

  const told = toldDelivery({ stream: mail.stream, mail: 'transactional', id });
  const link = await acquire(exit.carrier, cancelled, told);
  if (link instanceof SmtpRefusal) {
    const failure = ApplicationFailure.retryable(link.message, 'smtp_refused');
    return await afterRefusalOfUs(db, mail, refusalOf(link), failure, now);
  }
  try {
    const claim = { id, token: randomUUID() };
    const identity = identityOf(deps, exit, mail);
    const claimed = await claimTransactional(db, { ...claim, messageId: identity.messageId, now });
    claims.publish({ stream: mail.stream, granted: claimed !== null });
    if (claimed === null) return 'look-again';
    let message: ComposedTransactional;
    try {
      message = await compose(db, mail, identity, now);
      message.raw = await exit.sign(message.raw, identity.from.address, now);
    } catch (error) {
      return await notComposed(db, claim, error, now);
    }
    const delivery = await told.deliver(link, {
      from: message.envelope.from,
      to: mail.email,
      envelopeId: message.envelope.id,
      raw: message.raw,
      gate: async () => !cancelled.aborted && (await passTransactionalGate(db, claim, now, mail)),
      signal: cancelled,
      deadlineMs: DELIVERY_MS,
    });
    const taken = new Date(Math.max(now.getTime(), Date.now()));
    return await record(deps, { ...mail, probe: leave.probe }, claim, claimed, delivery, taken);
  } finally {
    link.release();
  }
}

/** What keeps any mail of the stream from going out now: the stream is stopped, or its daily quota used up. */
async function askLeave(
  db: Db,
  mail: PendingTransactional,
  now: Date,
): Promise<{ probe: boolean } | SendTransactionalResult> {
  const asking = { stream: mail.stream, provider: mail.provider, now };
  const asked = await mayLeave(db, { ...asking, asProbe: false });
  if (asked.pause !== null) return await comeAgain(db, mail, now, { pause: asked.pause });
  const slot = await reserveTransactionalSlot(db, { id: mail.id, stream: mail.stream, provider: mail.provider, now });
  if (slot !== null) return await comeAgain(db, mail, now, { slot });
  if (!asked.probe) return { probe: false };
  const tried = await mayLeave(db, { ...asking, asProbe: true });
  return tried.pause === null ? { probe: tried.probe } : await comeAgain(db, mail, now, { pause: tried.pause });
}

async function comeAgain(
  db: Db,
  mail: PendingTransactional,
  now: Date,
  why: { pause: SendingPause } | { slot: Date },
): Promise<SendTransactionalResult> {
  const [until, most] = 'slot' in why ? [why.slot, CAPPED_MS] : [why.pause.probeAt, PAUSED_MS];
  const latest = now.getTime() + most;
  // A try that another mail has taken already leaves a time that has passed.
  const at = Math.max(Math.min(until?.getTime() ?? latest, latest), now.getTime() + 1_000);
  await postponeTransactional(db, mail.id, new Date(at));
  return { kind: 'again', at, reason: 'slot' in why ? 'daily-cap' : 'paused' };
}

/** Tells the circuit breaker. @throws the failure, for Temporal to try again, unless that has stopped the stream */
async function afterRefusalOfUs(
  db: Db,
  mail: PendingTransactional,
  refusal: RefusalOfUs,
  failure: ApplicationFailure,
  now: Date,
): Promise<'look-again'> {
  const { stream, provider } = mail;
  await recordFault(db, { stream, provider, kind: 'refusal', ...refusal, now });
  const { pause } = await mayLeave(db, { stream, provider, now, asProbe: false });
  if (pause === null) throw failure;
  return 'look-again';
}

function identityOf({ tokenKeys }: SendTransactionalDeps, exit: StreamExit, mail: PendingTransactional): MailIdentity {
  const { from, replyTo } = 'shop' in mail.content ? mail.content.shop : mail.content.ready;
  return mailIdentity(
    { kind: 'transactional', id: mail.id },
    { from, replyTo: replyTo ?? from.address },
    // Answers to an invoice, or to a page's mail, go to people, and are no lead's reply.
    { returnPath: exit.returnPath, replyAddress: null, tokenKeys },
  );
}

async function compose(
  db: Db,
  mail: PendingTransactional,
  identity: MailIdentity,
  date: Date,
): Promise<ComposedTransactional> {
  const attachments = await attachmentsOf(db, mail.id);
  if ('shop' in mail.content) {
    const { name, from, replyTo, compiled, data, locale, timeZone } = mail.content.shop;
    const to = { email: mail.email, name };
    const filled = fillTransactional(compiled, { to, from, data, locale, timeZone, date });
    const sort = mail.template ?? mail.kind;
    return await composeTransactional({
      ...filled,
      to,
      locale,
      replyTo,
      attachments,
      original: null,
      identity,
      sort,
      stream: mail.stream,
      date,
    });
  }
  const { name, replyTo, subject, text, html, locale = null } = mail.content.ready;
  const original = mail.inboundId === null ? null : await inboundRaw(db, mail.inboundId);
  return await composeTransactional({
    to: { email: mail.email, name },
    subject,
    text,
    html,
    locale,
    replyTo,
    attachments,
    original,
    identity,
    sort: mail.kind,
    stream: mail.stream,
    date,
  });
}

/** It was filled once when it was accepted, so one that can't be is a fault of ours that no retry mends: it is shown. */
async function notComposed(
  db: Db,
  claim: TransactionalClaim,
  error: unknown,
  now: Date,
): Promise<SendTransactionalResult> {
  if (error instanceof NotFillable) {
    return await conclude(db, { ...claim, state: 'rejected', code: 'not_fillable', now });
  }
  await untilRecorded(() => releaseTransactional(db, claim));
  if (error instanceof MissingDkimKey) throw ApplicationFailure.retryable(error.message, 'not_signed');
  throw error;
}

async function record(
  deps: SendTransactionalDeps,
  mail: PendingTransactional & { probe: boolean },
  claim: TransactionalClaim,
  claimed: { deferrals: number; firstClaimedAt: Date },
  delivery: Delivery,
  now: Date,
): Promise<SendTransactionalResult | 'look-again'> {
  const { db } = deps;
  switch (delivery.kind) {
    case 'accepted': {
      // First of all the record: nothing may come between a 250 and it.
      const answer = await conclude(db, {
        ...claim,
        state: 'accepted',
        code: codes(delivery),
        providerId: delivery.providerId ?? delivery.messageId,
        now,
      });
      if (mail.probe) await untilRecorded(() => resumeAfterProbe(db, mail.stream, mail.provider, now));
      return answer;
    }
    case 'unknown':
      return await conclude(db, { ...claim, state: 'unknown', code: delivery.reason, now });
    case 'withdrawn':
      // Whoever has shut the gate may not have taken the claim back (a stop for rates does not).
      await untilRecorded(() => releaseTransactional(db, claim));
      await spendPlace(db, mail, 'message');
      return 'look-again';
    case 'gate-failed':
      // It may have committed all the same, and is taken back: nothing has gone out.
      await untilRecorded(() => releaseTransactional(db, claim));
      await spendPlace(db, mail, 'message');
      throw ApplicationFailure.retryable('the gate could not be asked', 'gate_failed');
    case 'unsent':
      await untilRecorded(() => releaseTransactional(db, claim));
      await spendPlace(db, mail, delivery.phase);
      if (delivery.reason === 'aborted') return 'look-again';
      return await afterRefusalOfUs(
        db,
        mail,
        { phase: delivery.phase, code: null, cause: 'network' },
        ApplicationFailure.retryable(`smtp ${delivery.phase} ${delivery.reason}`, 'smtp_unsent'),
        now,
      );
    case 'refused':
      return await refused(deps, mail, claim, claimed, delivery, now);
  }
}

async function refused(
  { db, addressKeys }: SendTransactionalDeps,
  mail: PendingTransactional,
  claim: TransactionalClaim,
  { deferrals, firstClaimedAt }: { deferrals: number; firstClaimedAt: Date },
  refusal: Extract<Delivery, { kind: 'refused' }>,
  now: Date,
): Promise<SendTransactionalResult | 'look-again'> {
  const code = codes(refusal);
  switch (refusal.judgement.verdict) {
    case 'bounced': {
      const toStaff = mail.kind === 'forward' || mail.kind === 'alert';
      const hashes = toStaff ? null : hashAddress(normaliseAddress(mail.email), addressKeys);
      await untilRecorded(() => bounceTransactional(db, claim, { hashes, code, now }));
      await recordFault(db, { stream: mail.stream, provider: mail.provider, kind: 'hard-bounce', code, now });
      return 'look-again';
    }
    case 'rejected': {
      const answer = await conclude(db, { ...claim, state: 'rejected', code, now });
      if (isAboutOurMail(refusal)) {
        await recordFault(db, { stream: mail.stream, provider: mail.provider, kind: 'policy-bounce', code, now });
      }
      return answer;
    }
    case 'refused-us':
      await untilRecorded(() => releaseTransactional(db, claim));
      await spendPlace(db, mail, refusal.phase);
      return await afterRefusalOfUs(
        db,
        mail,
        refusalOf(refusal),
        ApplicationFailure.retryable(`smtp ${refusal.phase} ${code}`, 'smtp_refused'),
        now,
      );
    case 'deferred': {
      const until = deferUntil(deferrals + 1, firstClaimedAt, now);
      if (until === null) return await conclude(db, { ...claim, state: 'deferred', code, now });
      await untilRecorded(() => deferTransactional(db, claim, { code, until }));
      await spendPlace(db, mail, 'rcpt');
      return { kind: 'again', at: until.getTime(), reason: 'deferred' };
    }
  }
}

/** An attempt that has named the recipient to the server uses up its place in today's quota; one that has not keeps it. */
async function spendPlace(db: Db, { id }: PendingTransactional, phase: string): Promise<void> {
  if (RECIPIENT_NAMED.has(phase)) await spendSlot(db, { table: 'transactional', id });
}

/** Settles, and answers with the row's own word: another attempt may have been before this one. */
async function conclude(
  db: Db,
  fate: TransactionalClaim & { state: SettledState; code: string; providerId?: string | null; now: Date },
): Promise<SendTransactionalResult> {
  await settle(db, fate);
  const mail = await untilRecorded(() => loadTransactional(db, fate.id));
  if (mail === null) return { kind: 'settled', state: 'erased' };
  // Taken over by another attempt that is still at it: this one's part is done.
  return { kind: 'settled', state: 'settled' in mail ? mail.settled : fate.state };
}

async function settle(db: Db, fate: Parameters<typeof settleTransactional>[1]): Promise<void> {
  await untilRecorded(() => settleTransactional(db, fate));
}
