/**
 * What an error is, for a log line or a row: its code, else its name, with the number of what caused it (Temporal's client wraps
 * the gRPC status so: `ServiceError 4` is a deadline). Never its text, which may quote a person.
 */
export function errorCode(error: unknown): string {
  const { code, name, cause } = (error ?? {}) as { code?: unknown; name?: unknown; cause?: unknown };
  if (typeof code === 'string') return code;
  if (typeof name !== 'string') return 'unknown';
  const { code: inner } = (cause ?? {}) as { code?: unknown };
  return typeof inner === 'number' ? `${name} ${inner}` : name;
}
