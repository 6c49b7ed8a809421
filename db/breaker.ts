import { sql } from 'kysely';
import {
  judgeRate,
  judgeRefusal,
  judgeShare,
  LEAST_EVENTS,
  probeAfterMs,
  RATE_DAYS,
  type RatedKind,
  type RateVerdict,
  type SendingFault,
  STORM_MS,
  STORM_REFUSALS,
} from '../domain/breaker';
import { WHOLE_STREAM } from '../domain/limits';
import type { Stream } from '../domain/streams';
import { type Db, inTransaction, type Tx } from './client';
import { noteForJournal } from './journal';

// The circuit breaker: it counts what speaks against our sending, and stops a stream, or a stream's mail to one provider,
// before a server blocks us for good. A pause is a row; who is held for it is found by `db/holds.ts` once the row is gone.

/** Why mail may not leave. `provider`: `*` is the whole stream. */
export interface SendingPause {
  stream: Stream;
  provider: string;
  reason: string;
  code: string | null;
  pausedAt: Date;
  /** One mail may try from then on; null: resumed by hand only. */
  probeAt: Date | null;
  probes: number;
}

/** The pause that forbids mail of a stream to a provider now; that of the whole stream first. Null: it may leave. */
export async function sendingPause(db: Db, stream: Stream, provider: string): Promise<SendingPause | null> {
  return (await pausesOf(db, stream, provider))[0] ?? null;
}

/** Every pause there is. */
export async function listPauses(db: Db): Promise<SendingPause[]> {
  const rows = await db.selectFrom('sending_pause').selectAll().orderBy('stream').orderBy('provider').execute();
  return rows.map(pauseOf);
}

async function pausesOf(db: Db, stream: Stream, provider: string): Promise<SendingPause[]> {
  const rows = await db
    .selectFrom('sending_pause')
    .selectAll()
    .where('stream', '=', stream)
    .where('provider', 'in', [WHOLE_STREAM, provider])
    .orderBy('provider')
    .execute();
  return rows.map(pauseOf).sort((a) => (a.provider === WHOLE_STREAM ? -1 : 1));
}

function pauseOf(row: {
  stream: Stream;
  provider: string;
  reason: string;
  code: string | null;
  paused_at: Date;
  probe_at: Date | null;
  probes: number;
}): SendingPause {
  const { stream, provider, reason, code, probes } = row;
  return { stream, provider, reason, code, pausedAt: row.paused_at, probeAt: row.probe_at, probes };
}

/**
 * Whether mail may leave: no pause forbids it, or it is the one that may try (`probe`; its acceptance is to be told with
 * `resumeAfterProbe`, and a refusal is recorded as any other).
 *
 * @param asProbe whether it is ready to be that one: taking the try costs the others theirs
 */
export async function mayLeave(
  db: Db,
  { stream, provider, now, asProbe }: { stream: Stream; provider: string; now: Date; asProbe: boolean },
): Promise<{ pause: SendingPause | null; probe: boolean }> {
  const pauses = await pausesOf(db, stream, provider);
  const closed = pauses.find((pause) => pause.probeAt === null || pause.probeAt > now);
  if (closed !== undefined) return { pause: closed, probe: false };
  if (!asProbe) return { pause: null, probe: pauses.length > 0 };
  for (const pause of pauses) if (!(await takeProbe(db, pause, now))) return { pause, probe: false };
  return { pause: null, probe: pauses.length > 0 };
}

