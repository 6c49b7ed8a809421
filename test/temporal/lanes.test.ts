import { gathered } from '../../temporal/gathered';
import { createLanes, LanesFull } from '../../temporal/lanes';

/** Work that ends when it is told to. */
function piece() {
  let end: () => void = () => {};
  let fail: (error: Error) => void = () => {};
  const done = new Promise<void>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  return { work: () => done, end: () => end(), fail: (error: Error) => fail(error) };
}

const tick = () => new Promise((resolve) => setImmediate(resolve));

describe('lanes', () => {
  it('do so much at a time, in the order in which it came, whatever becomes of it', async () => {
    const lanes = createLanes(2, 10);
    const begun: number[] = [];
    const pieces = [piece(), piece(), piece(), piece()];
    const results = pieces.map(({ work }, index) =>
      lanes.run(async () => {
        begun.push(index);
        await work();
      }),
    );
    const settled = Promise.allSettled(results);
    await tick();
    expect(begun).toEqual([0, 1]);
    pieces[1]?.fail(new Error('down'));
    await tick();
    expect(begun).toEqual([0, 1, 2]);
    pieces[0]?.end();
    await tick();
    expect(begun).toEqual([0, 1, 2, 3]);
    pieces[2]?.end();
    pieces[3]?.end();
    expect((await settled).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    // Both are free again.
    const after: number[] = [];
    await Promise.all([4, 5].map((index) => lanes.run(async () => void after.push(index))));
    expect(after).toEqual([4, 5]);
  });

  it('turn away what would wait too long', async () => {
    const lanes = createLanes(1, 1);
    const first = piece();
    const running = lanes.run(first.work);
    const second = lanes.run(async () => {});
    await expect(lanes.run(async () => {})).rejects.toThrow(LanesFull);
    first.end();
    await Promise.all([running, second]);
    await lanes.run(async () => {});
  });
});

describe('gathered', () => {
  it('writes one alone at once, and together what comes while it is written', async () => {
    const writes: number[][] = [];
    let end: () => void = () => {};
    const write = gathered<number>(async (items) => {
      writes.push([...items]);
      await new Promise<void>((resolve) => {
        end = resolve;
      });
    });
    const first = write(1);
    await tick();
    expect(writes).toEqual([[1]]);
    const others = [write(2), write(3)];
    await tick();
    expect(writes).toEqual([[1]]);
    end();
    await first;
    await tick();
    expect(writes).toEqual([[1], [2, 3]]);
    end();
    await Promise.all(others);
  });

  it('tells those whose write has failed, and goes on', async () => {
    const write = gathered<number>(async (items) => {
      if (items.includes(1)) throw new Error('down');
    });
    await expect(write(1)).rejects.toThrow('down');
    await write(2);
  });
});
