import { type SqlBool, sql } from 'kysely';
import type { JourneyKind } from '../domain/journeys';
import type { Outcome } from '../domain/outcomes';
import { lockAddresses } from './addresses';
import { type Db, inTransaction, type Tx } from './client';
import { type NewEvent, recordEvents } from './events';
import { appendEvidence } from './evidence';
import { noteForJournal } from './journal';
import { signalStamp } from './outbox';
import { giveBackSlots } from './quota';
import { withdrawPending } from './request-withdrawal';
import { keepSuppression } from './suppressions';

/** Whose enrollments: one, or a person's, known by lead or by address hashes (`hashAddress`). A whole campaign: `cancelCampaign`. */
export type Who = { enrollmentId: string } | { leadId: string } | { hashes: [string, ...string[]] };

export interface Stop {
  who: Who;
  outcome: Outcome;
  /** Only the enrollments of this campaign. */
  campaignId?: string | undefined;
  /** Only the enrollments of these campaigns. */
  campaignIds?: readonly string[] | undefined;
  /** Only journeys of this kind. */
  journey?: JourneyKind | undefined;
  /** Where it ends nothing, the timeline need not say so: it was told before. */
  repeated?: boolean;
  /** Only enrollments whose information was requested at or before this: an older purchase is no answer to it. */
  happenedAt?: Date | undefined;
  /** Only enrollments that are due by then: one that was moved away meanwhile goes on. */
  dueBy?: Date;
  /** Only one that has been moved to another version just as often: what it was looked at under is its version still. */
  moves?: number;
  /** Also keep the address from mail: of every campaign, or of `campaignId`, or of all but legal mail. */
  suppress?: 'objection' | 'complaint' | 'undeliverable' | 'campaign' | undefined;
  /** The journey itself is asking, so it need not be told. */
  byJourney?: boolean;
  /** It stands in the journal already. */
  replayed?: boolean;
  /** Codes and ids for the timeline. */
  detail?: Record<string, unknown>;
  now: Date;
}

export interface StopResult {
  stopped: { enrollmentId: string; campaignId: string; outcome: Outcome }[];
  /** Messages that were past the gate at this moment: the only ones that may still arrive (promise P2). */
  inFlight: InFlight[];
}

export interface InFlight {
  enrollmentId: string;
  step: number;
  messageId: string;
}

/**
 * Ends enrollments: once this has returned, none of their messages is handed over any more but those it names. The one
 * place where a journey is stopped, whoever asks. Stopping again changes nothing.
 */
export async function stopEnrollments(db: Db, stop: Stop): Promise<StopResult> {
  return await inTransaction(db, (tx) => stopIn(tx, stop));
}

/**
 * Ends an enrollment because its recipient refused a message for good: the message is `rejected`, the address
 * `undeliverable`, and everything it is enrolled in ends as `bounced`.
 *
 * @param code the server's answer as codes only, such as `550 5.1.1`
 */
export async function bounce(
  db: Db,
  message: { enrollmentId: string; step: number; copy: number; token: string },
  code: string,
  now: Date,
): Promise<void> {
  await inTransaction(db, async (tx) => {
    await stopIn(tx, {
      who: { enrollmentId: message.enrollmentId },
      outcome: 'bounced',
      suppress: 'undeliverable',
      detail: { by: 'smtp', code, step: message.step },
      now,
    });
    await tx
      .updateTable('message')
      .set({ state: 'rejected', settled_at: now, code })
      .where('enrollment_id', '=', message.enrollmentId)
      .where('step', '=', message.step)
      .where('copy', '=', message.copy)
      .where('token', '=', message.token)
      .execute();
  });
}

