import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { versionOf } from '../../db/campaigns';
import { findFormVersion, type PublicForm } from '../../db/forms';
import { REFERRAL_CODE } from '../../db/referrals';
import { FORM_LANGUAGES, type FormLanguage } from '../../domain/form';
import { originOf } from '../../domain/form-checks';
import { pageOf, UTM_PARAMETERS, utmOf } from '../../domain/form-source';
import { type FormToken, readFormToken, signFormToken } from '../../domain/form-token';
import { readValues } from '../../domain/form-values';
import type { Api, ApiContext } from '../context';
import { logError } from '../errors';
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
  type Sound,
  saysTheSame,
  takeRequest,
  userAgentOf,
} from '../form-submission';
import { type FormEntries, type FormTrouble, formPage, formRefusalPage, INPUTS, thanksPage } from '../pages/form';
import type { FormNotice } from '../pages/form-words';
import { sendPage } from '../pages/html';
import { htmlAnswer, takeForms } from '../pages/scope';
import { PROBLEMS, problemOf } from '../problems';

/** Far more than the largest form that can be defined. */
const BODY_LIMIT_BYTES = 128 * 1024;
/** Nobody reads and fills in a form faster; many robots do (ms). */
const FASTEST_MS = 2_000;

const PARAMS = Type.Object({ id: Type.String({ description: 'The form.' }) });
const UNAVAILABLE = htmlAnswer('Postgres can not be reached. Nothing was kept; try again.');
const CLOSED = htmlAnswer('There is no such form, or it is not open.');
const text = (description: string) => Type.Optional(Type.String({ description }));

