import { seeded, shuffled } from '../domain/seeded-random';
import type { MemberKind } from '../stack/member';
import { UNKNOWN_PREFIX } from './faults';

// What a run does, drawn from its seed before anything starts: who enrolls, who stops when, what is killed in which order.
// What the mail server does to whom is drawn from the same seed in `faults.ts`. How all of it interleaves is not.

export const STOP_KINDS = ['purchase', 'reply', 'unsubscribe', 'pause', 'erasure'] as const;
export type StopKind = (typeof STOP_KINDS)[number];

/** What a lead does once so many mails have arrived. */
interface Act {
  kind: StopKind;
  afterMails: number;
  /**
   * `days`: so many planned days after that mail. `around-due`: so many real milliseconds after (or before) the next mail
   * falls due, where stop and send meet.
   */
  when: { days: number } | { aroundDueMs: number };
  /** Of a pause: how many planned days until it is resumed. */
  resumeAfterDays: number;
}

export interface ScriptedLead {
  email: string;
  name: string;
  timeZone: string;
  /** Agreed to nudges; otherwise the information is all that may go out. */
  agrees: boolean;
  /** The mail server knows no such mailbox. */
  unknownMailbox: boolean;
  /** Sends the form twice at the same time. */
  asksTwice: boolean;
  act: Act | null;
}

export interface ScriptedKill {
  kind: MemberKind;
  /** Which of that kind, modulo how many there are. */
  which: number;
  /** Pause before it, and how long it stays down (ms). */
  gapMs: number;
  downMs: number;
}

export interface Script {
  leads: ScriptedLead[];
  kills: ScriptedKill[];
}

/** What is killed. Each kind comes once before any comes again; what carries mail comes more often. */
export const KILLED: readonly MemberKind[] = [
  'api',
  'worker',
  'frontend',
  'history',
  'matching',
  'internal-worker',
  'postgres',
];
const AGAIN: readonly MemberKind[] = ['api', 'worker', 'worker', 'frontend', 'history', 'matching', 'postgres'];

const ZONES = [
  'Europe/Madrid',
  'Europe/London',
  'America/Mexico_City',
  'America/Bogota',
  'Asia/Tokyo',
  'Atlantic/Canary',
];
const MOST_STEPS = 7;
const LONGEST_HESITATION_DAYS = 50;
const AROUND_DUE_MS = 500;

/** Shares of the leads. */
const NEVER_AGREES = 0.06;
const UNKNOWN_MAILBOX = 0.01;
const ASKS_TWICE = 0.05;
const ACTS = 0.55;

export interface ScriptOptions {
  seed: number;
  leads: number;
  kills: number;
  /** The longest pause before a kill, and the longest that something stays down (ms). */
  longestGapMs: number;
  longestDownMs: number;
}

export function writeScript({ seed, leads, kills, longestGapMs, longestDownMs }: ScriptOptions): Script {
  const random = seeded(seed);
  return {
    leads: Array.from({ length: leads }, (_, index) => scriptLead(index, random)),
    kills: killOrder(kills, random).map((kind) => ({
      kind,
      which: Math.floor(random() * 1_000),
      gapMs: Math.round(longestGapMs * (0.2 + 0.8 * random())),
      downMs: Math.round(longestDownMs * random()),
    })),
  };
}

function scriptLead(index: number, random: () => number): ScriptedLead {
  const number = String(index + 1).padStart(5, '0');
  const chance = random();
  const act: Act = {
    kind: STOP_KINDS[index % STOP_KINDS.length] ?? 'purchase',
    afterMails: 1 + Math.floor(random() * MOST_STEPS),
    when:
      random() < 0.5
        ? { aroundDueMs: Math.round((2 * random() - 1) * AROUND_DUE_MS) }
        : { days: random() * LONGEST_HESITATION_DAYS },
    resumeAfterDays: 5 + random() * 90,
  };
  const agrees = random() >= NEVER_AGREES;
  const unknownMailbox = random() < UNKNOWN_MAILBOX;
  return {
    email: `${unknownMailbox ? UNKNOWN_PREFIX : 'lead'}${number}@chaos.example`,
    name: `Lead ${number}`,
    timeZone: ZONES[Math.floor(random() * ZONES.length)] ?? 'UTC',
    agrees,
    unknownMailbox,
    asksTwice: random() < ASKS_TWICE,
    act: chance < ACTS && agrees ? act : null,
  };
}

function killOrder(count: number, random: () => number): MemberKind[] {
  const order = shuffled(KILLED, random);
  while (order.length < count) order.push(AGAIN[Math.floor(random() * AGAIN.length)] ?? 'worker');
  return order.slice(0, count);
}
