import { genericEvents } from '../../../api/webhooks/generic';
import { mailgunEvents } from '../../../api/webhooks/mailgun';
import { codesIn } from '../../../api/webhooks/payload';
import { postmarkEvents } from '../../../api/webhooks/postmark';
import { sendgridEvents } from '../../../api/webhooks/sendgrid';
import { sesEvents } from '../../../api/webhooks/ses';
import type { BounceFinding, ProviderEvent } from '../../../domain/inbound';
import { createUnderstandEvent } from '../../../mail/receive/understand';
import { TEST_TOKEN_KEYS } from '../../support/leads';

// Payloads of the forms that the providers document, with names and ids of our own.

const NOW = new Date('2026-03-02T12:00:00Z');
const OURS = '<abcdefgh234567@shop.example>';

type Short = [kind: string, permanent: boolean | null, enhanced: string | null, code: number | null];
const short = (events: ProviderEvent[]): Short[] =>
  events.map(({ kind, permanent, enhanced, code }) => [kind, permanent, enhanced, code]);

test.each([
  ['smtp; 550 5.1.1 user unknown', 550, '5.1.1'],
  ['550-5.1.1 The email account does not exist', 550, '5.1.1'],
  ['550 5.1.1', 550, '5.1.1'],
  ['452 #4.2.2 over quota', 452, '4.2.2'],
  ['4.4.7 Message expired', null, '4.4.7'],
  ['550 no such user', 550, null],
  ['x-postfix; unknown user', null, null],
  ['delivered to 10.1.1.250 in 250 ms', null, null],
  ['Unable to reach 550 5.1.1 hosts', null, null],
  [null, null, null],
])('the codes in "%s"', (text, code, enhanced) => {
  expect(codesIn(text)).toEqual({ code, enhanced });
});

