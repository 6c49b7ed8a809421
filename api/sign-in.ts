import type { FastifyReply, FastifyRequest } from 'fastify';
import { changeStaffUser, findForSignIn } from '../db/staff';
import { beginSession, type Session, useSession } from '../db/staff-sessions';
import { forgive } from '../db/throttle';
import { normaliseAddress, parseAddress } from '../domain/addresses';
import { hashPassword, passwordFault, verifyPassword } from '../domain/passwords';
import { Problem } from '../domain/problem';
import { SCOPES } from '../domain/scopes';
import { crossSite } from './auth';
import type { ApiContext } from './context';
import { invalidField } from './problems';
import { isCrossSite, sessionTokenOf, setSessionCookie } from './session-cookie';
import { ACCOUNT_RULE, bucketOf, countTry, networkOf, SIGN_IN_RULE } from './throttles';

// What the API and the page under /login have in common.

/** Whose session the request's cookie is, while it lasts. */
export async function sessionOf(request: FastifyRequest, context: ApiContext): Promise<Session | null> {
  const token = sessionTokenOf(request, context.config.publicUrl);
  return token === null ? null : await useSession(context.db, token, context.clock());
}

/**
 * Checks a password and begins a session, whose cookie goes with the answer. Whether the address is unknown, the account
 * disabled or the password wrong makes no difference, nor does it take another time.
 *
 * @throws Problem `sign-in-refused`, `too-many-requests`, `cross-site`
 */
export async function signIn(
  request: FastifyRequest,
  reply: FastifyReply,
  context: ApiContext,
  { email, password }: { email: string; password: string },
): Promise<Session> {
  const { db, config } = context;
  if (isCrossSite(request, config.publicUrl)) throw crossSite();
  const parsed = parseAddress(email);
  const address = 'problem' in parsed ? '' : parsed.address;
  // By the address that was read: written in a thousand ways, it is still one account.
  const user = await countingFailures(request, context, address, async () => {
    const found = await findForSignIn(db, address);
    if (!(await verifyPassword(found?.passwordHash ?? null, password)) || found === null) throw refused();
    return found;
  });
  return await startSession(reply, context, user.id, user.passwordHash);
}

/**
 * Gives the signed-in person a new password. All their sessions end; a new one begins with the answer.
 *
 * @throws Problem `sign-in-refused` when `current` is not their password; `invalid-request`, `too-many-requests`
 */
export async function changeOwnPassword(
  request: FastifyRequest,
  reply: FastifyReply,
  context: ApiContext,
  session: Session,
  { current, next }: { current: string; next: string },
): Promise<Session> {
  const { db, clock } = context;
  const fault = passwordFault(next);
  if (fault !== null) throw invalidField('/newPassword', fault);
  await countingFailures(request, context, session.email, async () => {
    const user = await findForSignIn(db, session.email);
    if (!(await verifyPassword(user?.passwordHash ?? null, current)))
      throw refused('The present password is not right.');
  });
  const passwordHash = await hashPassword(next);
  const by = { kind: 'user' as const, id: session.userId, scopes: SCOPES };
  await changeStaffUser(db, session.userId, { passwordHash }, by, clock());
  return await startSession(reply, context, session.userId, passwordHash);
}

async function startSession(
  reply: FastifyReply,
  { db, config, clock }: ApiContext,
  userId: string,
  passwordHash: string,
): Promise<Session> {
  const begun = await beginSession(db, { userId, passwordHash, now: clock() });
  const session = begun === null ? null : await useSession(db, begun.token, clock());
  if (begun === null || session === null) throw refused();
  setSessionCookie(reply, config.publicUrl, begun.token);
  return session;
}

/** Counted before it is tried: however many try at the same time, no more get through. */
async function countingFailures<T>(
  request: FastifyRequest,
  { db, config, clock }: ApiContext,
  email: string,
  check: () => Promise<T>,
): Promise<T> {
  const now = clock();
  const network = bucketOf(config.masterKey, 'sign-in', networkOf(request.ip));
  const account = bucketOf(config.masterKey, 'account', normaliseAddress(email));
  await countTry(db, network, SIGN_IN_RULE, now);
  await countTry(db, account, ACCOUNT_RULE, now);
  const checked = await check();
  await forgive(db, network, SIGN_IN_RULE, now);
  await forgive(db, account, ACCOUNT_RULE, now);
  return checked;
}

function refused(detail = 'The address or the password is not right.'): Problem {
  return new Problem('sign-in-refused', detail);
}
