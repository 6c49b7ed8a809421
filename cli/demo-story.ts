import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome } from '../domain/outcomes';
import type { DemoPerson, Fate } from './demo-people';
import type { StackInfo } from './home';
import { callApi } from './own-api';

const DAY_MS = 24 * 60 * 60 * 1000;
const LOOK_EVERY_MS = 400;
/** A pause between two enrollments, so that they begin on different days. */
const ENROLL_EVERY_MS = 150;
const PAGE = 100;

/** What the API tells of an enrollment; the parts that the story is made of. */
interface Enrollment {
  enrollmentId: string;
  outcome: Outcome | null;
  endedAt: string | null;
  messages: { step: number; state: string; at: string }[];
}

interface Character extends DemoPerson {
  enrollmentId: string;
  told: number;
  ended: Outcome | null;
  /** When what they do was answered by the API, ms. */
  stoppedAt: number | null;
  acts: boolean;
}

export interface StoryOptions {
  stack: StackInfo;
  people: readonly DemoPerson[];
  /** Campaign of each language. */
  campaigns: Readonly<Record<DemoPerson['locale'], string>>;
  /** Planned time per real time. */
  timeFactor: number;
  say: (line: string) => void;
  signal: AbortSignal;
}

/** How a story went. */
export interface Ending {
  days: number;
  mails: number;
  /** Mails that were handed over after the API had answered to what the lead did; none, if promises are kept. */
  mailsAfterStop: number;
  outcomes: Map<string, Outcome>;
}

/**
 * Enrolls the people over HTTP and tells what happens to them, line by line, until every journey has ended. Those who buy,
 * reply or unsubscribe do it as in life: through the API, and through the link in the mail that they got.
 *
 * @throws when `signal` aborts
 */
export async function tellStory(options: StoryOptions): Promise<Ending> {
  const { stack, people, campaigns, timeFactor, say, signal } = options;
  const beganAt = Date.now();
  const dayAt = (at: number) => Math.max(0, Math.floor(((at - beganAt) * timeFactor) / DAY_MS));
  /** What was not told yet, with when it happened: it waits for a look that has seen everything up to then. */
  let untold: [at: number, line: string][] = [];
  const tellUntil = (until: number) => {
    const due = untold.filter(([at]) => at <= until).sort((a, b) => a[0] - b[0]);
    untold = untold.filter(([at]) => at > until);
    for (const [at, line] of due) say(`day ${String(dayAt(at)).padStart(3)}  ${line}`);
  };
  const cast: Character[] = [];
  const underWay = new Set<Promise<void>>();
  const faults: unknown[] = [];

  const enrolling = (async () => {
    for (const person of people) {
      const enrollmentId = await enroll(stack, campaigns[person.locale], person, signal);
      cast.push({ ...person, enrollmentId, told: 0, ended: null, stoppedAt: null, acts: false });
      await sleep(ENROLL_EVERY_MS, undefined, { signal });
    }
  })();
  enrolling.catch((error) => faults.push(error));

  for (;;) {
    await sleep(LOOK_EVERY_MS, undefined, { signal });
    if (faults.length > 0) throw faults[0];
    const lookedAt = Date.now();
    const seen = await enrollmentsOf(stack, Object.values(campaigns), signal);
    for (const character of cast) {
      const enrollment = seen.get(character.enrollmentId);
      if (enrollment === undefined) continue;
      untold.push(...news(character, enrollment));
      const { fate } = character;
      const hasRead = 'afterStep' in fate && enrollment.messages.some((message) => isRead(message, fate.afterStep));
      if (!('afterStep' in fate) || !hasRead || character.acts) continue;
      character.acts = true;
      const acting = (async () => {
        await sleep((fate.afterDays * DAY_MS) / timeFactor, undefined, { signal });
        untold.push([Date.now(), `${character.name} ${fate.does}`]);
        await act(options, character, fate.does);
        character.stoppedAt = Date.now();
      })()
        .catch((error) => {
          faults.push(error);
        })
        .finally(() => underWay.delete(acting));
      underWay.add(acting);
    }
    const over = cast.length === people.length && cast.every((character) => character.ended !== null);
    tellUntil(over ? Number.POSITIVE_INFINITY : lookedAt);
    if (over && underWay.size === 0) return ending(cast, seen, dayAt(Date.now()));
  }
}

function isRead(message: Enrollment['messages'][number], step: number): boolean {
  return message.step === step && message.state === 'accepted';
}

