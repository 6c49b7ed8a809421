import type { FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { endSession, type Session } from '../../db/staff-sessions';
import { Problem } from '../../domain/problem';
import { SCOPES } from '../../domain/scopes';
import type { Api, ApiContext } from '../context';
import { problemResponses } from '../problems';
import { Nullable, NullableTime } from '../schemas';
import { clearSessionCookie, sessionTokenOf } from '../session-cookie';
import { changeOwnPassword, sessionOf, signIn } from '../sign-in';
import { ScopeList } from './keys';
import { Password } from './staff';

const SessionAnswer = Type.Object({
  kind: Type.Enum(['key', 'user'], { description: 'Whether a key calls, or a person who has signed in.' }),
  id: Type.String({ description: 'Of the key or the person.' }),
  scopes: ScopeList('What the caller may do; of a person, their roles.'),
  email: Nullable(Type.String({ description: 'What the person signs in with.' })),
  name: Nullable(Type.String()),
  expiresAt: NullableTime('When the person must sign in again at the latest.'),
});

/** Signing in and out; for pages under the same origin. Programs use keys. */
export function sessionRoutes(app: Api, context: ApiContext): void {
  const { db, config } = context;

  app.post(
    '/session',
    {
      config: { scopes: 'anyone', idempotency: 'none' },
      schema: {
        operationId: 'signIn',
        tags: ['access'],
        summary: 'Sign in',
        description:
          'Sets a session cookie for pages under the same origin (`HttpOnly`, `SameSite=Strict`). It ends after twelve hours ' +
          'without use and after seven days at the latest. What changes something by it must prove that it comes from the ' +
          'same origin, as browsers do.',
        security: [],
        body: Type.Object(
          { email: Type.String({ maxLength: 320 }), password: Password('The password.') },
          { additionalProperties: false, examples: [{ email: 'ana@shop.example', password: 'four words in a row' }] },
        ),
        response: {
          200: { ...SessionAnswer, description: 'Signed in; the cookie goes with this answer.' },
          ...problemResponses('sign-in-refused', 'cross-site', 'too-many-requests'),
        },
      },
    },
    async (request, reply) => answerOf(await signIn(request, reply, context, request.body)),
  );

  app.get(
    '/session',
    {
      config: { scopes: SCOPES },
      schema: {
        operationId: 'getSession',
        tags: ['access'],
        summary: 'See who is calling',
        description: 'The person who has signed in, or the key.',
        response: { 200: { ...SessionAnswer, description: 'Who it is.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { kind, id, scopes } = request.actor;
      if (kind === 'user') return answerOf(await ownSession(request, context));
      return { kind: 'key' as const, id, scopes: [...scopes], email: null, name: null, expiresAt: null };
    },
  );

  app.delete(
    '/session',
    {
      config: { scopes: SCOPES },
      schema: {
        operationId: 'signOut',
        tags: ['access'],
        summary: 'Sign out',
        description: 'Ends this session; others of the same person go on.',
        response: { 204: Type.Null({ description: 'Signed out.' }), ...problemResponses('forbidden') },
      },
    },
    async (request, reply) => {
      await ownSession(request, context);
      await endSession(db, sessionTokenOf(request, config.publicUrl) ?? '');
      clearSessionCookie(reply, config.publicUrl);
      return await reply.code(204).send(null);
    },
  );

  app.put(
    '/session/password',
    {
      config: { scopes: SCOPES },
      schema: {
        operationId: 'changeOwnPassword',
        tags: ['access'],
        summary: 'Change the own password',
        description: 'Ends all sessions of the person; a new one begins with this answer.',
        body: Type.Object(
          { currentPassword: Password('The present one.'), newPassword: Password('The new one.') },
          {
            additionalProperties: false,
            examples: [{ currentPassword: 'four words in a row', newPassword: 'five words in another row' }],
          },
        ),
        response: {
          200: { ...SessionAnswer, description: 'The new session.' },
          ...problemResponses('sign-in-refused', 'forbidden', 'too-many-requests'),
        },
      },
    },
    async (request, reply) => {
      const session = await ownSession(request, context);
      const { currentPassword: current, newPassword: next } = request.body;
      return answerOf(await changeOwnPassword(request, reply, context, session, { current, next }));
    },
  );
}

async function ownSession(request: FastifyRequest, context: ApiContext): Promise<Session> {
  const session = request.actor.kind === 'user' ? await sessionOf(request, context) : null;
  if (session === null) throw new Problem('forbidden', 'Only a person who has signed in has a session.');
  return session;
}

function answerOf({ userId, email, name, roles, expiresAt }: Session): Static<typeof SessionAnswer> {
  return { kind: 'user', id: userId, scopes: roles, email, name, expiresAt: expiresAt.toISOString() };
}
