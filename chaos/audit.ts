import { OUTCOMES } from '../domain/outcomes';
import { planDue } from '../domain/planner';
import {
  type AcknowledgedStop,
  type Death,
  type EnrolledLead,
  type EnrollmentFact,
  type Facts,
  type MessageFact,
  OUTCOME_OF,
} from './facts';
import type { Delivery } from './sink-records';

/** One promise, looked at in everything that happened. */
export interface Finding {
  /** As in the table of promises. */
  promise: string;
  /** What must hold, in words. */
  says: string;
  /** Each breach in one line, by ids. None: it held. */
  breaches: string[];
}

/** A message of which nobody can say whether it arrived, and why. */
export interface ExplainedUnknown {
  messageId: string;
  step: number;
  code: string | null;
  /** What made it; null: nothing that is known of. */
  because: string | null;
  /** Whether the mail server had it. */
  serverHad: boolean;
}

export interface Audit {
  findings: Finding[];
  unknowns: ExplainedUnknown[];
  counts: {
    enrollments: number;
    outcomes: Record<string, number>;
    messages: Record<string, number>;
    kept: number;
    stops: Record<string, number>;
    named: number;
  };
}

/** How long after it was due an open enrollment may still not have moved (ms) before it counts as stuck. */
const LATE_MS = 30_000;
/** An attempt that is not heard of for 10 s is given up; the engine may need as long again to serve after it came back. */
const UNHEARD_MS = 20_000;
/** A mail past the gate, whose attempt died after a stop, is entered as unknown by the reconciler after 6 minutes (ms). */
const LEFT_BEHIND_MS = 7 * 60_000;
/** A connection ends within this time (ms) after its process was killed. */
const CUT_WITHIN_MS = 1_500;

/** Compares what the mail server was given with the ledger, the plan and the answers. Pure. */
export function audit(facts: Facts): Audit {
  const known = indexOf(facts);
  const unknowns = facts.messages
    .filter((message) => message.state === 'unknown' || isLeftBehind(message, known, facts))
    .map((message) => explain(message, known, facts));
  return {
    findings: [
      {
        promise: 'P1',
        says: 'once enrolled: one open enrollment and one information mail in it for each lead',
        breaches: enrolledOnce(facts, known),
      },
      { promise: 'P4', says: 'lost: 0', breaches: lost(facts, known) },
      { promise: 'P3', says: 'doubled: 0', breaches: doubled(facts) },
      {
        promise: 'P2',
        says: 'handed over after an acknowledged stop and not named: 0',
        breaches: afterStop(facts, known),
      },
      {
        promise: 'P3',
        says: 'every unknown is explained by a kill or a fault',
        breaches: unknowns
          .filter(({ because }) => because === null)
          .map(({ messageId, step, code }) => `${messageId} (step ${step}, ${code}) has no cause`),
      },
      {
        promise: 'P12',
        says: 'every enrollment has a typed outcome, or a due time to come',
        breaches: typed(facts, known),
      },
      { promise: 'P12', says: 'nothing is stuck', breaches: stuck(facts, known) },
      { promise: 'P7', says: 'no nudge without consent', breaches: withoutConsent(facts, known) },
      { promise: 'P10', says: 'steps go out in their order', breaches: outOfOrder(facts, known) },
      { promise: 'P10', says: 'no mail goes out before it is due', breaches: early(facts, known) },
    ],
    unknowns,
    counts: {
      enrollments: facts.enrollments.length,
      outcomes: countBy(facts.enrollments, ({ outcome }) => outcome ?? 'open'),
      messages: countBy(facts.messages, ({ state }) => state),
      kept: facts.deliveries.filter(({ fate }) => fate === 'kept').length,
      stops: countBy(facts.stops, ({ kind }) => kind),
      named: facts.stops.reduce((sum, { named }) => sum + named.length, 0),
    },
  };
}

/** Past the gate, its enrollment ended, and the reconciler's time has not come yet: it will be unknown, and is judged as such. */
function isLeftBehind({ state, enrollmentId, handingOverAt }: MessageFact, known: Index, { at }: Facts): boolean {
  const ended = (known.enrollments.get(enrollmentId)?.outcome ?? null) !== null;
  return state === 'handing_over' && ended && at - (handingOverAt ?? 0) < LEFT_BEHIND_MS;
}

