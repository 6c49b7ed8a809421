import { sql } from 'kysely';
import type { Outcome } from '../domain/outcomes';
import type { Stream } from '../domain/streams';
import type { Db } from './client';

/** What waits, and since when; `since` is null where nothing does. */
export interface Waiting {
  count: number;
  since: Date | null;
}

/** How the shop's mail stands, by counts: what operators look at. Holds nothing of any person. */
export interface Figures {
  /** Enrollments that are more than `OVERDUE_MS` past their due time and held by nothing, by the stream of what is due. */
  overdue: Record<Stream, Waiting>;
  /** Enrollments that fall due within `DUE_SOON_MS`, or did so recently enough not to be overdue, by stream. */
  due: Record<Stream, number>;
  /** Mails outside any journey that wait to go out, by stream. */
  mailsWaiting: Record<'transactional' | 'requested', Waiting>;
  /** Messages whose fate is not known (promise P3), until a later report tells of it. */
  unknown: { enrollment: number; transactional: number };
  /** Messages that are claimed or being handed over now. */
  inDelivery: { claimed: number; handing_over: number };
  /** How many enrollments have ended within the last hour, by how. */
  endedLastHour: Partial<Record<Outcome, number>>;
  /** Streams, or a stream's mail to one provider, that the circuit breaker or a person has stopped. */
  sendingPauses: { stream: Stream; provider: string; reason: string }[];
  pausedCampaigns: number;
  /** Journeys that were not started yet, and stops and wakes that were not delivered yet. */
  unstarted: Waiting;
  unsignalled: Waiting;
  runningImports: number;
  /** Stops, suppressions and erasures that do not stand in the journal outside Postgres yet. */
  journal: Waiting;
  /** Received mail that was not dealt with yet, and what waits for a person's decision. */
  inboxNew: Waiting;
  inboxInReview: number;
  webhooksWaiting: Waiting;
}

/** An enrollment that is this late (ms) is overdue: a queue that moves is faster. */
export const OVERDUE_MS = 5 * 60_000;
/** As far ahead (ms) as is told what falls due. */
const DUE_SOON_MS = 60 * 60_000;
/** No figure counts further than this, so that none costs more than a look at so many rows, however many there are. */
export const COUNTED_UP_TO = 10_000;
const PATIENCE_MS = 5_000;

/** A count of the first rows of an index, in its order, and the earliest time among them. */
const waiting = (at: string, from: string, order: string) =>
  sql`(select jsonb_build_object('count', count(*), 'since', min(at)) from (
    select ${sql.raw(at)} as at from ${sql.raw(from)} order by ${sql.raw(order)} limit ${COUNTED_UP_TO}) rows)`;
const count = (from: string) =>
  sql`(select count(*)::int from (select 1 from ${sql.raw(from)} limit ${COUNTED_UP_TO}) rows)`;

const DUE_AT = sql`least(e.next_due_at, e.info_due_at)`;
/** Open enrollments that nothing holds, by the stream of what is due. @param when a condition on `DUE_AT` */
const dueBy = (when: ReturnType<typeof sql>, facts: ReturnType<typeof sql>) => sql`
    (select coalesce(jsonb_object_agg(stream, facts), '{}') from (
      select case when o.info_due_at <= o.next_due_at then 'requested'
                  when o.step > 0 then 'marketing'
                  when o.journey = 'buyer' then 'transactional' else 'requested' end as stream,
             ${facts} as facts
      from (
        select e.* from enrollment e join campaign c on c.id = e.campaign_id
        where e.outcome is null and ${when}
          and e.paused_at is null and c.paused_at is null and e.held_for is null
          and (e.review_since is null or e.step = 0 or e.info_due_at is not null)
        order by ${DUE_AT} limit ${COUNTED_UP_TO}
      ) o
      group by 1) by_stream)`;
const ago = (ms: number) => sql`now() - ${ms} * interval '1 millisecond'`;

