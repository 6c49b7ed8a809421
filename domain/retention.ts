import { Duration } from 'luxon';
import type { Outcome } from './outcomes';

/** Outcomes after which a lead is erased in time; `erased` is the erasure itself. */
export type KeptOutcome = Exclude<Outcome, 'erased'>;

/**
 * How long after its end an enrollment keeps its lead, where its campaign does not say otherwise; ISO 8601. Each field of a
 * campaign's `erasure` speaks of the outcome that it is named for.
 */
export const RETENTION_DEFAULTS = {
  afterExhausted: 'P30D',
  afterUnsubscribed: 'P30D',
  afterBounced: 'P30D',
  afterComplained: 'P30D',
  afterInformed: 'P30D',
  afterCancelled: 'P30D',
  afterReplied: 'P12M',
  afterPurchased: 'P12M',
} as const satisfies Record<RetentionField, string>;

export type RetentionField = `after${Capitalize<KeptOutcome>}`;

export const RETENTION_FIELDS = Object.keys(RETENTION_DEFAULTS) as RetentionField[];

/** The longest that may be set. */
export const LONGEST_RETENTION = Duration.fromISO('P10Y');
