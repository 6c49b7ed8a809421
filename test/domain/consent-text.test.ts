import { type ConsentFacts, checkConsentText } from '../../domain/consent-text';
import type { FormLanguage } from '../../domain/form';

const FACTS: ConsentFacts = { product: 'Cafetera Brava 3', nudges: 7, months: 21 };
const errors = (text: string, language: FormLanguage, facts = FACTS) =>
  checkConsentText(text, language, facts).filter(({ severity }) => severity === 'error');

const SOUND: [FormLanguage, string][] = [
  ['es', 'Sí, escríbanme sobre la Cafetera Brava 3: siete correos como mucho, durante dos años.'],
  ['en', 'Yes, write to me about the cafetera brava 3: up to 7 mails within 24 months.'],
  ['fr', 'Oui, écrivez-moi au sujet de la Cafetera Brava 3 : sept e-mails au plus, pendant deux ans.'],
  ['de', 'Ja, schreiben Sie mir zur Cafetera Brava 3: höchstens sieben E-Mails in zwei Jahren.'],
  ['it', 'Sì, scrivetemi sulla Cafetera Brava 3: al massimo sette messaggi in due anni.'],
  ['pt', 'Sim, escrevam-me sobre a Cafetera  Brava 3: no máximo sete mensagens em dois anos.'],
  ['ca', 'Sí, escriviu-me sobre la Cafetera Brava 3: set correus com a molt, durant dos anys.'],
];

test.each(SOUND)('%s: what names product, number and duration is sound', (language, text) => {
  expect(checkConsentText(text, language, FACTS)).toEqual([]);
});

test.each(SOUND)('%s: each of the three that is left out is an error', (language, text) => {
  expect(errors(text.replace(/Cafetera +Brava 3/i, 'la máquina'), language)).toEqual([
    { severity: 'error', detail: 'must name the product as the campaign does: Cafetera Brava 3' },
  ]);
  const withoutNumber = text.replace(/\b(siete|7|sept|sieben|sette|sete|set)\b/, '…');
  expect(errors(withoutNumber, language).map(({ detail }) => detail)).toEqual([
    expect.stringContaining('how many mails'),
  ]);
  const withoutDuration = text.replace(/(dos|24|deux|zwei|due|dois) \p{L}+/u, '…');
  expect(errors(withoutDuration, language).map(({ detail }) => detail)).toEqual([
    expect.stringContaining('for how long'),
  ]);
});

test('the number in the product’s name is none of mails, and neither is one of months', () => {
  expect(errors('Write to me about the Cafetera Brava 3 for 24 months.', 'en')).toHaveLength(1);
  expect(errors('Write to me about the Cafetera Brava 3 every 2 to 3 months for two years.', 'en')).toHaveLength(1);
  expect(errors('Escríbanme sobre la Cafetera Brava 3 cada dos o tres meses durante 2 años.', 'es')).toHaveLength(1);
  expect(errors('A mail about the Cafetera Brava 3, for a year.', 'en')).toHaveLength(1);
});

test('less than the campaign does is warned of', () => {
  const details = (text: string) => checkConsentText(text, 'en', FACTS).map(({ detail }) => detail);
  expect(details('About the Cafetera Brava 3, up to 3 mails in two years.')).toEqual([
    'says 3 mails at most, but the campaign has 7 nudges: they would not be covered',
  ]);
  expect(details('About the Cafetera Brava 3, up to 7 mails in 12 months.')).toEqual([
    expect.stringContaining('speaks of about 12 months, but the campaign’s nudges may take 21'),
  ]);
  const unknown = { ...FACTS, nudges: null, months: null };
  expect(checkConsentText('About the Cafetera Brava 3, up to 3 mails in a week.', 'en', unknown)).toEqual([]);
});

test.each<[FormLanguage, string]>([
  ['en', 'I accept the terms, and 7 mails about the Cafetera Brava 3 in two years.'],
  ['es', 'Acepto la política de privacidad, y 7 correos sobre la Cafetera Brava 3 en dos años.'],
  ['de', 'Ich habe die AGB gelesen; 7 E-Mails zur Cafetera Brava 3 in zwei Jahren.'],
  ['es', 'No deseo recibir 7 correos sobre la Cafetera Brava 3 en dos años.'],
  ['en', 'I do not want 7 mails about the Cafetera Brava 3 in two years.'],
])('%s: a tick that stands for more, or for a no, is warned of: %s', (language, text) => {
  expect(checkConsentText(text, language, FACTS)).toEqual([{ severity: 'warning', detail: expect.any(String) }]);
});
