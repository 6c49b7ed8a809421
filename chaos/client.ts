import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

/** The APIs of a cluster, and the key to them. */
export interface Apis {
  urls: readonly string[];
  key: string;
}

/** An answer for good: 2xx, or a refusal that asking again would not change. */
export interface Answer<T> {
  status: number;
  ok: boolean;
  body: T;
  /** When its first byte had come (ms since the epoch); whatever is promised is promised from then on. */
  at: number;
  /** How long it took, from sending the first try (ms). */
  tookMs: number;
  tries: number;
}

export interface CallOptions {
  method?: 'GET' | 'POST' | 'DELETE';
  body?: unknown;
  /** How long it is tried for (ms). */
  patienceMs?: number;
  /** Longest pause between two tries (ms). */
  longestPauseMs?: number;
  signal?: AbortSignal | undefined;
}

const TRY_MS = 20_000;

/**
 * Makes a call as a careful client does: another API after each failure, the same Idempotency-Key every time.
 *
 * @throws Error when no final answer came in time
 */
export async function call<T>(apis: Apis, path: string, options: CallOptions = {}): Promise<Answer<T>> {
  const { method = 'GET', body, patienceMs = 180_000, longestPauseMs = 2_000, signal } = options;
  const idempotencyKey = randomUUID();
  const giveUpAt = Date.now() + patienceMs;
  let last = 'nothing';
  let turn = Math.floor(Math.random() * apis.urls.length);
  const sentAt = performance.now();
  for (let tries = 1; ; tries++) {
    signal?.throwIfAborted();
    try {
      const response = await fetch(`${apis.urls[turn++ % apis.urls.length]}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${apis.key}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(method === 'POST' ? { 'idempotency-key': idempotencyKey } : {}),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.any([AbortSignal.timeout(TRY_MS), ...(signal === undefined ? [] : [signal])]),
      });
      const at = Date.now();
      const tookMs = performance.now() - sentAt;
      const text = await response.text();
      const answer = text === '' ? null : (JSON.parse(text) as T & { type?: string });
      if (!isPassing(response.status, answer?.type))
        return { status: response.status, ok: response.ok, body: answer as T, at, tookMs, tries };
      last = `${response.status} ${answer?.type ?? ''}`;
    } catch (error) {
      signal?.throwIfAborted();
      last = String((error as { cause?: unknown }).cause ?? error);
    }
    if (Date.now() > giveUpAt)
      throw new Error(`${method} ${path.split('?')[0]}: no answer in ${patienceMs} ms: ${last}`);
    await sleep(Math.min(50 * 2 ** tries, longestPauseMs) * (0.5 + Math.random() / 2), undefined, { signal });
  }
}

/** Worth another try: the server broke down, is too busy, or still works on the same request. */
function isPassing(status: number, type: string | undefined): boolean {
  return status >= 500 || status === 429 || (type?.endsWith('/idempotency-in-progress') ?? false);
}