/** The page of a form. It works without scripts, and shows everybody the same, whatever is known of their address. */
export function publicFormPages(app: Api, context: ApiContext): void {
  const { db, config, clock } = context;
  takeForms(app, BODY_LIMIT_BYTES);
  // A parameter that can't be one is left out; nobody is turned away for the link that led them here.
  app.setValidatorCompiler(() => () => true);
  app.setErrorHandler(async (error, request, reply) => {
    const { code, extra } = problemOf(error);
    const { status } = PROBLEMS[code];
    const language = languageFor(request, FORM_LANGUAGES, 'en');
    if (status >= 500) {
      logError(request, error);
      return await sendPage(reply.header('retry-after', '60'), 503, formRefusalPage(language, 'unavailable'));
    }
    if (status === 429) reply.header('retry-after', String(extra.retryAfter ?? 60));
    const why = ({ 403: 'refused', 404: 'closed', 429: 'tooMany' } as const)[status] ?? 'unreadable';
    return await sendPage(reply, status, formRefusalPage(language, why));
  });

  app.get(
    '/f/:id',
    {
      schema: {
        operationId: 'showForm',
        tags: ['public'],
        summary: 'The page of a form',
        description:
          'In the language that `lang` or the browser names, if the form is in it. `utm_source`, `utm_medium`, `utm_campaign`, ' +
          '`utm_term`, `utm_content` and `ref` (a referral code) are kept with the request.',
        security: [],
        params: PARAMS,
        querystring: Type.Object({
          lang: text('A language, such as `es`.'),
          ref: text('A buyer’s referral code.'),
          ...Object.fromEntries(UTM_PARAMETERS.map((name) => [`utm_${name}`, text('Kept with the request.')])),
        }),
        response: { 200: htmlAnswer('The form.'), 404: CLOSED, 503: UNAVAILABLE },
      },
    },
    async (request, reply) => {
      const form = await openForm(context, request.params.id);
      const query = parametersOf(request);
      const token = newToken(form, languageOf(request, form));
      const referrer = pageOf(request.headers.referer);
      const hidden = carriedFrom((name) => query.get(name), referrer);
      return await showForm(reply, 200, form, { ...shownBy(form, token), token: signed(token), hidden });
    },
  );

  app.get(
    '/f/:id/thanks',
    {
      schema: {
        operationId: 'showFormThanks',
        tags: ['public'],
        summary: 'What comes after a form was sent',
        description: 'The same for everybody.',
        security: [],
        params: PARAMS,
        querystring: Type.Object({ lang: text('A language, such as `es`.') }),
        response: { 200: htmlAnswer('Says what to do next.'), 404: CLOSED, 503: UNAVAILABLE },
      },
    },
    async (request, reply) => {
      const form = await openForm(context, request.params.id);
      return await sendPage(reply, 200, thanksPage(languageOf(request, form), form.definition.doubleOptIn !== false));
    },
  );

  app.post(
    '/f/:id',
    {
      schema: {
        operationId: 'sendForm',
        tags: ['public'],
        summary: 'Send a form',
        description:
          'What the page, and the snippet on a page of the shop, send. The answer is the same whether or not the address is known, ' +
          'and whatever is known of it.',
        security: [],
        params: PARAMS,
        body: {
          content: {
            'application/x-www-form-urlencoded': {
              schema: Type.Object({
                [INPUTS.token]: Type.String({ description: 'From the page or the snippet: what was shown.' }),
                [INPUTS.email]: Type.String({ description: 'The address.' }),
                [INPUTS.trap]: text('Stays empty; people don’t see it.'),
              }),
            },
          },
        },
        response: {
          303: Type.Null({
            description: 'It is kept. The header `Location` says where to go: `thanksUrl`, or a page of ours.',
          }),
          400: htmlAnswer('It could not be read.'),
          403: htmlAnswer('It was sent by a page of an origin that is none of the form’s.'),
          404: CLOSED,
          413: htmlAnswer('It has too many bytes.'),
          415: htmlAnswer('It is no form.'),
          422: htmlAnswer('The form again, with what is wrong beside its fields. Nothing was kept.'),
          429: htmlAnswer('Too many were sent from there. Nothing was kept; try again after `Retry-After` seconds.'),
          503: UNAVAILABLE,
        },
      },
    },
    async (request, reply) => {
      const form = await openForm(context, request.params.id);
      refuseOtherOrigins(request, form);
      await countNetwork(context, request);
      const input = request.body instanceof URLSearchParams ? request.body : new URLSearchParams();
      // A robot is told what it hopes for, so that it looks for no other way.
      if ((input.get(INPUTS.trap) ?? '') !== '') return await thank(reply, form, languageOf(request, form));

      const sent = await readSent(request, form, input);
      const { shown, entries } = sent;
      const checked = sent.notice === null ? await check(sent, input) : null;
      if (checked === null || 'trouble' in checked) {
        const trouble = checked?.trouble ?? troubleOf({ notice: sent.notice ?? 'again' });
        const hidden = carriedFrom(
          (name) => input.get(name),
          pageOf(input.get(INPUTS.referrer)),
          input.get(INPUTS.page),
        );
        return await showForm(reply, 422, form, { ...shown, token: sent.token, hidden }, entries, trouble);
      }
      const source = sourceOf(request, form, sent.kind, input);
      await takeRequest(context, { request, reply }, form, shown, {
        ...checked.sound,
        source,
        referralCode: referralOf(input.get(INPUTS.referral)),
        ip: ipOf(request.ip),
        userAgent: userAgentOf(request.headers['user-agent']),
      });
      return await thank(reply, form, shown.language);
    },
  );

  /**
   * Browsers tell the origin of the page that sends a form. Where a page hides it (`null`), the confirmation is proof enough
   * that the address's own reader is asking.
   */
  function refuseOtherOrigins(request: FastifyRequest, form: PublicForm): void {
    const { origin } = request.headers;
    if (origin === undefined || isFormOrigin(form, origin, config.publicUrl)) return;
    if (origin !== 'null' || form.definition.doubleOptIn === false) throw originNotAllowed();
  }

  /** What was entered, into what; `notice` is why it must be shown once more before it can be taken. */
  async function readSent(request: FastifyRequest, form: PublicForm, input: URLSearchParams): Promise<Sent> {
    const now = clock();
    const token = readFormToken(input.get(INPUTS.token) ?? '', config.tokenKeys);
    const version =
      token === null || token.formId !== form.id ? null : await findFormVersion(db, form.id, token.version);
    const fresh = (notice: FormNotice, language: FormLanguage, keep: boolean): Sent => {
      const anew = newToken(form, language);
      const shown = shownBy(form, anew);
      const entries = entriesOf(shown, input);
      return {
        shown,
        token: signed(anew),
        kind: 'page',
        notice,
        entries: keep ? entries : { ...entries, ticked: [] },
      };
    };
    if (token === null || version === null) return fresh('again', languageOf(request, form), false);

    const shown: Shown = { version: token.version, definition: version.definition, language: token.language };
    const entries = entriesOf(shown, input);
    const age = now.getTime() - token.issuedAt.getTime();
    const same = form.definition.languages.includes(token.language) && saysTheSame(form, shown, entries.ticked);
    const language = form.definition.languages.includes(token.language) ? token.language : languageOf(request, form);
    const isReplaced = version.replacedAt !== null && now.getTime() - version.replacedAt.getTime() > GRACE_MS;
    if (isReplaced && !same) return fresh('changed', language, false);
    if (token.kind === 'page' && age > GRACE_MS) return fresh('again', language, same);
    const notice = token.kind === 'page' && age < FASTEST_MS ? 'again' : null;
    // With the very token, so that corrections need not wait, and what is shown is what was shown.
    return { shown, token: input.get(INPUTS.token) ?? '', kind: token.kind, notice, entries };
  }

  /** What is wrong with it, or what it says. */
  async function check(
    { shown, entries }: Sent,
    input: URLSearchParams,
  ): Promise<{ trouble: FormTrouble } | { sound: Omit<Sound, 'source' | 'referralCode' | 'ip' | 'userAgent'> }> {
    const { values, faults } = readValues(shown.definition.fields ?? [], (name) => entries.fields[name]);
    const read = readAddress(entries.email);
    if ('fault' in read) return { trouble: troubleOf({ address: read.fault, faults }) };
    const suggestion = input.get(INPUTS.asked) === entries.email ? null : read.suggestion;
    if (suggestion !== null || faults.size > 0) return { trouble: troubleOf({ suggestion, faults }) };
    if (!(await canReceive(context, read.address))) {
      return { trouble: troubleOf({ address: 'no-mail', suggestion: read.suggestion }) };
    }
    const { name, locale, timeZone, attributes } = values;
    const person = { email: read.address, name: name || (read.name ?? '').slice(0, 200), locale, timeZone, attributes };
    return { sound: { ...person, ticked: entries.ticked } };
  }

  async function thank(reply: FastifyReply, form: PublicForm, language: FormLanguage): Promise<FastifyReply> {
    const { thanksUrl } = form.definition;
    reply.headers({ 'referrer-policy': 'no-referrer', 'cache-control': 'no-store' });
    return await reply.redirect(thanksUrl ?? `${config.publicUrl}/f/${form.id}/thanks?lang=${language}`, 303);
  }

  async function showForm(
    reply: FastifyReply,
    status: number,
    form: PublicForm,
    view: Shown & { token: string; hidden: Record<string, string> },
    entries?: FormEntries,
    trouble?: FormTrouble,
  ): Promise<FastifyReply> {
    // Open forms have a published campaign.
    const { definition } = await versionOf(db, form.campaignId, form.campaignVersion ?? 0);
    const { sender, product } = definition;
    const page = formPage(
      {
        ...view,
        formId: form.id,
        company: sender.legalName,
        product: product.name,
        privacyUrl: sender.privacyUrl,
      },
      entries,
      trouble,
    );
    const thanks = originOf(form.definition.thanksUrl ?? '');
    return await sendPage(reply, status, page, 'same-origin', thanks === null ? [] : [thanks]);
  }

  function newToken(form: PublicForm, language: FormLanguage): FormToken {
    return { kind: 'page', formId: form.id, version: form.version, language, issuedAt: clock() };
  }

  function signed(token: FormToken): string {
    return signFormToken(token, config.tokenKeys);
  }

  /** Where it was sent from. The Referer is what the browser says; a snippet's own page may be named in it, too. */
  function sourceOf(request: FastifyRequest, form: PublicForm, kind: FormToken['kind'], input: URLSearchParams) {
    const { referer } = request.headers;
    const led = new URLSearchParams(referer !== undefined && URL.canParse(referer) ? new URL(referer).search : '');
    const page =
      kind === 'page' ? `${config.publicUrl}/f/${form.id}` : (pageOf(input.get(INPUTS.page)) ?? pageOf(referer));
    const referrer = kind === 'page' ? pageOf(input.get(INPUTS.referrer)) : undefined;
    const utm = utmOf((name) => input.get(INPUTS.utm(name)) ?? led.get(INPUTS.utm(name)));
    return {
      ...(page === undefined ? {} : { page }),
      ...(referrer === undefined ? {} : { referrer }),
      ...(Object.keys(utm).length === 0 ? {} : { utm }),
    };
  }
}

