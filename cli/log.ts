import pino, { type Logger, type LoggerOptions } from 'pino';

/** The line with which a worker says that it takes tasks; a supervisor waits for it. */
export const WORKER_READY = 'worker takes tasks';

/** Anything that looks like a mail address. */
const ADDRESS = /[^\s@<>"'`(),;:=/]+@[^\s@<>"'`(),;:=/]+/g;

/**
 * The log of a process: JSON lines on standard output. They carry ids, codes and counts, never a person's data: errors
 * lose what Postgres quotes in them, anything that looks like a mail address is masked, and keys are left out.
 *
 * @param name which process it is: `api`, `worker`
 * @param fields what each line has besides, asked for at that moment
 */
export function createLog(name: string, level: string, fields?: () => Record<string, string>): Logger {
  // Not pino's own destination: it tries for ever to write to a reader that is gone, and the process never ends.
  process.stdout.on('error', () => {});
  const options: LoggerOptions = {
    name,
    level,
    ...(fields === undefined ? {} : { mixin: fields }),
    redact: { paths: ['authorization', '*.authorization', '*.headers', 'headers'], remove: true },
    serializers: { err: withoutPersonalData, error: withoutPersonalData },
    hooks: {
      logMethod(args, method) {
        const masked = args.map((arg) => (typeof arg === 'string' ? maskAddresses(arg) : arg));
        method.apply(this, masked as typeof args);
      },
    },
  };
  return pino(options, process.stdout);
}

/** The text with every mail address in it masked. */
export function maskAddresses(text: string): string {
  return text.replace(ADDRESS, '<address>');
}

/** What may be written down of an error: its kind, its code, where it came from, and a masked message. */
export function withoutPersonalData(error: unknown): Record<string, unknown> | string {
  if (typeof error === 'string') return maskAddresses(error);
  const { name, code, message, stack, cause } = (error ?? {}) as Partial<Error> & { code?: unknown };
  // Postgres puts values into its messages and details.
  const ofPostgres = typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code);
  const frames = typeof stack === 'string' ? stack.split('\n').filter((line) => /^\s+at /.test(line)) : [];
  return {
    type: name ?? typeof error,
    ...(code === undefined ? {} : { code }),
    ...(ofPostgres || typeof message !== 'string' ? {} : { message: maskAddresses(message) }),
    ...(frames.length === 0 ? {} : { stack: frames.join('\n') }),
    ...(cause === undefined ? {} : { cause: withoutPersonalData(cause) }),
  };
}