/** `stopEnrollments` as a part of a larger transaction, in which no row is locked yet. */
export async function stopIn(tx: Tx, stop: Stop): Promise<StopResult> {
  const { now, outcome } = stop;
  const hashes = await hashesOf(tx, stop);
  const suppressed = hashes !== null && stop.suppress !== undefined && (await suppress(tx, hashes, stop));
  if (hashes !== null) await withdrawRequests(tx, hashes, stop);
  const scope = scopeOf(stop, hashes);

  const ended = await tx
    .updateTable('enrollment')
    .set({ outcome, ended_at: now, signal_at: stop.byJourney === true ? null : signalStamp(now), info_due_at: null })
    .where(scope)
    .where('outcome', 'is', null)
    .where((eb) => (stop.happenedAt === undefined ? eb.lit(true) : eb(begunAt(stop), '<=', stop.happenedAt)))
    .where((eb) => (stop.dueBy === undefined ? eb.lit(true) : eb('next_due_at', '<=', stop.dueBy)))
    .where((eb) => (stop.moves === undefined ? eb.lit(true) : eb('moves', '=', stop.moves)))
    .returning(['id', 'lead_id', 'campaign_id'])
    .execute();
  const endedIds = ended.map((row) => row.id);

  // A second statement, so with a snapshot of its own: claims that were waited for above are seen here.
  await withdraw(tx, sql<SqlBool>`e.id = any(${endedIds}::uuid[])`, now);
  const inFlight = await handingOver(tx, sql<SqlBool>`${scope} and enrollment.outcome is not null`);
  if (endedIds.length > 0) await giveBackSlots(tx, sql<SqlBool>`e.id = any(${endedIds}::uuid[])`, now);

  const leads = await affectedLeads(tx, scope);
  if (stop.suppress !== undefined) {
    await tx
      .updateTable('consent')
      .set({ withdrawn_at: now })
      .where('lead_id', '=', sql<string>`any(${leads}::uuid[])`)
      .where('withdrawn_at', 'is', null)
      .where((eb) =>
        stop.suppress === 'campaign' && stop.campaignId !== undefined
          ? eb('campaign_id', '=', stop.campaignId)
          : eb.lit(stop.suppress !== 'undeliverable'),
      )
      .execute();
  }
  if (stop.suppress !== undefined && stop.suppress !== 'undeliverable' && suppressed) {
    const detail = {
      by: codeOf(stop.detail?.by),
      via: codeOf(stop.detail?.via),
      reason: stop.suppress,
      campaignId: campaignOf(stop),
    };
    await appendEvidence(
      tx,
      leads.map((leadId) => ({ leadId, kind: 'withdrawn' as const, at: now, detail })),
    );
  }
  if (stop.replayed !== true) {
    await noteForJournal(
      tx,
      [
        ...ended.map((row) => ({ kind: 'stop' as const, enrollmentId: row.id, outcome })),
        ...(suppressed && hashes !== null && stop.suppress !== undefined
          ? [{ kind: 'suppress' as const, hashes, reason: stop.suppress, campaignId: campaignOf(stop) }]
          : []),
      ],
      now,
    );
  }
  await recordEvents(tx, [
    ...ended.map(
      (row): NewEvent => ({
        at: now,
        leadId: row.lead_id,
        enrollmentId: row.id,
        kind: 'ended',
        detail: { ...stop.detail, outcome },
      }),
    ),
    ...leads
      .filter(() => suppressed)
      .map(
        (leadId): NewEvent => ({
          at: now,
          leadId,
          enrollmentId: null,
          kind: 'suppressed',
          detail: { ...stop.detail, reason: stop.suppress, campaignId: stop.campaignId ?? null },
        }),
      ),
    ...leads
      .filter(
        (leadId) =>
          stop.suppress === undefined && stop.repeated !== true && !ended.some((row) => row.lead_id === leadId),
      )
      .map(
        (leadId): NewEvent => ({
          at: now,
          leadId,
          enrollmentId: null,
          kind: 'stop-without-effect',
          detail: { ...stop.detail, outcome },
        }),
      ),
  ]);
  return {
    stopped: ended.map((row) => ({ enrollmentId: row.id, campaignId: row.campaign_id, outcome })),
    inFlight,
  };
}

/** Takes back every message that is claimed but not yet past the gate; their gates refuse from now on. */
export async function withdraw(tx: Tx, enrollments: ReturnType<typeof sql<SqlBool>>, now: Date): Promise<void> {
  await sql`
    update message m set state = 'withdrawn', settled_at = ${now}
    from enrollment e
    where e.id = m.enrollment_id and m.state = 'claimed' and ${enrollments}`.execute(tx);
}

/** The messages of these enrollments that are past the gate and not yet answered for. */
export async function handingOver(tx: Db | Tx, enrollments: ReturnType<typeof sql<SqlBool>>): Promise<InFlight[]> {
  const result = await sql<{ enrollment_id: string; step: number; message_id: string }>`
    select m.enrollment_id, m.step, m.message_id
    from message m join enrollment on enrollment.id = m.enrollment_id
    where m.state = 'handing_over' and ${enrollments}`.execute(tx);
  return result.rows.map((row) => ({ enrollmentId: row.enrollment_id, step: row.step, messageId: row.message_id }));
}

async function hashesOf(tx: Tx, stop: Stop): Promise<[string, ...string[]] | null> {
  if ('hashes' in stop.who) return stop.who.hashes;
  if (stop.suppress === undefined) return null;
  const row =
    'leadId' in stop.who
      ? await tx.selectFrom('lead').select('address_hash').where('id', '=', stop.who.leadId).executeTakeFirst()
      : await tx
          .selectFrom('enrollment')
          .select('address_hash')
          .where('id', '=', stop.who.enrollmentId)
          .executeTakeFirst();
  return row === undefined || row.address_hash === null ? null : [row.address_hash];
}

