import { defineSearchAttributeKey } from '@temporalio/common';
import { defineQuery, defineSignal } from '@temporalio/workflow';
import type { RequestEnd } from '../domain/confirmation';
import type { JourneyKind } from '../domain/journeys';
import { type SendingLimits, weightOf } from '../domain/limits';
import type { Outcome } from '../domain/outcomes';
import { type Stream, streamOfStep } from '../domain/streams';

// What the API, the worker and operators know of our workflows. Everything that crosses this line stands in Temporal's
// history, so it holds ids, codes and counts, never a person (promise P5).

/** Workflow tasks and bookkeeping run here; a queue for each stream of mail carries the sends. */
export const JOURNEYS_QUEUE = 'journeys';
export const MAIL_QUEUES = {
  transactional: 'mail-transactional',
  requested: 'mail-requested',
  marketing: 'mail-marketing',
} as const satisfies Record<Stream, string>;

/**
 * The way a send takes through the engine: its queue, its turn (1 first, 5 last) and the receiving provider. A provider's
 * limit is the queue's limit for a key times `fairnessWeight`, 1 where it is left out.
 */
export interface Route {
  queue: (typeof MAIL_QUEUES)[keyof typeof MAIL_QUEUES] | typeof JOURNEYS_QUEUE;
  priority: number;
  fairnessKey: string;
  fairnessWeight?: number;
}

/** The route of an enrollment's next touch; `infoAgain`: the information was asked for once more. */
export function routeOf(
  touch: {
    /** `lead` where it is left out. */
    journey?: JourneyKind;
    step: number;
    /** One past the last. */
    steps: number;
    infoAgain: boolean;
    priority: number;
    fairnessKey: string;
  },
  limits: SendingLimits,
): Route {
  const { step, steps, infoAgain, priority, fairnessKey } = touch;
  if (!infoAgain && step >= steps) return { queue: JOURNEYS_QUEUE, priority, fairnessKey };
  const stream = streamOfStep(infoAgain ? 0 : step, touch.journey);
  const fairnessWeight = weightOf(limits[stream], fairnessKey);
  const route = { queue: MAIL_QUEUES[stream], priority, fairnessKey };
  return fairnessWeight === undefined ? route : { ...route, fairnessWeight };
}

/** Search attributes that `temporal/search-attributes.ts` registers. */
export const CAMPAIGN_ID_ATTRIBUTE = 'CampaignId';
export const OUTCOME_ATTRIBUTE = 'Outcome';
/** What an open journey is doing: a `Doing`. */
export const DOING_ATTRIBUTE = 'Doing';
/** True where it is not known whether some mail of the journey arrived; absent otherwise. */
export const UNKNOWN_ATTRIBUTE = 'Unknown';
export const ATTRIBUTE_TYPES = {
  [CAMPAIGN_ID_ATTRIBUTE]: 'Keyword',
  [OUTCOME_ATTRIBUTE]: 'Keyword',
  [DOING_ATTRIBUTE]: 'Keyword',
  [UNKNOWN_ATTRIBUTE]: 'Bool',
} as const;

export const campaignIdAttribute = defineSearchAttributeKey(CAMPAIGN_ID_ATTRIBUTE, 'KEYWORD');
export const outcomeAttribute = defineSearchAttributeKey(OUTCOME_ATTRIBUTE, 'KEYWORD');
export const doingAttribute = defineSearchAttributeKey(DOING_ATTRIBUTE, 'KEYWORD');
export const unknownAttribute = defineSearchAttributeKey(UNKNOWN_ATTRIBUTE, 'BOOL');

/** Input of `leadJourney` and `buyerJourney`, and all of its state: a run is one touch, and hands this to the next. */
export interface JourneyInput {
  enrollmentId: string;
  /** The step this run is to send; one past the last means: conclude as `exhausted`. */
  step: number;
  route: Route;
  /** Nothing is due before this (ms since the epoch, UTC). */
  waitUntil?: number;
}

export interface JourneyResult {
  outcome: Outcome;
  /** How many steps were dealt with. */
  step: number;
}

/** Of `leadJourney`, and of `buyerJourney`, which is the same at its own pace and with mails of its own. */
export type LeadJourney = (input: JourneyInput) => Promise<JourneyResult>;
/** The workflow type of each kind of journey. */
export const JOURNEY_WORKFLOWS = { lead: 'leadJourney', buyer: 'buyerJourney' } as const satisfies Record<
  JourneyKind,
  string
>;
export type LeadImport = (input: { importId: string }) => Promise<{ state: 'completed' | 'failed' }>;
export interface TestSendInput {
  testSendId: string;
  /** Of its campaign: it travels as a mail of that step does. */
  step: number;
}
export type TestSend = (input: TestSendInput) => Promise<{ state: 'accepted' | 'refused' }>;
export type TransactionalMail = (input: TransactionalInput) => Promise<{ state: string }>;
/** A `Route` by its stream. */
export interface TransactionalInput {
  transactionalId: string;
  /** `transactional` where it is left out. */
  stream?: 'transactional' | 'requested';
  priority: number;
  fairnessKey: string;
  fairnessWeight?: number;
}

