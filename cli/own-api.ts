import { randomUUID } from 'node:crypto';

/** Where an API is, and the key to it. */
export interface ApiAccess {
  apiUrl: string;
  apiKey: string;
}

/**
 * Makes one call to our own API. A POST carries an idempotency key, so that it can be made again without doing it twice.
 *
 * @param body sent as JSON
 * @returns the answer's JSON
 * @throws Error with the API's problem (RFC 9457) in words, when it refuses
 */
export async function callApi<T>(
  { apiUrl, apiKey }: ApiAccess,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<T> {
  const response = await fetch(`${apiUrl}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${apiKey}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${problemIn(text, response.status)}`);
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

function problemIn(text: string, status: number): string {
  try {
    const { title, detail } = JSON.parse(text) as { title?: string; detail?: string };
    return [status, title, detail].filter((part) => part !== undefined).join(' ');
  } catch {
    return String(status);
  }
}
