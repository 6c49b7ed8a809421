/** The languages whose words are known. */
export type Language = 'es' | 'en' | 'fr' | 'de' | 'it' | 'pt' | 'ca' | 'nl';

/** Phrases of each language, in the notation that `compilePhrases` reads. */
export type PhrasesByLanguage = Readonly<Record<Language, readonly string[]>>;

/** A stretch of text that is read as one thought. */
export interface Sentence {
  /** Folded words with one space between them, and no punctuation. */
  words: string;
  /** The same, cut at commas and dashes. */
  clauses: readonly string[];
  question: boolean;
}

/** Finds the first phrase of a list in folded words, or null. */
export type PhraseFinder = (words: string) => string | null;

const INVISIBLE = /[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const READ_AT_MOST = 20_000;
/** Mails are wrapped at 72 to 78 columns; a line that is shorter than this was ended by a person. */
const WRAPPED_LINE = 50;
/** A dot after these ends no sentence. */
const ABBREVIATIONS =
  /(?:^|[\s(])(?:\d{1,4}|art|arts|abs|nr|num|no|sr|sra|srta|dr|dra|d|dna|ud|uds|st|str|tel|tfno|av|avda|c|z|b|h|mr|mrs|ms|m|mme|sig|ing|lic|vs|bzw|ca|ltd|inc|s|p|e|g|i|u|a|l)\.$/;
/** A word of answer before what is said, unless it is "no, thank you". */
const ANSWER =
  /^[¡¿]?(?:no|non|nein|n[aã]o|nee|s[ií]|yes|ja|oui|sim|ok|okay|vale),\s(?!(?:muchas |muito |moltes |many )?(?:gr[aà]ci|thank|thx|dank|vielen|merci|grazie|obrigad|bedankt))/i;

/** Lower case, without accents, ligatures, invisible characters and typographic quotes: for comparing, not for reading. */
export function fold(text: string): string {
  return text
    .replace(INVISIBLE, '')
    .replace(/[\u2018\u2019\u02bc\u00b4`\u2032]/g, "'")
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .toLowerCase()
    .replaceAll('ß', 'ss')
    .replaceAll('æ', 'ae')
    .replaceAll('œ', 'oe')
    .replaceAll('·', '');
}

/** Folded words with one space between them; links and addresses stand as `xlink` and `xaddress`. */
export function plainWords(text: string): string {
  return fold(text)
    .replace(/\bhttps?:\/\/[^\s<>]+/g, ' xlink ')
    .replace(/[^\s@<>()[\]:;,"']{1,64}@[^\s@<>()[\]:;,"']{1,255}/g, ' xaddress ')
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
    .replace(/\be mail/g, 'email');
}

/** The sentences of a text; of a long one, of its beginning. */
export function sentencesOf(text: string): Sentence[] {
  const found: Sentence[] = [];
  for (const block of blocksOf(text.slice(0, READ_AT_MOST))) {
    // "No, quiero …" is not "no quiero …".
    let start = ANSWER.exec(block)?.[0].length ?? 0;
    if (start > 0) push(found, block.slice(0, start));
    for (const stop of block.matchAll(/[.!?;…]+(?=\s)/g)) {
      const end = stop.index + stop[0].length;
      const piece = block.slice(start, end);
      if (stop[0] === '.' && ABBREVIATIONS.test(fold(piece.slice(-12)))) continue;
      push(found, piece);
      start = end;
    }
    push(found, block.slice(start));
  }
  return found;
}

/**
 * Reads phrases into one finder. A phrase is written as people write it, accents and all; in it
 * `a/b` stands for either word (`_` joins several: `no_longer/not`), `(word)` may be missing, `word*` is the beginning of
 * a word and `…` stands for up to four words. German umlauts are also found as `ae`, `oe`, `ue`.
 */
export function compilePhrases(...lists: readonly (readonly string[])[]): PhraseFinder {
  const patterns = lists.flat().map(patternOf);
  if (patterns.length === 0) return () => null;
  const any = new RegExp(`(?:${patterns.join('|')})(?= )`, 'u');
  return (words) => any.exec(` ${words} `)?.[0].trim() ?? null;
}

/** As `compilePhrases`, but finds a phrase only where the words begin with it. */
export function compileBeginnings(...lists: readonly (readonly string[])[]): PhraseFinder {
  const any = new RegExp(`^(?:${lists.flat().map(patternOf).join('|')})(?= )`, 'u');
  return (words) => any.exec(` ${words} `)?.[0].trim() ?? null;
}

/** As `compilePhrases`, but tells whether the words are one of the phrases and nothing else. */
export function compileWhole(...lists: readonly (readonly string[])[]): (words: string) => boolean {
  const any = new RegExp(`^(?:${lists.flat().map(patternOf).join('|')})$`, 'u');
  return (words) => any.test(` ${words}`);
}

/** The phrases of all languages in one list. */
export function allLanguages(phrases: PhrasesByLanguage): string[] {
  return Object.values(phrases).flat();
}

function push(found: Sentence[], piece: string): void {
  const words = plainWords(piece);
  if (words === '') return;
  const clauses = piece.split(/[,;:()]|\s[-–—]\s/).map(plainWords);
  found.push({ words, clauses, question: /[?¿]/.test(piece) });
}

/** The paragraphs and lines of a text; lines that a mail program has wrapped are joined again. */
export function blocksOf(text: string): string[] {
  const blocks: string[] = [];
  let open = '';
  for (const raw of text.split(/\r\n|\r|\n/)) {
    const line = raw.trim();
    if (line === '') {
      blocks.push(open);
      open = '';
    } else if (open === '') {
      open = line;
    } else if (goesOn(open, line)) {
      open = `${open} ${line}`;
    } else {
      blocks.push(open);
      open = line;
    }
  }
  blocks.push(open);
  return blocks.filter((block) => block !== '');
}

function goesOn(block: string, line: string): boolean {
  if (/[.!?:;]$/.test(block)) return false;
  const startsLower = /^[\p{Ll}\d(]/u.test(line);
  return block.length >= WRAPPED_LINE || (startsLower && block.length >= 25);
}

function patternOf(phrase: string): string {
  let pattern = '';
  for (const token of phrase.trim().split(/\s+/)) {
    if (token === '…') {
      pattern += '(?: [^ ]+){0,4}?';
      continue;
    }
    const optional = token.startsWith('(') && token.endsWith(')');
    const choices = (optional ? token.slice(1, -1) : token).split('/').map(wordsPattern).join('|');
    pattern += optional ? `(?: (?:${choices}))?` : ` (?:${choices})`;
  }
  return pattern;
}

function wordsPattern(written: string): string {
  const open = written.endsWith('*');
  const umlauts = written.replaceAll('_', ' ').replace(/[äöüÄÖÜ]/g, (letter) => `${letter}\u0001`);
  const words = plainWords(umlauts.replaceAll('\u0001', 'zqz'));
  return words.replaceAll('zqz', 'e?') + (open ? '[^ ]*' : '');
}
