import { allLanguages, compileBeginnings, compilePhrases, plainWords } from './phrases';
import { beginsOtherMessage, endOfAnnouncement, type MailLine, mailLine, quoteComes } from './quote-lines';
import { CUT, markedText, QUOTE_FOLLOWS } from './quoting-html';
import type { ReceivedMessage } from './received';
import { LEGAL_STARTS, SENT_FROM, WAY_OUT } from './words/signatures';
import { I_ASK } from './words/wishes';

/** What of a message its sender has newly written, and what was found around it. */
export interface NewText {
  text: string;
  /** Something was quoted, or another message stood below. */
  quotes: boolean;
  /** "Sent from my telephone" or alike stood there: people send that, machines don't. */
  sentFrom: boolean;
}

const READ_AT_MOST = 200_000;
const LINES_AT_MOST = 10_000;
const LONGEST_SENT_FROM = 120;
/** A signature under a line that is not the agreed `-- ` is no longer than this. */
const LINES_OF_A_SIGNATURE = 12;

const sentFromPhrase = compileBeginnings(allLanguages(SENT_FROM));
const legalPhrase = compileBeginnings(allLanguages(LEGAL_STARTS));
const wayOutPhrase = compilePhrases(allLanguages(WAY_OUT));
const iAsk = compilePhrases(allLanguages(I_ASK));

/** What a person has newly written: no quotes, no forwarded message, no signature, no legal footer. Empty when nothing is. */
export function newText(message: ReceivedMessage): string {
  return readNewText(message).text;
}

/**
 * The new text of a message with what was found around it. The plain text part decides; the HTML where there is none, or
 * where it marks a quote that the plain text doesn't. Time is in proportion to the input, of which 200,000 characters are read.
 */
export function readNewText(message: ReceivedMessage): NewText {
  const plain = hasPlainText(message) ? newTextOf(message.text) : null;
  if (message.html === null || plain?.quotes) return plain ?? newTextOf(message.text);
  const fromHtml = newTextOf(markedText(message.html));
  if (plain === null) return fromHtml;
  return fromHtml.quotes && fromHtml.text.length < plain.text.length ? fromHtml : plain;
}

function newTextOf(text: string): NewText {
  const lines = text
    .slice(0, READ_AT_MOST)
    .split(/\r\n|\r|\n/, LINES_AT_MOST)
    .map(mailLine);
  const own = withoutQuotes(lines);
  const signed = withoutSignature(own.lines);
  const unadorned = withoutAdornments(signed);
  const kept = withoutLegalFooter(unadorned.lines);
  return { text: tidy(kept), quotes: own.quotes, sentFrom: unadorned.sentFrom };
}

function hasPlainText(message: ReceivedMessage): boolean {
  return message.parts.some(
    (part) => !part.embedded && part.contentType === 'text/plain' && part.filename === null && part.text.trim() !== '',
  );
}

function withoutQuotes(lines: readonly MailLine[]): { lines: MailLine[]; quotes: boolean } {
  const kept: MailLine[] = [];
  let quotes = false;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as MailLine;
    if (line.quoted) {
      quotes = true;
      continue;
    }
    if (line.text.includes(CUT) || beginsOtherMessage(lines, at)) return { lines: kept, quotes: true };
    const end = line.text.includes(QUOTE_FOLLOWS) ? at + 1 : endOfAnnouncement(lines, at);
    if (end !== null) {
      quotes = true;
      // Without marks the rest can't be told from the quote; with marks answers may stand between them.
      if (!quoteComes(lines, end)) break;
      at = end - 1;
      continue;
    }
    kept.push(line);
  }
  return { lines: kept, quotes };
}

function withoutSignature(lines: MailLine[]): MailLine[] {
  let written = false;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as MailLine;
    if (written && /^(?:--|—|––|__{1,}|==+|\*\*+|-{3,}) ?$/.test(line.folded)) {
      const below = lines.slice(at + 1).filter(({ folded }) => folded !== '').length;
      if (line.folded === '--' || below <= LINES_OF_A_SIGNATURE) return lines.slice(0, at);
    }
    written ||= /[\p{L}\p{N}]/u.test(line.text);
  }
  return lines;
}

/** Without the lines that programs add: "sent from", images, links to leave a list. */
function withoutAdornments(lines: readonly MailLine[]): { lines: MailLine[]; sentFrom: boolean } {
  const kept: MailLine[] = [];
  let sentFrom = false;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as MailLine;
    if (isSentFrom(line)) {
      sentFrom = true;
    } else if (
      !/^\[(?:image|imagen|bild|cid|inline|immagine|imagem|imatge|afbeelding)\b[^\]]*\]$/.test(line.folded) &&
      !isWayOut(line, lines[at + 1])
    ) {
      kept.push(line);
    }
  }
  return { lines: kept, sentFrom };
}

function isSentFrom(line: MailLine): boolean {
  if (line.folded.length > LONGEST_SENT_FROM || line.folded === '') return false;
  return sentFromPhrase(plainWords(line.text)) !== null;
}

function isWayOut(line: MailLine, next: MailLine | undefined): boolean {
  const isLink = (folded: string) => /https?:\/\/|\bwww\./.test(folded);
  const linked = isLink(line.folded) || (next !== undefined && /^[<[(]?(?:https?:\/\/|www\.)\S+$/.test(next.folded));
  const listed = /\s[·|•]\s/.test(line.text.slice(0, 300));
  return (linked || listed) && wayOutPhrase(plainWords(line.text.slice(0, 500))) !== null;
}

/** Ends at the first paragraph that begins as legal footers do; one at the very top is left out and the rest is read. */
function withoutLegalFooter(lines: readonly MailLine[]): MailLine[] {
  const kept: MailLine[] = [];
  let written = false;
  let skipping = false;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as MailLine;
    if (line.folded === '') skipping = false;
    if (skipping) continue;
    if (isLegalStart(lines, at)) {
      if (written) return kept;
      skipping = true;
      continue;
    }
    written ||= /\p{L}/u.test(line.text);
    kept.push(line);
  }
  return kept;
}

function isLegalStart(lines: readonly MailLine[], at: number): boolean {
  const line = lines[at] as MailLine;
  if (line.folded === '' || (lines[at - 1]?.folded ?? '').length > 60) return false;
  const found = legalPhrase(wordsFrom(lines, at, 3));
  if (found === null) return false;
  // A heading of one word stands alone or before a colon; in a sentence it is a word as any other.
  if (!found.includes(' ') && !/^[*_ ]{0,3}[^\s:.]+[*_ ]{0,3}(?:$|[:.!-])/.test(line.folded)) return false;
  const paragraph = wordsFrom(lines, at, 8);
  // A person who cites the law to ask for something is no footer, nor is what calls itself automatic.
  return iAsk(paragraph) === null && !/\bautomat/.test(paragraph);
}

/** The words of a few lines, of each its beginning. */
function wordsFrom(lines: readonly MailLine[], at: number, count: number): string {
  const text = lines.slice(at, at + count).map((line) => line.text.slice(0, 300));
  return plainWords(text.join(' '));
}

function tidy(lines: readonly MailLine[]): string {
  const texts = lines.map(({ text }) => text.replaceAll(CUT, '').replaceAll(QUOTE_FOLLOWS, '').trimEnd());
  // Rules between the answer and what was cut off are part of neither.
  while (texts.length > 0 && /^[-_=*~\s]*$/.test(texts.at(-1) as string)) texts.pop();
  return texts
    .filter((text, index) => text !== '' || (index > 0 && texts[index - 1] !== ''))
    .join('\n')
    .trim();
}
