import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { PublishedCampaign } from '../domain/campaign';
import type { Purpose } from '../domain/consent';
import type { Encoding } from '../domain/leads-file/encoding';
import { Problem } from '../domain/problem';
import { versionOf } from './campaigns';
import { type Db, inTransaction, type Tx } from './client';
import type { LeadImportTable } from './schema';

// A file of leads on its way in: its bytes wait in chunks until the import has dealt with every line, and its progress is
// written in the transaction that writes the leads, so that the counts are exact whatever crashes.

export type ImportState = LeadImportTable['state']['__select__'];

/** Small enough to keep a few in memory for each upload, large enough to be few rows. */
const CHUNK_BYTES = 256 * 1024;

/**
 * The campaign that a file is for, as it is when the file comes.
 *
 * @throws Problem `not-found`, `not-published`, `campaign-cancelled`
 */
export async function campaignForImport(
  db: Db,
  campaignId: string,
): Promise<Pick<PublishedCampaign, 'definition' | 'steps'>> {
  const row = await db
    .selectFrom('campaign')
    .select(['latest_version', 'cancelled_at'])
    .where('id', '=', campaignId)
    .executeTakeFirst();
  if (row === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
  if (row.cancelled_at !== null) {
    throw new Problem('campaign-cancelled', 'the campaign was cancelled; import the leads into another one');
  }
  if (row.latest_version === null) {
    throw new Problem(
      'not-published',
      'the campaign is a draft; publish it with POST /v1/campaigns/{id}/publish first',
    );
  }
  return await versionOf(db, campaignId, row.latest_version);
}

/** An uploaded file that no import owns yet. */
export interface StoredUpload {
  /** Also the id of the import to be. */
  id: string;
  chunks: number;
  bytes: number;
}

/**
 * Stores a file as it arrives, in constant memory: the next bytes are asked for when the ones before are stored. When
 * that fails, nothing of it is left.
 *
 * @throws what the source or Postgres threw
 */
export async function storeUpload(db: Db, source: AsyncIterable<Uint8Array>): Promise<StoredUpload> {
  const upload: StoredUpload = { id: randomUUID(), chunks: 0, bytes: 0 };
  let waiting: Uint8Array[] = [];
  let size = 0;
  const store = async (bytes: Buffer) => {
    await db.insertInto('lead_import_chunk').values({ import_id: upload.id, seq: upload.chunks, bytes }).execute();
    upload.chunks += 1;
    upload.bytes += bytes.length;
  };
  try {
    for await (const piece of source) {
      waiting.push(piece);
      size += piece.length;
      if (size < CHUNK_BYTES) continue;
      const whole = Buffer.concat(waiting);
      const cut = whole.length - (whole.length % CHUNK_BYTES);
      for (let from = 0; from < cut; from += CHUNK_BYTES) await store(whole.subarray(from, from + CHUNK_BYTES));
      waiting = [whole.subarray(cut)];
      size = whole.length - cut;
    }
    if (size > 0) await store(Buffer.concat(waiting));
  } catch (error) {
    // Should this fail too, `deleteOrphanChunks` does it a day later.
    await deleteUpload(db, upload.id).catch(() => {});
    throw error;
  }
  return upload;
}

/** Deletes an uploaded file that no import owns. */
export async function deleteUpload(db: Db, id: string): Promise<void> {
  await db.deleteFrom('lead_import_chunk').where('import_id', '=', id).execute();
}

/** Deletes what uploads left behind whose process was killed. @returns how many chunks */
export async function deleteOrphanChunks(db: Db, olderThanMs: number): Promise<number> {
  const result = await sql`
    delete from lead_import_chunk c
    where c.created_at < now() - ${olderThanMs} * interval '1 millisecond'
      and not exists (select from lead_import i where i.id = c.import_id)`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

export interface NewImport {
  upload: StoredUpload;
  campaignId: string;
  purpose: Purpose;
  consentText: string;
  source: string;
  /** Columns named by hand, see `guessMapping`. */
  mapping: Record<string, string> | null;
  /** IANA zone for leads that bring none. */
  timeZone: string;
  encoding: Encoding;
  /** Of the file, hex. */
  sha256: string;
}

/** Accepts an uploaded file; from here on it will be dealt with (promise P4). */
export async function createImport(db: Db, added: NewImport): Promise<void> {
  await db
    .insertInto('lead_import')
    .values({
      id: added.upload.id,
      campaign_id: added.campaignId,
      purpose: added.purpose,
      consent_text: added.consentText,
      source: added.source,
      mapping: added.mapping === null ? null : JSON.stringify(added.mapping),
      time_zone: added.timeZone,
      encoding: added.encoding,
      sha256: added.sha256,
      chunks: added.upload.chunks,
      bytes: added.upload.bytes,
    })
    .execute();
}

/** What is needed to deal with an import, or to go on with it. */
export interface ImportWork {
  importId: string;
  campaignId: string;
  purpose: Purpose;
  consentText: string;
  source: string;
  mapping: Record<string, string> | null;
  timeZone: string;
  encoding: Encoding;
  sha256: string | null;
  chunks: number;
  /** Every line up to this one has been dealt with. */
  lastLine: number;
  createdAt: Date;
}

/** An import and whether there is work left; null when it is not known. */
export async function importWork(db: Db, importId: string): Promise<{ state: ImportState; work: ImportWork } | null> {
  const row = await db.selectFrom('lead_import').selectAll().where('id', '=', importId).executeTakeFirst();
  if (row === undefined) return null;
  return {
    state: row.state,
    work: {
      importId: row.id,
      campaignId: row.campaign_id,
      purpose: row.purpose as Purpose,
      consentText: row.consent_text,
      source: row.source,
      mapping: row.mapping,
      timeZone: row.time_zone,
      encoding: row.encoding as Encoding,
      sha256: row.sha256,
      chunks: row.chunks,
      lastLine: row.last_line,
      createdAt: row.created_at,
    },
  };
}

/** The bytes of an import's file, a chunk at a time. @throws Error when a chunk is gone: the import is finished */
export async function* readUpload(db: Db, importId: string, chunks: number): AsyncGenerator<Buffer> {
  for (let seq = 0; seq < chunks; seq++) {
    const row = await db
      .selectFrom('lead_import_chunk')
      .select('bytes')
      .where('import_id', '=', importId)
      .where('seq', '=', seq)
      .executeTakeFirst();
    if (row === undefined) throw new Error('a chunk of the file is gone');
    yield row.bytes;
  }
}

/** Something about a line of the file; `column` is null where it is about the whole line. */
export interface ImportIssue {
  line: number;
  column: string | null;
  reason: string;
}

/** What became of some lines in a row. */
export interface ImportBatch {
  /** The last line that was dealt with before them, and the last of them. */
  after: number;
  lastLine: number;
  created: number;
  existing: number;
  /** One for each rejected line. */
  rejected: readonly ImportIssue[];
  warnings: readonly ImportIssue[];
}

/** Another attempt has gone on with the import meanwhile, or it has ended: what this one did must not count. */
export class ImportSuperseded extends Error {
  override name = 'ImportSuperseded';
}

/**
 * Writes an import's progress in the transaction that has written its leads, which makes both true together.
 *
 * @throws ImportSuperseded when this attempt is not the one that goes on with the import
 */
export async function recordBatch(tx: Tx, importId: string, batch: ImportBatch): Promise<void> {
  const { created, existing, rejected, warnings } = batch;
  const updated = await tx
    .updateTable('lead_import')
    .set((eb) => ({
      last_line: batch.lastLine,
      total: eb('total', '+', created + existing + rejected.length),
      created: eb('created', '+', created),
      existing: eb('existing', '+', existing),
      rejected: eb('rejected', '+', rejected.length),
      warnings: eb('warnings', '+', warnings.length),
      progress_at: sql<Date>`clock_timestamp()`,
    }))
    .where('id', '=', importId)
    .where('state', '=', 'running')
    .where('last_line', '=', batch.after)
    .executeTakeFirst();
  if (updated.numUpdatedRows !== 1n) throw new ImportSuperseded('another attempt goes on with this import');

  const rows = [
    ...rejected.map((issue) => ({ ...issue, rejected: true })),
    ...warnings.map((issue) => ({ ...issue, rejected: false })),
  ];
  if (rows.length === 0) return;
  const seen = new Map<number, number>();
  await tx
    .insertInto('lead_import_issue')
    .values(
      rows.map((issue) => {
        const seq = seen.get(issue.line) ?? 0;
        seen.set(issue.line, seq + 1);
        return { import_id: importId, seq, ...issue };
      }),
    )
    .execute();
}

/**
 * Ends an import and deletes its file, which is personal data that nobody needs any more. One that has ended stays as it is.
 *
 * @param failure for the person who brought the file; null when every line was dealt with
 */
export async function finishImport(
  db: Db,
  importId: string,
  failure: string | null,
): Promise<Exclude<ImportState, 'running'>> {
  return await inTransaction(db, async (tx) => {
    await tx
      .updateTable('lead_import')
      .set({
        state: failure === null ? 'completed' : 'failed',
        failure,
        finished_at: sql<Date>`clock_timestamp()`,
        leased_until: null,
      })
      .where('id', '=', importId)
      .where('state', '=', 'running')
      .execute();
    await tx.deleteFrom('lead_import_chunk').where('import_id', '=', importId).execute();
    const row = await tx.selectFrom('lead_import').select('state').where('id', '=', importId).executeTakeFirst();
    return row?.state === 'completed' ? 'completed' : 'failed';
  });
}

/**
 * Running imports whose workflow was never started, and those that have made no progress for so long that their workflow
 * must be looked after; leased to the caller.
 *
 * @param stalledMs how long without progress; such a one is leased for as long
 */
export async function leaseImports(db: Db, limit: number, leaseMs: number, stalledMs: number): Promise<string[]> {
  const result = await sql<{ id: string }>`
    update lead_import i
    set leased_until = now() + (case when i.started_at is null then ${leaseMs}::float8 else ${stalledMs}::float8 end)
      * interval '1 millisecond'
    where i.id in (
      select id from lead_import
      where state = 'running' and (leased_until is null or leased_until < now())
        and (started_at is null or progress_at < now() - ${stalledMs} * interval '1 millisecond')
      order by created_at limit ${limit} for update skip locked
    )
    returning i.id`.execute(db);
  return result.rows.map((row) => row.id);
}

/** Stamps imports whose workflow is known to be started. */
export async function markImportsStarted(db: Db, importIds: readonly string[]): Promise<void> {
  if (importIds.length === 0) return;
  await sql`
    update lead_import set started_at = coalesce(started_at, now()) where id = any(${importIds}::uuid[])`.execute(db);
}

export interface ImportView {
  importId: string;
  campaignId: string;
  state: ImportState;
  purpose: string;
  consentText: string;
  source: string;
  mapping: Record<string, string> | null;
  timeZone: string;
  encoding: string;
  sha256: string | null;
  bytes: number;
  total: number;
  created: number;
  existing: number;
  rejected: number;
  warningCount: number;
  failure: string | null;
  createdAt: Date;
  finishedAt: Date | null;
}

/**
 * An import with the first of its errors and warnings, all as of one moment.
 *
 * @param limit how many of each
 * @throws Problem `not-found`
 */
export async function findImport(
  db: Db,
  importId: string,
  limit: number,
): Promise<ImportView & { errors: ImportIssue[]; warnings: ImportIssue[] }> {
  return await db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const row = await importRows(tx).where('id', '=', importId).executeTakeFirst();
      if (row === undefined) throw new Problem('not-found', `there is no import ${importId}`);
      const read = async (count: number, rejected: boolean) =>
        count === 0 || limit === 0 ? [] : await issueRows(tx, importId, rejected).limit(limit).execute();
      const errors = await read(row.rejected, true);
      const warnings = await read(row.warningCount, false);
      return { ...viewOf(row), errors: errors.map(issueOf), warnings: warnings.map(issueOf) };
    });
}