/** One statement, so that all of it is of one moment. */
export const FIGURES = sql<Row>`
  select
    ${dueBy(
      sql`${DUE_AT} < ${ago(OVERDUE_MS)}`,
      sql`jsonb_build_object('count', count(*), 'since', min(least(o.next_due_at, o.info_due_at)))`,
    )} as overdue,
    ${dueBy(sql`${DUE_AT} >= ${ago(OVERDUE_MS)} and ${DUE_AT} < ${ago(-DUE_SOON_MS)}`, sql`count(*)`)} as due,
    (select coalesce(jsonb_object_agg(stream, waits), '{}') from (
      select stream, jsonb_build_object('count', count(*), 'since', min(created_at)) as waits
      from (select stream, created_at from transactional
            where state in ('queued', 'claimed', 'handing_over') and (not_before is null or not_before <= now())
            order by priority, created_at limit ${COUNTED_UP_TO}) t
      group by stream) by_stream) as "mailsWaiting",
    jsonb_build_object(
      'enrollment', ${count(`message where state = 'unknown'`)},
      'transactional', ${count(`transactional where state = 'unknown'`)}) as unknown,
    jsonb_build_object(
      'claimed', ${count(`message where state in ('claimed', 'handing_over') and state = 'claimed'`)},
      'handing_over', ${count(`message where state in ('claimed', 'handing_over') and state = 'handing_over'`)}) as "inDelivery",
    (select coalesce(jsonb_object_agg(outcome, ended), '{}') from (
      select outcome, count(*) as ended from (
        select outcome from enrollment where ended_at > now() - interval '1 hour'
        order by ended_at desc limit ${COUNTED_UP_TO}) e
      group by outcome) by_outcome) as "endedLastHour",
    (select coalesce(jsonb_agg(jsonb_build_object('stream', stream, 'provider', provider, 'reason', reason)), '[]')
     from sending_pause) as "sendingPauses",
    ${count('campaign where paused_at is not null and cancelled_at is null')} as "pausedCampaigns",
    ${waiting('enrolled_at', 'enrollment where started_at is null and outcome is null', 'priority, enrolled_at')} as unstarted,
    ${waiting('signal_at', 'enrollment where signal_at is not null', 'signal_at')} as unsignalled,
    ${count(`lead_import where state = 'running'`)} as "runningImports",
    ${waiting(`(entry->>'at')::timestamptz`, 'journal_outbox', 'seq')} as journal,
    ${waiting('received_at', `inbound where state = 'new'`, 'next_at')} as "inboxNew",
    ${count('inbound where needs_review and decided_at is null')} as "inboxInReview",
    ${waiting('next_at', `webhook_delivery where state = 'pending'`, 'endpoint_id, next_at')} as "webhooksWaiting"`;

/**
 * Counts what waits. Every count goes over the first rows of an index made for them and stops at `COUNTED_UP_TO`, so that
 * it is as cheap with a million leads as with a thousand; but the one of the overdue passes over those who are held, however
 * many these are.
 *
 * @throws what Postgres said, after five seconds at the latest
 */
export async function readFigures(db: Db): Promise<Figures> {
  const row = await db.transaction().execute(async (tx) => {
    await sql`set local statement_timeout = ${sql.lit(PATIENCE_MS)}`.execute(tx);
    await sql`set transaction read only`.execute(tx);
    const { rows } = await FIGURES.execute(tx);
    return rows[0] as Row;
  });
  const none = (): Waiting => ({ count: 0, since: null });
  return {
    ...row,
    overdue: mapped(row.overdue, { transactional: none(), requested: none(), marketing: none() }),
    due: { transactional: 0, requested: 0, marketing: 0, ...row.due },
    mailsWaiting: mapped(row.mailsWaiting, { transactional: none(), requested: none() }),
    unstarted: waitingOf(row.unstarted),
    unsignalled: waitingOf(row.unsignalled),
    journal: waitingOf(row.journal),
    inboxNew: waitingOf(row.inboxNew),
    webhooksWaiting: waitingOf(row.webhooksWaiting),
  };
}

/** As JSON brings it. */
type Raw = { count: number; since: string | null };
type Row = Omit<
  Figures,
  'overdue' | 'due' | 'mailsWaiting' | 'unstarted' | 'unsignalled' | 'journal' | 'inboxNew' | 'webhooksWaiting'
> & {
  overdue: Record<string, Raw>;
  due: Partial<Record<Stream, number>>;
  mailsWaiting: Record<string, Raw>;
  unstarted: Raw;
  unsignalled: Raw;
  journal: Raw;
  inboxNew: Raw;
  webhooksWaiting: Raw;
};

function waitingOf({ count, since }: Raw): Waiting {
  return { count, since: since === null ? null : new Date(since) };
}

function mapped<K extends string>(given: Record<string, Raw>, empty: Record<K, Waiting>): Record<K, Waiting> {
  const found = Object.entries(given).map(([stream, raw]) => [stream, waitingOf(raw)]);
  return { ...empty, ...Object.fromEntries(found) };
}
