import type { ReceivedMessage } from './received';

/** What mail programs put before the subject of an answer or a forward, in the languages of the shops. */
const ANSWERS =
  /^\s*(?:\[[^\]]{1,40}\]\s*)?(re|aw|antw|antwoord|sv|vs|rv|res|resp|rif|ref|r|odp|ynt|atb|fw|fwd|wg|tr|enc|doorst|i|rép|reenv|reenviado|wtrlt|rsp|reply)\s*(\[\d+\])?\s*[:：]/i;
/** Is this the subject of an answer or a forward? */
export function isAnswerSubject(subject: string): boolean {
  return ANSWERS.test(subject);
}

const QUOTES =
  /^[ \t]*>|^-{2,}[^\n]{0,40}(original|urspr|message|mensaje|messaggio|mensagem|nachricht|bericht|missatge)[^\n]{0,40}-{2,}|^_{10,}$|\b(wrote|escribi[oó]|schrieb|a écrit|ha scritto|escreveu|va escriure|schreef)\b[^\n]{0,200}[:：]?[ \t]*$|^(from|de|von|da|van)\s*:[^\n]*(<[^\n]*@|@)/im;

/** Answers a mail: In-Reply-To or References, or the subject of an answer together with a quote (mail programs that lose both). */
export function inThread(message: ReceivedMessage): boolean {
  if (message.references.length > 0) return true;
  if (!isAnswerSubject(message.subject)) return false;
  return QUOTES.test(message.text) || /<blockquote|gmail_quote|divRplyFwdMsg|OLK_SRC_BODY/i.test(message.html ?? '');
}

const REACTED =
  /^.{0,120}(reacted to your message|reacted via gmail|ha reaccionado (a|al) (tu|su) mensaje|reaccionó (a|al) (tu|su) mensaje|hat auf (ihre|deine) nachricht reagiert|a réagi à (votre|ton) message|ha reagito al (tuo|suo) messaggio|reagiu à (sua|tua) mensagem|heeft (op (uw|je) bericht gereageerd|gereageerd op (uw|je) bericht)|ha reaccionat al (teu|seu) missatge|reaccionó a través de gmail)/is;

/** A reaction with an emoji, or the answer to an invitation: a person pressed a button. */
export function reactionOrCalendar(
  message: ReceivedMessage,
): { subtype: 'reaction' | 'calendar'; confidence: number; evidence: string[] } | null {
  const own = message.parts.filter((part) => !part.embedded);
  if (own.some((part) => part.contentType === 'text/vnd.google.email-reaction+json')) {
    return { subtype: 'reaction', confidence: 0.98, evidence: ["Gmail's emoji reaction"] };
  }
  const calendar = own.find((part) => part.contentType === 'text/calendar');
  if (calendar !== undefined) {
    const method = calendar.parameters.method ?? /^METHOD:(\w+)/im.exec(calendar.text)?.[1] ?? '';
    if (/^(reply|counter|declinecounter|refresh)$/i.test(method)) {
      return {
        subtype: 'calendar',
        confidence: 0.95,
        evidence: [`calendar answer (RFC 5546): ${method.toLowerCase()}`],
      };
    }
  }
  if (REACTED.test(message.text.trim().slice(0, 400))) {
    return { subtype: 'reaction', confidence: 0.9, evidence: ['words of a reaction'] };
  }
  return null;
}
