import { looksLikeAddress } from '../addresses';
import { fieldNamed } from './mapping';
import { createRecordSplitter, isBlankRecord, parseRecords } from './records';

const DELIMITERS = [',', ';', '\t', '|'] as const;
export type Delimiter = (typeof DELIMITERS)[number];

/** So many records are enough to see a pattern. */
const RECORDS_LOOKED_AT = 100;

/** Excel's own way of saying it: a first line `sep=;`. Returns undefined where there is none, or none we know. */
export function declaredDelimiter(sample: string): Delimiter | undefined {
  const declared = /^\ufeff?"?sep=(.)"?[ ,;\t|]*(\r\n?|\n|$)/i.exec(sample)?.[1];
  return DELIMITERS.find((delimiter) => delimiter === declared);
}

/**
 * The delimiter of a CSV file from its first part: what Excel's `sep=` line says, else the one that cuts the first
 * records into equally many cells with a whole address, or the name of the e-mail column, among them. Quotes are
 * respected. A file of one column gets a delimiter that it doesn't use.
 */
export function detectDelimiter(sample: string): Delimiter {
  const declared = declaredDelimiter(sample);
  if (declared !== undefined) return declared;
  let best: Delimiter | undefined;
  let bestScore = 0;
  for (const delimiter of DELIMITERS) {
    const score = scoreOf(sample, delimiter);
    if (score > bestScore) {
      best = delimiter;
      bestScore = score;
    }
  }
  return best ?? leastUsed(sample);
}

export interface SampleRecord {
  /** Physical 1-based line on which the record starts, and the one on which whatever follows it starts. */
  line: number;
  nextLine: number;
  cells: string[];
}

/** The first records of a sample; the last one is left out when the sample may end inside it. */
export function sampleRecords(sample: string, delimiter: Delimiter, whole: boolean): SampleRecord[] {
  const splitter = createRecordSplitter(delimiter);
  const complete = splitter.push(sample);
  const open = splitter.end();
  const all = whole || complete.length === 0 ? [...complete, ...open] : complete;
  const readable = all
    .map((record, at) => ({ ...record, nextLine: (all[at + 1] ?? open[0])?.line ?? record.line + 1 }))
    .filter((record) => record.problem === undefined && !isBlankRecord(record.text, delimiter))
    .slice(0, RECORDS_LOOKED_AT);
  const cells = parseRecords(
    readable.map((record) => record.text.replaceAll('\0', '')),
    delimiter,
  );
  return readable.map(({ line, nextLine }, at) => ({ line, nextLine, cells: cells[at] ?? [] }));
}

function scoreOf(sample: string, delimiter: Delimiter): number {
  const records = sampleRecords(sample, delimiter, false);
  const header = records[0]?.cells ?? [];
  if (header.length < 2) return 0;
  const alike = records.filter(({ cells }) => cells.length === header.length).length / records.length;
  const rows = records.slice(1);
  const addressed = rows.filter(({ cells }) => cells.some(looksLikeAddress)).length / Math.max(1, rows.length);
  const named = header.some((name) => fieldNamed(name) === 'email') ? 1 : 0;
  const addressFirst = header.some(looksLikeAddress) ? 1 : 0;
  // A file of addresses only, some with a typing error such as `gmail,example`, must not be cut at the comma.
  if (alike < 0.5 && named === 0) return 0;
  return alike + addressed + Math.max(named, addressFirst);
}

function leastUsed(sample: string): Delimiter {
  const uses = (delimiter: Delimiter) => sample.split(delimiter).length;
  return [...DELIMITERS].sort((a, b) => uses(a) - uses(b))[0] ?? ',';
}
