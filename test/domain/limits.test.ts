import { isProvider, KNOWN_PROVIDERS, providerOf } from '../../domain/addresses';
import {
  capsOn,
  isLooser,
  limitsFaults,
  NO_LIMITS,
  queueLimits,
  type StreamLimits,
  unlimited,
  weightOf,
} from '../../domain/limits';
import { addUtcDays, utcDay, warmUpCap } from '../../domain/warm-up';

const limits = (change: Partial<StreamLimits>): StreamLimits => ({ ...NO_LIMITS, ...change });

describe('P9 limits a second, as the engine takes them', () => {
  test('none', () => {
    expect(queueLimits(unlimited().marketing)).toEqual({ queue: null, key: null });
    expect(weightOf(unlimited().marketing, 'gmail')).toBeUndefined();
  });

  test('one for every provider, and another for some: its weight times the key’s limit is its own', () => {
    const some = limits({
      perSecond: 40,
      perProviderPerSecond: 5,
      providers: { gmail: { perSecond: 20, perDay: null }, gmx: { perSecond: 1, perDay: 7 } },
    });
    expect(queueLimits(some)).toEqual({ queue: 40, key: 5 });
    expect(weightOf(some, 'gmail')).toBe(4);
    expect(weightOf(some, 'gmx')).toBe(0.2);
    expect(weightOf(some, 'yahoo')).toBeUndefined();
  });

  test.each([
    [{ perSecond: 40 }, 40],
    [{ perSecond: null }, 1_000],
  ])('only some providers are limited (%j): the others get as good as no limit', (stream, key) => {
    const own = limits({ ...stream, providers: { gmail: { perSecond: 2, perDay: null } } });
    expect(queueLimits(own).key).toBe(key);
    expect((weightOf(own, 'gmail') ?? 0) * key).toBe(2);
  });

  test('a provider that is slower than the engine can weigh is refused', () => {
    const own = limits({ perProviderPerSecond: 100, providers: { gmx: { perSecond: 0.05, perDay: null } } });
    expect(limitsFaults(own, KNOWN_PROVIDERS)).toEqual([
      { pointer: '/providers/gmx/perSecond', detail: expect.stringContaining('a thousandth') },
    ]);
    expect(limitsFaults(limits({ providers: { gmx: { perSecond: 0.05, perDay: null } } }), KNOWN_PROVIDERS)).toEqual(
      [],
    );
  });

  test('unknown providers are refused with the names of the known ones', () => {
    const [fault] = limitsFaults(limits({ providers: { 'gmial/x': NONE } }), KNOWN_PROVIDERS);
    expect(fault?.pointer).toBe('/providers/gmial~1x');
    expect(fault?.detail).toContain('gmail, outlook');
  });
});

const NONE = { perSecond: null, perDay: null };

describe('P9 daily caps', () => {
  test('of the stream and of the provider, each where it is set', () => {
    const own = limits({ perDay: 100, perProviderPerDay: 30, providers: { gmail: { perSecond: null, perDay: 50 } } });
    expect(capsOn(own, 'gmail', '2026-09-01')).toEqual([
      { provider: '*', cap: 100 },
      { provider: 'gmail', cap: 50 },
    ]);
    expect(capsOn(own, 'other-3', '2026-09-01')[1]).toEqual({ provider: 'other-3', cap: 30 });
    expect(capsOn(limits({}), 'gmail', '2026-09-01')).toEqual([]);
  });

  test('the warm-up counts where it is less than the cap', () => {
    const warm = limits({ perDay: 100, warmUp: { startedOn: '2026-09-01', firstDay: 50, growth: 1.5, until: 1_000 } });
    expect(capsOn(warm, 'gmail', '2026-09-01')).toEqual([{ provider: '*', cap: 50 }]);
    expect(capsOn(warm, 'gmail', '2026-09-02')).toEqual([{ provider: '*', cap: 75 }]);
    expect(capsOn(warm, 'gmail', '2026-09-03')).toEqual([{ provider: '*', cap: 100 }]);
  });

  test('looser is what allows more on any day, for anybody', () => {
    const today = '2026-09-01';
    const cap = (perDay: number | null) => limits({ perDay });
    expect(isLooser(cap(10), cap(9), today)).toBe(true);
    expect(isLooser(cap(null), cap(9), today)).toBe(true);
    expect(isLooser(cap(9), cap(9), today)).toBe(false);
    expect(isLooser(cap(8), cap(9), today)).toBe(false);
    expect(isLooser(cap(9), cap(null), today)).toBe(false);
    const gmail = (perDay: number) =>
      limits({ perProviderPerDay: 5, providers: { gmail: { perSecond: null, perDay } } });
    expect(isLooser(gmail(9), gmail(8), today)).toBe(true);
    expect(isLooser(limits({ perProviderPerDay: 5 }), gmail(4), today)).toBe(true);
    const warm = (growth: number) => limits({ warmUp: { startedOn: today, firstDay: 10, growth, until: 100_000 } });
    expect(isLooser(warm(1.6), warm(1.5), today)).toBe(true);
    expect(isLooser(warm(1.4), warm(1.5), today)).toBe(false);
  });
});

describe('the warm-up', () => {
  const grows = { startedOn: '2026-02-27', firstDay: 50, growth: 2, until: 400 };

  test.each([
    ['2026-01-01', 50],
    ['2026-02-27', 50],
    ['2026-02-28', 100],
    ['2026-03-01', 200],
    ['2026-03-02', null],
    ['2030-01-01', null],
  ])('on %s it allows %s', (day, cap) => {
    expect(warmUpCap(grows, day)).toBe(cap);
  });

  test('a plan counts day by day, and is over after the last', () => {
    const plan = { startedOn: '2026-12-31', plan: [5, 50] };
    expect(['2026-12-30', '2026-12-31', '2027-01-01', '2027-01-02'].map((day) => warmUpCap(plan, day))).toEqual([
      5,
      5,
      50,
      null,
    ]);
  });

  test('days are UTC, across years and clock changes', () => {
    expect(utcDay(new Date('2026-03-29T00:30:00+02:00'))).toBe('2026-03-28');
    expect(addUtcDays('2026-12-31', 1)).toBe('2027-01-01');
    expect(addUtcDays('2026-03-28', 2)).toBe('2026-03-30');
  });
});

test('every key of a provider that there can be is known as one, and nothing else', () => {
  for (const address of ['a@gmail.com', 'a@googlemail.com', 'a@firma.example', 'a@otra.example']) {
    expect(isProvider(providerOf(address))).toBe(true);
  }
  for (const text of ['other-64', 'other-01', 'other-', 'Gmail', '*', '']) expect(isProvider(text)).toBe(false);
});
