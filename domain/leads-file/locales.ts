import { IANAZone } from 'luxon';
import { remembered } from './remembered';

/** Languages that people write out, in their own words, in Spanish and in English. */
const NAMES: Readonly<Record<string, string>> = {
  espanol: 'es',
  castellano: 'es',
  spanish: 'es',
  spanisch: 'es',
  espagnol: 'es',
  cas: 'es',
  esp: 'es',
  cast: 'es',
  ingles: 'en',
  english: 'en',
  englisch: 'en',
  anglais: 'en',
  ing: 'en',
  frances: 'fr',
  french: 'fr',
  francais: 'fr',
  franzosisch: 'fr',
  aleman: 'de',
  german: 'de',
  deutsch: 'de',
  allemand: 'de',
  italiano: 'it',
  italian: 'it',
  italienisch: 'it',
  portugues: 'pt',
  portuguese: 'pt',
  portugiesisch: 'pt',
  catalan: 'ca',
  catala: 'ca',
  valenciano: 'ca',
  valencia: 'ca',
  gallego: 'gl',
  galego: 'gl',
  galician: 'gl',
  euskera: 'eu',
  euskara: 'eu',
  vasco: 'eu',
  basque: 'eu',
  holandes: 'nl',
  neerlandes: 'nl',
  dutch: 'nl',
  nederlands: 'nl',
  polaco: 'pl',
  polish: 'pl',
  polski: 'pl',
  rumano: 'ro',
  romanian: 'ro',
  romana: 'ro',
  ruso: 'ru',
  russian: 'ru',
  chino: 'zh',
  chinese: 'zh',
  japones: 'ja',
  japanese: 'ja',
  arabe: 'ar',
  arabic: 'ar',
};

const languages = new Intl.DisplayNames(['en'], { type: 'language', fallback: 'none' });

/**
 * A BCP 47 tag (language, script, region) out of a cell such as `es`, `es_ES`, `español` or `English (UK)`;
 * undefined where it says no language we know.
 */
export const readLocale = remembered((cell: string): string | undefined => {
  const text = cell
    .trim()
    .replace(/\.[\w-]+$/, '')
    .replace(/_/g, '-');
  const word = text
    .replace(/\s*[(,/].*$/, '')
    .normalize('NFD')
    .replace(/\p{M}/gu, '')
    .toLowerCase();
  const named = Object.hasOwn(NAMES, word) ? NAMES[word] : undefined;
  if (named !== undefined) return named;
  if (!/^[a-z]{2,3}(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?$/i.test(text)) return undefined;
  const tag = Intl.getCanonicalLocales(text)[0];
  const language = tag?.split('-')[0];
  return language !== undefined && languages.of(language) !== undefined ? tag : undefined;
});

/** An IANA time zone out of a cell; upper and lower case and blanks for `_` are mended. */
export const readTimeZone = remembered((cell: string): string | undefined => {
  const text = cell
    .trim()
    .replace(/\s*\/\s*/g, '/')
    .replace(/ +/g, '_');
  // Intl takes offsets as well; one is not a zone, for it knows no summer time.
  if (!/^[a-z][\w+-]*(\/[\w+-]+)*$/i.test(text) || !IANAZone.isValidZone(text)) return undefined;
  const proper = new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone;
  return proper.toLowerCase() === text.toLowerCase() ? proper : text;
});
