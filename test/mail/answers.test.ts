import { type Answer, type AnswerPhase, type Judgement, judgeAnswer } from '../../mail/answers';

/** `550 5.1.1 text` as an answer in a phase, the way the wire has it. */
function answer(phase: AnswerPhase, line: string): Answer {
  const match = /^(\d{3}) (?:(\d\.\d{1,3}\.\d{1,3})(?: |$))?(.*)$/s.exec(line);
  if (!match) throw new Error('not an SMTP answer');
  return { phase, code: Number(match[1]), enhanced: match[2] ?? null, text: match[3] ?? '' };
}

type Expected = [verdict: Judgement['verdict'], cause: Judgement['cause']];

const SEEN: Array<[who: string, phase: AnswerPhase, line: string, ...Expected]> = [
  // Before MAIL: always us.
  ['Postfix, full house', 'greeting', '421 4.3.2 All server ports are busy', 'refused-us', 'network'],
  [
    'Outlook, blocked',
    'greeting',
    '554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using Spamhaus',
    'refused-us',
    'policy',
  ],
  ['plain greeting refusal', 'greeting', '554 no SMTP service here', 'refused-us', 'network'],
  ['EHLO refused', 'helo', '501 5.5.4 Invalid domain name', 'refused-us', 'network'],
  ['STARTTLS refused', 'tls', '454 4.7.0 TLS not available due to temporary reason', 'refused-us', 'network'],
  [
    'Gmail login',
    'auth',
    '535 5.7.8 Username and Password not accepted. For more information, go to https://support.google.com/mail/?p=BadCredentials',
    'refused-us',
    'us',
  ],
  ['Gmail too many logins', 'auth', '454 4.7.0 Too many login attempts, please try again later', 'refused-us', 'us'],
  [
    'Office 365 basic auth off',
    'auth',
    '535 5.7.139 Authentication unsuccessful, basic authentication is disabled',
    'refused-us',
    'us',
  ],

  // MAIL FROM: us, whatever it looks like.
  ['unverified sender that looks like an unknown user', 'mail', '550 5.1.1 User unknown', 'refused-us', 'us'],
  [
    'Postfix reject_unknown_sender_domain',
    'mail',
    '450 4.1.8 <shop@x.example>: Sender address rejected: Domain not found',
    'refused-us',
    'us',
  ],
  [
    'a report of a refusal at MAIL FROM that looks like an unknown mailbox',
    'report',
    '550 Requested action not taken: mailbox unavailable 550 invalid DNS MX or A/AAAA resource record (in reply to MAIL FROM command)',
    'rejected',
    'us',
  ],
  [
    'needs login',
    'mail',
    '530 5.7.0 Authentication Required. For more information, go to https://support.google.com',
    'refused-us',
    'us',
  ],
  ['blocklist told at MAIL', 'mail', '550 5.7.1 Your IP is listed on a DNSBL', 'refused-us', 'us'],
  ['too big for SIZE', 'mail', '552 5.3.4 Message size exceeds fixed limit', 'rejected', 'content'],

  // RCPT: the recipient does not exist.
  [
    'Gmail',
    'rcpt',
    "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's email address",
    'bounced',
    'address',
  ],
  [
    'Gmail disabled',
    'rcpt',
    '550 5.2.1 The email account that you tried to reach is inactive. Learn more at https://support.google.com/mail/?p=DisabledUser',
    'bounced',
    'address',
  ],
  [
    'Postfix',
    'rcpt',
    '550 5.1.1 <nobody@shop.example>: Recipient address rejected: User unknown in local recipient table',
    'bounced',
    'address',
  ],
  [
    'Postfix, policy-looking address',
    'rcpt',
    '550 5.1.1 <spam-policy-blocked@spamhaus.example>: Recipient address rejected: User unknown in virtual mailbox table',
    'bounced',
    'address',
  ],
  ['Exim, no enhanced code', 'rcpt', '550 Unrouteable address', 'bounced', 'address'],
  ['Exim, unknown user', 'rcpt', '550 No Such User Here', 'bounced', 'address'],
  ['plain mailbox unavailable', 'rcpt', '550 Requested action not taken: mailbox unavailable', 'bounced', 'address'],
  ['plain user unknown', 'rcpt', '550 User unknown', 'bounced', 'address'],
  ['qmail', 'rcpt', '550 sorry, no mailbox here by that name. (#5.1.1)', 'bounced', 'address'],
  [
    'Microsoft 365 directory',
    'rcpt',
    '550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [AM0EUR02FT010.eop-EUR02.prod.protection.outlook.com]',
    'bounced',
    'address',
  ],
  [
    'Exchange resolver',
    'rcpt',
    '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup',
    'bounced',
    'address',
  ],
  [
    'Outlook.com',
    'rcpt',
    '550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)',
    'bounced',
    'address',
  ],
  ['null MX', 'rcpt', '556 5.1.10 Recipient address has null MX', 'bounced', 'address'],
  ['bad domain', 'rcpt', '550 5.1.2 Bad destination system address', 'bounced', 'address'],
  ['not local', 'rcpt', '551 User not local; please try forwarding', 'bounced', 'address'],
  ['in Spanish', 'rcpt', '550 Usuario desconocido', 'bounced', 'address'],

  // RCPT: somebody is there, but not now.
  [
    'Gmail over quota',
    'rcpt',
    "452 4.2.2 The recipient's inbox is out of storage space. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaTemp",
    'deferred',
    'mailbox',
  ],
  [
    'Gmail over quota for good',
    'rcpt',
    '552 5.2.2 The email account that you tried to reach is over quota',
    'rejected',
    'mailbox',
  ],
  ['Dovecot', 'rcpt', '552 5.2.2 <lead@x.example> Quota exceeded (mailbox for user is full)', 'rejected', 'mailbox'],
  ['full, plain 552', 'rcpt', '552 mailbox full', 'rejected', 'mailbox'],
  ['full, plain 452', 'rcpt', '452 Mailbox over quota', 'deferred', 'mailbox'],
  [
    'Gmail busy',
    'rcpt',
    '450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message at a later time',
    'deferred',
    'mailbox',
  ],
  [
    'Postgrey',
    'rcpt',
    '450 4.2.0 <lead@x.example>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/x.example.html',
    'deferred',
    'policy',
  ],
  ['greylisting with 4.7.1', 'rcpt', '451 4.7.1 Greylisting in action, please come back later', 'deferred', 'policy'],
  ['greylisting without the word', 'rcpt', '451 4.7.1 Please try again later', 'deferred', 'policy'],
  [
    'Postfix verify probe',
    'rcpt',
    '450 4.1.1 <lead@x.example>: Recipient address rejected: unverified address: Address verification in progress',
    'deferred',
    'address',
  ],
  ['plain 450', 'rcpt', '450 Requested mail action not taken', 'deferred', 'mailbox'],
  ['DNS trouble there', 'rcpt', '451 4.4.3 Temporary server error. Please try again later', 'deferred', 'network'],

  // RCPT, but about us.
  ['Postfix relay', 'rcpt', '554 5.7.1 <lead@x.example>: Relay access denied', 'refused-us', 'us'],
  ['Postfix relay, soft', 'rcpt', '454 4.7.1 <lead@x.example>: Relay access denied', 'refused-us', 'us'],
  ['Exim relay', 'rcpt', '550 relay not permitted', 'refused-us', 'us'],
  ['qmail relay', 'rcpt', "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", 'refused-us', 'us'],
  ['Exchange relay', 'rcpt', '550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain', 'refused-us', 'us'],
  ['Exim callout', 'rcpt', '550 Sender verify failed', 'refused-us', 'us'],
  [
    'Postfix sender told at RCPT',
    'rcpt',
    '550 5.1.0 <shop@y.example>: Sender address rejected: User unknown in virtual mailbox table',
    'refused-us',
    'us',
  ],
  [
    'Spamhaus',
    'rcpt',
    '554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1',
    'refused-us',
    'policy',
  ],
  [
    'blocklist in a careless 5.1.1',
    'rcpt',
    '550 5.1.1 Mail from 192.0.2.1 refused, see the blocklist',
    'refused-us',
    'policy',
  ],
  [
    'no reverse name',
    'rcpt',
    '450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]',
    'refused-us',
    'policy',
  ],
  [
    'HELO policy',
    'rcpt',
    '504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname',
    'refused-us',
    'us',
  ],
  [
    'Microsoft rate',
    'rcpt',
    '451 4.7.500 Server busy. Please try again later from [192.0.2.1]',
    'refused-us',
    'policy',
  ],
  [
    '421 storm',
    'rcpt',
    '421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints',
    'refused-us',
    'policy',
  ],
  ['421 without a reason', 'rcpt', '421 Too many concurrent SMTP connections', 'refused-us', 'network'],
  ['provider quota', 'rcpt', '550 5.4.5 Daily user sending limit exceeded', 'refused-us', 'us'],
  ['bare 5.7.1', 'rcpt', '550 5.7.1 Rejected', 'refused-us', 'policy'],
  ['server disk', 'rcpt', '452 4.3.1 Insufficient system storage', 'refused-us', 'us'],
  ['too many errors', 'rcpt', '503 5.5.1 Error: nested MAIL command', 'refused-us', 'us'],

  // RCPT, about this recipient, but no reason to suppress.
  ['Exchange closed group', 'rcpt', '550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup', 'rejected', 'policy'],
  [
    'recipient policy',
    'rcpt',
    '554 5.7.1 <lead@x.example>: Recipient address rejected: Access denied',
    'rejected',
    'policy',
  ],
  [
    'policy in an unavailable mailbox',
    'rcpt',
    '550 Mailbox unavailable, rejected for policy reasons',
    'refused-us',
    'policy',
  ],
  ['unknown 5xx', 'rcpt', '550 No.', 'rejected', 'mailbox'],
  ['unknown 554', 'rcpt', '554 Transaction failed', 'rejected', 'mailbox'],
  ['no route', 'rcpt', '550 5.4.4 Unable to route', 'rejected', 'network'],

  // DATA and the final dot.
  [
    'SES sandbox',
    'message',
    '554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: shop@y.example',
    'refused-us',
    'us',
  ],
  ['SES rate', 'message', '454 Throttling failure: Maximum sending rate exceeded.', 'refused-us', 'us'],
  ['SES day', 'message', '454 Throttling failure: Daily message quota exceeded.', 'refused-us', 'us'],
  ['SendGrid credits', 'message', '451 Authentication failed: Maximum credits exceeded', 'refused-us', 'us'],
  [
    'Microsoft send-as',
    'message',
    '554 5.2.252 SendAsDenied; shop@y.example not allowed to send as other@y.example; STOREDRV.Submission.Exception:SendAsDeniedException',
    'refused-us',
    'us',
  ],
  [
    'Gmail DMARC',
    'message',
    '550 5.7.26 Unauthenticated email from y.example is not accepted due to domain’s DMARC policy',
    'refused-us',
    'policy',
  ],
  [
    'Gmail reputation',
    'message',
    '550 5.7.1 [192.0.2.1 19] Our system has detected that this message is likely suspicious due to the very low reputation of the sending IP address',
    'refused-us',
    'policy',
  ],
  [
    'Gmail rate',
    'message',
    '421 4.7.28 Our system has detected an unusual rate of unsolicited mail',
    'refused-us',
    'policy',
  ],
  [
    'Gmail spam',
    'message',
    '550 5.7.1 [192.0.2.1] Our system has detected that this message is likely unsolicited mail. To reduce the amount of spam sent to Gmail, this message has been blocked',
    'rejected',
    'content',
  ],
  ['Rspamd', 'message', '554 5.7.1 Spam message rejected', 'rejected', 'content'],
  ['Amavis', 'message', '554 5.7.0 Reject, id=123-45 - INFECTED: virus Eicar', 'rejected', 'content'],
  ['SES, signed twice', 'message', "554 Transaction failed: Duplicate header 'DKIM-Signature'.", 'refused-us', 'us'],
  [
    'SES account under review',
    'message',
    '554 Message rejected: Sending suspended for this account. For more information, please check the inbox',
    'refused-us',
    'us',
  ],
  ['SES account paused', 'message', '554 Message rejected: Sending paused for this account.', 'refused-us', 'us'],
  [
    'Mailgun account disabled',
    'message',
    '550 Domain shop.example is not allowed to send: Account disabled',
    'refused-us',
    'us',
  ],
  ['SendGrid limits', 'rcpt', '451 You have exceeded your messaging limits', 'refused-us', 'us'],
  [
    'a sender that a report names as the reason',
    'report',
    '550 Requested action not taken: mailbox unavailable Sender address has null MX',
    'rejected',
    'us',
  ],
  ['SES headers', 'message', "554 Transaction failed: Duplicate header 'Subject'.", 'rejected', 'content'],
  ['line length', 'message', '500 5.6.0 Line too long', 'rejected', 'content'],
  ['too big after all', 'message', '552 5.2.3 Message size exceeds the administrative limit', 'rejected', 'content'],
  [
    'Yahoo tells at the dot',
    'message',
    "554 delivery error: dd This user doesn't have a yahoo.com account (lead@yahoo.example) [0]",
    'bounced',
    'address',
  ],
  ['unknown at the dot', 'message', '550 5.1.1 User unknown', 'bounced', 'address'],
  ['unknown 5xx at the dot', 'message', '554 5.0.0 Rejected', 'rejected', 'content'],
  ['plain 451 at the dot', 'message', '451 Requested action aborted: local error in processing', 'deferred', 'content'],
  ['DATA refused, blocklist', 'data', '554 5.7.1 Blocked by reputation', 'refused-us', 'policy'],
  ['DATA out of order', 'data', '503 5.5.1 Bad sequence of commands', 'refused-us', 'us'],

  // Delivery reports: the message is lost, so there is nothing to retry.
  ['report: unknown', 'report', '550 5.1.1 User unknown', 'bounced', 'address'],
  ['report: Microsoft 365', 'report', '550 5.4.1 Recipient address rejected: Access denied', 'bounced', 'address'],
  ['report: full', 'report', '552 5.2.2 Mailbox full', 'rejected', 'mailbox'],
  ['report: expired', 'report', '421 4.4.7 Delivery time expired', 'rejected', 'network'],
  ['report: spam', 'report', '550 5.7.1 Message rejected as spam', 'rejected', 'content'],
  ['report: blocklist', 'report', '550 5.7.606 Access denied, banned sending IP [192.0.2.1]', 'rejected', 'policy'],
];

