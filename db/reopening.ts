import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import { type AddressKey, hashAddress } from '../domain/address-hash';
import { normaliseAddress } from '../domain/addresses';
import type { CampaignDefinition } from '../domain/campaign';
import { nextOpening, planDue } from '../domain/planner';
import { Problem } from '../domain/problem';
import { lockAddresses, suppressionOf } from './addresses';
import { versionOf } from './campaigns';
import { type Db, inTransaction, type Tx } from './client';
import { recordEvents } from './events';
import { noteForJournal } from './journal';
import { signalStamp } from './outbox';
import { lastPurchasesAbout } from './purchases';
import { giveBackSlots, keptSlotDay } from './quota';
import type { EnrollmentTable } from './schema';
import { handingOver, type InFlight, withdraw } from './stops';
import { lastWithdrawals } from './withdrawals';

export interface Snooze {
  enrollmentId: string;
  /** Nothing is sent before. */
  until: Date;
  /** Who asked, for the timeline: `api`, `staff-link`. */
  via: string;
  timeFactor: number;
  now: Date;
}

/**
 * Lets an open enrollment rest: its next mail goes out in the send window's first opening at or after `until`; never
 * earlier than it was due anyway.
 *
 * @returns when it is due now, and what was past the gate at that moment
 * @throws Problem `not-found`, `already-ended`
 */
export async function snoozeEnrollment(db: Db, snooze: Snooze): Promise<{ nextDueAt: Date; inFlight: InFlight[] }> {
  return await inTransaction(db, (tx) => snoozeIn(tx, snooze));
}

