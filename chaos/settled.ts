import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Db } from '../db/client';

/** What is still under way, by count. */
interface UnderWay {
  /** Open, not paused, and due within the horizon (or overdue). */
  open: number;
  /** Messages between claim and record. */
  delivering: number;
  /** Changes that Temporal was not told of. */
  untold: number;
}

const LOOK_EVERY_MS = 500;

export interface SettleOptions {
  campaignId: string;
  /** What falls due later than this from now is not waited for (ms). */
  horizonMs: number;
  /** A mail past the gate whose enrollment has ended is waited for no longer than this (ms). */
  leftBehindMs: number;
  /** For how long at most (ms). */
  withinMs: number;
  /** Every few seconds told of what is still under way. */
  onLook?: (underWay: UnderWay) => void;
  signal: AbortSignal;
}

/** Waits until nothing is under way any more. @returns whether that came in time */
export async function waitUntilSettled(db: Db, options: SettleOptions): Promise<boolean> {
  const giveUpAt = Date.now() + options.withinMs;
  let told = 0;
  for (;;) {
    const underWay = await lookAt(db, options).catch(() => null);
    if (underWay !== null && underWay.open + underWay.delivering + underWay.untold === 0) return true;
    if (Date.now() > giveUpAt) return false;
    if (underWay !== null && Date.now() - told > 10_000) {
      told = Date.now();
      options.onLook?.(underWay);
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal: options.signal });
  }
}

async function lookAt(db: Db, { campaignId, horizonMs, leftBehindMs }: SettleOptions): Promise<UnderWay> {
  const { rows } = await sql<UnderWay>`
    select
      (select count(*)::int from enrollment where campaign_id = ${campaignId} and outcome is null and paused_at is null
         and next_due_at < now() + ${horizonMs} * interval '1 millisecond') as open,
      (select count(*)::int from message m join enrollment e on e.id = m.enrollment_id
       where e.campaign_id = ${campaignId} and m.state in ('claimed', 'handing_over')
         and (e.outcome is null or m.claimed_at > now() - ${leftBehindMs} * interval '1 millisecond')) as delivering,
      (select count(*)::int from enrollment where campaign_id = ${campaignId}
         and (signal_at is not null or started_at is null and outcome is null)) as untold`.execute(db);
  return rows[0] ?? { open: 0, delivering: 0, untold: 0 };
}
