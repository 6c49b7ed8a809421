import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { type Db, inTransaction, type Tx } from '../db/client';
import { type EnrollRequest, type EnrollResult, enrollIn } from '../db/enrollments';
import {
  finishImport,
  type ImportBatch,
  type ImportIssue,
  ImportSuperseded,
  type ImportWork,
  importWork,
  readUpload,
  recordBatch,
} from '../db/imports';
import { type AddressKey, hashAddress } from '../domain/address-hash';
import { normaliseAddress } from '../domain/addresses';
import { decodeStream } from '../domain/leads-file/encoding';
import { type LeadRow, LeadsFileProblem, readLeadRows } from '../domain/leads-file/rows';
import { Problem } from '../domain/problem';
import { bareFailure } from './failures';
import { withHeartbeat } from './heartbeat';

export interface ImportLeadsDeps {
  db: Db;
  addressKeys: readonly AddressKey[];
  timeFactor: number;
  /** Aborts when this process is told to stop; another one then goes on with the import. */
  stopping?: AbortSignal;
}

export interface ImportInput {
  importId: string;
}

export interface ImportResult {
  state: 'completed' | 'failed';
}

/** So many lines share a transaction: enough to share its price, few enough to hold no row for long. */
const BATCH_LINES = 200;
/** A file's initial information waits for everybody who asked in person. */
const IMPORT_PRIORITY = 4;
const INTERRUPTED = 'the import was interrupted; it goes on where it was';

/**
 * Takes in the file of an import, in batches whose leads and progress are one transaction each: whatever this process dies
 * of, the next attempt goes on after the last line that counted, and nobody is enrolled twice. A file that can't be read as
 * a whole, or a campaign that was cancelled, ends the import as failed; a fault of ours is thrown, to be tried again.
 */
export function createImportLeads(deps: ImportLeadsDeps): (input: ImportInput) => Promise<ImportResult> {
  return async ({ importId }) =>
    await withHeartbeat(async (cancelled) => {
      const signal = deps.stopping === undefined ? cancelled : AbortSignal.any([cancelled, deps.stopping]);
      try {
        return await importFile(deps, importId, signal);
      } catch (error) {
        if (cancelled.aborted) throw new CancelledFailure('the import was interrupted');
        throw interrupted(error);
      }
    });
}

/** Ends an import that was cancelled in the engine's UI. What its row already says wins. */
export function createAbandonImport({
  db,
}: Pick<ImportLeadsDeps, 'db'>): (input: ImportInput) => Promise<ImportResult> {
  return async ({ importId }) => {
    try {
      return {
        state: await finishImport(db, importId, 'it was cancelled by an operator; the lines counted here stay'),
      };
    } catch (error) {
      throw interrupted(error);
    }
  };
}

async function importFile(deps: ImportLeadsDeps, importId: string, signal: AbortSignal): Promise<ImportResult> {
  const found = await importWork(deps.db, importId);
  if (found === null) return { state: 'failed' };
  if (found.state !== 'running') return { state: found.state };
  try {
    await importLines(deps, found.work, signal);
  } catch (error) {
    // Both tell the person who brought the file what to mend, and may name its columns: not for Temporal.
    if (!(error instanceof LeadsFileProblem || error instanceof Problem)) throw error;
    return { state: await finishImport(deps.db, importId, error.message) };
  }
  return { state: await finishImport(deps.db, importId, null) };
}

async function importLines(deps: ImportLeadsDeps, work: ImportWork, signal: AbortSignal): Promise<void> {
  const bytes = readUpload(deps.db, work.importId, work.chunks);
  const rows = readLeadRows(decodeStream(work.encoding)(bytes), {
    timeZone: work.timeZone,
    // The same on every attempt, so that every attempt reads the same rows.
    now: work.createdAt,
    ...(work.mapping === null ? {} : { mapping: work.mapping }),
  });
  let { lastLine } = work;
  let batch: LeadRow[] = [];
  const flush = async () => {
    const last = batch.at(-1);
    if (last === undefined) return;
    if (signal.aborted) throw ApplicationFailure.retryable('this process is stopping', 'stopping');
    await importBatch(deps, work, batch, lastLine);
    lastLine = last.line;
    batch = [];
  };
  for await (const row of rows) {
    if (row.line <= work.lastLine) continue;
    batch.push(row);
    if (batch.length >= BATCH_LINES) await flush();
  }
  await flush();
}