interface Sent {
  shown: Shown;
  /** To be sent with it once more, where it is shown again. */
  token: string;
  kind: FormToken['kind'];
  notice: FormNotice | null;
  entries: FormEntries;
}

function shownBy(form: PublicForm, { version, language }: FormToken): Shown {
  return { version, definition: form.definition, language };
}

function entriesOf({ definition }: Shown, input: URLSearchParams): FormEntries {
  return {
    email: input.get(INPUTS.email) ?? '',
    fields: Object.fromEntries(
      (definition.fields ?? []).map(({ name }) => [name, input.get(INPUTS.field(name)) ?? '']),
    ),
    ticked: (definition.consents ?? [])
      .map(({ purpose }) => purpose)
      .filter((purpose) => (input.get(INPUTS.consent(purpose)) ?? '') !== ''),
  };
}

function troubleOf(change: Partial<FormTrouble>): FormTrouble {
  return { notice: 'check', address: null, suggestion: null, faults: new Map(), ...change };
}

/** What goes along with the form in hidden fields. */
function carriedFrom(
  given: (name: string) => string | null,
  referrer: string | undefined,
  page: string | null = null,
): Record<string, string> {
  const utm = Object.entries(utmOf((name) => given(INPUTS.utm(name)))).map(([name, value]) => [
    INPUTS.utm(name),
    value,
  ]);
  const referral = referralOf(given(INPUTS.referral));
  const stood = pageOf(page);
  return {
    ...Object.fromEntries(utm),
    ...(referral === null ? {} : { [INPUTS.referral]: referral }),
    ...(referrer === undefined ? {} : { [INPUTS.referrer]: referrer }),
    ...(stood === undefined ? {} : { [INPUTS.page]: stood }),
  };
}