/** `snoozeEnrollment` as a part of a larger transaction, in which no row of these is locked yet. */
export async function snoozeIn(tx: Tx, snooze: Snooze): Promise<{ nextDueAt: Date; inFlight: InFlight[] }> {
  const { enrollmentId, until, via, timeFactor, now } = snooze;
  const row = await tx
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .selectAll('e')
    .select('l.time_zone')
    .where('e.id', '=', enrollmentId)
    .forNoKeyUpdate('e')
    .executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no enrollment ${enrollmentId}`);
  if (row.outcome !== null) throw new Problem('already-ended', `the enrollment has ended as ${row.outcome}`);
  const { definition } = await versionOf(tx, row.campaign_id, row.version);
  const opening = openingAt(row, definition, until, timeFactor);
  const nextDueAt = later(opening, row.next_due_at);
  const own = sql<SqlBool>`e.id = ${enrollmentId}`;
  await giveBackSlots(tx, own, now);
  await tx
    .updateTable('enrollment')
    .set({ next_due_at: nextDueAt, slot_day: keptSlotDay, signal_at: signalStamp(now) })
    .where('id', '=', enrollmentId)
    .execute();
  await withdraw(tx, own, now);
  await noteForJournal(tx, [{ kind: 'snooze', enrollmentId, nextDueAt: nextDueAt.toISOString() }], now);
  await recordEvents(tx, [
    {
      at: now,
      leadId: row.lead_id,
      enrollmentId,
      kind: 'snoozed',
      step: row.step,
      detail: { via, until, dueAt: nextDueAt },
    },
  ]);
  return { nextDueAt, inFlight: await handingOver(tx, sql<SqlBool>`enrollment.id = ${enrollmentId}`) };
}

/** The window's first opening at or after `at`; the information may go out at any hour. */
export function openingAt(
  row: { id: string; step: number; time_zone: string | null; enrolled_at: Date },
  definition: CampaignDefinition,
  at: Date,
  timeFactor: number,
): Date {
  if (row.step === 0) return at;
  return nextOpening({
    enrollmentId: row.id,
    step: row.step,
    sendWindow: definition.sendWindow,
    timeZone: row.time_zone ?? definition.timeZone,
    clock: { origin: row.enrolled_at.getTime(), factor: timeFactor },
    // Never punctual: it is the opening that is wanted, whatever the hour of `at`.
    due: new Date(0),
    now: at,
  });
}

export interface Reopening {
  enrollmentId: string;
  /** Nothing is sent before; when left out, its next mail falls due when it would have. */
  until?: Date | undefined;
  via: string;
  timeFactor: number;
  /** Whatever key their address was hashed with when they bought. */
  addressKeys: readonly AddressKey[];
  now: Date;
}

/** Outcomes that somebody may go on after; the others were the lead's own wish, or a sale. */
const REOPENABLE: ReadonlySet<string> = new Set(['replied', 'cancelled', 'bounced']);

/**
 * Goes on with somebody whose enrollment has ended: as a new enrollment, at the step that comes next, with the consent
 * that was given. What was sent is not sent again (promise P3), also what is past the gate at this moment.
 *
 * @throws Problem `not-found`, `not-reopenable`, `already-open`, `address-suppressed`, `campaign-cancelled`
 */
export async function reopenEnrollment(
  db: Db,
  reopening: Reopening,
): Promise<{ enrollmentId: string; nextDueAt: Date }> {
  return await inTransaction(db, (tx) => reopenIn(tx, reopening));
}

/** `reopenEnrollment` as a part of a larger transaction, in which no row of these is locked yet. */
export async function reopenIn(tx: Tx, reopening: Reopening): Promise<{ enrollmentId: string; nextDueAt: Date }> {
  const { enrollmentId, via, timeFactor, now } = reopening;
  const known = await tx
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .select(['e.campaign_id', 'e.address_hash', 'e.lead_id', 'e.journey', 'l.email'])
    .where('e.id', '=', enrollmentId)
    .executeTakeFirst();
  if (known === undefined || known.address_hash === null || known.email === null) {
    throw new Problem('not-found', `there is no enrollment ${enrollmentId}, or its lead was erased`);
  }
  if (known.journey === 'buyer') {
    throw new Problem('not-reopenable', 'it followed a purchase: another one begins another');
  }
  await assertWelcome(tx, known.address_hash, known.campaign_id);
  const all = await tx
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .selectAll('e')
    .select('l.time_zone')
    .where('e.campaign_id', '=', known.campaign_id)
    .where('e.lead_id', '=', known.lead_id)
    .where('e.journey', '=', 'lead')
    .orderBy('e.enrolled_at')
    .forNoKeyUpdate('e')
    .execute();
  const old = all.find((row) => row.id === enrollmentId);
  if (old === undefined) throw new Problem('not-found', `there is no enrollment ${enrollmentId}`);
  assertReopenable(old, all);
  await assertNotBought(tx, old, hashAddress(normaliseAddress(known.email), reopening.addressKeys));

  const published = await versionOf(tx, old.campaign_id, old.version);
  const { definition, steps } = published;
  const { step, dueAt } = await nextTouch(tx, old, definition, timeFactor);
  if (step >= (old.plan ?? steps).length) {
    throw new Problem('not-reopenable', 'every step of the campaign was sent: there is nothing to go on with');
  }
  const agreedAt = await stillAgreed(tx, known.address_hash, old);
  if (step > 0 && agreedAt === null) {
    throw new Problem('not-reopenable', 'there is no consent to nudges: the information was all that was asked for');
  }
  const id = randomUUID();
  const earliest = reopening.until ?? later(dueAt, now);
  const nextDueAt = openingAt({ ...old, id, step, enrolled_at: now }, definition, earliest, timeFactor);
  await tx
    .insertInto('enrollment')
    .values({
      id,
      campaign_id: old.campaign_id,
      version: old.version,
      plan: old.plan === null ? null : JSON.stringify(old.plan),
      lead_id: old.lead_id,
      address_hash: old.address_hash,
      requested_at: old.requested_at,
      enrolled_at: now,
      agreed_at: agreedAt,
      basis: agreedAt === null ? null : old.basis,
      step,
      next_due_at: nextDueAt,
      last_info_at: old.last_info_at,
      fairness_key: old.fairness_key,
      priority: old.priority,
      reopened_from: old.id,
    })
    .execute();
  const { lead_id: leadId } = old;
  await recordEvents(tx, [
    { at: now, leadId, enrollmentId: old.id, kind: 'reopened', step: old.step, detail: { via, as: id } },
    { at: now, leadId, enrollmentId: id, kind: 'reopened', step, detail: { via, from: old.id, dueAt: nextDueAt } },
  ]);
  return { enrollmentId: id, nextDueAt };
}

/** Since when they agree to nudges, unless they have taken it back since, though nothing stands against mail any more. */
async function stillAgreed(
  tx: Tx,
  addressHash: string,
  old: Pick<EnrollmentTable, 'campaign_id' | 'agreed_at'>,
): Promise<Date | null> {
  const withdrawnAt = (await lastWithdrawals(tx, [addressHash], old.campaign_id)).get(addressHash);
  const stands = old.agreed_at !== null && (withdrawnAt === undefined || old.agreed_at > withdrawnAt);
  return stands ? old.agreed_at : null;
}

async function assertWelcome(tx: Tx, addressHash: string, campaignId: string): Promise<void> {
  const [address] = await lockAddresses(tx, [[addressHash]]);
  if (address === undefined) throw new Error('an address was locked');
  const suppression = suppressionOf(address, campaignId);
  if (suppression !== null) {
    throw new Problem('address-suppressed', 'nothing may be sent to this person, so nothing is reopened', {
      reason: suppression.reason,
      since: suppression.since?.toISOString() ?? null,
    });
  }
  const campaign = await tx
    .selectFrom('campaign')
    .select('cancelled_at')
    .where('id', '=', campaignId)
    .forKeyShare()
    .executeTakeFirst();
  if (campaign?.cancelled_at != null) {
    throw new Problem('campaign-cancelled', 'the campaign was cancelled; enroll the lead in another one');
  }
}

type Row = Pick<EnrollmentTable, 'id' | 'outcome' | 'address_hash' | 'campaign_id'> & { enrolled_at: Date };

function assertReopenable(old: Row, all: readonly Row[]): void {
  const open = all.find((row) => row.outcome === null);
  if (open !== undefined) {
    throw new Problem('already-open', `enrollment ${open.id} of this person in this campaign is open`, {
      enrollmentId: open.id,
    });
  }
  if (old.outcome !== null && REOPENABLE.has(old.outcome)) {
    if (all.at(-1)?.id === old.id) return;
    throw new Problem('not-reopenable', 'the person was enrolled in this campaign again afterwards: reopen that one');
  }
  throw new Problem(
    'not-reopenable',
    `it has ended as ${old.outcome}: only one that ended as replied, cancelled or bounced can be reopened`,
  );
}

/** A purchase after the request ends every follow-up, also one that came when nothing was open any more. */
async function assertNotBought(tx: Tx, old: Row & { requested_at: Date }, hashes: readonly string[]): Promise<void> {
  const last = await lastPurchasesAbout(tx, old.campaign_id, [
    ...hashes,
    ...(old.address_hash ? [old.address_hash] : []),
  ]);
  if ([...last.values()].some((at) => at >= old.requested_at)) {
    throw new Problem('not-reopenable', 'the person has bought since they asked: there is nothing to remind them of');
  }
}

/** The step that comes next, after all that has left or may have left under the old enrollment, and when it falls due. */
async function nextTouch(
  tx: Tx,
  old: { id: string; step: number; next_due_at: Date; enrolled_at: Date; time_zone: string | null },
  definition: CampaignDefinition,
  timeFactor: number,
): Promise<{ step: number; dueAt: Date }> {
  const last = await tx
    .selectFrom('message')
    .select((eb) => ['step', eb.fn.coalesce('settled_at', 'handing_over_at', 'claimed_at').as('at')])
    .where('enrollment_id', '=', old.id)
    .where('copy', '=', 0)
    .where('step', '>=', old.step)
    .where('state', 'not in', ['claimed', 'withdrawn', 'deferred'])
    .orderBy('step', 'desc')
    .executeTakeFirst();
  if (last === undefined) return { step: old.step, dueAt: old.next_due_at };
  const step = last.step + 1;
  const dueAt = planDue({
    enrollmentId: old.id,
    step,
    after: last.at,
    cadence: definition.cadence,
    sendWindow: definition.sendWindow,
    timeZone: old.time_zone ?? definition.timeZone,
    clock: { origin: old.enrolled_at.getTime(), factor: timeFactor },
  });
  return { step, dueAt };
}

function later(a: Date, b: Date): Date {
  return new Date(Math.max(a.getTime(), b.getTime()));
}