interface Index {
  leads: Map<string, EnrolledLead>;
  enrollments: Map<string, EnrollmentFact>;
  /** Of each enrollment, by step; copies left out. */
  steps: Map<string, Map<number, MessageFact>>;
  messages: Map<string, MessageFact>;
  /** What the mail server got whole. */
  whole: Map<string, Delivery[]>;
}

function indexOf(facts: Facts): Index {
  const steps = new Map<string, Map<number, MessageFact>>();
  for (const message of facts.messages) {
    if (message.copy !== 0) continue;
    const ofEnrollment = steps.get(message.enrollmentId) ?? new Map<number, MessageFact>();
    steps.set(message.enrollmentId, ofEnrollment.set(message.step, message));
  }
  const whole = new Map<string, Delivery[]>();
  for (const delivery of facts.deliveries) {
    if (delivery.messageId === null) continue;
    whole.set(delivery.messageId, [...(whole.get(delivery.messageId) ?? []), delivery]);
  }
  return {
    leads: new Map(facts.leads.map((lead) => [lead.enrollmentId, lead])),
    enrollments: new Map(facts.enrollments.map((row) => [row.enrollmentId, row])),
    steps,
    messages: new Map(facts.messages.map((row) => [row.messageId, row])),
    whole,
  };
}

function enrolledOnce({ leads, enrollments, messages }: Facts, known: Index): string[] {
  const breaches: string[] = [];
  for (const id of new Set(leads.flatMap(({ enrollmentIds }) => enrollmentIds))) {
    if (!known.enrollments.has(id)) breaches.push(`enrollment ${id} was answered with 2xx and is gone`);
  }
  // Who asks again after the end begins anew; a request that had to be repeated may come that late.
  const before = new Map<string, EnrollmentFact>();
  for (const later of enrollments.toSorted((a, b) => (a.begunAs ?? 0) - (b.begunAs ?? 0))) {
    const { leadId, enrollmentId, begunAs } = later;
    const earlier = before.get(leadId);
    const isBeside = earlier?.endedAt === null || (begunAs !== null && begunAs < (earlier?.endedAs ?? 0));
    if (earlier !== undefined && isBeside)
      breaches.push(`lead ${leadId} has ${enrollmentId} beside ${earlier.enrollmentId}`);
    before.set(leadId, later);
  }
  // Who asks again is sent the information again after a day only, and no run takes that long.
  for (const { enrollmentId, copy } of messages) {
    if (copy > 0) breaches.push(`${enrollmentId} has the information in more than one copy`);
  }
  return breaches;
}

/** Accepted by us and not at the server, at the server and not in the ledger, or left out of the plan. */
function lost(facts: Facts, known: Index): string[] {
  const { enrollments, messages, steps, deliveries } = facts;
  const breaches: string[] = [];
  for (const { messageId, state, enrollmentId, step } of messages) {
    const kept = known.whole.get(messageId)?.some(({ fate, answered }) => fate === 'kept' && answered === 250);
    if (state === 'accepted' && kept !== true)
      breaches.push(`step ${step} of ${enrollmentId} is accepted, and the mail server never took it`);
  }
  for (const { messageId, fate } of deliveries) {
    if (fate !== 'kept' || messageId === null) continue;
    const message = known.messages.get(messageId);
    if (message === undefined) breaches.push(`${messageId} was taken by the mail server and is not in the ledger`);
    else if (message.state !== 'accepted' && message.state !== 'unknown' && !isLeftBehind(message, known, facts))
      breaches.push(`${messageId} was taken by the mail server, and the ledger says ${message.state}`);
  }
  for (const { enrollmentId, step: reached, outcome } of enrollments) {
    const rows = known.steps.get(enrollmentId);
    const behind = outcome === 'exhausted' ? Math.max(reached, steps) : Math.min(reached, steps);
    for (let step = 0; step < behind; step++) {
      const row = rows?.get(step);
      if (row === undefined || !isDealtWith(row, known))
        breaches.push(`step ${step} of ${enrollmentId} lies behind and is ${row?.state ?? 'not in the ledger'}`);
    }
  }
  return breaches;
}

