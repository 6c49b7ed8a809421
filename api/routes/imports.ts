import multipart from '@fastify/multipart';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifySchemaCompiler } from 'fastify';
import { type Static, type TSchema, Type } from 'typebox';
import type { Db } from '../../db/client';
import {
  campaignForImport,
  createImport,
  deleteUpload,
  findImport,
  type ImportIssue,
  type ImportView,
  listImports,
  listIssues,
  storeUpload,
} from '../../db/imports';
import { PURPOSES, type Purpose } from '../../domain/consent';
import { Problem } from '../../domain/problem';
import { unnamedSource } from '../../mail/compose/named-source';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { replay, reserveFor } from '../idempotency';
import { lookedAt, openUpload, type Upload } from '../leads-upload';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readCursor, readNewestFirst } from '../pagination';
import { invalidFields, problemResponses, type RequestFault } from '../problems';
import { Id, idParams, Nullable, NullableTime, Time, timeZoneOf } from '../schemas';
import { validatorCompiler } from '../validation';

const FILE_TYPES = [
  'text/csv',
  'application/csv',
  'text/plain',
  'application/vnd.ms-excel',
  'application/octet-stream',
];

const MAX_TEXT = 10_000;
const MAX_SOURCE = 500;
const MAX_MAPPING = 100;

/** How many errors and warnings an import tells of itself; the rest comes in pages. */
const MAX_INLINE = 10_000;
const MAX_PAGE = 1_000;

const MAPPING_ABOUT =
  'Which column holds what, as JSON: `{"email":"Correo","name":"Cliente"}`. The keys are `email`, `name`, `firstName`, ' +
  '`lastName`, `requestedAt`, `locale`, `timeZone` and `consent`; any other key becomes an attribute of the lead. An empty ' +
  'name means that no column holds it. Whatever is left out is guessed from the header, in Spanish and English.';

