import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { Duration } from 'luxon';
import { forgetOldFaults } from '../db/breaker';
import type { Db } from '../db/client';
import { leaseRequests, markRequestsTold } from '../db/confirmation-outbox';
import { forgetRequests } from '../db/confirmations';
import { wakeHeld, wakeProbes } from '../db/holds';
import { forgetIdempotencyKeys, KEEP_ANSWERS_MS } from '../db/idempotency';
import { deleteOrphanChunks, leaseImports, markImportsStarted } from '../db/imports';
import { dropJournal, type Journal } from '../db/journal';
import { settleLeftBehind } from '../db/ledger';
import { currentLimits } from '../db/limits';
import { LEASE_MS, leaseOverdue, leaseSignals, leaseUnstarted, markSignalled, markStarted } from '../db/outbox';
import { closeUnconfirmedRequests } from '../db/own-page';
import { enforceRetention, type RetentionSettings } from '../db/retention';
import { forgetSessions } from '../db/staff-sessions';
import { leaseUnstartedTestSends, markTestSendsStarted } from '../db/test-sends';
import { forgetThrottles } from '../db/throttle';
import { forgetTransactionalAddresses, leaseTransactional, markTransactionalStarted } from '../db/transactional';
import { COUNTED_MS } from '../domain/confirmation';
import { errorCode } from '../domain/error-code';
import { reconcilerRounds } from '../telemetry/channels';
import { type AlertMail, tellOperators } from './alerts';
import { keepRequestGoing } from './confirmations';
import { lookAfter, signalJourney, startImport, startJourney, startTestSend, startTransactional } from './journeys';
import { type AppliedLimits, keepLimits, transactionalWeight } from './limits';
import type { Log } from './log';
import { registerSearchAttributes } from './search-attributes';

export interface ReconcilerOptions {
  client: Client;
  db: Db;
  log: Log;
  /** Pause between two rounds that found nothing, ms. */
  everyMs?: number;
  /** How long past its due time an enrollment may be before the watchdog looks at it, ms. */
  graceMs?: number;
  /** How long the watchdog leaves an enrollment alone that it has just looked at, ms. */
  watchAgainMs?: number;
  /** What was enrolled less than this (ms) ago is being started by whoever enrolled it; 0 where it is left out. */
  freshMs?: number;
  /** Who is told by mail when sending is stopped; nobody where it is left out. */
  alertMail?: AlertMail;
  /** How long (ISO 8601) what nobody confirmed is kept after its link has expired; P7D where it is left out. */
  unconfirmedKept?: string;
  /** Where stops, suppressions and erasures are written down outside Postgres; nowhere where it is left out. */
  journal?: Journal | undefined;
  /** Told of each round that has gone through. */
  onRound?: () => void;
  /** How those are erased whose time is over; nobody is where it is left out. */
  retention?: RetentionSettings;
}

/** So few that a slow server takes them within a lease, and that what comes after them in a round waits for seconds only. */
const BATCH = 50;
/** More, since each look passes whoever is late and was looked after already. */
const WATCH_BATCH = 200;
/**
 * The watchdog looks this often, as a part of the time that it leaves everybody anyway: of many who are late together, and
 * wait for their turn, every look passes all that it has looked after already.
 */
const WATCH_EVERY = 1 / 30;
/**
 * Calls to Temporal under way at the same time. More start no more journeys on a server that is busy, and whoever else asks
 * it for something waits behind them (promise P8).
 */
const CONCURRENCY = 6;
/** How often the leavings of uploads that broke off are looked for, and how old they must be (ms): no upload takes so long. */
const TIDY_EVERY_MS = 60 * 60_000;
const ORPHAN_MS = 24 * 60 * 60_000;
/** A delivery report that comes later than this (ms) finds no address any more. */
const LATE_BOUNCES_MS = 30 * 24 * 60 * 60_000;

/** What spoke against our sending, and what was sent on a day, is kept this long (ms): well beyond what rates look at. */
const OLD_FAULTS_MS = 90 * 24 * 60 * 60_000;

/** An attempt to send is over well within this time (ms), counted from its beginning: 5 minutes are all that it is given. */
const ATTEMPT_OVER_MS = 6 * 60_000;

