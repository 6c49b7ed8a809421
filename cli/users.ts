import { changeStaffUser, createStaffUser, listStaff, staffIdOf } from '../db/staff';
import { parseAddress } from '../domain/addresses';
import { hashPassword, passwordFault } from '../domain/passwords';
import { atTheMachine, CommandRefused, type DatabaseCommand, onDatabase, scopesIn } from './database';
import { type PasswordInput, readPassword } from './password-prompt';
import { leftGrid } from './table';

export interface UserOptions {
  /** Separated by commas. */
  roles: string;
  name?: string;
}

/** Commands that ask for a password read it from here, never from their arguments, which others on the machine can see. */
export interface PasswordCommand extends DatabaseCommand {
  input: PasswordInput;
}

const PAGE = 100;

/** `recuerda users create` */
export async function createUser(command: PasswordCommand, email: string, options: UserOptions): Promise<number> {
  return await onDatabase(command, async (db) => {
    const parsed = parseAddress(email);
    if ('problem' in parsed) throw new CommandRefused(`This is no address: ${parsed.problem}.`);
    const roles = scopesIn(options.roles);
    const user = await createStaffUser(db, {
      email: parsed.address,
      name: options.name ?? '',
      roles,
      passwordHash: await newPassword(command),
      by: atTheMachine(),
      now: new Date(),
    });
    command.output.write(`${user.email} signs in under /login and may: ${roles.join(', ')}.\n`);
  });
}

/** `recuerda users list` */
export async function listUsers(command: DatabaseCommand): Promise<number> {
  return await onDatabase(command, async (db) => {
    const lines: string[][] = [];
    for (let after: { createdAt: Date; id: string } | null = null; ; ) {
      const page = await listStaff(db, PAGE, after);
      for (const { id, email, roles, disabledAt, name } of page) {
        lines.push([id, email, roles.join(','), disabledAt === null ? 'active' : 'disabled', name]);
      }
      after = page.at(-1) ?? null;
      if (page.length < PAGE) break;
    }
    command.output.write(`${leftGrid(['ID', 'ADDRESS', 'ROLES', 'STATE', 'NAME'], lines)}\n`);
  });
}

/** `recuerda users disable`: signs them out everywhere, at once. */
export async function disableUser(command: DatabaseCommand, email: string): Promise<number> {
  return await onDatabase(command, async (db) => {
    await changeStaffUser(db, await staffIdOf(db, email), { disabled: true }, atTheMachine(), new Date());
    command.output.write(`${email} can not sign in any more.\n`);
  });
}

/** `recuerda users password`: a new one, which ends all their sessions. */
export async function setUserPassword(command: PasswordCommand, email: string): Promise<number> {
  return await onDatabase(command, async (db) => {
    const id = await staffIdOf(db, email);
    const passwordHash = await newPassword(command);
    await changeStaffUser(db, id, { passwordHash }, atTheMachine(), new Date());
    command.output.write(`${email} has a new password; all their sessions have ended.\n`);
  });
}

async function newPassword({ input }: PasswordCommand): Promise<string> {
  const prompts = process.stderr;
  const password = await readPassword(input, prompts, 'Password: ');
  const fault = passwordFault(password);
  if (fault !== null) throw new CommandRefused(`The password ${fault}.`);
  if (input.isTTY && password !== (await readPassword(input, prompts, 'Once more: '))) {
    throw new CommandRefused('The two are not the same.');
  }
  return await hashPassword(password);
}