describe('Amazon SES', () => {
  const mail = {
    timestamp: '2026-03-02T10:00:00.000Z',
    messageId: '0100018f5c6d7e8f-11111111-2222-3333-4444-555555555555-000000',
    source: 'bounces@shop.example',
    destination: ['ana@example.com', 'luis@example.com'],
    headers: [{ name: 'Message-ID', value: OURS }],
  };
  const events = (payload: object | string) =>
    sesEvents(
      {
        MessageId: 'sns-1',
        Timestamp: '2026-03-02T11:00:00.000Z',
        Message: typeof payload === 'string' ? payload : JSON.stringify(payload),
      },
      NOW,
    );
  const bounce = (bounceType: string, bounceSubType: string, recipient: object = {}) => ({
    notificationType: 'Bounce',
    bounce: {
      bounceType,
      bounceSubType,
      bouncedRecipients: [{ emailAddress: 'ana@example.com', ...recipient }],
      timestamp: '2026-03-02T10:00:05.123Z',
      feedbackId: 'f-1',
    },
    mail,
  });

  test.each(['notificationType', 'eventType'])('a bounce of several, told by %s', (form) => {
    const { notificationType: _, ...rest } = bounce('Permanent', 'General');
    rest.bounce.bouncedRecipients = [
      { emailAddress: 'ana@example.com', status: '5.1.1', diagnosticCode: 'smtp; 550 5.1.1 user unknown' },
      { emailAddress: 'luis@example.com', status: '5.2.2', diagnosticCode: 'smtp; 552 5.2.2 mailbox full' },
    ] as never;
    expect(events({ ...rest, [form]: 'Bounce' })).toEqual([
      {
        provider: 'ses',
        kind: 'bounced',
        eventId: 'sns-1/0',
        messageId: OURS,
        providerId: mail.messageId,
        recipient: 'ana@example.com',
        enhanced: '5.1.1',
        code: 550,
        diagnostic: 'smtp; 550 5.1.1 user unknown',
        permanent: true,
        at: '2026-03-02T10:00:05.123Z',
      },
      expect.objectContaining({ eventId: 'sns-1/1', recipient: 'luis@example.com', enhanced: '5.2.2', code: 552 }),
    ]);
  });

  test.each<[string, string, Short, RegExp]>([
    ['Permanent', 'OnAccountSuppressionList', ['bounced', true, null, null], /suppression list/],
    ['Permanent', 'Suppressed', ['bounced', true, null, null], /suppression list/],
    ['Permanent', 'UnsubscribedRecipient', ['unsubscribed', true, null, null], /^null$/],
    ['Transient', 'MailboxFull', ['bounced', false, null, null], /mailbox full/],
    ['Transient', 'ContentRejected', ['bounced', false, null, null], /content/],
    ['Transient', 'General', ['bounced', false, null, null], /^null$/],
    ['Undetermined', 'Undetermined', ['bounced', null, null, null], /^null$/],
    ['constructor', 'toString', ['bounced', null, null, null], /^null$/],
  ])('a bounce of %s/%s', (type, subtype, expected, words) => {
    const found = events(bounce(type, subtype));
    expect(short(found)).toEqual([expected]);
    expect(String(found[0]?.diagnostic)).toMatch(words);
  });

  test('a complaint, but not "this is no spam"', () => {
    const complaint = (complaintFeedbackType?: string) => ({
      notificationType: 'Complaint',
      complaint: {
        complainedRecipients: [{ emailAddress: 'ana@example.com' }],
        timestamp: '2026-03-02T10:00:05Z',
        ...(complaintFeedbackType === undefined ? {} : { complaintFeedbackType }),
      },
      mail,
    });
    for (const type of [undefined, 'abuse', 'fraud', 'virus', 'other']) {
      expect(short(events(complaint(type)))).toEqual([['complained', null, null, null]]);
    }
    expect(events(complaint('not-spam'))).toEqual([]);
  });

  test('delivery, delay, refusal and unsubscribing', () => {
    const at = '2026-03-02T10:00:05Z';
    const delivery = { timestamp: at, recipients: ['ana@example.com'], smtpResponse: '250 2.0.0 Ok' };
    const delay = {
      timestamp: at,
      delayType: 'SpamDetected',
      delayedRecipients: [
        { emailAddress: 'ana@example.com', status: '4.4.1', diagnosticCode: 'smtp; 421 4.4.1 timeout' },
      ],
    };
    expect(short(events({ eventType: 'Delivery', delivery, mail }))).toEqual([['delivered', null, '2.0.0', 250]]);
    expect(short(events({ eventType: 'DeliveryDelay', deliveryDelay: delay, mail }))).toEqual([
      ['delayed', null, '4.4.1', 421],
    ]);
    const rejected = events({ eventType: 'Reject', reject: { reason: 'Bad content' }, mail });
    expect(rejected.map(({ kind, recipient }) => [kind, recipient])).toEqual([
      ['rejected', 'ana@example.com'],
      ['rejected', 'luis@example.com'],
    ]);
    const left = { newTopicPreferences: { unsubscribeAll: true }, timestamp: at };
    expect(short(events({ eventType: 'Subscription', subscription: left, mail }))[0]?.[0]).toBe('unsubscribed');
  });

  test.each([
    [{ eventType: 'Send', send: {}, mail }],
    [{ eventType: 'Open', open: {}, mail }],
    [{ eventType: 'Click', click: {}, mail }],
    [{ eventType: 'Rendering Failure', failure: {}, mail }],
    [{ notificationType: 'AmazonSnsSubscriptionSucceeded', message: 'You have successfully subscribed' }],
    ['Successfully validated SNS topic for Amazon SES event publishing.'],
    ['null'],
    ['[1]'],
    [{ eventType: 'Bounce' }],
    [{ eventType: 'Bounce', bounce: { bouncedRecipients: 'x' }, mail: 7 }],
    [{ eventType: 'constructor' }],
  ])('%j is nothing to keep', (payload) => {
    expect(events(payload)).toEqual([]);
  });
});

