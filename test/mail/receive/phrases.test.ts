import { languageOf } from '../../../mail/receive/language';
import {
  blocksOf,
  compileBeginnings,
  compilePhrases,
  compileWhole,
  fold,
  plainWords,
  sentencesOf,
} from '../../../mail/receive/phrases';
import * as automatic from '../../../mail/receive/words/automatic';
import * as dates from '../../../mail/receive/words/dates';
import * as people from '../../../mail/receive/words/people';
import * as signatures from '../../../mail/receive/words/signatures';
import * as wishes from '../../../mail/receive/words/wishes';

const LANGUAGES = ['ca', 'de', 'en', 'es', 'fr', 'it', 'nl', 'pt'];

describe('the words', () => {
  const tables = Object.entries({ ...automatic, ...people, ...signatures, ...wishes, ...dates }).filter(
    ([, table]) => typeof table === 'object' && 'es' in table,
  ) as unknown as [string, Record<string, (string | readonly string[])[]>][];

  test.each(tables)('%s has all languages', (_name, table) => {
    expect(Object.keys(table).sort()).toEqual(LANGUAGES);
  });
  test.each(tables)('%s is written in the notation', (_name, table) => {
    const tokens = Object.values(table)
      .flat(2)
      .flatMap((phrase) => phrase.split(/\s+/));
    const odd = tokens.filter((token) => !/^(?:…|\([^()…\s]+\)|[^()…\s]+)$/.test(token));
    expect(odd).toEqual([]);
  });
  test.each(tables)('no phrase of %s may be missing as a whole', (_name, table) => {
    const empty = Object.values(table)
      .flat(2)
      .filter((phrase) => phrase.split(/\s+/).every((token) => token === '…' || token.startsWith('(')));
    expect(empty).toEqual([]);
  });
});

describe('phrases', () => {
  test.each([
    ['ya no trabaja', 'Ya  no trabaja aquí', 'ya no trabaja'],
    ['no más', 'No MÁS, por favor', 'no mas'],
    ['a/b_c d', 'x b c d', 'b c d'],
    ['(muchas) gracias', 'gracias', 'gracias'],
    ['(muchas) gracias', 'muchas gracias', 'muchas gracias'],
    ['confirm*', 'please confirmation', 'confirmation'],
    ['borren … datos', 'borren ya todos mis datos', 'borren ya todos mis datos'],
    ['borren … datos', 'borren a b c d e datos', null],
    ['löschen', 'bitte loeschen', 'loeschen'],
    ['löschen', 'bitte löschen', 'loschen'],
    ['baja', 'trabajar', null],
    ['e-mail', 'my email', 'email'],
  ])('%j in %j: %j', (phrase, text, found) => {
    expect(compilePhrases([phrase])(plainWords(text))).toBe(found);
  });
  test('at the beginning, and as a whole', () => {
    expect(compileBeginnings(['no gracias'])('no gracias hoy')).toBe('no gracias');
    expect(compileBeginnings(['no gracias'])('hoy no gracias')).toBeNull();
    expect(compileWhole(['no', 'no más'])('no mas')).toBe(true);
    expect(compileWhole(['no'])('no mas')).toBe(false);
  });
});

test('folding: accents, ligatures, quotes, invisible and full-width letters', () => {
  expect(fold('Ærøskøbing ﬁn ß ’ Å\u200b ＡＢ col·labora')).toBe("aerøskøbing fin ss ' a ab collabora");
});

test('links and addresses are one word each', () => {
  expect(plainWords('Write to Ana <ana@b.example> or https://b.example/x?y=1.')).toBe('write to ana xaddress or xlink');
});

test('sentences end at stops, not at abbreviations, and know questions', () => {
  expect(
    sentencesOf('Sr. Pérez, según el art. 15 quiero saber. ¿De dónde? Gracias').map(({ words, question }) => [
      words,
      question,
    ]),
  ).toEqual([
    ['sr perez segun el art 15 quiero saber', false],
    ['de donde', true],
    ['gracias', false],
  ]);
});

test('lines that were wrapped are joined; lines that a person ended are not', () => {
  expect(blocksOf('Estaré fuera de la oficina por vacaciones hasta el día\n15 de agosto.\nHola\nAna')).toEqual([
    'Estaré fuera de la oficina por vacaciones hasta el día 15 de agosto.',
    'Hola',
    'Ana',
  ]);
});

test.each([
  ['es', 'Estoy de vacaciones hasta el lunes y vuelvo con muchas ganas'],
  ['en', 'I am out of the office and will be back'],
  ['fr', 'Je suis absent et je vous répondrai dans une semaine'],
  ['de', 'Ich bin im Urlaub und ab Montag wieder für Sie da'],
  ['it', 'Sono in ferie fino al 15, la ringrazio per la mail e questo messaggio'],
  ['pt', 'Estarei fora do escritório, não tenho acesso ao email até segunda'],
  ['ca', 'Estic fora fins dilluns, gràcies pel vostre missatge, us respondré'],
  ['nl', 'Ik ben niet op kantoor en lees mijn mail weer op maandag'],
  [null, '12345'],
])('%s', (language, text) => {
  expect(languageOf(text)).toBe(language);
});
