import type { FormLanguage } from './form';

/** What a campaign does, which a consent to it must say. */
export interface ConsentFacts {
  product: string;
  /** How many nudges there are at most; null where it is not known yet. */
  nudges: number | null;
  /** How long they may take in all, in months; null where it is not known yet. */
  months: number | null;
}

/** What is wrong with a consent's words: `error` where the law's demands are not met, `warning` where they may not be. */
export interface ConsentFinding {
  severity: 'error' | 'warning';
  detail: string;
}

interface Vocabulary {
  /** Numbers in words, by value. */
  numbers: Readonly<Record<string, number>>;
  /** Units of time: a pattern for each, with how many months one is. */
  units: readonly (readonly [RegExp, number])[];
  /** What makes a box a part of something else. */
  bundled: RegExp;
  /** What makes a tick mean no. */
  negative: RegExp;
}

const WEEK = 12 / 52;
const DAY = 12 / 365;

const VOCABULARY: Readonly<Record<FormLanguage, Vocabulary>> = {
  es: {
    numbers: numbered('un|una|uno dos tres cuatro cinco seis siete ocho nueve diez once doce'),
    units: [
      [/^años?$/, 12],
      [/^mes(es)?$/, 1],
      [/^semanas?$/, WEEK],
      [/^días?$/, DAY],
    ],
    bundled: /\b(acepto|he leído).*\b(condiciones|términos|política)/i,
    negative: /\bno (deseo|quiero|acepto|autorizo)\b/i,
  },
  ca: {
    numbers: numbered('un|una dos|dues tres quatre cinc sis set vuit nou deu onze dotze'),
    units: [
      [/^anys?$/, 12],
      [/^mes(os)?$/, 1],
      [/^setman(a|es)$/, WEEK],
      [/^di(a|es)$/, DAY],
    ],
    bundled: /\b(accepto|he llegit).*\b(condicions|termes|política)/i,
    negative: /\bno (desitjo|vull|accepto|autoritzo)\b/i,
  },
  en: {
    numbers: numbered('a|an|one two three four five six seven eight nine ten eleven twelve'),
    units: [
      [/^years?$/, 12],
      [/^months?$/, 1],
      [/^weeks?$/, WEEK],
      [/^days?$/, DAY],
    ],
    bundled: /\b(accept|agree to|have read)\b.*\b(terms|conditions|policy)\b/i,
    negative: /\b(do not|don.t) (want|wish|agree)\b/i,
  },
  fr: {
    numbers: numbered('un|une deux trois quatre cinq six sept huit neuf dix onze douze'),
    units: [
      [/^(ans?|années?)$/, 12],
      [/^mois$/, 1],
      [/^semaines?$/, WEEK],
      [/^jours?$/, DAY],
    ],
    bundled: /\b(accepte|ai lu)\b.*\b(conditions|politique)/i,
    negative: /\bne (souhaite|veux|désire|accepte) pas\b/i,
  },
  de: {
    numbers: numbered('ein|eine|einem|einen|einer|eines zwei drei vier fünf sechs sieben acht neun zehn elf zwölf'),
    units: [
      [/^jahre?n?$/, 12],
      [/^monate?n?$/, 1],
      [/^wochen?$/, WEEK],
      [/^tage?n?$/, DAY],
    ],
    bundled:
      /\b(akzeptiere|gelesen|stimme)\b.*\b(AGB|Geschäftsbedingungen|Datenschutz)|\b(AGB|Geschäftsbedingungen|Datenschutz).*\b(akzeptiere|gelesen)\b/i,
    negative: /\b(möchte|will) (keine|nicht)\b/i,
  },
  it: {
    numbers: numbered('un|uno|una due tre quattro cinque sei sette otto nove dieci undici dodici'),
    units: [
      [/^ann[oi]$/, 12],
      [/^mes[ei]$/, 1],
      [/^settiman[ae]$/, WEEK],
      [/^giorn[oi]$/, DAY],
    ],
    bundled: /\b(accetto|ho letto)\b.*\b(condizioni|termini|informativa|privacy)/i,
    negative: /\bnon (desidero|voglio|accetto|autorizzo)\b/i,
  },
  pt: {
    numbers: numbered('um|uma dois|duas três quatro cinco seis sete oito nove dez onze doze'),
    units: [
      [/^anos?$/, 12],
      [/^m(ês|eses)$/, 1],
      [/^semanas?$/, WEEK],
      [/^dias?$/, DAY],
    ],
    bundled: /\b(aceito|li) .*\b(condições|termos|política)/i,
    negative: /\bnão (desejo|quero|aceito|autorizo)\b/i,
  },
};

