import type { FastifyReply, FastifyRequest } from 'fastify';
import { endSession } from '../../db/staff-sessions';
import { passwordFault } from '../../domain/passwords';
import { Problem } from '../../domain/problem';
import { crossSite } from '../auth';
import type { Api, ApiContext } from '../context';
import { logError } from '../errors';
import { sendPage } from '../pages/html';
import { type LoginNote, loginLanguage, loginPage } from '../pages/login';
import { htmlAnswer, takeForms } from '../pages/scope';
import { clearSessionCookie, isSameOrigin, sessionTokenOf } from '../session-cookie';
import { changeOwnPassword, sessionOf, signIn } from '../sign-in';

const BODY_LIMIT_BYTES = 16 * 1024;

/** What the page says of a refusal, and with which status. */
const REFUSALS: Partial<Record<Problem['code'], [status: number, note: LoginNote]>> = {
  'sign-in-refused': [401, 'refused'],
  'too-many-requests': [429, 'too-many'],
  'cross-site': [403, 'cross-site'],
};

/** The page where people sign in. It works without JavaScript. */
export function loginRoutes(app: Api, context: ApiContext): void {
  const { db, config } = context;
  app.register(async (scope) => {
    takeForms(scope, BODY_LIMIT_BYTES);
    scope.setErrorHandler(async (error, request, reply) => {
      const { statusCode = 500 } = error as { statusCode?: number };
      if (statusCode < 500) return await show(request, reply, statusCode, 'cross-site', false);
      logError(request, error);
      reply.header('retry-after', '60');
      return await show(request, reply, 503, 'unavailable', false);
    });

    scope.get(
      '/login',
      {
        schema: {
          operationId: 'showLoginPage',
          tags: ['access'],
          summary: 'The page to sign in on',
          description:
            'A form; or for those who have signed in who they are, and forms to sign out and for a new password.',
          security: [],
          response: { 200: htmlAnswer('The page.'), 503: htmlAnswer('Postgres can not be reached.') },
        },
      },
      async (request, reply) => await show(request, reply, 200),
    );

    scope.post(
      '/login',
      {
        schema: {
          operationId: 'useLoginPage',
          tags: ['access'],
          summary: 'Sign in or out, or change the password, by a form',
          description:
            'A form: `action=sign-in` with `email` and `password`, `action=sign-out`, or `action=change-password` with ' +
            '`current`, `next` and `again`.',
          security: [],
          response: {
            200: htmlAnswer('Says what was done.'),
            303: htmlAnswer('Signed in; leads to the page.'),
            400: htmlAnswer('The new password is not taken.'),
            401: htmlAnswer('The address or the password is not right, or the session had ended.'),
            403: htmlAnswer('The form came from a page of somebody else.'),
            415: htmlAnswer('The body is no form.'),
            429: htmlAnswer('There were too many tries.'),
            503: htmlAnswer('Postgres can not be reached.'),
          },
        },
      },
      async (request, reply) => {
        const form = request.body instanceof URLSearchParams ? request.body : new URLSearchParams();
        try {
          return await act(request, reply, form);
        } catch (error) {
          const [status, note] = (error instanceof Problem && REFUSALS[error.code]) || [];
          if (!(error instanceof Problem) || status === undefined || note === undefined) throw error;
          if (error.code === 'too-many-requests') reply.header('retry-after', String(error.extra.retryAfter));
          const isChange = form.get('action') === 'change-password' && note === 'refused';
          return await show(request, reply, status, isChange ? 'wrong-password' : note);
        }
      },
    );
  });

  async function act(request: FastifyRequest, reply: FastifyReply, form: URLSearchParams): Promise<FastifyReply> {
    const action = form.get('action');
    if (action !== 'sign-out' && action !== 'change-password') {
      await signIn(request, reply, context, { email: form.get('email') ?? '', password: form.get('password') ?? '' });
      return await reply.redirect('/login', 303);
    }
    if (!isSameOrigin(request, config.publicUrl)) throw crossSite();
    const session = await sessionOf(request, context);
    if (action === 'sign-out') {
      await endSession(db, sessionTokenOf(request, config.publicUrl) ?? '');
      clearSessionCookie(reply, config.publicUrl);
      return await show(request, reply, 200, 'signed-out', false);
    }
    if (session === null) return await show(request, reply, 401, 'session-over');
    const next = form.get('next') ?? '';
    if (next !== form.get('again')) return await show(request, reply, 400, 'not-equal');
    if (passwordFault(next) !== null) return await show(request, reply, 400, 'bad-length');
    const current = form.get('current') ?? '';
    const renewed = await changeOwnPassword(request, reply, context, session, { current, next });
    const page = loginPage(languageOf(request), renewed, 'password-changed');
    return await sendPage(reply, 200, page, 'same-origin');
  }

  async function show(
    request: FastifyRequest,
    reply: FastifyReply,
    status: number,
    note?: LoginNote,
    ask = true,
  ): Promise<FastifyReply> {
    const session = ask ? await sessionOf(request, context) : null;
    return await sendPage(reply, status, loginPage(languageOf(request), session, note), 'same-origin');
  }
}

function languageOf(request: FastifyRequest) {
  return loginLanguage(request.headers['accept-language'] ?? '');
}
