import type { SearchAttributeUpdatePair } from '@temporalio/common';
import {
  CancellationScope,
  condition,
  isCancellation,
  log,
  makeContinueAsNewFunc,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities } from '../activities';
import type { Outcome } from '../domain/outcomes';
import {
  campaignIdAttribute,
  type Doing,
  doingAttribute,
  JOURNEYS_QUEUE,
  type JourneyInput,
  type JourneyProgress,
  type JourneyResult,
  outcomeAttribute,
  progressQuery,
  type SendStepResult,
  stopSignal,
  unknownAttribute,
  wakeSignal,
} from './contract';

/** No run waits longer than this, so no line of this file must stay compatible for longer than one such wait. */
const LONGEST_WAIT_MS = 90 * 24 * 60 * 60 * 1000;

const { conclude } = proxyActivities<Activities>({
  taskQueue: JOURNEYS_QUEUE,
  startToCloseTimeout: '1 minute',
  retry: { maximumInterval: '1 minute' },
});

/**
 * What `leadJourney` and `buyerJourney` do. Follows one enrollment: sends its step, waits until the next is due or the lead stops, and continues as new, one
 * touch a run. What may be sent, and when, is decided by the row that `sendStep` locks; this is the clock beside it.
 */
export async function followJourney(input: JourneyInput): Promise<JourneyResult> {
  const { enrollmentId, step } = input;
  let stopped: Outcome | undefined;
  let wakes = 0;
  let progress: JourneyProgress = { step, doing: 'waiting', until: input.waitUntil ?? null };
  let unknown = listed().get(unknownAttribute) === true;
  setHandler(stopSignal, (stop) => {
    stopped ??= stop.outcome;
  });
  setHandler(wakeSignal, () => {
    wakes += 1;
  });
  setHandler(progressQuery, () => progress);

  try {
    if (input.waitUntil !== undefined && input.waitUntil > Date.now()) {
      await waitUntil(input.waitUntil, step, 'the wait was split');
      if (stopped) return end(stopped, step);
      if (wakes === 0 && input.waitUntil > Date.now()) return await touchAgain(input);
    }

    show('sending', null, `Step ${step}: sending`);
    list('sending');
    const touch = await sendUnlessStopped();
    if (touch.kind !== 'hold') unknown = touch.unknown === true;
    if (touch.kind === 'concluded') return end(touch.outcome, touch.step);
    if (stopped) return end(stopped, touch.kind === 'next' ? touch.step : step);

    if (touch.kind === 'hold') {
      const why = touch.by === 'review' ? 'an answer waits for a decision' : `its ${touch.by} is paused`;
      show('holding', null, `Step ${step}: held, ${why}. Goes on when that is over, or ends with a stop`);
      list('holding');
      await condition(() => stopped !== undefined || wakes > 0, LONGEST_WAIT_MS, { summary: `paused (${touch.by})` });
      if (stopped) return end(stopped, step);
      return await touchAgain({ enrollmentId, step, route: input.route });
    }

    if (touch.dueAt > Date.now()) await waitUntil(touch.dueAt, touch.step, touch.reason);
    if (stopped) return end(stopped, touch.step);
    const early = wakes === 0 && touch.dueAt > Date.now();
    return await touchAgain({
      enrollmentId,
      step: touch.step,
      route: touch.route,
      ...(early ? { waitUntil: touch.dueAt } : {}),
    });
  } catch (error) {
    // Cancelled while its worker died, a send ends as timed out and not as cancelled.
    if (!isCancellation(error) && !CancellationScope.current().consideredCancelled) throw error;
    return await CancellationScope.nonCancellable(async () => {
      const outcome = stopped ?? (await conclude({ enrollmentId, outcome: 'cancelled', now: Date.now() }));
      return end(outcome, progress.step);
    });
  }

  /** Sends, but gives up the queue or a back-off as soon as the lead stops; a delivery in flight is awaited. */
  async function sendUnlessStopped(): Promise<SendStepResult> {
    const { sendStep } = proxyActivities<Activities>({
      taskQueue: input.route.queue,
      priority: {
        priorityKey: input.route.priority,
        fairnessKey: input.route.fairnessKey,
        ...(input.route.fairnessWeight === undefined ? {} : { fairnessWeight: input.route.fairnessWeight }),
      },
      startToCloseTimeout: '5 minutes',
      heartbeatTimeout: '10 seconds',
      // The documented default is not what the SDK sends: without this a stop would be reported while a mail is going out.
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
      retry: { initialInterval: '5 seconds', backoffCoefficient: 2, maximumInterval: '10 minutes' },
    });
    const scope = new CancellationScope();
    const sending = scope.run(() =>
      sendStep.executeWithOptions({ summary: `step ${step}` }, [{ enrollmentId, step, now: Date.now() }]),
    );
    // Whatever ends this race, a cancel from the UI included, the answer of the send itself is awaited below.
    await Promise.race([sending, condition(() => stopped !== undefined)]).catch(() => undefined);
    if (stopped) scope.cancel();
    try {
      return await sending;
    } catch (error) {
      // The row has ended, so whatever the send failed of, it will not be tried again; what was in doubt still is.
      if (stopped) return { kind: 'concluded', outcome: stopped, step, ...(unknown ? { unknown } : {}) };
      throw error;
    }
  }

  async function waitUntil(due: number, nextStep: number, reason: string): Promise<void> {
    const at = new Date(due).toISOString();
    show('waiting', due, `Step ${nextStep}: waits until ${at} (${reason}). Ends early if the lead stops`, nextStep);
    list('waiting');
    await condition(() => stopped !== undefined || wakes > 0, Math.min(due - Date.now(), LONGEST_WAIT_MS), {
      summary: `step ${nextStep} due ${at.slice(0, 16)}Z (${reason})`,
    });
  }

  function show(doing: JourneyProgress['doing'], until: number | null, details: string, at = step): void {
    progress = { step: at, doing, until };
    setCurrentDetails(details);
  }

  /**
   * Tells lists of journeys what this one is doing. Runs of before 0.2 did not, so it is behind a patch; in the workflow task
   * of the command that follows, so that it costs events and no time.
   */
  function list(doing: Doing): void {
    const changes: SearchAttributeUpdatePair[] = [
      ...(listed().get(doingAttribute) === doing ? [] : [{ key: doingAttribute, value: doing }]),
      ...doubt(),
    ];
    if (changes.length > 0 && patched('doing')) upsertSearchAttributes(changes);
  }

  /** Whether some mail is `unknown`, where lists do not tell that yet. */
  function doubt(): SearchAttributeUpdatePair[] {
    if ((listed().get(unknownAttribute) === true) === unknown) return [];
    return [{ key: unknownAttribute, value: unknown || null }];
  }

  function end(outcome: Outcome, reached: number): JourneyResult {
    show('ending', null, `Ended: ${outcome}`, reached);
    upsertSearchAttributes([{ key: outcomeAttribute, value: outcome }, ...doubt()]);
    log.info('journey ended', { outcome, step: reached });
    return { outcome, step: reached };
  }

  /**
   * As the same type of workflow. The step stands in the memo too, so that an audit can read it of every run without replaying any.
   * A run begins with its send, so this says so for it, at the cost of no event.
   */
  function touchAgain(next: JourneyInput): Promise<never> {
    const campaignId = listed().get(campaignIdAttribute);
    return makeContinueAsNewFunc<typeof followJourney>({
      memo: { step: next.step },
      // These are all that the next run has.
      typedSearchAttributes: [
        ...(campaignId === undefined ? [] : [{ key: campaignIdAttribute, value: campaignId }]),
        { key: doingAttribute, value: next.waitUntil === undefined ? 'sending' : 'waiting' },
        ...(unknown ? [{ key: unknownAttribute, value: true }] : []),
      ],
    })(next);
  }
}

/** What lists of journeys tell of this one. */
function listed() {
  return workflowInfo().typedSearchAttributes;
}
