/** The middle one; 0 of none. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** The smallest value that so large a part of all (0.99: 99 %) does not exceed; 0 of none. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? 0;
}

/** Three significant digits: more than that no such measurement has. */
export function rounded(value: number): number {
  return Number(value.toPrecision(value >= 100 ? Math.ceil(Math.log10(value + 1)) : 3));
}

/** The slowest and the fastest of several rounds. */
export function range(values: readonly number[]): string {
  return values.length < 2 ? '' : `${rounded(Math.min(...values))} … ${rounded(Math.max(...values))}`;
}
