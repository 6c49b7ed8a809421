import { judgeFailure } from '../../../mail/receive/bounce-reason';

/** Answers of servers in the field whose codes say little, as delivery reports quote them. */
const ANSWERS: Array<[answer: string, judged: string]> = [
  ["550 can't accept user", 'hard address'],
  ['550 no mail box available for this user', 'hard address'],
  ['553 sorry, badrcptto', 'hard address'],
  ['554 sorry, this recipient is not in my validrcptto list (#5.7.1)', 'hard address'],
  ['550 sorry, no mailbox here by that name. (#5.7.17)', 'hard address'],
  ['550 that is a deactivated mailbox', 'hard address'],
  ['550 user missing home directory', 'hard address'],
  ['550 unrouteable mail domain "correo.example"', 'hard address'],
  ["DNS Error: DNS type 'mx' lookup of correo.example responded with code NXDOMAIN", 'hard address'],
  ['554 mailbox size limit exceeded', 'soft mailbox'],
  ['552 user has too many messages on the server', 'soft mailbox'],
  ['550 5.7.1 Mailbox full', 'soft mailbox'],
  ['554 account disabled temporarly for exceeding receiving limits', 'soft mailbox'],
  ['450 recipient rejected: temporarily inactive', 'soft mailbox'],
  ['550 sender email address rejected', 'soft policy'],
  ['550 null sender is not allowed', 'soft policy'],
  ['550 permanent failure for one or more recipients (luis@correo.example:blocked)', 'soft policy'],
  ['421 Too many connections from your host', 'soft policy'],
  ['550 domain tienda.example has exceeded the max emails per hour (201/200) allowed', 'soft policy'],
  ['550 refused due to recipient preferences', 'soft policy'],
  ['550 Not currently accepting mail from your ip', 'soft policy'],
  ['554 Rejecting open proxy', 'soft policy'],
  ['550 Go away', 'soft policy'],
  ['554 Su IP está en una lista negra', 'soft policy'],
  ['552-5.7.0 Our system detected an illegal attachment on your message', 'soft content'],
  ['554 this message was blocked because its content presents a potential security issue', 'soft content'],
  ['550 invalid header in message', 'soft content'],
  ['554 delivery time expired', 'soft network'],
  ['lost connection with mx1.correo.example while receiving the initial server greeting', 'soft network'],
  ['TLS is required, but was not offered by host', 'soft network'],
];

test.each(ANSWERS)('%s: %s', (answer, judged) => {
  const { severity, cause } = judgeFailure(null, answer, '');
  expect(`${severity} ${cause}`).toBe(judged);
});

test('a domain that does not exist is final even under a 4.0.0, a name server that does not answer is not', () => {
  const unknown = "DNS Error: DNS type 'mx' lookup of correo.example responded with code NXDOMAIN";
  expect(judgeFailure('4.0.0', unknown, '')).toMatchObject({ severity: 'hard', cause: 'address' });
  const silent = "DNS Error: DNS type 'mx' lookup of correo.example responded with code SERVFAIL";
  expect(judgeFailure('4.0.0', silent, '')).toMatchObject({ severity: 'soft', cause: 'network' });
});
