import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Api } from '../context';
import { logError } from '../errors';
import { sendPage } from './html';

// What the routes of all our pages have in common.

/** An answer in the reference that is a page. */
export const htmlAnswer = (description: string) => ({
  description,
  content: { 'text/html': { schema: Type.String() } },
});

/** Lets the routes of this scope take forms, as `URLSearchParams`, and nothing else. @param type `*` takes them under any name */
export function takeForms(
  scope: Api,
  bodyLimit: number,
  type: 'application/x-www-form-urlencoded' | '*' = 'application/x-www-form-urlencoded',
): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser(type, { parseAs: 'string', bodyLimit }, (_request, body, done) =>
    done(null, new URLSearchParams(body.toString())),
  );
}

/** Answers what went wrong in this scope with a page: nothing was changed, and what is our fault may be tried again. */
export function answerErrorsWithPage(scope: Api, page: (request: FastifyRequest) => string): void {
  scope.setErrorHandler(async (error, request, reply) => {
    logError(request, error);
    const { statusCode = 500 } = error as { statusCode?: number };
    const status = statusCode < 500 ? statusCode : 503;
    if (status === 503) reply.header('retry-after', '60');
    return await sendPage(reply, status, page(request));
  });
}
