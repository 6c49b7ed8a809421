/**
 * The one rule table that judges SMTP answers, for mail being sent (`mail/deliver`) and for delivery reports that come
 * back later (`mail/receive`). Pure.
 */

/**
 * Where in the conversation the answer was given (RFC 5321): `data` is the DATA command, `message` the answer after the
 * final dot. `report` is a delivery status notification (RFC 3464): another server's answer, told after ours accepted.
 */
export type AnswerPhase =
  | 'connect'
  | 'greeting'
  | 'helo'
  | 'tls'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'message'
  | 'report';

/** What somebody else's server said. `code` is null where no answer came at all. */
export interface Answer {
  phase: AnswerPhase;
  /** Reply code (RFC 5321 section 4.2), such as 550. */
  code: number | null;
  /** Enhanced status code (RFC 3463), such as `5.1.1`. */
  enhanced: string | null;
  /** The rest of the answer. It may quote the address, so it is looked at here and never passed on. */
  text: string;
}

/**
 * What the sender must do.
 * - `bounced`: the recipient is no good. End the journey, suppress the address.
 * - `deferred`: not now for this recipient. Try again later.
 * - `refused-us`: not the lead's fault. Retry for as long as it takes; nobody loses their place.
 * - `rejected`: this one message is refused for good. Suppress nobody; go on with the next step.
 */
type Verdict = 'bounced' | 'deferred' | 'refused-us' | 'rejected';

export interface Judgement {
  /** `hard`: the address will never work. Everything else is `soft`. */
  severity: 'hard' | 'soft';
  cause: 'address' | 'mailbox' | 'network' | 'policy' | 'content' | 'us';
  verdict: Verdict;
  /** The rule that decided; safe to log. */
  rule: string;
}

/** What an answer turns out to be about, and what follows when it is permanent (5xx) or temporary (4xx). */
const CONSEQUENCES = {
  // Nobody lives there. A 4xx says it isn't sure yet (Postfix probing the address, say).
  address: { cause: 'address', permanent: 'bounced', temporary: 'deferred' },
  // Somebody lives there, but it doesn't take mail now (full, broken). People do empty their mailboxes.
  mailbox: { cause: 'mailbox', permanent: 'rejected', temporary: 'deferred' },
  // The way there is broken.
  network: { cause: 'network', permanent: 'rejected', temporary: 'deferred' },
  // This recipient doesn't take mail from strangers like us; others may.
  closed: { cause: 'policy', permanent: 'rejected', temporary: 'deferred' },
  // Come back later, whatever digit the code starts with.
  later: { cause: 'policy', permanent: 'deferred', temporary: 'deferred' },
  // This text, size or attachment is not wanted.
  content: { cause: 'content', permanent: 'rejected', temporary: 'deferred' },
  // Our reputation, our authentication, our rate: the next lead would hear the same.
  policy: { cause: 'policy', permanent: 'refused-us', temporary: 'refused-us' },
  // Our account, our sender, our server's disk, or no conversation at all.
  us: { cause: 'us', permanent: 'refused-us', temporary: 'refused-us' },
  connection: { cause: 'network', permanent: 'refused-us', temporary: 'refused-us' },
} as const satisfies Record<string, { cause: Judgement['cause']; permanent: Verdict; temporary: Verdict }>;

type Matter = keyof typeof CONSEQUENCES;

interface Rule {
  rule: string;
  matter: Matter;
  /** All of the conditions that are given must hold. */
  phases?: readonly AnswerPhase[];
  codes?: readonly number[];
  enhanced?: RegExp;
  text?: RegExp;
}

/** Stands for the reply code of a server that said nothing. */
const NO_CODE = 0;

const BEFORE_MAIL: readonly AnswerPhase[] = ['connect', 'greeting', 'helo', 'tls', 'auth'];

/**
 * First hit wins. The order is: what can only be about us; texts that contradict a careless code; enhanced codes; texts
 * of servers that give no enhanced code. Hard verdicts come after everything that could contradict them, because a wrong
 * one silences a person for good, and a wrong soft one costs a retry.
 */
