import { fold } from './phrases';
import { HEADER_LABELS, ORIGINAL_MESSAGE, WROTE, WROTE_STARTS } from './words/quotes';

const LONGEST_HEADER = 500;
const LINES_OF_A_HEADER = 4;

const LONGER_FIRST = (a: string, b: string) => b.length - a.length;
const STARTS = alternatives(WROTE_STARTS);
const WROTE_WORDS = alternatives(WROTE);
/** "On Thu, 3 Jul 2025 at 10:15, …": a word that announces, and a date soon after it. */
const ANCHORED = new RegExp(`^(?:${STARTS})[ ,.]{1,2}[^:]{0,90}?\\d`, 'u');
const ENDS_WITH_VERB = new RegExp(`(?:^|[ ,>)\\]"])(?:${WROTE_WORDS})$`, 'u');
/** The verb stands before the name: German, Dutch, Scandinavian. */
const VERB_THEN_NAME = new RegExp(
  `(?:^|[ ,>)])(?:${WROTE_WORDS}) (?:[^.!?]{1,160}|(?:am|le|op|on|il|em|el|den) [^!?]{0,20}\\d[^!?]{1,80}|[^!?]{0,120}[@<][^!?]{0,120})$`,
  'u',
);
const VERB_THEN_TEXT = new RegExp(`[>)\\]] (?:${WROTE_WORDS}) ?: ?\\S`, 'u');
const ADDRESS = /[^\s@<>]{1,64}@[^\s@<>]{1,64}/;
const NAME_AND_ADDRESS = /^[^:!?]{0,60}<[^\s@<>]{1,64}@[^\s@<>]{1,64}>/;
const CLOCK = /\d{1,2}[:.h]\d{2}/;
const DATE = /\d{1,4}[^\n]{0,12}\d{2}|\d{1,2}\.? \p{L}{3,}/u;

const LABEL_GROUPS = Object.entries(HEADER_LABELS).map(
  ([group, labels]) => [group, new RegExp(`^[*_ ]{0,3}(?:${alternatives(labels)})[*_ ]{0,3}:`, 'u')] as const,
);
const FLATTENED = new RegExp(
  `^[*_ ]{0,3}(?:${alternatives(HEADER_LABELS.from)}) ?[*_]{0,2}:.{1,200}? [*_]{0,2}(?:${alternatives(HEADER_LABELS.date)}) ?[*_]{0,2}:.{1,200}? [*_]{0,2}(?:${alternatives([...HEADER_LABELS.to, ...HEADER_LABELS.other])}) ?[*_]{0,2}:`,
  'u',
);
const ORIGINALS = new Set(ORIGINAL_MESSAGE.map(fold));
const ORIGINAL_START = new RegExp(`^[-_=*#~ ]{2,}(?:${alternatives(ORIGINAL_MESSAGE)})\\b`, 'u');

/** A line of a mail, with what is asked of it often. */
export interface MailLine {
  text: string;
  folded: string;
  quoted: boolean;
}

export function mailLine(text: string): MailLine {
  const folded = fold(text.slice(0, 1_000)).replace(/\s+/g, ' ').trim();
  return { text, folded, quoted: /^\s{0,3}>/.test(text) };
}

/**
 * Where a line or the few lines of "On …, … wrote:" end that begin at `at`: the index after them, or null if none begins
 * there. Mail programs wrap it over two to four lines.
 */
export function endOfAnnouncement(lines: readonly MailLine[], at: number): number | null {
  let joined = '';
  for (let count = 1; count <= LINES_OF_A_HEADER; count++) {
    const line = lines[at + count - 1];
    if (line === undefined || line.folded === '' || line.quoted) return null;
    joined = joined === '' ? line.folded : `${joined} ${line.folded}`;
    if (joined.length > LONGEST_HEADER) return null;
    if (announces(joined, count, lines[at]?.folded ?? '', quoteComes(lines, at + count))) {
      return laterStart(lines, at, count) ? null : at + count;
    }
  }
  return null;
}