/** Asks somebody to confirm what they sent by a form (double opt-in), and waits for that. */
export type DoubleOptIn = (input: DoubleOptInInput) => Promise<{ state: RequestEnd }>;
export interface DoubleOptInInput {
  requestId: string;
}

/** What `lookAtRequest` and `doubleOptIn` say to each other. `now` is workflow time, ms since the epoch. */
export interface LookAtRequestInput {
  requestId: string;
  now: number;
}
export type LookAtRequestResult =
  | { kind: 'ended'; state: RequestEnd }
  /** To be looked at again at the first of these times (ms since the epoch); `mail` is on its way. */
  | { kind: 'waits'; remindAt: number | null; expiresAt: number; mail: TransactionalInput | null };

/** The page, or whoever else decided it, has written down how a request ended. */
export const confirmedSignal = defineSignal('confirmed');
export const withdrawnSignal = defineSignal('withdrawn');

/** What `sendTransactional` and `transactionalMail` say to each other. `now` is workflow time, ms since the epoch. */
export interface SendTransactionalInput {
  transactionalId: string;
  now: number;
}
export type SendTransactionalResult =
  /** For good. */
  | { kind: 'settled'; state: 'accepted' | 'rejected' | 'deferred' | 'unknown' | 'erased' }
  /** Not now: come again at this time (ms since the epoch); where a `stream` is named, on its queue. */
  | {
      kind: 'again';
      at: number;
      reason: 'deferred' | 'daily-cap' | 'paused' | 'not-due';
      stream?: 'transactional' | 'requested';
    };

/** What `sendStep` and the journeys say to each other. `now` is workflow time, ms since the epoch. */
export interface SendStepInput {
  enrollmentId: string;
  step: number;
  now: number;
}
export type SendStepResult =
  /** Dealt with: `step` is the next one, at `dueAt` (ms since the epoch). Also answered when nothing was due yet. */
  | { kind: 'next'; step: number; dueAt: number; route: Route; reason: WaitReason; unknown?: true }
  /** Paused, or an answer of theirs waits for a person's decision: wait to be woken. */
  | { kind: 'hold'; by: 'campaign' | 'enrollment' | 'stream' | 'review' }
  /** The journey has ended, and the row says so. */
  | { kind: 'concluded'; outcome: Outcome; step: number; unknown?: true };
// `unknown`: whether some mail of this enrollment arrived is not known. Where it is left out, none of them is in doubt.

/** Why a journey waits; the Temporal UI shows it. */
export type WaitReason =
  | 'cadence'
  | 'not-due'
  | 'send-window'
  | 'daily-cap'
  | 'frequency-cap'
  | 'deferred'
  | 'late-answer';

export interface ConcludeInput {
  enrollmentId: string;
  outcome: Extract<Outcome, 'cancelled'>;
  now: number;
}

/** The lead stopped: the row already says so, this only ends the wait. */
export const stopSignal = defineSignal<[{ outcome: Outcome }]>('stop');
/** The row has changed (resumed, asked again, moved): look at it now. */
export const wakeSignal = defineSignal('wake');

/** Sending: its mail waits for its turn, goes out, or is tried again. */
export type Doing = 'sending' | 'waiting' | 'holding';

export interface JourneyProgress {
  step: number;
  doing: Doing | 'ending';
  /** ms since the epoch; null while not waiting for a time. */
  until: number | null;
}
export const progressQuery = defineQuery<JourneyProgress>('progress');

const JOURNEY_PREFIXES = { lead: 'lead-journey/', buyer: 'buyer-journey/' } as const satisfies Record<
  JourneyKind,
  string
>;
const IMPORT_PREFIX = 'lead-import/';
const TEST_SEND_PREFIX = 'test-send/';
const TRANSACTIONAL_PREFIX = 'transactional/';
const DOUBLE_OPT_IN_PREFIX = 'double-opt-in/';

export function journeyWorkflowId(enrollmentId: string, journey: JourneyKind = 'lead'): string {
  return JOURNEY_PREFIXES[journey] + enrollmentId;
}

export function importWorkflowId(importId: string): string {
  return IMPORT_PREFIX + importId;
}

export function testSendWorkflowId(testSendId: string): string {
  return TEST_SEND_PREFIX + testSendId;
}

export function transactionalWorkflowId(transactionalId: string): string {
  return TRANSACTIONAL_PREFIX + transactionalId;
}

export function doubleOptInWorkflowId(requestId: string): string {
  return DOUBLE_OPT_IN_PREFIX + requestId;
}
