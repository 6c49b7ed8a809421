import { parse } from 'csv-parse/sync';

/** A record may run over this many physical lines (line breaks inside quotes) … */
const MAX_RECORD_LINES = 50;
/** … and hold this many characters. Beyond that it is not a lead, and memory is finite. */
export const MAX_RECORD_CHARS = 64 * 1024;

/** The text of one CSV record without the line break that ends it, or why there is none. */
export interface SplitRecord {
  /** The physical line on which the record starts; the first line of a file is 1. */
  line: number;
  text: string;
  problem?: 'unclosed-quote' | 'too-long';
  /** The 0-based column in which the quote was opened that is never closed. */
  column?: number;
}

export interface RecordSplitter {
  /** Takes the next piece of text and returns the records that are now complete. */
  push(text: string): SplitRecord[];
  /** The file is over: returns what is left. */
  end(): SplitRecord[];
}

interface PhysicalLine {
  number: number;
  text: string;
  tooLong: boolean;
}

interface QuoteState {
  quoted: boolean;
  /** 0-based column at the end of what was scanned. */
  column: number;
  /** Column in which the open quote was opened. */
  openedIn: number;
  /** A quote from an earlier line met a quote that neither closes nor escapes. */
  broken: boolean;
}

const START: QuoteState = { quoted: false, column: 0, openedIn: 0, broken: false };
const QUOTE = 0x22;

/**
 * Cuts text into CSV records (RFC 4180), pushed in pieces of any size, in constant memory. It exists because of one
 * thing that CSV parsers do: to them, everything after a quote that is never closed is one field, to the end of the
 * file. Here such a quote costs its own line only: when the record grows past its bounds, when a quote turns up inside
 * it that neither closes nor escapes, or when a line inside it is a lead of its own (`looksLikeRow`), the first line
 * is reported and cutting goes on at the very next line.
 *
 * Lines end with LF or CRLF, mixed as they come; if the first one ends with a lone CR, all do.
 */
export function createRecordSplitter(
  delimiter: string,
  looksLikeRow: (line: string) => boolean = () => false,
): RecordSplitter {
  let rest = '';
  let dropping = false;
  let lineNumber = 0;
  let lineEnd: string | undefined;
  let ready: SplitRecord[] = [];
  /** The lines of the record being put together; after a quote that is never closed, lines to be looked at again. */
  const lines: PhysicalLine[] = [];
  let scanned = 0;
  let size = 0;
  let state = START;

  function settle(final: boolean): void {
    while (lines.length > 0) {
      const first = lines[0] as PhysicalLine;
      if (first.tooLong) {
        lines.shift();
        ready.push({ line: first.number, text: '', problem: 'too-long' });
        continue;
      }
      if (scanned === 0) {
        state = scanQuotes(first.text, delimiter, START);
        scanned = 1;
        size = first.text.length;
      }
      let unclosed = false;
      while (state.quoted && !unclosed) {
        const next = lines[scanned];
        if (next === undefined) {
          if (!final && scanned < MAX_RECORD_LINES) return;
          unclosed = true;
          break;
        }
        size += next.text.length;
        const after = scanQuotes(next.text, delimiter, state);
        if (
          scanned >= MAX_RECORD_LINES ||
          size > MAX_RECORD_CHARS ||
          next.tooLong ||
          after.broken ||
          looksLikeRow(next.text)
        ) {
          unclosed = true;
          break;
        }
        state = after;
        scanned++;
      }
      if (unclosed) {
        lines.shift();
        ready.push({ line: first.number, text: '', problem: 'unclosed-quote', column: state.openedIn });
      } else {
        const own = scanned === 1 ? [lines.shift() as PhysicalLine] : lines.splice(0, scanned);
        const text = own.length === 1 ? first.text : own.map((line) => line.text).join('');
        ready.push({ line: first.number, text: withoutLineEnd(text) });
      }
      scanned = 0;
    }
  }

  function take(text: string): void {
    lineNumber++;
    const tooLong = dropping || text.length > MAX_RECORD_CHARS;
    dropping = false;
    lines.push({ number: lineNumber, text: tooLong ? '' : text, tooLong });
    settle(false);
  }

  function flushed(): SplitRecord[] {
    const records = ready;
    ready = [];
    return records;
  }

  return {
    push(text) {
      rest = rest === '' ? text : rest + text;
      lineEnd ??= firstLineEnd(rest);
      if (lineEnd !== undefined) {
        let from = 0;
        for (let at = rest.indexOf(lineEnd); at !== -1; at = rest.indexOf(lineEnd, from)) {
          take(rest.slice(from, at + 1));
          from = at + 1;
        }
        rest = rest.slice(from);
      }
      if (rest.length > MAX_RECORD_CHARS) {
        dropping = true;
        // A CR at the end is kept: with no line end seen yet, what follows it decides what ends a line.
        rest = rest.endsWith('\r') ? '\r' : '';
      }
      return flushed();
    },
    end() {
      if (rest !== '' || dropping) {
        const last = rest;
        rest = '';
        if (lineEnd === undefined && last.endsWith('\r')) lineEnd = '\r';
        take(last);
      }
      settle(true);
      return flushed();
    },
  };
}

