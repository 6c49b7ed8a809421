import type { CampaignDefinition } from '../domain/campaign';
import type { Outcome } from '../domain/outcomes';
import type { MemberKind } from '../stack/member';
import type { StopKind } from './script';
import type { Delivery } from './sink-records';

// What an audit looks at: plain data, collected when a run is over. Times are ms since the epoch, all of one machine's clock.

/** A lead whose enrollment was answered with a 2xx. */
export interface EnrolledLead {
  email: string;
  agrees: boolean;
  unknownMailbox: boolean;
  timeZone: string;
  enrollmentId: string;
  leadId: string;
  /** Every enrollment id that an answer named; more than one only if a promise was broken. */
  enrollmentIds: string[];
}

/** A stop that was answered with a 2xx. */
export interface AcknowledgedStop {
  kind: StopKind;
  enrollmentId: string;
  /** When the answer came. */
  at: number;
  /** Of a pause: when its resume was sent; null: it was not. */
  liftedAt: number | null;
  /** Message-IDs that the answer named as being handed over. */
  named: string[];
  /** The answer said that this enrollment has ended by it. */
  ended: boolean;
}

/** One SIGKILL, or what ended without one. */
export interface Death {
  member: string;
  kind: MemberKind;
  /** When it was sent the signal, or was found to have ended. */
  at: number;
  /** When nothing of it ran any more. */
  deadAt: number;
  /** When it was started again, and when it served again; null: not before the end of the run. */
  startedAt: number | null;
  servesAt: number | null;
  /** Ended by itself: nobody had killed it. */
  byItself: boolean;
}

export interface EnrollmentFact {
  enrollmentId: string;
  leadId: string;
  step: number;
  nextDueAt: number;
  outcome: string | null;
  endedAt: number | null;
  enrolledAt: number;
  /** The ids of the events of its beginning and its end: their order in the database; null where they are erased, or to come. */
  begunAs: number | null;
  endedAs: number | null;
  paused: boolean;
  /** A change that its workflow was not told of. */
  untold: boolean;
  /** Its workflow was not started. */
  unstarted: boolean;
  /** Held for a stream that the circuit breaker has stopped. */
  heldFor: string | null;
}

export interface MessageFact {
  enrollmentId: string;
  step: number;
  copy: number;
  messageId: string;
  state: string;
  code: string | null;
  claimedAt: number;
  handingOverAt: number | null;
  settledAt: number | null;
}

/** A message was settled and its enrollment moved on. */
export interface SettledEvent {
  enrollmentId: string;
  step: number;
  kind: string;
  at: number;
}

export interface Facts {
  /** When Postgres was read. */
  at: number;
  timeFactor: number;
  /** Of the one campaign. */
  definition: Pick<CampaignDefinition, 'cadence' | 'sendWindow' | 'timeZone'>;
  steps: number;
  leads: EnrolledLead[];
  stops: AcknowledgedStop[];
  /** Stops that the API refused since the journey had ended, and when it said so. */
  tooLate: { enrollmentId: string; kind: StopKind; at: number }[];
  deaths: Death[];
  enrollments: EnrollmentFact[];
  messages: MessageFact[];
  events: SettledEvent[];
  deliveries: Delivery[];
  /** Enrollments whose workflow is open in Temporal. */
  runningJourneys: string[];
}

/** How an acknowledged stop ends an enrollment; a pause does not. */
export const OUTCOME_OF: Record<StopKind, Outcome | null> = {
  purchase: 'purchased',
  reply: 'replied',
  unsubscribe: 'unsubscribed',
  erasure: 'erased',
  pause: null,
};