/** Whether nothing more is to be expected of a step that lies behind. Nobody defers for as long as a run takes. */
function isDealtWith({ state, messageId, enrollmentId }: MessageFact, known: Index): boolean {
  if (state === 'accepted' || state === 'unknown') return true;
  if (state !== 'rejected') return false;
  if (known.leads.get(enrollmentId)?.unknownMailbox === true) return true;
  return (
    known.whole.get(messageId)?.some(({ fate, answered }) => fate === 'refused' && (answered ?? 0) >= 500) === true
  );
}

/** Handed over again after it was, or may have been, taken. */
function doubled({ deliveries }: Facts): string[] {
  const given = new Map<string, number>();
  for (const { messageId, fate } of deliveries) {
    // A refusal is an answer: nothing was taken, and the next try is no double.
    if (messageId === null || fate === 'refused') continue;
    given.set(messageId, (given.get(messageId) ?? 0) + 1);
  }
  return [...given].flatMap(([messageId, times]) => (times > 1 ? [`${messageId} was handed over ${times} times`] : []));
}

function afterStop({ stops, deliveries, leads }: Facts, known: Index): string[] {
  const stopsOf = new Map<string, AcknowledgedStop[]>();
  for (const stop of stops) stopsOf.set(stop.enrollmentId, [...(stopsOf.get(stop.enrollmentId) ?? []), stop]);
  const enrollmentOf = new Map(leads.map(({ email, enrollmentId }) => [email, enrollmentId]));
  const breaches: string[] = [];
  for (const { messageId, began, ended, to } of deliveries) {
    const message = known.messages.get(messageId ?? '');
    const enrollmentId = message?.enrollmentId ?? enrollmentOf.get(to) ?? '';
    // What was cut off has no Message-ID and no end; it counts from its first byte.
    const at = ended ?? began;
    if (at === null) continue;
    for (const { kind, named, ...stop } of stopsOf.get(enrollmentId) ?? []) {
      if (at <= stop.at || (stop.liftedAt !== null && (began ?? at) >= stop.liftedAt)) continue;
      const after = `${at - stop.at} ms after the answer to a ${kind}`;
      if (messageId === null) {
        if (named.length === 0) breaches.push(`${enrollmentId} was being sent something ${after}`);
      } else if (!named.includes(messageId)) breaches.push(`${messageId} was handed over ${after}`);
    }
  }
  return breaches;
}

function typed({ enrollments, stops, tooLate, at }: Facts, known: Index): string[] {
  const breaches: string[] = [];
  for (const { enrollmentId, outcome, nextDueAt, paused, heldFor } of enrollments) {
    const lead = known.leads.get(enrollmentId);
    if (outcome === null) {
      if (!paused && heldFor === null && nextDueAt < at - LATE_MS)
        breaches.push(`${enrollmentId} is open and ${Math.round((at - nextDueAt) / 1000)} s overdue`);
    } else if (!OUTCOMES.some((one) => one === outcome)) breaches.push(`${enrollmentId} ended as ${outcome}`);
    else if (!isExplained(outcome, lead, known.steps.get(enrollmentId), stops, enrollmentId))
      breaches.push(`${enrollmentId} ended as ${outcome}, and nothing that happened ends one so`);
  }
  for (const { enrollmentId, kind, at: saidAt } of tooLate) {
    const endedAt = known.enrollments.get(enrollmentId)?.endedAt ?? null;
    if (endedAt === null || endedAt > saidAt)
      breaches.push(`${enrollmentId} had not ended when the answer to a ${kind} said so`);
  }
  for (const { enrollmentId, kind, ended } of stops) {
    const outcome = known.enrollments.get(enrollmentId)?.outcome ?? null;
    if (OUTCOME_OF[kind] === null) continue;
    if (outcome === null) breaches.push(`${enrollmentId} is open after the answer to a ${kind}`);
    else if (ended && outcome !== OUTCOME_OF[kind])
      breaches.push(`${enrollmentId} ended as ${outcome}, and the answer said ${OUTCOME_OF[kind]}`);
  }
  return breaches;
}

