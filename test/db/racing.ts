import { randomUUID } from 'node:crypto';
import { setTimeout as sleep, setImmediate as soon } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Db } from '../../db/client';
import { claim, type MessageKey, passGate } from '../../db/ledger';
import type { InFlight } from '../../db/stops';
import { hashAddress } from '../../domain/address-hash';
import { publishForTests } from '../support/campaigns';
import { TEST_ADDRESS_KEYS } from '../support/leads';

/** One enrollment of one person, written straight into the tables so that thousands of trials can be had. */
export interface Subject {
  enrollmentId: string;
  leadId: string;
  campaignId: string;
  email: string;
  hashes: [string, ...string[]];
}

export interface SeedOptions {
  /** A campaign for each, for what happens to a whole campaign; otherwise all share one. */
  campaignEach?: boolean;
  agreed?: boolean;
  step?: number;
  dueAt?: Date;
  startedAt?: Date | null;
}

/** `count` people, each enrolled once, due now, journeys unstarted, unless told otherwise. */
export async function seed(db: Db, count: number, options: SeedOptions = {}): Promise<Subject[]> {
  const { campaignEach = false, agreed = true, step = 0, startedAt = null } = options;
  const enrolledAt = new Date(Date.now() - 60_000);
  const shared = await publishForTests(db);
  const subjects = Array.from({ length: count }, (): Subject => {
    const email = `${randomUUID()}@shop.example`;
    const campaignId = campaignEach ? randomUUID() : shared;
    const hashes = hashAddress(email, TEST_ADDRESS_KEYS);
    return { enrollmentId: randomUUID(), leadId: randomUUID(), campaignId, email, hashes };
  });
  if (campaignEach) {
    const ids = subjects.map((subject) => subject.campaignId);
    await sql`insert into campaign (id, draft, latest_version)
      select n.id, c.draft, 1 from unnest(${ids}::uuid[]) as n (id), campaign c where c.id = ${shared}`.execute(db);
    await sql`insert into campaign_version (campaign_id, version, definition, steps)
      select n.id, 1, v.definition, v.steps
      from unnest(${ids}::uuid[]) as n (id), campaign_version v where v.campaign_id = ${shared}`.execute(db);
  }
  const hashes = subjects.map((subject) => subject.hashes[0]);
  const leadIds = subjects.map((subject) => subject.leadId);
  await sql`insert into address (hash) select unnest(${hashes}::text[])`.execute(db);
  await sql`insert into lead (id, address_hash, email)
    select * from unnest(${leadIds}::uuid[], ${hashes}::text[], ${subjects.map((s) => s.email)}::text[])`.execute(db);
  await sql`insert into enrollment (id, campaign_id, version, lead_id, address_hash, requested_at, enrolled_at, agreed_at,
                                    step, next_due_at, last_info_at, fairness_key, started_at)
    select s.id, s.campaign_id, 1, s.lead_id, s.hash, ${enrolledAt}, ${enrolledAt},
           ${agreed ? enrolledAt : null}::timestamptz, ${step}, ${options.dueAt ?? enrolledAt},
           ${step > 0 ? enrolledAt : null}::timestamptz, 'other-1', ${startedAt}::timestamptz
    from unnest(${subjects.map((s) => s.enrollmentId)}::uuid[], ${subjects.map((s) => s.campaignId)}::uuid[],
                ${leadIds}::uuid[], ${hashes}::text[]) as s (id, campaign_id, lead_id, hash)`.execute(db);
  // As autovacuum would; without it, thousands of new campaigns are found by scanning.
  if (campaignEach) await sql`analyze campaign, campaign_version, enrollment, message`.execute(db);
  return subjects;
}

/** What became of an attempt to send: refused by the claim, by the gate, or on its way. */
export type Attempted = 'refused' | 'withdrawn' | 'handed over';

/** Claim and gate as `sendStep` does them, with what composing and SMTP take in between left to chance. */
export async function attempt(db: Db, enrollmentId: string, step = 0): Promise<Attempted> {
  const key = { enrollmentId, step, copy: 0 };
  const token = await tryClaim(db, key);
  if (token === null) return 'refused';
  // Now and then long, so that the other side gets in between on a busy machine too.
  const dice = Math.random();
  if (dice < 0.1) await sleep(Math.random() * 150);
  else if (dice < 0.5) await sleep(Math.random() * 10);
  return (await passGate(db, key, token, new Date())) ? 'handed over' : 'withdrawn';
}

/** @returns the token of the claim, or null when it was refused */
export async function tryClaim(db: Db, key: MessageKey, now = new Date()): Promise<string | null> {
  const token = randomUUID();
  const messageId = `<${key.enrollmentId}.${key.step}.${key.copy}@shop.example>`;
  return (await claim(db, { ...key, messageId, token, moves: 0, now })) === null ? null : token;
}

/** Waits for nothing, a turn of the event loop, or up to three milliseconds. */
export async function jitter(): Promise<void> {
  const dice = Math.random();
  if (dice < 0.3) return;
  if (dice < 0.5) return void (await soon());
  await sleep(Math.random() * 3);
}

/** Runs two sides of a race from the same start, each after a jitter of its own, either one called first. */
export async function together<A, B>(a: () => Promise<A>, b: () => Promise<B>): Promise<[A, B]> {
  let start = () => {};
  const barrier = new Promise<void>((resolve) => {
    start = resolve;
  });
  const ready = <T>(side: () => Promise<T>) => barrier.then(jitter).then(side);
  const bFirst = Math.random() < 0.5 ? ready(b) : null;
  const pair = Promise.all([ready(a), bFirst ?? ready(b)]);
  start();
  return await pair;
}

/** Runs one trial for each item, `width` at a time, and counts their outcomes. */
export async function tally<T, K extends string>(
  items: readonly T[],
  width: number,
  trial: (item: T) => Promise<K>,
): Promise<Partial<Record<K, number>>> {
  const counts: Partial<Record<K, number>> = {};
  const queue = items.values();
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (const item of queue) {
        const outcome = await trial(item);
        counts[outcome] = (counts[outcome] ?? 0) + 1;
      }
    }),
  );
  return counts;
}

/** Is this enrollment's message among those that a stop has named? */
export function names(inFlight: readonly InFlight[], enrollmentId: string, step = 0): boolean {
  return inFlight.some((message) => message.enrollmentId === enrollmentId && message.step === step);
}
