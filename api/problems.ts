import { STATUS_CODES } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { isUnreachable } from '../db/reachability';
import { Problem, type ProblemCode } from '../domain/problem';

/** Every refusal the API can answer: those of the rules, and those that only HTTP knows. */
export type ApiProblemCode = ProblemCode | 'method-not-allowed' | 'internal-error';

interface ProblemKind {
  status: number;
  title: string;
  /** What it means and what to do, for the page under `/problems/<code>`. */
  about: string;
}

/** The one table from code to status and title. */
export const PROBLEMS: Readonly<Record<ApiProblemCode, ProblemKind>> = {
  'invalid-request': {
    status: 400,
    title: 'The request is not valid',
    about: 'A field is missing, unknown or not of the right form. `errors` lists each one with a pointer to it.',
  },
  unauthorized: {
    status: 401,
    title: 'A valid API key is needed',
    about:
      'Send a key that `npx recuerda keys create` or POST /v1/keys has made as `Authorization: Bearer <key>`. A key that ' +
      'was revoked is known no more. People sign in under /login instead.',
  },
  'sign-in-refused': {
    status: 401,
    title: 'Not signed in',
    about: 'The address or the password is not right, or the account was disabled; which of them is not told.',
  },
  forbidden: {
    status: 403,
    title: 'The caller may not do this',
    about:
      'The key lacks a scope, or the person a role. `scopes` lists those of which any one would do; an operator gives ' +
      'them, and nobody gives more than they have themselves.',
  },
  'cross-site': {
    status: 403,
    title: 'The request came from a page of somebody else',
    about:
      'What changes something by a session cookie must come from a page of Recuerda itself, which browsers prove with the ' +
      'header `Origin` or `Sec-Fetch-Site`. Programs send an API key instead of a cookie.',
  },
  'origin-not-allowed': {
    status: 403,
    title: 'This page may not send the form',
    about:
      'A browser sends a form from a page whose origin is neither ours nor one of `origins` of the form. Add it with ' +
      'PUT /v1/forms/{id}.',
  },
  'too-many-requests': {
    status: 429,
    title: 'Too many tries',
    about: 'Try again after `Retry-After` seconds; `retryAfter` says the same.',
  },
  'bad-signature': {
    status: 401,
    title: 'The webhook does not prove who sent it',
    about:
      'Its signature, or its user and password, is not the one that is set for this provider. Compare the WEBHOOK_ setting ' +
      'with what the provider shows.',
  },
  'not-found': {
    status: 404,
    title: 'There is no such thing',
    about: 'Nothing is known under this address or id. It may have been erased.',
  },
  'method-not-allowed': {
    status: 405,
    title: 'This address does not take that method',
    about: 'The header `Allow` lists the methods that it takes.',
  },
  'not-published': {
    status: 409,
    title: 'The campaign is not published',
    about: 'A draft takes no leads. Publish it first with POST /v1/campaigns/{id}/publish.',
  },
  'source-not-named': {
    status: 409,
    title: 'The campaign does not say where imported data came from',
    about:
      'People whose data came with a file must be told in the first mail where it came from, and where to read what becomes ' +
      'of it (GDPR art. 14). `errors` says what its initial information lacks: add it, publish again, and send the file again.',
  },
  'campaign-cancelled': {
    status: 409,
    title: 'The campaign was cancelled',
    about: 'A cancelled campaign takes no more leads and is not published any more. Use another one.',
  },
  'not-publishable': {
    status: 422,
    title: 'The campaign can not be published as it is',
    about: '`errors` lists everything that is wrong, with a pointer, and with line and column inside a template.',
  },
  'template-not-usable': {
    status: 422,
    title: 'The transactional template can not be used as it is',
    about: '`errors` lists everything that is wrong, with a pointer, and with line and column inside a template.',
  },
  'not-fillable': {
    status: 422,
    title: 'The mail can not be made from this data',
    about:
      'The template asks for something that `data` does not hold, or does something with it that can not be done. Nothing ' +
      'was accepted. `errors` says what; a template may ask with `if` or give a `default` for what may be missing.',
  },
  'address-suppressed': {
    status: 409,
    title: 'This address may not be written to',
    about:
      'The person unsubscribed or complained, or mail to the address came back. `reason` says which. A suppression wins ' +
      'over every request, import and campaign.',
  },
  'already-ended': {
    status: 409,
    title: 'The enrollment has ended',
    about: 'An enrollment ends once, with one outcome, and stays so. Enroll the lead again to start anew.',
  },
  'already-answered': {
    status: 409,
    title: 'The request about personal data was answered otherwise',
    about: 'A request is answered once. `answer` says how; enter a new one where the person asks again.',
  },
  'not-erasable': {
    status: 409,
    title: 'This request can not be done by erasing',
    about:
      'It asks for something else, or it is not known who asks: then DELETE /v1/leads/{id} erases, once that is known.',
  },
  'already-open': {
    status: 409,
    title: 'Another enrollment of this person is open',
    about: 'A person has at most one open enrollment in a campaign. Snooze or cancel the open one instead.',
  },
  'already-there': {
    status: 409,
    title: 'There is one already',
    about: 'Something of this name is there already. Change that one, or use another name.',
  },
  'not-reopenable': {
    status: 409,
    title: 'This enrollment can not be reopened',
    about:
      'Only an enrollment that ended as replied, cancelled or bounced is reopened, while the person has not bought and ' +
      'steps are left. Who unsubscribed or complained is written to again only if they ask themselves.',
  },
  'not-processed': {
    status: 409,
    title: 'It was not processed yet',
    about: 'What was received is kept first and looked at a moment later. Try again in a few seconds.',
  },
  'endpoint-disabled': {
    status: 409,
    title: 'The webhook endpoint is switched off',
    about: 'Nothing is sent to it. Switch it on with PATCH /v1/webhook-endpoints/{id} and `{"disabled": false}` first.',
  },
  'idempotency-mismatch': {
    status: 409,
    title: 'The idempotency key was used for another request',
    about: 'The same Idempotency-Key came before with another path or body. Use a new key for each new request.',
  },
  'idempotency-in-progress': {
    status: 409,
    title: 'The same request is still being worked on',
    about: 'A request with the same Idempotency-Key has not been answered yet. Try again after `Retry-After` seconds.',
  },
  'payload-too-large': {
    status: 413,
    title: 'The body is too large',
    about: 'The body has more bytes than this address takes.',
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The body is of a type that is not taken here',
    about: 'Send `Content-Type: application/json`, or what the reference of this address names.',
  },
  'steps-unclear': {
    status: 409,
    title: 'It can not be told which steps are the same mail',
    about:
      'Each version has a step that the other lacks, and without a `key` in both nobody but you knows whether one is the other rewritten. Say it with `fromVersion` and `steps`; `errors` names the steps.',
  },
  'dry-run-stale': {
    status: 409,
    title: 'The dry run does not hold any more',
    about:
      'A migration takes a finished dry run of the last 24 hours, once, and only while no version was published and no leads were moved since. Make another dry run and look at it.',
  },
  'migration-running': {
    status: 409,
    title: 'Leads of this campaign are being moved already',
    about: 'One migration of a campaign runs at a time. Wait for its end, or cancel it.',
  },
  'internal-error': {
    status: 500,
    title: 'Something went wrong on our side',
    about: 'The details are in the log, under the request id of the answer.',
  },
  unavailable: {
    status: 503,
    title: 'Not available at the moment',
    about: 'Postgres can not be reached. Nothing was accepted; try again after `Retry-After` seconds.',
  },
};