/** Whether what is known of a lead can end an enrollment so. */
function isExplained(
  outcome: string,
  lead: EnrolledLead | undefined,
  rows: Map<number, MessageFact> | undefined,
  stops: readonly AcknowledgedStop[],
  enrollmentId: string,
): boolean {
  switch (outcome) {
    case 'exhausted':
      return lead === undefined || (lead.agrees && !lead.unknownMailbox);
    case 'informed':
      return lead === undefined || (!lead.agrees && !lead.unknownMailbox);
    case 'bounced':
      // Without consent to more, information that was refused ends it as well.
      return lead?.unknownMailbox === true || (lead?.agrees === false && rows?.get(0)?.state === 'rejected');
    case 'purchased':
    case 'replied':
    case 'unsubscribed':
    case 'erased':
      return stops.some((stop) => stop.enrollmentId === enrollmentId && OUTCOME_OF[stop.kind] === outcome);
    default:
      return false;
  }
}

function stuck(facts: Facts, known: Index): string[] {
  const { enrollments, messages, runningJourneys } = facts;
  const running = new Set(runningJourneys);
  return [
    ...messages
      .filter(({ state }) => state === 'claimed' || state === 'handing_over')
      .filter((message) => !isLeftBehind(message, known, facts))
      .map(({ enrollmentId, step, state }) => `step ${step} of ${enrollmentId} is still ${state}`),
    ...enrollments.flatMap(({ enrollmentId, outcome, untold, unstarted }) => {
      const open = outcome === null;
      return [
        ...(untold ? [`the workflow of ${enrollmentId} was not told of a change`] : []),
        ...(open && unstarted ? [`the workflow of ${enrollmentId} was not started`] : []),
        ...(open && !running.has(enrollmentId) ? [`${enrollmentId} is open, and has no workflow`] : []),
        ...(!open && running.has(enrollmentId)
          ? [`${enrollmentId} ended as ${outcome}, and its workflow goes on`]
          : []),
      ];
    }),
  ];
}

function withoutConsent({ deliveries }: Facts, known: Index): string[] {
  return deliveries.flatMap(({ messageId }) => {
    const message = known.messages.get(messageId ?? '');
    if (message === undefined || message.step === 0) return [];
    const lead = known.leads.get(message.enrollmentId);
    return lead?.agrees === true
      ? []
      : [`step ${message.step} went to ${message.enrollmentId}, who had agreed to none`];
  });
}

function outOfOrder({ deliveries }: Facts, known: Index): string[] {
  const breaches: string[] = [];
  const highest = new Map<string, number>();
  for (const { messageId, to } of [...deliveries].sort((a, b) => (a.began ?? 0) - (b.began ?? 0))) {
    const message = known.messages.get(messageId ?? '');
    if (message === undefined || message.copy !== 0) continue;
    const { enrollmentId, step } = message;
    const before = highest.get(enrollmentId) ?? 0;
    if (step < before) breaches.push(`step ${step} went to ${enrollmentId} after step ${before}`);
    highest.set(enrollmentId, Math.max(before, step));
    const lead = known.leads.get(enrollmentId);
    if (lead !== undefined && lead.email !== to) breaches.push(`step ${step} of ${enrollmentId} went to somebody else`);
  }
  return breaches;
}

