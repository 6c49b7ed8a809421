import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { DateTime, Duration } from 'luxon';
import { type CampaignDefinition, WEEKDAYS } from '../../domain/campaign';
import { nextOpening, type PlanRequest, PUNCTUAL_MS, planDue, toPlanned } from '../../domain/planner';

type SendWindow = CampaignDefinition['sendWindow'];

const ALWAYS: SendWindow = { days: [...WEEKDAYS], from: '00:00', to: '24:00', blackouts: [] };
const OFFICE: SendWindow = { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '09:00', to: '19:00', blackouts: [] };
/** Two hemispheres, half hours, a date line that was crossed, a night that has no midnight. */
const ZONES = [
  'Europe/Madrid',
  'Atlantic/Canary',
  'America/Argentina/Buenos_Aires',
  'America/Santiago',
  'Pacific/Auckland',
  'Pacific/Apia',
  'Australia/Lord_Howe',
  'Asia/Kathmandu',
  'UTC',
];
const DAY_MS = 86_400_000;

function request(change: Partial<PlanRequest> = {}): PlanRequest {
  const after = change.after ?? new Date('2026-01-31T10:00:00Z');
  return {
    enrollmentId: '5b0f3f52-3c6e-4a8e-9a52-0d6c7be1a001',
    step: 1,
    after,
    cadence: { min: 'P2M', max: 'P3M' },
    sendWindow: ALWAYS,
    timeZone: 'Europe/Madrid',
    clock: { origin: after.getTime(), factor: 1 },
    ...change,
  };
}

const local = (at: Date, timeZone: string) => DateTime.fromJSDate(at, { zone: timeZone });