/** One thing that is wrong with a request. */
export interface RequestFault {
  /** JSON pointer (RFC 6901) into the part of the request that `in` names. */
  pointer: string;
  in?: 'body' | 'query' | 'path' | 'header';
  detail: string;
}

/** A refusal of a body that its schema allows: one field, what is wrong with it and how to mend it. */
export function invalidField(pointer: string, detail: string): Problem {
  return invalidFields([{ pointer, in: 'body', detail }]);
}

/** A refusal that names every fault. @param faults at least one */
export function invalidFields(faults: readonly RequestFault[]): Problem {
  const [first] = faults;
  const detail =
    faults.length === 1 && first !== undefined
      ? `${first.pointer || 'the body'}: ${first.detail}`
      : `${faults.length} things are wrong with this request; \`errors\` lists them`;
  return new Problem('invalid-request', detail, { errors: faults });
}

/** Schema of every problem answer (RFC 9457); registered once, referred to by all routes. */
export const ProblemSchema = Type.Object(
  {
    type: Type.String({ format: 'uri', description: 'Identifies the kind of problem, and leads to a page about it.' }),
    title: Type.String({ description: 'The kind of problem in words; the same for all of its kind.' }),
    status: Type.Integer({ description: 'The HTTP status.' }),
    detail: Type.String({ description: 'What is wrong this time, and how to mend it.' }),
    instance: Type.String({ format: 'uri', description: 'Names this answer; the log has it as the request id.' }),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          pointer: Type.String({ description: 'JSON pointer (RFC 6901) to what is wrong.' }),
          in: Type.Optional(Type.Enum(['body', 'query', 'path', 'header'])),
          line: Type.Optional(Type.Integer({ description: '1-based line within a template.' })),
          column: Type.Optional(Type.Integer({ description: '1-based column within that line.' })),
          detail: Type.String({ description: 'What is wrong with it, and how to mend it.' }),
        }),
      ),
    ),
    reason: Type.Optional(Type.String({ description: 'Of `address-suppressed`: why.' })),
    suggestion: Type.Optional(Type.String({ description: 'Of a mistyped address: the one that was probably meant.' })),
    scopes: Type.Optional(Type.Array(Type.String(), { description: 'Of `forbidden`: any one of these would do.' })),
    retryAfter: Type.Optional(
      Type.Integer({ description: 'Of `too-many-requests`: in how many seconds to try again.' }),
    ),
  },
  {
    $id: 'Problem',
    description: 'A refusal as RFC 9457 describes it.',
    examples: [
      {
        type: 'https://recuerda.example/problems/invalid-request',
        title: 'The request is not valid',
        status: 400,
        detail: '/lead/email: the @ is missing',
        instance: 'urn:uuid:0b3a7c1e-52d4-4f0c-9a3e-6a1f5d8e2b47',
        errors: [{ pointer: '/lead/email', in: 'body', detail: 'the @ is missing' }],
      },
    ],
  },
);

