import { looksLikeAddress, parseAddress } from '../addresses';
import { readConsent } from './consent-words';
import { type DateOrder, type ReadDate, readDate } from './dates';
import { inspectLeadsText, type LeadsFileLayout, SAMPLE_CHARS } from './inspect';
import { readLocale, readTimeZone } from './locales';
import { createRecordSplitter, isBlankRecord, MAX_RECORD_CHARS, parseRecords, type SplitRecord } from './records';
import { remembered } from './remembered';

/** A lead as one line of a file gives it. */
interface ImportedLead {
  /** The address as written, mended where there was no doubt; not normalised. */
  email: string;
  /** Empty where the file has none. */
  name: string;
  /** BCP 47. */
  locale?: string;
  /** IANA. */
  timeZone?: string;
  /** RFC 3339, in UTC. */
  requestedAt?: string;
  /** The other columns, as they are in the file but for blanks around them; empty cells are left out. */
  attributes: Record<string, string>;
}

/** Something about a line, told without quoting what is in it. `column` is '' where it is about the whole line. */
interface Remark {
  column: string;
  reason: string;
}

interface AcceptedRow {
  /** Physical 1-based line of the file on which the record starts. */
  line: number;
  ok: true;
  lead: ImportedLead;
  warnings: Remark[];
}

interface RejectedRow extends Remark {
  line: number;
  ok: false;
}

export type LeadRow = AcceptedRow | RejectedRow;

export interface ReadOptions {
  /** IANA zone for days and times of leads that bring no zone of their own. */
  timeZone: string;
  /** A request can't be later than this. */
  now: Date;
  /** Columns named by hand, see `guessMapping`. */
  mapping?: Readonly<Record<string, string>>;
  /** What 03/04/2025 means where it could be both; day first unless told otherwise. */
  dateOrder?: DateOrder;
}

/**
 * The file as a whole can't be read. Its message is for the person who brought the file, and names its columns: in a
 * file that is no list of leads those may be anything, so the message stays out of logs and of Temporal.
 */
export class LeadsFileProblem extends Error {
  override name = 'LeadsFileProblem';
}

const MAX_CELL = 10_000;
const MAX_NAME = 200;
/** csv-parse has a price per call; this many records share it. */
const BATCH = 250;

/**
 * Reads a CSV file of leads, in constant memory. Every data line gives exactly one result, in the order of the file;
 * the header, blank lines and lines of delimiters only are not data. A line is refused when it has no usable address,
 * when its consent column doesn't clearly say yes, or when it can't be read; anything else that is wrong with it is a
 * warning. The same text and options always give the same rows.
 *
 * @throws LeadsFileProblem when there is no line, no column of addresses, or the mapping names a column that isn't there
 */
export async function* readLeadRows(text: AsyncIterable<string>, options: ReadOptions): AsyncGenerator<LeadRow> {
  let head = '';
  let reader: RowReader | undefined;
  for await (const piece of text) {
    if (reader !== undefined) {
      yield* reader.push(piece);
      continue;
    }
    head += piece;
    if (head.length < SAMPLE_CHARS) continue;
    reader = openReader(head, false, options);
    yield* reader.push(withoutByteOrderMark(head));
    head = '';
  }
  if (reader === undefined) {
    reader = openReader(head, true, options);
    yield* reader.push(withoutByteOrderMark(head));
  }
  yield* reader.end();
}

interface RowReader {
  push(text: string): Generator<LeadRow>;
  end(): Generator<LeadRow>;
}

function withoutByteOrderMark(text: string): string {
  return text.startsWith('\ufeff') ? text.slice(1) : text;
}

function openReader(head: string, whole: boolean, options: ReadOptions): RowReader {
  const inspected = inspectLeadsText(head, options.mapping, whole);
  if ('problem' in inspected) throw new LeadsFileProblem(inspected.problem);
  const { layout } = inspected;
  const { delimiter } = layout;
  const readRow = rowReading(layout, options);

  const isLead = (line: string): boolean => {
    if (!line.includes('@')) return false;
    const cells = parseRecords([line.replaceAll('\0', '').trimEnd()], delimiter)[0] ?? [];
    return cells.length === layout.header.length && looksLikeAddress(cells[layout.mapping.fields.email] ?? '');
  };
  const splitter = createRecordSplitter(delimiter, isLead);

  function* rowsOf(records: SplitRecord[]): Generator<LeadRow> {
    const data = records.filter(
      (record) =>
        record.line > layout.linesBeforeData &&
        (record.problem !== undefined || !isBlankRecord(record.text, delimiter)),
    );
    for (let from = 0; from < data.length; from += BATCH) {
      const batch = data.slice(from, from + BATCH);
      const whole = batch.filter((record) => record.problem === undefined);
      const cells = parseRecords(
        whole.map((record) => (record.text.includes('\0') ? record.text.replaceAll('\0', '') : record.text)),
        delimiter,
      );
      let at = 0;
      for (const record of batch) {
        const row = record.problem === undefined ? readRow(record, cells[at++]) : unreadable(record, layout);
        if (row !== undefined) yield row;
      }
    }
  }

  return {
    push: (text) => rowsOf(splitter.push(text)),
    end: () => rowsOf(splitter.end()),
  };
}