/** Written apart from the planner's own way of looking at it: minutes of the clock face, and dates as numbers. */
function isOpen(at: Date, window: SendWindow, timeZone: string): boolean {
  const moment = local(at, timeZone);
  const day = (['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const)[moment.weekday - 1];
  const minutes = (time: string) => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
  const now = moment.hour * 60 + moment.minute;
  const date = moment.year * 10_000 + moment.month * 100 + moment.day;
  const shut = (window.blackouts ?? []).some((text) => {
    const [from = '', to] = text.split('/').map((part) => part.replaceAll('-', ''));
    if (to !== undefined) return date >= Number(from) && date <= Number(to);
    return from.length === 4 ? date % 10_000 === Number(from) : date === Number(from);
  });
  return (
    day !== undefined && window.days.includes(day) && now >= minutes(window.from) && now < minutes(window.to) && !shut
  );
}

const uuid = fc.uuid();
const zone = fc.constantFrom(...ZONES);
const instant = fc
  .date({ min: new Date('2024-01-01T00:00:00Z'), max: new Date('2030-12-31T00:00:00Z'), noInvalidDate: true })
  .map((at) => new Date(at.getTime()));
const time = fc
  .tuple(fc.integer({ min: 0, max: 22 }), fc.constantFrom(0, 15, 30, 59))
  .map(([hour, minute]) => `${String(hour).padStart(2, '0')}:${String(minute).padStart(2, '0')}`);
const sendWindow: fc.Arbitrary<SendWindow> = fc.record({
  days: fc.subarray([...WEEKDAYS], { minLength: 1 }),
  from: time,
  to: fc.constantFrom('23:30', '23:59', '24:00'),
  blackouts: fc.subarray(['12-25', '01-01', '02-29', '2026-07-01/2026-08-31', '2027-12-20/2028-01-07', '2026-03-29']),
});
const cadence = fc.constantFrom(
  { min: 'P2M', max: 'P3M' },
  { min: 'P1M', max: 'P1M' },
  { min: 'P1D', max: 'P2D' },
  { min: 'P30D', max: 'P3M' },
  { min: 'P1Y', max: 'P2Y' },
);
const anyRequest = fc
  .record({
    enrollmentId: uuid,
    step: fc.integer({ min: 1, max: 8 }),
    after: instant,
    cadence,
    sendWindow,
    timeZone: zone,
  })
  .map((given) => request({ ...given, clock: { origin: given.after.getTime(), factor: 1 } }));

describe('P10 a due time', () => {
  test('is never earlier than the shortest wait, in calendar months of the lead’s zone', () => {
    fc.assert(
      fc.property(anyRequest, (asked) => {
        const earliest = local(asked.after, asked.timeZone).plus(Duration.fromISO(asked.cadence.min));
        expect(planDue(asked).getTime()).toBeGreaterThanOrEqual(earliest.toMillis());
      }),
      { numRuns: 500 },
    );
  });

  test('lies in the send window, whatever the zone, the day and the blackouts', () => {
    fc.assert(
      fc.property(anyRequest, (asked) => {
        const due = planDue(asked);
        expect(isOpen(due, asked.sendWindow, asked.timeZone)).toBe(true);
        // Also when its touch starts a little late.
        expect(isOpen(new Date(due.getTime() + PUNCTUAL_MS), asked.sendWindow, asked.timeZone)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test('is no later than the first opening at or after the longest wait', () => {
    fc.assert(
      fc.property(anyRequest, (asked) => {
        const latest = local(asked.after, asked.timeZone).plus(Duration.fromISO(asked.cadence.max));
        let opening = latest;
        // A window is used up to two minutes before its end, so an opening must have as much left.
        const isUsable = (at: DateTime) =>
          [at, at.plus({ milliseconds: 2 * PUNCTUAL_MS })].every((moment) =>
            isOpen(moment.toJSDate(), asked.sendWindow, asked.timeZone),
          );
        while (!isUsable(opening)) opening = opening.plus({ minutes: 10 });
        expect(planDue(asked).getTime()).toBeLessThanOrEqual(opening.endOf('day').plus({ days: 1 }).toMillis());
      }),
      { numRuns: 100 },
    );
  });

  test('is the same whenever it is asked for', () => {
    fc.assert(
      fc.property(anyRequest, (asked) => {
        expect(planDue(structuredClone(asked))).toEqual(planDue(asked));
      }),
    );
  });
});

describe('P10 calendar months', () => {
  const month = { min: 'P1M', max: 'P1M' };

  test.each([
    ['the 31st of January and a month is the last of February', '2026-01-31T10:00:00Z', '2026-02-28T10:00:00Z'],
    ['in a leap year that is the 29th', '2028-01-31T10:00:00Z', '2028-02-29T10:00:00Z'],
    ['the 31st of August and a month is the 30th of September', '2026-08-31T10:00:00Z', '2026-09-30T10:00:00Z'],
    ['the hour of the clock stays when summer time begins', '2026-03-15T09:00:00Z', '2026-04-15T08:00:00Z'],
    ['and when it ends', '2026-10-15T08:00:00Z', '2026-11-15T09:00:00Z'],
  ])('%s', (_, after, due) => {
    expect(planDue(request({ after: new Date(after), cadence: month }))).toEqual(new Date(due));
  });

  test('the 29th of February and a year is the 28th', () => {
    const year = { min: 'P1Y', max: 'P1Y' };
    const due = planDue(request({ after: new Date('2028-02-29T12:00:00Z'), cadence: year }));
    expect(local(due, 'Europe/Madrid').toISODate()).toBe('2029-02-28');
  });

  test('a wait of a month is a month where the day is another than in UTC', () => {
    // 31 January, 23:30 UTC, is 1 February in Auckland: a month later is 1 March there, and 28 February in UTC.
    const due = planDue(
      request({ after: new Date('2026-01-31T23:30:00Z'), cadence: month, timeZone: 'Pacific/Auckland' }),
    );
    expect(local(due, 'Pacific/Auckland').toISODate()).toBe('2026-03-01');
    expect(due).toEqual(new Date('2026-02-28T23:30:00Z'));
  });

  test('a clock time that does not exist in the lead’s zone moves on, never back', () => {
    // On 29 March 2026 Madrid's clocks go from 2:00 to 3:00.
    const due = planDue(request({ after: new Date('2026-03-01T01:30:00Z'), cadence: { min: 'P28D', max: 'P28D' } }));
    expect(local(due, 'Europe/Madrid').toFormat('yyyy-MM-dd HH:mm')).toBe('2026-03-29 03:30');
  });
});

describe('P10 two years of a journey', () => {
  test.each([
    'Europe/Madrid',
    'America/Argentina/Buenos_Aires',
    'Pacific/Auckland',
    'Pacific/Apia',
    'America/Santiago',
  ])('in %s every nudge keeps its interval and its office hours, across every change of the clocks', (timeZone) => {
    let offsets = new Set<number>();
    for (let lead = 0; lead < 40; lead++) {
      const enrollmentId = randomUUID();
      let after = DateTime.fromISO('2026-01-31T23:15', { zone: timeZone })
        .plus({ days: lead * 9 })
        .toJSDate();
      const began = after;
      for (let step = 1; step <= 8; step++) {
        const due = planDue(request({ enrollmentId, step, after, timeZone, sendWindow: OFFICE }));
        const from = local(after, timeZone);
        expect(due.getTime()).toBeGreaterThanOrEqual(from.plus({ months: 2 }).toMillis());
        // The latest draw, and then a weekend.
        expect(due.getTime()).toBeLessThanOrEqual(from.plus({ months: 3, days: 4 }).toMillis());
        expect(isOpen(due, OFFICE, timeZone)).toBe(true);
        offsets = offsets.add(local(due, timeZone).offset);
        after = due;
      }
      const months = local(after, timeZone).diff(local(began, timeZone), 'months').months;
      expect(months).toBeGreaterThanOrEqual(16);
      expect(months).toBeLessThanOrEqual(25);
    }
    // Zones with summer time were met on both sides of it.
    const changes = timeZone !== 'America/Argentina/Buenos_Aires' && timeZone !== 'Pacific/Apia';
    expect(offsets.size).toBe(changes ? 2 : 1);
  });
});

describe('P10 the send window', () => {
  const daily = { min: 'P1D', max: 'P1D' };

  test('an evening that ends at midnight is used up to its end and not beyond', () => {
    const evening: SendWindow = { days: [...WEEKDAYS], from: '22:00', to: '24:00' };
    for (let lead = 0; lead < 200; lead++) {
      const due = planDue(request({ enrollmentId: randomUUID(), sendWindow: evening, timeZone: 'Pacific/Auckland' }));
      expect(local(due, 'Pacific/Auckland').hour).toBeGreaterThanOrEqual(22);
    }
  });

  test('on the night of a change an evening to midnight keeps to its day', () => {
    const evening: SendWindow = { days: ['sun'], from: '22:00', to: '24:00' };
    // Madrid's 25-hour day: Sunday, 25 October 2026. Its own evening still begins at 22:00 on the clock.
    const due = planDue(request({ after: new Date('2026-10-23T10:00:00Z'), cadence: daily, sendWindow: evening }));
    expect(local(due, 'Europe/Madrid').toFormat('yyyy-MM-dd HH')).toMatch(/^2026-10-25 2[23]$/);
  });

  test('a day without midnight has a window all the same', () => {
    // Santiago's clocks go from 24:00 to 1:00 on the night to 6 September 2026.
    const sunday: SendWindow = { days: ['sun'], from: '00:00', to: '02:00' };
    const due = planDue(
      request({
        after: new Date('2026-09-04T12:00:00Z'),
        cadence: daily,
        sendWindow: sunday,
        timeZone: 'America/Santiago',
      }),
    );
    expect(local(due, 'America/Santiago').toFormat('yyyy-MM-dd HH')).toBe('2026-09-06 01');
  });

  test('what falls on a holiday over the new year waits for the first working day after it', () => {
    const holidays = { ...OFFICE, blackouts: ['2026-12-24/2027-01-06'] };
    const due = planDue(request({ after: new Date('2026-12-23T23:30:00Z'), cadence: daily, sendWindow: holidays }));
    expect(local(due, 'Europe/Madrid').toISODate()).toBe('2027-01-07');
    expect(isOpen(due, holidays, 'Europe/Madrid')).toBe(true);
  });

  test('a holiday of every year is one in every year, and in the lead’s zone', () => {
    const christmas = { ...ALWAYS, blackouts: ['12-25'] };
    for (const year of [2026, 2027, 2031]) {
      const after = DateTime.fromISO(`${year}-12-24T12:00`, { zone: 'Pacific/Auckland' });
      const due = planDue(
        request({ after: after.toJSDate(), cadence: daily, sendWindow: christmas, timeZone: 'Pacific/Auckland' }),
      );
      expect(local(due, 'Pacific/Auckland').toISODate()).toBe(`${year}-12-26`);
    }
  });

  test('what falls in its last minutes goes out at the next opening', () => {
    const after = new Date('2026-06-01T16:59:00Z'); // 18:59 in Madrid, Monday
    const due = planDue(request({ after, cadence: daily, sendWindow: OFFICE }));
    expect(local(due, 'Europe/Madrid').toISODate()).toBe('2026-06-03');
  });

  test('a window that never opens is said to be one', () => {
    const never = { ...OFFICE, blackouts: ['2026-01-01/2029-12-31'] };
    expect(() => planDue(request({ sendWindow: never }))).toThrow(RangeError);
  });
});

describe('P10 the draw', () => {
  const ids = Array.from({ length: 4000 }, (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`);
  const after = new Date('2026-01-10T10:00:00Z');

  test('spreads leads evenly over the interval', () => {
    const earliest = local(after, 'Europe/Madrid').plus({ months: 2 }).toMillis();
    const latest = local(after, 'Europe/Madrid').plus({ months: 3 }).toMillis();
    const tenths = new Array<number>(10).fill(0);
    for (const enrollmentId of ids) {
      const share = (planDue(request({ enrollmentId, after })).getTime() - earliest) / (latest - earliest);
      expect(share).toBeGreaterThanOrEqual(0);
      expect(share).toBeLessThanOrEqual(1);
      const tenth = Math.min(9, Math.floor(share * 10));
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    // Chi-squared with nine degrees of freedom; 27.9 is passed once in a thousand by chance, and these ids are fixed.
    const expected = ids.length / 10;
    expect(tenths.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)).toBeLessThan(27.9);
  });

  test('spreads those whom the window held back over all of its hours', () => {
    const sunday = new Date('2026-02-27T23:30:00Z'); // Saturday in Madrid; a day later is Sunday
    const hours = new Set<number>();
    for (const enrollmentId of ids.slice(0, 500)) {
      const due = planDue(
        request({ enrollmentId, after: sunday, cadence: { min: 'P1D', max: 'P1D' }, sendWindow: OFFICE }),
      );
      expect(local(due, 'Europe/Madrid').toISODate()).toBe('2026-03-02');
      hours.add(local(due, 'Europe/Madrid').hour);
    }
    expect([...hours].sort((a, b) => a - b)).toEqual([9, 10, 11, 12, 13, 14, 15, 16, 17, 18]);
  });

  test('differs from lead to lead and from step to step', () => {
    const byLead = new Set(
      ids.slice(0, 200).map((enrollmentId) => planDue(request({ enrollmentId, after })).getTime()),
    );
    expect(byLead.size).toBe(200);
    const bySteps = new Set([1, 2, 3, 4, 5, 6, 7].map((step) => planDue(request({ step, after })).getTime()));
    expect(bySteps.size).toBe(7);
  });

  test('of a lead is the same on every machine, for good', () => {
    const due = planDue(request({ after, sendWindow: OFFICE, cadence: { min: 'P2M', max: 'P3M' } }));
    // Journeys that wait today were promised this instant: a change here moves every one of them.
    expect(due.toISOString()).toBe('2026-04-02T09:53:28.659Z');
  });
});

describe('P10 late touches', () => {
  const asked = { ...request(), sendWindow: OFFICE };

  test('what is punctual goes out now, also when the window has just closed', () => {
    const due = new Date('2026-06-01T16:58:00Z');
    const now = new Date(due.getTime() + PUNCTUAL_MS);
    expect(nextOpening({ ...asked, due, now })).toEqual(now);
  });

  test('midnight is nothing to a window that is open all day, but for a day on which nothing is sent', () => {
    const always: SendWindow = { days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '00:00', to: '24:00' };
    const around = { ...asked, sendWindow: always, timeZone: 'Europe/Madrid' };
    const late = (now: Date) => nextOpening({ ...around, due: new Date(now.getTime() - DAY_MS), now });
    const thursday = new Date('2026-06-04T21:59:30Z');
    expect(late(thursday)).toEqual(thursday);
    const friday = new Date('2026-06-05T21:59:30Z');
    expect(late(friday).toISOString()).toMatch(/^2026-06-0(7T2[23]|8)/);
  });

  test('what is late goes out now in an open window, and in the next one otherwise, never before now', () => {
    fc.assert(
      fc.property(anyRequest, fc.integer({ min: PUNCTUAL_MS + 1, max: 400 * DAY_MS }), (given, late) => {
        const due = given.after;
        const now = new Date(due.getTime() + late);
        const opening = nextOpening({ ...given, due, now });
        expect(opening.getTime()).toBeGreaterThanOrEqual(now.getTime());
        expect(isOpen(opening, given.sendWindow, given.timeZone)).toBe(true);
        const roomLeft = isOpen(new Date(now.getTime() + 3 * PUNCTUAL_MS), given.sendWindow, given.timeZone);
        const sameDay = local(now, given.timeZone).hasSame(
          local(new Date(now.getTime() + 3 * PUNCTUAL_MS), given.timeZone),
          'day',
        );
        if (isOpen(now, given.sendWindow, given.timeZone) && roomLeft && sameDay) expect(opening).toEqual(now);
      }),
      { numRuns: 300 },
    );
  });
});

describe('compressed time', () => {
  test('plans the same calendar, so many times faster', () => {
    fc.assert(
      fc.property(anyRequest, fc.constantFrom(1_000, 50_000, 200_000), (asked, factor) => {
        const origin = asked.after.getTime();
        const real = planDue(asked);
        const fast = planDue({ ...asked, clock: { origin, factor } });
        // The compressed instant shows, on the plan's calendar, the uncompressed one: never early, and off by the
        // rounding of one real millisecond at most.
        const shown = toPlanned(fast.getTime(), { origin, factor });
        expect(shown).toBeGreaterThanOrEqual(real.getTime() - 1);
        expect(shown - real.getTime()).toBeLessThanOrEqual(factor);
      }),
    );
  });

  test('goes on from where the mail before went out, on the same calendar', () => {
    const origin = Date.parse('2026-01-31T10:00:00Z');
    const factor = 200_000;
    let fast = new Date(origin);
    let planned = new Date(origin);
    for (let step = 1; step <= 8; step++) {
      fast = planDue(request({ step, after: fast, clock: { origin, factor } }));
      const from = local(planned, 'Europe/Madrid');
      planned = new Date(toPlanned(fast.getTime(), { origin, factor }));
      expect(planned.getTime()).toBeGreaterThanOrEqual(from.plus({ months: 2 }).toMillis());
      expect(planned.getTime()).toBeLessThanOrEqual(from.plus({ months: 3 }).toMillis() + factor);
    }
    expect(fast.getTime() - origin).toBeLessThan(6 * 60_000);
  });

  test('at factor 1 the plan’s calendar is the real one', () => {
    fc.assert(fc.property(instant, (at) => toPlanned(at.getTime(), { origin: 0, factor: 1 }) === at.getTime()));
  });
});
