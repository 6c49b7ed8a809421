import type { FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { findFormVersion, type PublicForm } from '../../db/forms';
import { REFERRAL_CODE } from '../../db/referrals';
import { FORM_LANGUAGES } from '../../domain/form';
import { pageOf, UTM_PARAMETERS, utmOf } from '../../domain/form-source';
import { readValues, type ValueFault } from '../../domain/form-values';
import { Problem } from '../../domain/problem';
import { callerByBearer } from '../auth';
import type { Api, ApiContext } from '../context';
import {
  canReceive,
  countNetwork,
  GRACE_MS,
  ipOf,
  isFormOrigin,
  openForm,
  originNotAllowed,
  readAddress,
  type Shown,
  saysTheSame,
  takeRequest,
  userAgentOf,
} from '../form-submission';
import { invalidField, invalidFields, problemResponses, type RequestFault } from '../problems';

const BODY_LIMIT_BYTES = 64 * 1024;
const PREFLIGHT_S = 600;

declare module 'fastify' {
  interface FastifyRequest {
    /** The form that this is about, once its origin or key was found to be allowed. */
    publicForm: PublicForm | null;
  }
}

const RequestBody = Type.Object(
  {
    email: Type.String({ minLength: 1, maxLength: 400, description: 'The address.' }),
    name: Type.Optional(Type.String({ maxLength: 200, description: 'The person’s full name.' })),
    fields: Type.Optional(
      Type.Record(
        Type.String({ maxLength: 60 }),
        Type.Union([Type.String({ maxLength: 2000 }), Type.Number(), Type.Boolean(), Type.Null()]),
        { description: 'The form’s own fields, by name.' },
      ),
    ),
    consents: Type.Optional(
      Type.Array(Type.Enum(['nudges', 'follow-up', 'marketing']), {
        maxItems: 3,
        uniqueItems: true,
        description:
          'What the person has ticked: purposes of the form, whose words your page must show exactly, beside a box that is not ticked beforehand.',
      }),
    ),
    language: Type.Optional(
      Type.Enum(FORM_LANGUAGES, {
        description: 'In which the words were shown; the form’s first where it is left out.',
      }),
    ),
    formVersion: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 2 ** 31 - 1,
        description:
          'Which version’s words your page shows; the latest where it is left out. An older one is taken for a day after it was ' +
          'replaced, or as long as the words that were ticked are the same.',
      }),
    ),
    timeZone: Type.Optional(Type.String({ maxLength: 60, description: 'IANA zone, as the browser tells it.' })),
    page: Type.Optional(
      Type.String({ maxLength: 2000, description: 'The page on which it was filled in; the Referer else.' }),
    ),
    referrer: Type.Optional(Type.String({ maxLength: 2000, description: 'The page that led there.' })),
    utm: Type.Optional(
      Type.Object(Object.fromEntries(UTM_PARAMETERS.map((name) => [name, Type.Optional(Type.String())])), {
        additionalProperties: false,
        description: 'As the page was called with, without `utm_`.',
      }),
    ),
    referralCode: Type.Optional(Type.String({ maxLength: 100, description: 'The parameter `ref` of the page.' })),
    hint: Type.Optional(
      Type.Boolean({
        default: false,
        description:
          'True: refuse an address whose domain looks mistyped, with `suggestion`. Ask the person, and send it again without this if ' +
          'they insist.',
      }),
    ),
    leaveEmpty: Type.Optional(
      Type.String({ maxLength: 2000, description: 'A field of your page that people don’t see, and robots fill in.' }),
    ),
    ip: Type.Optional(Type.String({ maxLength: 60, description: 'With a key only: from where the person sent it.' })),
    userAgent: Type.Optional(Type.String({ maxLength: 1000, description: 'With a key only: their browser.' })),
  },
  {
    additionalProperties: false,
    examples: [{ email: 'ana@example.com', name: 'Ana García', consents: ['nudges'], language: 'es' }],
  },
);
type RequestBody = Static<typeof RequestBody>;

