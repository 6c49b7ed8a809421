import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';

/**
 * Makes an activity whose unexpected faults reach Temporal as a code and a place in our sources only (promise P5).
 * Failures made for Temporal pass as they are.
 */
export function withBareFailures<I, O>(activity: (input: I) => Promise<O>): (input: I) => Promise<O> {
  return async (input) => {
    try {
      return await activity(input);
    } catch (error) {
      throw error instanceof CancelledFailure
        ? error
        : bareFailure(error, 'an unexpected fault, told by its code only');
    }
  };
}

/**
 * What Temporal may know of a fault: its code and where it happened. Postgres and others put values into their messages.
 *
 * @param message stands in place of the fault's own
 */
export function bareFailure(error: unknown, message: string): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  const fault = (error ?? {}) as Partial<Error> & { code?: unknown };
  const failure = ApplicationFailure.retryable(message, String(fault.code ?? fault.name ?? typeof error));
  failure.stack = [`${failure.name}: ${message}`, ...framesOf(fault)].join('\n');
  return failure;
}

/** The message stands at the head of a stack, and its lines may look like frames; a stack without it can't be told apart. */
function framesOf({ message = '', stack = '' }: Partial<Error>): string[] {
  const at = stack.indexOf(message);
  if (at < 0) return [];
  return stack
    .slice(at + message.length)
    .split('\n')
    .filter((line) => /^\s+at /.test(line));
}