function firstLineEnd(text: string): string | undefined {
  const at = text.search(/[\r\n]/);
  if (at === -1) return undefined;
  if (text[at] === '\n') return '\n';
  const next = text[at + 1];
  return next === undefined ? undefined : next === '\n' ? '\n' : '\r';
}

function withoutLineEnd(line: string): string {
  return line.slice(0, lengthWithoutLineEnd(line));
}

function lengthWithoutLineEnd(line: string): number {
  let length = line.length;
  if (line.charCodeAt(length - 1) === 0x0a) length--;
  if (line.charCodeAt(length - 1) === 0x0d) length--;
  return length;
}

/** Follows the quotes through one physical line, by the rules that csv-parse has with `relax_quotes` and `ltrim`. */
function scanQuotes(line: string, delimiter: string, before: QuoteState): QuoteState {
  if (!before.quoted && !line.includes('"')) return START;
  const separator = delimiter.charCodeAt(0);
  const end = lengthWithoutLineEnd(line);
  let { quoted, column, openedIn } = before;
  let fromEarlierLine = quoted;
  let atFieldStart = !quoted;
  for (let at = 0; at < end; at++) {
    const code = line.charCodeAt(at);
    if (quoted) {
      if (code !== QUOTE) continue;
      const next = at + 1 < end ? line.charCodeAt(at + 1) : undefined;
      if (next === QUOTE) {
        at++;
      } else if (next === undefined || next === separator) {
        quoted = false;
        fromEarlierLine = false;
      } else {
        if (fromEarlierLine) return { quoted, column, openedIn, broken: true };
        quoted = false;
      }
    } else if (code === separator) {
      column++;
      atFieldStart = true;
    } else if (code === QUOTE && atFieldStart) {
      quoted = true;
      openedIn = column;
      atFieldStart = false;
    } else if (!isTrimmed(code)) {
      atFieldStart = false;
    }
  }
  return { quoted, column, openedIn, broken: false };
}

function isTrimmed(code: number): boolean {
  return code <= 0x20 || (code >= 0xa0 && String.fromCharCode(code).trim() === '');
}

/**
 * The cells of records that `createRecordSplitter` has cut, in the same order; `undefined` for one that can't be read.
 * The texts must hold no NUL, which stands between them on the way through the parser.
 */
export function parseRecords(texts: readonly string[], delimiter: string): (string[] | undefined)[] {
  const rows = tryParse(texts.join('\0'), delimiter);
  if (rows?.length === texts.length) return rows;
  // One of them was understood otherwise than it was cut: then each stands for itself.
  return texts.map((text) => {
    const own = tryParse(text, delimiter);
    return own?.length === 1 ? own[0] : undefined;
  });
}

function tryParse(text: string, delimiter: string): string[][] | undefined {
  try {
    return parse(text, {
      delimiter,
      record_delimiter: '\0',
      relax_quotes: true,
      relax_column_count: true,
      ltrim: true,
    });
  } catch {
    return undefined;
  }
}

/** Whether a record is a blank line or holds delimiters only: spreadsheets leave those behind, they are not data. */
export function isBlankRecord(text: string, delimiter: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const char = text[at] as string;
    if (char !== delimiter && char !== '\0' && char.trim() !== '') return false;
  }
  return true;
}
