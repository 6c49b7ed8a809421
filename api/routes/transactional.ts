import { type Static, Type } from 'typebox';
import { type Attachment, enqueueTransactional, findTransactional } from '../../db/transactional';
import {
  deleteTemplate,
  findTemplate,
  listTemplates,
  noSuchTemplate,
  notUsable,
  putTemplate,
  type StoredTemplate,
  type TransactionalTemplate,
} from '../../db/transactional-templates';
import { CAMPAIGN_DEFAULTS } from '../../domain/campaign';
import { Problem } from '../../domain/problem';
import {
  compileTransactional,
  fillTransactional,
  NotFillable,
  TRANSACTIONAL_VARIABLES,
  type TransactionalValues,
} from '../../mail/compose/transactional-template';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { idOfRequest } from '../idempotency';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readCursor } from '../pagination';
import { invalidField, invalidFields, NOT_BLANK, problemResponses, type RequestFault } from '../problems';
import { addressOf, hashesOf, Id, idParams, localeOf, Nullable, NullableTime, Time, timeZoneOf } from '../schemas';

/** Of all attachments of a mail together, as they are (not as base64): more than that many servers refuse. */
const ATTACHMENTS_BYTES = 10 * 1024 * 1024;
const DATA_CHARACTERS = 256 * 1024;
/** Base64 makes four of three; beside it there is room for line breaks and the data. */
const BODY_LIMIT_BYTES = Math.ceil((ATTACHMENTS_BYTES / 3) * 4.2) + 1024 * 1024;
const TEMPLATE_LIMIT_BYTES = 2 * 1024 * 1024;

const TemplateName = Type.String({
  pattern: '^[a-z0-9][a-z0-9-]{0,59}$',
  description: 'Lower-case letters, digits and hyphens.',
  examples: ['invoice'],
});

const templateParams = Type.Object({ name: TemplateName });

const Email = (description: string) => Type.String({ minLength: 1, maxLength: 400, description });

const VARIABLES = TRANSACTIONAL_VARIABLES.map(({ path, doc }) => `\`${path}\`: ${doc}`).join(' ');

const TemplateBody = Type.Object(
  {
    subject: Type.String({ maxLength: 400, pattern: NOT_BLANK, description: 'Subject line; Liquid.' }),
    mjml: Type.String({ minLength: 1, maxLength: 200_000, description: 'The body as MJML; Liquid inside.' }),
    text: Type.Optional(
      Type.String({
        maxLength: 100_000,
        description: 'The plain-text part; Liquid. Made from the HTML when it is left out.',
      }),
    ),
    from: Type.Object(
      {
        name: Type.String({ maxLength: 200, pattern: NOT_BLANK, description: 'The name in the From header.' }),
        address: Email('The address in the From header; no campaign may write from it.'),
      },
      { additionalProperties: false, description: 'Who writes.' },
    ),
    replyTo: Type.Optional(Email('Where answers go; to `from` when it is left out.')),
    locale: Type.Optional(
      Type.String({
        maxLength: 35,
        default: CAMPAIGN_DEFAULTS.locale,
        description: 'The language (BCP 47) of mails that name none.',
      }),
    ),
    timeZone: Type.Optional(
      Type.String({
        maxLength: 60,
        default: CAMPAIGN_DEFAULTS.timeZone,
        description: 'IANA zone in which the filters `date` and `localDate` print.',
      }),
    ),
  },
  {
    additionalProperties: false,
    examples: [
      {
        subject: 'Your invoice {{ data.number }}',
        mjml:
          '<mjml><mj-body><mj-section><mj-column><mj-text>Hello {{ to.firstName | default: "there" }}, here is your invoice ' +
          'of {{ data.date | localDate }} over {{ data.total }}.</mj-text></mj-column></mj-section></mj-body></mjml>',
        from: { name: 'Casa Brava invoices', address: 'invoices@orders.shop.example' },
        replyTo: 'help@shop.example',
        locale: 'en',
      },
    ],
  },
);

const Template = Type.Object({
  name: TemplateName,
  subject: Type.String({ description: 'Subject line; Liquid.' }),
  mjml: Type.String({ description: 'The body as MJML; Liquid inside.' }),
  text: Nullable(Type.String({ description: 'The plain-text part; null: made from the HTML.' })),
  from: Type.Object({
    name: Type.String({ description: 'The name in the From header.' }),
    address: Type.String({ description: 'The address in the From header.' }),
  }),
  replyTo: Nullable(Type.String({ description: 'Where answers go; null: to `from`.' })),
  locale: Type.String({ description: 'The language of mails that name none.' }),
  timeZone: Type.String({ description: 'In which dates are printed.' }),
  createdAt: Time('When it was put first.'),
  updatedAt: Time('When it was put last.'),
});

