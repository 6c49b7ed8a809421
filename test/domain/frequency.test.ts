import { countedAs, countedSince, freeAt } from '../../domain/frequency';

const NOW = new Date('2026-03-31T12:00:00Z');
const daysAgo = (days: number) => new Date(NOW.getTime() - days * 24 * 3600_000).toISOString();
const CAP = { mails: 2, within: 'P30D' };
const KEY = countedAs('an-enrollment', 3);

test('one more may go while fewer than allowed are counted, and then when the oldest that is in the way has passed', () => {
  expect(freeAt(CAP, {}, KEY, NOW, 1)).toBeNull();
  expect(freeAt(CAP, { a: daysAgo(1) }, KEY, NOW, 1)).toBeNull();
  expect(freeAt(CAP, { a: daysAgo(1), b: daysAgo(31) }, KEY, NOW, 1)).toBeNull();
  const free = freeAt(CAP, { a: daysAgo(1), b: daysAgo(20), c: daysAgo(25) }, KEY, NOW, 1);
  expect(free?.toISOString()).toBe('2026-04-10T12:00:00.001Z');
});

test('a mail that is tried again does not stand in its own way', () => {
  expect(freeAt(CAP, { [KEY]: daysAgo(1), b: daysAgo(20) }, KEY, NOW, 1)).toBeNull();
});

test('months are those of the calendar, and a time factor shortens them', () => {
  expect(countedSince({ mails: 1, within: 'P1M' }, NOW, 1).toISOString()).toBe('2026-02-28T12:00:00.000Z');
  const minute = countedSince({ mails: 1, within: 'P1D' }, NOW, 1440);
  expect(NOW.getTime() - minute.getTime()).toBe(60_000);
});
