import { DateTime } from 'luxon';
import { type DateMention, dateMentions, withoutWeekday } from './date-mentions';
import { languageOf } from './language';
import { allLanguages, blocksOf, compilePhrases, fold, plainWords } from './phrases';
import { AWAY, BACK, FILLERS, FROM, NOT_UNTIL, UNTIL } from './words/dates';

/** What a text says of a day: the first one back, the last one away, or the end of a range. */
interface Statement {
  role: 'back' | 'until' | 'range' | 'away';
  mention: DateMention;
}

const READ_AT_MOST = 6_000;
const MOST_FILLERS = 7;
/** Stands for a date while the words around it are read. */
const MARK = '\u0001';
const RANGE = new RegExp(
  `(?:(?<![\\d:])\\d{1,2}(?:st|nd|rd|th|er|o|a|e|\\.)?|${MARK})[ ,]*(?:-|–|—|to|al|a|au|bis|bis zum|tot|tot en met|t/m|tem|ao|a dia|ate|fins al|al dia)[ ,]*$`,
);
const BETWEEN = new RegExp(
  `(?:between|entre|zwischen|tra|fra|tussen)\\b.{0,40}(?:\\d{1,2}(?:st|nd|rd|th|er|o|\\.)?|${MARK})[ ,]*(?:and|y|und|e|et|en|i)[ ,]*$`,
);
/** "After the 16th": the day after it. */
const AFTER =
  /(?:^| )(?:after|nach|apres|dopo|apos|depois de|depois do|despues del|despues de|despres del|despres de)$/;
/** Dutch "after" before a date; before a weekday it is Portuguese for "on". */
const DUTCH_AFTER = /(?:^| )na$/;
const WHEN =
  /^[ ,]*(?:when|que|cuando|wenn|wo|an dem|quand|date|fecha|quando|data|quan|wanneer|dia en que|which is when)(?![a-z])/;

const endsWith = (phrases: readonly string[]) => {
  const known = new Set(phrases.map(plainWords));
  return (words: string): boolean => {
    const tokens = words.split(' ');
    for (let count = Math.min(6, tokens.length); count > 0; count--) {
      if (known.has(tokens.slice(-count).join(' '))) return true;
    }
    return false;
  };
};
const endsWithUntil = endsWith(allLanguages(UNTIL));
const endsWithFrom = endsWith(allLanguages(FROM));
const back = compilePhrases(allLanguages(BACK));
const away = compilePhrases(allLanguages(AWAY));
const notUntil = compilePhrases(allLanguages(NOT_UNTIL));
const FILLER = new Set<string>(FILLERS);

/**
 * The first day back, `YYYY-MM-DD`, of an absence that a text tells of: the day after "until …", the day itself of "back on
 * …". A day without a year is the next such day. Null when no day is told, when two contradict each other, and when it is in
 * the past or more than a year ahead.
 *
 * @param sentAt when the message was written; its day in UTC counts
 * @param languageHint such as `de` or `en-US`; decides whether 07/08 is in July or in August; guessed from the text when absent
 */
export function returnDate(text: string, sentAt: Date, languageHint?: string): string | null {
  const today = DateTime.fromJSDate(sentAt, { zone: 'utc' }).startOf('day');
  if (!today.isValid) return null;
  const statements: Statement[] = [];
  let anchor: DateTime = today;
  for (const block of blocksOf(text.slice(0, READ_AT_MOST)).reduce<string[]>(joinedAtColons, [])) {
    const folded = fold(block).replace(/\s+/g, ' ');
    const mentions = dateMentions(folded, today, anchor);
    statements.push(...statementsIn(folded, mentions));
    const dated = mentions.filter(({ kind }) => kind === 'date').at(-1)?.days[0];
    if (dated !== undefined && dated > today) anchor = dated;
  }
  const monthFirst = readsMonthFirst(statements, languageHint ?? languageOf(text) ?? undefined);
  const days = (roles: readonly Statement['role'][], added: number) => {
    const chosen = statements.filter(({ role }) => roles.includes(role));
    return chosen.map(({ mention }) =>
      dayOf(mention, monthFirst, today).plus({ days: mention.kind === 'open' ? 0 : added }),
    );
  };
  const decided = decide(days(['back'], 0), days(['until'], 1), days(['range'], 1), days(['away'], 1));
  if (decided === null || decided < today || decided > today.plus({ years: 1 })) return null;
  return decided.toISODate();
}

/** The plainest statement wins; two days of the same kind contradict each other. */
function decide(backs: DateTime[], untils: DateTime[], ranges: DateTime[], aways: DateTime[]): DateTime | null {
  if (backs.length > 0) {
    const day = theOnly(backs);
    const last = untils.length > 0 ? theOnly(untils) : day;
    if (day === null || last === null) return null;
    // "Until the 16th, back on the 16th" says one thing; "until the 20th, back on the 16th" says nothing.
    return day >= last.minus({ days: 1 }) ? day : null;
  }
  if (untils.length > 0) return theOnly(untils);
  if (ranges.length > 0) return theOnly(ranges);
  // Several days off: the last of them.
  return aways.reduce<DateTime | null>((last, day) => (last === null || day > last ? day : last), null);
}

function theOnly(days: readonly DateTime[]): DateTime | null {
  const first = days[0];
  return first !== undefined && days.every((day) => +day === +first) ? first : null;
}

