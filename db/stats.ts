import { sql } from 'kysely';
import { OUTCOMES, type Outcome } from '../domain/outcomes';
import { Problem } from '../domain/problem';
import type { Db, Tx } from './client';
import type { MessageState } from './schema';

type OutcomeCounts = Record<Outcome, number>;

interface StepStats {
  step: number;
  /** Open enrollments for which this step comes next, later. */
  waiting: number;
  /** Open enrollments for which this step comes next and has fallen due. */
  due: number;
  /** Messages that are claimed or being handed over at this moment. */
  sending: number;
  accepted: number;
  unknown: number;
  deferred: number;
  rejected: number;
  withdrawn: number;
  /** Further copies that the mail server took, because the lead had asked again. */
  repeated: number;
  /** Enrollments that ended with this as the last step that was dealt with. */
  ended: OutcomeCounts;
}

export interface CampaignStats {
  enrolled: number;
  open: number;
  /** Of the open ones, those that are paused, by themselves or with the campaign. */
  paused: number;
  /** Of the open ones, those that have had every step, while a late answer is waited for. */
  awaitingAnswer: number;
  outcomes: OutcomeCounts;
  /** Enrollments that ended before anything was handed over. */
  endedBeforeStart: OutcomeCounts;
  steps: StepStats[];
  /** What came after purchases, which none of the above counts. */
  buyers: BuyerStats;
}

/** The funnel of those who have bought. Step 0 is the thanks. */
export interface BuyerStats {
  enrolled: number;
  open: number;
  /** By what their marketing mail rests on. */
  onConsent: number;
  onSoftOptIn: number;
  outcomes: OutcomeCounts;
  steps: { step: number; accepted: number; unknown: number; rejected: number }[];
}

/**
 * The funnel of a campaign, all versions together, in one snapshot: every enrollment counts once, as open under the step
 * that comes next, or as ended under the last one that was dealt with.
 *
 * @throws Problem `not-found`
 */
export async function campaignStats(db: Db, campaignId: string, now: Date): Promise<CampaignStats> {
  return await db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const campaign = await tx
        .selectFrom('campaign as c')
        .select((eb) => [
          'c.paused_at',
          eb
            .selectFrom('campaign_version as v')
            .select(sql<number>`coalesce(max(jsonb_array_length(v.steps)), 0)`.as('steps'))
            .whereRef('v.campaign_id', '=', 'c.id')
            .as('steps'),
          // Who was moved to another version may get more mails than any version has.
          eb
            .selectFrom('enrollment as e')
            .select(sql<number>`coalesce(max(jsonb_array_length(e.plan)), 0)`.as('planned'))
            .whereRef('e.campaign_id', '=', 'c.id')
            .where('e.plan', 'is not', null)
            .as('planned'),
        ])
        .where('c.id', '=', campaignId)
        .executeTakeFirst();
      if (campaign === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
      const enrollments = await enrollmentCounts(tx, campaignId, now);
      const leads = tally(
        Math.max(campaign.steps ?? 0, campaign.planned ?? 0),
        campaign.paused_at !== null,
        enrollments,
        await messageCounts(tx, campaignId),
      );
      return { ...leads, buyers: await buyerStats(tx, campaignId) };
    });
}

interface EnrollmentCount {
  outcome: Outcome | null;
  /** The step that comes next. */
  step: number;
  /** Of an ended one: the last step that was dealt with, -1 when none was. */
  last: number;
  /** The steps of its version are all dealt with. */
  complete: boolean;
  paused: boolean;
  due: boolean;
  count: number;
}

async function enrollmentCounts(tx: Tx, campaignId: string, now: Date): Promise<EnrollmentCount[]> {
  // A message that was past the gate when its enrollment ended was dealt with, though the row never moved on.
  const result = await sql<EnrollmentCount>`
    with v as materialized (
      select version, jsonb_array_length(steps) as steps from campaign_version where campaign_id = ${campaignId}
    )
    select e.outcome, e.step, e.step - 1 + (m.step is not null)::int as last,
           e.outcome is null and e.step >= coalesce(jsonb_array_length(e.plan), v.steps) as complete,
           e.outcome is null and e.paused_at is not null as paused,
           e.outcome is null and e.next_due_at <= ${now} as due,
           count(*)::int as count
    from enrollment e
    join v on v.version = e.version
    left join message m on m.enrollment_id = e.id and m.step = e.step and m.copy = 0 and e.outcome is not null
      and m.state in ('handing_over', 'accepted', 'unknown', 'rejected')
    where e.campaign_id = ${campaignId} and e.journey = 'lead'
    group by 1, 2, 3, 4, 5, 6`.execute(tx);
  return result.rows;
}

