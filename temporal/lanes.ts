/** Takes work in the order in which it comes, and does a few pieces of it at the same time. */
export interface Lanes {
  /**
   * @returns resolves or rejects as the work does, once it had its turn
   * @throws LanesFull (as a rejection) where too much is waiting already
   */
  run(work: () => Promise<void>): Promise<void>;
}

/** More is waiting than is worth waiting for. */
export class LanesFull extends Error {
  override readonly name = 'LanesFull';
  readonly code = 'too-many';

  constructor() {
    super('too much is waiting already');
  }
}

/**
 * @param width how many pieces of work are under way at the same time
 * @param mostWaiting how many may wait for their turn; further ones are turned away
 */
export function createLanes(width: number, mostWaiting: number): Lanes {
  const waiting: (() => void)[] = [];
  let free = width;
  const turn = async (): Promise<void> => {
    if (free > 0) {
      free -= 1;
      return;
    }
    if (waiting.length >= mostWaiting) throw new LanesFull();
    await new Promise<void>((resolve) => waiting.push(resolve));
  };
  return {
    run: async (work) => {
      await turn();
      try {
        await work();
      } finally {
        // The lane changes hands, so that nobody slips in between.
        const next = waiting.shift();
        if (next === undefined) free += 1;
        else next();
      }
    },
  };
}