describe('Postmark', () => {
  const bounce = (Type: string, change: object = {}) => ({
    RecordType: 'Bounce',
    MessageStream: 'outbound',
    ID: 4323372036854776000,
    Type,
    TypeCode: 1,
    Tag: 'Test',
    MessageID: '883953f4-6105-42a2-a16a-77a8eac79483',
    Description: 'The server was unable to deliver your message.',
    Details: 'Test bounce details',
    Email: 'ana@example.com',
    From: 'marta@shop.example',
    BouncedAt: '2026-03-02T10:00:05.0000000Z',
    Inactive: true,
    CanActivate: true,
    ...change,
  });

  test('a hard bounce', () => {
    expect(postmarkEvents(bounce('HardBounce', { ID: 42, Details: 'smtp;550 5.1.1 no such user' }), NOW)).toEqual([
      {
        provider: 'postmark',
        kind: 'bounced',
        eventId: 'Bounce/42',
        messageId: null,
        providerId: '883953f4-6105-42a2-a16a-77a8eac79483',
        recipient: 'ana@example.com',
        enhanced: '5.1.1',
        code: 550,
        diagnostic: 'smtp;550 5.1.1 no such user',
        permanent: true,
        at: '2026-03-02T10:00:05.000Z',
      },
    ]);
  });

  test.each<[string, Short | null]>([
    ['BadEmailAddress', ['bounced', true, null, null]],
    ['SoftBounce', ['bounced', false, null, null]],
    ['DnsError', ['bounced', false, null, null]],
    ['SpamNotification', ['bounced', false, null, null]],
    ['Blocked', ['bounced', false, null, null]],
    ['DMARCPolicy', ['bounced', false, null, null]],
    ['Unknown', ['bounced', null, null, null]],
    ['Transient', ['delayed', null, null, null]],
    ['ManuallyDeactivated', ['rejected', null, null, null]],
    ['SpamComplaint', ['complained', null, null, null]],
    ['Unsubscribe', ['unsubscribed', null, null, null]],
    ['AutoResponder', null],
    ['ChallengeVerification', null],
    ['Subscribe', null],
    ['constructor', null],
  ])('a bounce of type %s', (type, expected) => {
    expect(short(postmarkEvents(bounce(type), NOW))).toEqual(expected === null ? [] : [expected]);
  });

  test('what is ours to mend is said in words that the rules know', () => {
    const words = (type: string) => postmarkEvents(bounce(type), NOW)[0]?.diagnostic ?? '';
    expect(words('SpamNotification')).toMatch(/^Blocked as spam\. /);
    expect(words('Blocked')).toMatch(/^Blocked by policy\. Test bounce details\. /);
  });

  test('complaint, delivery, and leaving', () => {
    const common = { MessageID: 'm-1', Recipient: 'ana@example.com' };
    expect(short(postmarkEvents({ ...bounce('SpamComplaint'), RecordType: 'SpamComplaint' }, NOW))[0]?.[0]).toBe(
      'complained',
    );
    const delivered = {
      ...common,
      RecordType: 'Delivery',
      DeliveredAt: '2026-03-02T10:00:05Z',
      Details: '250 2.0.0 ok',
    };
    expect(postmarkEvents(delivered, NOW)).toEqual([
      expect.objectContaining({
        kind: 'delivered',
        eventId: 'Delivery/m-1/ana@example.com/2026-03-02T10:00:05Z',
        recipient: 'ana@example.com',
        code: 250,
      }),
    ]);
    const change = (SuppressionReason: string | null, SuppressSending: boolean) =>
      short(
        postmarkEvents(
          {
            ...common,
            RecordType: 'SubscriptionChange',
            ChangedAt: '2026-03-02T10:00:05Z',
            SuppressSending,
            SuppressionReason,
          },
          NOW,
        ),
      );
    expect(change('ManualSuppression', true)[0]?.[0]).toBe('unsubscribed');
    expect(change('HardBounce', true)[0]?.slice(0, 2)).toEqual(['bounced', true]);
    expect(change('SpamComplaint', true)[0]?.[0]).toBe('complained');
    expect(change(null, false)).toEqual([]);
  });

  test('a number that JSON can not hold does not name the event', () => {
    expect(postmarkEvents(bounce('HardBounce'), NOW)[0]?.eventId).toBe(
      'Bounce/883953f4-6105-42a2-a16a-77a8eac79483/ana@example.com/2026-03-02T10:00:05.0000000Z',
    );
  });

  test('our Message-ID, where Postmark hands it back', () => {
    const { messageId } =
      postmarkEvents(bounce('SoftBounce', { Metadata: { 'message-id': OURS.slice(1, -1) } }), NOW)[0] ?? {};
    expect(messageId).toBe(OURS);
  });

  test.each([[{ RecordType: 'Open' }], [{ RecordType: 'Click' }], [{}], [null], [[]], ['x']])(
    '%j is nothing',
    (payload) => {
      expect(postmarkEvents(payload, NOW)).toEqual([]);
    },
  );
});

