import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';
import type { Db } from '../db/client';
import { findTestSend, isUndeliverable, type QueuedTestSend, queuedTestSend, settleTestSend } from '../db/test-sends';
import { fromOfStep } from '../domain/campaign';
import { testMark } from '../domain/example-lead';
import type { TokenKey } from '../domain/signed-token';
import { mailIdentity } from '../mail/compose/identity';
import { type ComposedMessage, composeMessage } from '../mail/compose/message';
import type { SmtpLink } from '../mail/deliver/connections';
import { SmtpRefusal } from '../mail/deliver/refusal';
import { MissingDkimKey } from '../mail/deliver/signing';
import { withHeartbeat } from './heartbeat';
import { codes, DELIVERY_MS, type StreamExit } from './send-message';
import { type ToldDelivery, toldDelivery } from './told-delivery';

export interface SendTestDeps {
  db: Db;
  /** Null on a queue that carries no mail. */
  exit: StreamExit | null;
  publicUrl: string;
  replyAddress: string | null;
  tokenKeys: readonly TokenKey[];
  /** Why no mail may leave; null when it may. */
  mailBlocked: string | null;
}

type Settled = 'accepted' | 'refused';

/** How it went: for good, or a fault that another attempt may not meet. Codes only (promise P5). */
type Attempt = { state: Settled; code: string } | { retry: 'smtp_refused' | 'smtp_unsent' | 'smtp_busy'; code: string };

const CONNECTION_MS = 60_000;

/**
 * Makes the activity `sendTest`: sends one step to the shop's own staff. It has no ledger, since nobody's journey hangs on
 * it: a crash between the server's 250 and our record sends the test twice. After its last attempt it is `refused`, so that
 * whoever waits for it knows.
 */
export function createSendTest(deps: SendTestDeps): (input: { testSendId: string }) => Promise<{ state: Settled }> {
  return ({ testSendId }) =>
    withHeartbeat(async (cancelled) => {
      const { db } = deps;
      const test = await queuedTestSend(db, testSendId);
      if (test === null) return { state: settledState((await findTestSend(db, testSendId)).state) };
      const attempt = await sendOnce(deps, test, cancelled);
      if ('retry' in attempt && !isLastAttempt()) throw ApplicationFailure.retryable(attempt.code, attempt.retry);
      const state = 'retry' in attempt ? 'refused' : attempt.state;
      await settleTestSend(db, testSendId, state, attempt.code);
      return { state };
    });
}

async function sendOnce(deps: SendTestDeps, test: QueuedTestSend, cancelled: AbortSignal): Promise<Attempt> {
  if (deps.mailBlocked !== null) return { state: 'refused', code: 'mail_blocked' };
  const { exit } = deps;
  if (exit === null) throw new Error('this queue carries no mail');
  if (await isUndeliverable(deps.db, test.content.hashes)) return { state: 'refused', code: 'undeliverable' };
  let message: ComposedMessage;
  try {
    message = await compose(deps, exit, test);
  } catch (error) {
    return { state: 'refused', code: error instanceof MissingDkimKey ? 'not_signed' : 'not_fillable' };
  }
  const told = toldDelivery({ stream: exit.stream, mail: 'test-send', id: test.testSendId, step: test.step });
  let link: SmtpLink;
  try {
    link = await exit.carrier.acquire(AbortSignal.any([cancelled, AbortSignal.timeout(CONNECTION_MS)]));
    told.connected();
  } catch (error) {
    if (cancelled.aborted) throw new CancelledFailure('cancelled before anything was handed over');
    told.noConnection(error instanceof SmtpRefusal ? error : null);
    if (error instanceof SmtpRefusal) return { retry: 'smtp_refused', code: error.message };
    return { retry: 'smtp_busy', code: 'no SMTP connection came free' };
  }
  try {
    return await handOver(told, link, test, message, cancelled);
  } finally {
    link.release();
  }
}

async function handOver(
  told: ToldDelivery,
  link: SmtpLink,
  test: QueuedTestSend,
  message: ComposedMessage,
  cancelled: AbortSignal,
): Promise<Attempt> {
  const delivery = await told.deliver(link, {
    from: message.envelope.from,
    to: test.address,
    raw: message.raw,
    gate: async () => !cancelled.aborted,
    signal: cancelled,
    deadlineMs: DELIVERY_MS,
  });
  switch (delivery.kind) {
    case 'accepted':
      return { state: 'accepted', code: codes(delivery) };
    case 'refused': {
      const { verdict } = delivery.judgement;
      if (verdict === 'bounced' || verdict === 'rejected') return { state: 'refused', code: codes(delivery) };
      return { retry: 'smtp_refused', code: `smtp ${delivery.phase} ${codes(delivery)}` };
    }
    case 'unknown':
      // It may have arrived, and is not sent again: staff can ask for another.
      return { state: 'refused', code: `unknown ${delivery.reason}` };
    case 'withdrawn':
    case 'gate-failed':
      throw new CancelledFailure('cancelled before anything was handed over');
    case 'unsent':
      if (delivery.reason === 'aborted') throw new CancelledFailure('cancelled before anything was handed over');
      return { retry: 'smtp_unsent', code: `smtp ${delivery.phase} ${delivery.reason}` };
  }
}

async function compose(deps: SendTestDeps, exit: StreamExit, test: QueuedTestSend): Promise<ComposedMessage> {
  const { definition, compiled, stepCount, requestedAt, consentSource } = test.content;
  const identity = mailIdentity(
    { kind: 'test', id: test.testSendId },
    { from: fromOfStep(definition.sender, test.step), replyTo: definition.sender.replyTo },
    { ...deps, returnPath: exit.returnPath },
  );
  const date = new Date();
  const message = await composeMessage({
    compiled: { ...compiled, subject: `${testMark(definition.locale)} ${compiled.subject}` },
    definition,
    campaignId: test.campaignId,
    lead: { ...test.lead, email: test.address },
    requestedAt: new Date(requestedAt),
    consentSource,
    consentCapturedAt: consentSource === null ? null : new Date(requestedAt),
    step: test.step,
    stepCount,
    // Leads nowhere: a test must not be able to unsubscribe anybody.
    unsubscribeUrl: `${deps.publicUrl}/u/preview`,
    identity,
    stream: exit.stream,
    date,
  });
  return { ...message, raw: await exit.sign(message.raw, identity.from.address, date) };
}

function isLastAttempt(): boolean {
  const { attempt, retryPolicy } = Context.current().info;
  return attempt >= (retryPolicy?.maximumAttempts ?? Number.POSITIVE_INFINITY);
}

function settledState(state: 'queued' | Settled): Settled {
  return state === 'accepted' ? 'accepted' : 'refused';
}
