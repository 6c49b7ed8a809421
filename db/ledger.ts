import { type CompiledQuery, type Selectable, type SqlBool, sql } from 'kysely';
import { countedAs } from '../domain/frequency';
import type { JourneyKind } from '../domain/journeys';
import type { Outcome } from '../domain/outcomes';
import type { Plan } from '../domain/plan';
import type { Stream } from '../domain/streams';
import { type Suppression, suppressionOf } from './addresses';
import { type Db, PREPARED } from './client';
import type { EnrollmentTable, MarketingBasis, MessageState } from './schema';

// The ledger of messages and the only ways it changes. The order of locks is address, campaign, enrollment, everywhere;
// whatever may forbid a send is a column of one of those rows, since after waiting for a lock Postgres looks again at
// locked rows only. docs/architecture.md tells how this was raced.

/** Everything a touch needs to know, read without locks: the claim looks again. */
export interface Touch {
  enrollmentId: string;
  journey: JourneyKind;
  /** Of a buyer's journey: what was bought. */
  orderId: string | null;
  campaignId: string;
  version: number;
  /** What its positions are; null where it was never moved to another version. `step` is a position. */
  plan: Plan | null;
  /** How often it was moved. */
  moves: number;
  step: number;
  nextDueAt: Date;
  infoCopies: number;
  infoDueAt: Date | null;
  requestedAt: Date;
  enrolledAt: Date;
  agreedAt: Date | null;
  /** What its marketing mail rests on. */
  basis: MarketingBasis | null;
  /** On an exclusion list: nothing that rests on a soft opt-in is sent. */
  excluded: boolean;
  /** Marketing mail that was counted of late (`domain/frequency.ts`); empty where no cap is set. */
  recentMarketing: Record<string, string>;
  outcome: Outcome | null;
  paused: 'campaign' | 'enrollment' | null;
  /** An answer of theirs waits for a person's decision. */
  inReview: boolean;
  /** Some stream or provider is paused by the circuit breaker: whether this one is, `mayLeave` tells. */
  sendingPaused: boolean;
  fairnessKey: string;
  priority: number;
  addressHash: string;
  /** What stands against the mail of its current step. */
  suppression: Suppression | null;
  lead: {
    id: string;
    email: string;
    name: string;
    locale: string | null;
    timeZone: string | null;
    attributes: Record<string, unknown>;
  };
  consentSource: string | null;
  consentCapturedAt: Date | null;
  /** The ledger row of the current step, if there is one. */
  message: MessageState | null;
  /** Whether some mail of it arrived is not known. */
  unknown: boolean;
}

/** Reads an enrollment with what belongs to it; null once it was erased. */
export async function loadTouch(db: Db, enrollmentId: string): Promise<Touch | null> {
  const compiled = touchStatement(db);
  const parameters = compiled.parameters.map((value) => (value === ANY_ENROLLMENT ? enrollmentId : value));
  const statement: typeof compiled = { ...compiled, parameters };
  const row = (await db.executeQuery(statement)).rows[0];
  // Erased: its row is still there, for the counts.
  if (row === undefined || row.email === null || row.address_hash === null) return null;
  return touchOf(enrollmentId, { ...row, email: row.email, address_hash: row.address_hash });
}

/** Stands for the enrollment's id in the compiled statement. */
const ANY_ENROLLMENT = '00000000-0000-0000-0000-000000000000';
const touchStatements = new WeakMap<Db, ReturnType<typeof compileTouch>>();

/** Compiled once: for Kysely that is more work than running it is for Postgres. */
function touchStatement(db: Db): ReturnType<typeof compileTouch> {
  const known = touchStatements.get(db) ?? compileTouch(db);
  touchStatements.set(db, known);
  return known;
}