describe('SendGrid', () => {
  const event = (change: object) => ({
    email: 'ana@example.com',
    timestamp: 1772445605,
    'smtp-id': OURS,
    sg_event_id: 'evt-1',
    sg_message_id: 'yW5utel5TYuIBREiXJi7aA.recvd-5f9ffdf494-9kc6l-1-673C6EB0-B.0',
    ...change,
  });

  test('a batch: what is of engagement or of taking in is left out', () => {
    const batch = [
      event({ event: 'processed' }),
      event({ event: 'delivered', sg_event_id: 'evt-2', response: '250 2.0.0 OK' }),
      event({ event: 'open' }),
      event({ event: 'click', url: 'https://shop.example' }),
      event({ event: 'deferred', sg_event_id: 'evt-3', response: '452 4.2.2 full', attempt: '5' }),
      event({ event: 'group_resubscribe' }),
      event({ event: 'constructor' }),
      'x',
      null,
    ];
    expect(sendgridEvents(batch, NOW)).toEqual([
      {
        provider: 'sendgrid',
        kind: 'delivered',
        eventId: 'evt-2',
        messageId: OURS,
        providerId: 'yW5utel5TYuIBREiXJi7aA',
        recipient: 'ana@example.com',
        enhanced: '2.0.0',
        code: 250,
        diagnostic: '250 2.0.0 OK',
        permanent: null,
        at: '2026-03-02T10:00:05.000Z',
      },
      expect.objectContaining({ kind: 'delayed', eventId: 'evt-3', enhanced: '4.2.2' }),
    ]);
  });

  test.each<[object, Short]>([
    [
      { event: 'bounce', type: 'bounce', status: '5.1.1', reason: '550 5.1.1 no such user' },
      ['bounced', true, '5.1.1', 550],
    ],
    [
      { event: 'bounce', type: 'bounce', bounce_classification: 'Invalid Address', reason: '550 unknown' },
      ['bounced', true, null, 550],
    ],
    [
      { event: 'bounce', type: 'bounce', bounce_classification: 'Mailbox Unavailable', reason: '552 full' },
      ['bounced', false, null, 552],
    ],
    [{ event: 'bounce', type: 'bounce', bounce_classification: 'Unclassified' }, ['bounced', null, null, null]],
    [
      { event: 'bounce', type: 'blocked', status: '5.7.1', reason: '550 5.7.1 blocked' },
      ['bounced', false, '5.7.1', 550],
    ],
    [{ event: 'blocked', reason: 'x' }, ['bounced', false, null, null]],
    [{ event: 'dropped', reason: 'Bounced Address' }, ['bounced', true, null, null]],
    [{ event: 'dropped', reason: 'Invalid' }, ['bounced', true, null, null]],
    [{ event: 'dropped', reason: 'Unsubscribed Address' }, ['unsubscribed', null, null, null]],
    [{ event: 'dropped', reason: 'Spam Reporting Address' }, ['complained', null, null, null]],
    [{ event: 'dropped', reason: 'Spam Content (if spam checker app enabled)' }, ['rejected', null, null, null]],
    [{ event: 'dropped', reason: 'Invalid SMTPAPI header' }, ['rejected', null, null, null]],
    [{ event: 'dropped', reason: 'Recipient List over Package Quota' }, ['rejected', null, null, null]],
    [{ event: 'spamreport' }, ['complained', null, null, null]],
    [{ event: 'unsubscribe' }, ['unsubscribed', null, null, null]],
    [{ event: 'group_unsubscribe' }, ['unsubscribed', null, null, null]],
  ])('%j', (change, expected) => {
    expect(short(sendgridEvents([event(change)], NOW))).toEqual([expected]);
  });

  test('a class that is ours to mend is said in words that the rules know', () => {
    const [found] = sendgridEvents(
      [event({ event: 'bounce', type: 'blocked', bounce_classification: 'Reputation', reason: '550 go away' })],
      NOW,
    );
    expect(found?.diagnostic).toBe('Blocked for reputation. 550 go away');
  });

  test.each([
    ['14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0', '14c5d75ce93.dfd.64b469'],
    ['gFZ7fJ0VQnyvQ5nh8CkwxQ', 'gFZ7fJ0VQnyvQ5nh8CkwxQ'],
    [7, null],
  ])('the id %s', (sg_message_id, providerId) => {
    expect(sendgridEvents([event({ event: 'delivered', sg_message_id })], NOW)[0]?.providerId).toBe(providerId);
  });
});

