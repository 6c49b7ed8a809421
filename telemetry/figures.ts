import type { Figures, Waiting } from '../db/figures';
import { OUTCOMES } from '../domain/outcomes';
import { gauge, type Metrics } from './metrics';

/** What waits in the engine's queues; `temporal/backlog.ts` reads it. */
interface QueueBacklog {
  queue: string;
  type: string;
  tasks: number;
  ageSeconds: number;
  pollers: number;
}

/** What is looked up is not looked up again within this time (ms), however often somebody asks. */
const KEPT_MS = 10_000;

/**
 * Adds what Postgres and the engine say of the whole installation. It is looked up when somebody asks for metrics, by this
 * process at most every ten seconds; every worker of an installation says the same, so of several take the maximum. What
 * can't be looked up is left out, and `recuerda_figures_up` is 0.
 */
export function addFigures(
  metrics: Metrics,
  sources: { figures: () => Promise<Figures>; backlogs: () => Promise<QueueBacklog[]> },
  clock: () => number = Date.now,
): void {
  const { registry, refreshers } = metrics;
  const of = (name: string, help: string, labels: string[] = []) => gauge(registry, name, help, labels);
  const up = of('recuerda_figures_up', 'Whether what follows could be looked up', ['source']);
  const overdue = waiting('recuerda_overdue', 'Enrollments well past their due time that nothing holds', ['stream']);
  const due = of('recuerda_due', 'Enrollments that fall due within the hour, or just did', ['stream']);
  const mails = waiting('recuerda_mails_waiting', 'Mails outside any journey that wait to go out', ['stream']);
  const unstarted = waiting('recuerda_unstarted', 'Journeys that were not started yet');
  const unsignalled = waiting('recuerda_unsignalled', 'Stops and wakes that no workflow was told of yet');
  const journal = waiting('recuerda_journal_waiting', 'Entries that do not stand in the journal yet');
  const inbox = waiting('recuerda_inbox_waiting', 'Received messages that were not dealt with yet');
  const hooks = waiting('recuerda_webhooks_waiting', 'Webhooks to be delivered');
  const review = of('recuerda_inbox_in_review', 'Received messages that wait for a decision');
  const unknown = of('recuerda_unknown_messages', 'Messages whose fate is not known', ['mail']);
  const inDelivery = of('recuerda_messages_in_delivery', 'Messages between claim and record', ['state']);
  const ended = of('recuerda_ended_last_hour', 'Enrollments that ended within the last hour', ['outcome']);
  const paused = of('recuerda_sending_paused', 'Stopped by the breaker or by hand', ['stream', 'provider', 'reason']);
  const campaigns = of('recuerda_campaigns_paused', 'Campaigns that are paused');
  const imports = of('recuerda_imports_running', 'Files of leads that are being taken in');
  const tasks = of('recuerda_queue_backlog', 'Tasks that wait in a queue of the engine', ['queue', 'type']);
  const age = of('recuerda_queue_backlog_age_seconds', 'How long the oldest has waited', ['queue', 'type']);
  const pollers = of('recuerda_queue_pollers', 'Processes that poll a queue', ['queue', 'type']);

  function waiting(name: string, help: string, labels: string[] = []) {
    const count = of(name, help, labels);
    const oldest = of(`${name}_oldest_seconds`, `${help}: how long ago the oldest was due`, labels);
    return {
      set: (waits: Waiting, at: Record<string, string> = {}) => {
        count.set(at, waits.count);
        oldest.set(at, waits.since === null ? 0 : Math.max(0, (clock() - waits.since.getTime()) / 1000));
      },
      reset: () => {
        count.reset();
        oldest.reset();
      },
    };
  }

  const ofPostgres = [overdue, mails, unstarted, unsignalled, journal, inbox, hooks, review, unknown, inDelivery];
  refreshers.push(
    atMostEvery(KEPT_MS, clock, async () => {
      const found = await sources.figures().catch(() => null);
      up.set({ source: 'postgres' }, found === null ? 0 : 1);
      for (const each of [...ofPostgres, due, ended, paused, campaigns, imports]) each.reset();
      if (found === null) return;
      for (const [stream, waits] of Object.entries(found.overdue)) overdue.set(waits, { stream });
      for (const [stream, count] of Object.entries(found.due)) due.set({ stream }, count);
      for (const [stream, waits] of Object.entries(found.mailsWaiting)) mails.set(waits, { stream });
      unstarted.set(found.unstarted);
      unsignalled.set(found.unsignalled);
      journal.set(found.journal);
      inbox.set(found.inboxNew);
      hooks.set(found.webhooksWaiting);
      review.set(found.inboxInReview);
      for (const [mail, count] of Object.entries(found.unknown)) unknown.set({ mail }, count);
      for (const [state, count] of Object.entries(found.inDelivery)) inDelivery.set({ state }, count);
      for (const outcome of OUTCOMES) ended.set({ outcome }, found.endedLastHour[outcome] ?? 0);
      for (const pause of found.sendingPauses) paused.set({ ...pause }, 1);
      campaigns.set(found.pausedCampaigns);
      imports.set(found.runningImports);
    }),
    atMostEvery(KEPT_MS, clock, async () => {
      const found = await sources.backlogs().catch(() => null);
      up.set({ source: 'temporal' }, found === null ? 0 : 1);
      for (const each of [tasks, age, pollers]) each.reset();
      for (const { queue, type, ...backlog } of found ?? []) {
        tasks.set({ queue, type }, backlog.tasks);
        age.set({ queue, type }, backlog.ageSeconds);
        pollers.set({ queue, type }, backlog.pollers);
      }
    }),
  );
}

/** Calls that come while one is under way, or soon after it, share it. */
function atMostEvery(ms: number, clock: () => number, work: () => Promise<void>): () => Promise<void> {
  let last: { at: number; done: Promise<void> } | undefined;
  return () => {
    if (last === undefined || clock() - last.at >= ms) last = { at: clock(), done: work() };
    return last.done;
  };
}
