import { type Caller, listAudit } from '../../db/audit';
import {
  changeStaffUser,
  createStaffUser,
  findForSignIn,
  findStaffUser,
  listStaff,
  type StaffUser,
  staffIdOf,
} from '../../db/staff';
import { beginSession, endSession, forgetSessions, useSession } from '../../db/staff-sessions';
import { SCOPES, type Scope } from '../../domain/scopes';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => await database.drop());

const T0 = new Date('2026-03-01T10:00:00Z');
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const later = (ms: number) => new Date(T0.getTime() + ms);
const ROOT: Caller = { kind: 'cli', id: 'root', scopes: SCOPES };
const caller = (...scopes: Scope[]): Caller => ({ kind: 'user', id: 'somebody', scopes });

let made = 0;
async function somebody(roles: Scope[] = ['marketing']): Promise<StaffUser> {
  made += 1;
  return await createStaffUser(database.db, {
    email: `somebody-${made}@shop.example`,
    name: '',
    roles,
    passwordHash: 'hash',
    by: ROOT,
    now: later(made),
  });
}

async function signedIn(user: StaffUser, now = T0): Promise<string> {
  const begun = await beginSession(database.db, { userId: user.id, passwordHash: 'hash', now });
  if (begun === null) throw new Error('no session began');
  return begun.token;
}

test('an address is one person, however it is written', async () => {
  const { db } = database;
  const person = { name: 'Ana', roles: ['marketing', 'marketing'] as Scope[], passwordHash: 'hash', by: ROOT, now: T0 };
  const ana = await createStaffUser(db, { ...person, email: 'Ana@Shop.Example' });
  expect(ana).toMatchObject({ email: 'ana@shop.example', roles: ['marketing'], disabledAt: null });
  await expect(createStaffUser(db, { ...person, email: 'ana@shop.example' })).rejects.toMatchObject({
    code: 'already-there',
  });
  expect(await findForSignIn(db, ' ANA@shop.example')).toEqual({ id: ana.id, passwordHash: 'hash' });
  expect(await staffIdOf(db, 'ANA@shop.example')).toBe(ana.id);
  expect(await findForSignIn(db, 'bea@shop.example')).toBeNull();
  await expect(staffIdOf(db, 'bea@shop.example')).rejects.toMatchObject({ code: 'not-found' });
  const [entry] = await listAudit(db, 1, null);
  expect(entry).toMatchObject({ action: 'user.created', target: ana.id, detail: { roles: ['marketing'] } });
  expect(JSON.stringify(entry)).not.toContain('shop.example');
});

test('nobody gives a role that they have not, also not to themselves', async () => {
  const { db } = database;
  const email = 'beyond@shop.example';
  const by = caller('operator');
  await expect(
    createStaffUser(db, { email, name: '', roles: ['privacy'], passwordHash: 'h', by, now: T0 }),
  ).rejects.toMatchObject({ code: 'forbidden' });
  const user = await somebody(['operator', 'privacy']);
  await expect(changeStaffUser(db, user.id, { roles: ['marketing'] }, by, T0)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('marketing'),
  });
  const self: Caller = { kind: 'user', id: user.id, scopes: user.roles };
  await expect(changeStaffUser(db, user.id, { roles: [...SCOPES] }, self, T0)).rejects.toMatchObject({
    code: 'forbidden',
  });
  expect((await findStaffUser(db, user.id)).roles).toEqual(['operator', 'privacy']);
  // What they have already may stay, and be taken.
  expect((await changeStaffUser(db, user.id, { roles: ['privacy'] }, by, T0)).roles).toEqual(['privacy']);
});

test('nobody sets the password of somebody who may do more', async () => {
  const { db } = database;
  const user = await somebody(['operator', 'privacy']);
  const change = { passwordHash: 'of an intruder' };
  await expect(changeStaffUser(db, user.id, change, caller('operator'), T0)).rejects.toMatchObject({
    code: 'forbidden',
  });
  await expect(
    changeStaffUser(db, user.id, { ...change, roles: ['operator'] }, caller('operator'), T0),
  ).rejects.toMatchObject({ code: 'forbidden' });
  expect(await findForSignIn(db, user.email)).toMatchObject({ passwordHash: 'hash' });
  await changeStaffUser(db, user.id, change, caller('operator', 'privacy'), T0);
  expect(await findForSignIn(db, user.email)).toMatchObject({ passwordHash: 'of an intruder' });
});