describe('Mailgun', () => {
  const payload = (change: object) => ({
    signature: { token: 't', timestamp: '1772445605', signature: 's' },
    'event-data': {
      id: 'W3X4JOhFT-OZidZGKKr9iA',
      timestamp: 1772445605.713256,
      'log-level': 'error',
      recipient: 'ana@example.com',
      message: { headers: { to: 'ana@example.com', 'message-id': OURS.slice(1, -1), from: 'x' }, size: 111 },
      ...change,
    },
  });
  const status = (code: number, message: string, more: object = {}) => ({
    'delivery-status': { code, message, ...more },
  });

  test('a permanent failure', () => {
    const failed = { event: 'failed', severity: 'permanent', reason: 'bounce', ...status(550, '5.1.1 no such user') };
    expect(mailgunEvents(payload(failed), NOW)).toEqual([
      {
        provider: 'mailgun',
        kind: 'bounced',
        eventId: 'W3X4JOhFT-OZidZGKKr9iA',
        messageId: OURS,
        providerId: null,
        recipient: 'ana@example.com',
        enhanced: '5.1.1',
        code: 550,
        diagnostic: '5.1.1 no such user',
        permanent: true,
        at: '2026-03-02T10:00:05.713Z',
      },
    ]);
  });

  test.each<[object, Short]>([
    [
      { event: 'failed', severity: 'temporary', reason: 'generic', ...status(452, 'try later') },
      ['delayed', null, null, 452],
    ],
    [
      { event: 'failed', severity: 'permanent', reason: 'generic', ...status(550, 'x', { 'enhanced-code': '5.7.1' }) },
      ['bounced', null, '5.7.1', 550],
    ],
    [
      { event: 'failed', severity: 'permanent', reason: 'suppress-bounce', ...status(605, 'Not delivering') },
      ['bounced', true, null, null],
    ],
    [{ event: 'failed', severity: 'permanent', reason: 'suppress-complaint' }, ['complained', null, null, null]],
    [{ event: 'failed', severity: 'permanent', reason: 'suppress-unsubscribe' }, ['unsubscribed', null, null, null]],
    [{ event: 'failed', severity: 'permanent', reason: 'espblock' }, ['bounced', false, null, null]],
    [
      { event: 'failed', severity: 'permanent', reason: 'old', ...status(602, 'Too old') },
      ['bounced', false, null, null],
    ],
    [{ event: 'delivered', ...status(250, 'OK') }, ['delivered', null, null, 250]],
    [{ event: 'complained' }, ['complained', null, null, null]],
    [{ event: 'unsubscribed' }, ['unsubscribed', null, null, null]],
    [{ event: 'rejected', reject: { reason: 'Sandbox' } }, ['rejected', null, null, null]],
  ])('%j', (change, expected) => {
    expect(short(mailgunEvents(payload(change), NOW))).toEqual([expected]);
  });

  test.each([
    [payload({ event: 'opened' })],
    [payload({ event: 'accepted' })],
    [{}],
    [null],
    [payload({ event: 'constructor' })],
  ])('%j is nothing', (given) => {
    expect(mailgunEvents(given, NOW)).toEqual([]);
  });
});

describe('any other server', () => {
  test('in our own form', () => {
    const events = [
      {
        type: 'bounced',
        id: 'e1',
        messageId: OURS,
        diagnostic: '550 5.1.1 unknown',
        permanent: true,
        at: '2026-03-02T11:00:05+01:00',
      },
      { type: 'complained', providerId: '4bQ9', recipient: 'ana@example.com' },
    ];
    const [first, second] = genericEvents({ events }, NOW);
    expect(first).toEqual({
      provider: 'generic',
      kind: 'bounced',
      eventId: 'e1',
      messageId: OURS,
      providerId: null,
      recipient: null,
      enhanced: '5.1.1',
      code: 550,
      diagnostic: '550 5.1.1 unknown',
      permanent: true,
      at: '2026-03-02T10:00:05.000Z',
    });
    expect(second).toMatchObject({ kind: 'complained', providerId: '4bQ9', at: NOW.toISOString() });
    // The same one without an id is known by what it says.
    expect(genericEvents({ events }, new Date())[1]?.eventId).toBe(second?.eventId);
  });

  test.each([
    [null],
    [[]],
    [{ events: {} }],
    [{ events: [{ type: 'opened', messageId: OURS }] }],
    [{ events: [{ type: 'bounced', messageId: OURS, code: '550' }] }],
    [{ events: [{ type: 'bounced', messageId: OURS, extra: 1 }] }],
    [{ events: [{ type: 'bounced' }] }],
    [{ events: [{ type: 'bounced', messageId: 'two words' }] }],
  ])('%j is refused', (payload) => {
    expect(() => genericEvents(payload, NOW)).toThrow(expect.objectContaining({ code: 'invalid-request' }));
  });
});

test('what Postgres can not hold, and what is endless, is made fit', () => {
  const long = `550 5.1.1 \0 \ud800 ${'x'.repeat(100_000)}`;
  const [found] = genericEvents({ events: [{ type: 'bounced', messageId: OURS, diagnostic: long }] }, NOW);
  expect(found?.diagnostic).toHaveLength(2_000);
  expect(found?.diagnostic).not.toMatch(/\0|\p{Cs}/u);
});