function compileTouch(db: Db) {
  return db
    .selectFrom('enrollment as e')
    .innerJoin('lead as l', 'l.id', 'e.lead_id')
    .innerJoin('campaign as c', 'c.id', 'e.campaign_id')
    .innerJoin('address as a', 'a.hash', 'e.address_hash')
    .leftJoin('message as m', (join) =>
      join.onRef('m.enrollment_id', '=', 'e.id').onRef('m.step', '=', 'e.step').on('m.copy', '=', 0),
    )
    .select((eb) => [
      'e.journey',
      'e.order_id',
      'e.basis',
      'e.campaign_id',
      'e.version',
      'e.plan',
      'e.moves',
      'e.step',
      'e.next_due_at',
      'e.info_copies',
      'e.info_due_at',
      'e.requested_at',
      'e.enrolled_at',
      'e.agreed_at',
      'e.outcome',
      'e.paused_at',
      'e.review_since',
      'e.fairness_key',
      'e.priority',
      'e.address_hash',
      'c.paused_at as campaign_paused_at',
      'a.suppressed_at',
      'a.suppressed_reason',
      'a.undeliverable_at',
      'a.suppressed_campaigns',
      'a.excluded_at',
      'a.recent_marketing',
      'l.id as lead_id',
      'l.email',
      'l.name',
      'l.locale',
      'l.time_zone',
      'l.attributes',
      'm.state',
      eb
        .selectFrom('consent as k')
        .select('k.source')
        .whereRef('k.lead_id', '=', 'e.lead_id')
        .whereRef('k.campaign_id', '=', 'e.campaign_id')
        // One that was reopened goes on with the consent that was given before.
        .orderBy(sql`k.enrollment_id = e.id`, 'desc')
        .orderBy('k.captured_at')
        .limit(1)
        .as('consent_source'),
      eb
        .selectFrom('consent as k')
        .select('k.captured_at')
        .whereRef('k.lead_id', '=', 'e.lead_id')
        .whereRef('k.campaign_id', '=', 'e.campaign_id')
        .orderBy(sql`k.enrollment_id = e.id`, 'desc')
        .orderBy('k.captured_at')
        .limit(1)
        .as('consent_captured_at'),
      sql<boolean>`exists (select from sending_pause)`.as('sending_paused'),
      sql<boolean>`exists (select from message where enrollment_id = e.id and state = 'unknown')`.as('unknown'),
    ])
    .where('e.id', '=', ANY_ENROLLMENT)
    .modifyEnd(PREPARED)
    .compile();
}

type TouchRow = ReturnType<typeof compileTouch> extends CompiledQuery<infer Row> ? Row : never;

function touchOf(enrollmentId: string, row: TouchRow & { email: string; address_hash: string }): Touch {
  return {
    enrollmentId,
    journey: row.journey,
    orderId: row.order_id,
    campaignId: row.campaign_id,
    version: row.version,
    plan: row.plan,
    moves: row.moves,
    step: row.step,
    nextDueAt: row.next_due_at,
    infoCopies: row.info_copies,
    infoDueAt: row.info_due_at,
    requestedAt: row.requested_at,
    enrolledAt: row.enrolled_at,
    agreedAt: row.agreed_at,
    basis: row.basis,
    excluded: row.excluded_at !== null,
    recentMarketing: row.recent_marketing,
    outcome: row.outcome,
    paused: row.campaign_paused_at !== null ? 'campaign' : row.paused_at !== null ? 'enrollment' : null,
    inReview: row.review_since !== null,
    sendingPaused: row.sending_paused,
    fairnessKey: row.fairness_key,
    priority: row.priority,
    addressHash: row.address_hash,
    suppression: standingAgainst(row),
    lead: {
      id: row.lead_id,
      email: row.email,
      name: row.name,
      locale: row.locale,
      timeZone: row.time_zone,
      attributes: row.attributes,
    },
    consentSource: row.consent_source,
    consentCapturedAt: row.consent_captured_at,
    message: row.state,
    unknown: row.unknown,
  };
}