/** @returns false when another has taken it, or the pause has changed */
async function takeProbe(db: Db, pause: SendingPause, now: Date): Promise<boolean> {
  const result = await db
    .updateTable('sending_pause')
    .set({
      probe_at: new Date(now.getTime() + probeAfterMs(pause.probes + 1)),
      probes: pause.probes + 1,
      leased_until: null,
    })
    .where('stream', '=', pause.stream)
    .where('provider', '=', pause.provider)
    .where('probes', '=', pause.probes)
    .where('probe_at', '<=', now)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** The mail that tried was accepted: everything that it was to find out about goes on. */
export async function resumeAfterProbe(db: Db, stream: Stream, provider: string, now: Date): Promise<void> {
  await inTransaction(db, async (tx) => {
    const resumed = await tx
      .deleteFrom('sending_pause')
      .where('stream', '=', stream)
      .where('provider', 'in', [WHOLE_STREAM, provider])
      .where('probe_at', 'is not', null)
      .returning(['provider', 'probes'])
      .execute();
    for (const { provider: lifted, probes } of resumed) {
      await alert(tx, { stream, provider: lifted, kind: 'resumed', reason: 'probe', detail: { probes }, now });
    }
  });
}

/**
 * Lets a stream, or its mail to one provider, go on. Rates are counted anew from here.
 *
 * @param replayed it stands in the journal already
 * @returns false when it was not paused
 */
export async function resumeSending(
  db: Db,
  { stream, provider, now, replayed = false }: { stream: Stream; provider: string; now: Date; replayed?: boolean },
): Promise<boolean> {
  return await inTransaction(db, async (tx) => {
    const result = await tx
      .deleteFrom('sending_pause')
      .where('stream', '=', stream)
      .where('provider', '=', provider)
      .executeTakeFirst();
    if (result.numDeletedRows === 0n) return false;
    if (!replayed) await noteForJournal(tx, [{ kind: 'sending-resumed', stream, provider }], now);
    await alert(tx, { stream, provider, kind: 'resumed', reason: 'by-hand', detail: {}, now });
    return true;
  });
}

/** Lets every stream go on that was paused as a whole, by hand. @returns which those are */
export async function resumeAll(db: Db, now: Date): Promise<Stream[]> {
  const paused = (await listPauses(db)).filter(
    (pause) => pause.provider === WHOLE_STREAM && pause.reason === 'by-hand',
  );
  const resumed: Stream[] = [];
  for (const { stream } of paused) {
    if (await resumeSending(db, { stream, provider: WHOLE_STREAM, now })) resumed.push(stream);
  }
  return resumed;
}

/** A mail that was past its gate when sending was paused: it may still arrive. */
export interface StillLeaving {
  /** Null: a mail outside any journey. */
  enrollmentId: string | null;
  step: number | null;
  /** Null: a mail of a journey. */
  transactionalId: string | null;
  messageId: string;
}

/**
 * Pauses streams (`provider` `*`), or their mail to one provider, until somebody resumes them. Once this has returned, none of
 * their mail is handed over any more but what it names (promise P2). Again changes nothing.
 */
export async function pauseSending(
  db: Db,
  { streams, provider, now }: { streams: readonly Stream[]; provider: string; now: Date },
): Promise<StillLeaving[]> {
  await inTransaction(db, async (tx) => {
    for (const stream of streams) {
      await stop(tx, { stream, provider, reason: 'by-hand', code: null, probing: false, detail: {}, now });
    }
  });
  // Only after that was committed. A gate that does not see the pause belongs to a claim that was committed before, which the
  // first statement below takes back; where the gate was faster, the second, with a snapshot of its own, names it.
  const of = sql`(${streamOfMessage} = any(${streams}::text[]) and (${provider} = '*' or e.fairness_key = ${provider}))`;
  const outside = sql`(t.stream = any(${streams}::text[]) and (${provider} = '*' or t.fairness_key = ${provider}))`;
  return await inTransaction(db, async (tx) => {
    await sql`
      update message m set state = 'withdrawn', settled_at = ${now} from enrollment e
      where e.id = m.enrollment_id and m.state = 'claimed' and ${of}`.execute(tx);
    await sql`update transactional t set state = 'queued' where t.state = 'claimed' and ${outside}`.execute(tx);
    const { rows } = await sql<StillLeaving>`
      select m.enrollment_id as "enrollmentId", m.step::int as step, null as "transactionalId", m.message_id as "messageId"
      from message m join enrollment e on e.id = m.enrollment_id where m.state = 'handing_over' and ${of}
      union all
      select null, null, t.id, t.message_id from transactional t where t.state = 'handing_over' and ${outside}`.execute(
      tx,
    );
    return rows;
  });
}

/** Pauses again what was paused when a database was lost, until somebody resumes it: the journal's word, before any worker starts. */
export async function pauseAgain(
  db: Db,
  pause: { stream: Stream; provider: string; reason: string; now: Date },
): Promise<void> {
  await inTransaction(db, (tx) => stop(tx, { ...pause, code: null, probing: false, detail: {}, replayed: true }));
}

interface Stop {
  stream: Stream;
  provider: string;
  reason: string;
  code: string | null;
  /** Whether a mail may find out by itself when it is over. */
  probing: boolean;
  detail: Record<string, unknown>;
  /** It stands in the journal already. */
  replayed?: boolean;
  now: Date;
}

/** A pause that a probe may end gives way to one that only a person ends, and not the other way round. */
async function stop(tx: Tx, request: Stop): Promise<void> {
  const { stream, provider, reason, code, probing, detail, replayed = false, now } = request;
  const result = await sql`
    insert into sending_pause as p (stream, provider, reason, code, paused_at, probe_at)
    values (${stream}, ${provider}, ${reason}, ${code}, ${now},
            ${probing ? new Date(now.getTime() + probeAfterMs(0)) : null}::timestamptz)
    on conflict (stream, provider) do update
      set reason = excluded.reason, code = excluded.code, paused_at = excluded.paused_at, probe_at = null, probes = 0
      where p.probe_at is not null and excluded.probe_at is null
    returning 1`.execute(tx);
  if (result.rows.length === 0) return;
  if (!probing && !replayed) await noteForJournal(tx, [{ kind: 'sending-paused', stream, provider, reason }], now);
  await alert(tx, {
    stream,
    provider,
    kind: 'stopped',
    reason,
    detail: { ...detail, ...(code === null ? {} : { code }) },
    now,
  });
}

type AlertKind = 'warned' | 'stopped' | 'resumed';

async function alert(
  tx: Tx,
  row: {
    stream: Stream;
    provider: string;
    kind: AlertKind;
    reason: string;
    detail: Record<string, unknown>;
    now: Date;
  },
): Promise<void> {
  const { now, detail, ...rest } = row;
  await tx
    .insertInto('sending_alert')
    .values({ ...rest, at: now, detail: JSON.stringify(detail) })
    .execute();
}

/**
 * Keeps a fault, and stops sending or warns where it is one too many (`domain/breaker.ts`). The operators are told by the
 * reconciler.
 */
export async function recordFault(db: Db, fault: SendingFault): Promise<void> {
  const { stream, provider, kind, code, now } = fault;
  const scope = kind === 'refusal' ? judgeRefusal(fault) : { provider, atOnce: false };
  await db.insertInto('sending_fault').values({ at: now, stream, provider: scope.provider, kind, code }).execute();
  if (kind !== 'refusal') {
    await judgeRates(db, { stream, provider, kind, now });
    return;
  }
  if (scope.atOnce || (await isStorm(db, stream, scope.provider, now))) {
    const reason = scope.atOnce ? 'refused' : 'refusal-storm';
    const detail = fault.phase === undefined ? {} : { phase: fault.phase };
    await inTransaction(db, (tx) =>
      stop(tx, { stream, provider: scope.provider, reason, code, probing: true, detail, now }),
    );
  }
}

/** The last few refusals came close together, and nothing was accepted since the first of them. */
async function isStorm(db: Db, stream: Stream, provider: string, now: Date): Promise<boolean> {
  const last = await db
    .selectFrom('sending_fault')
    .select('at')
    .where('stream', '=', stream)
    .where('kind', '=', 'refusal')
    .where('provider', '=', provider)
    .where('at', '>', new Date(now.getTime() - STORM_MS))
    .orderBy('at', 'desc')
    .limit(STORM_REFUSALS)
    .execute();
  const first = last.at(-1)?.at;
  return last.length >= STORM_REFUSALS && first !== undefined && !(await acceptedSince(db, stream, provider, first));
}

/** `streamOfStep` of a message m of an enrollment e. */
const streamOfMessage = sql<Stream>`case when m.step > 0 then 'marketing' when e.journey = 'lead' then 'requested' else 'transactional' end`;

async function acceptedSince(db: Db, stream: Stream, provider: string, since: Date): Promise<boolean> {
  const whole = provider === WHOLE_STREAM;
  const result = await sql`
    (select from message m join enrollment e on e.id = m.enrollment_id
     where m.state = 'accepted' and m.settled_at >= ${since} and ${streamOfMessage} = ${stream}
       and (${whole} or e.fairness_key = ${provider}) limit 1)
    union all
    (select from transactional where stream = ${stream} and state = 'accepted' and settled_at >= ${since}
       and (${whole} or fairness_key = ${provider}) limit 1)`.execute(db);
  return result.rows.length > 0;
}

async function judgeRates(
  db: Db,
  { stream, provider, kind, now }: { stream: Stream; provider: string; kind: RatedKind; now: Date },
): Promise<void> {
  for (const scope of [provider, WHOLE_STREAM]) {
    const counted = await countedSince(db, stream, scope, now);
    const events = await eventsSince(db, { ...counted, stream, provider: scope, kind });
    // Counting what was delivered is the dear part.
    if (events < LEAST_EVENTS) continue;
    const delivered = await deliveredSince(db, { ...counted, stream, provider: scope });
    await act(db, judgeRate(kind, events, delivered), {
      stream,
      provider: scope,
      reason: `${kind}-rate`,
      detail: { events, delivered, since: counted.since.toISOString() },
      now,
    });
  }
}

/** Seven days ago, or when somebody resumed it since: what led to that stop does not stop it again. */
async function countedSince(
  db: Db,
  stream: Stream,
  provider: string,
  now: Date,
): Promise<{ since: Date; until: Date; resumed: boolean }> {
  const week = new Date(now.getTime() - RATE_DAYS * 24 * 60 * 60_000);
  const resumed = await db
    .selectFrom('sending_alert')
    .select((eb) => eb.fn.max('at').as('at'))
    .where('stream', '=', stream)
    .where('provider', '=', provider)
    .where('kind', '=', 'resumed')
    .where('reason', '=', 'by-hand')
    .where('at', '>', week)
    .executeTakeFirst();
  const since = resumed?.at ?? null;
  return { since: since ?? week, until: now, resumed: since !== null };
}

interface Scope {
  stream: Stream;
  provider: string;
  since: Date;
  until: Date;
  /** Somebody resumed it at `since`. */
  resumed: boolean;
}

async function eventsSince(
  db: Db,
  { stream, provider, kind, since, until }: Scope & { kind: RatedKind },
): Promise<number> {
  const row = await db
    .selectFrom('sending_fault')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('stream', '=', stream)
    .where('kind', '=', kind)
    .where('at', '>=', since)
    .where('at', '<=', until)
    .where((eb) => (provider === WHOLE_STREAM ? eb.lit(true) : eb('provider', '=', provider)))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/** How long a count of delivered mail is good enough (ms): a flood of bounces must not count it for each. */
const COUNT_FRESH_MS = 30_000;
const counts = new WeakMap<Db, Map<string, { at: number; count: Promise<number> }>>();

async function deliveredSince(db: Db, scope: Scope): Promise<number> {
  const known = counts.get(db) ?? new Map<string, { at: number; count: Promise<number> }>();
  counts.set(db, known);
  const key = `${scope.stream}/${scope.provider}/${scope.resumed}`;
  const kept = known.get(key);
  if (kept !== undefined && Date.now() - kept.at < COUNT_FRESH_MS) return await kept.count;
  const count = countDelivered(db, scope);
  known.set(key, { at: Date.now(), count });
  count.catch(() => known.delete(key));
  return await count;
}

async function countDelivered(db: Db, { stream, provider, since, until }: Scope): Promise<number> {
  const whole = provider === WHOLE_STREAM;
  const result = await sql<{ count: number }>`
    select (
      select count(*) from message m join enrollment e on e.id = m.enrollment_id
      where m.state = 'accepted' and m.settled_at between ${since} and ${until}
        and ${streamOfMessage} = ${stream} and (${whole} or e.fairness_key = ${provider})
    )::int + (
      select count(*) from transactional
      where stream = ${stream} and state = 'accepted' and settled_at between ${since} and ${until}
        and (${whole} or fairness_key = ${provider})
    )::int as count`.execute(db);
  return result.rows[0]?.count ?? 0;
}

/** The same warning is given once a day at most. */
const WARN_AGAIN_MS = 24 * 60 * 60_000;

async function act(
  db: Db,
  verdict: RateVerdict,
  about: { stream: Stream; provider: string; reason: string; detail: Record<string, unknown>; now: Date },
): Promise<void> {
  if (verdict === 'fine') return;
  await inTransaction(db, async (tx) => {
    if (verdict === 'stop') return await stop(tx, { ...about, code: null, probing: false });
    const { stream, provider, reason, now } = about;
    const warned = await tx
      .selectFrom('sending_alert')
      .select('id')
      .where('stream', '=', stream)
      .where('provider', '=', provider)
      .where('reason', '=', reason)
      .where('kind', 'in', ['warned', 'stopped'])
      .where('at', '>', new Date(now.getTime() - WARN_AGAIN_MS))
      .limit(1)
      .executeTakeFirst();
    if (warned === undefined) await alert(tx, { ...about, kind: 'warned' });
  });
}

/** A complaint rate that a provider shows for one of its days. */
interface EnteredRate {
  stream: Stream;
  provider: string;
  /** `YYYY-MM-DD` */
  day: string;
  /** 0 to 1. */
  rate: number;
}

/** Keeps complaint rates that somebody has entered, and acts on those of the last seven days. */
export async function enterComplaintRates(db: Db, rates: readonly EnteredRate[], now: Date): Promise<void> {
  for (const { stream, provider, day, rate } of rates) {
    await db
      .insertInto('complaint_rate')
      .values({ stream, provider, day, rate, entered_at: now })
      .onConflict((conflict) => conflict.columns(['stream', 'provider', 'day']).doUpdateSet({ rate, entered_at: now }))
      .execute();
    if (day < new Date(now.getTime() - RATE_DAYS * 24 * 60 * 60_000).toISOString().slice(0, 10)) continue;
    await act(db, judgeShare('complaint', rate), {
      stream,
      provider,
      reason: 'complaint-rate',
      detail: { day, rate },
      now,
    });
  }
}

/** What the breaker sees of one stream's mail to one provider. */
interface SendingRates {
  stream: Stream;
  provider: string;
  delivered: number;
  complaints: number;
  hardBounces: number;
  policyBounces: number;
  refusals: number;
  /** The last complaint rate that was entered, of the last seven days. */
  entered: { day: string; rate: number } | null;
}

/** Counts of the last seven days, by stream and provider; `*` is the whole stream. */
export async function sendingRates(db: Db, now: Date): Promise<SendingRates[]> {
  const since = new Date(now.getTime() - RATE_DAYS * 24 * 60 * 60_000);
  const result = await sql<SendingRates>`
    with taken as (
      select ${streamOfMessage} as stream, e.fairness_key as provider,
             count(*)::int as delivered
      from message m join enrollment e on e.id = m.enrollment_id
      where m.state = 'accepted' and m.settled_at >= ${since} group by 1, 2
      union all
      select stream, fairness_key, count(*)::int from transactional
      where state = 'accepted' and settled_at >= ${since} group by 1, 2
    ), delivered as (
      select stream, provider, sum(delivered)::int as delivered from taken group by 1, 2
    ), faults as (
      select stream, provider,
             count(*) filter (where kind = 'complaint')::int as complaints,
             count(*) filter (where kind = 'hard-bounce')::int as "hardBounces",
             count(*) filter (where kind = 'policy-bounce')::int as "policyBounces",
             count(*) filter (where kind = 'refusal')::int as refusals
      from sending_fault where at >= ${since} group by stream, provider
    ), entered as (
      select distinct on (stream, provider) stream, provider, jsonb_build_object('day', day, 'rate', rate) as entered
      from complaint_rate where day >= ${since.toISOString().slice(0, 10)} order by stream, provider, day desc
    ), all_of as (
      select stream, provider, coalesce(delivered, 0) as delivered, coalesce(complaints, 0) as complaints,
             coalesce("hardBounces", 0) as "hardBounces", coalesce("policyBounces", 0) as "policyBounces",
             coalesce(refusals, 0) as refusals, entered
      from delivered full join faults using (stream, provider) full join entered using (stream, provider)
    )
    select stream, case when grouping(provider) = 1 then '*' else provider end as provider,
           sum(delivered)::int as delivered, sum(complaints)::int as complaints, sum("hardBounces")::int as "hardBounces",
           sum("policyBounces")::int as "policyBounces", sum(refusals)::int as refusals,
           case when grouping(provider) = 0 then (array_agg(entered))[1] end as entered
    from all_of group by grouping sets ((stream, provider), (stream))
    order by stream, grouping(provider) desc, provider`.execute(db);
  // Refusals of a whole stream stand under `*` already; they are in its sum.
  return result.rows.filter(
    (row, index, rows) =>
      rows.findIndex((other) => other.stream === row.stream && other.provider === row.provider) === index,
  );
}

/** Forgets faults and days' quotas that nobody asks for any more. */
export async function forgetOldFaults(db: Db, olderThanMs: number): Promise<void> {
  const before = new Date(Date.now() - olderThanMs);
  await db.deleteFrom('sending_fault').where('at', '<', before).execute();
  await db.deleteFrom('sending_quota').where('day', '<', before.toISOString().slice(0, 10)).execute();
}

/** Something that the breaker did or warned of. */
export interface SendingAlert {
  id: string;
  at: Date;
  stream: Stream;
  provider: string;
  kind: AlertKind;
  reason: string;
  detail: Record<string, unknown>;
}

/** The latest alerts, newest first. */
export async function lastAlerts(db: Db, limit: number): Promise<SendingAlert[]> {
  const rows = await db
    .selectFrom('sending_alert')
    .select(['id', 'at', 'stream', 'provider', 'kind', 'reason', 'detail'])
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
  return rows as SendingAlert[];
}

/**
 * Hands alerts that nobody was told of to `tell`, once each whatever number of processes asks, and marks them as told in the
 * same transaction.
 */
export async function tellAlerts(
  db: Db,
  limit: number,
  now: Date,
  tell: (tx: Tx, alert: SendingAlert) => Promise<void>,
): Promise<SendingAlert[]> {
  return await inTransaction(db, async (tx) => {
    const rows = await tx
      .selectFrom('sending_alert')
      .select(['id', 'at', 'stream', 'provider', 'kind', 'reason', 'detail'])
      .where('told_at', 'is', null)
      .orderBy('id')
      .limit(limit)
      .forUpdate()
      .skipLocked()
      .execute();
    if (rows.length === 0) return [];
    const alerts = rows as SendingAlert[];
    for (const each of alerts) await tell(tx, each);
    await tx
      .updateTable('sending_alert')
      .set({ told_at: now })
      .where(
        'id',
        'in',
        alerts.map((each) => each.id),
      )
      .execute();
    return alerts;
  });
}