describe('what the rules make of a bounce', () => {
  type Verdict = Pick<BounceFinding, 'severity' | 'cause'>;
  const verdictOn = ([event]: ProviderEvent[]): Verdict | null => {
    if (event === undefined) return null;
    const { bounce } = createUnderstandEvent(TEST_TOKEN_KEYS)(event).classification;
    return bounce === null ? null : { severity: bounce.severity, cause: bounce.cause };
  };
  const ses = (bounceType: string, bounceSubType: string, recipient: object = {}) => {
    const bounce = {
      bounceType,
      bounceSubType,
      bouncedRecipients: [{ emailAddress: 'ana@example.com', ...recipient }],
    };
    const Message = JSON.stringify({ notificationType: 'Bounce', bounce, mail: {} });
    return sesEvents({ MessageId: 'sns-1', Timestamp: NOW.toISOString(), Message }, NOW);
  };
  const postmark = (Type: string, Details = '') => postmarkEvents({ RecordType: 'Bounce', ID: 1, Type, Details }, NOW);
  const sendgrid = (change: object) => sendgridEvents([{ sg_event_id: 'x', ...change }], NOW);
  const mailgun = (reason: string, code: number, message: string) =>
    mailgunEvents(
      { 'event-data': { event: 'failed', severity: 'permanent', reason, 'delivery-status': { code, message } } },
      NOW,
    );
  const DEAD: Verdict = { severity: 'hard', cause: 'address' };
  const soft = (cause: Verdict['cause']): Verdict => ({ severity: 'soft', cause });

  test.each<[string, ProviderEvent[], Verdict]>([
    ['SES, unknown user', ses('Permanent', 'General', { diagnosticCode: 'smtp; 550 5.1.1 user unknown' }), DEAD],
    ['SES, without an answer', ses('Permanent', 'General'), DEAD],
    ['SES, on its list', ses('Permanent', 'Suppressed'), DEAD],
    ['SES, on our list', ses('Permanent', 'OnAccountSuppressionList'), DEAD],
    // Permanent for SES, but for what we are: nobody is suppressed for that.
    [
      'SES, policy',
      ses('Permanent', 'General', { status: '5.7.1', diagnosticCode: 'smtp; 550 5.7.1 blocked' }),
      soft('policy'),
    ],
    ['SES, mailbox full', ses('Transient', 'MailboxFull'), soft('mailbox')],
    ['SES, content', ses('Transient', 'AttachmentRejected'), soft('content')],
    ['SES, undetermined', ses('Undetermined', 'Undetermined'), soft('mailbox')],
    ['Postmark, unknown user', postmark('HardBounce', 'smtp;550 5.1.1 no such user'), DEAD],
    ['Postmark, without an answer', postmark('HardBounce'), DEAD],
    ['Postmark, DNS', postmark('DnsError'), soft('network')],
    ['Postmark, blocked', postmark('Blocked', 'x'), soft('policy')],
    ['Postmark, spam', postmark('SpamNotification', 'x'), soft('content')],
    ['SendGrid, on its list', sendgrid({ event: 'dropped', reason: 'Bounced Address' }), DEAD],
    ['SendGrid, invalid', sendgrid({ event: 'dropped', reason: 'Invalid' }), DEAD],
    ['SendGrid, unknown user', sendgrid({ event: 'bounce', type: 'bounce', reason: '550 5.1.1 unknown' }), DEAD],
    [
      'SendGrid, its class',
      sendgrid({ event: 'bounce', type: 'bounce', bounce_classification: 'Invalid Address', reason: '550 go away' }),
      DEAD,
    ],
    [
      'SendGrid, blocked',
      sendgrid({ event: 'bounce', type: 'blocked', bounce_classification: 'Reputation' }),
      soft('policy'),
    ],
    ['SendGrid, content', sendgrid({ event: 'dropped', reason: 'Spam Content' }), soft('content')],
    ['Mailgun, unknown user', mailgun('bounce', 550, 'No Such User Here'), DEAD],
    ['Mailgun, on its list', mailgun('suppress-bounce', 605, 'Not delivering to previously bounced address'), DEAD],
    ['Mailgun, blocked', mailgun('espblock', 550, 'x'), soft('policy')],
    ['Mailgun, too old', mailgun('old', 602, 'Too old'), soft('network')],
  ])('%s', (_, events, verdict) => {
    expect(verdictOn(events)).toEqual(verdict);
  });
});
