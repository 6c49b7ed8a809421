import { setTimeout as sleep } from 'node:timers/promises';
import { type Apis, call } from './client';
import type { AcknowledgedStop, EnrolledLead } from './facts';
import type { ScriptedLead, StopKind } from './script';
import { stopLead } from './stop';

const DAY_MS = 24 * 60 * 60 * 1000;

export interface WorkloadOptions {
  apis: Apis;
  campaignId: string;
  timeFactor: number;
  /** Over how long the leads come in (ms). */
  spreadMs: number;
  signal: AbortSignal;
}

/** What the outside world does, and what it was answered. */
export interface Workload {
  leads: EnrolledLead[];
  stops: AcknowledgedStop[];
  /** What leads meant to do and could not: the answer said that their journey had ended before. */
  tooLate: { enrollmentId: string; kind: StopKind; at: number }[];
  /** A mail has arrived at this address. */
  onMail(to: string): void;
  /** Resolves when everybody is enrolled. */
  enrolled: Promise<void>;
  /**
   * Resolves when nothing that leads do is under way any more; a lead who still waits for a mail does nothing.
   *
   * @returns whether anything was
   */
  idle(): Promise<boolean>;
}

interface Actor extends ScriptedLead {
  mails: number;
  acted: boolean;
  enrolledAs: EnrolledLead | null;
}

/** Lets the leads of the script come in and do what it says, over HTTP and with retries, whatever is being killed. */
export function runWorkload(script: readonly ScriptedLead[], options: WorkloadOptions): Workload {
  const { apis, timeFactor, spreadMs, signal } = options;
  const cast = new Map<string, Actor>(
    script.map((lead) => [lead.email, { ...lead, mails: 0, acted: false, enrolledAs: null }]),
  );
  const underWay = new Set<Promise<void>>();
  const faults: unknown[] = [];
  const workload: Workload = {
    leads: [],
    stops: [],
    tooLate: [],
    onMail(to) {
      const actor = cast.get(to);
      if (actor === undefined) return;
      actor.mails += 1;
      lookAt(actor);
    },
    enrolled: Promise.resolve(),
    async idle() {
      const waits = underWay.size > 0;
      while (underWay.size > 0 && faults.length === 0) await Promise.race([...underWay]);
      if (faults.length > 0) throw faults[0];
      return waits;
    },
  };

  /** The mail may be faster than the answer to the enrollment. */
  function lookAt(actor: Actor): void {
    const { act, enrolledAs } = actor;
    if (act === null || enrolledAs === null || actor.acted || actor.mails < act.afterMails) return;
    actor.acted = true;
    const acting = perform(actor, enrolledAs)
      .catch((error: unknown) => {
        if (!signal.aborted) faults.push(error);
      })
      .finally(() => underWay.delete(acting));
    underWay.add(acting);
  }

  async function perform({ act }: Actor, lead: EnrolledLead): Promise<void> {
    if (act === null) return;
    if ('days' in act.when) await sleep((act.when.days * DAY_MS) / timeFactor, undefined, { signal });
    else await sleep((await untilDue(lead)) + act.when.aroundDueMs, undefined, { signal });
    const stopped = await stopLead(apis, act.kind, lead, { signal });
    if (stopped === null) {
      workload.tooLate.push({ enrollmentId: lead.enrollmentId, kind: act.kind, at: Date.now() });
      return;
    }
    workload.stops.push(stopped.stop);
    if (act.kind !== 'pause') return;
    await sleep((act.resumeAfterDays * DAY_MS) / timeFactor, undefined, { signal });
    // From the first try on, whether it was answered or not, it may have gone on.
    stopped.stop.liftedAt = Date.now();
    await call(apis, `/v1/enrollments/${lead.enrollmentId}/resume`, { method: 'POST', signal });
  }

  /** How long until the next mail falls due (ms). */
  async function untilDue({ enrollmentId }: EnrolledLead): Promise<number> {
    const { body } = await call<{ nextDueAt: string | null }>(apis, `/v1/enrollments/${enrollmentId}`, { signal });
    return body.nextDueAt === null ? 0 : Date.parse(body.nextDueAt) - Date.now();
  }

  async function enroll(actor: Actor): Promise<void> {
    const answers = await Promise.all(Array.from({ length: actor.asksTwice ? 2 : 1 }, () => ask(actor, options)));
    const [first] = answers;
    if (first === undefined) return;
    actor.enrolledAs = {
      email: actor.email,
      agrees: actor.agrees,
      unknownMailbox: actor.unknownMailbox,
      timeZone: actor.timeZone,
      ...first,
      enrollmentIds: answers.map(({ enrollmentId }) => enrollmentId),
    };
    workload.leads.push(actor.enrolledAs);
    lookAt(actor);
  }

  const beganAt = Date.now();
  workload.enrolled = Promise.all(
    [...cast.values()].map(async (actor, index) => {
      await sleep(beganAt + (spreadMs * index) / cast.size - Date.now(), undefined, { signal });
      await enroll(actor);
    }),
  ).then(() => {});
  return workload;
}

/** Hands over a lead. @throws Error when the API refuses it */
export async function ask(
  { email, name, timeZone, agrees }: Pick<ScriptedLead, 'email' | 'name' | 'timeZone' | 'agrees'>,
  { apis, campaignId, signal }: Pick<WorkloadOptions, 'apis' | 'campaignId' | 'signal'>,
): Promise<{ enrollmentId: string; leadId: string }> {
  const consent = {
    purpose: 'nudges',
    text: 'Yes, you may write to me about this product again.',
    capturedAt: new Date().toISOString(),
    source: 'chaos',
  };
  const body = { lead: { email, name, timeZone }, ...(agrees ? { consent } : {}) };
  const path = `/v1/campaigns/${campaignId}/enrollments`;
  const answer = await call<{ enrollmentId: string; leadId: string }>(apis, path, { method: 'POST', body, signal });
  if (!answer.ok) throw new Error(`an enrollment was refused: ${answer.status} ${JSON.stringify(answer.body)}`);
  return { enrollmentId: answer.body.enrollmentId, leadId: answer.body.leadId };
}
