import type { RequestKind } from '../../domain/inbound';
import {
  allLanguages,
  compileBeginnings,
  compilePhrases,
  compileWhole,
  type PhraseFinder,
  plainWords,
  type Sentence,
  sentencesOf,
} from './phrases';
import {
  ACCESS,
  COURTESIES,
  ERASURE,
  NEGATIONS,
  NEGATIONS_BEHIND,
  NO_MORE_MAIL,
  NOT_MEANT,
  NOT_WANTED,
  OBJECTION,
  RECTIFICATION,
  SHORT_NO,
  YET,
} from './words/wishes';

/** What somebody asks for in their own words. */
export interface Wishes {
  /** No more mail. Who asks to be erased, or objects, wants none either. */
  unsubscribe: boolean;
  /** Wishes about their data, each once, in the order of `REQUEST_KINDS`. */
  requests: RequestKind[];
  /** 0 to 1; 0 when nothing is asked. */
  confidence: number;
  evidence: string[];
}

/** The most words of a message that is nothing but a short no. */
const WORDS_OF_A_SHORT_NO = 16;
/** A negation is as far as this many words before what it negates. */
const REACH_OF_A_NEGATION = 5;

const noMoreMail = compilePhrases(allLanguages(NO_MORE_MAIL));
const notWanted = compilePhrases(allLanguages(NOT_WANTED));
const isShortNo = compileWhole(allLanguages(SHORT_NO));
const beginsWithNo = compileBeginnings(allLanguages(SHORT_NO));
const notMeant = compilePhrases(allLanguages(NOT_MEANT));
const yet = compilePhrases(allLanguages(YET));
const REQUESTS: readonly (readonly [RequestKind, PhraseFinder])[] = [
  ['erasure', compilePhrases(allLanguages(ERASURE))],
  ['access', compilePhrases(allLanguages(ACCESS))],
  ['objection', compilePhrases(allLanguages(OBJECTION))],
  ['rectification', compilePhrases(allLanguages(RECTIFICATION))],
];
const NEGATED = new Set(NEGATIONS.map(plainWords));
const NEGATED_BEHIND = new Set(NEGATIONS_BEHIND.map(plainWords));
/** An answer of its own, before what is said. */
const BARE_NO = /^(?:no|nope|nein|nee|non|nao)$/;
/** More may follow it: "No, thank you, I have one"; not after "end" or "cancel". */
const REFUSES = /gra[cz]i|thank|thx|merci|dank|obrigad|interes/;
const COURTESY = new RegExp(
  ` (?:${[...new Set(allLanguages(COURTESIES))]
    .flatMap(spelledOut)
    .sort((a, b) => b.length - a.length)
    .join('|')})(?= )`,
  'g',
);

/**
 * Wishes for no more mail and about personal data (GDPR, articles 15 to 17 and 21) in new text only: what `newText` gives.
 * Precision goes before recall: whatever a person answers stops the journey anyway.
 */
export function wishesIn(text: string): Wishes {
  const sentences = sentencesOf(text);
  const requests: RequestKind[] = [];
  const evidence: string[] = [];
  for (const [kind, find] of REQUESTS) {
    const found = sentences.map((sentence) => meantIn(sentence, find)).find((phrase) => phrase !== null);
    if (found === undefined || found === null) continue;
    requests.push(kind);
    evidence.push(`asks for ${kind}: "${found}"`);
  }
  const out = wayOutIn(sentences);
  if (out !== null) evidence.push(`wants no more mail: "${out.phrase}"`);
  const unsubscribe = out !== null || requests.includes('erasure') || requests.includes('objection');
  const confidence = Math.max(out?.confidence ?? 0, requests.length > 0 ? 0.85 : 0);
  return { unsubscribe, requests, confidence, evidence };
}

