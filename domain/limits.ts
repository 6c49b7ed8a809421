import { STREAMS, type Stream } from './streams';
import { addUtcDays, type WarmUp, warmUpCap } from './warm-up';

/** What one receiving provider may be sent; null: what every provider may. */
export interface ProviderLimits {
  perSecond: number | null;
  perDay: number | null;
}

/** What one stream may send; null: no limit. Days are UTC. */
export interface StreamLimits {
  perSecond: number | null;
  /** To every provider that is not named in `providers`. */
  perProviderPerSecond: number | null;
  perDay: number | null;
  perProviderPerDay: number | null;
  /** By name of provider, as `providerOf` gives it. */
  providers: Record<string, ProviderLimits>;
  warmUp: WarmUp | null;
}

export type SendingLimits = Record<Stream, StreamLimits>;

/** Stands for a whole stream where a provider could be named. */
export const WHOLE_STREAM = '*';

export const NO_LIMITS: Readonly<StreamLimits> = {
  perSecond: null,
  perProviderPerSecond: null,
  perDay: null,
  perProviderPerDay: null,
  providers: {},
  warmUp: null,
};

/** All streams without a limit. */
export function unlimited(): SendingLimits {
  return Object.fromEntries(STREAMS.map((stream) => [stream, { ...NO_LIMITS, providers: {} }])) as SendingLimits;
}

/** The engine takes no smaller weight: the slowest provider can be a thousand times slower than the others. */
const LEAST_WEIGHT = 0.001;
/** Messages per second to one provider that no mail server of ours reaches: as good as no limit. */
const PRACTICALLY_UNLIMITED = 1_000;

/** The engine's settings for the queue of a stream: a limit on it all, and one on each fairness key of weight 1. */
export function queueLimits(limits: StreamLimits): { queue: number | null; key: number | null } {
  const { perSecond, perProviderPerSecond } = limits;
  const own = Object.values(limits.providers).flatMap((provider) => provider.perSecond ?? []);
  if (perProviderPerSecond !== null || own.length === 0) return { queue: perSecond, key: perProviderPerSecond };
  // A provider's own limit is a multiple of the one for every key, so there has to be one that does not limit the others.
  return { queue: perSecond, key: Math.min(perSecond ?? PRACTICALLY_UNLIMITED, Math.min(...own) / LEAST_WEIGHT) };
}

/** The weight that turns the limit of every key into this provider's own; undefined: it has none of its own. */
export function weightOf(limits: StreamLimits, provider: string): number | undefined {
  const own = limits.providers[provider]?.perSecond ?? null;
  const { key } = queueLimits(limits);
  return own === null || key === null || own === key ? undefined : own / key;
}

/** A number of mails that must not be exceeded on a day. `provider`: `*` is the whole stream. */
export interface DailyCap {
  provider: string;
  cap: number;
}

/** Every cap that a mail to this provider counts against on this UTC day, ordered by provider. */
export function capsOn(limits: StreamLimits, provider: string, day: string): DailyCap[] {
  const planned = limits.warmUp === null ? null : warmUpCap(limits.warmUp, day);
  const stream = least(limits.perDay, planned);
  const own = limits.providers[provider]?.perDay ?? limits.perProviderPerDay;
  return [
    ...(stream === null ? [] : [{ provider: WHOLE_STREAM, cap: stream }]),
    ...(own === null ? [] : [{ provider, cap: own }]),
  ];
}

/** Whether any day may ever be capped for this provider: where not, the quota needs no looking at. */
export function isCapped(limits: StreamLimits, provider: string): boolean {
  const own = limits.providers[provider]?.perDay ?? limits.perProviderPerDay;
  return limits.perDay !== null || limits.warmUp !== null || own !== null;
}

function least(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.min(a, b);
}

/** A mistake in the limits that no schema finds. `pointer` is a JSON pointer into the stream's limits. */
interface LimitsFault {
  pointer: string;
  detail: string;
}

/** What is wrong with a stream's limits. @param known the names of providers */
export function limitsFaults(limits: StreamLimits, known: readonly string[]): LimitsFault[] {
  const faults: LimitsFault[] = [];
  const { key } = queueLimits(limits);
  for (const [name, own] of Object.entries(limits.providers)) {
    const pointer = `/providers/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (!known.includes(name)) {
      faults.push({ pointer, detail: `is not a provider that is known here; those are ${known.join(', ')}` });
    } else if (own.perSecond !== null && key !== null && own.perSecond / key < LEAST_WEIGHT) {
      faults.push({
        pointer: `${pointer}/perSecond`,
        detail: `must be a thousandth of what every provider may have (${key}), or more`,
      });
    }
  }
  const { warmUp } = limits;
  if (warmUp !== null && Number.isNaN(new Date(`${warmUp.startedOn}T00:00:00Z`).getTime())) {
    faults.push({ pointer: '/warmUp/startedOn', detail: 'is not a day that exists' });
  }
  if (warmUp !== null && 'until' in warmUp && warmUp.until < warmUp.firstDay) {
    faults.push({ pointer: '/warmUp/until', detail: 'must not be less than `firstDay`' });
  }
  return faults;
}

/** Whether new limits allow more on some day of the next weeks than old ones did. @param today UTC, `YYYY-MM-DD` */
export function isLooser(limits: StreamLimits, before: StreamLimits, today: string): boolean {
  const providers = new Set([...Object.keys(limits.providers), ...Object.keys(before.providers), 'any other']);
  for (let ahead = 0; ahead < COMPARED_DAYS; ahead++) {
    const day = addUtcDays(today, ahead);
    for (const provider of providers) {
      const [now, then] = [capsOn(limits, provider, day), capsOn(before, provider, day)];
      const raised = then.some((old) => {
        const cap = now.find((each) => each.provider === old.provider)?.cap;
        return cap === undefined || cap > old.cap;
      });
      if (raised) return true;
    }
  }
  return false;
}

/** Plans of a warm-up differ in their first weeks or not at all. */
const COMPARED_DAYS = 60;