const RULES: readonly Rule[] = [
  // --- Phase first: no recipient has been named yet, so it can't be about one.
  { rule: 'no-answer', matter: 'connection', codes: [NO_CODE] },
  { rule: 'auth-refused', matter: 'us', phases: ['auth'] },
  // Servers close the door with 421 or 554 in the greeting; the words say whether it is a blocklist or a full house.
  {
    rule: 'blocked-at-the-door',
    matter: 'policy',
    phases: BEFORE_MAIL,
    text: /block(ed|list)|black ?list|deny ?list|reputation|spam|policy|not allowed|dns[bw]l|\brbl\b|abus/,
  },
  { rule: 'door-shut', matter: 'connection', phases: BEFORE_MAIL },
  // 421 ends the session whatever it answers (RFC 5321 section 4.2.3), so it is the server's state and not the lead's.
  { rule: 'closing-policy', matter: 'policy', codes: [421], enhanced: /^4\.7\./ },
  {
    rule: 'closing-rate',
    matter: 'policy',
    codes: [421],
    text: /too many (simultaneous |concurrent )?(connections|sessions|messages|errors|recipients)|trop de connexions|rate.?limit|throttl|slow down/,
  },
  { rule: 'closing', matter: 'connection', codes: [421] },
  // Declared in MAIL's SIZE parameter (RFC 1870): the one thing that MAIL can refuse about the message.
  { rule: 'too-big', matter: 'content', enhanced: /^[45]\.3\.4$|^[45]\.2\.3$/ },
  {
    rule: 'too-big-text',
    matter: 'content',
    codes: [552, 554, 550, 523],
    text: /(message|mail)( file)? ?(size|length|is)? ?(exceeds|too (big|large))|(?<!box )size limit exceeded|maximum (message )?size/,
  },

  // --- Our own account and sender, in whatever phase the provider finds out.
  // Microsoft answers 554 5.2.252 after the final dot, SES 554 after the final dot: both about our From.
  {
    rule: 'sender-not-ours',
    matter: 'us',
    text: /sendasdenied|not (allowed|authori[sz]ed|permitted) to send( as\b| from\b| (e-?)?mails?$|[:.]|$)|not verified|unverified (sender|identity|domain)|sender identity|does not match a verified|unauthenticated senders? not allowed/,
  },
  // Postfix refuses senders at RCPT by default (smtpd_delay_reject), often as 550 5.1.x: it must not look like an unknown recipient.
  {
    rule: 'sender-refused',
    matter: 'us',
    text: /sender (e-?mail )?(address )?(rejected|denied|refused|invalid|blocked|not (pre-?)?approved|not accepted|is (a )?spammer)|(null|empty) (envelope )?senders?|mail from not owned|bogus mail from|[eé]metteur (invalide|refus)|remitente (rechazad|no permitid|no autorizad)|sender verif(y|ication)|invalid sender|(callout|callback) verification|bad sender|sender address has|sender domain|domain of sender|return.?path|in reply to (the )?mail from|invalid dns mx/,
  },
  { rule: 'sender-code', matter: 'us', enhanced: /^[45]\.1\.[78]$/ },
  // What our account may send in a day or a second: SES 454, Gmail 5.4.5 and 4.2.1, SendGrid 451, Microsoft 5.7.705. A mailbox's
  // "quota" is told apart by its words: sending, daily, credits.
  {
    rule: 'our-quota',
    matter: 'us',
    text: /throttl|(sending|daily|hourly|monthly)[a-z ]{0,24} (rate|quota|limit)s?\b.{0,24}exceed|(exceed|reach)[a-z']{0,4} .{0,24}(sending|daily|hourly|monthly|messaging|messages? per|rate limit|recipients? limit)|credits? exceeded|maximum credits|too many (messages|connections|emails|recipients)(?! on the server)|(max|maximum|allowed|limit)[a-z ]{0,16} (e-?mails|messages) (per|an|each) (hour|day|minute)|account .{0,20}(suspended|disabled|blocked) .{0,20}send|sending (is |was |has been )?(suspended|paused|disabled)|over (the )?(plan|sending) limit/,
  },
  // Amazon SES where both we and Easy DKIM sign: every message would hear the same.
  { rule: 'signed-twice', matter: 'us', text: /duplicate header 'dkim-signature'/ },
  { rule: 'our-quota-code', matter: 'us', enhanced: /^[45]\.4\.5$|^[45]\.5\.3$|^5\.7\.70[0-9]$/ },
  { rule: 'not-authenticated', matter: 'us', codes: [530, 535, 538] },
  // A relay that won't relay for us says so at RCPT, with any of 454, 550, 553, 554.
  {
    rule: 'relay-denied',
    matter: 'us',
    text: /relay(ing)? (access )?(is )?(denied|not (allowed|permitted)|prohibited)|(unable|not (allowed|permitted)|refus\w+|denied) to relay|(do|does|will) not relay|not (a )?relay|allowed rcpthosts|authentication (is )?required|must (first )?authenticate|smtp auth/,
  },
  { rule: 'helo-refused', matter: 'us', text: /helo command rejected|invalid helo|helo\/ehlo|helo name/ },
  { rule: 'mail-from-refused', matter: 'us', phases: ['mail'] },

  // --- Greylisting wears 4.7.1 and 4.2.0 alike and means: the same recipient, in a few minutes.
  { rule: 'greylisted', matter: 'later', text: /gr[ae]y.?list/ },

  // --- Blocklists and reputation, whatever code they are wrapped in: the next lead there would hear the same.
  {
    rule: 'blocklisted',
    matter: 'policy',
    text: /spamhaus|spamcop|barracuda|sorbs|surbl|uribl|abusix|cloudmark|dns[bw]l|\brbl\b|black.?list|block.?list|deny.?list|(block|bann?)ed (using|by|list)|(ip|host|client|sender|server)[a-z ]{0,16} (is |has been |was )?(temporarily )?(block|bann)ed|reputation|client host rejected|cannot find your (reverse )?hostname|reverse dns|\bptr\b|unusual rate|user complaints|unexpected volume|s3\d{3}\b/,
  },
  // Our SPF, DKIM, DMARC or TLS (RFC 7372, Gmail's 5.7.26 and its neighbours).
  { rule: 'our-authentication', matter: 'policy', enhanced: /^[45]\.7\.(9|1[0-69]|2[0-9]|30|31)$/ },
  {
    rule: 'our-authentication-text',
    matter: 'policy',
    text: /\b(spf|dkim|dmarc|arc)\b.{0,40}(fail|not pass|did not|invalid|required|policy|check)|unauthenticated (e-?)?mail/,
  },

  // --- A recipient who takes mail from some people only: Exchange's restricted groups and moderated lists.
  { rule: 'closed-mailbox', matter: 'closed', enhanced: /^5\.7\.(12[0-9]|13[0-9])$/ },
  {
    rule: 'closed-mailbox-text',
    matter: 'closed',
    enhanced: /^5\.7\./,
    text: /recipient address rejected|not authori[sz]ed to send to|recipient.{0,30}(only accepts|does not accept|not accept)|restricted/,
  },

  // People, and groups of them, who chose from whom they take mail.
  {
    rule: 'recipients-choice',
    matter: 'closed',
    text: /recipient (is )?(not|only) accepting mail (with|from)|recipient preferences|blocked by (the|this) recipient\b|not subscribed to this (group|list)|closed mailing list|members?.only (group|list|mailing)/,
  },

  // --- The message itself.
  {
    rule: 'content-words',
    matter: 'content',
    phases: ['data', 'message', 'report'],
    text: /spam|virus|malware|phish|unsolicited|content (was )?(rejected|denied|blocked|filter|presents)|(illegal|forbidden|prohibited) (attachment|content)|suspicious|bulk mail|duplicate header|(missing|invalid|malformed|bad|multiple|illegal|required|too many)[a-z :'<>-]{0,24} headers?\b|headers? [a-z :'<>-]{0,24}(error|missing|invalid|malformed|not accepted|required|too (long|large|big|many))|\burl\b|attachment|bare lf|line (too long|length)/,
  },
  { rule: 'content-code', matter: 'content', enhanced: /^[45]\.6\./ },

  // --- The recipient. Microsoft 365 says 5.4.1 for an address that its directory does not know.
  {
    rule: 'microsoft-unknown',
    matter: 'address',
    enhanced: /^5\.4\.1$/,
    text: /recipient address rejected: access denied/,
  },
  { rule: 'mailbox-full-code', matter: 'mailbox', enhanced: /^[45]\.2\.2$/ },
  // Gmail: a mailbox that gets too much at once (4.2.1 there); elsewhere x.2.1 is an account that was closed.
  { rule: 'mailbox-busy', matter: 'mailbox', text: /receiving (mail (too quickly|at a rate)|limits)/ },
  // The address, or its domain, went to somebody else (RFC 7293).
  { rule: 'owner-changed', matter: 'address', enhanced: /^[45]\.7\.1[78]$/ },
  // qmail's lists of recipients wear 5.7.1.
  {
    rule: 'not-a-recipient',
    matter: 'address',
    text: /not in my (list of )?valid ?rcpt ?to|\bbad ?(rcpt|recipient) ?to\b/,
  },
  // Somebody lives there, and does not take mail for now.
  { rule: 'mailbox-later', matter: 'mailbox', enhanced: /^4\.2\.1$/ },
  { rule: 'unknown-code', matter: 'address', enhanced: /^[45]\.1\.(1|2|3|6|9|10)$|^[45]\.2\.1$/ },
  // "null MX" (RFC 7505): the domain says that it takes no mail at all.
  { rule: 'null-mx', matter: 'address', codes: [521, 556], text: /null mx|does not accept (e-?)?mail|no mail/ },

  // --- 4.7.x and 5.7.x that no word above explained: a policy, and in doubt about us.
  { rule: 'policy-busy', matter: 'policy', enhanced: /^4\.7\.5\d\d$/ },
  { rule: 'unlabelled-greylist', matter: 'later', enhanced: /^4\.7\.[01]$/, text: /try again|later|temporar|retry/ },
  { rule: 'policy-code', matter: 'policy', enhanced: /^[45]\.7\./ },

  // --- No enhanced code, or one that says little: what the common servers write.
  {
    rule: 'mailbox-full-text',
    matter: 'mailbox',
    text: /(mail ?box|inbox|account|user|recipient)('s)?[a-z ]{0,24}(is )?(full|over ?quota|over its quota|exceed)|(over|exceed\w*|out of) ?(the |its |their )?(disk |storage |mail ?box )?quota|quota exceeded|not enough (disk )?space|buz[oó]n (est[aá] )?lleno|insufficient (disk |mailbox )?(space|storage)/,
  },
  // "Mailbox unavailable for policy reasons" is not an unknown mailbox.
  { rule: 'policy-reasons', matter: 'policy', text: /\bpolic(y|ies)\b|banned|prohibited|not accepted from/ },
  {
    rule: 'unknown-text',
    matter: 'address',
    phases: ['rcpt', 'data', 'message', 'report'],
    text: /(user|recipient|mail ?box|address|account|alias|local part)[a-z "']{0,16} (is )?(unknown|not (known|found|exist|recogni[sz]ed)|invalid|disabled|inactive|deactivated|terminated|no longer)|(unknown|no such|non.?existent|invalid|bad destination) (local |virtual )?(user|recipient|mail ?box|address|account|person|here)|unrouteable address|(does ?n[o']t|does not|doesn't) (exist|have an? \S+ account)|no mail ?box (here|by that name|available for)|not (a )?(valid|local) (user|mail ?box|recipient|address)|user not local|mail ?box unavailable|requested action not taken: mail ?box|not our customer|usuario (desconocido|no existe)|no longer (available|valid|in use|works)/,
  },
  { rule: 'policy-text', matter: 'policy', text: /\bblocked\b|access denied/ },
  { rule: 'not-local', matter: 'address', codes: [551] },

  // --- Codes that name a class only.
  // Storage and "local error" of the very server we hand over to: every lead would hear the same.
  { rule: 'server-storage', matter: 'us', codes: [452], enhanced: /^4\.3\./ },
  { rule: 'mailbox-code', matter: 'mailbox', enhanced: /^[45]\.2\./ },
  { rule: 'network-code', matter: 'network', enhanced: /^[45]\.[34]\./ },
  // We broke the protocol, or it can't do what we asked of it.
  { rule: 'protocol', matter: 'us', codes: [500, 502, 503, 504, 555], phases: ['rcpt', 'data'] },
];

/**
 * Judges one SMTP answer, or the silence in place of one.
 *
 * Phase first, then the enhanced code (RFC 3463), then a small table of well-known texts. An unknown 5xx is soft and
 * suppresses nobody; an unknown 4xx is deferred. In a `report` the message is already lost, so the verdict is `bounced`
 * or `rejected` only, whatever the cause.
 */
export function judgeAnswer(answer: Answer): Judgement {
  const text = withoutAddresses(answer.text);
  const enhanced = answer.enhanced ?? enhancedInText(text);
  const code = answer.code ?? codeFor(answer.phase, enhanced);
  const hit = RULES.find(
    (rule) =>
      (rule.phases === undefined || rule.phases.includes(answer.phase)) &&
      (rule.codes === undefined || rule.codes.includes(code)) &&
      (rule.enhanced === undefined || (enhanced !== null && rule.enhanced.test(enhanced))) &&
      (rule.text === undefined || rule.text.test(text)),
  );
  const [rule, matter] = hit ? [hit.rule, hit.matter] : unexplained(answer.phase);
  // The enhanced code's class is the more careful one where they differ: Microsoft's 550 4.4.7, or qmail's 4xx (#5.x.x).
  const permanent = code >= 500 && !enhanced?.startsWith('4');
  return conclude(answer.phase, rule, matter, permanent);
}

/** Reports often carry the enhanced code alone; a live conversation without a code has no answer at all. */
function codeFor(phase: AnswerPhase, enhanced: string | null): number {
  if (enhanced?.startsWith('4')) return 400;
  return enhanced !== null || phase === 'report' ? 500 : NO_CODE;
}

/** What is left when no rule fits: by phase, and never hard. */
function unexplained(phase: AnswerPhase): [rule: string, matter: Matter] {
  return phase === 'rcpt' || phase === 'report'
    ? ['unexplained-recipient', 'mailbox']
    : ['unexplained-message', 'content'];
}

function conclude(phase: AnswerPhase, rule: string, matter: Matter, permanent: boolean): Judgement {
  const { cause, ...verdicts } = CONSEQUENCES[matter];
  let verdict: Verdict = permanent ? verdicts.permanent : verdicts.temporary;
  // The server that took it has given up: there is nothing left to retry, and sending it again could double it.
  if (phase === 'report' && verdict !== 'bounced') verdict = 'rejected';
  return { severity: verdict === 'bounced' ? 'hard' : 'soft', cause, verdict, rule };
}

/** A local part such as `spam` or `policy` must not decide about itself. */
function withoutAddresses(text: string): string {
  return text
    .replace(/<[^<>\s]*>/g, '<>')
    .replace(/"?[^\s<>"']+"?@[^\s<>"',;:()]+/g, '<>')
    .replace(/\s+/g, ' ')
    .toLowerCase();
}

/** qmail and its children write the enhanced code in brackets at the end: `sorry, no mailbox here by that name. (#5.1.1)`. */
function enhancedInText(text: string): string | null {
  return /[(#\s]#?([245]\.\d{1,3}\.\d{1,3})(?=[)\s.;:,-]|$)/.exec(` ${text}`)?.[1] ?? null;
}
