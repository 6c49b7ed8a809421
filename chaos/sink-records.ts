import { readFile } from 'node:fs/promises';
import type { Fault } from './faults';

/**
 * What the mail server writes down, one JSON object a line, before it acts on it. `n` counts the times that it said 354.
 * All times are ms since the epoch.
 */
export type SinkRecord =
  /**
   * A message arrived whole, to its final dot. `kept`: the recipient has it, whether the 250 gets through or not. `lost`: the
   * connection was dropped and the message with it. `refused`: the answer is a 4xx or 5xx, so it was never taken.
   */
  | {
      kind: 'received';
      n: number;
      messageId: string;
      to: string;
      began: number;
      ended: number;
      fate: 'kept' | 'lost' | 'refused';
      fault: Fault | null;
    }
  /** Its answer was given to the connection. */
  | { kind: 'answered'; n: number; code: number; at: number }
  /** The connection broke between the 354 and the final dot; `began` is null when not a byte of it had come. */
  | { kind: 'cut'; n: number; to: string; began: number | null; at: number; fault: Fault | null }
  /** The connection over which a message came has ended, and nothing was said on it after that message. */
  | { kind: 'gone'; n: number; at: number }
  | { kind: 'fault'; fault: Fault; at: number; to: string | null }
  /** Nobody listened. */
  | { kind: 'closed'; from: number; until: number };

/** What came of one 354. */
export interface Delivery {
  n: number;
  /** Null where the message did not arrive whole. */
  messageId: string | null;
  to: string;
  /** First byte of the body; null when none came. */
  began: number | null;
  /** Final dot; null when it did not come. */
  ended: number | null;
  fate: 'kept' | 'lost' | 'refused' | 'cut';
  fault: Fault | null;
  /** Code of the answer that was given, null where none was. */
  answered: number | null;
  /** When its connection ended, where that was the last thing that happened on it. */
  gone: number | null;
}

/** Everything that a mail server has written down. */
export async function readSinkRecords(file: string): Promise<SinkRecord[]> {
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as SinkRecord);
}

/** What came of each 354, in the order in which they were said. */
export function deliveriesIn(records: readonly SinkRecord[]): Delivery[] {
  const byN = new Map<number, Delivery>();
  const nothing = { messageId: null, began: null, ended: null, answered: null, gone: null };
  for (const record of records) {
    switch (record.kind) {
      case 'received': {
        const { kind: _, ...received } = record;
        byN.set(record.n, { ...nothing, ...received });
        break;
      }
      case 'cut':
        byN.set(record.n, {
          ...nothing,
          n: record.n,
          to: record.to,
          began: record.began,
          fate: 'cut',
          fault: record.fault,
          gone: record.at,
        });
        break;
      case 'answered': {
        const delivery = byN.get(record.n);
        if (delivery !== undefined) delivery.answered = record.code;
        break;
      }
      case 'gone': {
        const delivery = byN.get(record.n);
        if (delivery !== undefined) delivery.gone = record.at;
        break;
      }
    }
  }
  return [...byN.values()].sort((a, b) => a.n - b.n);
}