async function enroll(stack: StackInfo, campaignId: string, person: DemoPerson, signal: AbortSignal): Promise<string> {
  const { name, email, locale } = person;
  const consent = {
    purpose: 'nudges',
    text:
      locale === 'es'
        ? 'Sí, pueden volver a escribirme sobre este producto.'
        : 'Yes, you may write to me about this product again.',
    capturedAt: new Date().toISOString(),
    source: 'demo',
  };
  const body = { lead: { name, email, locale }, ...(person.fate.does === 'never-agreed' ? {} : { consent }) };
  const path = `/v1/campaigns/${campaignId}/enrollments`;
  return (await callApi<{ enrollmentId: string }>(stack, 'POST', path, body, signal)).enrollmentId;
}

async function enrollmentsOf(
  stack: StackInfo,
  campaignIds: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, Enrollment>> {
  const pages = await Promise.all(
    campaignIds.map((id) =>
      callApi<{ items: Enrollment[] }>(
        stack,
        'GET',
        `/v1/campaigns/${id}/enrollments?limit=${PAGE}`,
        undefined,
        signal,
      ),
    ),
  );
  return new Map(pages.flatMap(({ items }) => items.map((enrollment) => [enrollment.enrollmentId, enrollment])));
}

const ENDINGS: Partial<Record<Outcome, string>> = {
  informed: 'had agreed to no more than the information, and gets no more',
  purchased: 'has bought, and gets no more',
  replied: 'has replied, and gets no more',
  unsubscribed: 'has unsubscribed, and is never written to again',
  exhausted: 'never answered; after all mails and one more wait, the journey ends',
};

/** What has happened since the last look, with when. */
function news(character: Character, { messages, outcome, endedAt }: Enrollment): [number, string][] {
  const lines: [number, string][] = [];
  const handed = messages.filter(({ state }) => state === 'accepted');
  for (const { step, at } of handed.slice(character.told)) {
    const mail = step === 0 ? 'the information' : `nudge ${step}`;
    lines.push([Date.parse(at), `${mail} to ${character.name} (${character.locale})`]);
  }
  character.told = handed.length;
  if (outcome !== null && character.ended === null) {
    character.ended = outcome;
    const at = endedAt === null ? Date.now() : Date.parse(endedAt);
    lines.push([at, `${character.name} ${ENDINGS[outcome] ?? outcome}`]);
  }
  return lines;
}

async function act({ stack, signal }: StoryOptions, person: Character, does: Fate['does']): Promise<void> {
  const { email } = person;
  if (does === 'buys') {
    const orderId = `demo-${person.enrollmentId.slice(0, 8)}`;
    await callApi(stack, 'POST', '/v1/purchases', { email, orderId, amount: '349.00', currency: 'EUR' }, signal);
  } else if (does === 'replies') {
    await callApi(stack, 'POST', '/v1/replies', { email }, signal);
  } else if (does === 'unsubscribes') {
    await unsubscribe(await unsubscribeLink(stack, email, signal), signal);
  }
}

/** What a mail program does when its reader clicks on "unsubscribe" (RFC 8058). */
async function unsubscribe(link: string, signal: AbortSignal): Promise<void> {
  const response = await fetch(link, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: 'List-Unsubscribe=One-Click',
    signal,
  });
  if (!response.ok) throw new Error(`The unsubscribe link answered ${response.status}`);
}

/** The List-Unsubscribe link of the newest mail that a person got. */
async function unsubscribeLink({ mailboxUrl }: StackInfo, email: string, signal: AbortSignal): Promise<string> {
  const mails = (await (await fetch(`${mailboxUrl}/email`, { signal })).json()) as {
    to?: { address: string }[];
    headers: Record<string, string>;
  }[];
  const mail = mails.findLast(({ to }) => to?.some(({ address }) => address === email));
  const link = /<(https?:[^>]+)>/.exec(mail?.headers['list-unsubscribe'] ?? '')?.[1];
  if (link === undefined) throw new Error('The mailbox holds no mail with a List-Unsubscribe link for this lead');
  return link;
}

function ending(cast: readonly Character[], seen: ReadonlyMap<string, Enrollment>, days: number): Ending {
  let mails = 0;
  let mailsAfterStop = 0;
  for (const { enrollmentId, stoppedAt } of cast) {
    for (const { state, at } of seen.get(enrollmentId)?.messages ?? []) {
      if (state !== 'accepted') continue;
      mails += 1;
      if (stoppedAt !== null && Date.parse(at) > stoppedAt) mailsAfterStop += 1;
    }
  }
  const outcomes = new Map(cast.flatMap(({ email, ended }) => (ended === null ? [] : [[email, ended] as const])));
  return { days, mails, mailsAfterStop, outcomes };
}
