import type { PostgresServer } from '../../stack/postgres';

export default async function globalTeardown(): Promise<void> {
  await (globalThis as { testPostgres?: PostgresServer }).testPostgres?.stop();
}
