import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { erasureSettings } from '../../config';
import { eraseLead } from '../../db/erasure';
import { exportLead } from '../../db/lead-export';
import {
  changeLanguage,
  findLink,
  type LinkKind,
  leadOfPage,
  mailLink,
  type OpenLink,
  type PageLead,
  restAll,
  useLink,
} from '../../db/own-page';
import { isUnreachable } from '../../db/reachability';
import { type SenderNames, senderNames } from '../../db/senders';
import { FORM_LANGUAGES } from '../../domain/form';
import { readOwnPageToken, signOwnPageToken } from '../../domain/own-page-token';
import { readUnsubscribeToken, type UnsubscribeToken } from '../../domain/unsubscribe-token';
import { composeOwnPageLink } from '../../mail/compose/own-page-link';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { logError } from '../errors';
import { sendPage } from '../pages/html';
import { confirmPage, erasedPage, type OwnPageResult, ownPage, REST_MONTHS, spentLinkPage } from '../pages/own-page';
import { answerErrorsWithPage, htmlAnswer, takeForms } from '../pages/scope';
import { type PageLanguage, pageLanguage, unavailablePage, unknownLinkPage } from '../pages/unsubscribe';
import { hashesOf } from '../schemas';

const BODY_LIMIT_BYTES = 4 * 1024;
const PARAMS = Type.Object({ token: Type.String({ description: 'From the link in the mail.' }) });
const RESPONSES = {
  404: htmlAnswer('The link was not made by us, or was cut short. Nothing was changed.'),
  415: htmlAnswer('The body is no form. Nothing was changed.'),
  503: htmlAnswer('Postgres can not be reached. Nothing was changed; try again.'),
};
const SPENT = htmlAnswer('The link was used, or its hour is over. Nothing was changed.');

/**
 * A lead's own page, behind the same signed token as the unsubscribe link. Whoever holds that may stop, put off and change
 * the language; what is kept is shown, and erased, only by a fresh link to the address on file, since a mail can be forwarded.
 * Opening a page changes nothing.
 */