/** How often it is looked for leads whose time is over (ms). */
const RETENTION_EVERY_MS = 5 * 60_000;

/** Without a journal, what was noted for one goes after this time (ms). */
const UNWANTED_JOURNAL_MS = 7 * 24 * 60 * 60_000;

/** How often something was tried counts for no stretch of time as long as this (ms). */
const OLD_TRIES_MS = 48 * 60 * 60_000;

/** What one round has done, by count. */
export interface Round {
  started: number;
  /** Mails outside any journey that were started. */
  mails: number;
  testSends: number;
  signalled: number;
  watched: number;
  /** Found as held for what is no longer paused, or sent to try. */
  woken: number;
  imports: number;
  /** Messages whose attempt died after the gate: `unknown` now. */
  leftBehind: number;
}

/**
 * Makes Temporal agree with Postgres, for as long as `signal` lets it: starts what was never started, delivers stops and
 * wakes that were not delivered, and starts again what is well past its due time, whatever became of Temporal's store.
 * Any number may run. A round that fails is logged and tried again.
 */
export async function runReconciler(options: ReconcilerOptions, signal: AbortSignal): Promise<void> {
  const { everyMs = 2_000, log } = options;
  let tidied = 0;
  let enforced = 0;
  let watched = 0;
  const applied: AppliedLimits = { limits: null, at: 0 };
  while (!signal.aborted) {
    let busy = false;
    const begun = Date.now();
    try {
      const watch = begun - watched >= WATCH_EVERY * graceOf(options);
      const round = await reconcileOnce(options, watch);
      // As long as there are more, each round looks after some.
      if (watch && round.watched < WATCH_BATCH) watched = begun;
      reconcilerRounds.publish({ ms: Date.now() - begun, done: round });
      options.onRound?.();
      busy =
        [round.started, round.mails, round.signalled, round.woken].some((count) => count >= BATCH) ||
        round.watched >= WATCH_BATCH;
      if (Object.values(round).some((count) => count > 0)) log.info({ ...round }, 'reconciled');
      await keepLimits(options.client, options.db, log, applied);
      // In a demonstration, where months are minutes, so much more often.
      if (Date.now() - enforced >= RETENTION_EVERY_MS / (options.retention?.timeFactor ?? 1)) {
        const more = await keepToRetention(options);
        busy ||= more;
        if (!more) enforced = Date.now();
      }
      if (Date.now() - tidied >= TIDY_EVERY_MS) {
        await deleteOrphanChunks(options.db, ORPHAN_MS);
        await forgetIdempotencyKeys(options.db, KEEP_ANSWERS_MS);
        await forgetTransactionalAddresses(options.db, LATE_BOUNCES_MS);
        await forgetOldFaults(options.db, OLD_FAULTS_MS);
        await forgetUnconfirmed(options);
        await forgetThrottles(options.db, OLD_TRIES_MS, new Date());
        await closeUnconfirmedRequests(options.db, new Date());
        if (options.journal === undefined) await dropJournal(options.db, UNWANTED_JOURNAL_MS, new Date());
        await forgetSessions(options.db, new Date());
        tidied = Date.now();
      }
    } catch (error) {
      reconcilerRounds.publish({ ms: Date.now() - begun, done: null });
      log.warn({ code: errorCode(error) }, 'reconciling failed; will try again');
      // A store that was lost took the limits with it, and the search attributes, without which no journey starts.
      applied.limits = null;
      await registerSearchAttributes(options.client, options.client.options.namespace).catch(() => {});
    }
    if (!busy) await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
}

/** Erases whose time is over. @returns whether there are more */
async function keepToRetention({ db, log, retention }: ReconcilerOptions): Promise<boolean> {
  if (retention === undefined) return false;
  const { erased, receivedLate, destroyed, failed, more } = await enforceRetention(db, retention, new Date());
  for (const { leadId, code } of failed) log.error({ leadId, code }, 'a lead whose time is over could not be erased');
  if (erased + receivedLate + destroyed > 0)
    log.info({ erased, receivedLate, destroyed }, 'erased what was kept long enough');
  return more;
}

async function forgetUnconfirmed({ db, unconfirmedKept = 'P7D', retention }: ReconcilerOptions): Promise<void> {
  const now = new Date();
  const keptMs = Duration.fromISO(unconfirmedKept).toMillis() / (retention?.timeFactor ?? 1);
  const countedSince = new Date(now.getTime() - COUNTED_MS);
  await forgetRequests(db, { keptUntil: new Date(now.getTime() - keptMs), countedSince, now });
}

function graceOf({ graceMs = 15 * 60_000 }: ReconcilerOptions): number {
  return graceMs;
}

/**
 * One round.
 *
 * @param watch whether the watchdog looks, too
 * @throws what Postgres or Temporal said of the first failure; the rest of the round was done all the same
 */
export async function reconcileOnce(options: ReconcilerOptions, watch = true): Promise<Round> {
  const { client, db, log, alertMail, watchAgainMs = 15 * 60_000, freshMs = 0 } = options;
  const graceMs = graceOf(options);
  const failures: unknown[] = [];
  const limits = await currentLimits(db);

  // What these stamp is told below, in the same round.
  const woken = (await wakeHeld(db, BATCH, new Date())) + (await wakeProbes(db, new Date(), LEASE_MS));
  await tellOperators(db, log, alertMail);

  // What the workers have stopped, and what could not be written before.
  await options.journal?.keep();

  // First, so that no backlog of journeys stands before it (promise P8).
  const mails = await leaseTransactional(db, BATCH, LEASE_MS, graceMs);
  const startedMails = await each(mails, failures, (mail) =>
    startTransactional(client, { ...mail, ...transactionalWeight(limits, mail) }),
  );
  await markTransactionalStarted(
    db,
    startedMails.map((mail) => mail.transactionalId),
  );

  const unstarted = await leaseUnstarted(db, BATCH, LEASE_MS, freshMs);
  const started = await each(unstarted, failures, (journey) => startJourney(client, journey, limits));
  await markStarted(
    db,
    started.map((journey) => journey.enrollmentId),
  );

  const requests = await leaseRequests(db, BATCH, LEASE_MS, graceMs);
  const kept = await each(requests, failures, (request) => keepRequestGoing(client, request));
  await markRequestsTold(db, kept);
  const asked = kept.filter((request) => request.state === 'pending').length;

  const tests = await leaseUnstartedTestSends(db, BATCH, LEASE_MS);
  const startedTests = await each(tests, failures, (test) => startTestSend(client, test));
  await markTestSendsStarted(
    db,
    startedTests.map((test) => test.testSendId),
  );

  const signals = await leaseSignals(db, BATCH, LEASE_MS);
  const signalled = await each(signals, failures, (pending) => signalJourney(client, pending));
  await markSignalled(db, signalled);

  const leftBehind = await settleLeftBehind(db, new Date(Date.now() - ATTEMPT_OVER_MS), new Date());
  if (leftBehind > 0) log.warn({ count: leftBehind }, 'messages whose attempt died after the gate are unknown');

  const overdue = watch ? await leaseOverdue(db, graceMs, WATCH_BATCH, watchAgainMs) : [];
  const watched = await each(overdue, failures, (journey) => lookAfter(client, db, journey, log));

  const waiting = await leaseImports(db, BATCH, LEASE_MS, graceMs);
  const imports = await each(waiting, failures, (importId) => startImport(client, importId));
  await markImportsStarted(db, imports);

  if (failures.length > 0) throw failures[0];
  return {
    started: started.length + asked,
    mails: startedMails.length,
    testSends: startedTests.length,
    signalled: signalled.length + kept.length - asked,
    watched: watched.length,
    woken,
    imports: imports.length,
    leftBehind,
  };
}

/** Runs `work` for each item, a few at a time. @returns those that went well; the faults of the others in `failures` */
async function each<T>(items: readonly T[], failures: unknown[], work: (item: T) => Promise<unknown>): Promise<T[]> {
  const queue = items.values();
  const done: T[] = [];
  await Promise.all(
    Array.from({ length: Math.min(CONCURRENCY, items.length) }, async () => {
      for (const item of queue) {
        try {
          await work(item);
          done.push(item);
        } catch (error) {
          failures.push(error);
        }
      }
    }),
  );
  return done;
}
