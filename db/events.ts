import { sql } from 'kysely';
import type { Db, Tx } from './client';

/** What can happen to a lead; the timeline of `GET /v1/leads/{id}` tells these. */
export type EventKind =
  | 'enrolled'
  | 'asked-again'
  | 'message-accepted'
  | 'message-rejected'
  | 'message-deferred'
  | 'message-skipped'
  | 'message-unknown'
  | 'message-not-sent'
  | 'paused'
  | 'resumed'
  | 'ended'
  | 'suppressed'
  | 'consent-withdrawn'
  | 'consent-added'
  | 'stop-without-effect'
  | 'received'
  | 'review-decided'
  | 'message-resolved'
  | 'message-reported'
  | 'waits-for-return'
  | 'forwarded'
  | 'privacy-request'
  | 'snoozed'
  | 'reopened'
  | 'moved'
  | 'left-ended'
  | 'confirmed'
  | 'suppression-lifted'
  | 'language-changed'
  | 'refunded'
  | 'erased';

export interface NewEvent {
  at: Date;
  leadId: string;
  enrollmentId: string | null;
  kind: EventKind;
  step?: number;
  /** Ids, codes and times only. */
  detail?: Record<string, unknown>;
}

/** Writes down what happened, in the transaction in which it happened. */
export async function recordEvents(tx: Db | Tx, events: NewEvent[]): Promise<void> {
  if (events.length === 0) return;
  // As arrays: a whole campaign's events have more values than a statement may have parameters.
  await sql`
    insert into event (at, lead_id, enrollment_id, kind, step, detail)
    select * from unnest(
      ${events.map((event) => event.at)}::timestamptz[],
      ${events.map((event) => event.leadId)}::uuid[],
      ${events.map((event) => event.enrollmentId)}::uuid[],
      ${events.map((event) => event.kind)}::text[],
      ${events.map((event) => event.step ?? null)}::smallint[],
      ${events.map((event) => JSON.stringify(event.detail ?? {}))}::jsonb[])`.execute(tx);
}