/**
 * The `response` entries of a route for the problems it can answer with. Spread them beside its own; the type is empty
 * on purpose, so that handlers can return only the route's own answers, and throw the rest.
 */
export function problemResponses(...codes: ApiProblemCode[]): object {
  const always: ApiProblemCode[] = ['invalid-request', 'unauthorized', 'internal-error', 'unavailable'];
  const byStatus = new Map<number, ApiProblemCode[]>();
  for (const code of new Set([...codes, ...always])) {
    const { status } = PROBLEMS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries([...byStatus].map(([status, kinds]) => [status, problemResponse(kinds)]));
}

/** One `response` entry, for problems of one status. @param before what its description says already */
export function problemResponse(
  codes: readonly ApiProblemCode[],
  before = '',
): { description: string; content: object } {
  const told = codes.map((code) => `\`${code}\`: ${PROBLEMS[code].title}.`);
  return {
    description: [before, ...told].join(' ').trim(),
    content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
  };
}

interface ProblemAnswer {
  code: ApiProblemCode;
  detail: string;
  extra: Record<string, unknown>;
}

/** Answers with a problem. @param publicUrl the base of the pages about problems */
export async function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  publicUrl: string,
  { code, detail, extra }: ProblemAnswer,
): Promise<FastifyReply> {
  if (code === 'unauthorized' || code === 'sign-in-refused')
    reply.header('www-authenticate', 'Bearer realm="recuerda"');
  if (code === 'idempotency-in-progress') reply.header('retry-after', '1');
  if (code === 'unavailable') reply.header('retry-after', '5');
  if (code === 'too-many-requests') reply.header('retry-after', String(extra.retryAfter ?? 60));
  return reply
    .code(PROBLEMS[code].status)
    .type('application/problem+json')
    .send(problemBody(request.id, publicUrl, { code, detail, extra }));
}

/** A problem as JSON text. Kept a text, so that no response schema drops what only this kind of problem tells. */
export function problemBody(requestId: string, publicUrl: string, { code, detail, extra }: ProblemAnswer): string {
  const { status, title } = PROBLEMS[code];
  const type = `${publicUrl}/problems/${code}`;
  return JSON.stringify({ type, title, status, detail, instance: `urn:uuid:${requestId}`, ...extra });
}

