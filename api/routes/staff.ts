import { type Static, Type } from 'typebox';
import { changeStaffUser, createStaffUser, findStaffUser, listStaff, type StaffUser } from '../../db/staff';
import { hashPassword, PASSWORD_LENGTH, passwordFault } from '../../domain/passwords';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readNewestFirst } from '../pagination';
import { invalidField, problemResponses } from '../problems';
import { addressOf, Id, idParams, NullableTime, Time } from '../schemas';
import { ScopeList } from './keys';

const StaffAnswer = Type.Object({
  userId: Id('Who it is.'),
  email: Type.String({ description: 'What they sign in with.' }),
  name: Type.String(),
  roles: ScopeList('What they may do.'),
  createdAt: Time('Since when they are here.'),
  disabledAt: NullableTime('Since when they can not sign in.'),
});

export const Password = (description: string) =>
  // Told by `passwordFault`, which counts what a person counts; this only bounds it.
  Type.String({
    maxLength: 4 * PASSWORD_LENGTH.max,
    description: `${description} ${PASSWORD_LENGTH.min} to ${PASSWORD_LENGTH.max} characters.`,
  });
const Name = Type.String({ maxLength: 200 });

/** Who signs in, and with what roles. */
export function staffRoutes(app: Api, { db, clock }: ApiContext): void {
  app.post(
    '/staff',
    {
      config: { scopes: ['operator'], idempotency: 'none' },
      schema: {
        operationId: 'createStaffUser',
        tags: ['access'],
        summary: 'Let somebody sign in',
        description:
          'With a first password, which they change under /login. They can have no role that the caller has not. A second ' +
          'person with the same address is refused, so that it is safe to try again.',
        body: Type.Object(
          {
            email: Type.String({ maxLength: 320 }),
            name: Type.Optional(Name),
            roles: ScopeList('What they may do.'),
            password: Password('The first password.'),
          },
          {
            additionalProperties: false,
            examples: [
              { email: 'ana@shop.example', name: 'Ana', roles: ['marketing'], password: 'four words in a row' },
            ],
          },
        ),
        response: {
          201: { ...StaffAnswer, description: 'They can sign in.' },
          ...problemResponses('forbidden', 'already-there'),
        },
      },
    },
    async (request, reply) => {
      const { email, name = '', roles, password } = request.body;
      const { address } = addressOf(email, '/email');
      const passwordHash = await hashed(password);
      const by = request.actor;
      const user = await createStaffUser(db, { email: address, name, roles, passwordHash, by, now: clock() });
      return await reply.code(201).header('location', `/v1/staff/${user.id}`).send(answerOf(user));
    },
  );

  app.get(
    '/staff',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'listStaff',
        tags: ['access'],
        summary: 'List who may sign in',
        description: 'The newest first, disabled ones too.',
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: { 200: { ...Page(StaffAnswer), description: 'A page of them.' }, ...problemResponses() },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      const rows = await listStaff(db, limit + 1, readNewestFirst(cursor));
      return pageOf(rows, limit, answerOf, ({ createdAt, id }) => ({ createdAt, id }));
    },
  );

  app.get(
    '/staff/:id',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'getStaffUser',
        tags: ['access'],
        summary: 'See who somebody is and what they may do',
        description: 'Roles and whether they can sign in; no password.',
        params: idParams('The person.'),
        response: { 200: { ...StaffAnswer, description: 'The person.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => answerOf(await findStaffUser(db, request.params.id)),
  );

  app.patch(
    '/staff/:id',
    {
      config: { scopes: ['operator'] },
      schema: {
        operationId: 'changeStaffUser',
        tags: ['access'],
        summary: 'Change roles, set a new password, disable somebody',
        description:
          'Only what is given changes. New roles count from the next request on; to be disabled, or to get a new password, ends ' +
          'all sessions of the person at once. Nobody adds roles that they have not, nor sets the password of somebody who ' +
          'may do more than they may.',
        params: idParams('The person.'),
        body: Type.Object(
          {
            name: Type.Optional(Name),
            roles: Type.Optional(ScopeList('All that they may do from now on.')),
            disabled: Type.Optional(Type.Boolean()),
            password: Type.Optional(Password('A new password.')),
          },
          { additionalProperties: false, examples: [{ roles: ['marketing', 'operator'] }, { disabled: true }] },
        ),
        response: {
          200: { ...StaffAnswer, description: 'As it is now.' },
          ...problemResponses('forbidden', 'not-found'),
        },
      },
    },
    async (request) => {
      const { password, ...change } = request.body;
      const passwordHash = password === undefined ? {} : { passwordHash: await hashed(password) };
      const { id } = request.params;
      return answerOf(await changeStaffUser(db, id, { ...change, ...passwordHash }, request.actor, clock()));
    },
  );
}

async function hashed(password: string): Promise<string> {
  const fault = passwordFault(password);
  if (fault !== null) throw invalidField('/password', fault);
  return await hashPassword(password);
}

function answerOf({ id, createdAt, disabledAt, ...user }: StaffUser): Static<typeof StaffAnswer> {
  return {
    userId: id,
    ...user,
    createdAt: createdAt.toISOString(),
    disabledAt: disabledAt?.toISOString() ?? null,
  };
}
