import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { forgetOldFaults } from '../db/breaker';
import type { Db } from '../db/client';
import { wakeHeld, wakeProbes } from '../db/holds';
import { forgetIdempotencyKeys, KEEP_ANSWERS_MS } from '../db/idempotency';
import { deleteOrphanChunks, leaseImports, markImportsStarted } from '../db/imports';
import { currentLimits } from '../db/limits';
import { leaseOverdue, leaseSignals, leaseUnstarted, markSignalled, markStarted } from '../db/outbox';
import { leaseUnstartedTestSends, markTestSendsStarted } from '../db/test-sends';
import { forgetTransactionalAddresses, leaseTransactional, markTransactionalStarted } from '../db/transactional';
import { type AlertMail, tellOperators } from './alerts';
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
  /** Who is told by mail when sending is stopped; nobody where it is left out. */
  alertMail?: AlertMail;
}

const BATCH = 500;
/**
 * Calls to Temporal under way at the same time. More start no more journeys on a server that is busy, and whoever else asks
 * it for something waits behind them (promise P8).
 */
const CONCURRENCY = 6;
/** A batch is done well within this time (ms); if not, its reconciler has died and another may take it. */
const LEASE_MS = 30_000;
/** How often the leavings of uploads that broke off are looked for, and how old they must be (ms): no upload takes so long. */
const TIDY_EVERY_MS = 60 * 60_000;
const ORPHAN_MS = 24 * 60 * 60_000;
/** A delivery report that comes later than this (ms) finds no address any more. */
const LATE_BOUNCES_MS = 30 * 24 * 60 * 60_000;

/** What spoke against our sending, and what was sent on a day, is kept this long (ms): well beyond what rates look at. */
const OLD_FAULTS_MS = 90 * 24 * 60 * 60_000;

/** What one round has done, by count. */
export interface Round {
  started: number;
  signalled: number;
  watched: number;
  /** Found as held for what is no longer paused, or sent to try. */
  woken: number;
  imports: number;
}

/**
 * Makes Temporal agree with Postgres, for as long as `signal` lets it: starts what was never started, delivers stops and
 * wakes that were not delivered, and starts again what is well past its due time, whatever became of Temporal's store.
 * Any number may run. A round that fails is logged and tried again.
 */
export async function runReconciler(options: ReconcilerOptions, signal: AbortSignal): Promise<void> {
  const { everyMs = 2_000, log } = options;
  let tidied = 0;
  const applied: AppliedLimits = { limits: null, at: 0 };
  while (!signal.aborted) {
    let busy = false;
    try {
      const round = await reconcileOnce(options);
      busy = round.started >= BATCH || round.signalled >= BATCH || round.woken >= BATCH || round.watched >= BATCH;
      if (round.started + round.signalled + round.watched + round.imports > 0) log.info({ ...round }, 'reconciled');
      await keepLimits(options.client, options.db, log, applied);
      if (Date.now() - tidied >= TIDY_EVERY_MS) {
        await deleteOrphanChunks(options.db, ORPHAN_MS);
        await forgetIdempotencyKeys(options.db, KEEP_ANSWERS_MS);
        await forgetTransactionalAddresses(options.db, LATE_BOUNCES_MS);
        await forgetOldFaults(options.db, OLD_FAULTS_MS);
        tidied = Date.now();
      }
    } catch (error) {
      log.warn(
        { code: (error as { code?: unknown }).code ?? (error as Error).name },
        'reconciling failed; will try again',
      );
      // A store that was lost took the limits with it, and the search attributes, without which no journey starts.
      applied.limits = null;
      await registerSearchAttributes(options.client, options.client.options.namespace).catch(() => {});
    }
    if (!busy) await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
}

/** One round. @throws what Postgres or Temporal said of the first failure; the rest of the round was done all the same */
export async function reconcileOnce(options: ReconcilerOptions): Promise<Round> {
  const { client, db, log, alertMail, graceMs = 15 * 60_000, watchAgainMs = 15 * 60_000 } = options;
  const failures: unknown[] = [];
  const limits = await currentLimits(db);

  // What these stamp is told below, in the same round.
  const woken = (await wakeHeld(db, BATCH, new Date())) + (await wakeProbes(db, new Date(), LEASE_MS));
  await tellOperators(db, log, alertMail);

  // First, so that no backlog of journeys stands before it (promise P8).
  const mails = await leaseTransactional(db, BATCH, LEASE_MS, graceMs);
  const startedMails = await each(mails, failures, (mail) =>
    startTransactional(client, { ...mail, ...transactionalWeight(limits, mail.fairnessKey) }),
  );
  await markTransactionalStarted(
    db,
    startedMails.map((mail) => mail.transactionalId),
  );

  const unstarted = await leaseUnstarted(db, BATCH, LEASE_MS);
  const started = await each(unstarted, failures, (journey) => startJourney(client, journey, limits));
  await markStarted(
    db,
    started.map((journey) => journey.enrollmentId),
  );

  const tests = await leaseUnstartedTestSends(db, BATCH, LEASE_MS);
  const startedTests = await each(tests, failures, (test) => startTestSend(client, test));
  await markTestSendsStarted(
    db,
    startedTests.map((test) => test.testSendId),
  );

  const signals = await leaseSignals(db, BATCH, LEASE_MS);
  const signalled = await each(signals, failures, (pending) => signalJourney(client, pending));
  await markSignalled(db, signalled);

  const overdue = await leaseOverdue(db, graceMs, BATCH, watchAgainMs);
  const watched = await each(overdue, failures, (journey) => lookAfter(client, db, journey, log));

  const waiting = await leaseImports(db, BATCH, LEASE_MS, graceMs);
  const imports = await each(waiting, failures, (importId) => startImport(client, importId));
  await markImportsStarted(db, imports);

  if (failures.length > 0) throw failures[0];
  return {
    started: started.length,
    signalled: signalled.length,
    watched: watched.length,
    woken,
    imports: imports.length,
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
