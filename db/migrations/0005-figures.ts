import { type Kysely, sql } from 'kysely';

/** What operators look at (`db/figures.ts`) is counted over an index, however many messages there are. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const statements = `
    create index message_unknown on message (enrollment_id) where state = 'unknown';
    create index transactional_unknown on transactional (id) where state = 'unknown';
  `;
  await sql.raw(statements).execute(db);
}
