import { createHash } from 'node:crypto';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createImportLeads, type ImportLeadsDeps, type ImportResult } from '../../activities/import-leads';
import type { Db } from '../../db/client';
import { createImport, findImport, type NewImport, storeUpload } from '../../db/imports';
import { createEncodingDetector } from '../../domain/leads-file/encoding';
import { dirtyFile, encode, inPieces } from '../domain/leads-file/dirty-file';
import { TEST_ADDRESS_KEYS } from './leads';

/** Accepts a file as the API does. @returns the import's id */
export async function importForTests(
  db: Db,
  campaignId: string,
  bytes: Buffer | string,
  change: Partial<NewImport> = {},
): Promise<string> {
  const whole = Buffer.from(bytes);
  const detector = createEncodingDetector();
  detector.push(whole);
  const upload = await storeUpload(db, inPieces(whole));
  await createImport(db, {
    upload,
    campaignId,
    purpose: 'nudges',
    consentText: 'Sí, escríbanme sobre la cafetera.',
    source: 'ficha de la feria',
    mapping: null,
    timeZone: 'Europe/Madrid',
    encoding: detector.result(),
    sha256: createHash('sha256').update(whole).digest('hex'),
    ...change,
  });
  return upload.id;
}

/** Runs the activity of an import once, here, as a worker would. */
export async function runImport(
  db: Db,
  importId: string,
  options: { environment?: MockActivityEnvironment; deps?: Partial<ImportLeadsDeps> } = {},
): Promise<ImportResult> {
  const { environment = new MockActivityEnvironment(), deps } = options;
  const importLeads = createImportLeads({ db, addressKeys: TEST_ADDRESS_KEYS, timeFactor: 1, ...deps });
  return (await environment.run(importLeads, { importId })) as ImportResult;
}

/** An import with up to 10,000 of its errors and warnings. */
export async function importOf(db: Db, importId: string) {
  return await findImport(db, importId, 10_000);
}

/** A dirty file in Windows-1252 with what taking it in must give: how many people, how many lines of each kind. */
export function dirtyImport(leads: number) {
  const { text, lines } = dirtyFile(leads);
  const good = lines.filter((line) => line.ok);
  const people = new Set(good.map((line) => line.email?.toLowerCase()));
  return {
    bytes: encode(text, 'windows-1252'),
    people: people.size,
    counts: {
      total: lines.length,
      created: people.size,
      existing: good.length - people.size,
      rejected: lines.length - good.length,
    },
    errors: lines
      .filter((line) => !line.ok)
      .map(({ line, column, reason }) => ({ line, column: column ?? null, reason: reason ?? '' })),
  };
}

/** How many people and enrollments there are, and that nobody and nothing is there twice. */
export async function headcount(db: Db, campaignId: string) {
  const count = async (from: 'lead' | 'enrollment' | 'consent' | 'event') => {
    const row = await db
      .selectFrom(from)
      .select((eb) => eb.fn.countAll<string>().as('count'))
      .executeTakeFirstOrThrow();
    return Number(row.count);
  };
  const twice = await db
    .selectFrom('enrollment')
    .select('lead_id')
    .where('campaign_id', '=', campaignId)
    .groupBy('lead_id')
    .having((eb) => eb.fn.countAll(), '>', 1)
    .execute();
  return {
    leads: await count('lead'),
    enrollments: await count('enrollment'),
    consents: await count('consent'),
    events: await count('event'),
    twice: twice.length,
  };
}