/**
 * Checks that a consent to being followed up says what a person must know beforehand (GDPR art. 4.11 and 7): about which
 * product, how many mails, and for how long. It finds what is missing, and can't tell whether what is there is right.
 */
export function checkConsentText(text: string, language: FormLanguage, facts: ConsentFacts): ConsentFinding[] {
  const findings: ConsentFinding[] = [];
  const error = (detail: string) => findings.push({ severity: 'error', detail });
  const warning = (detail: string) => findings.push({ severity: 'warning', detail });
  const { mails, months } = amountsIn(withoutProduct(text, facts.product), language);

  if (!comparable(text).includes(comparable(facts.product))) {
    error(`must name the product as the campaign does: ${facts.product}`);
  }
  if (mails === null) {
    error(
      'must say how many mails there will be at most, in digits or as a word up to twelve, such as “up to 7 mails”',
    );
  } else if (facts.nudges !== null && mails < facts.nudges) {
    warning(`says ${mails} mails at most, but the campaign has ${facts.nudges} nudges: they would not be covered`);
  }
  if (months === null) {
    error('must say for how long, such as “within 24 months”: a number, and days, weeks, months or years after it');
  } else if (facts.months !== null && Math.ceil(months) < facts.months) {
    warning(
      `speaks of about ${Math.round(months)} months, but the campaign’s nudges may take ${facts.months}: the last ones would not be covered`,
    );
  }
  const { bundled, negative } = VOCABULARY[language];
  if (bundled.test(text)) {
    warning(
      'seems to ask for something else too, such as accepting terms: a consent stands for itself (GDPR art. 7.2)',
    );
  }
  if (negative.test(text)) warning('seems to mean “no” when it is ticked: a tick must be a yes (GDPR art. 4.11)');
  return findings;
}

/** The most mails and the longest time that a text speaks of; null where it speaks of none. */
function amountsIn(text: string, language: FormLanguage): { mails: number | null; months: number | null } {
  const { numbers, units } = VOCABULARY[language];
  const words = text.toLowerCase().match(/\p{L}+|\d+/gu) ?? [];
  let mails: number | null = null;
  let months: number | null = null;
  const amountAt = (index: number) => {
    const word = words[index] ?? '';
    return /^\d{1,3}$/.test(word) ? Number(word) : Object.hasOwn(numbers, word) ? numbers[word] : undefined;
  };
  // What follows an amount, also where it is the first of two, as in “2 to 3 months”.
  const unitAfter = (index: number): number | undefined => {
    const unit = units.find(([pattern]) => pattern.test(words[index + 1] ?? ''));
    if (unit !== undefined) return unit[1];
    if (amountAt(index + 1) !== undefined) return unitAfter(index + 1);
    return BETWEEN.test(words[index + 1] ?? '') && amountAt(index + 2) !== undefined ? unitAfter(index + 2) : undefined;
  };
  for (const index of words.keys()) {
    const amount = amountAt(index);
    if (amount === undefined) continue;
    const unit = unitAfter(index);
    if (unit !== undefined) months = Math.max(months ?? 0, amount * unit);
    // “A” and “one” are articles more often than numbers.
    else if (amount > 1) mails = Math.max(mails ?? 0, amount);
  }
  return { mails, months };
}

/** What stands between two amounts of the same thing, in any of the languages. */
const BETWEEN = /^(to|or|bis|oder|a|o|u|à|ou|até|i)$/;

/** A product may have a number in its name, which says nothing of how many mails there are. */
function withoutProduct(text: string, product: string): string {
  return comparable(text).replaceAll(comparable(product), ' ');
}

function comparable(text: string): string {
  return text.normalize('NFC').toLowerCase().replace(/\s+/g, ' ').trim();
}

/** `one|a two three`: words for 1, 2, 3 and on; those with a bar between them mean the same. */
function numbered(words: string): Readonly<Record<string, number>> {
  return Object.fromEntries(
    words.split(' ').flatMap((same, index) => same.split('|').map((word) => [word, index + 1] as const)),
  );
}
