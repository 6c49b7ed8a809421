import { type ProviderLimits, type SendingLimits, type StreamLimits, unlimited, WHOLE_STREAM } from '../domain/limits';
import { STREAMS, type Stream } from '../domain/streams';
import type { WarmUp } from '../domain/warm-up';
import { type Db, inTransaction } from './client';

/** In the table: every provider that has no row of its own. */
const EACH_PROVIDER = 'each';

/** How long a process goes by the limits that it has read (ms). */
const FRESH_MS = 2_000;
const cached = new WeakMap<Db, { readAt: number; limits: Promise<SendingLimits> }>();

/** The limits of all streams. */
export async function readLimits(db: Db): Promise<SendingLimits> {
  const limits = unlimited();
  for (const row of await db.selectFrom('sending_limit').selectAll().execute()) {
    const own = limits[row.stream];
    if (row.provider === WHOLE_STREAM) {
      own.perSecond = row.per_second;
      own.perDay = row.per_day;
      own.warmUp = row.warm_up as WarmUp | null;
    } else if (row.provider === EACH_PROVIDER) {
      own.perProviderPerSecond = row.per_second;
      own.perProviderPerDay = row.per_day;
    } else {
      own.providers[row.provider] = { perSecond: row.per_second, perDay: row.per_day };
    }
  }
  return limits;
}

/** The limits as they were at most two seconds ago: every send asks. */
export async function currentLimits(db: Db): Promise<SendingLimits> {
  const now = Date.now();
  const known = cached.get(db);
  if (known !== undefined && now - known.readAt < FRESH_MS) return await known.limits;
  const limits = readLimits(db);
  cached.set(db, { readAt: now, limits });
  // What could not be read must not be kept.
  limits.catch(() => cached.delete(db));
  return await limits;
}

/** Puts new limits in place of the old ones, as a whole. @returns the old ones */
export async function saveLimits(db: Db, limits: SendingLimits, now: Date): Promise<SendingLimits> {
  const rows = STREAMS.flatMap((stream) => rowsOf(stream, limits[stream], now));
  const before = await inTransaction(db, async (tx) => {
    const old = await readLimits(tx);
    await tx.deleteFrom('sending_limit').execute();
    if (rows.length > 0) await tx.insertInto('sending_limit').values(rows).execute();
    return old;
  });
  cached.delete(db);
  return before;
}

function rowsOf(stream: Stream, limits: StreamLimits, now: Date) {
  const { perSecond, perDay, perProviderPerSecond, perProviderPerDay, providers, warmUp } = limits;
  const row = (provider: string, own: ProviderLimits, plan: WarmUp | null = null) =>
    own.perSecond === null && own.perDay === null && plan === null
      ? []
      : {
          stream,
          provider,
          per_second: own.perSecond,
          per_day: own.perDay,
          warm_up: plan === null ? null : JSON.stringify(plan),
          updated_at: now,
        };
  return [
    row(WHOLE_STREAM, { perSecond, perDay }, warmUp),
    row(EACH_PROVIDER, { perSecond: perProviderPerSecond, perDay: perProviderPerDay }),
    ...Object.entries(providers).map(([provider, own]) => row(provider, own)),
  ].flat();
}
