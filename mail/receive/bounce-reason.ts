import type { BounceFinding } from '../../domain/inbound';
import { type Judgement, judgeAnswer } from '../answers';

/** Why it bounced, without the address. */
export type BounceReason = Pick<BounceFinding, 'severity' | 'cause' | 'code' | 'codeFrom'> & { rule: string };

interface Known {
  rule: string;
  cause: BounceFinding['cause'];
  hard?: true;
  /** Final even under a 4.x.x: the domain name system itself says so, and there is nothing to wait for. */
  final?: true;
  /** Enhanced status code (RFC 3463) that says the same. */
  code: string;
  text: RegExp;
}

/**
 * What mail systems write in place of a code, in the languages in which they do. First hit wins; what could contradict a
 * hard verdict stands first.
 */
const KNOWN: readonly Known[] = [
  {
    rule: 'virus',
    cause: 'content',
    code: '5.7.0',
    text: /virus(es)? (was |were |has been )?(found|detected|infect)|infected (file|attachment|message|with)|contain(s|ed|ing) (a )?(virus|malware|worm|prohibited)|virenbefall|virus (encontrado|detectado|trouv|détect|rilevato|gevonden)|banned (file|attachment|name)|malware|quarantin|cuarentena|quarant[aä]ne|prohibited (file|attachment)|blocked attachment|attachment[^.\n]{0,60}(violat|not (allowed|permitted)|forbidden|prohibited|stripped)/,
  },
  {
    rule: 'mailbox-full',
    cause: 'mailbox',
    code: '5.2.2',
    text: /(mail ?box|inbox|user|account)[^.\n]{0,20} exceed|(mail ?box|inbox|mail ?folder|account|user|recipient|store|maildir)[^.\n]{0,40}\b(is |was |has been )?(full|over ?(the )?(its )?(allowed )?(disk )?quota|over (the |its )?(allowed |size )?limit|out of (disk )?space)|(over|exceed\w*|insufficient|out of|reached)[^.\n]{0,40}(quota|storage|disk ?space|mailbox size)|quota[^.\n]{0,30}(exceed|violat|full|usage|superad|d[eé]pass|überschritten|ueberschritten|superat)|(disk|user|mail|domain|maildir) ?(disk)?quota|full mailbox|not enough (storage|disk)? ?space|space has been used up|would (be over|exceed)|too many messages on the server|storage allocation|buz[oó]n[^.\n]{0,40}(lleno|completo|excedid)|llen[oa]\b|cuota[^.\n]{0,20}(excedid|superad)|bo[iî]te[^.\n]{0,60}(pleine|satur)|quota d[eé]pass|(postfach|mailbox|speicherplatz)[^.\n]{0,60}(voll|überschritten|ueberschritten|erschöpft|erreicht)|(casella|mailbox)[^.\n]{0,40}(piena|superat)|caixa[^.\n]{0,60}(cheia|lotada|excedeu)|b[uú]stia[^.\n]{0,40}plena|(postvak|mailbox|postbus)[^.\n]{0,40}\bvol\b|mail (file|box) size exceeds|容量|いっぱい|満杯|переполнен/,
  },
  {
    rule: 'too-big',
    cause: 'content',
    code: '5.3.4',
    text: /(message|mail|nachricht|mensaje|messaggio|bericht)('s)? (size )?(is |was |ist |era )?(too (big|large|long)|zu gro(ss|ß)|demasiado grande|troppo grande|te groot)|exceed(s|ed|ing)? .{0,60}(\bsize\b|message limit)|maximum (message )?size|size (limit )?(exceed|too)|tama[ñn]o m[aá]ximo|taille maximale|maximale gr(ö|oe)(ss|ß)e|dimensione massima|trop (volumineux|gros)/,
  },
  {
    rule: 'spam',
    cause: 'content',
    code: '5.7.0',
    text: /\bspam\b|unsolicited|bulk e?-?mail|junk ?mail|\bspamming\b/,
  },
  {
    rule: 'blocked',
    cause: 'policy',
    code: '5.7.1',
    text: /spamhaus|spamcop|\bblock(ed|list)|lista negra|liste noire|schwarze liste|(client|dynamic|your|from) ip\b|open proxy|relay host|mass mail|captcha|go away|administrative(ly)? prohibit|organi[sz]ational settings|no access from|smtp server of your isp|requires? confirmation|confirm this mail server|(resolve|reverse)[^.\n]{0,12} your (address|host)|rule imposed|refuse to receive|e-?mails? per (hour|day|minute)|(hourly|daily) (limit|quota)|black ?list|reputation|\b(dns|r)[bw]l\b|\bpolic(y|ies)\b|\bspf\b|dmarc|dkim|permission to (post|send)|not (allowed|authori[sz]ed|permitted) to (send|post)|access denied|relay(ing)? (denied|not)|not relay|only accepts? (mail|messages)|(not|n't) accept(ing)? (any )?(e-?mail|mail|messages?) from|restricted|restringid|richtlinie|política|abgelehnt|sender (address )?(rejected|denied)|authentication required|undesirable/,
  },
  {
    rule: 'shut-for-now',
    cause: 'mailbox',
    code: '4.2.1',
    text: /temporar(il)?y (locked|inactive|suspended|disabled)/,
  },
  {
    rule: 'no-such-domain',
    cause: 'address',
    hard: true,
    final: true,
    code: '5.1.2',
    text: /nxdomain|domain ?nonexistent/,
  },
  {
    rule: 'loop-or-timeout',
    cause: 'network',
    code: '5.4.0',
    text: /too many (hops|received|redirect)|(mail|routing|forwarding|delivery) (is )?loop|loops? back|hop ?count|maximum hops|timed? ?out|timeout|(message|time|queue|delivery)[^.\n]{0,20} expired|not been collected|allowed queue period|initiate (an? )?(smtp )?(conversation|connection)|lost connection|tls is required|retry time(out)?|time ?limit|too (old|long in (the )?queue)|connection (was )?(refused|reset|lost|dropped|closed|timed)|(could ?n[o']t|could not|unable to|can'?t|cannot|failed to) (contact|connect|establish|reach|make (a )?connection|open connection)|no route to|network (is )?unreachable|host (is )?(unreachable|down|not responding)|(server|host)[^.\n]{0,30}(not (available|responding|respond)|unavailable|did not respond|down)|not (respond|answer)|has been in (the )?queue|try again|name service error|(undelivered|in (the )?queue|trying|retried|attempt(s|ed)?)[^.\n]{0,40}(days?|hours?)|exceeded (the )?((max|number|retry)[^.\n]{0,40}(tr(y|ies)|attempts?|hops|time|retr(y|ies))|delivery)|failed (after )?\d+ attempts|keine verbindung|zeit(ü|ue)berschreitung|tiempo (de espera|l[ií]mite)|d[eé]lai|nicht erreichbar|connection (failed|error)|lookup fail|dns (error|failure|timeout)|temporar/,
  },
  {
    rule: 'unknown-domain',
    cause: 'address',
    hard: true,
    code: '5.1.2',
    text: /unroute?able mail domain|(host|domain)( name)?[^.:\n]{0,40}(unknown|not found|does ?n[o']t exist|does not exist|non-?existent|invalid|lookup fail)|unknown (host|domain)|(no such|non-?existent|bad|invalid|illegal) (host|domain)|(could ?n[o']t|cannot|can'?t|unable to) (find|resolve|locate)[^.\n]{0,30}(host|domain|server|mx)|not appear to be (registered|valid)|mx record|name server: host not found|dominio[^.\n]{0,40}(no existe|desconocid|no encontrad|inesistente)|domaine[^.\n]{0,40}(inconnu|n'existe)|domain[^.\n]{0,30}(unbekannt|existiert nicht)|domein[^.\n]{0,30}bestaat niet/,
  },
  {
    rule: 'unknown-address',
    cause: 'address',
    hard: true,
    code: '5.1.1',
    text: /(user|recipient|mail ?box|address|account|alias|local ?part|person|inbox|name|mailaddress|e-?mail)[^.\n]{0,60}\b(unknown|not (be )?(known|found|exist|exists|recogni[sz]ed|active|valid|present|listed|local|ok)|was not found|invalid|disabled|suspended|inactive|deactivated|terminated|expired|closed|no longer|unavailable|unavaiable|not available|wrong|misspelled|incorrect|undeliverable|non-?existent|rejected|refused|do(es)? ?n[o']t exist|does not exist|couldn'?t be found|could not be found|doesn'?t have)|(unknown|no such|non-?existent|invalid|bad|inactive|undeliverable|incorrect|illegal|unroute?able|unresolvable|nonexistant|not our|no valid) (or \w+ )?(e-?mail )?(local |virtual |destination |recipient |mail )?(user|recipient|mail ?box|address|account|alias|person|here|customer|local)|(does ?n[o']t|doesn['’]t|does not|do not) (exist|have an? )|no (mail ?box|account|user|one|recipient)[^.\n]{0,30}(here|by that|found|name|at this|with)|not (a |an )?(known|valid|local|active|registered|listed)[^.\n]{0,20}(user|mail ?box|recipient|address|account|customer|in)|not listed in|no matches to nameserver|(can't|cannot|can not|not) accept user|rejected (the )?recipients?\b|not e-?mail addresses|home director|in name director(y|ies)|(deactivated|disabled|closed|suspended|inactive) (mail ?box|account|user|recipient)|envelope recipient has been denied|no matching|name conflict|could not be found|address(es)? (couldn'?t|could not)|no local mailbox|usuari[oa][^.\n]{0,30}(desconocid|no existe|inexistent|desconegut|no encontrad|inv[aá]lid)|(direcci[oó]n|cuenta|buz[oó]n|destinatari[oa]|usuari[oa])[^.\n]{0,60}(no (existe|se (ha |pudo |puede )?encontr|es v[aá]lid|v[aá]lid|fue encontrad)|desconocid|inexistente|err[oó]ne)|(no (existe|se (ha )?encontr))[^.\n]{0,60}(direcci|cuenta|buz[oó]n|destinatari|usuari|persona)|(utilisateur|destinataire|adresse|compte|bo[iî]te)[^.\n]{0,60}(inconnu|n['’ ]?existe|introuvable|invalide|non valide|n['’]a pas [eé]t[eé] trouv|d[eé]sactiv)|(benutzer|empf(ä|ae)nger|adresse|postfach|konto|mailbox|e-?mail-?adresse|mailadresse|teilnehmer)[^.\n]{0,60}(unbekannt|nicht (bekannt|gefunden|vorhanden|verf(ü|ue)gbar|g(ü|ue)ltig|existi|mehr|eingerichtet)|existiert nicht|ung(ü|ue)ltig|gesperrt|deaktiviert|gel(ö|oe)scht)|(utente|indirizzo|casella|destinatario|account)[^.\n]{0,60}(sconosciut|inesistente|non (esiste|trovat|valid|[eè] (stato )?(valid|trovat)|disponibile)|disabilitat)|(usu[aá]rio|endere[cç]o|caixa|conta|destinat[aá]rio)[^.\n]{0,60}(desconhecid|inexistente|inv[aá]lid|n[aã]o (existe|encontrad|foi (poss[ií]vel )?encontr|localizad))|(adre[cç]a|b[uú]stia|compte|usuari|destinatari)[^.\n]{0,60}(no (existeix|s['’]ha trobat|v[aà]lid)|desconegu)|(adres|gebruiker|ontvanger|mailbox|postbus|account)[^.\n]{0,60}(onbekend|niet (gevonden|gekend|bekend|geldig)|bestaat niet|ongeldig)|nessun utente|invalid final delivery user|no exact match|did not (exactly )?match|address not found|over(en)?komt met geen|adres[^.\n]{0,20} niet bestaat|リストにありません|存在しません|見つかりません|宛先不明|пользовател[^.\n]{0,40}не (найден|существует)/,
  },
  {
    rule: 'rejected',
    cause: 'policy',
    code: '5.7.0',
    text: /message (was |has been |is )?(rejected|refused|denied)|transaction failed|mail (was |is )?(rejected|refused)|rechazad|rejet|rifiutat|geweigerd|recusad|rebutja/,
  },
  {
    rule: 'host-trouble',
    cause: 'network',
    code: '5.4.0',
    text: /\b(smtp|network|protocol|system|host|server) error|\bmx\b|\bdns\b|gateway/,
  },
];

/** Judgements that say little: the words around are asked as well before they are believed. */
const VAGUE = /^(unexplained-|mailbox-code$|network-code$|policy-code$|policy-text$)/;

/** `550 5.1.1`, `550-text`, `5.1.1`; not a telephone number. */
const CODED =
  /(?:^|[^\w.#/-])[45][0-5]\d(?=[ -]+[#(]?[45]\.\d|[\s:;,-]+[\p{L}<"'(*[]|[\s.)]*$)|(?:^|[\s(#[:'])#?[45]\.\d{1,3}\.\d{1,3}(?=[\s):;,.\]>'#-]|$)/iu;

/** The SMTP reply code and enhanced code that a text quotes (RFC 5321, 4.2; RFC 3463). */
export function codesIn(text: string): { code: number | null; enhanced: string | null } {
  const reply = /(?:^|[^\w.#-])([45][0-5]\d)(?:[ -]+#?\(?(?:[45]\.\d|\D)|$)/.exec(text)?.[1] ?? null;
  const enhanced = [...text.matchAll(/(?:^|[\s(#[:;-])#?([45]\.\d{1,3}\.\d{1,3})(?=[\s):;,.\]>#-]|$)/g)].map(
    (match) => match[1] ?? '',
  );
  // `5.0.0` is what servers write that do not know; the more exact one counts.
  const exact = enhanced.find((code) => !code.endsWith('.0.0')) ?? enhanced[0] ?? null;
  return { code: reply === null ? null : Number(reply), enhanced: exact };
}

/** Whether a line quotes an SMTP answer. */
export function quotesAnswer(line: string): boolean {
  return CODED.test(line);
}

/**
 * Judges what a report says of one failure.
 *
 * @param given the Status of a delivery-status part, which counts unless the diagnostic is more exact
 * @param answer the answer of the receiving server, where it is quoted
 * @param words the explanation around, asked where the answer says little
 */
export function judgeFailure(given: string | null, answer: string, words: string): BounceReason {
  // Sendmail's `<a@b.example>... User unknown` also comes without the space, and would look like one long address.
  const diagnostic = answer.replace(/\.{3}(?=\S)/g, '... ');
  const quoted = codesIn(diagnostic);
  const exactQuote = quoted.enhanced !== null && !/\.0\.\d+$/.test(quoted.enhanced) ? quoted.enhanced : null;
  const vagueGiven = given === null || /^[245]\.0\.\d+$/.test(given);
  const enhanced = (vagueGiven ? (exactQuote ?? given ?? quoted.enhanced) : given) ?? null;
  const judgement = judgeAnswer({
    phase: 'report',
    code: replyCode(quoted.code, enhanced),
    enhanced,
    text: diagnostic,
  });
  const codeFrom = enhanced === null ? null : enhanced === given ? 'dsn' : 'smtp';
  const stated: BounceReason = { ...ofJudgement(judgement), code: enhanced, codeFrom };
  if (!VAGUE.test(judgement.rule)) return enhanced === null ? withDerivedCode(stated, diagnostic) : stated;
  const soft = enhanced?.startsWith('4') === true || (enhanced === null && quoted.code !== null && quoted.code < 500);
  const said = knownReason(diagnostic);
  const known = said ?? knownReason(words);
  if (known === null || contradicts(enhanced, known, said !== null)) return stated;
  return {
    severity: known.hard && (!soft || known.final) ? 'hard' : 'soft',
    cause: known.cause,
    code: enhanced ?? (soft ? known.code.replace(/^5/, '4') : known.code),
    codeFrom: codeFrom ?? 'table',
    rule: known.rule,
  };
}

/** Judges an explanation that quotes no answer: our own table first, for the answers' table meets words like "attachment" in any advice. */
export function judgeWords(near: string, whole: string): BounceReason {
  const known = knownReason(near) ?? knownReason(whole);
  if (known !== null) {
    const severity = known.hard ? 'hard' : 'soft';
    return { severity, cause: known.cause, code: known.code, codeFrom: 'table', rule: known.rule };
  }
  return {
    ...ofJudgement(judgeAnswer({ phase: 'report', code: null, enhanced: null, text: near })),
    code: null,
    codeFrom: null,
  };
}

/** 250 next to a 5.x.x is another line's code. */
function replyCode(code: number | null, enhanced: string | null): number | null {
  if (code === null || enhanced === null) return code;
  return String(code)[0] === enhanced[0] ? code : null;
}

/** An exact code is not overruled by words about another matter. */
function contradicts(enhanced: string | null, known: Known, bySameServer: boolean): boolean {
  if (enhanced === null || /^[45]\.[05]\./.test(enhanced)) return false;
  const subject = enhanced[2];
  if (subject === '2') return known.cause !== 'mailbox' && known.cause !== 'address';
  if (subject === '3' || subject === '4') return known.cause === 'address' && !/^5\.4\.[14]$|^5\.3\.0$/.test(enhanced);
  // Some servers have 5.7.1 for everything, a full mailbox too.
  return subject === '7' && known.cause !== 'content' && !(bySameServer && known.cause === 'mailbox');
}

function withDerivedCode(stated: BounceReason, diagnostic: string): BounceReason {
  const known = knownReason(diagnostic);
  if (known === null || known.cause !== stated.cause) return stated;
  const code = stated.severity === 'soft' && known.hard ? known.code.replace(/^5/, '4') : known.code;
  return { ...stated, code, codeFrom: 'table' };
}

function knownReason(text: string): Known | null {
  const bare = text
    .replace(/<[^<>\s]*>/g, ' ')
    .replace(/[^\s<>"'=:]+@[^\s<>"',;:()]+/g, ' ')
    .replace(/https?:\/\/\S+/g, ' ')
    // A dot ends a sentence for the patterns; those inside names don't.
    .replace(/[\w-]+(\.[\w-]+)+/g, 'name')
    .replace(/[ \t]*\n(?![ \t]*\n)[ \t]*/g, ' ')
    .replace(/[ \t]+/g, ' ')
    .slice(0, 4_000)
    .toLowerCase();
  return KNOWN.find((known) => known.text.test(bare)) ?? null;
}

function ofJudgement({ severity, cause, rule }: Judgement): Pick<BounceReason, 'severity' | 'cause' | 'rule'> {
  // In a report it is never our own server that speaks: what is about us there is the receiver's policy towards us.
  if (cause !== 'us') return { severity, cause, rule };
  return { severity, cause: rule === 'server-storage' ? 'network' : 'policy', rule };
}
