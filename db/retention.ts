import { type SqlBool, sql } from 'kysely';
import { errorCode } from '../domain/error-code';
import { RETENTION_DEFAULTS } from '../domain/retention';
import type { Db, Tx } from './client';
import { type Erasure, eraseLeadIf, eraseReceived, eraseTransactional } from './erasure';

// How long a lead is kept follows from what is written down of it anyway: how its enrollments ended, when, and what their
// campaign's version says. So nothing has to be kept up to date, and a changed campaign changes nothing for leads of before.

export interface RetentionSettings {
  /** How those are erased whose time is over. */
  erasure: Omit<Erasure, 'leadId' | 'by' | 'now'>;
  /** Planned time per real time. */
  timeFactor: number;
}

/** What one round has done, by count, and the enrollments whose journeys are to be told. */
export interface RetentionRound {
  erased: number;
  /** Received messages about people who were erased before they were dealt with. */
  receivedLate: number;
  /** Sealed evidence that is needed no more. */
  destroyed: number;
  /** Leads whose erasure failed; it is tried again in the next round. */
  failed: { leadId: string; code: string }[];
  stopped: string[];
  /** There are more, for the next round. */
  more: boolean;
}

/** So few at once that whoever calls this comes soon to whatever else it does. */
const BATCH = 100;

/**
 * Erases leads whose time is over, the longest overdue first and so many at once, and destroys the sealed evidence whose time
 * is over. Any number may run at the same time: each erasure looks again once nobody can enroll that person any more.
 */
export async function enforceRetention(db: Db, settings: RetentionSettings, now: Date): Promise<RetentionRound> {
  const round: RetentionRound = {
    erased: 0,
    receivedLate: await eraseLateReceived(db, now),
    destroyed: await destroySealed(db, now),
    failed: [],
    stopped: [],
    more: false,
  };
  const due = await leadsDue(db, settings.timeFactor, now, BATCH);
  for (const leadId of due) {
    try {
      const { erased, stopped } = await eraseLeadIf(
        db,
        { ...settings.erasure, leadId, by: 'retention', now },
        async (tx) => (await leadsDue(tx, settings.timeFactor, now, 1, leadId)).length === 1,
      );
      if (erased) round.erased += 1;
      round.stopped.push(...stopped);
    } catch (error) {
      round.failed.push({ leadId, code: errorCode(error) });
    }
  }
  // Where all of them fail, the next round comes at its usual time.
  round.more = due.length === BATCH && round.erased > 0;
  return round;
}

/**
 * When each lead is to be erased, as a table `due (lead_id, open, due_at)`. An answer keeps a lead for some time after the last
 * thing they wrote, a purchase for some time after the last mail to the buyer.
 */
function dueTable(timeFactor: number, whose = sql``) {
  return sql`
    v as materialized (select campaign_id, version, definition->'erasure' as erasure from campaign_version),
    due as (
      select e.lead_id, bool_or(e.outcome is null) as open,
             max(greatest(
               e.ended_at,
               case when e.outcome = 'replied' then
                 (select max(i.received_at) from inbound i
                  where i.lead_id = e.lead_id and i.kind in ('reply', 'unsubscribe', 'other')) end,
               case when e.outcome = 'purchased' then
                 (select max(b.ended_at) from enrollment b where b.lead_id = e.lead_id and b.journey = 'buyer') end
             ) + coalesce(v.erasure->>f.field, ${JSON.stringify(RETENTION_DEFAULTS)}::jsonb->>f.field, 'P30D')::interval
                 / ${timeFactor}::double precision) as due_at
      from enrollment e
      -- The shells of those who were erased grow more and more, and say nothing here.
      join lead kept on kept.id = e.lead_id and kept.erased_at is null
      join v on v.campaign_id = e.campaign_id and v.version = e.version
      cross join lateral (
        select 'after' || initcap(case when e.journey = 'buyer' then 'purchased' else e.outcome end) as field
      ) f
      ${whose}
      group by e.lead_id
    )`;
}

function ofLead(leadId: string) {
  return sql`where e.lead_id = ${leadId}::uuid`;
}

/** Something is still to be decided or answered: an unconfirmed request, a request about their data, a message in doubt. */
const HELD = sql<SqlBool>`(
  exists (select from form_request r where r.address_hash = l.address_hash and r.state = 'pending')
  or exists (select from privacy_request r where r.lead_id = l.id and r.done_at is null)
  or exists (select from inbound i where i.lead_id = l.id and i.needs_review and i.decided_at is null)
)`;

async function leadsDue(db: Db | Tx, timeFactor: number, now: Date, limit: number, leadId?: string): Promise<string[]> {
  // Of whom nothing has ended, nothing falls due: those who sleep, who are many more, need no look.
  const whose =
    leadId === undefined
      ? sql`where e.lead_id in (select lead_id from enrollment where ended_at is not null)`
      : ofLead(leadId);
  const { rows } = await sql<{ id: string }>`
    with ${dueTable(timeFactor, whose)}
    select l.id from lead l join due on due.lead_id = l.id
    where l.erased_at is null and not due.open and due.due_at <= ${now}::timestamptz
      and not ${HELD}
    order by due.due_at, random() limit ${limit}`.execute(db);
  return rows.map((row) => row.id);
}

