import type { FormDefinition } from '../../domain/form';
import { checkForm } from '../../domain/form-checks';
import { formDefinitionForTests } from '../support/forms';

const FACTS = { product: 'Cafetera Brava', nudges: 7, months: 21 };
const errorsOf = (change: Partial<FormDefinition>) => checkForm(formDefinitionForTests(change), FACTS).errors;
const pointersOf = (change: Partial<FormDefinition>) => errorsOf(change).map(({ pointer }) => pointer);

test('a sound form has neither errors nor warnings', () => {
  expect(checkForm(formDefinitionForTests(), FACTS)).toEqual({ errors: [], warnings: [] });
});

const field = { name: 'city', label: { es: 'Ciudad', en: 'City' }, kind: 'text' as const };

test.each<[string, Partial<FormDefinition>, string[]]>([
  ['a label in one language only', { fields: [{ ...field, label: { es: 'Ciudad' } }] }, ['/fields/0/label/en']],
  ['a blank label', { fields: [{ ...field, label: { es: 'Ciudad', en: ' ' } }] }, ['/fields/0/label/en']],
  ['the same field twice', { fields: [field, field] }, ['/fields/1/name']],
  ['a field for the address', { fields: [{ ...field, name: 'email' }] }, ['/fields/0/name']],
  ['a field that means something to JavaScript', { fields: [{ ...field, name: '__proto__' }] }, ['/fields/0/name']],
  ['a choice of nothing', { fields: [{ ...field, kind: 'choice' }] }, ['/fields/0/choices']],
  ['choices of a text', { fields: [{ ...field, choices: ['a'] }] }, ['/fields/0/choices']],
  ['a length of a number', { fields: [{ ...field, kind: 'number', maxLength: 3 }] }, ['/fields/0/maxLength']],
  ['a name to tick', { fields: [{ ...field, name: 'name', kind: 'checkbox' }] }, ['/fields/0/kind']],
  [
    'zones and languages that are none',
    {
      fields: [
        { ...field, name: 'timeZone', kind: 'choice', choices: ['Europe/Madrid', '+01:00'] },
        { ...field, name: 'locale', kind: 'choice', choices: ['es', 'not a tag'] },
      ],
    },
    ['/fields/0/choices/1', '/fields/1/choices/1'],
  ],
  [
    'a consent without its words in one language',
    {
      consents: [
        { purpose: 'nudges', text: { es: formDefinitionForTests().consents?.[0]?.text.es ?? '' }, textVersion: '1' },
      ],
    },
    ['/consents/0/text/en'],
  ],
  [
    'a purpose twice',
    { consents: [...(formDefinitionForTests().consents ?? []), ...(formDefinitionForTests().consents ?? [])] },
    ['/consents/1/purpose'],
  ],
  [
    'a consent that names nothing',
    {
      languages: ['es'],
      fields: [],
      consents: [{ purpose: 'nudges', text: { es: 'Sí, quiero recibir publicidad.' }, textVersion: '1' }],
    },
    ['/consents/0/text/es', '/consents/0/text/es', '/consents/0/text/es'],
  ],
  ['a path for an origin', { origins: ['https://shop.example/form'] }, ['/origins/0']],
  ['a slash at its end', { origins: ['https://shop.example', 'https://shop.example/'] }, ['/origins/1']],
  ['an origin that is none', { origins: ['file:///etc'] }, ['/origins/0']],
  ['thanks that are a script', { thanksUrl: 'javascript:alert(1)' }, ['/thanksUrl']],
  ['a link that expires too soon', { confirmation: { expiresAfter: 'PT59M' } }, ['/confirmation/expiresAfter']],
  ['a link that works too long', { confirmation: { expiresAfter: 'P31D' } }, ['/confirmation/expiresAfter']],
  ['a month, whose length nobody knows', { confirmation: { expiresAfter: 'P1M' } }, ['/confirmation/expiresAfter']],
  ['no duration', { confirmation: { expiresAfter: 'soon' } }, ['/confirmation/expiresAfter']],
  ['a reminder after three days', { confirmation: { remindAfter: 'PT73H' } }, ['/confirmation/remindAfter']],
  ['a reminder at once', { confirmation: { remindAfter: 'PT0S' } }, ['/confirmation/remindAfter']],
  [
    'a reminder of what has expired',
    { confirmation: { expiresAfter: 'PT24H', remindAfter: 'PT24H' } },
    ['/confirmation/remindAfter'],
  ],
])('%s is an error', (_, change, pointers) => {
  expect(pointersOf(change)).toEqual(pointers);
});

test('limits themselves are allowed', () => {
  for (const expiresAfter of ['PT1H', 'P30D', 'P4W']) expect(errorsOf({ confirmation: { expiresAfter } })).toEqual([]);
  expect(errorsOf({ confirmation: { remindAfter: 'PT72H' } })).toEqual([]);
  expect(errorsOf({ confirmation: { remindAfter: null } })).toEqual([]);
});

test('what is odd but possible is warned of', () => {
  const warnings = (change: Partial<FormDefinition>) =>
    checkForm(formDefinitionForTests(change), FACTS).warnings.map(({ pointer }) => pointer);
  expect(warnings({ consents: [] })).toEqual(['/consents']);
  expect(warnings({ doubleOptIn: false })).toEqual(['/doubleOptIn']);
  expect(warnings({ doubleOptIn: false, confirmation: { remindAfter: 'PT24H' } })).toEqual([
    '/confirmation',
    '/doubleOptIn',
  ]);
  expect(warnings({ fields: [{ ...field, label: { ...field.label, de: 'Stadt', xx: '?' } }] })).toEqual([
    '/fields/0/label/de',
    '/fields/0/label/xx',
  ]);
});
