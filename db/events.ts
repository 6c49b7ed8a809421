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
  | 'stop-without-effect';

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
  await tx
    .insertInto('event')
    .values(
      events.map((event) => ({
        at: event.at,
        lead_id: event.leadId,
        enrollment_id: event.enrollmentId,
        kind: event.kind,
        step: event.step ?? null,
        detail: JSON.stringify(event.detail ?? {}),
      })),
    )
    .execute();
}
