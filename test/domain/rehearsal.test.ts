import fc from 'fast-check';
import { DateTime, Duration } from 'luxon';
import { WEEKDAYS } from '../../domain/campaign';
import { planDue } from '../../domain/planner';
import { type RehearsalRequest, rehearseJourney } from '../../domain/rehearsal';

const anyRehearsal: fc.Arbitrary<RehearsalRequest> = fc.record({
  enrollmentId: fc.uuid(),
  startAt: fc.date({ min: new Date('2024-01-01'), max: new Date('2031-01-01'), noInvalidDate: true }),
  stepCount: fc.integer({ min: 1, max: 8 }),
  cadence: fc.constantFrom({ min: 'P2M', max: 'P3M' }, { min: 'P1M', max: 'P1M' }, { min: 'P3W', max: 'P50D' }),
  sendWindow: fc.constantFrom(
    { days: [...WEEKDAYS], from: '00:00', to: '24:00' },
    { days: ['mon' as const, 'thu' as const], from: '22:00', to: '24:00', blackouts: ['2026-12-24/2027-01-06'] },
    { days: ['sun' as const], from: '02:00', to: '03:30', blackouts: ['12-25', '01-01'] },
  ),
  erasure: fc.constantFrom({ afterExhausted: 'P30D' }, { afterExhausted: 'P1M' }),
  timeZone: fc.constantFrom(
    'Europe/Madrid',
    'America/Argentina/Buenos_Aires',
    'Pacific/Auckland',
    'Pacific/Apia',
    'America/Santiago',
  ),
});

test('P10 a rehearsal is the plan of the journey: each step from the one before, and one more interval at the end', () => {
  fc.assert(
    fc.property(anyRehearsal, (request) => {
      const { enrollmentId, startAt, cadence, sendWindow, timeZone } = request;
      const plan = rehearseJourney(request);
      expect(plan.steps.map((step) => step.step)).toEqual(Array.from({ length: request.stepCount }, (_, i) => i));
      const instants = [...plan.steps.map((step) => step.at), plan.exhausted.at];
      expect(instants[0]).toEqual(startAt);
      for (const [step, at] of instants.entries()) {
        const after = instants[step - 1];
        if (after === undefined) continue;
        const clock = { origin: startAt.getTime(), factor: 1 };
        expect(at).toEqual(planDue({ enrollmentId, step, after, cadence, sendWindow, timeZone, clock }));
        const earliest = DateTime.fromJSDate(after, { zone: timeZone }).plus(Duration.fromISO(cadence.min));
        expect(at.getTime()).toBeGreaterThanOrEqual(earliest.toMillis());
      }
      expect(rehearseJourney(request)).toEqual(plan);
    }),
    { numRuns: 300 },
  );
});

test('P10 a rehearsal shows every instant on the lead’s own clock', () => {
  fc.assert(
    fc.property(anyRehearsal, (request) => {
      const plan = rehearseJourney(request);
      for (const { at, localTime, weekday } of [...plan.steps, plan.exhausted, plan.erased]) {
        const read = DateTime.fromISO(localTime, { setZone: true });
        expect(read.toMillis()).toBe(at.getTime());
        expect(read.offset).toBe(DateTime.fromJSDate(at, { zone: request.timeZone }).offset);
        expect(WEEKDAYS.indexOf(weekday)).toBe(read.weekday - 1);
      }
      for (const [index, step] of plan.steps.entries()) {
        const before = plan.steps[index - 1];
        if (before === undefined) expect(step.intervalDays).toBeNull();
        else {
          const days = Date.parse(step.localTime.slice(0, 10)) - Date.parse(before.localTime.slice(0, 10));
          expect(step.intervalDays).toBe(days / 86_400_000);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test('a lead who never answered is erased so long after the end, on their own calendar', () => {
  const plan = rehearseJourney({
    enrollmentId: '5b0f3f52-3c6e-4a8e-9a52-0d6c7be1a001',
    startAt: new Date('2026-01-31T10:00:00Z'),
    stepCount: 2,
    cadence: { min: 'P1M', max: 'P1M' },
    sendWindow: { days: [...WEEKDAYS], from: '00:00', to: '24:00' },
    erasure: { afterExhausted: 'P1M' },
    timeZone: 'Europe/Madrid',
  });
  expect(plan.steps.map((step) => step.localTime)).toEqual([
    '2026-01-31T11:00:00.000+01:00',
    '2026-02-28T11:00:00.000+01:00',
  ]);
  expect(plan.steps.map((step) => step.weekday)).toEqual(['sat', 'sat']);
  expect(plan.steps.map((step) => step.intervalDays)).toEqual([null, 28]);
  expect(plan.exhausted.localTime).toBe('2026-03-28T11:00:00.000+01:00');
  expect(plan.erased.localTime).toBe('2026-04-28T11:00:00.000+02:00');
});