describe('judging SMTP answers', () => {
  test.each(SEEN)('%s (%s): %s → %s, %s', (_who, phase, line, verdict, cause) => {
    const judgement = judgeAnswer(answer(phase, line));
    expect({ verdict: judgement.verdict, cause: judgement.cause }).toEqual({ verdict, cause });
    expect(judgement.severity).toBe(verdict === 'bounced' ? 'hard' : 'soft');
  });

  test('silence is the network’s, in every phase of a live conversation', () => {
    for (const phase of ['connect', 'greeting', 'helo', 'tls', 'mail', 'rcpt', 'data', 'message'] as const) {
      expect(judgeAnswer({ phase, code: null, enhanced: null, text: '' })).toMatchObject({
        verdict: 'refused-us',
        cause: 'network',
        severity: 'soft',
      });
    }
  });

  test('a report may carry the enhanced code alone, or only words', () => {
    const report = (enhanced: string | null, text: string) =>
      judgeAnswer({ phase: 'report', code: null, enhanced, text });
    expect(report('5.1.1', '')).toMatchObject({ verdict: 'bounced', severity: 'hard' });
    expect(report('4.4.7', '')).toMatchObject({ verdict: 'rejected', cause: 'network' });
    expect(report(null, 'user unknown')).toMatchObject({ verdict: 'bounced' });
    expect(report(null, '')).toMatchObject({ verdict: 'rejected', severity: 'soft' });
  });

  test('no code without a known text is hard, in any phase (an unknown 5xx suppresses nobody)', () => {
    const phases: AnswerPhase[] = [
      'connect',
      'greeting',
      'helo',
      'tls',
      'auth',
      'mail',
      'rcpt',
      'data',
      'message',
      'report',
    ];
    for (const phase of phases) {
      for (let code = 400; code < 600; code++) {
        if (code === 551) continue; // "user not local" is what 551 means
        expect(judgeAnswer({ phase, code, enhanced: null, text: 'xyzzy' }).severity).toBe('soft');
      }
    }
  });

  test('a 4xx is never hard, even when it says that the user is unknown', () => {
    for (const phase of ['rcpt', 'message'] as const) {
      expect(judgeAnswer(answer(phase, '450 4.1.1 user unknown')).verdict).toBe('deferred');
      expect(judgeAnswer(answer(phase, '550 4.1.1 user unknown')).verdict).toBe('deferred');
    }
  });

  test('P5 a judgement holds nothing of the text', () => {
    const judgement = judgeAnswer(answer('rcpt', '550 5.1.1 <maria.lopez@example.es>: no such user maria.lopez'));
    expect(JSON.stringify(judgement)).not.toMatch(/maria|lopez|example/);
  });
});