const PARAMETERS = {
  purpose: Type.Optional(
    Type.String({
      description: `What the people in the file agreed to: one of ${PURPOSES.map((purpose) => `\`${purpose}\``).join(', ')}. Required.`,
      examples: ['nudges'],
    }),
  ),
  consentText: Type.Optional(
    Type.String({ description: 'The exact words that they agreed to. Required.', examples: ['Sí, escríbanme.'] }),
  ),
  source: Type.Optional(
    Type.String({
      description: 'Which form or occasion it came from. Required.',
      examples: ['ficha de la feria 2025'],
    }),
  ),
  mapping: Type.Optional(Type.String({ description: MAPPING_ABOUT, examples: ['{"email":"Correo"}'] })),
  timeZone: Type.Optional(
    Type.String({ description: 'IANA zone for leads that bring none; the campaign’s when it is left out.' }),
  ),
};

const File = Type.String({ format: 'binary', description: 'The file.' });
/** For the reference; the route reads the body itself. */
const BODY = {
  content: {
    ...Object.fromEntries(FILE_TYPES.map((type) => [type, { schema: File }])),
    'multipart/form-data': { schema: Type.Object({ ...PARAMETERS, file: File }) },
  },
};

const Issue = Type.Object({
  line: Type.Integer({ description: 'The line of the file, counted from 1, on which it starts.' }),
  column: Nullable(Type.String({ description: 'The column’s name; null when it is about the whole line.' })),
  reason: Type.String({ description: 'What is wrong with it.' }),
});

const SUMMARY = {
  importId: Id('This import.'),
  campaignId: Id('The campaign that the leads enter.'),
  state: Type.Enum(['running', 'completed', 'failed']),
  total: Type.Integer({
    description: 'Data lines dealt with so far, all of them when it is completed: created + existing + rejected.',
  }),
  created: Type.Integer({ description: 'Lines that enrolled somebody.' }),
  existing: Type.Integer({
    description: 'Lines of people who are in the campaign already, or stood above in the file.',
  }),
  rejected: Type.Integer({ description: 'Lines that were refused; `errors` says why.' }),
  warningCount: Type.Integer({ description: 'Remarks on lines that were taken all the same.' }),
  failure: Nullable(Type.String({ description: 'Of a failed import: why. What was counted until then stays.' })),
  purpose: Type.String(),
  consentText: Type.String(),
  source: Type.String(),
  mapping: Nullable(Type.Record(Type.String(), Type.String())),
  timeZone: Type.String(),
  encoding: Type.String({ description: 'The encoding that was found.' }),
  bytes: Type.Integer({ description: 'The size of the file.' }),
  sha256: Nullable(
    Type.String({
      description:
        'SHA-256 of the file, hex. The file is not kept; the evidence of each consent names this, so that yours can be shown.',
    }),
  ),
  createdAt: Time('When the file was accepted.'),
  finishedAt: NullableTime('When it ended; null while it is running.'),
};

const Import = Type.Object({
  ...SUMMARY,
  errors: Type.Array(Issue, { description: `The rejected lines in order, the first ${MAX_INLINE} at most.` }),
  warnings: Type.Array(Issue, { description: `The warnings in order, the first ${MAX_INLINE} at most.` }),
});

/** Handing over files of leads, and what became of them. */
export function importRoutes(app: Api, context: ApiContext): void {
  // In a scope of its own, since only here a body is left unread for the route.
  app.register(async (plain) => {
    const scope: Api = plain.withTypeProvider<TypeBoxTypeProvider>();
    scope.removeAllContentTypeParsers();
    await scope.register(multipart);
    scope.addContentTypeParser(FILE_TYPES, (_request, _payload, done) => done(null, undefined));
    uploadRoute(scope, context);
  });
  readingRoutes(app, context);
}

function uploadRoute(app: Api, { db, journeys }: ApiContext): void {
  app.post(
    '/campaigns/:id/imports',
    {
      config: { scopes: ['marketing'], idempotency: 'by-route' },
      validatorCompiler: exceptTheBody,
      schema: {
        operationId: 'importLeads',
        tags: ['imports'],
        summary: 'Import a file of leads',
        description:
          'Send the file as the body, or as the file of a form whose fields before it carry the parameters. CSV of any size; ' +
          'delimiter and encoding (UTF-8, UTF-16, Windows-1252) are found out. The answer comes when the file is kept; ' +
          '`GET /v1/imports/{id}` tells how far it is, every rejected line and why. Where a column asks for consent, only ' +
          'lines that clearly say yes are taken. People in the campaign already are not enrolled again; the consent that a ' +
          'line brings is kept with theirs. The first mail of the campaign must show `consent.source` and a link to the ' +
          'privacy policy.',
        params: idParams('The campaign, published.'),
        querystring: Type.Object(PARAMETERS, { additionalProperties: false }),
        body: BODY,
        response: {
          202: Type.Object(
            { importId: Id('Where `GET /v1/imports/{id}` finds it.') },
            { description: 'The file is kept, and will be dealt with.' },
          ),
          ...problemResponses(
            'not-found',
            'not-published',
            'campaign-cancelled',
            'source-not-named',
            'unsupported-media-type',
          ),
        },
      },
    },
    async (request, reply) => {
      const campaignId = request.params.id;
      let upload: Upload | undefined;
      try {
        // A request that comes again gets its answer, whatever has become of the campaign since.
        if (request.headers['idempotency-key'] === undefined) await importable(db, campaignId);
        upload = await openUpload(request);
        const about = parametersOf(request.query, upload.fields, request.isMultipart() ? 'body' : 'query');
        const { bytes, look } = lookedAt(upload.bytes, about.mapping);
        const stored = await storeUpload(db, bytes);
        let importId: string | undefined;
        try {
          await upload.end();
          const { encoding, digest } = look();
          const answer = await reserveFor(db, request, JSON.stringify([about, digest]));
          if (answer !== null) return await replay(reply, answer);
          const campaign = await importable(db, campaignId);
          const { timeZone = campaign.timeZone, ...rest } = about;
          const sha256 = Buffer.from(digest, 'base64url').toString('hex');
          await createImport(db, { upload: stored, campaignId, timeZone, encoding, sha256, ...rest });
          importId = stored.id;
        } finally {
          if (importId === undefined) await deleteUpload(db, stored.id);
        }
        const started = importId;
        afterAnswer(reply, () => journeys.startImport(started));
        return await reply.code(202).send({ importId });
      } finally {
        if (upload === undefined) request.raw.resume();
        else upload.drain();
      }
    },
  );
}

/**
 * The campaign that a file is for.
 *
 * @throws Problem `not-found`, `not-published`, `campaign-cancelled`; `source-not-named` where its first mail keeps from
 *   imported people where their data came from
 */
async function importable(db: Db, campaignId: string): Promise<{ timeZone: string }> {
  const { definition, steps } = await campaignForImport(db, campaignId);
  const [information] = steps;
  const missing = information === undefined ? [] : unnamedSource(definition, information, steps.length);
  if (missing.length > 0) {
    throw new Problem('source-not-named', missing.map(({ detail }) => detail).join('; '), { errors: missing });
  }
  return { timeZone: definition.timeZone };
}

/** Nothing has been read of the body when it would be validated. */
const exceptTheBody: FastifySchemaCompiler<TSchema> = (part) =>
  part.httpPart === 'body' ? () => true : validatorCompiler(part);

interface ImportParameters {
  purpose: Purpose;
  consentText: string;
  source: string;
  mapping: Record<string, string> | null;
  timeZone?: string;
}

/**
 * @param expected where a parameter is missed that is nowhere
 * @throws Problem `invalid-request` naming every parameter that is missing or wrong
 */
function parametersOf(
  query: Record<string, string | undefined>,
  fields: Record<string, string>,
  expected: 'body' | 'query',
): ImportParameters {
  const faults: RequestFault[] = [];
  const fault = (name: string, detail: string) => {
    const place = name in fields ? 'body' : name in query ? 'query' : expected;
    faults.push({ pointer: `/${name}`, in: place, detail });
  };
  const given = (name: keyof typeof PARAMETERS, maxLength: number): string | undefined => {
    const value = fields[name] ?? query[name];
    if (value === undefined || value.trim() === '') return undefined;
    if (/\0|\p{Cs}/u.test(value)) fault(name, 'holds a character that is no text');
    else if (value.length > maxLength) fault(name, `must not have more than ${maxLength} characters`);
    return value;
  };
  const required = (name: keyof typeof PARAMETERS, maxLength: number): string => {
    const value = given(name, maxLength);
    if (value === undefined) fault(name, 'is missing');
    return value ?? '';
  };
  for (const name of Object.keys(fields)) {
    if (!Object.hasOwn(PARAMETERS, name)) fault(name, 'there is no such field here; check its spelling');
  }
  const purpose = required('purpose', 100);
  if (purpose !== '' && !(PURPOSES as readonly string[]).includes(purpose)) {
    fault('purpose', `must be one of ${PURPOSES.join(', ')}`);
  }
  const consentText = required('consentText', MAX_TEXT);
  const source = required('source', MAX_SOURCE);
  const mappingText = given('mapping', 20_000);
  const mapping = mappingText === undefined ? null : mappingOf(mappingText);
  if (mapping === undefined) {
    fault('mapping', `must be a JSON object of at most ${MAX_MAPPING} column names, such as {"email":"Correo"}`);
  }
  const timeZone = given('timeZone', 60);
  if (faults.length > 0) throw invalidFields(faults);
  return {
    purpose: purpose as Purpose,
    consentText,
    source,
    mapping: mapping ?? null,
    ...(timeZone === undefined ? {} : { timeZone: timeZoneOf(timeZone, '/timeZone') }),
  };
}

function mappingOf(text: string): Record<string, string> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const entries = Object.entries(value);
    const sound = entries.every(([key, name]) => typeof name === 'string' && !/\0|\p{Cs}/u.test(key + name));
    return sound && entries.length <= MAX_MAPPING ? (value as Record<string, string>) : undefined;
  } catch {
    return undefined;
  }
}

/** Both are columns of Postgres, which refuses to compare them with what they can't hold. */
const IssueCursor = Type.Object({
  line: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }),
  seq: Type.Integer({ minimum: 0, maximum: 2 ** 15 - 1 }),
});

function readingRoutes(app: Api, { db }: ApiContext): void {
  app.get(
    '/campaigns/:id/imports',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'listImports',
        tags: ['imports'],
        summary: 'List the imports of a campaign',
        description: 'Newest first, without their lines.',
        params: idParams('The campaign.'),
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: {
          200: { ...Page(Type.Object(SUMMARY)), description: 'A page of them.' },
          ...problemResponses('not-found'),
        },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const rows = await listImports(db, request.params.id, limit + 1, readNewestFirst(cursor));
      return pageOf(rows, limit, summaryOf, (row) => ({ createdAt: row.createdAt, id: row.importId }));
    },
  );

  app.get(
    '/imports/:id',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'getImport',
        tags: ['imports'],
        summary: 'See how far an import is',
        description:
          'Its counts, which are exact at any moment and add up to `total`, and the lines that were rejected or remarked on.',
        params: idParams('The import.'),
        querystring: Type.Object(
          {
            limit: Type.Optional(
              Type.Integer({
                minimum: 0,
                maximum: MAX_INLINE,
                default: MAX_INLINE,
                description: 'How many errors and how many warnings to tell at most; 0 for the counts alone.',
              }),
            ),
          },
          { additionalProperties: false },
        ),
        response: { 200: { ...Import, description: 'The import.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const { errors, warnings, ...view } = await findImport(db, request.params.id, request.query.limit ?? MAX_INLINE);
      return { ...summaryOf(view), errors, warnings };
    },
  );

  issueRoute(true, {
    path: 'errors',
    operationId: 'listImportErrors',
    summary: 'List the rejected lines of an import',
    description: 'All of them, in the order of the file.',
  });
  issueRoute(false, {
    path: 'warnings',
    operationId: 'listImportWarnings',
    summary: 'List the warnings of an import',
    description: 'What was remarked on lines that were taken all the same, in the order of the file.',
  });

  function issueRoute(
    rejected: boolean,
    told: Record<'path' | 'operationId' | 'summary' | 'description', string>,
  ): void {
    const { path, ...about } = told;
    app.get(
      `/imports/:id/${path}`,
      {
        config: { scopes: ['marketing', 'operator'] },
        schema: {
          ...about,
          tags: ['imports'],
          params: idParams('The import.'),
          querystring: Type.Object(
            {
              ...PAGE_QUERY,
              limit: Type.Optional(
                Type.Integer({ minimum: 1, maximum: MAX_PAGE, default: 100, description: 'How many at most.' }),
              ),
            },
            { additionalProperties: false },
          ),
          response: { 200: { ...Page(Issue), description: 'A page of them.' }, ...problemResponses('not-found') },
        },
      },
      async (request) => {
        const { id } = request.params as { id: string };
        const { limit = 100, cursor } = request.query as { limit?: number; cursor?: string };
        const after = readCursor(cursor, IssueCursor);
        const rows = await listIssues(db, id, rejected, limit + 1, after);
        const item = ({ line, column, reason }: ImportIssue) => ({ line, column, reason });
        return pageOf(rows, limit, item, ({ line, seq }) => ({ line, seq }));
      },
    );
  }
}

function summaryOf(view: ImportView): Omit<Static<typeof Import>, 'errors' | 'warnings'> {
  return {
    ...view,
    createdAt: view.createdAt.toISOString(),
    finishedAt: view.finishedAt?.toISOString() ?? null,
  };
}