export function ownPageRoutes(app: Api, context: ApiContext): void {
  const { db, journeys, config, clock } = context;
  app.register(async (scope) => {
    takeForms(scope, BODY_LIMIT_BYTES);
    answerErrorsWithPage(scope, (request) => unavailablePage(browserLanguage(request)));

    scope.get<{ Params: { token: string } }>(
      '/me/:token',
      {
        schema: {
          operationId: 'showOwnPage',
          tags: ['public'],
          summary: 'A lead’s own page',
          description: 'In their language. It shows nothing of them. Opening it, as link scanners do, changes nothing.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Asks what shall be done.'), ...RESPONSES },
        },
      },
      async (request, reply) => {
        const token = readUnsubscribeToken(request.params.token, config.tokenKeys);
        if (token === null) return await sendPage(reply, 404, unknownLinkPage(browserLanguage(request)));
        return await sendOwnPage(request, reply, token, await leadOfPage(db, token.addressHash), null);
      },
    );

    scope.post<{ Params: { token: string } }>(
      '/me/:token',
      {
        schema: {
          operationId: 'actOnOwnPage',
          tags: ['public'],
          summary: 'Put off, change the language, ask for the data',
          description:
            'A form: `do=rest` with `months` (1, 3 or 6), `do=language` with `language`, or `do=access` or `do=erasure`, for ' +
            'which a link is mailed to the address on file, at most once an hour. The answer is the same whether or not one was.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('The page again, with what was done.'), ...RESPONSES },
        },
      },
      async (request, reply) => {
        const token = readUnsubscribeToken(request.params.token, config.tokenKeys);
        if (token === null) return await sendPage(reply, 404, unknownLinkPage(browserLanguage(request)));
        const lead = await leadOfPage(db, token.addressHash);
        const wishes = request.body instanceof URLSearchParams ? request.body : new URLSearchParams();
        const result = lead === null ? null : await act(reply, token, lead, wishes);
        // The language may be another one now.
        const now = result === 'language' ? await leadOfPage(db, token.addressHash) : lead;
        return await sendOwnPage(request, reply, token, now, result);
      },
    );

    scope.get<{ Params: { token: string } }>(
      '/me/confirm/:token',
      {
        schema: {
          operationId: 'showConfirmedWish',
          tags: ['public'],
          summary: 'The page of a link that was mailed to the address on file',
          description: 'Opening it, as link scanners do, changes nothing and uses nothing up.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Asks once more.'), 410: SPENT, ...RESPONSES },
        },
      },
      async (request, reply) => {
        const found = await linkOf(request, reply);
        if (found === null) return reply;
        return await sendPage(reply, 200, confirmPage(found.language, found.link.kind));
      },
    );

    scope.post<{ Params: { token: string } }>(
      '/me/confirm/:token',
      {
        schema: {
          operationId: 'doConfirmedWish',
          tags: ['public'],
          summary: 'Get what is kept, or be erased',
          description: 'As the link says that was mailed to the address on file. It works once, within an hour.',
          security: [],
          params: PARAMS,
          response: {
            200: {
              description: 'A file with everything that is kept; or the page that says that it is erased.',
              content: { 'application/json': { schema: Type.Unknown() }, 'text/html': { schema: Type.String() } },
            },
            410: SPENT,
            ...RESPONSES,
          },
        },
      },
      async (request, reply) => {
        const found = await linkOf(request, reply);
        if (found === null) return reply;
        const { link, language } = found;
        return link.kind === 'access' ? await handOver(reply, link, language) : await erase(reply, link, language);
      },
    );
  });

  async function act(
    reply: FastifyReply,
    token: UnsubscribeToken,
    lead: PageLead,
    wishes: URLSearchParams,
  ): Promise<OwnPageResult | null> {
    const wish = wishes.get('do');
    if (wish === 'rest') {
      const months = REST_MONTHS.find((one) => String(one) === wishes.get('months'));
      if (months === undefined) return null;
      const rest = await restAll(db, lead.id, months, { timeFactor: config.timeFactor, now: clock() });
      if (rest.enrollmentIds.length > 0) afterAnswer(reply, () => journeys.tell(rest.enrollmentIds));
      return rest;
    }
    if (wish === 'language') {
      const language = FORM_LANGUAGES.find((one) => one === wishes.get('language'));
      if (language === undefined) return null;
      await changeLanguage(db, lead.id, language, clock());
      return 'language';
    }
    if (wish !== 'access' && wish !== 'erasure') return null;
    await mailLinkTo(reply, token, lead, wish);
    return 'link-mailed';
  }

  async function mailLinkTo(
    reply: FastifyReply,
    token: UnsubscribeToken,
    lead: PageLead,
    kind: LinkKind,
  ): Promise<void> {
    const language = pageLanguage(lead.locale ?? token.locale);
    const mailId = await mailLink(db, {
      leadId: lead.id,
      kind,
      locale: language,
      campaignId: token.campaignId,
      enrollmentId: token.enrollmentId,
      hashesOf: (email) => hashesOf(email, config),
      compose: ({ linkId, expiresAt, sender }) => {
        const text = signOwnPageToken({ linkId, expiresAt, locale: language }, config.tokenKeys);
        return composeOwnPageLink({ kind, language, sender, link: `${config.publicUrl}/me/confirm/${text}` });
      },
      now: clock(),
    });
    if (mailId !== null) afterAnswer(reply, () => journeys.startTransactional([mailId]));
  }

  async function sendOwnPage(
    request: FastifyRequest,
    reply: FastifyReply,
    token: UnsubscribeToken,
    lead: PageLead | null,
    result: OwnPageResult | null,
  ): Promise<FastifyReply> {
    const { token: text } = request.params as { token: string };
    const language = pageLanguage(lead?.locale ?? token.locale);
    const page = { isKnown: lead !== null, unsubscribe: `../u/${text}`, result };
    return await sendPage(reply, 200, ownPage(language, await namesFor(token, request), page));
  }

  /** Whose mail it is, for the page; the page works without. */
  async function namesFor(token: UnsubscribeToken, request: FastifyRequest): Promise<SenderNames | null> {
    try {
      return await senderNames(db, token.campaignId, token.enrollmentId);
    } catch (error) {
      if (!isUnreachable(error)) logError(request, error);
      return null;
    }
  }

  /** @returns null when it was answered already, since the link is worth nothing */
  async function linkOf(
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<{ link: OpenLink; language: PageLanguage } | null> {
    const token = readOwnPageToken((request.params as { token: string }).token, config.tokenKeys);
    if (token === null) {
      await sendPage(reply, 404, unknownLinkPage(browserLanguage(request)));
      return null;
    }
    const now = clock();
    const link = token.expiresAt <= now ? null : await findLink(db, token.linkId, now);
    const language = pageLanguage(link?.locale ?? token.locale);
    if (link !== null) return { link, language };
    await sendPage(reply, 410, spentLinkPage(language));
    return null;
  }

  /** Collected before the link is used up, so that a fault on the way costs nobody their link. */
  async function handOver(reply: FastifyReply, link: OpenLink, language: PageLanguage): Promise<FastifyReply> {
    const now = clock();
    const data = await exportLead(db, link.leadId, config.timeFactor, now);
    if (!(await useLink(db, link, now))) return await sendPage(reply, 410, spentLinkPage(language));
    return await reply
      .headers({
        'content-disposition': 'attachment; filename="my-data.json"',
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
        'x-robots-tag': 'noindex, nofollow',
      })
      .type('application/json; charset=utf-8')
      .send(`${JSON.stringify(data, null, 2)}\n`);
  }

  async function erase(reply: FastifyReply, link: OpenLink, language: PageLanguage): Promise<FastifyReply> {
    const now = clock();
    // The link goes with the person; asked twice at the same time, the second finds it done.
    const { stopped, inFlight } = await eraseLead(db, {
      ...erasureSettings(config),
      leadId: link.leadId,
      by: 'person',
      now,
    });
    if (stopped.length > 0) afterAnswer(reply, () => journeys.tell(stopped));
    return await sendPage(reply, 200, erasedPage(language, inFlight.length > 0));
  }
}

function browserLanguage(request: FastifyRequest): PageLanguage {
  return pageLanguage(request.headers['accept-language']?.trim() ?? '');
}
