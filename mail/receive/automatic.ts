import { languageOf } from './language';
import { type NewText, readNewText } from './new-text';
import { allLanguages, compileBeginnings, compilePhrases, plainWords, type Sentence, sentencesOf } from './phrases';
import { header, type ReceivedMessage } from './received';
import { returnDate } from './return-date';
import { isAnswerSubject } from './thread';
import { wishesIn } from './wishes';
import {
  ABSENT,
  ABSENT_SUBJECT,
  AUTOMATIC_HEADERS,
  AUTOMATIC_SUBJECT,
  CALLS_ITSELF_AUTOMATIC,
  INSTEAD,
  LEFT,
  ROLE_MAILBOXES,
  THANKS_FOR_MAIL,
  TICKET,
  TICKET_HEADERS,
  TICKET_SUBJECT,
} from './words/automatic';
import { INTENT } from './words/people';

/** What speaks for a machine having answered. */
export interface AutomaticFinding {
  /** `left`: nobody reads the address any more; `ticket`: received, people will look at it. */
  subtype: 'vacation' | 'ticket' | 'left' | null;
  /** First day back, `YYYY-MM-DD`, of an absence. */
  returnDate: string | null;
  /** 0 to 1. From `AUTOMATIC_FROM` on it is an automatic answer; below, a person may have written it. */
  confidence: number;
  evidence: string[];
}

/** From this confidence on a message is an automatic answer. */
export const AUTOMATIC_FROM = 0.6;
/** Below this a person is the likelier writer. */
const WORTH_A_DOUBT = 0.5;
/** Headers that a person's mail may carry too weigh no more than this. */
const LITTLE = 0.15;
const SENTENCES_AT_MOST = 60;
/** Responders are brief. */
const WORDS_OF_A_LONG_TEXT = 350;