/** Turns whatever a handler, a hook or Fastify itself threw into the problem to answer. */
export function problemOf(error: unknown): ProblemAnswer {
  if (error instanceof Problem) return { code: error.code, detail: error.message, extra: error.extra };
  if (isUnreachable(error)) {
    return { code: 'unavailable', detail: 'Nothing was accepted; try again in a few seconds.', extra: {} };
  }
  const thrown = (error ?? {}) as Thrown;
  if (thrown.validation !== undefined) {
    return problemOf(invalidFields(validationFaults(thrown.validation, thrown.validationContext ?? 'body')));
  }
  const status = thrown.statusCode ?? 500;
  const byStatus = BY_STATUS[status];
  if (byStatus !== undefined) return { ...byStatus, extra: {} };
  if (status >= 400 && status < 500) {
    // Fastify's own refusals name what they refuse (a media type, a header), never what a body holds.
    return {
      code: 'invalid-request',
      detail: HTTP_DETAILS[thrown.code ?? ''] ?? STATUS_CODES[status] ?? '',
      extra: {},
    };
  }
  return {
    code: 'internal-error',
    detail: 'It is logged under the id that `instance` names; please report it to whoever runs this service.',
    extra: {},
  };
}

interface Thrown {
  statusCode?: number;
  code?: string;
  validation?: readonly SchemaError[];
  validationContext?: string;
}

const NOTHING_HERE: { code: ApiProblemCode; detail: string } = {
  code: 'not-found',
  detail: 'Nothing is served under this address; /docs lists all addresses.',
};

const BY_STATUS: Readonly<Record<number, { code: ApiProblemCode; detail: string }>> = {
  403: NOTHING_HERE, // a path that leads out of the reference's folder of files
  404: NOTHING_HERE,
  413: { code: 'payload-too-large', detail: 'The body has more bytes than this address takes.' },
  415: {
    code: 'unsupported-media-type',
    detail:
      'The header Content-Type is missing, or names a type that this address does not take; /docs says which it takes.',
  },
};

const HTTP_DETAILS: Readonly<Record<string, string>> = {
  FST_ERR_CTP_INVALID_JSON_BODY: 'The body is not valid JSON. Check commas, quotes and brackets.',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The body is empty; send a JSON object.',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'The body has not as many bytes as Content-Length says.',
  FST_ERR_BAD_URL: 'The path is not a valid URL path: a % must be followed by two hexadecimal digits.',
};

interface SchemaError {
  keyword?: string;
  instancePath?: string;
  message?: string;
  params?: object;
}

const PARTS: Readonly<Record<string, NonNullable<RequestFault['in']>>> = {
  body: 'body',
  querystring: 'query',
  params: 'path',
  headers: 'header',
};

function validationFaults(errors: readonly SchemaError[], context: string): RequestFault[] {
  const part = PARTS[context] ?? 'body';
  return errors.flatMap((error) => faultsOf(error, part).map(({ pointer, detail }) => ({ pointer, in: part, detail })));
}

function faultsOf(error: SchemaError, part: string): { pointer: string; detail: string }[] {
  const pointer = error.instancePath ?? '';
  const params = (error.params ?? {}) as Record<string, unknown>;
  const names = (value: unknown) => (Array.isArray(value) ? value.map(String) : []);
  switch (error.keyword) {
    case 'required':
      return names(params.requiredProperties).map((name) => ({
        pointer: `${pointer}/${escapePointer(name)}`,
        detail: 'is missing',
      }));
    case 'additionalProperties':
      return names(params.additionalProperties).map((name) => ({
        pointer: `${pointer}/${escapePointer(name)}`,
        detail: 'there is no such field here; check its spelling',
      }));
    case 'boolean': // says the same as additionalProperties, field by field
      return [];
    case 'enum':
      return [{ pointer, detail: `must be one of ${names(params.allowedValues).join(', ')}` }];
    case 'format':
      return [{ pointer, detail: `must be ${FORMATS[String(params.format)] ?? `of the format ${params.format}`}` }];
    case 'pattern':
      return [{ pointer, detail: params.pattern === NOT_BLANK ? 'must not be blank' : (error.message ?? '') }];
    case 'minLength':
      return [{ pointer, detail: params.limit === 1 ? 'must not be empty' : (error.message ?? '') }];
    case 'type':
      if (pointer === '' && part === 'body') return [{ pointer, detail: 'a JSON object must be sent as the body' }];
      return [{ pointer, detail: error.message ?? 'is of the wrong type' }];
    default:
      return [{ pointer, detail: error.message ?? 'is not valid' }];
  }
}

/** The pattern of texts that must say something. */
export const NOT_BLANK = '\\S';

const FORMATS: Readonly<Record<string, string>> = {
  uuid: 'a UUID, as this API gave it',
  'date-time': 'a date and time with its offset (RFC 3339), such as 2026-03-01T10:00:00Z',
  email: 'an e-mail address',
  uri: 'a web address, such as https://shop.example/boots',
};

function escapePointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}