/** An objection is no reason to keep the thanks for an order from somebody: nothing is offered in them. */
function standingAgainst(row: TouchRow & { address_hash: string }): Suppression | null {
  const isThanks = row.journey === 'buyer' && row.step === 0;
  if (!isThanks) return suppressionOf(row, row.campaign_id);
  return row.undeliverable_at === null ? null : { reason: 'undeliverable', since: row.undeliverable_at };
}

/** One message of one enrollment: a step, or the n-th further copy of step 0. */
export interface MessageKey {
  enrollmentId: string;
  step: number;
  copy: number;
}

export interface Claim extends MessageKey {
  messageId: string;
  /** Identifies this attempt; whoever takes the claim over brings another, and this one's gate then refuses. */
  token: string;
  /** How often the enrollment had been moved to another version when its content was looked up. */
  moves: number;
  /** Of marketing mail, where a cap is set: no more than this many to the person since then, this one included. */
  cap?: { mails: number; since: Date } | null;
  now: Date;
}

/**
 * Takes a message for sending, if nothing forbids it at this moment: address not suppressed, campaign and enrollment not
 * paused, not ended, not moved to another version meanwhile, this very step due, consent given. The thanks for an order ignore objections, and what rests on a soft
 * opt-in respects exclusion lists. One statement; what it found stays true until it commits. Under a frequency cap it locks the
 * address exclusively, and counts itself there.
 *
 * @returns null when refused; `whyRefused` tells why
 */
export async function claim(db: Db, request: Claim): Promise<{ attempts: number; firstClaimedAt: Date } | null> {
  const { enrollmentId, step, copy, messageId, token, moves, cap = null, now } = request;
  const key = countedAs(enrollmentId, step);
  const due =
    copy === 0
      ? sql`e.step = ${step} and e.next_due_at <= ${now} and (${step} = 0 or e.agreed_at is not null)`
      : sql`e.step > 0 and e.info_copies = ${copy} and e.info_due_at <= ${now}`;
  // Neither the kind of a journey nor the basis of a buyer's ever changes, so these need no lock.
  const isThanks = sql`(${step} = 0 and 'buyer' = (select journey from enrollment where id = ${enrollmentId}))`;
  const onSoftOptIn = sql`(${step} > 0 and 'soft-opt-in' = (select basis from enrollment where id = ${enrollmentId}))`;
  const result = await sql<{ attempts: number; first_claimed_at: Date }>`
    ${PREPARED} with a as materialized (
      select hash from address
      where hash = (select address_hash from enrollment where id = ${enrollmentId})
        and undeliverable_at is null
        and (${isThanks} or suppressed_at is null
             and not ((select campaign_id from enrollment where id = ${enrollmentId}) = any (suppressed_campaigns)))
        and (excluded_at is null or ${onSoftOptIn} is not true)
        ${cap === null ? sql`` : sql`and ${within(cap, key)}`}
      ${cap === null ? sql`for share` : sql`for no key update`}
    ), c as materialized (
      select id from campaign
      where id = (select campaign_id from enrollment where id = ${enrollmentId})
        and paused_at is null and exists (select from a)
      for share
    ), e as materialized (
      select e.id from enrollment e
      where e.id = ${enrollmentId} and e.outcome is null and e.paused_at is null and e.moves = ${moves} and ${due}
        -- A doubtful message holds nudges back, not the information that was asked for.
        and (${step} = 0 or e.review_since is null) and exists (select from c)
      for no key update of e
    ), m as (
    insert into message as m (enrollment_id, step, copy, message_id, state, token, first_claimed_at, claimed_at)
    select e.id, ${step}::smallint, ${copy}::smallint, ${messageId}, 'claimed', ${token}::uuid, ${now}::timestamptz,
           ${now}::timestamptz
    from e
    on conflict (enrollment_id, step, copy) do update set
      state = 'claimed',
      token = excluded.token,
      claimed_at = excluded.claimed_at,
      handing_over_at = null,
      settled_at = null,
      -- Only refusals by the recipient count towards the five days of a deferral, not our own breakdowns.
      attempts = m.attempts + (m.state = 'deferred')::int,
      -- Once deferred, the five days run on, whatever breaks down on our side in between.
      first_claimed_at = case when m.state = 'deferred' or m.attempts > 1 then m.first_claimed_at
                              else excluded.first_claimed_at end
    where m.state in ('deferred', 'withdrawn', 'claimed')
    returning m.attempts, m.first_claimed_at
    )${cap === null ? sql`` : counting(cap, key, now)}
    select attempts, first_claimed_at from m`.execute(db);
  const row = result.rows[0];
  return row === undefined ? null : { attempts: row.attempts, firstClaimedAt: row.first_claimed_at };
}