/** Where pages of the shop's own, and its servers, send a form as JSON. */
export function publicFormRequests(app: Api, context: ApiContext): void {
  const { db, config, clock } = context;
  app.decorateRequest('publicForm', null);
  app.addHook('onRequest', async (request, reply) => {
    const { id = '' } = request.params as { id?: string };
    const form = await openForm(context, id);
    reply.header('vary', 'Origin');
    const { origin } = request.headers;
    if (origin !== undefined) {
      if (!isFormOrigin(form, origin, config.publicUrl)) throw originNotAllowed();
      // Never with cookies: there is nothing here that a cookie could allow.
      reply.headers({
        'access-control-allow-origin': origin,
        'access-control-expose-headers': 'retry-after, x-request-id',
      });
    } else if (request.method !== 'OPTIONS') {
      const { scopes } = await callerByBearer(request, context);
      if (!scopes.includes('forms')) {
        throw new Problem('forbidden', 'This takes the scope forms.', { scopes: ['forms'] });
      }
    }
    request.publicForm = form;
  });

  app.options(
    '/f/:id/requests',
    {
      schema: {
        operationId: 'allowFormRequest',
        tags: ['public'],
        summary: 'May this page send the form?',
        description: 'What browsers ask before a page of another origin sends JSON (CORS preflight).',
        security: [],
        params: Type.Object({ id: Type.String({ description: 'The form.' }) }),
        response: {
          204: Type.Null({ description: 'It may.' }),
          ...problemResponses('not-found', 'origin-not-allowed'),
        },
      },
    },
    async (_request, reply) =>
      await reply
        .code(204)
        .headers({
          'access-control-allow-methods': 'POST',
          'access-control-allow-headers': 'content-type',
          'access-control-max-age': String(PREFLIGHT_S),
        })
        .send(null),
  );

  app.post(
    '/f/:id/requests',
    {
      bodyLimit: BODY_LIMIT_BYTES,
      schema: {
        operationId: 'requestInformation',
        tags: ['public'],
        summary: 'Send a form as JSON',
        description:
          'From a page of one of the form’s `origins`, or with an API key of the scope `forms`. The answer is the same whether or not ' +
          'the address is known, and whatever is known of it.',
        security: [],
        params: Type.Object({ id: Type.String({ description: 'The form.' }) }),
        body: RequestBody,
        response: {
          202: Type.Object({ accepted: Type.Literal(true) }, { description: 'It is kept. The same for everybody.' }),
          ...problemResponses(
            'not-found',
            'origin-not-allowed',
            'forbidden',
            'too-many-requests',
            'payload-too-large',
            'unsupported-media-type',
          ),
        },
      },
    },
    async (request, reply) => {
      const { body, publicForm: form } = request;
      if (form === null) throw new Error('a form was looked up before');
      const keyed = request.apiKeyId !== '';
      // A shop's server sends for everybody.
      if (!keyed) await countNetwork(context, request);
      const accepted = { accepted: true } as const;
      if ((body.leaveEmpty ?? '') !== '') return await reply.code(202).send(accepted);

      const shown = await shownTo(form, body);
      const faults = [...senderFaults(body, keyed), ...consentFaults(shown, body)];
      const { values, faults: wrong } = readFields(shown, body);
      faults.push(...wrong);
      const read = readAddress(body.email);
      if ('fault' in read) faults.push({ pointer: '/email', in: 'body', detail: read.problem });
      if (faults.length > 0 || 'fault' in read) throw invalidFields(faults);
      if (body.hint === true && read.suggestion !== null) {
        throw new Problem('invalid-request', '/email: its domain looks mistyped', {
          errors: [{ pointer: '/email', in: 'body', detail: `did you mean ${read.suggestion}?` }],
          suggestion: read.suggestion,
        });
      }
      if (!(await canReceive(context, read.address))) {
        throw invalidField(
          '/email',
          'no mail can be sent to this domain: it publishes neither a mail server nor an address',
        );
      }
      await takeRequest(context, { request, reply }, form, shown, {
        email: read.address,
        name: values.name || (read.name ?? '').slice(0, 200),
        locale: values.locale,
        timeZone: values.timeZone,
        attributes: values.attributes,
        ticked: body.consents ?? [],
        source: sourceOf(request, body),
        referralCode: REFERRAL_CODE.test(body.referralCode ?? '') ? (body.referralCode ?? null) : null,
        ip: keyed ? ipOf(body.ip ?? '') : ipOf(request.ip),
        userAgent: userAgentOf(keyed ? body.userAgent : request.headers['user-agent']),
      });
      return await reply.code(202).send(accepted);
    },
  );

  /** @throws Problem `invalid-request` where it is not known, or too old, what was shown */
  async function shownTo(form: PublicForm, { language, formVersion, consents = [] }: RequestBody): Promise<Shown> {
    const number = formVersion ?? form.version;
    const version = await findFormVersion(db, form.id, number);
    if (version === null) throw invalidField('/formVersion', 'there is no such version of this form');
    const { languages } = version.definition;
    const inLanguage = language ?? languages[0];
    if (inLanguage === undefined || !languages.includes(inLanguage)) {
      throw invalidField('/language', `the form is in ${languages.join(', ')}`);
    }
    const shown = { version: number, definition: version.definition, language: inLanguage };
    const isReplaced = version.replacedAt !== null && clock().getTime() - version.replacedAt.getTime() > GRACE_MS;
    if (isReplaced && !saysTheSame(form, shown, consents)) {
      throw invalidField('/formVersion', `its words have changed since; show those of version ${form.version}`);
    }
    return shown;
  }
}

