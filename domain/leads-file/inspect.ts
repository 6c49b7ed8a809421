import { looksLikeAddress } from '../addresses';
import { readConsent } from './consent-words';
import { readDate } from './dates';
import { type Delimiter, declaredDelimiter, detectDelimiter, sampleRecords } from './delimiter';
import { createEncodingDetector, decodeHead } from './encoding';
import { readTimeZone } from './locales';
import { type ColumnMapping, fieldNamed, guessMapping, numberedColumn } from './mapping';

/** So much of a file tells its layout. */
export const SAMPLE_CHARS = 64 * 1024;

/** How a file of leads is built. */
export interface LeadsFileLayout {
  delimiter: Delimiter;
  /** Whether the first line names the columns; if not, they are `column 1`, `column 2` … */
  hasHeader: boolean;
  header: string[];
  mapping: ColumnMapping;
  /** Physical 1-based line up to which nothing is data: `sep=`, blank lines, the header. */
  linesBeforeData: number;
}

/**
 * A look at the first bytes of a file (64 KB or more are good), for refusing a wrong one at once. The encoding is a
 * guess here, since only the whole file can tell; it never changes what an ASCII header says. With `whole`, these bytes
 * are all there is.
 */
export function inspectLeadsFile(
  head: Uint8Array,
  explicit: Readonly<Record<string, string>> = {},
  whole = false,
): { layout: LeadsFileLayout } | { problem: string } {
  const starts = (...bytes: number[]) => bytes.every((byte, at) => head[at] === byte);
  if (starts(0x50, 0x4b, 3, 4) || starts(0xd0, 0xcf, 0x11, 0xe0)) {
    return { problem: 'this is a spreadsheet, not a CSV file: save it as CSV first' };
  }
  const detector = createEncodingDetector({ prefix: !whole });
  detector.push(head);
  return inspectLeadsText(decodeHead(detector.result(), head), explicit, whole);
}

/**
 * Finds delimiter, header and mapping from the first part of a file's text. With `whole`, the sample is all there is.
 * The same sample and mapping always give the same layout.
 */
export function inspectLeadsText(
  sample: string,
  explicit: Readonly<Record<string, string>> = {},
  whole = false,
): { layout: LeadsFileLayout } | { problem: string } {
  const text = sample.replace(/^\ufeff/, '');
  if (!/[^\s,;|]/.test(text)) return { problem: 'the file holds no lines' };
  const delimiter = detectDelimiter(text);
  const declared = declaredDelimiter(text) !== undefined;
  const records = sampleRecords(text, delimiter, whole).slice(declared ? 1 : 0);
  const first = records[0];
  if (first === undefined) return { problem: 'the file holds no lines' };

  const rows = records.slice(1).map(({ cells }) => cells);
  const withHeader = guessMapping(first.cells, explicit, rows);
  if (isHeader(first.cells, withHeader, explicit)) {
    if ('problem' in withHeader) return withHeader;
    const header = first.cells.map((name) => name.trim());
    return {
      layout: { delimiter, hasHeader: true, header, mapping: withHeader.mapping, linesBeforeData: first.nextLine - 1 },
    };
  }

  const all = records.map(({ cells }) => cells);
  const header = first.cells.map((_, column) => numberedColumn(column + 1));
  const headerless = guessMapping(header, { ...guessByContent(all, header, explicit), ...explicit }, all);
  if ('problem' in headerless) return { problem: `${headerless.problem}; its first line names no columns` };
  const linesBeforeData = declared ? 1 : 0;
  return { layout: { delimiter, hasHeader: false, header, mapping: headerless.mapping, linesBeforeData } };
}

function isHeader(
  cells: readonly string[],
  guessed: ReturnType<typeof guessMapping>,
  explicit: Readonly<Record<string, string>>,
): boolean {
  if (cells.some(looksLikeAddress)) return false;
  // Columns named by hand were found.
  if ('mapping' in guessed && Object.values(explicit).some((name) => name.trim() !== '')) return true;
  if (cells.some((cell) => fieldNamed(cell) !== undefined)) return true;
  if (cells.some((cell) => cell.includes('@') || isDate(cell) || isZone(cell))) return false;
  // Found by its content alone: `ana.gmail.example` on top of addresses is no name, but a lead with a typing error.
  return !('mapping' in guessed && /^\S+\.\S+$/.test((cells[guessed.mapping.fields.email] ?? '').trim()));
}

/** What the columns of a file without a header hold, as a mapping by hand would say it. */
function guessByContent(
  rows: readonly (readonly string[])[],
  header: readonly string[],
  explicit: Readonly<Record<string, string>>,
): Record<string, string> {
  const guesses: Record<string, string> = {};
  const taken = new Set(Object.values(explicit).flatMap((name) => [name, numberedColumn(name)]));
  const kinds: [field: string, is: (cell: string) => boolean, share: number][] = [
    ['email', looksLikeAddress, 0.5],
    ['requestedAt', isDate, 0.8],
    ['timeZone', isZone, 0.8],
    // Numbers may be anything; only words such as "sí" and "no" speak for themselves.
    ['consent', (cell) => /\p{L}/u.test(cell) && ['yes', 'no'].includes(readConsent(cell)), 0.9],
    ['name', (cell) => /^\p{Lu}[\p{L}\p{M}'’. -]+$/u.test(cell.trim()), 0.6],
  ];
  for (const [field, is, share] of kinds) {
    const column = header.findIndex((name, at) => {
      if (taken.has(name)) return false;
      const filled = rows.map((row) => row[at] ?? '').filter((cell) => cell.trim() !== '');
      return filled.length > 0 && filled.filter(is).length / filled.length >= share;
    });
    const name = header[column];
    if (name === undefined || field in explicit) continue;
    guesses[field] = name;
    taken.add(name);
  }
  if ('firstName' in explicit || 'lastName' in explicit) delete guesses.name;
  return guesses;
}

function isDate(cell: string): boolean {
  return /[-/.]/.test(cell) && readDate(cell, 'UTC', 'dmy') !== undefined;
}

function isZone(cell: string): boolean {
  return cell.includes('/') && readTimeZone(cell) !== undefined;
}