/** The plan, made again from when the mail before was settled. */
function early({ events, deliveries, enrollments, definition, timeFactor, steps }: Facts, known: Index): string[] {
  const movedAt = new Map<string, number>();
  for (const { enrollmentId, step, at, kind } of events) {
    if (kind === 'message-deferred') continue;
    const key = `${enrollmentId}/${step}`;
    movedAt.set(key, Math.min(movedAt.get(key) ?? at, at));
  }
  const dueOf = (enrollmentId: string, step: number): number | null => {
    const row = known.enrollments.get(enrollmentId);
    // The timeline of an erased lead is gone; the ledger is not.
    const after =
      movedAt.get(`${enrollmentId}/${step - 1}`) ?? known.steps.get(enrollmentId)?.get(step - 1)?.settledAt ?? null;
    if (row === undefined || after === null) return null;
    return planDue({
      enrollmentId,
      step,
      after: new Date(after),
      cadence: definition.cadence,
      sendWindow: definition.sendWindow,
      timeZone: known.leads.get(enrollmentId)?.timeZone ?? definition.timeZone,
      clock: { origin: row.enrolledAt, factor: timeFactor },
    }).getTime();
  };
  const breaches: string[] = [];
  for (const { messageId, began } of deliveries) {
    const message = known.messages.get(messageId ?? '');
    if (message === undefined || began === null || message.step === 0) continue;
    const due = dueOf(message.enrollmentId, message.step);
    if (due === null) breaches.push(`step ${message.step} of ${message.enrollmentId} follows none`);
    else if (began < due)
      breaches.push(`step ${message.step} of ${message.enrollmentId} went out ${due - began} ms early`);
  }
  for (const { enrollmentId, outcome, endedAt } of enrollments) {
    if (outcome !== 'exhausted' || endedAt === null) continue;
    const due = dueOf(enrollmentId, steps);
    if (due !== null && endedAt < due) breaches.push(`${enrollmentId} was given up ${due - endedAt} ms early`);
  }
  return breaches;
}

/** Finds the kill or the fault that left a message unknown. */
function explain(message: MessageFact, known: Index, { deliveries, deaths, at }: Facts): ExplainedUnknown {
  const { messageId, step, code, enrollmentId } = message;
  const email = known.leads.get(enrollmentId)?.email;
  const from = message.handingOverAt ?? message.claimedAt;
  const until = message.settledAt ?? at;
  const whole = known.whole.get(messageId)?.find(({ fate }) => fate !== 'refused');
  // A body that was cut off has no Message-ID; its recipient had one mail under way at that time.
  const cut = deliveries.find(
    (one) =>
      one.fate === 'cut' && one.to === email && (one.gone ?? 0) >= from && (one.gone ?? 0) <= until + CUT_WITHIN_MS,
  );
  const delivery = whole ?? cut;
  const explained = { messageId, step, code, serverHad: whole?.fate === 'kept' };
  const byFault = delivery?.fault?.startsWith('message-') || delivery?.fault === 'body-drop' ? delivery.fault : null;
  // Written by a worker that lived, about its own connection to the mail server: no kill makes these.
  if (code === 'connection-lost' || code === 'deadline')
    return { ...explained, because: byFault !== null && byFault !== 'message-slow' ? `mail server: ${byFault}` : null };
  const death = deathBehind(deaths, delivery?.gone ?? null, from, until);
  return { ...explained, because: death };
}

function deathBehind(deaths: readonly Death[], gone: number | null, from: number, until: number): string | null {
  const named = ({ kind, byItself }: Death) => `${byItself ? 'end' : 'kill'}: ${kind}`;
  // The connection ended when its worker did. One that ended by itself was found up to half a second later.
  const worker = deaths.find(
    ({ kind, at, deadAt }) =>
      kind === 'worker' &&
      deadAt >= from &&
      (gone === null ? at <= until : gone >= at - CUT_WITHIN_MS && gone <= deadAt + CUT_WITHIN_MS),
  );
  if (worker !== undefined) return named(worker);
  // Its worker lived and could not say so: heartbeats did not get through, and another attempt took it for dead.
  const engine = deaths.find(
    ({ kind, at, servesAt }) =>
      ENGINE.has(kind) && at <= until && (servesAt ?? Number.POSITIVE_INFINITY) >= from - UNHEARD_MS,
  );
  return engine === undefined ? null : named(engine);
}

/** Without any of these, no heartbeat gets through. */
const ENGINE: ReadonlySet<string> = new Set(['frontend', 'history', 'matching', 'postgres']);

export function countBy<T>(items: readonly T[], key: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[key(item)] = (counts[key(item)] ?? 0) + 1;
  return counts;
}
