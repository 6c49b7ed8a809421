import type { Facts, MessageFact } from '../../chaos/facts';
import type { Delivery } from '../../chaos/sink-records';
import { planDue } from '../../domain/planner';

const TIME_FACTOR = 100_000;
const BEGAN = Date.UTC(2026, 0, 5, 9);
const STEPS = 8;
const DEFINITION: Facts['definition'] = {
  cadence: { min: 'P2M', max: 'P3M' },
  sendWindow: { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '09:00', to: '18:00' },
  timeZone: 'Europe/London',
};

export function uuid(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;
}

export function messageIdOf(enrollmentId: string, step: number): string {
  return `<${enrollmentId.slice(-4)}-${step}@chaos.example>`;
}

/** Enrollments of the run, by what became of them. */
export const WHO = {
  exhausted: uuid(1),
  purchased: uuid(2),
  informed: uuid(3),
  waiting: uuid(4),
  /** Its step 2 is unknown because its worker was killed. */
  crashed: uuid(5),
  /** Paused for a while between steps 1 and 2. */
  paused: uuid(6),
  /** Its step 1 was being handed over when it was erased. */
  erased: uuid(7),
} as const;

/** A run in which every promise was kept, with something of everything. Each call makes a new one, to be corrupted. */
export function factsOfARun(): Facts {
  const facts: Facts = {
    at: BEGAN + 2 * 60 * 60_000,
    timeFactor: TIME_FACTOR,
    definition: DEFINITION,
    steps: STEPS,
    leads: Object.values(WHO).map((enrollmentId) => ({
      email: emailOf(enrollmentId),
      agrees: enrollmentId !== WHO.informed,
      unknownMailbox: false,
      timeZone: 'Europe/London',
      enrollmentId,
      leadId: `lead-${enrollmentId}`,
      enrollmentIds: [enrollmentId],
    })),
    stops: [],
    tooLate: [],
    deaths: [],
    enrollments: [],
    messages: [],
    events: [],
    deliveries: [],
    runningJourneys: [WHO.waiting],
  };
  follow(facts, WHO.exhausted, STEPS, 'exhausted');
  const bought = follow(facts, WHO.purchased, 3, 'purchased');
  facts.stops.push(stop('purchase', WHO.purchased, bought + 50, []));
  follow(facts, WHO.informed, 1, 'informed');
  follow(facts, WHO.waiting, 2, null);
  follow(facts, WHO.crashed, STEPS, 'exhausted');
  crash(facts, WHO.crashed, 2);
  follow(facts, WHO.paused, STEPS, 'exhausted');
  const nudged = deliveryOf(facts, WHO.paused, 1).ended ?? 0;
  facts.stops.push({ ...stop('pause', WHO.paused, nudged + 20, []), liftedAt: nudged + 40, ended: false });
  const erasedAt = follow(facts, WHO.erased, 2, 'erased');
  // Answered while the body of step 1 was on its way.
  facts.stops.push(stop('erasure', WHO.erased, erasedAt - 5, [messageIdOf(WHO.erased, 1)]));
  return facts;
}

function stop(kind: Facts['stops'][number]['kind'], enrollmentId: string, at: number, named: string[]) {
  return { kind, enrollmentId, at, liftedAt: null, named, ended: kind !== 'pause' };
}

function emailOf(enrollmentId: string): string {
  return `lead${enrollmentId.slice(-4)}@chaos.example`;
}

/** Sends so many steps, each when it is due. @returns when the last one was taken */
function follow(facts: Facts, enrollmentId: string, steps: number, outcome: string | null): number {
  let due = BEGAN;
  let ended = BEGAN;
  for (let step = 0; step < steps; step++) {
    const began = due + 8;
    ended = began + 2;
    const settledAt = ended + 4;
    facts.deliveries.push({
      n: facts.deliveries.length + 1,
      messageId: messageIdOf(enrollmentId, step),
      to: emailOf(enrollmentId),
      began,
      ended,
      fate: 'kept',
      fault: null,
      answered: 250,
      gone: null,
    });
    facts.messages.push(ledgerRow(enrollmentId, step, due, settledAt));
    facts.events.push({ enrollmentId, step, kind: 'message-accepted', at: settledAt });
    due = planDue({
      enrollmentId,
      step: step + 1,
      after: new Date(settledAt),
      cadence: DEFINITION.cadence,
      sendWindow: DEFINITION.sendWindow,
      timeZone: DEFINITION.timeZone,
      clock: { origin: BEGAN, factor: TIME_FACTOR },
    }).getTime();
  }
  facts.enrollments.push({
    enrollmentId,
    leadId: `lead-${enrollmentId}`,
    step: steps,
    nextDueAt: outcome === null ? facts.at + 60_000 : due,
    outcome,
    endedAt: outcome === null ? null : outcome === 'exhausted' ? due + 10 : ended + 100,
    enrolledAt: BEGAN,
    begunAs: 2 * facts.enrollments.length,
    endedAs: outcome === null ? null : 2 * facts.enrollments.length + 1,
    paused: false,
    untold: false,
    unstarted: false,
    heldFor: null,
  });
  return ended;
}

function ledgerRow(enrollmentId: string, step: number, handingOverAt: number, settledAt: number): MessageFact {
  return {
    enrollmentId,
    step,
    copy: 0,
    messageId: messageIdOf(enrollmentId, step),
    state: 'accepted',
    code: '250 2.0.0',
    claimedAt: handingOverAt,
    handingOverAt,
    settledAt,
  };
}

/** The worker dies after the mail server has taken the message and before that was written down. */
function crash(facts: Facts, enrollmentId: string, step: number): void {
  const message = messageOf(facts, enrollmentId, step);
  const delivery = deliveryOf(facts, enrollmentId, step);
  const at = (delivery.ended ?? 0) + 1;
  Object.assign(message, { state: 'unknown', code: 'crash' });
  Object.assign(delivery, { gone: at });
  facts.deaths.push({
    member: 'worker-1',
    kind: 'worker',
    at: at - 3_000,
    deadAt: at,
    startedAt: at + 1_000,
    servesAt: at + 4_000,
    byItself: false,
  });
}

export function messageOf(facts: Facts, enrollmentId: string, step: number): MessageFact {
  const found = facts.messages.find((one) => one.enrollmentId === enrollmentId && one.step === step);
  if (found === undefined) throw new Error(`no step ${step}`);
  return found;
}

export function deliveryOf(facts: Facts, enrollmentId: string, step: number): Delivery {
  const found = facts.deliveries.find(({ messageId }) => messageId === messageIdOf(enrollmentId, step));
  if (found === undefined) throw new Error(`no delivery of step ${step}`);
  return found;
}

export function enrollmentOf(facts: Facts, enrollmentId: string): Facts['enrollments'][number] {
  const found = facts.enrollments.find((one) => one.enrollmentId === enrollmentId);
  if (found === undefined) throw new Error('no such enrollment');
  return found;
}