/** Refusals that are no suppression, in words. */
const WHY_REJECTED: Readonly<Record<string, string>> = {
  bought: 'has bought since they asked',
  withdrawn: 'has withdrawn since, and has not asked anew',
};

/** Postgres refused a value (SQLSTATE class 22). */
function isDataFault(error: unknown): boolean {
  return /^22[0-9A-Z]{3}$/.test(String((error as { code?: unknown }).code));
}

async function importBatch(
  deps: ImportLeadsDeps,
  work: ImportWork,
  rows: readonly LeadRow[],
  after: number,
): Promise<void> {
  try {
    await inTransaction(deps.db, (tx) => importRows(deps, tx, work, rows, after));
  } catch (error) {
    if (!isDataFault(error)) throw error;
    // One line must not keep the others out, nor be tried for ever.
    const [row] = rows;
    if (row !== undefined && rows.length === 1) {
      const refused: LeadRow = { line: row.line, ok: false, column: '', reason: 'the line can not be stored' };
      await inTransaction(deps.db, (tx) => importRows(deps, tx, work, [refused], after));
      return;
    }
    let last = after;
    for (const one of rows) {
      await importBatch(deps, work, [one], last);
      last = one.line;
    }
  }
}

async function importRows(
  deps: ImportLeadsDeps,
  tx: Tx,
  work: ImportWork,
  rows: readonly LeadRow[],
  after: number,
): Promise<void> {
  const batch = {
    after,
    lastLine: rows.at(-1)?.line ?? after,
    created: 0,
    existing: 0,
    rejected: [] as ImportIssue[],
    warnings: [] as ImportIssue[],
  } satisfies ImportBatch;
  const issue = (line: number, column: string, reason: string): ImportIssue => ({
    line,
    column: column === '' ? null : column,
    reason,
  });

  for (const row of rows) if (!row.ok) batch.rejected.push(issue(row.line, row.column, row.reason));
  const accepted = rows.flatMap((row) => (row.ok ? [{ row, request: requestOf(row, work, deps.addressKeys) }] : []));
  for (const round of rounds(accepted, ({ request }) => request.hashes[0])) {
    const results = await enrollIn(
      tx,
      round.map(({ request }) => request),
      {
        campaignId: work.campaignId,
        now: new Date(),
        priority: IMPORT_PRIORITY,
        via: `import:${work.importId}`,
        asksInPerson: false,
        timeFactor: deps.timeFactor,
      },
    );
    for (const [index, { row }] of round.entries()) {
      const result = results[index] as EnrollResult;
      if (result.kind === 'refused') {
        const { reason } = result.because;
        batch.rejected.push(issue(row.line, '', WHY_REJECTED[reason] ?? `suppressed: ${reason}`));
        continue;
      }
      batch[result.kind] += 1;
      for (const { column, reason } of row.warnings) batch.warnings.push(issue(row.line, column, reason));
    }
  }
  await recordBatch(tx, work.importId, batch);
}

/**
 * Splits lines so that no address comes twice in one part, in the order of the file: a line that repeats an address is
 * then dealt with as it would be in a batch of its own. All but the first part lock only what the first has locked.
 */
function rounds<T>(lines: readonly T[], keyOf: (line: T) => string): T[][] {
  const parts: T[][] = [];
  const times = new Map<string, number>();
  for (const line of lines) {
    const key = keyOf(line);
    const before = times.get(key) ?? 0;
    times.set(key, before + 1);
    parts[before] ??= [];
    parts[before].push(line);
  }
  return parts;
}

function requestOf(row: LeadRow & { ok: true }, work: ImportWork, keys: readonly AddressKey[]): EnrollRequest {
  const { email, name, locale, timeZone, attributes } = row.lead;
  const requestedAt = row.lead.requestedAt === undefined ? null : new Date(row.lead.requestedAt);
  return {
    hashes: hashAddress(normaliseAddress(email), keys),
    email,
    name,
    locale,
    timeZone,
    attributes,
    requestedAt,
    consent: {
      purpose: work.purpose,
      text: work.consentText,
      capturedAt: requestedAt ?? work.createdAt,
      source: work.source,
      file: { importId: work.importId, line: row.line, sha256: work.sha256 },
    },
  };
}

function interrupted(error: unknown): ApplicationFailure {
  if (error instanceof ImportSuperseded) return ApplicationFailure.retryable(INTERRUPTED, 'superseded');
  return bareFailure(error, INTERRUPTED);
}
