import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** A log this big is put aside at the next start, in place of the one put aside before. */
const PUT_ASIDE_BYTES = 10_000_000;

/**
 * Opens a server's log file for appending and gives its descriptor, to be handed to the server and then closed: the
 * server writes by itself, so it never waits for us and no line is lost when we die.
 */
export function openServerLog(file: string): number {
  mkdirSync(dirname(file), { recursive: true });
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > PUT_ASIDE_BYTES) renameSync(file, `${file}.old`);
  return openSync(file, 'a', 0o600);
}

/** Where in the file the next line goes, in bytes: what this start of the server writes begins there. */
export function endOfServerLog(fd: number): number {
  return fstatSync(fd).size;
}

/** Closes our copy of the descriptor; the server keeps its own. */
export function closeServerLog(fd: number): void {
  closeSync(fd);
}

/**
 * The last lines of a log, for the error message when a server does not start. Of a Go program that crashed those are
 * the end of a stack trace; what it died of stands where the trace begins, so the lines are taken from there.
 */
export function lastLines(text: string, lines = 5): string {
  const all = text.trim().split('\n');
  const crash = all.findLastIndex((line) => /^(panic|fatal error): /.test(line));
  return (crash === -1 ? all.slice(-lines) : all.slice(crash, crash + lines)).join('\n');
}

/**
 * The last lines of a log file; empty when there is none.
 *
 * @param from bytes to pass over; see `endOfServerLog`
 */
export function lastLinesOf(file: string, from: number): string {
  try {
    return lastLines(readFileSync(file).subarray(from).toString('utf8'));
  } catch {
    return '';
  }
}
