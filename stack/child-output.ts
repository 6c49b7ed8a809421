import { writeSync } from 'node:fs';
import { closeServerLog, openServerLog } from './server-log';

/** pino's number for `warn`. */
const WARN = 40;

/** Takes what a supervised process writes. */
export interface ChildOutput {
  onLine(line: string): void;
  close(): void;
}

/**
 * Keeps every line in a file, and shows a person only what needs one: warnings, errors, and what is no log line, such as
 * how a process died. The same line is shown again only after others.
 *
 * @param onMessage told of each log line's message
 */
export function childOutput(
  name: string,
  file: string,
  show: (line: string) => void,
  onMessage: (message: string) => void,
): ChildOutput {
  let fd: number | undefined = openServerLog(file);
  let last = '';
  return {
    onLine: (line) => {
      if (fd === undefined) return;
      writeSync(fd, `${line}\n`);
      const entry = parse(line);
      if (entry !== undefined) onMessage(entry.msg);
      const shown = entry === undefined ? line : entry.level >= WARN ? summary(entry) : '';
      if (shown.trim() === '' || shown === last) return;
      last = shown;
      show(`${name}: ${shown}`);
    },
    close: () => {
      if (fd !== undefined) closeServerLog(fd);
      fd = undefined;
    },
  };
}

interface Entry {
  level: number;
  msg: string;
  [field: string]: unknown;
}

function parse(line: string): Entry | undefined {
  try {
    const entry = JSON.parse(line) as Partial<Entry> | null;
    return typeof entry?.level === 'number' && typeof entry.msg === 'string' ? (entry as Entry) : undefined;
  } catch {
    return undefined;
  }
}

/** The message with what says most of the rest, in one line. */
function summary({ msg, ...fields }: Entry): string {
  const err = (fields.err ?? fields.error) as { message?: string; code?: unknown } | undefined;
  const parts = ['code', 'reason', 'route', 'status', 'what', 'id']
    .filter((key) => fields[key] !== undefined)
    .map((key) => `${key} ${String(fields[key])}`);
  if (err?.message !== undefined) parts.push(err.message.split('\n')[0] ?? '');
  return parts.length === 0 ? msg : `${msg} (${parts.join(', ')})`;
}
