import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';
import type { Db } from '../db/client';
import { journeyWorkflowId } from '../workflows/contract';
import type { EnrollmentFact, Facts, MessageFact, SettledEvent } from './facts';

type FromPostgres = Pick<Facts, 'at' | 'enrollments' | 'messages' | 'events'>;

const SETTLED = ['message-accepted', 'message-rejected', 'message-deferred', 'message-skipped', 'message-unknown'];

/** Everything that Postgres knows of a campaign's enrollments, in one snapshot. */
export async function readLedger(db: Db, campaignId: string): Promise<FromPostgres> {
  return await db
    .transaction()
    .setIsolationLevel('repeatable read')
    .execute(async (tx) => {
      const rows = await tx.selectFrom('enrollment').selectAll().where('campaign_id', '=', campaignId).execute();
      const ids = tx.selectFrom('enrollment').select('id').where('campaign_id', '=', campaignId);
      const messages = await tx.selectFrom('message').selectAll().where('enrollment_id', 'in', ids).execute();
      const events = await tx
        .selectFrom('event')
        .select(['enrollment_id', 'step', 'kind', 'at', 'detail'])
        .where('enrollment_id', 'in', ids)
        .where('kind', 'in', SETTLED)
        .execute();
      const bounds = await tx
        .selectFrom('event')
        .select(['id', 'enrollment_id', 'kind'])
        .where('enrollment_id', 'in', ids)
        .where('kind', 'in', ['enrolled', 'ended'])
        .execute();
      const eventOf = new Map(bounds.map((event) => [`${event.enrollment_id} ${event.kind}`, Number(event.id)]));
      return {
        at: Date.now(),
        enrollments: rows.map(
          (row): EnrollmentFact => ({
            enrollmentId: row.id,
            leadId: row.lead_id,
            step: row.step,
            nextDueAt: row.next_due_at.getTime(),
            outcome: row.outcome,
            endedAt: row.ended_at?.getTime() ?? null,
            enrolledAt: row.enrolled_at.getTime(),
            begunAs: eventOf.get(`${row.id} enrolled`) ?? null,
            endedAs: eventOf.get(`${row.id} ended`) ?? null,
            paused: row.paused_at !== null,
            untold: row.signal_at !== null,
            unstarted: row.started_at === null,
            heldFor: row.held_for,
          }),
        ),
        messages: messages.map(
          (row): MessageFact => ({
            enrollmentId: row.enrollment_id,
            step: row.step,
            copy: row.copy,
            messageId: row.message_id,
            state: row.state,
            code: row.code,
            claimedAt: row.claimed_at.getTime(),
            handingOverAt: row.handing_over_at?.getTime() ?? null,
            settledAt: row.settled_at?.getTime() ?? null,
          }),
        ),
        events: events.flatMap((row): SettledEvent[] =>
          row.enrollment_id === null || row.step === null || row.detail.copy !== 0
            ? []
            : [{ enrollmentId: row.enrollment_id, step: row.step, kind: row.kind, at: row.at.getTime() }],
        ),
      };
    });
}

/** Whose journeys are open in Temporal, of those enrollments. The list lags behind a little, so what it says against the row is asked again. */
export async function runningJourneys(client: Client, enrollments: readonly EnrollmentFact[]): Promise<string[]> {
  const listed = new Set<string>();
  const query = `WorkflowType = 'leadJourney' AND ExecutionStatus = 'Running'`;
  for await (const { workflowId } of client.workflow.list({ query })) listed.add(workflowId);
  const running: string[] = [];
  for (const { enrollmentId, outcome } of enrollments) {
    const isListed = listed.has(journeyWorkflowId(enrollmentId));
    const runs = isListed === (outcome === null) ? isListed : await isRunning(client, enrollmentId);
    if (runs) running.push(enrollmentId);
  }
  return running;
}

async function isRunning(client: Client, enrollmentId: string): Promise<boolean> {
  try {
    const { status } = await client.workflow.getHandle(journeyWorkflowId(enrollmentId)).describe();
    return status.name === 'RUNNING';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}
