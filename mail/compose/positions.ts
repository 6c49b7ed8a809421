/** 1-based line and column of an offset in a text. */
export function positionAt(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { line: before.split('\n').length, column: offset - lineStart + 1 };
}

/** The same text with a stretch of it blanked out: same length, same lines. */
export function mask(text: string, begin: number, end: number, filler: string): string {
  return text.slice(0, begin) + text.slice(begin, end).replace(/[^\n]/g, filler) + text.slice(end);
}