function unreadable(record: SplitRecord, layout: LeadsFileLayout): RejectedRow {
  if (record.problem === 'too-long') {
    const reason = `the line is longer than ${MAX_RECORD_CHARS} characters`;
    return { line: record.line, ok: false, column: '', reason };
  }
  const column = columnName(layout, record.column ?? 0);
  return { line: record.line, ok: false, column, reason: 'a quote opened here is never closed' };
}

function columnName(layout: LeadsFileLayout, column: number): string {
  return layout.header[column] || `column ${column + 1}`;
}

/** Returns the function that makes a row of a record's cells; it gives undefined where all of them are empty. */
function rowReading(layout: LeadsFileLayout, options: ReadOptions) {
  const { fields, attributes } = layout.mapping;
  const width = layout.header.length;
  const dates = new Map<string, (cell: string) => ReadDate | undefined>();
  const dateIn = (timeZone: string) => {
    let read = dates.get(timeZone);
    if (read === undefined) {
      read = remembered((cell) => readDate(cell, timeZone, options.dateOrder ?? 'dmy'));
      dates.set(timeZone, read);
    }
    return read;
  };

  return function readRow(record: SplitRecord, cells: string[] | undefined): LeadRow | undefined {
    const { line } = record;
    const reject = (column: string, reason: string): RejectedRow => ({ line, ok: false, column, reason });
    const nameOf = (column: number) => columnName(layout, column);
    if (cells === undefined) return reject('', 'the line can not be read as CSV');
    if (cells.every((cell) => cell.trim() === '')) return undefined;
    const tooLong = cells.findIndex((cell) => cell.length > MAX_CELL);
    if (tooLong !== -1) return reject(nameOf(tooLong), `longer than ${MAX_CELL} characters`);
    const cell = (column: number | undefined) => (column === undefined ? '' : (cells[column] ?? '').trim());

    const parsed = parseAddress(cell(fields.email));
    if ('problem' in parsed) return reject(nameOf(fields.email), parsed.problem);

    if (fields.consent !== undefined) {
      const consent = readConsent(cell(fields.consent));
      if (consent !== 'yes') return reject(nameOf(fields.consent), NO_CONSENT[consent]);
    }

    const warnings: Remark[] = [];
    const warn = (column: number, reason: string) => warnings.push({ column: nameOf(column), reason });
    const lead: ImportedLead = { email: parsed.address, name: '', attributes: {} };

    const written = [fields.name, fields.firstName, fields.lastName].map((column) => cleanName(cell(column)));
    const name = written.filter((part) => part !== '').join(' ') || cleanName(parsed.name ?? '');
    lead.name = [...name].slice(0, MAX_NAME).join('').trim();
    if (lead.name.length < name.length) {
      warn(fields.name ?? fields.firstName ?? fields.lastName ?? fields.email, `cut to ${MAX_NAME} characters`);
    }

    if (fields.timeZone !== undefined && cell(fields.timeZone) !== '') {
      const timeZone = readTimeZone(cell(fields.timeZone));
      if (timeZone === undefined) warn(fields.timeZone, 'not an IANA time zone: left out');
      else lead.timeZone = timeZone;
    }
    if (fields.locale !== undefined && cell(fields.locale) !== '') {
      const locale = readLocale(cell(fields.locale));
      if (locale === undefined) warn(fields.locale, 'not a language: left out');
      else lead.locale = locale;
    }
    if (fields.requestedAt !== undefined && cell(fields.requestedAt) !== '') {
      const date = dateIn(lead.timeZone ?? options.timeZone)(cell(fields.requestedAt));
      if (date === undefined) {
        warn(fields.requestedAt, 'not a date: left out');
      } else {
        const requestedAt = notInFuture(date, options.now);
        if (requestedAt === undefined) warn(fields.requestedAt, 'in the future: left out');
        else lead.requestedAt = requestedAt;
      }
    }
    for (const { column, key } of attributes) {
      const value = cell(column);
      if (value !== '') lead.attributes[key] = value;
    }

    if (cells.slice(width).some((extra) => extra.trim() !== '')) {
      warnings.push({ column: '', reason: 'more cells than columns: the ones at the end were left out' });
    }
    if (record.text.includes('\0')) warnings.push({ column: '', reason: 'NUL characters were removed' });
    if (record.text.includes('\ufffd')) warnings.push({ column: '', reason: 'some characters could not be decoded' });
    return { line, ok: true, lead, warnings };
  };
}

const NO_CONSENT = {
  no: 'no consent: it says no',
  empty: 'no consent: it is empty',
  unknown: 'no consent: neither a yes nor a no that we know',
} as const;

// Directions and zero widths, but not the joiners that some scripts and emoji need.
const INVISIBLE = /[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g;

function cleanName(text: string): string {
  return text
    .replace(INVISIBLE, '')
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim();
}

/** A day without a time is noon, which today may still be to come. */
function notInFuture(date: ReadDate, now: Date): string | undefined {
  const late = Date.parse(date.iso) - now.getTime();
  if (late <= 0) return date.iso;
  return date.dayOnly && late <= 12 * 3_600_000 ? now.toISOString() : undefined;
}
