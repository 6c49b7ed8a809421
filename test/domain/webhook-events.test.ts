import { retryWait, TRIED_FOR_MS } from '../../domain/webhook-events';

test('a delivery is tried often at first, then for five days, and then given up', () => {
  const hours: number[] = [];
  let age = 0;
  for (let attempts = 1; ; attempts++) {
    const wait = retryWait(attempts, age);
    if (wait === null) break;
    age += wait;
    hours.push(Number((age / 3_600_000).toFixed(2)));
  }
  expect(hours).toEqual([0, 0.08, 0.58, 2.58, 7.58, 17.58, 31.58, 45.58, 59.58, 73.58, 87.58, 101.58, 115.58]);
  expect(age).toBeLessThanOrEqual(TRIED_FOR_MS);
});

test('the first try again comes after five seconds', () => {
  expect(retryWait(1, 0)).toBe(5_000);
  expect(retryWait(2, 5_000)).toBe(300_000);
});

test('an attempt that dies with its worker makes it no shorter', () => {
  expect(retryWait(40, 3_600_000)).toBe(14 * 3_600_000);
  expect(retryWait(1, TRIED_FOR_MS)).toBeNull();
});