/** A page of a campaign's imports, newest first. @throws Problem `not-found` when there is no such campaign */
export async function listImports(
  db: Db,
  campaignId: string,
  limit: number,
  before: { createdAt: Date; id: string } | null,
): Promise<ImportView[]> {
  const campaign = await db.selectFrom('campaign').select('id').where('id', '=', campaignId).executeTakeFirst();
  if (campaign === undefined) throw new Problem('not-found', `there is no campaign ${campaignId}`);
  // A cursor carries milliseconds, so that is what the order goes by.
  const at = sql<Date>`date_trunc('milliseconds', created_at)`;
  let query = importRows(db)
    .where('campaign_id', '=', campaignId)
    .orderBy(at, 'desc')
    .orderBy('id', 'desc')
    .limit(limit);
  if (before !== null) query = query.where(sql<boolean>`(${at}, id) < (${before.createdAt}, ${before.id}::uuid)`);
  return (await query.execute()).map(viewOf);
}

function importRows(db: Db | Tx) {
  return db
    .selectFrom('lead_import')
    .select([
      'id as importId',
      'campaign_id as campaignId',
      'state',
      'purpose',
      'consent_text as consentText',
      'source',
      'mapping',
      'time_zone as timeZone',
      'encoding',
      'sha256',
      'bytes',
      'total',
      'created',
      'existing',
      'rejected',
      'warnings as warningCount',
      'failure',
      'created_at as createdAt',
      'finished_at as finishedAt',
    ]);
}