function referralOf(text: string | null): string | null {
  return text !== null && REFERRAL_CODE.test(text) ? text : null;
}

function parametersOf(request: FastifyRequest): URLSearchParams {
  return new URLSearchParams(request.url.split(/\?(.*)/s)[1] ?? '');
}

function languageOf(request: FastifyRequest, { definition }: PublicForm): FormLanguage {
  return languageFor(request, definition.languages, definition.languages[0] ?? 'en');
}

/** The first of these languages that the link or the browser (RFC 9110, 12.5.4) asks for. */
function languageFor(
  request: FastifyRequest,
  languages: readonly FormLanguage[],
  otherwise: FormLanguage,
): FormLanguage {
  const asked = (request.headers['accept-language'] ?? '')
    .split(',')
    .map((part) => {
      const [tag = '', ...parameters] = part.split(';').map((piece) => piece.trim().toLowerCase());
      const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
      return { tag, q: weight === undefined ? 1 : Number(weight) || 0 };
    })
    .filter(({ q }) => q > 0)
    .sort((a, b) => b.q - a.q)
    .map(({ tag }) => tag);
  for (const tag of [parametersOf(request).get('lang') ?? '', ...asked]) {
    const primary = tag.toLowerCase().split('-')[0];
    const language = languages.find((candidate) => candidate === primary);
    if (language !== undefined) return language;
  }
  return otherwise;
}