function statementsIn(block: string, mentions: readonly DateMention[]): Statement[] {
  if (mentions.length === 0) return [];
  let masked = '';
  let from = 0;
  for (const { start, end } of mentions) {
    masked += block.slice(from, start) + MARK;
    from = end;
  }
  masked += block.slice(from);
  const statements: Statement[] = [];
  let next = 0;
  for (const sentence of masked
    .replace(/\b(incl|inkl|einschl|ca|aprox|approx|bzw|z\.b|d\.h|prox)\./g, '$1')
    .split(/[.!?;]+(?= |$)/)) {
    const pieces = sentence.split(MARK);
    const own = mentions.slice(next, next + pieces.length - 1);
    next += own.length;
    statements.push(...statementsOf(own, pieces));
  }
  return statements;
}

/** @param pieces what stands before each mention of a sentence, and after the last */
function statementsOf(mentions: readonly DateMention[], pieces: readonly string[]): Statement[] {
  const sentence = plainWords(pieces.join(' '));
  const isAway = away(sentence) !== null;
  const roles = mentions.map((mention, index) => {
    const before = (index > 0 ? MARK : '') + (pieces[index] as string);
    const after = index === mentions.length - 1 ? (pieces[index + 1] as string) : '';
    return roleOf(mention, before, after, pieces.slice(0, index + 1).join(MARK));
  });
  // Without a word of absence "Monday to Friday" is when a shop is open, and a lone day is any day.
  const counts = (role: Statement['role'] | null, mention: DateMention) =>
    role === 'range'
      ? isAway || mention.kind === 'date'
      : role !== 'away' || (isAway && roles.every((other) => other === 'away'));
  return mentions.flatMap((mention, index) => {
    const role = roles[index] ?? null;
    return role !== null && counts(role, mention) ? [{ role, mention }] : [];
  });
}

function roleOf(mention: DateMention, before: string, after: string, wholeBefore: string): Statement['role'] | null {
  const words = plainWords(before.replace(MARK, ' '));
  const isBack = back(words) !== null;
  const backAfter = back(plainWords(after).split(' ').slice(0, 10).join(' ')) !== null;
  const leading = leadingWords(words);
  const isAfter = (ending: string) => AFTER.test(ending) || (mention.kind === 'date' && DUTCH_AFTER.test(ending));
  if (leading.some(isAfter)) return isBack || backAfter ? 'until' : null;
  const bare = withoutTrailingArticle(before);
  const isRange = RANGE.test(bare) || BETWEEN.test(withoutTrailingArticle(wholeBefore));
  if (mention.kind === 'weekday' && isRange) return 'range';
  if (leading.some(endsWithUntil)) {
    const denied = notUntil(plainWords(wholeBefore)) !== null;
    return denied || (WHEN.test(after) && backAfter) ? 'back' : 'until';
  }
  if (isRange) return isBack ? 'back' : 'range';
  if (isBack || backAfter) return 'back';
  return leading.some(endsWithFrom) && !/ (?:del?|da|van|von)$/.test(` ${words}`) ? null : 'away';
}

/** The words before a date, with ever more of what may stand between taken off: "until and including the" … "until". */
function leadingWords(words: string): string[] {
  const endings = [words];
  let rest = words;
  for (let taken = 0; taken < MOST_FILLERS; taken++) {
    const shorter = withoutWeekday(rest);
    const last = shorter.slice(shorter.lastIndexOf(' ') + 1);
    const next = shorter !== rest ? shorter : FILLER.has(last) ? shorter.slice(0, -last.length).trim() : rest;
    if (next === rest) break;
    endings.push(next);
    rest = next;
  }
  return endings;
}

function withoutTrailingArticle(before: string): string {
  return withoutWeekday(before.replace(/[ ,]+$/, ''))
    .replace(/ (?:el|the|den|dem|le|il|dia|de|la|o)$/, '')
    .replace(/[ ,]+$/, '')
    .concat(' ');
}

/** Whether the numeric dates of a text name the month first: what its plain ones do, or what its language does. */
function readsMonthFirst(statements: readonly Statement[], hint: string | undefined): boolean | null {
  const language = hint?.toLowerCase() ?? '';
  if (language === 'en-us') return true;
  if (language !== '' && language !== 'en') return false;
  return statements.some(({ mention }) => mention.days.length > 1) ? null : false;
}

function dayOf(mention: DateMention, monthFirst: boolean | null, today: DateTime): DateTime {
  const [first, second] = mention.days as [DateTime, DateTime | undefined];
  if (second === undefined) return first;
  if (monthFirst !== null) return pastOr(monthFirst ? second : first, monthFirst ? first : second, today);
  // English of nobody knows where: the nearer day, since absences are short.
  return first < second ? pastOr(first, second, today) : pastOr(second, first, today);
}

function pastOr(preferred: DateTime, other: DateTime, today: DateTime): DateTime {
  const far = today.plus({ months: 6 });
  const unlikely = preferred < today || (preferred > far && other >= today && other <= far);
  return unlikely && other >= today ? other : preferred;
}

/** "Back on:" and the line below it are one. */
function joinedAtColons(blocks: string[], block: string): string[] {
  const last = blocks.at(-1);
  if (last?.endsWith(':') && last.length < 80) blocks[blocks.length - 1] = `${last} ${block}`;
  else blocks.push(block);
  return blocks;
}