function viewOf(row: Omit<ImportView, 'bytes'> & { bytes: string }): ImportView {
  return { ...row, bytes: Number(row.bytes) };
}

/** Where a list of issues goes on. */
export interface IssuePosition {
  line: number;
  seq: number;
}

/**
 * A page of the rejected lines of an import, or of its warnings, in the order of the file.
 *
 * @param after the last of the page before
 * @throws Problem `not-found`
 */
export async function listIssues(
  db: Db,
  importId: string,
  rejected: boolean,
  limit: number,
  after: IssuePosition | null,
): Promise<(ImportIssue & IssuePosition)[]> {
  const known = await db.selectFrom('lead_import').select('id').where('id', '=', importId).executeTakeFirst();
  if (known === undefined) throw new Problem('not-found', `there is no import ${importId}`);
  let query = issueRows(db, importId, rejected).limit(limit);
  if (after !== null) {
    query = query.where((eb) => eb(eb.refTuple('line', 'seq'), '>', eb.tuple(after.line, after.seq)));
  }
  return await query.execute();
}

function issueRows(db: Db | Tx, importId: string, rejected: boolean) {
  return db
    .selectFrom('lead_import_issue')
    .select(['line', 'seq', 'column', 'reason'])
    .where('import_id', '=', importId)
    .where('rejected', '=', rejected)
    .orderBy('line')
    .orderBy('seq');
}

function issueOf({ line, column, reason }: ImportIssue): ImportIssue {
  return { line, column, reason };
}