test('every change is written down, with who made it', async () => {
  const { db } = database;
  const user = await somebody();
  await changeStaffUser(db, user.id, { name: 'Bea', roles: ['operator'], passwordHash: 'new' }, ROOT, T0);
  await changeStaffUser(db, user.id, { disabled: true }, caller('operator'), T0);
  await changeStaffUser(db, user.id, { disabled: true }, caller('operator'), T0);
  await changeStaffUser(db, user.id, { disabled: false }, caller('operator'), T0);
  const entries = (await listAudit(db, 100, null)).filter(({ target }) => target === user.id).reverse();
  expect(entries.map(({ action, actor, detail }) => [action, actor.id, detail])).toEqual([
    ['user.created', 'root', { roles: ['marketing'] }],
    ['user.renamed', 'root', {}],
    ['user.roles-changed', 'root', { from: ['marketing'], to: ['operator'] }],
    ['user.password-changed', 'root', {}],
    ['user.disabled', 'somebody', {}],
    ['user.enabled', 'somebody', {}],
  ]);
  const nobody = '00000000-0000-4000-8000-000000000000';
  await expect(changeStaffUser(db, nobody, { disabled: true }, ROOT, T0)).rejects.toMatchObject({ code: 'not-found' });
  await expect(findStaffUser(db, nobody)).rejects.toMatchObject({ code: 'not-found' });
});

test('a session is kept as a hash, and tells roles as they are now', async () => {
  const { db } = database;
  const user = await somebody(['marketing']);
  const token = await signedIn(user);
  expect(token).toMatch(/^[\w-]{43}$/);
  expect(JSON.stringify(await db.selectFrom('staff_session').selectAll().execute())).not.toContain(token);
  expect(await useSession(db, token, T0)).toMatchObject({ userId: user.id, roles: ['marketing'] });
  await changeStaffUser(db, user.id, { roles: ['privacy'] }, ROOT, T0);
  expect(await useSession(db, token, T0)).toMatchObject({ roles: ['privacy'] });
  expect(await useSession(db, `${token}x`, T0)).toBeNull();
  await endSession(db, token);
  expect(await useSession(db, token, T0)).toBeNull();
});

test('a session ends after twelve hours without use, and after seven days whatever happens', async () => {
  const { db } = database;
  const user = await somebody();
  const idle = await signedIn(user);
  expect(await useSession(db, idle, later(12 * HOUR - 1))).not.toBeNull();
  expect(await useSession(db, idle, later(24 * HOUR - 2))).not.toBeNull();
  expect(await useSession(db, idle, later(36 * HOUR))).toBeNull();

  const busy = await signedIn(user);
  for (let hours = 6; hours < 168; hours += 6) expect(await useSession(db, busy, later(hours * HOUR))).not.toBeNull();
  expect(await useSession(db, busy, later(168 * HOUR - 1))).not.toBeNull();
  expect(await useSession(db, busy, later(168 * HOUR))).toBeNull();

  await signedIn(user, later(160 * HOUR));
  await forgetSessions(db, later(168 * HOUR));
  expect(await db.selectFrom('staff_session').select('created_at').execute()).toEqual([
    { created_at: later(160 * HOUR) },
  ]);
});

test.each([
  ['to be disabled', { disabled: true }],
  ['a new password', { passwordHash: 'new' }],
])('%s ends all sessions of that person, and no other', async (_, change) => {
  const { db } = database;
  const [user, other] = [await somebody(), await somebody()];
  const tokens = [await signedIn(user), await signedIn(user)];
  const othersToken = await signedIn(other);
  await changeStaffUser(db, user.id, change, ROOT, T0);
  for (const token of tokens) expect(await useSession(db, token, T0)).toBeNull();
  expect(await useSession(db, othersToken, T0)).not.toBeNull();
  // Whoever found the old password right a moment ago, or is disabled, gets no session any more.
  expect(await beginSession(db, { userId: user.id, passwordHash: 'hash', now: T0 })).toBeNull();
});

test('who signs in while the password changes gets no session that outlives it', async () => {
  const { db } = database;
  for (let round = 0; round < 20; round++) {
    const user = await somebody();
    const [begun] = await Promise.all([
      beginSession(db, { userId: user.id, passwordHash: 'hash', now: T0 }),
      changeStaffUser(db, user.id, { passwordHash: 'new' }, ROOT, T0),
    ]);
    if (begun !== null) expect(await useSession(db, begun.token, T0)).toBeNull();
  }
});

test('staff and the audit log are listed newest first, page by page', async () => {
  const { db } = database;
  await db.deleteFrom('staff_user').execute();
  const [one, two, three] = [await somebody(), await somebody(), await somebody()];
  const first = await listStaff(db, 2, null);
  expect(first.map(({ id }) => id)).toEqual([three.id, two.id]);
  expect((await listStaff(db, 2, first[1] ?? null)).map(({ id }) => id)).toEqual([one.id]);
  const [newest, next] = await listAudit(db, 2, null);
  expect([newest?.target, next?.target]).toEqual([three.id, two.id]);
  expect((await listAudit(db, 1, next?.id ?? null))[0]?.target).toBe(one.id);
});
