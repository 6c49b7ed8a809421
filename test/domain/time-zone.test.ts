import fc from 'fast-check';
import { DateTime, IANAZone } from 'luxon';
import { zoneOf } from '../../domain/time-zone';

// Changes at odd hours, half hours, by half an hour, at midnight, across the date line, and never.
const ZONES = [
  'Europe/Madrid',
  'America/New_York',
  'America/Santiago',
  'Australia/Lord_Howe',
  'Pacific/Chatham',
  'Pacific/Apia',
  'Africa/Casablanca',
  'Asia/Kathmandu',
  'UTC',
];

test('a remembered offset is the one that luxon finds, at any moment and around every change', () => {
  const anyMoment = fc.integer({ min: Date.UTC(1975, 0), max: Date.UTC(2060, 0) });
  fc.assert(
    fc.property(fc.constantFrom(...ZONES), anyMoment, (name, at) => {
      const zone = zoneOf(name);
      if (typeof zone === 'string') throw new Error('not a zone');
      for (const hours of [0, -36, -1, 1, 12, 36]) {
        const moment = at + hours * 3_600_000;
        expect(zone.offset(moment)).toBe(IANAZone.create(name).offset(moment));
      }
    }),
    { numRuns: 1_000 },
  );
  for (const name of ZONES) {
    const zone = zoneOf(name);
    if (typeof zone === 'string') throw new Error('not a zone');
    for (let at = Date.UTC(2026, 0); at < Date.UTC(2027, 0); at += 1_800_000 * 5) {
      expect(zone.offset(at)).toBe(IANAZone.create(name).offset(at));
    }
  }
});

test('it is luxon’s zone in every other way', () => {
  const [ours, theirs] = [zoneOf('Europe/Madrid'), 'Europe/Madrid'];
  const text = '2026-03-29T02:30:00';
  expect(DateTime.fromISO(text, { zone: ours }).toISO()).toBe(DateTime.fromISO(text, { zone: theirs }).toISO());
  expect(DateTime.fromISO(text, { zone: ours }).zoneName).toBe('Europe/Madrid');
  expect(zoneOf('Europe/Madrid')).toBe(ours);
});

test('a name that IANA does not have is left to luxon', () => {
  expect(zoneOf('Mars/Olympus')).toBe('Mars/Olympus');
  expect(zoneOf('utc+3')).toBe('utc+3');
});