function wayOutIn(sentences: readonly Sentence[]): { phrase: string; confidence: number } | null {
  for (const sentence of sentences) {
    const phrase =
      meantIn(sentence, noMoreMail) ?? (notMeant(sentence.words) === null ? notWanted(sentence.words) : null);
    if (phrase !== null) return { phrase, confidence: 0.9 };
  }
  return shortNoIn(sentences);
}

/** The phrase, where it is meant: not negated, and in no sentence about something else. */
function meantIn(sentence: Sentence, find: PhraseFinder): string | null {
  const phrase = find(sentence.words);
  if (phrase === null || notMeant(sentence.words) !== null) return null;
  // A negation reaches to the next comma.
  const clause = sentence.clauses.find((words) => ` ${words} `.includes(` ${phrase} `)) ?? sentence.words;
  const at = ` ${clause} `.indexOf(` ${phrase} `);
  const before = clause.slice(0, at).trim().split(' ').slice(-REACH_OF_A_NEGATION);
  const behind = clause
    .slice(at + phrase.length)
    .trim()
    .split(' ')
    .slice(0, 3);
  const pairs = before.map((word, index) => `${word} ${before[index + 1] ?? ''}`);
  // "No gracias, quiero …" answers; it negates nothing.
  const answers = /^no(?:n|in)? (?:muchas )?(?:gracias|thanks|thank|merci|danke|grazie)\b/.test(sentence.words);
  const negated = before.some((word) => NEGATED.has(word)) || pairs.some((pair) => NEGATED.has(pair));
  if ((negated && !answers) || behind.some((word) => NEGATED_BEHIND.has(word))) return null;
  // "nicht" between the words of a phrase negates it too; "… ab" is a whole phrase.
  return /\b(?:nicht|niet|pas)\b/.test(phrase) ? null : phrase;
}

/** "BAJA", "no, gracias", "stop": all that is said, or said first in a very short message. */
function shortNoIn(sentences: readonly Sentence[]): { phrase: string; confidence: number } | null {
  const said = sentences.filter(
    ({ words }) => (withoutCourtesies(words) !== '' || isShortNo(words)) && !BARE_NO.test(words),
  );
  const first = said[0];
  const total = said.reduce((count, { words }) => count + words.split(' ').length, 0);
  if (first === undefined || total > WORDS_OF_A_SHORT_NO) return null;
  if (said.some(({ question, words }) => question || notMeant(words) !== null)) return null;
  const bare = withoutCourtesies(first.words);
  const whole = [first.words, bare].find((words) => words !== '' && isShortNo(words));
  // "Thanks, but no" is whole; "no, but …" is not.
  if (said.slice(whole === undefined ? 0 : 1).some(({ words }) => yet(words) !== null)) return null;
  // What stands below is a name or a short reason.
  if (whole !== undefined) return { phrase: whole, confidence: total <= 6 ? 0.95 : 0.8 };
  const phrase = beginsWithNo(first.words);
  if (phrase === null || !REFUSES.test(phrase)) return null;
  const next = first.words.slice(phrase.length).trim().split(' ')[0] ?? '';
  // "No, thanks to you", "no gracias al precio": thanks to something.
  if (/^(?:a|al|als|to|for|por|pour|au|aux|fur|per|voor|in|en|de|del|di|da|der|of)$/.test(next)) return null;
  return { phrase, confidence: 0.75 };
}

function withoutCourtesies(words: string): string {
  return ` ${words} `.replace(COURTESY, '').trim().replace(/\s+/g, ' ');
}

/** A courtesy may be written with alternatives, as phrases are. */
function spelledOut(phrase: string): string[] {
  return phrase
    .split(' ')
    .reduce<string[]>(
      (heads, token) => {
        const optional = token.startsWith('(');
        const choices = token.replace(/[()]/g, '').split('/');
        const all = optional ? ['', ...choices] : choices;
        return heads.flatMap((head) => all.map((choice) => `${head} ${choice.replaceAll('_', ' ')}`));
      },
      [''],
    )
    .map((spelled) => plainWords(spelled));
}
