/**
 * Makes of a write for many one for single items: while one is under way, what comes meanwhile is gathered and goes together
 * in the next. Alone, an item is written at once.
 *
 * @returns resolves once the item was written; rejects with what the write that it was part of has thrown
 */
export function gathered<T>(write: (items: readonly T[]) => Promise<void>): (item: T) => Promise<void> {
  let next: { items: T[]; written: Promise<void> } | null = null;
  let running: Promise<void> = Promise.resolve();
  return (item) => {
    if (next !== null) {
      next.items.push(item);
      return next.written;
    }
    const items = [item];
    const before = running.catch(() => {});
    const written = before.then(() => {
      next = null;
      running = write(items);
      return running;
    });
    next = { items, written };
    return written;
  };
}