/** Only a server tells from whom it has a form; a browser speaks for itself. */
function senderFaults(body: RequestBody, keyed: boolean): RequestFault[] {
  const faults: RequestFault[] = [];
  for (const name of ['ip', 'userAgent'] as const) {
    if (!keyed && body[name] !== undefined) {
      faults.push({ pointer: `/${name}`, in: 'body', detail: 'is taken with an API key only' });
    }
  }
  if (keyed && body.ip !== undefined && ipOf(body.ip) === null) {
    faults.push({ pointer: '/ip', in: 'body', detail: 'is not an IPv4 or IPv6 address' });
  }
  return faults;
}

function consentFaults({ definition }: Shown, { consents = [] }: RequestBody): RequestFault[] {
  const asked = (definition.consents ?? []).map(({ purpose }) => purpose);
  return consents.flatMap((purpose, index) =>
    asked.includes(purpose)
      ? []
      : [
          {
            pointer: `/consents/${index}`,
            in: 'body' as const,
            detail: `the form asks for ${asked.join(', ') || 'none'}`,
          },
        ],
  );
}

/** The form's own fields, and the two that may come beside them. */
function readFields({ definition }: Shown, { name, timeZone, fields = {} }: RequestBody) {
  const own = definition.fields ?? [];
  const beside = { ...(name === undefined ? {} : { name }), ...(timeZone === undefined ? {} : { timeZone }) };
  const all = [
    ...own.filter((field) => !Object.hasOwn(beside, field.name)),
    ...Object.keys(beside).map((key) => ({ name: key, label: {}, kind: 'text' as const })),
  ];
  const given = { ...fields, ...beside };
  const { values, faults } = readValues(all, (key) =>
    Object.hasOwn(given, key) ? given[key as keyof typeof given] : undefined,
  );
  const wrong: RequestFault[] = [...faults].map(([key, fault]) => ({
    pointer: Object.hasOwn(beside, key) ? `/${key}` : `/fields/${key}`,
    in: 'body',
    detail: FAULTS[fault],
  }));
  for (const key of Object.keys(fields)) {
    if (own.some((field) => field.name === key)) continue;
    const pointer = `/fields/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    wrong.push({ pointer, in: 'body', detail: 'the form has no such field' });
  }
  return { values, faults: wrong };
}

const FAULTS: Readonly<Record<ValueFault, string>> = {
  missing: 'is missing',
  'too-long': 'is too long',
  'not-text': 'holds characters that can not be used',
  'no-number': 'must be a number',
  'no-choice': 'must be one of the choices',
  'web-address': 'must be a name, without web addresses',
  'not-valid': 'is not valid',
};

function sourceOf(request: FastifyRequest, body: RequestBody) {
  const page = pageOf(body.page) ?? (request.apiKeyId === '' ? pageOf(request.headers.referer) : undefined);
  const referrer = pageOf(body.referrer);
  const utm = utmOf((name) => body.utm?.[name]);
  return {
    ...(page === undefined ? {} : { page }),
    ...(referrer === undefined ? {} : { referrer }),
    ...(Object.keys(utm).length === 0 ? {} : { utm }),
  };
}
