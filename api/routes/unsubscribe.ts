import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { isUnreachable } from '../../db/reachability';
import { type SenderNames, senderNames } from '../../db/senders';
import { stopEnrollments } from '../../db/stops';
import { readUnsubscribeToken, type UnsubscribeToken } from '../../domain/unsubscribe-token';
import { afterAnswer } from '../after-answer';
import type { Api, ApiContext } from '../context';
import { logError } from '../errors';
import { sendPage } from '../pages/html';
import { answerErrorsWithPage, htmlAnswer } from '../pages/scope';
import {
  askPage,
  donePage,
  type PageLanguage,
  pageLanguage,
  type UnsubscribeScope,
  unavailablePage,
  unknownLinkPage,
} from '../pages/unsubscribe';

interface Wish {
  scope: UnsubscribeScope;
  oneClick: boolean;
}

/** Far more than a form or a mail program sends; no more than its beginning is looked at. */
const BODY_LIMIT_BYTES = 64 * 1024;
const READ_CHARACTERS = 4 * 1024;

const PARAMS = Type.Object({ token: Type.String({ description: 'From the link in the mail.' }) });
const RESPONSES = {
  404: htmlAnswer('The link was not made by us, or was cut short. Nothing was changed.'),
  503: htmlAnswer('Postgres can not be reached. Nothing was changed; try again.'),
};

/**
 * The unsubscribe link of every mail (promise P13): a page for people, and one-click unsubscribing for mail programs
 * (RFC 8058). No key, cookie or login. The token holds all it takes, so that it works after lead and enrollment are gone.
 */
export function unsubscribeRoutes(app: Api, { db, journeys, config, clock }: ApiContext): void {
  app.register(async (scope) => {
    // Whatever a mail program sends, in whatever type, or in one that is none: it asks to be left alone.
    scope.removeAllContentTypeParsers();
    scope.addHook('onRequest', async (request) => {
      if (request.method === 'POST') request.headers['content-type'] = 'text/plain';
    });
    scope.addContentTypeParser(
      'text/plain',
      { parseAs: 'string', bodyLimit: BODY_LIMIT_BYTES },
      (_request, body, done) => {
        done(null, wishOf(body.toString().slice(0, READ_CHARACTERS)));
      },
    );

    answerErrorsWithPage(scope, (request) => {
      const { token } = request.params as { token?: string };
      const read = readUnsubscribeToken(token ?? '', config.tokenKeys);
      return unavailablePage(languageOf(read, request));
    });

    scope.get<{ Params: { token: string } }>(
      '/u/:token',
      {
        schema: {
          operationId: 'showUnsubscribePage',
          tags: ['public'],
          summary: 'The unsubscribe page',
          description: 'In the language of the mail. Opening it, as link scanners do, changes nothing.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Asks what should stop.'), ...RESPONSES },
        },
      },
      async (request, reply) => {
        const token = readUnsubscribeToken(request.params.token, config.tokenKeys);
        const language = languageOf(token, request);
        if (token === null) return await sendPage(reply, 404, unknownLinkPage(language));
        return await sendPage(reply, 200, askPage(language, await namesFor(token, request), ownPageOf(request)));
      },
    );

    scope.post<{ Params: { token: string } }>(
      '/u/:token',
      {
        schema: {
          operationId: 'unsubscribeByLink',
          tags: ['public'],
          summary: 'Unsubscribe',
          description:
            'The body `List-Unsubscribe=One-Click` (RFC 8058), or none at all, unsubscribes from all marketing mail, and so ' +
            'does `scope=all`; `scope=campaign` unsubscribes from this campaign only. Doing it again changes nothing.',
          security: [],
          params: PARAMS,
          response: { 200: htmlAnswer('Says what has stopped.'), ...RESPONSES },
        },
      },
      async (request, reply) => {
        const token = readUnsubscribeToken(request.params.token, config.tokenKeys);
        const language = languageOf(token, request);
        if (token === null) return await sendPage(reply, 404, unknownLinkPage(language));
        const wish = (request.body as Wish | null | undefined) ?? { scope: 'all', oneClick: false };
        const { stopped, inFlight } = await stopEnrollments(db, {
          who: { hashes: [token.addressHash] },
          outcome: 'unsubscribed',
          ...(wish.scope === 'campaign'
            ? { suppress: 'campaign', campaignId: token.campaignId }
            : { suppress: 'objection' }),
          detail: { by: 'unsubscribe', via: wish.oneClick ? 'one-click' : 'page', about: token.campaignId },
          now: clock(),
        });
        if (stopped.length > 0) {
          afterAnswer(reply, () => journeys.tell(stopped.map(({ enrollmentId }) => enrollmentId)));
        }
        const names = await namesFor(token, request);
        return await sendPage(
          reply,
          200,
          donePage(language, names, wish.scope, inFlight.length > 0, ownPageOf(request)),
        );
      },
    );
  });

  /** Whose mail it is, for the page; the page works without, whatever keeps them from being read. */
  async function namesFor(token: UnsubscribeToken, request: FastifyRequest): Promise<SenderNames | null> {
    try {
      return await senderNames(db, token.campaignId, token.enrollmentId);
    } catch (error) {
      if (!isUnreachable(error)) logError(request, error);
      return null;
    }
  }
}

/** What else somebody can do about their mail, from here. */
function ownPageOf(request: FastifyRequest): string {
  return `../me/${(request.params as { token: string }).token}`;
}

/** Reads a form, sent as `application/x-www-form-urlencoded` or as `multipart/form-data`. */
function wishOf(body: string): Wish {
  const fields = new URLSearchParams(body);
  const part = (name: string) =>
    new RegExp(`name="?${name}"?[^\\r\\n]*\\r?\\n(?:[^\\r\\n]+\\r?\\n)*\\r?\\n([^\\r\\n]*)`, 'i').exec(body)?.[1];
  const field = (name: string) => fields.get(name) ?? part(name) ?? '';
  return {
    scope: field('scope').trim() === 'campaign' ? 'campaign' : 'all',
    oneClick: field('List-Unsubscribe').trim().toLowerCase() === 'one-click',
  };
}

function languageOf(token: UnsubscribeToken | null, request: FastifyRequest): PageLanguage {
  return pageLanguage(token?.locale ?? request.headers['accept-language']?.trim() ?? '');
}
