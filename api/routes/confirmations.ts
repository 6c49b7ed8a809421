import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { confirmRequest, type LinkView, objectByLink, viewLink } from '../../db/confirmations';
import { type ConfirmToken, readConfirmToken } from '../../domain/confirm-token';
import { pageOfOurs } from '../../domain/confirmation';
import { requestInWords } from '../../mail/compose/confirmation';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import {
  confirmedPage,
  confirmPage,
  endedPage,
  neverDonePage,
  neverPage,
  unknownConfirmLinkPage,
} from '../pages/confirm';
import { sendPage } from '../pages/html';
import { answerErrorsWithPage, htmlAnswer, takeForms } from '../pages/scope';
import { type PageLanguage, pageLanguage, unavailablePage } from '../pages/unsubscribe';

const BODY_LIMIT_BYTES = 16 * 1024;
const LONGEST_USER_AGENT = 500;
const PARAMS = Type.Object({ token: Type.String({ description: 'From the link in the mail.' }) });
type Params = { Params: { token: string } };
const RESPONSES = {
  404: htmlAnswer('The link was not made by us, or was cut short. Nothing was changed.'),
  503: htmlAnswer('Postgres can not be reached. Nothing was changed; try again.'),
};
const NOT_OPEN = htmlAnswer(
  'It can not be confirmed: it has expired, was withdrawn, or nothing is known of it any more.',
);

/**
 * The link of a mail that asks for a confirmation (double opt-in), and its way out. No key, cookie or login. Opening them, as
 * link scanners do, changes nothing; only a POST does.
 */
export function confirmationRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.register(async (scope) => {
    takeForms(scope, BODY_LIMIT_BYTES, '*');
    answerErrorsWithPage(scope, (request) => unavailablePage(languageOf(tokenOf(request), request)));

    scope.get<Params>(
      '/c/:token',
      {
        schema: {
          operationId: 'showConfirmPage',
          tags: ['public'],
          summary: 'The page that confirms a request',
          description: 'Shows what was asked, in the language of the mail. Opening it changes nothing.',
          security: [],
          params: PARAMS,
          response: {
            200: htmlAnswer('Asks for the confirmation, or says that it was given.'),
            410: NOT_OPEN,
            ...RESPONSES,
          },
        },
      },
      async (request, reply) => {
        const token = tokenOf(request);
        if (token === null) return await sendPage(reply, 404, unknownConfirmLinkPage(languageOf(null, request)));
        return await show(reply, token, await viewLink(db, token.requestId, clock()), false);
      },
    );

    scope.post<Params>(
      '/c/:token',
      {
        schema: {
          operationId: 'confirmRequest',
          tags: ['public'],
          summary: 'Confirm a request',
          description:
            'A form: `shown` names what the page has shown, and nothing else is confirmed; without it, or when something ' +
            'else was asked meanwhile, the page is shown again. Confirming again changes nothing.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Confirmed, now or before; or the page.'), 410: NOT_OPEN, ...RESPONSES },
        },
      },
      async (request, reply) => {
        const token = tokenOf(request);
        if (token === null) return await sendPage(reply, 404, unknownConfirmLinkPage(languageOf(null, request)));
        const now = clock();
        const view = await viewLink(db, token.requestId, now);
        if (view?.state !== 'pending') return await show(reply, token, view, false);
        const result = await confirmRequest(db, config, {
          requestId: view.requestId,
          shown: fieldOf(request, 'shown'),
          ip: request.ip,
          userAgent: request.headers['user-agent']?.slice(0, LONGEST_USER_AGENT) ?? null,
          now,
        });
        const { requestId } = view;
        if (result.kind === 'changed') {
          const current = await viewLink(db, requestId, now);
          return await show(reply, token, current, fieldOf(request, 'shown') !== '');
        }
        if (result.kind === 'ended') {
          afterAnswer(reply, () => journeys.startConfirmations([requestId]));
          return await showEnded(reply, token, result.state, view.formId);
        }
        afterAnswer(reply, () => {
          if (result.isNew) journeys.start([result.enrollmentId]);
          else journeys.tell([result.enrollmentId]);
          journeys.startConfirmations([requestId]);
        });
        return await sendPage(reply, 200, confirmedPage(pageLanguage(token.locale), view));
      },
    );

    scope.get<Params>(
      '/c/:token/never',
      {
        schema: {
          operationId: 'showNeverPage',
          tags: ['public'],
          summary: 'The page behind "don’t write to me again"',
          description: 'Opening it changes nothing.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Asks whether to.'), ...RESPONSES },
        },
      },
      async (request, reply) => {
        const token = tokenOf(request);
        const language = languageOf(token, request);
        if (token === null) return await sendPage(reply, 404, unknownConfirmLinkPage(language));
        const view = await viewLink(db, token.requestId, clock());
        return await sendPage(reply, 200, neverPage(language, view?.company ?? null));
      },
    );

    scope.post<Params>(
      '/c/:token/never',
      {
        schema: {
          operationId: 'objectByConfirmLink',
          tags: ['public'],
          summary: 'Don’t write to me again',
          description:
            'An objection to all marketing mail; what the address was asked to confirm is withdrawn. The link works for ' +
            'good, and doing it again changes nothing.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Says that it is done.'), ...RESPONSES },
        },
      },
      async (request, reply) => {
        const token = tokenOf(request);
        const language = languageOf(token, request);
        if (token === null) return await sendPage(reply, 404, unknownConfirmLinkPage(language));
        const { addressHash } = token;
        const { stopped, inFlight, requests } = await objectByLink(db, { addressHash, now: clock() });
        afterAnswer(reply, () => {
          journeys.tell(stopped.map(({ enrollmentId }) => enrollmentId));
          journeys.startConfirmations(requests);
        });
        return await sendPage(reply, 200, neverDonePage(language, inFlight.length > 0));
      },
    );
  });

  function tokenOf(request: FastifyRequest): ConfirmToken | null {
    return readConfirmToken((request.params as Partial<Params['Params']>).token ?? '', config.tokenKeys);
  }

  async function show(reply: FastifyReply, token: ConfirmToken, view: LinkView | null, changed: boolean) {
    if (view?.state !== 'pending') {
      return await showEnded(reply, token, view?.state ?? 'erased', view?.formId ?? token.formId);
    }
    const { facts, shown } = view;
    const page = pageOfOurs(facts.page, facts.origins, config.publicUrl);
    const words = requestInWords({ ...facts, page });
    const neverPath = `${config.publicUrl}/c/${pathToken(reply)}/never`;
    return await sendPage(reply, 200, confirmPage(words, shown, neverPath, changed));
  }

  async function showEnded(
    reply: FastifyReply,
    token: ConfirmToken,
    state: 'confirmed' | 'expired' | 'withdrawn' | 'erased',
    formId: string | null,
  ) {
    const formPath = formId === null ? null : `${config.publicUrl}/f/${formId}`;
    const language = pageLanguage(token.locale);
    return await sendPage(reply, state === 'confirmed' ? 200 : 410, endedPage(language, state, formPath));
  }
}

function pathToken(reply: FastifyReply): string {
  return (reply.request.params as Params['Params']).token;
}

function fieldOf(request: FastifyRequest, name: string): string {
  return request.body instanceof URLSearchParams ? (request.body.get(name) ?? '') : '';
}

function languageOf(token: ConfirmToken | null, request: FastifyRequest): PageLanguage {
  return pageLanguage(token?.locale ?? request.headers['accept-language']?.trim() ?? '');
}