/** The whole of another message begins at this line: its header block, or a line that says so. */
export function beginsOtherMessage(lines: readonly MailLine[], at: number): boolean {
  const line = lines[at];
  if (line === undefined || line.folded === '') return false;
  const bare = line.folded.replace(/^[-_=*#~ >]+|[-_=*#~: ]+$/g, '');
  if (ORIGINALS.has(bare)) {
    const decorated = /^[-_=*#~]{2}/.test(line.folded) || line.folded.endsWith(':');
    return decorated || isHeaderBlock(lines, at + 1, 2);
  }
  if (ORIGINAL_START.test(line.folded) || FLATTENED.test(line.folded) || isFlattenedQuote(line.folded)) return true;
  if (/^[_-]{8,}$/.test(line.folded)) return isHeaderBlock(lines, nextFilled(lines, at + 1), 2);
  return isHeaderBlock(lines, at, 3);
}

/** The whole mail was made one line: "On 3 Jul 2025, Ana <ana@…> wrote: Hello …". */
function isFlattenedQuote(folded: string): boolean {
  return ANCHORED.test(folded) && VERB_THEN_TEXT.test(folded.slice(0, 300));
}

/** The next line with something on it is a quoted one. */
export function quoteComes(lines: readonly MailLine[], at: number): boolean {
  return lines[nextFilled(lines, at)]?.quoted ?? false;
}

function announces(joined: string, count: number, firstLine: string, quoteFollows: boolean): boolean {
  const bare = joined.replace(/^[-–—_=* ]{2,}|[-–—_=* ]{2,}$/g, '');
  const decorated = bare.length < joined.length;
  const colon = /[:：] ?$/.test(bare);
  if (!colon && !decorated) return false;
  const said = bare.replace(/[ :：]+$/, '');
  const verb = ENDS_WITH_VERB.test(said) || VERB_THEN_NAME.test(said);
  if (ANCHORED.test(said)) return verb || (colon && ADDRESS.test(said));
  // Without a word that announces, only one line or two: or else lines of the answer itself are taken for it.
  if (count > 2 || !colon) return false;
  if (verb && ADDRESS.test(said)) return count === 1 || NAME_AND_ADDRESS.test(firstLine);
  if (count > 1) return false;
  if (verb && ENDS_WITH_VERB.test(said) && quoteFollows && said.length < 80) return true;
  if (verb && DATE.test(said) && (CLOCK.test(said) || quoteFollows)) return true;
  return ADDRESS.test(said) && CLOCK.test(said) && DATE.test(said);
}

/** What was found to begin at `at` really begins on a later line of it. */
function laterStart(lines: readonly MailLine[], at: number, count: number): boolean {
  for (let skipped = 1; skipped < count; skipped++) {
    const rest = lines
      .slice(at + skipped, at + count)
      .map((line) => line.folded)
      .join(' ');
    if (ANCHORED.test(rest) && announces(rest, count - skipped, lines[at + skipped]?.folded ?? '', false)) return true;
  }
  return false;
}

function isHeaderBlock(lines: readonly MailLine[], at: number, atLeast: number): boolean {
  const first = groupOf(lines[at]);
  if (first === null || first === 'other') return false;
  const groups = new Set([first]);
  let others = 0;
  for (let index = at + 1; index < at + 12 && others <= 3; index++) {
    const line = lines[index];
    if (line === undefined) break;
    if (line.folded === '') continue;
    const group = groupOf(line);
    if (group === null) others++;
    else groups.add(group);
  }
  return groups.size >= atLeast;
}

function groupOf(line: MailLine | undefined): string | null {
  if (line === undefined || !line.folded.includes(':')) return null;
  return LABEL_GROUPS.find(([, label]) => label.test(line.folded))?.[0] ?? null;
}

function nextFilled(lines: readonly MailLine[], at: number): number {
  let index = at;
  while (index < lines.length && index < at + 5 && lines[index]?.folded === '') index++;
  return index;
}

function alternatives(words: readonly string[]): string {
  return [...words]
    .sort(LONGER_FIRST)
    .map((word) => fold(word).replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('|');
}
