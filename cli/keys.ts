import { createApiKey, listApiKeys, revokeApiKey } from '../db/api-keys';
import { atTheMachine, CommandRefused, type DatabaseCommand, onDatabase, scopesIn } from './database';
import { leftGrid } from './table';

export interface KeyOptions {
  name: string;
  /** Separated by commas. */
  scopes: string;
}

const PAGE = 100;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** `recuerda keys create`: prints the key on stdout, alone, so that it can be piped to where secrets are kept. */
export async function createKey(command: DatabaseCommand, { name, scopes }: KeyOptions): Promise<number> {
  return await onDatabase(command, async (db) => {
    if (name.trim() === '' || name.length > 100) throw new CommandRefused('A name has 1 to 100 characters.');
    const now = new Date();
    const made = await createApiKey(db, { name: name.trim(), scopes: scopesIn(scopes), by: atTheMachine(), now });
    console.error(`Key ${made.id} may: ${made.scopes.join(', ')}. It is shown now and never again:`);
    command.output.write(`${made.key}\n`);
  });
}

/** `recuerda keys list` */
export async function listKeys(command: DatabaseCommand): Promise<number> {
  return await onDatabase(command, async (db) => {
    const lines: string[][] = [];
    for (let after: { createdAt: Date; id: string } | null = null; ; ) {
      const page = await listApiKeys(db, PAGE, after);
      for (const { id, prefix, name, scopes, lastUsedAt, revokedAt } of page) {
        const state =
          revokedAt === null ? (lastUsedAt?.toISOString() ?? 'never') : `revoked ${revokedAt.toISOString()}`;
        lines.push([id, `${prefix}…`, scopes.join(','), state, name]);
      }
      after = page.at(-1) ?? null;
      if (page.length < PAGE) break;
    }
    command.output.write(`${leftGrid(['ID', 'KEY', 'SCOPES', 'LAST USED', 'NAME'], lines)}\n`);
  });
}

/** `recuerda keys revoke`: refused from the next request on. */
export async function revokeKey(command: DatabaseCommand, id: string): Promise<number> {
  return await onDatabase(command, async (db) => {
    if (!UUID.test(id)) throw new CommandRefused('Give the id of the key, as npx recuerda keys list shows it.');
    const { name, prefix } = await revokeApiKey(db, id, atTheMachine(), new Date());
    command.output.write(`Revoked: ${prefix}… (${name})\n`);
  });
}