/** @returns false when the address was kept from that mail already */
async function suppress(tx: Tx, hashes: [string, ...string[]], stop: Stop): Promise<boolean> {
  const [address] = await lockAddresses(tx, [hashes]);
  if (address === undefined) return false;
  const { now } = stop;
  const change =
    stop.suppress === 'undeliverable'
      ? { undeliverable_at: address.undeliverable_at ?? now }
      : stop.suppress === 'campaign'
        ? {
            suppressed_campaigns: [
              ...new Set([...address.suppressed_campaigns, ...(stop.campaignId ? [stop.campaignId] : [])]),
            ],
          }
        : {
            suppressed_at: address.suppressed_at ?? now,
            // A complaint weighs more than an objection and is never weakened to one.
            suppressed_reason: address.suppressed_reason === 'complaint' ? ('complaint' as const) : stop.suppress,
          };
  const known: Record<string, unknown> = address;
  const changed = Object.entries(change).some(([column, value]) => String(known[column]) !== String(value));
  const theirs = sql<string>`any(${hashes}::text[])`;
  if (changed) await tx.updateTable('address').set(change).where('hash', '=', theirs).execute();
  // Also one that adds nothing to what holds: it stands when the other is lifted.
  const isNew = await keepSuppression(tx, {
    addressHash: address.hash,
    hashes,
    kind: stop.suppress ?? 'objection',
    campaignId: campaignOf(stop),
    by: codeOf(stop.detail?.via) ?? codeOf(stop.detail?.by) ?? 'unknown',
    now,
  });
  return changed || isNew;
}

/**
 * Whoever objects does not want what they were asked to confirm before. That must be told here: an objection that stands
 * already leaves no other trace by which a later confirmation could know of it.
 */
async function withdrawRequests(tx: Tx, hashes: readonly string[], { suppress, campaignId, now }: Stop): Promise<void> {
  if (suppress === undefined || suppress === 'undeliverable') return;
  const only = suppress === 'campaign' && campaignId !== undefined ? sql`r.campaign_id = ${campaignId}` : sql`true`;
  const theirs = sql<SqlBool>`r.address_hash = any(${hashes}::text[]) and r.requested_at <= ${now} and ${only}`;
  await withdrawPending(tx, theirs, now);
}

/** Which campaign's mail alone is suppressed; null: that of all. */
function campaignOf({ suppress, campaignId }: Stop): string | null {
  return suppress === 'campaign' ? (campaignId ?? null) : null;
}

function codeOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

/** Since when something may end it. An answer that came before somebody chose to go on was the reason to ask, not a new one. */
function begunAt({ outcome }: Stop) {
  return outcome === 'replied'
    ? sql<Date>`case when reopened_from is null then requested_at else enrolled_at end`
    : sql<Date>`requested_at`;
}

function scopeOf(stop: Stop, hashes: string[] | null) {
  // Suppressing an address ends whatever it is enrolled in, also under another enrollment than the one that was named.
  const whole = stop.suppress !== undefined && hashes !== null;
  const all = whole && stop.suppress !== 'campaign';
  const who =
    whole || 'hashes' in stop.who
      ? sql<SqlBool>`enrollment.address_hash = any(${hashes}::text[])`
      : 'leadId' in stop.who
        ? sql<SqlBool>`enrollment.lead_id = ${stop.who.leadId}`
        : sql<SqlBool>`enrollment.id = ${stop.who.enrollmentId}`;
  if (all) return who;
  const limits = [
    ...(stop.campaignId === undefined ? [] : [sql`enrollment.campaign_id = ${stop.campaignId}`]),
    ...(stop.campaignIds === undefined ? [] : [sql`enrollment.campaign_id = any(${stop.campaignIds}::uuid[])`]),
    ...(stop.journey === undefined ? [] : [sql`enrollment.journey = ${stop.journey}`]),
  ];
  return sql<SqlBool>`${sql.join([who, ...limits], sql` and `)}`;
}

/** The leads whose timeline tells of this stop, also when it ended nothing. */
async function affectedLeads(tx: Tx, scope: ReturnType<typeof sql<SqlBool>>): Promise<string[]> {
  const rows = await sql<{ lead_id: string }>`select distinct lead_id from enrollment where ${scope}`.execute(tx);
  return rows.rows.map((row) => row.lead_id);
}