const find = {
  automaticSubject: compileBeginnings(allLanguages(AUTOMATIC_SUBJECT)),
  automaticInSubject: compilePhrases(
    allLanguages(AUTOMATIC_SUBJECT).filter((phrase) => phrase.includes(' ') || phrase.length > 9),
  ),
  absentSubject: compilePhrases(allLanguages(ABSENT_SUBJECT)),
  ticketSubject: compilePhrases(allLanguages(TICKET_SUBJECT)),
  callsItselfAutomatic: compilePhrases(allLanguages(CALLS_ITSELF_AUTOMATIC)),
  absent: compilePhrases(allLanguages(ABSENT)),
  instead: compilePhrases(allLanguages(INSTEAD)),
  thanks: compilePhrases(allLanguages(THANKS_FOR_MAIL)),
  ticket: compilePhrases(allLanguages(TICKET)),
  left: compilePhrases(allLanguages(LEFT)),
  intent: compilePhrases(allLanguages(INTENT)),
};
const TICKET_NUMBER =
  /\[(?:[a-z -]{0,20}[#:] ?)?[a-z]{0,6}-?\d{3,}\]|\[[^\]]{1,40}#\s?[a-z0-9-]{3,}\]|\b(?:ticket|tiquet|case|caso|cas|incidencia|vorgang|protocolo|anfrage|solicitud|request|ref)\b[^\n]{0,12}(?:#|:|nº|n°|nr\.?|no\.?|id)\s{0,2}[a-z]{0,6}-?\d{3,}|##\s?\d{3,}\s?##|\(case \d{3,}\)/i;
/** The number that an acknowledgement gives, in folded words: "ticketnummer 4711", "sous le numero 4711", "n o do pedido 4711". */
const NUMBER_GIVEN =
  /(?:ticket|tiquet|inciden(?:cia|t)|vorgang|protocolo|pedido|solicitud|request|case|caso|dossier|richiesta|pratica|num(?:ber|mer|ero))[a-z]*(?: [a-z]{1,6}){0,2} [a-z]{0,4} ?\d{4,}/;
const PERSONAL_MAILERS =
  /iphone mail|ipad mail|apple mail|thunderbird|k-9 mail|aquamail|spark|android|evolution|airmail|mutt|bluemail/i;
const RESPONDERS = /vacation|auto-?\s?respon|auto-?reply|out-?of-?office|abwesen|autoresponder|gefilter/i;

interface Scale {
  score: number;
  evidence: string[];
}

/**
 * Judges whether a machine has answered: a score over headers (RFC 3834 and what programs use instead), subject and words of
 * the new text, against what only people do: ask, want, answer from a telephone. Null when a person wrote, as far as can be
 * seen. Delivery reports and mailing lists carry some of the same headers: they are to be told apart before.
 */
export function judgeAutomatic(message: ReceivedMessage): AutomaticFinding | null {
  if (message.parts.some(isPersonsPart)) return null;
  const own = readNewText(message);
  const sentences = sentencesOf(own.text).slice(0, SENTENCES_AT_MOST);
  const scale: Scale = { score: 0, evidence: [] };
  const certain = weighHeaders(message, scale);
  const subject = weighSubject(message, scale);
  if (!certain && scale.score <= LITTLE && isAnswerSubject(message.subject)) {
    weigh(scale, -0.2, 'neither headers nor subject are those of a responder');
  }
  const words = weighWords(sentences, scale);
  const back = returnDateOf(message, own.text);
  if (back !== null && (words.absent || subject.absent)) weigh(scale, 0.15, 'names the first day back');
  if (!certain) weighAgainst(message, own, sentences, scale);
  const confidence = certain ? 0.97 : Math.min(0.95, Math.round(scale.score * 100) / 100);
  if (confidence < WORTH_A_DOUBT) return null;
  const subtype = subtypeOf(subject, words, back !== null);
  return { subtype, returnDate: subtype === 'vacation' ? back : null, confidence, evidence: scale.evidence };
}

/** An emoji reaction, or an answer to an invitation: sent by a program, meant by a person. */
function isPersonsPart({ embedded, contentType, parameters }: ReceivedMessage['parts'][number]): boolean {
  if (embedded) return false;
  if (contentType === 'text/vnd.google.email-reaction+json') return true;
  return contentType === 'text/calendar' && parameters.method?.toLowerCase() === 'reply';
}

/** @returns whether the headers alone settle it */
function weighHeaders(message: ReceivedMessage, scale: Scale): boolean {
  const value = (name: string) => header(message, name)?.trim().toLowerCase() ?? '';
  const isSet = (name: string) => message.headers.has(name) && !/^(?:no|false|0|none)?$/.test(value(name));
  let certain = false;
  const settles = (holds: boolean, what: string) => {
    if (!holds) return;
    certain = true;
    scale.evidence.push(what);
  };
  const submitted = value('auto-submitted');
  settles(/^auto-replied|^auto[ -]?reply|vacation/.test(submitted), 'Auto-Submitted says auto-replied');
  for (const name of AUTOMATIC_HEADERS) settles(isSet(name), `header ${name}`);
  settles(/^auto[_-]?reply/.test(value('precedence')), 'Precedence is auto_reply');
  settles(/auto-?respond/.test(value('delivered-to')), 'Delivered-To names a responder');
  settles(/^(?:reply|auto-?reply|vacation)/.test(value('x-autogenerated')), 'X-Autogenerated says reply');
  settles(RESPONDERS.test(value('x-mailer')) || RESPONDERS.test(value('user-agent')), 'sent by a responder');
  const isList = message.headers.has('list-unsubscribe') || message.headers.has('list-id');
  const generated = submitted !== '' && submitted !== 'no' && !certain;
  weigh(scale, generated ? (isList ? 0.15 : 0.5) : 0, 'Auto-Submitted is not "no"');
  weigh(scale, isSet('x-autogenerated') && !certain ? 0.5 : 0, 'header x-autogenerated');
  weigh(scale, value('return-path') === '<>' ? 0.35 : 0, 'empty Return-Path');
  weigh(scale, isSet('x-ms-exchange-inbox-rules-loop') ? 0.35 : 0, 'header x-ms-exchange-inbox-rules-loop');
  weigh(
    scale,
    /mailbox rules agent/.test(value('x-ms-exchange-generated-message-source')) ? 0.5 : 0,
    'made by a mailbox rule',
  );
  // Exchange puts it on its people's own mail as well.
  weigh(
    scale,
    /all|autoreply|oof/.test(value('x-auto-response-suppress')) ? 0.1 : 0,
    'header x-auto-response-suppress',
  );
  weigh(scale, /^(?:bulk|junk)/.test(value('precedence')) && !isList ? 0.2 : 0, 'Precedence is bulk or junk');
  weigh(
    scale,
    TICKET_HEADERS.some((name) => message.headers.has(name)) ||
      /zendesk|freshdesk|otrs|request tracker|jira|helpscout|zammad|osticket/.test(value('x-mailer'))
      ? 0.25
      : 0,
    'sent by a ticket system',
  );
  const mailbox = message.from?.address.split('@')[0]?.toLowerCase() ?? '';
  weigh(scale, ROLE_MAILBOXES.test(mailbox) ? 0.25 : 0, 'sent from a mailbox that nobody reads');
  weigh(scale, isList && !certain ? -0.3 : 0, 'sent to a list');
  return certain;
}

interface SubjectFinding {
  absent: boolean;
  ticket: boolean;
}

function weighSubject(message: ReceivedMessage, scale: Scale): SubjectFinding {
  const subject = message.subject.slice(0, 300);
  const words = plainWords(subject);
  const isAnswer = isAnswerSubject(subject);
  const automatic = find.automaticSubject(words);
  const inside = find.automaticInSubject(words);
  const absent = find.absentSubject(words);
  const ticket = find.ticketSubject(words) !== null || TICKET_NUMBER.test(subject);
  // "Automático" alone may begin a subject about a machine; a colon or nothing follows what a responder puts there.
  const isPrefix =
    automatic !== null &&
    (automatic.includes(' ') || automatic.length > 10 || /^\s*\S+\s*[:)\]-]/.test(subject) || words === automatic);
  if (isPrefix) weigh(scale, 0.75, `subject begins with "${automatic}"`);
  else if (inside !== null) weigh(scale, isAnswer ? 0.3 : 0.6, `subject says "${inside}"`);
  else if (absent !== null)
    weigh(scale, isAnswer ? 0.2 : words.startsWith(absent) ? 0.5 : 0.35, `subject says "${absent}"`);
  else if (ticket) weigh(scale, 0.3, 'subject of an acknowledgement');
  return { absent: absent !== null, ticket };
}

interface WordsFinding {
  absent: boolean;
  ticket: boolean;
  left: boolean;
}

function weighWords(sentences: readonly Sentence[], scale: Scale): WordsFinding {
  const first = (finder: (words: string) => string | null) => {
    for (const { words } of sentences) {
      const phrase = finder(words);
      if (phrase !== null) return phrase;
    }
    return null;
  };
  const count = (finder: (words: string) => string | null) =>
    sentences.filter(({ words }) => finder(words) !== null).length;
  const say = (phrase: string | null, weight: number, what: string) => {
    if (phrase !== null) weigh(scale, weight, `${what}: "${phrase}"`);
    return phrase !== null;
  };
  say(first(find.callsItselfAutomatic), 0.55, 'calls itself automatic');
  const left = say(first(find.left), 0.45, 'nobody is there any more');
  const saysAbsent = first(find.absent);
  const absent = say(saysAbsent, left ? 0 : 0.4, 'tells of an absence');
  const turn = first(find.instead);
  const instead = say(
    turn === saysAbsent ? null : turn,
    absent || left ? 0.25 : 0.1,
    'tells whom to turn to, or when an answer comes',
  );
  say(first(find.thanks), 0.15, 'thanks for the message');
  if ((left || absent) && sentences.some(({ words }) => / ?xaddress/.test(words))) {
    weigh(scale, left ? 0.3 : 0.15, 'names another address');
  }
  const tickets = count(find.ticket);
  if (tickets > 0 && !absent && !left) weigh(scale, tickets > 1 ? 0.45 : 0.25, 'acknowledges receipt');
  if (tickets > 0 && !absent && !left && sentences.some(({ words }) => NUMBER_GIVEN.test(words))) {
    weigh(scale, 0.3, 'gives a number');
  }
  if (absent && instead && count(find.absent) > 1) weigh(scale, 0.1, 'says so more than once');
  return { absent, left, ticket: tickets > 0 };
}

/** What speaks for a person. */
function weighAgainst(message: ReceivedMessage, own: NewText, sentences: readonly Sentence[], scale: Scale): void {
  const asks = sentences.filter(({ question, words }) => question && words.split(' ').length > 2).length;
  weigh(scale, asks > 0 ? -0.35 : 0, 'asks a question');
  // "Bei Fragen können Sie … anrufen" tells whom to turn to, and asks for nothing.
  const intent = sentences
    .map(({ words }) => (find.instead(words) === null ? find.intent(words) : null))
    .find((phrase) => phrase !== null);
  weigh(scale, intent ? -0.4 : 0, `says "${intent}"`);
  weigh(scale, own.sentFrom ? -0.3 : 0, 'was sent from a telephone');
  weigh(scale, own.quotes && isAnswerSubject(message.subject) ? -0.2 : 0, 'answers with a quote');
  const program = `${header(message, 'x-mailer') ?? ''} ${header(message, 'user-agent') ?? ''}`;
  weigh(scale, PERSONAL_MAILERS.test(program) ? -0.2 : 0, 'was written with a mail program');
  weigh(scale, wishesIn(own.text).confidence > 0 ? -0.4 : 0, 'has a wish');
  const length = sentences.reduce((sum, { words }) => sum + words.split(' ').length, 0);
  weigh(scale, length > WORDS_OF_A_LONG_TEXT ? -0.2 : 0, 'is long');
}

function subtypeOf(subject: SubjectFinding, words: WordsFinding, hasDate: boolean): AutomaticFinding['subtype'] {
  if (words.left) return 'left';
  if (words.absent || (subject.absent && !words.ticket) || (hasDate && !words.ticket && !subject.ticket))
    return 'vacation';
  if (words.ticket || subject.ticket) return 'ticket';
  return null;
}

function returnDateOf(message: ReceivedMessage, text: string): string | null {
  if (message.date === null) return null;
  const language = languageOf(text) ?? undefined;
  // Where English of America and of elsewhere write 07/08 differently, the sender's zone tells.
  const american =
    language === 'en' &&
    /[-+]0?[4-9]00|[-+]10?00|\b[ECMP][SD]T\b/.test(header(message, 'date')?.replace(/\+\d{4}/, '') ?? '');
  return (
    returnDate(text, message.date, american ? 'en-US' : language) ?? returnDate(message.subject, message.date, language)
  );
}

function weigh(scale: Scale, weight: number, what: string): void {
  if (weight === 0) return;
  scale.score += weight;
  scale.evidence.push(weight > 0 ? what : `but ${what}`);
}
