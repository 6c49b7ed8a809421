import type { FormField } from '../../domain/form';
import { pageOf, utmOf } from '../../domain/form-source';
import { type GivenValue, readValues } from '../../domain/form-values';

const LABEL = { en: 'It' };
const FIELDS: FormField[] = [
  { name: 'name', label: LABEL, kind: 'text' },
  { name: 'locale', label: LABEL, kind: 'text' },
  { name: 'timeZone', label: LABEL, kind: 'text' },
  { name: 'city', label: LABEL, kind: 'text', maxLength: 10 },
  { name: 'cups', label: LABEL, kind: 'number' },
  { name: 'use', label: LABEL, kind: 'choice', choices: ['Casa', 'Bar'] },
  { name: 'grinder', label: LABEL, kind: 'checkbox' },
];
const read = (given: Record<string, GivenValue>, fields = FIELDS) => readValues(fields, (name) => given[name]);
const faults = (given: Record<string, GivenValue>, fields = FIELDS) => Object.fromEntries(read(given, fields).faults);

test('name, locale and zone are the lead’s own, everything else is an attribute', () => {
  const given = {
    name: ' Íñigo ',
    locale: 'es-es',
    timeZone: 'Atlantic/Canary',
    city: 'León',
    cups: '2,5',
    use: 'Bar',
  };
  expect(read({ ...given, grinder: 'on' })).toEqual({
    values: {
      name: 'Íñigo',
      locale: 'es-ES',
      timeZone: 'Atlantic/Canary',
      attributes: { city: 'León', cups: 2.5, use: 'Bar', grinder: true },
    },
    faults: new Map(),
  });
});

test('what was left empty gives nothing, but a box that was not ticked is a no', () => {
  const { values, faults: found } = read({ city: '  ', cups: '', use: null });
  expect(values).toEqual({ name: '', locale: null, timeZone: null, attributes: { grinder: false } });
  expect(found.size).toBe(0);
});

test('JSON may give numbers and booleans', () => {
  expect(read({ cups: 3, grinder: true, city: 1984 }).values.attributes).toEqual({
    cups: 3,
    grinder: true,
    city: '1984',
  });
});

test.each<[string, GivenValue, string]>([
  ['city', 'more than ten', 'too-long'],
  ['city', 'a\nb', 'not-text'],
  ['city', '\u0000', 'not-text'],
  ['city', '\ud800', 'not-text'],
  ['city', true, 'not-text'],
  ['cups', 'many', 'no-number'],
  ['cups', '1e9', 'no-number'],
  ['cups', '0x10', 'no-number'],
  ['cups', 'Infinity', 'no-number'],
  ['cups', '9999999999999999', 'no-number'],
  ['cups', false, 'not-text'],
  ['use', 'Hotel', 'no-choice'],
  ['use', 'casa', 'no-choice'],
  ['grinder', 1, 'not-valid'],
  ['locale', 'es ES', 'not-valid'],
  ['timeZone', '+01:00', 'not-valid'],
  ['timeZone', 'Mars/Base', 'not-valid'],
  ['name', 'Claim https://evil.example', 'web-address'],
  ['name', 'go to www.evil.example', 'web-address'],
  ['name', '<b>Ana</b>', 'web-address'],
])('%s: %j is refused as %s', (name, value, fault) => {
  expect(faults({ [name]: value })).toEqual({ [name]: fault });
});

test('what is required must be there', () => {
  const required = FIELDS.map((field) => ({ ...field, required: true }));
  expect(faults({}, required)).toEqual(Object.fromEntries(FIELDS.map(({ name }) => [name, 'missing'])));
  expect(faults({ cups: '0', grinder: 'on' }, required)).toEqual(
    expect.not.objectContaining({ cups: expect.anything(), grinder: expect.anything() }),
  );
});

test('UTM parameters that can’t be one are left out, and turn nobody away', () => {
  const given: Record<string, string> = { source: ' feria ', medium: 'x'.repeat(201), campaign: 'a\nb', term: '' };
  expect(utmOf((name) => given[name])).toEqual({ source: 'feria' });
  expect(utmOf(() => null)).toEqual({});
});

test.each([
  ['https://shop.example/p/boots?email=ana@example.com#x', 'https://shop.example/p/boots'],
  ['https://ana:secret@shop.example', 'https://shop.example/'],
  [`https://shop.example/${'a'.repeat(600)}`, 'https://shop.example'],
  ['javascript:alert(1)', undefined],
  ['android-app://com.example/', undefined],
  ['/relative', undefined],
  ['', undefined],
  [null, undefined],
])('of the page %s is kept %s', (given, kept) => {
  expect(pageOf(given)).toBe(kept);
});