interface MessageCount {
  step: number;
  copied: boolean;
  state: MessageState;
  count: number;
}

async function messageCounts(tx: Tx, campaignId: string): Promise<MessageCount[]> {
  const result = await sql<MessageCount>`
    select m.step, m.copy > 0 as copied, m.state, count(*)::int as count
    from message m join enrollment e on e.id = m.enrollment_id
    where e.campaign_id = ${campaignId} and e.journey = 'lead'
    group by 1, 2, 3`.execute(tx);
  return result.rows;
}

function tally(
  stepCount: number,
  campaignPaused: boolean,
  enrollments: readonly EnrollmentCount[],
  messages: readonly MessageCount[],
): Omit<CampaignStats, 'buyers'> {
  const steps = Array.from({ length: stepCount }, (_, step): StepStats => ({ step, ...noMessages(), ended: none() }));
  const stats: Omit<CampaignStats, 'buyers'> = {
    enrolled: 0,
    open: 0,
    paused: 0,
    awaitingAnswer: 0,
    outcomes: none(),
    endedBeforeStart: none(),
    steps,
  };
  for (const { outcome, step, last, complete, paused, due, count } of enrollments) {
    stats.enrolled += count;
    if (outcome === null) {
      stats.open += count;
      if (paused || campaignPaused) stats.paused += count;
      const next = steps[step];
      if (complete || next === undefined) stats.awaitingAnswer += count;
      else next[due ? 'due' : 'waiting'] += count;
    } else {
      stats.outcomes[outcome] += count;
      (steps[last]?.ended ?? stats.endedBeforeStart)[outcome] += count;
    }
  }
  for (const { step, copied, state, count } of messages) {
    const at = steps[step];
    if (at === undefined) continue;
    if (state === 'claimed' || state === 'handing_over') at.sending += count;
    else if (!copied) at[state] += count;
    else if (state === 'accepted') at.repeated += count;
  }
  return stats;
}

async function buyerStats(tx: Tx, campaignId: string): Promise<BuyerStats> {
  const enrollments = await sql<{ outcome: Outcome | null; basis: string | null; count: number }>`
    select outcome, basis, count(*)::int as count from enrollment
    where campaign_id = ${campaignId} and journey = 'buyer' group by 1, 2`.execute(tx);
  const { rows: steps } = await sql<BuyerStats['steps'][number]>`
    select m.step, count(*) filter (where m.state = 'accepted')::int as accepted,
           count(*) filter (where m.state = 'unknown')::int as unknown,
           count(*) filter (where m.state = 'rejected')::int as rejected
    from message m join enrollment e on e.id = m.enrollment_id
    where e.campaign_id = ${campaignId} and e.journey = 'buyer' group by m.step order by m.step`.execute(tx);
  const stats: BuyerStats = { enrolled: 0, open: 0, onConsent: 0, onSoftOptIn: 0, outcomes: none(), steps };
  for (const { outcome, basis, count } of enrollments.rows) {
    stats.enrolled += count;
    if (outcome === null) stats.open += count;
    else stats.outcomes[outcome] += count;
    if (basis === 'consent') stats.onConsent += count;
    if (basis === 'soft-opt-in') stats.onSoftOptIn += count;
  }
  return stats;
}

function noMessages(): Omit<StepStats, 'step' | 'ended'> {
  return {
    waiting: 0,
    due: 0,
    sending: 0,
    accepted: 0,
    unknown: 0,
    deferred: 0,
    rejected: 0,
    withdrawn: 0,
    repeated: 0,
  };
}

function none(): OutcomeCounts {
  return Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0])) as OutcomeCounts;
}
