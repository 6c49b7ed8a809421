/** Label and value side by side, one pair a line. */
export function rows(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([label]) => label.length));
  return pairs.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`).join('\n');
}

/** A table under a head; the first column to the left, the others, which hold counts, to the right. */
export function grid(head: readonly string[], lines: readonly (readonly (string | number)[])[]): string {
  const cells = [head, ...lines.map((line) => line.map(String))];
  const widths = head.map((_, column) => Math.max(...cells.map((line) => (line[column] ?? '').length)));
  return cells
    .map((line) => {
      const padded = widths.map((width, column) => {
        const cell = line[column] ?? '';
        return column === 0 ? cell.padEnd(width) : cell.padStart(width);
      });
      return `  ${padded.join('  ')}`.trimEnd();
    })
    .join('\n');
}

/** A table under a head, everything to the left. */
export function leftGrid(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => (line[column] ?? '').length)));
  return [head, ...lines]
    .map((line) =>
      widths
        .map((width, column) => (line[column] ?? '').padEnd(width))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