const AttachmentField = Type.Object(
  {
    filename: Type.String({ maxLength: 200, pattern: NOT_BLANK, description: 'As the reader will save it.' }),
    contentType: Type.String({
      maxLength: 120,
      pattern: '^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$',
      description: 'Media type, without parameters.',
      examples: ['application/pdf'],
    }),
    content: Type.String({ minLength: 1, contentEncoding: 'base64', description: 'The bytes, as base64 (RFC 4648).' }),
    contentId: Type.Optional(
      Type.String({
        maxLength: 100,
        pattern: '^[A-Za-z0-9][A-Za-z0-9._@-]*$',
        description:
          'Where the body shows it: `<mj-image src="cid:logo" />` shows the picture with the contentId `logo`.',
        examples: ['logo'],
      }),
    ),
  },
  { additionalProperties: false },
);

const MailBody = Type.Object(
  {
    template: TemplateName,
    to: Type.Object(
      {
        email: Email('The one recipient.'),
        name: Type.Optional(Type.String({ maxLength: 200, description: 'Their full name.' })),
      },
      { additionalProperties: false, description: 'Who gets it. Unsubscribes do not keep invoices back.' },
    ),
    data: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), {
        description: `What the template prints as \`data.…\`: any JSON, at most ${DATA_CHARACTERS / 1024} KiB. Kept until the mail is sent, and never logged.`,
      }),
    ),
    locale: Type.Optional(
      Type.String({
        maxLength: 35,
        description: 'Language (BCP 47) of its dates; the template’s when it is left out.',
      }),
    ),
    attachments: Type.Optional(
      Type.Array(AttachmentField, {
        maxItems: 20,
        description: `Files that go along, ${ATTACHMENTS_BYTES / 1024 / 1024} MiB together at most.`,
      }),
    ),
    replyTo: Type.Optional(Email('Where answers go; where the template says when it is left out.')),
  },
  {
    additionalProperties: false,
    examples: [
      {
        template: 'invoice',
        to: { email: 'ana@example.com', name: 'Ana García' },
        data: { number: '2026-0117', date: '2026-03-01', total: '129,00 €' },
        attachments: [{ filename: 'invoice.pdf', contentType: 'application/pdf', content: 'JVBERi0xLjcK' }],
      },
    ],
  },
);

const TransactionalMail = Type.Object({
  transactionalId: Id('This mail.'),
  kind: Type.Enum(['shop', 'forward', 'alert', 'confirmation', 'link'], {
    description: '`shop`: asked for through this API. `forward` and `alert`: mail to your own staff.',
  }),
  template: Nullable(Type.String({ description: 'The template’s name; null for mail to staff.' })),
  state: Type.Enum(['queued', 'claimed', 'handing_over', 'accepted', 'rejected', 'deferred', 'unknown'], {
    description:
      '`queued`, `claimed` and `handing_over`: on its way. `accepted`: the mail server took it. `rejected`: refused for ' +
      'good. `deferred`: put off for five days, then given up. `unknown`: the connection broke, or a process died, while it ' +
      'was handed over; it may have arrived, and is never sent again.',
  }),
  code: Nullable(
    Type.String({
      description:
        'The mail server’s last answer, as codes; or `cancelled`, `not_fillable`, `crash`, `connection-lost`, `deadline`.',
    }),
  ),
  messageId: Nullable(Type.String({ description: 'Its Message-ID, once it was tried.' })),
  deferrals: Type.Integer({ description: 'How often the recipient’s server has put it off.' }),
  notBefore: NullableTime('When it is tried again, where it waits for that.'),
  report: Type.Union(
    [
      Type.Object({
        kind: Type.Enum(['delivered', 'delayed', 'bounced-soft', 'bounced-hard', 'complained']),
        code: Nullable(Type.String({ description: 'The enhanced status code, where one was told.' })),
        at: Time('When it was told.'),
      }),
      Type.Null(),
    ],
    { description: 'What a delivery report, or the provider, told of it after it was taken.' },
  ),
  createdAt: Time('When it was asked for.'),
  settledAt: NullableTime('When its state became final.'),
});

