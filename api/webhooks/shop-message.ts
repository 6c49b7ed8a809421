import type { ShopEvent } from '../../domain/shop-events';
import { timeOf } from './payload';

/** A shop's webhook, whose signature was found to be right. */
export interface ShopMessage {
  /** Names of this event, each of its own: it is known when one of them is. Empty where it is of no interest. */
  ids: readonly string[];
  event: ShopEvent;
}

/** One that changes nothing. */
export function nothing(why: string, orderId: string | null = null): ShopMessage {
  return { ids: [], event: { kind: 'nothing', why, orderId } };
}

/** A time that has passed; what lies in the future, or is no time, is `now`. */
export function pastTimeOf(value: unknown, now: Date): Date {
  const at = new Date(timeOf(value, now));
  return at > now ? now : at;
}

/** The free fields of an order, where they are a list of names and values. */
export function namedValues(
  entries: readonly Readonly<Record<string, unknown>>[],
  name: string,
): Record<string, string> {
  return Object.fromEntries(
    entries.flatMap((entry) => {
      const key = entry[name];
      return typeof key === 'string' && typeof entry.value === 'string' ? [[key, entry.value]] : [];
    }),
  );
}
