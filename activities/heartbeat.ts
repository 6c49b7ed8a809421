import { Context } from '@temporalio/activity';

/** Heartbeats are due within 10 s; a third of it leaves room for a busy event loop. */
const EVERY_MS = 3_000;

/** Runs an activity's work with a steady heartbeat, which is also how its cancellation is noticed. */
export async function withHeartbeat<T>(work: (cancelled: AbortSignal) => Promise<T>): Promise<T> {
  const context = Context.current();
  const timer = setInterval(() => context.heartbeat(), EVERY_MS);
  try {
    return await work(context.cancellationSignal);
  } finally {
    clearInterval(timer);
  }
}
