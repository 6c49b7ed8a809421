import { type Kysely, sql } from 'kysely';

/**
 * Erasure searches the answers that are kept for requests that come again. Most hold ids only; these indexes lead to the
 * others. Their conditions stand in `db/erasure.ts` word for word.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const statements = `
    create index idempotency_key_with_address on idempotency (created_at) where key like '%@%' or key like '%\\%40%';
    create index idempotency_body_of_person on idempotency (created_at)
      where length(body) > 200 or body like '%@%' or body like '%\\%40%';
  `;
  await sql.raw(statements).execute(db);
}
