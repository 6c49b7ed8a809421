import { type AnswerPhase, type Judgement, judgeAnswer } from '../answers';

/** What a server answered, without its text. */
export interface Refusal {
  phase: AnswerPhase;
  /** Reply code, null where there was no answer or we refused on the server's behalf. */
  code: number | null;
  /** Enhanced status code (RFC 3463) or null. */
  enhanced: string | null;
  judgement: Judgement;
}

/**
 * No SMTP session could be had. The message holds codes only, such as `smtp auth 535 5.7.8` or `smtp connect ECONNREFUSED`:
 * a server's text can quote an address, and error messages travel far.
 */
export class SmtpRefusal extends Error implements Refusal {
  override readonly name = 'SmtpRefusal';
  readonly phase: AnswerPhase;
  readonly code: number | null;
  readonly enhanced: string | null;
  readonly judgement: Judgement;

  constructor(refusal: Refusal, reason: string | null) {
    super(['smtp', refusal.phase, refusal.code, refusal.enhanced, reason].filter((part) => part !== null).join(' '));
    this.phase = refusal.phase;
    this.code = refusal.code;
    this.enhanced = refusal.enhanced;
    this.judgement = refusal.judgement;
  }
}

/** The parts of an SMTP answer, multi-line answers included (RFC 5321 section 4.2.1). */
export interface ParsedAnswer {
  code: number;
  enhanced: string | null;
  text: string;
}

/** Takes an answer apart; null when it doesn't begin with a reply code. */
export function parseAnswer(response: string): ParsedAnswer | null {
  const code = /^([2-5]\d\d)(?:[ -]|$)/.exec(response)?.[1];
  if (code === undefined) return null;
  const lines = response.split(/\r?\n/).map((line) => line.replace(/^\d{3}[ -]?/, ''));
  const enhanced = /^([245]\.\d{1,3}\.\d{1,3})(?=\s|$)/.exec(lines[0] ?? '')?.[1] ?? null;
  const text = lines.map((line) => (enhanced && line.startsWith(enhanced) ? line.slice(enhanced.length).trim() : line));
  return { code: Number(code), enhanced, text: text.join(' ').trim() };
}

/** A refusal made of the server's answer, or of its silence when there is none. */
export function refusalOf(phase: AnswerPhase, answer: ParsedAnswer | null): Refusal {
  const { code, enhanced, text } = answer ?? { code: null, enhanced: null, text: '' };
  return { phase, code, enhanced, judgement: judgeAnswer({ phase, code, enhanced, text }) };
}
