/**
 * How many mails a new sending domain may send on each of its first days (UTC), so that receiving servers get to know it.
 * Either it grows from `firstDay` by the factor `growth` a day until it has reached `until`, or `plan` lists every day.
 */
export type WarmUp = { startedOn: string } & ({ firstDay: number; growth: number; until: number } | { plan: number[] });

const DAY_MS = 24 * 60 * 60_000;

/** The UTC day of an instant, `YYYY-MM-DD`. */
export function utcDay(at: Date): string {
  return at.toISOString().slice(0, 10);
}

/** Midnight UTC at which a day begins. @param day `YYYY-MM-DD` */
export function startOfUtcDay(day: string): Date {
  return new Date(`${day}T00:00:00.000Z`);
}

/** The UTC day so many days after another. */
export function addUtcDays(day: string, days: number): string {
  return utcDay(new Date(startOfUtcDay(day).getTime() + days * DAY_MS));
}

/** What the plan allows on a UTC day; null once the warm-up is over. Before its first day, the first day's number counts. */
export function warmUpCap(warmUp: WarmUp, day: string): number | null {
  const passed = Math.round((startOfUtcDay(day).getTime() - startOfUtcDay(warmUp.startedOn).getTime()) / DAY_MS);
  const index = Math.max(0, passed);
  if ('plan' in warmUp) return warmUp.plan[index] ?? null;
  const planned = Math.floor(warmUp.firstDay * warmUp.growth ** index);
  return planned >= warmUp.until ? null : planned;
}