/** A person who was sent fewer than that many since then, this very mail aside. */
function within({ mails, since }: { mails: number; since: Date }, key: string) {
  return sql`${mails} > (
          select count(*) from jsonb_each_text(recent_marketing) counted
          where counted.value::timestamptz > ${since}::timestamptz and counted.key <> ${key})`;
}

/** Counts a mail that was claimed, and forgets those that count no more. */
function counting({ since }: { since: Date }, key: string, now: Date) {
  return sql`, counted as (
      update address set recent_marketing = jsonb_build_object(${key}::text, ${now.toISOString()}::text) || coalesce(
        (select jsonb_object_agg(old.key, old.value) from jsonb_each_text(recent_marketing) old
         where old.value::timestamptz > ${since}::timestamptz and old.key <> ${key}), '{}')
      where hash = (select hash from a) and exists (select from m)
    )`;
}

/**
 * Takes back that a mail was counted: it was claimed, and then not handed over. What another attempt has claimed since counts.
 *
 * @param claimedAt `now` of the claim
 */
export async function uncount(db: Db, addressHash: string, key: string, claimedAt: Date): Promise<void> {
  await sql`
    update address set recent_marketing = recent_marketing - ${key}::text
    where hash = ${addressHash} and recent_marketing->>${key}::text = ${claimedAt.toISOString()}`.execute(db);
}

/**
 * The gate: the last moment at which a stop can still hold a message back. Called when the server has said 354.
 *
 * @param way by which it leaves: a pause that somebody has put on that shuts the gate too (`pauseSending`)
 * @returns true when the body may go out; false when the message was withdrawn or taken over meanwhile
 */
