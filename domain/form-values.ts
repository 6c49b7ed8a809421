import type { FormDefinition, FormField } from './form';
import { maxLengthOf } from './form';
import { isLocale } from './form-checks';
import { isTimeZone } from './time-zone';

/** What is wrong with the value of a field; pages say it in the reader's language. */
export type ValueFault = 'missing' | 'too-long' | 'not-text' | 'no-number' | 'no-choice' | 'web-address' | 'not-valid';

/** The values of a form's fields, as they are kept. */
export interface FormValues {
  /** '' where none was given. */
  name: string;
  locale: string | null;
  timeZone: string | null;
  attributes: Record<string, string | number | boolean>;
}

/** What was sent for one field: a text, as a page sends it, or what JSON has. */
export type GivenValue = string | number | boolean | null | undefined;

const LARGEST = 1e15;
const CONTROL = /\p{Cc}|\p{Cs}|[\u2028\u2029]/u;

/** No name is one of these, but what robots want us to mail to strangers in a name's place is. */
const WEB_ADDRESS = /:\/\/|\bwww\.|\bhttps?:|[<>]/i;

/**
 * Reads what was sent for a form's fields: `name`, `locale` and `timeZone` are the lead's own, others are attributes. A field that
 * was left empty gives none.
 *
 * @returns the values, and what is wrong by the names of fields; the values count only where nothing is
 */
export function readValues(
  fields: NonNullable<FormDefinition['fields']>,
  given: (name: string) => GivenValue,
): { values: FormValues; faults: Map<string, ValueFault> } {
  const values: FormValues = { name: '', locale: null, timeZone: null, attributes: {} };
  const faults = new Map<string, ValueFault>();
  const attributes: [string, string | number | boolean][] = [];
  for (const field of fields) {
    const read = readValue(field, given(field.name));
    if (read === null) continue;
    if ('fault' in read) faults.set(field.name, read.fault);
    else if (field.name === 'name') values.name = String(read.value);
    else if (field.name === 'locale') values.locale = Intl.getCanonicalLocales(String(read.value))[0] ?? null;
    else if (field.name === 'timeZone') values.timeZone = String(read.value);
    else attributes.push([field.name, read.value]);
  }
  // Defines own properties, whatever they are called.
  values.attributes = Object.fromEntries(attributes);
  return { values, faults };
}

type Read = { value: string | number | boolean } | { fault: ValueFault } | null;

function readValue(field: FormField, given: GivenValue): Read {
  if (field.kind === 'checkbox') return readTick(field, given);
  const text = typeof given === 'string' ? given.normalize('NFC').trim() : String(given ?? '');
  if (text === '') return field.required ? { fault: 'missing' } : null;
  if (typeof given === 'boolean') return { fault: 'not-text' };
  switch (field.kind) {
    case 'number':
      return readNumber(text);
    case 'choice':
      return field.choices?.includes(text) ? { value: text } : { fault: 'no-choice' };
    case 'text':
      return readText(field, text);
  }
}

/** Pages send `on` for a tick, and nothing without one. */
function readTick({ required }: FormField, given: GivenValue): Read {
  if (typeof given === 'number') return { fault: 'not-valid' };
  const ticked = typeof given === 'string' ? given !== '' && given !== 'false' : given === true;
  return required && !ticked ? { fault: 'missing' } : { value: ticked };
}

/** With a comma or a point before its decimals, as people write. */
function readNumber(text: string): Read {
  if (!/^[+-]?\d{1,16}([.,]\d{1,10})?$/.test(text)) return { fault: 'no-number' };
  const value = Number(text.replace(',', '.'));
  return Math.abs(value) <= LARGEST ? { value } : { fault: 'no-number' };
}

function readText(field: FormField, text: string): Read {
  if (text.length > maxLengthOf(field)) return { fault: 'too-long' };
  if (CONTROL.test(text)) return { fault: 'not-text' };
  if (field.name === 'name' && WEB_ADDRESS.test(text)) return { fault: 'web-address' };
  if (field.name === 'locale' && !isLocale(text)) return { fault: 'not-valid' };
  if (field.name === 'timeZone' && !isTimeZone(text)) return { fault: 'not-valid' };
  return { value: text };
}
