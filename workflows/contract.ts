import { defineQuery, defineSignal } from '@temporalio/workflow';
import type { Outcome } from '../domain/outcomes';

// What the API, the worker and operators know of our workflows. Everything that crosses this line stands in Temporal's
// history, so it holds ids, codes and counts, never a person (promise P5).

/** Workflow tasks and bookkeeping run here; a queue for each stream of mail carries the sends. */
export const JOURNEYS_QUEUE = 'journeys';
export const MAIL_QUEUES = { requested: 'mail-requested', marketing: 'mail-marketing' } as const;

/** The way a send takes through the engine: its queue, its turn (1 first, 5 last) and the receiving provider. */
export interface Route {
  queue: (typeof MAIL_QUEUES)[keyof typeof MAIL_QUEUES] | typeof JOURNEYS_QUEUE;
  priority: number;
  fairnessKey: string;
}

/** The route of an enrollment's next touch; `infoAgain`: the information was asked for once more. */
export function routeOf(touch: {
  step: number;
  steps: number;
  infoAgain: boolean;
  priority: number;
  fairnessKey: string;
}): Route {
  const { step, steps, infoAgain, priority, fairnessKey } = touch;
  const queue = step === 0 || infoAgain ? MAIL_QUEUES.requested : step < steps ? MAIL_QUEUES.marketing : JOURNEYS_QUEUE;
  return { queue, priority, fairnessKey };
}

/** Search attributes that `temporal/search-attributes.ts` registers, both of type Keyword. */
export const CAMPAIGN_ID_ATTRIBUTE = 'CampaignId';
export const OUTCOME_ATTRIBUTE = 'Outcome';

/** Input of `leadJourney`, and all of its state: a run is one touch, and hands this to the next. */
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

export type LeadJourney = (input: JourneyInput) => Promise<JourneyResult>;
export type LeadImport = (input: { importId: string }) => Promise<{ state: 'completed' | 'failed' }>;
export type TestSend = (input: { testSendId: string }) => Promise<{ state: 'accepted' | 'refused' }>;

/** What `sendStep` and `leadJourney` say to each other. `now` is workflow time, ms since the epoch. */
export interface SendStepInput {
  enrollmentId: string;
  step: number;
  now: number;
}
export type SendStepResult =
  /** Dealt with: `step` is the next one, at `dueAt` (ms since the epoch). Also answered when nothing was due yet. */
  | { kind: 'next'; step: number; dueAt: number; route: Route; reason: WaitReason }
  /** Paused: wait to be woken. */
  | { kind: 'hold'; by: 'campaign' | 'enrollment' }
  /** The journey has ended, and the row says so. */
  | { kind: 'concluded'; outcome: Outcome; step: number };

/** Why a journey waits; the Temporal UI shows it. */
export type WaitReason = 'cadence' | 'not-due' | 'send-window' | 'deferred' | 'late-answer';

export interface ConcludeInput {
  enrollmentId: string;
  outcome: Extract<Outcome, 'cancelled'>;
  now: number;
}

/** The lead stopped: the row already says so, this only ends the wait. */
export const stopSignal = defineSignal<[{ outcome: Outcome }]>('stop');
/** The row has changed (resumed, asked again, moved): look at it now. */
export const wakeSignal = defineSignal('wake');

export interface JourneyProgress {
  step: number;
  doing: 'waiting' | 'sending' | 'holding' | 'ending';
  /** ms since the epoch; null while not waiting for a time. */
  until: number | null;
}
export const progressQuery = defineQuery<JourneyProgress>('progress');

const JOURNEY_PREFIX = 'lead-journey/';
const IMPORT_PREFIX = 'lead-import/';
const TEST_SEND_PREFIX = 'test-send/';

export function journeyWorkflowId(enrollmentId: string): string {
  return JOURNEY_PREFIX + enrollmentId;
}

export function importWorkflowId(importId: string): string {
  return IMPORT_PREFIX + importId;
}

export function testSendWorkflowId(testSendId: string): string {
  return TEST_SEND_PREFIX + testSendId;
}
