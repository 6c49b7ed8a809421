import { range, rounded } from './numbers';

/** One line of the table: what was measured, and beside what. */
export interface Line {
  workload: string;
  what: string;
  value: number;
  unit: string;
  /** What was measured beside it, in the same run, in turns with it. */
  beside?: { what: string; value: number };
  /** Every round of `value`, and of what is beside it. */
  rounds?: number[];
  besideRounds?: number[];
  /** What it should be (design budget), in words. */
  budget?: string;
  /** Whether it was met. */
  met?: boolean;
  /** What is good to know and has no column: CPU by process, percentiles, counts. */
  more?: Record<string, unknown>;
}

/** The lines as one table for a terminal. */
export function printTable(lines: readonly Line[]): void {
  console.table(
    Object.fromEntries(
      lines.map((line) => [
        line.what,
        {
          measured: `${rounded(line.value)} ${line.unit}`,
          rounds: range(line.rounds ?? []),
          beside: line.beside === undefined ? '' : `${rounded(line.beside.value)} (${line.beside.what})`,
          ratio: line.beside === undefined ? '' : (line.value / line.beside.value).toFixed(2),
          budget:
            line.budget === undefined
              ? ''
              : `${line.budget}${line.met === undefined ? '' : line.met ? ': met' : ': MISSED'}`,
        },
      ]),
    ),
  );
}
