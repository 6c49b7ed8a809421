import { rm } from 'node:fs/promises';
import type { PostgresServer } from '../../stack/postgres';

/** What `global-setup.ts` leaves for the end of the run. */
export interface SharedByTests {
  testPostgres?: PostgresServer;
  testFolder?: string;
}

export default async function globalTeardown(): Promise<void> {
  const shared = globalThis as SharedByTests;
  await shared.testPostgres?.stop();
  if (shared.testFolder !== undefined) await rm(shared.testFolder, { recursive: true, force: true });
}
