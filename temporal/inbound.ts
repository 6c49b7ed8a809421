import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../db/client';
import { decideInbound } from '../db/decisions';
import { type ActDeps, type Acted, actOnInbound } from '../db/inbound-actions';
import { knownThread } from '../db/inbound-matching';
import {
  dueReviews,
  eraseOldInbound,
  giveUpInbound,
  type LeasedInbound,
  leaseInbound,
  putBackInbound,
} from '../db/inbound-queue';
import type { Journal } from '../db/journal';
import { isUnreachable } from '../db/reachability';
import { errorCode } from '../domain/error-code';
import type { Understand, UnderstandEvent, Understood } from '../domain/inbound-actions';
import { inboundRounds } from '../telemetry/channels';
import type { Journeys } from './journeys';
import type { Log } from './log';

export interface InboundOptions {
  db: Db;
  /** Told at once of what has changed; the reconciler would find it anyway. */
  journeys: Pick<Journeys, 'start' | 'tell' | 'startTransactional'>;
  log: Log;
  understand: Understand;
  understandEvent: UnderstandEvent;
  deps: ActDeps;
  /** Where what was stopped is written down outside Postgres; left to the reconciler where it is left out. */
  journal?: Journal | undefined;
  /** Pause between two rounds that found nothing, ms. */
  everyMs?: number;
  clock?: () => Date;
}

const BATCH = 20;
/** A batch is done well within this time (ms); if not, its worker has died and another may take what is left. */
const LEASE_MS = 5 * 60_000;
const TIDY_EVERY_MS = 60 * 60_000;

/** What one round has done, by count. */
export interface InboundRound {
  done: number;
  failed: number;
  decided: number;
}

/**
 * Understands what was received and acts upon it, for as long as `signal` lets it. Any number may run; a message is
 * acted upon once, and one that can't be dealt with holds up no other.
 *
 * @param options `rawKept`: how long what was received is kept in full, ISO 8601
 */
export async function runInbound(options: InboundOptions & { rawKept: string }, signal: AbortSignal): Promise<void> {
  const { everyMs = 1_000, log, db } = options;
  let tidied = 0;
  while (!signal.aborted) {
    let busy = false;
    try {
      const round = await inboundOnce(options, signal);
      inboundRounds.publish(round);
      busy = round.done + round.failed >= BATCH;
      if (round.done + round.failed + round.decided > 0) log.info({ ...round }, 'received mail was dealt with');
      if (Date.now() - tidied >= TIDY_EVERY_MS) {
        const erased = await eraseOldInbound(db, new Date(), options.rawKept);
        if (erased > 0) log.info({ erased }, 'old received mail was erased');
        tidied = Date.now();
      }
    } catch (error) {
      log.warn({ code: errorCode(error) }, 'dealing with received mail failed; will try again');
    }
    if (!busy) await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
}

/** One round. @throws what Postgres said while it can't be reached; what it had leased is tried again after the lease */
export async function inboundOnce(options: InboundOptions, signal?: AbortSignal): Promise<InboundRound> {
  const { db, clock = () => new Date() } = options;
  const round: InboundRound = { done: 0, failed: 0, decided: 0 };
  round.failed += await giveUpInbound(db);
  for (const row of await leaseInbound(db, BATCH, LEASE_MS)) {
    if (signal?.aborted === true) break;
    if (await dealWith(options, row, clock())) round.done += 1;
    else round.failed += 1;
  }
  for (const inboundId of await dueReviews(db, clock(), BATCH)) {
    if (await decide(options, inboundId, clock())) round.decided += 1;
  }
  if (round.done + round.decided > 0) await options.journal?.keep();
  return round;
}

/** Nobody has decided in time: whatever it is, a person may have answered. */
async function decide({ db, deps, log, journeys }: InboundOptions, inboundId: string, now: Date): Promise<boolean> {
  try {
    tellOf(journeys, await decideInbound(db, deps, inboundId, { kind: 'reply', by: 'time' }, now));
    return true;
  } catch (error) {
    if (isUnreachable(error)) throw error;
    log.error({ inboundId, code: errorCode(error) }, 'a message in doubt could not be taken for a reply');
    return false;
  }
}

/** @returns false when it failed and was put back */
async function dealWith(options: InboundOptions, row: LeasedInbound, now: Date): Promise<boolean> {
  const { db, deps, log } = options;
  try {
    const understood = await understoodOf(options, row);
    tellOf(options.journeys, await actOnInbound(db, deps, row.id, understood, now));
    return true;
  } catch (error) {
    if (isUnreachable(error)) throw error;
    const code = errorCode(error);
    log.error({ inboundId: row.id, attempts: row.attempts, code }, 'a received message could not be dealt with');
    await putBackInbound(db, row, code);
    return false;
  }
}

async function understoodOf(options: InboundOptions, row: LeasedInbound): Promise<Understood> {
  const { db, deps, understand, understandEvent } = options;
  if (row.event !== null) return understandEvent(row.event);
  return await understand(row.raw ?? Buffer.alloc(0), row.envelope, (clues) =>
    knownThread(db, clues, deps.addressKeys),
  );
}

function tellOf(journeys: InboundOptions['journeys'], { tell, start, mails }: Acted): void {
  if (tell.length > 0) journeys.tell(tell);
  if (start.length > 0) journeys.start(start);
  if (mails.length > 0) journeys.startTransactional(mails);
}