/** Mail of the shop: templates, and one mail at a time. */
export function transactionalRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.put(
    '/transactional/templates/:name',
    {
      bodyLimit: TEMPLATE_LIMIT_BYTES,
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'putTransactionalTemplate',
        tags: ['transactional'],
        summary: 'Put a template',
        description:
          'Checked and compiled at once; in place of the one before, if there was one. Mails that were accepted with that ' +
          `one go out as they were. It may name: ${VARIABLES} A template that a campaign’s From address stands in is ` +
          'refused: complaints about marketing must never touch the shop’s invoices.',
        params: templateParams,
        body: TemplateBody,
        response: {
          200: { ...Template, description: 'It is in place of the one before.' },
          201: { ...Template, description: 'It is new.' },
          ...problemResponses('template-not-usable'),
        },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const template = templateOf(request.body);
      const result = await compileTransactional(template, template.locale);
      if ('problems' in result) throw notUsable(result.problems);
      const isNew = await putTemplate(db, name, template, result.compiled, clock());
      return await reply.code(isNew ? 201 : 200).send(templateAnswer(await templateNamed(name)));
    },
  );

  app.get(
    '/transactional/templates',
    {
      config: { scopes: ['marketing', 'checkout', 'operator'] },
      schema: {
        operationId: 'listTransactionalTemplates',
        tags: ['transactional'],
        summary: 'List templates',
        description: 'By name.',
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: { 200: { ...Page(Template), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const after = readCursor(cursor, Type.Object({ name: Type.String() }));
      const rows = await listTemplates(db, limit + 1, after?.name ?? null);
      return pageOf(rows, limit, templateAnswer, ({ name }) => ({ name }));
    },
  );

  app.get(
    '/transactional/templates/:name',
    {
      config: { scopes: ['marketing', 'checkout', 'operator'] },
      schema: {
        operationId: 'getTransactionalTemplate',
        tags: ['transactional'],
        summary: 'See a template',
        description: 'As it was put last.',
        params: templateParams,
        response: { 200: { ...Template, description: 'The template.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => templateAnswer(await templateNamed(request.params.name)),
  );

  app.delete(
    '/transactional/templates/:name',
    {
      config: { scopes: ['marketing'] },
      schema: {
        operationId: 'deleteTransactionalTemplate',
        tags: ['transactional'],
        summary: 'Delete a template',
        description: 'Mails that were accepted with it go out all the same.',
        params: templateParams,
        response: { 204: Type.Null({ description: 'It is gone.' }), ...problemResponses('not-found') },
      },
    },
    async (request, reply) => {
      await deleteTemplate(db, request.params.name);
      return await reply.code(204).send(null);
    },
  );

  app.post(
    '/transactional',
    {
      bodyLimit: BODY_LIMIT_BYTES,
      config: { scopes: ['checkout'] },
      schema: {
        operationId: 'sendTransactional',
        tags: ['transactional'],
        summary: 'Send a mail of the shop',
        description:
          'One mail to one recipient, from a template. It is sent once, through a stream of its own that marketing never ' +
          'delays, and also when the recipient has unsubscribed. What is missing in `data` is told at once. Data and files ' +
          'are kept until it is sent, the address for 30 days more, since a bounce may come late. Send an Idempotency-Key, ' +
          'so that asking again after a lost answer sends no second invoice.',
        body: MailBody,
        response: {
          202: Type.Object(
            { transactionalId: Id('Where `GET /v1/transactional/{id}` finds it.') },
            { description: 'It is kept, and sent soon.' },
          ),
          ...problemResponses('not-fillable'),
        },
      },
    },
    async (request, reply) => {
      const { body } = request;
      const now = clock();
      const stored = await findTemplate(db, body.template);
      if (stored === null) throw invalidField('/template', 'there is no transactional template of this name');
      const { template, compiled } = stored;
      const { address, name } = addressOf(body.to.email, '/to/email');
      const data = dataOf(body.data ?? {});
      const attachments = attachmentsOf(body.attachments ?? []);
      const to = { email: address, name: body.to.name ?? name ?? null };
      const content = {
        from: template.from,
        replyTo: body.replyTo === undefined ? (template.replyTo ?? null) : addressOf(body.replyTo, '/replyTo').address,
        compiled,
        data,
        locale: body.locale === undefined ? template.locale : localeOf(body.locale, '/locale'),
        timeZone: template.timeZone,
      };
      // What can't be filled is told here, to the program that can mend it, rather than by a worker later.
      refuseUnfillable(compiled, { ...content, to, date: now });
      const hashes = hashesOf(address, config);
      const mail = { kind: 'shop' as const, to, hashes, template: stored.name, content, attachments };
      const transactionalId = await enqueueTransactional(db, mail, idOfRequest(request));
      afterAnswer(reply, () => journeys.startTransactional([transactionalId]));
      return await reply.code(202).send({ transactionalId });
    },
  );

  app.get(
    '/transactional/:id',
    {
      config: { scopes: ['checkout', 'operator'] },
      schema: {
        operationId: 'getTransactional',
        tags: ['transactional'],
        summary: 'See what became of a mail',
        description: 'Whether the mail server took it, and what was heard of it since.',
        params: idParams('The mail.'),
        response: { 200: { ...TransactionalMail, description: 'The mail.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const mail = await findTransactional(db, request.params.id);
      return {
        ...mail,
        notBefore: mail.notBefore?.toISOString() ?? null,
        report: mail.report === null ? null : { ...mail.report, at: mail.report.at.toISOString() },
        createdAt: mail.createdAt.toISOString(),
        settledAt: mail.settledAt?.toISOString() ?? null,
      };
    },
  );

  async function templateNamed(name: string): Promise<StoredTemplate> {
    const stored = await findTemplate(db, name);
    if (stored === null) throw noSuchTemplate(name);
    return stored;
  }
}

/** @throws Problem `invalid-request` */
function templateOf(body: Static<typeof TemplateBody>): TransactionalTemplate {
  const { subject, mjml, text, from, replyTo, locale, timeZone } = body;
  return {
    subject,
    mjml,
    ...(text === undefined ? {} : { text }),
    from: { name: from.name, address: addressOf(from.address, '/from/address').address },
    ...(replyTo === undefined ? {} : { replyTo: addressOf(replyTo, '/replyTo').address }),
    locale: locale === undefined ? CAMPAIGN_DEFAULTS.locale : localeOf(locale, '/locale'),
    timeZone: timeZone === undefined ? CAMPAIGN_DEFAULTS.timeZone : timeZoneOf(timeZone, '/timeZone'),
  };
}

function templateAnswer({ name, template, createdAt, updatedAt }: StoredTemplate) {
  return {
    name,
    ...template,
    text: template.text ?? null,
    replyTo: template.replyTo ?? null,
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  };
}

function dataOf(data: Record<string, unknown>): Record<string, unknown> {
  if (JSON.stringify(data).length <= DATA_CHARACTERS) return data;
  throw invalidField('/data', `is larger than ${DATA_CHARACTERS / 1024} KiB`);
}

/** @throws Problem `invalid-request`, `payload-too-large` */
function attachmentsOf(given: readonly Static<typeof AttachmentField>[]): Attachment[] {
  const faults: RequestFault[] = [];
  const attachments = given.map(({ filename, contentType, content, contentId = null }, index) => {
    const text = content.replace(/[\r\n]/g, '');
    const bytes = Buffer.from(text, 'base64');
    // Node's decoder skips what it doesn't know, and a broken invoice is worse than none.
    if (bytes.toString('base64').replace(/=+$/, '') !== text.replace(/=+$/, '')) {
      faults.push({
        pointer: `/attachments/${index}/content`,
        in: 'body',
        detail: 'is not base64 (RFC 4648, section 4)',
      });
    }
    if (contentId !== null && given.findIndex((other) => other.contentId === contentId) < index) {
      faults.push({
        pointer: `/attachments/${index}/contentId`,
        in: 'body',
        detail: 'another attachment has the same',
      });
    }
    return { filename, contentType: contentType.toLowerCase(), contentId, bytes };
  });
  if (faults.length > 0) throw invalidFields(faults);
  const total = attachments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (total > ATTACHMENTS_BYTES) {
    throw new Problem(
      'payload-too-large',
      `The attachments have ${total} bytes together, and may have ${ATTACHMENTS_BYTES}: link to a large file instead.`,
    );
  }
  return attachments;
}

/** @throws Problem `not-fillable` */
function refuseUnfillable(compiled: StoredTemplate['compiled'], values: TransactionalValues): void {
  try {
    fillTransactional(compiled, values);
  } catch (error) {
    if (!(error instanceof NotFillable)) throw error;
    const detail = `the template’s ${error.part} can not be filled: ${error.reason}`;
    throw new Problem('not-fillable', detail, { errors: [{ pointer: '/data', in: 'body', detail }] });
  }
}