export async function passGate(
  db: Db,
  key: MessageKey,
  token: string,
  now: Date,
  way: { stream: Stream; provider: string } | null = null,
): Promise<boolean> {
  const result = await db
    .updateTable('message')
    .set({ state: 'handing_over', handing_over_at: now })
    .where('enrollment_id', '=', key.enrollmentId)
    .where('step', '=', key.step)
    .where('copy', '=', key.copy)
    .where('state', '=', 'claimed')
    .where('token', '=', token)
    .where(notPausedByHand(way?.stream ?? null, way?.provider ?? null))
    .modifyEnd(PREPARED)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** No pause that only a person ends keeps this way shut; null: any way is open. */
export function notPausedByHand(stream: Stream | null, provider: string | null) {
  return sql<SqlBool>`not exists (
    select from sending_pause p
    where p.stream = ${stream}::text and p.provider in ('*', ${provider}::text) and p.probe_at is null)`;
}

export interface Settlement extends MessageKey {
  leadId: string;
  state: Extract<MessageState, 'accepted' | 'rejected' | 'deferred' | 'unknown'>;
  /** This attempt's token; null settles what another attempt left behind in `handing_over`. */
  token: string | null;
  /** The server's answer as codes only, such as `250 2.0.0`. */
  code: string | null;
  providerId: string | null;
  /**
   * What becomes of the enrollment: on to the next step, which falls due then; or the same message once more then. For
   * a copy of the information, `dueAt` is when the next nudge (advance) or the copy (again) falls due.
   */
  move: { kind: 'advance' | 'again'; dueAt: Date };
  event: 'message-accepted' | 'message-rejected' | 'message-deferred' | 'message-skipped' | 'message-unknown';
  now: Date;
}

/** What an enrollment has become by settling a message of it. */
export type Moved = Pick<Touch, 'step' | 'nextDueAt' | 'infoDueAt' | 'outcome' | 'fairnessKey' | 'priority'>;

/**
 * Records the fate of a message and moves its enrollment on, in one statement. A lead who was sent the information and
 * agreed to nothing more ends here as `informed`, or as `bounced` when it could not be delivered. A late `accepted` corrects an `unknown`.
 *
 * @returns `settled` is false when the message was no longer this attempt's to settle; nothing has changed then.
 *   `moved` is null when the enrollment has not moved: it had ended, or gone on without this message
 */
export async function settle(db: Db, settlement: Settlement): Promise<{ settled: boolean; moved: Moved | null }> {
  const { enrollmentId, step, copy, state, token, move, now } = settlement;
  const ours =
    token === null
      ? sql`m.state = 'handing_over'`
      : sql`m.token = ${token}::uuid and m.state in ('claimed', 'handing_over')
            or m.state = 'unknown' and ${state} = 'accepted'`;
  const reached = state === 'accepted' || state === 'unknown';
  const advances = move.kind === 'advance';
  const moved =
    copy > 0
      ? advances
        ? sql`info_due_at = null, next_due_at = greatest(next_due_at, ${move.dueAt}::timestamptz),
              last_info_at = case when ${reached} then ${now}::timestamptz else last_info_at end`
        : sql`info_due_at = ${move.dueAt}`
      : advances
        ? sql`step = step + 1, next_due_at = ${move.dueAt},
              last_info_at = case when ${step} = 0 then ${now}::timestamptz else last_info_at end,
              outcome = case when agreed_at is null then ${reached ? 'informed' : 'bounced'} end,
              ended_at = case when agreed_at is null then ${now}::timestamptz end`
        : // Who asked again meanwhile has moved it further away than any second try.
          sql`next_due_at = greatest(next_due_at, ${move.dueAt}::timestamptz)`;
  // The recipient was named to the server, so the place in the day's quota is used up, however it went.
  const spent = sql`slot_day = case when slot_taken then null else slot_day end, slot_taken = false`;
  const current = copy > 0 ? sql`info_copies = ${copy}` : sql`step = ${step}`;
  const result = await sql<MovedRow>`
    ${PREPARED} with l as materialized (
      -- The enrollment is locked before its message, as everywhere: a stop that waits for this must not be waited for.
      select id from enrollment where id = ${enrollmentId} for no key update
    ), m as (
      update message m set state = ${state}, settled_at = ${now}, code = ${settlement.code},
                           provider_id = ${settlement.providerId}
      where m.enrollment_id = ${enrollmentId} and m.step = ${step} and m.copy = ${copy} and (${ours}) and exists (select from l)
      returning m.enrollment_id
    ), e as (
      update enrollment set ${moved}, ${spent}
      where id = ${enrollmentId} and outcome is null and ${current} and exists (select from m)
      returning id, step, next_due_at, info_due_at, outcome, fairness_key, priority
    ), ended as (
      insert into event (at, lead_id, enrollment_id, kind, detail)
      select ${now}::timestamptz, ${settlement.leadId}::uuid, e.id, 'ended', jsonb_build_object('outcome', e.outcome)
      from e where e.outcome is not null
    ), noted as (
      insert into event (at, lead_id, enrollment_id, kind, step, detail)
      select ${now}::timestamptz, ${settlement.leadId}::uuid, ${enrollmentId}::uuid, ${settlement.event}, ${step}::smallint,
             ${JSON.stringify({ code: settlement.code, copy, dueAt: move.dueAt })}::jsonb
      from m
    )
    select e.step, e.next_due_at, e.info_due_at, e.outcome, e.fairness_key, e.priority
    from m left join e on e.id = m.enrollment_id`.execute(db);
  const row = result.rows[0];
  if (row === undefined || row.step === null) return { settled: row !== undefined, moved: null };
  const { step: reachedStep, next_due_at, info_due_at, outcome, fairness_key, priority } = row;
  const moving = { nextDueAt: next_due_at, infoDueAt: info_due_at, fairnessKey: fairness_key };
  return { settled: true, moved: { step: reachedStep, outcome, priority, ...moving } };
}

/** All of its columns are null where the enrollment has not moved. */
type MovedRow =
  | Pick<Selectable<EnrollmentTable>, 'step' | 'next_due_at' | 'info_due_at' | 'outcome' | 'fairness_key' | 'priority'>
  | { step: null };

/** Gives a claim back when it is certain that nothing was handed over under it. */
export async function releaseClaim(db: Db, key: MessageKey, token: string, now: Date): Promise<void> {
  await db
    .updateTable('message')
    .set({ state: 'withdrawn', settled_at: now })
    .where('enrollment_id', '=', key.enrollmentId)
    .where('step', '=', key.step)
    .where('copy', '=', key.copy)
    .where('state', 'in', ['claimed', 'handing_over'])
    .where('token', '=', token)
    .execute();
}

/** Moves an open enrollment's due time further away (a window that has closed, a retry that must wait); never nearer. */
export async function postpone(db: Db, enrollmentId: string, step: number, until: Date): Promise<void> {
  await db
    .updateTable('enrollment')
    .set((eb) => ({ next_due_at: eb.fn<Date>('greatest', ['next_due_at', eb.val(until)]) }))
    .where('id', '=', enrollmentId)
    .where('step', '=', step)
    .where('outcome', 'is', null)
    .execute();
}

/**
 * Moves an enrollment past a step whose message has been settled already (entered by an audit, say).
 * Without consent to more it ends as `informed`, as after any other step 0.
 */
export async function advancePast(db: Db, enrollmentId: string, step: number, dueAt: Date, now: Date): Promise<void> {
  await sql`
    update enrollment set step = step + 1, next_due_at = ${dueAt},
      outcome = case when agreed_at is null then 'informed' end,
      ended_at = case when agreed_at is null then ${now}::timestamptz end
    where id = ${enrollmentId} and step = ${step} and outcome is null`.execute(db);
}

/**
 * Enters `unknown` for messages that an attempt took past the gate and never answered for, where nobody else will: their
 * enrollment has ended, so no other attempt follows.
 *
 * @param before whoever passed the gate before this is not at work any more
 * @returns how many there were
 */
export async function settleLeftBehind(db: Db, before: Date, now: Date): Promise<number> {
  const result = await sql`
    with left_behind as materialized (
      -- The enrollment is locked before its message, as everywhere.
      select m.enrollment_id, m.step, m.copy, e.lead_id from message m join enrollment e on e.id = m.enrollment_id
      where m.state = 'handing_over' and m.handing_over_at < ${before} and e.outcome is not null
      limit 500 for no key update of e skip locked
    ), settled as (
      update message m set state = 'unknown', settled_at = ${now}, code = 'crash'
      from left_behind l
      where m.enrollment_id = l.enrollment_id and m.step = l.step and m.copy = l.copy
        and m.state = 'handing_over' and m.handing_over_at < ${before}
      returning m.enrollment_id, m.step, m.copy, l.lead_id
    )
    insert into event (at, lead_id, enrollment_id, kind, step, detail)
    select ${now}::timestamptz, lead_id, enrollment_id, 'message-unknown', step,
           jsonb_build_object('code', 'crash', 'copy', copy)
    from settled`.execute(db);
  return Number(result.numAffectedRows ?? 0);
}