/** When a lead is to be erased, as things stand; null while a journey is open, and once erased. */
export async function erasedAfter(db: Db | Tx, leadId: string, timeFactor: number): Promise<Date | null> {
  const { rows } = await sql<{ due_at: Date | null }>`
    with ${dueTable(timeFactor, ofLead(leadId))}
    select due.due_at from lead l join due on due.lead_id = l.id
    where l.id = ${leadId} and l.erased_at is null and not due.open`.execute(db);
  return rows[0]?.due_at ?? null;
}

/** How much falls due when. */
export interface RetentionOutlook {
  leads: {
    /** A journey of theirs is open. */
    open: number;
    /** Would be erased, but something is still to be decided or answered. */
    held: number;
    overdue: number;
    within7Days: number;
    /** Those within 7 days included. */
    within30Days: number;
    later: number;
    erased: number;
  };
  sealedEvidence: { kept: number; overdue: number; within30Days: number };
  /** Received messages whose text is kept, and since when the oldest is. */
  receivedMail: { kept: number; oldest: Date | null };
}

/** What is kept and until when, by count. */
export async function retentionOutlook(db: Db, timeFactor: number, now: Date): Promise<RetentionOutlook> {
  const leads = await sql<RetentionOutlook['leads']>`
    with ${dueTable(timeFactor)},
    standing as (
      select l.erased_at, coalesce(due.open, false) as open, due.due_at,
             l.erased_at is null and not coalesce(due.open, false) and ${HELD} as held
      from lead l left join due on due.lead_id = l.id
    ),
    waiting as (select due_at from standing where erased_at is null and not open and not held)
    select (select count(*)::int from standing where erased_at is null and open) as open,
           (select count(*)::int from standing where held) as held,
           (select count(*)::int from standing where erased_at is not null) as erased,
           count(*) filter (where due_at <= ${now}::timestamptz)::int as overdue,
           count(*) filter (where due_at > ${now}::timestamptz
                              and due_at <= ${now}::timestamptz + interval '7 days')::int as "within7Days",
           count(*) filter (where due_at > ${now}::timestamptz
                              and due_at <= ${now}::timestamptz + interval '30 days')::int as "within30Days",
           count(*) filter (where due_at > ${now}::timestamptz + interval '30 days')::int as later
    from waiting`.execute(db);
  const sealed = await sql<RetentionOutlook['sealedEvidence']>`
    select count(*)::int as kept, count(*) filter (where destroy_at <= ${now}::timestamptz)::int as overdue,
           count(*) filter (where destroy_at > ${now}::timestamptz
                              and destroy_at <= ${now}::timestamptz + interval '30 days')::int as "within30Days"
    from sealed_evidence`.execute(db);
  const received = await sql<RetentionOutlook['receivedMail']>`
    select count(*)::int as kept, min(received_at) as oldest from inbound
    where raw is not null or event is not null or summary is not null`.execute(db);
  const [lead, evidence, mail] = [leads.rows[0], sealed.rows[0], received.rows[0]];
  if (lead === undefined || evidence === undefined || mail === undefined) throw new Error('a count has one row');
  return { leads: lead, sealedEvidence: evidence, receivedMail: mail };
}

async function destroySealed(db: Db, now: Date): Promise<number> {
  const result = await db.deleteFrom('sealed_evidence').where('destroy_at', '<=', now).executeTakeFirst();
  return Number(result.numDeletedRows);
}

/** A provider's id that a message has got after its lead was erased comes at most this much later. */
const LATE_ANSWERS = sql`interval '7 days'`;

/**
 * What came about people who were erased: messages that were being dealt with at that moment, and reports by machines that
 * came later. What the person writes afterwards is mail like any other, and goes with it.
 *
 * @returns how many
 */
async function eraseLateReceived(db: Db, now: Date): Promise<number> {
  return await db.transaction().execute(async (tx) => {
    const { rows } = await sql<{ id: string }>`
      select i.id from inbound i
      where i.state <> 'new' and (i.raw is not null or i.event is not null or i.summary is not null)
        and (i.erase_when_done or exists (
          select from lead l where l.id = i.lead_id and l.erased_at is not null
            and (i.received_at <= l.erased_at or i.kind not in ('reply', 'other'))
        ))
      limit 1000 for update of i skip locked`.execute(tx);
    const ids = rows.map((row) => row.id);
    await eraseReceived(tx, ids, now);
    const mails = await tx
      .selectFrom('transactional')
      .select('id')
      .where('inbound_id', '=', sql<string>`any(${ids}::uuid[])`)
      .where('content', 'is not', null)
      .execute();
    await eraseTransactional(
      tx,
      mails.map((mail) => mail.id),
      now,
    );
    await sql`
      update message m set provider_id = null from enrollment e join lead l on l.id = e.lead_id
      where m.enrollment_id = e.id and l.erased_at > ${now}::timestamptz - ${LATE_ANSWERS}
        -- Of what ended long before, nothing was on its way any more: that is everybody whom the retention erases.
        and e.ended_at > l.erased_at - ${LATE_ANSWERS}
        and m.provider_id is not null`.execute(tx);
    return ids.length;
  });
}
