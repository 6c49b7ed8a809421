import type { Socket } from 'node:net';
import type { FastifyRequest } from 'fastify';
import { isUnreachable } from '../db/reachability';
import type { Api } from './context';
import { invalidFields, PROBLEMS, problemBody, problemOf, type RequestFault, sendProblem } from './problems';

/** Answers every error as a problem (RFC 9457), logs those of our own making, and refuses what Postgres can't hold. */
export function answerErrors(app: Api, publicUrl: string): void {
  const methodsOf = collectMethods(app);

  app.setErrorHandler(async (error, request, reply) => {
    const problem = problemOf(error);
    if (PROBLEMS[problem.code].status >= 500) logError(request, error);
    return await sendProblem(request, reply, publicUrl, problem);
  });

  app.setNotFoundHandler(async (request, reply) => {
    const methods = methodsOf(request.url.split('?')[0] ?? '');
    // The method is right where a route for files has no such file.
    if (methods.length === 0 || methods.includes(request.method))
      return await sendProblem(request, reply, publicUrl, problemOf({ statusCode: 404 }));
    reply.header('allow', methods.join(', '));
    const detail = `${request.method} is not possible here; ${methods.join(', ')} is.`;
    return await sendProblem(request, reply, publicUrl, { code: 'method-not-allowed', detail, extra: {} });
  });

  app.addHook('preValidation', async (request) => {
    const faults = unstorable(request.body, '', 0);
    if (faults.length > 0) throw invalidFields(faults);
  });
}

/** Writes an error down without what it may quote of a person: Postgres puts values into its messages and details. */
export function logError(request: FastifyRequest, error: unknown): void {
  const { name, code, message, stack } = (error ?? {}) as Partial<Error> & { code?: unknown };
  const ofPostgres = typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code);
  const err = {
    type: name ?? typeof error,
    code,
    message: ofPostgres ? undefined : message,
    stack: stack
      ?.split('\n')
      .filter((line) => /^\s+at /.test(line))
      .join('\n'),
  };
  const route = request.routeOptions.url;
  request.log.error(
    { method: request.method, route, err },
    isUnreachable(error) ? 'Postgres can not be reached' : 'a request failed',
  );
}

/** What is left to say where a client does not speak HTTP: there is no request to answer. */
export function answerClientError(publicUrl: string): (error: NodeJS.ErrnoException, socket: Socket) => void {
  return (error, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return;
    const detail = CLIENT_ERRORS[error.code ?? ''] ?? 'This is not a valid HTTP request.';
    const body = problemBody(crypto.randomUUID(), publicUrl, { code: 'invalid-request', detail, extra: {} });
    socket.end(
      `HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json; charset=utf-8\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  };
}

const CLIENT_ERRORS: Readonly<Record<string, string>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'The request did not arrive in time.',
  HPE_HEADER_OVERFLOW: 'The address and the headers have too many bytes; together they may have 16 KiB.',
};

/** Which methods are served under a path; none where the path is not known at all. */
function collectMethods(app: Api): (path: string) => string[] {
  const routes: { methods: string[]; pattern: RegExp }[] = [];
  app.addHook('onRoute', ({ method, url }) => {
    // Browsers ask about everything in advance, also about what is not there.
    if (method === 'OPTIONS') return;
    const pattern = url
      .split('/')
      .map((part) =>
        part.startsWith(':') ? '[^/]+' : part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replace('*', '.*'),
      )
      .join('/');
    routes.push({ methods: [method].flat(), pattern: new RegExp(`^${pattern}$`) });
  });
  return (path) => [...new Set(routes.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods))];
}

/** Texts that Postgres refuses: the character NUL, and halves of characters. What is nested without end is not looked into. */
function unstorable(value: unknown, pointer: string, depth: number): RequestFault[] {
  if (typeof value === 'string') return /\0|\p{Cs}/u.test(value) ? [{ pointer, in: 'body', detail: BAD_TEXT }] : [];
  if (!isPlain(value)) return [];
  if (depth === MAX_DEPTH) return [{ pointer: '', in: 'body', detail: `is nested more than ${MAX_DEPTH} levels deep` }];
  return Object.entries(value).flatMap(([key, inner]) => [
    ...unstorable(key, pointer, depth),
    ...unstorable(inner, `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`, depth + 1),
  ]);
}

/** What JSON can hold; a body may also be a stream, which is not looked into here. */
function isPlain(value: unknown): value is object {
  if (value === null || typeof value !== 'object') return false;
  const prototype: object | null = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Far deeper than any body that is taken; each level costs stack here and in the check of its schema. */
const MAX_DEPTH = 32;

const BAD_TEXT = 'holds a character that is no text (U+0000, or half of a surrogate pair); take it out';
