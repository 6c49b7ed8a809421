import {
  type Consequence,
  consequencesOf,
  isWornOut,
  outweighs,
  requestDueAt,
  type Situation,
} from '../../domain/inbound-actions';
import { bounced, classified } from '../support/inbound';

const DAY = 86_400_000;

const IN_THREAD: Situation = {
  mail: 'enrollment',
  known: true,
  proven: true,
  fromLead: true,
  byUnsubscribeAddress: false,
  hasText: true,
  ticketsBefore: 0,
  challengesBefore: 0,
  judgedBy: 'rules',
};

/** What is done, as short words. */
function done(classification: Parameters<typeof consequencesOf>[0], change: Partial<Situation> = {}): string[] {
  return consequencesOf(classification, { ...IN_THREAD, ...change }).map(short);
}

function short(one: Consequence): string {
  switch (one.do) {
    case 'stop':
      return `stop ${one.outcome}${one.suppress === undefined ? '' : `+${one.suppress}`}`;
    case 'report':
      return `report ${one.report}`;
    case 'forward':
      return `forward ${one.as}`;
    case 'fault':
      return `fault ${one.fault}`;
    case 'request':
      return `request ${one.request}`;
    case 'wait':
      return `wait ${one.until}`;
    case 'show':
      return `show ${one.why}`;
    default:
      return one.do;
  }
}

const kinds = (kind: Parameters<typeof classified>[0]['kind'], change: object = {}) => classified({ kind, ...change });

describe('what follows from mail that answers or reports on a mail of an enrollment', () => {
  test.each([
    ['a reply', kinds('reply'), ['stop replied', 'resolve-unknown', 'forget-soft-bounces', 'forward reply']],
    [
      'a reply that asks to be erased',
      kinds('reply', { requests: ['erasure'] }),
      [
        'stop unsubscribed+objection',
        'resolve-unknown',
        'forget-soft-bounces',
        'request erasure',
        'forward unsubscribe',
      ],
    ],
    [
      'a reply that asks what is known',
      kinds('reply', { requests: ['access'] }),
      ['stop replied', 'resolve-unknown', 'forget-soft-bounces', 'request access', 'forward reply'],
    ],
    [
      'words of unsubscribing',
      kinds('unsubscribe'),
      ['stop unsubscribed+objection', 'resolve-unknown', 'forward unsubscribe'],
    ],
    [
      'a holiday',
      kinds('auto-reply', { subtype: 'vacation', returnDate: '2026-08-16' }),
      ['wait 2026-08-16', 'resolve-unknown'],
    ],
    ['a holiday without an end', kinds('auto-reply', { subtype: 'vacation' }), ['resolve-unknown']],
    ['a ticket', kinds('auto-reply', { subtype: 'ticket' }), ['resolve-unknown']],
    [
      'has left',
      kinds('auto-reply', { subtype: 'left', needsReview: true }),
      ['stop bounced+undeliverable', 'resolve-unknown', 'show left'],
    ],
    [
      'dead address',
      bounced(),
      ['stop bounced+undeliverable', 'resolve-unknown', 'report bounced-hard', 'fault hard-bounce'],
    ],
    [
      'full mailbox',
      bounced({ severity: 'soft', cause: 'mailbox' }),
      ['count-soft-bounce', 'resolve-unknown', 'report bounced-soft'],
    ],
    [
      'network',
      bounced({ severity: 'soft', cause: 'network' }),
      ['count-soft-bounce', 'resolve-unknown', 'report bounced-soft'],
    ],
    [
      'policy',
      bounced({ severity: 'soft', cause: 'policy' }),
      ['resolve-unknown', 'report bounced-soft', 'fault policy-bounce'],
    ],
    [
      'policy, said to be hard',
      bounced({ cause: 'policy' }),
      ['resolve-unknown', 'report bounced-soft', 'fault policy-bounce'],
    ],
    ['content', bounced({ cause: 'content' }), ['resolve-unknown', 'report bounced-soft', 'fault policy-bounce']],
    [
      'complaint',
      kinds('complaint'),
      ['stop complained+complaint', 'resolve-unknown', 'report complained', 'fault complaint'],
    ],
    ['challenge', kinds('challenge', { needsReview: true }), ['resolve-unknown', 'report delayed', 'show challenge']],
    ['delayed', kinds('notice', { subtype: 'delayed' }), ['resolve-unknown', 'report delayed']],
    [
      'delivered',
      kinds('notice', { subtype: 'delivered' }),
      ['resolve-unknown', 'report delivered', 'forget-soft-bounces'],
    ],
    ['relayed', kinds('notice', { subtype: 'relayed' }), ['resolve-unknown']],
    ['DMARC report', kinds('notice', { subtype: 'dmarc-report' }), []],
    ['own copy', kinds('own-copy'), []],
    ['something else', kinds('other'), []],
  ])('%s', (_, classification, expected) => {
    expect(done(classification)).toEqual(expected);
  });

  test('the mail program’s own unsubscribing is not handed to people; it has nothing to read', () => {
    expect(done(kinds('unsubscribe'), { byUnsubscribeAddress: true })).toEqual([
      'stop unsubscribed+objection',
      'resolve-unknown',
    ]);
  });

  test('the second ticket in a row is shown: it is a helpdesk; the second challenge is not shown again', () => {
    expect(done(kinds('auto-reply', { subtype: 'ticket' }), { ticketsBefore: 1 })).toContain('show helpdesk');
    expect(done(kinds('challenge'), { challengesBefore: 1 })).not.toContain('show challenge');
  });
});

describe('what anyone can forge', () => {
  test.each([
    ['bounce', bounced()],
    ['complaint', kinds('complaint')],
    ['delivered', kinds('notice', { subtype: 'delivered' })],
  ])('a %s without proof leads to nothing', (_, classification) => {
    expect(done(classification, { proven: false, fromLead: false })).toEqual([]);
  });

  test('"has left" from anybody else, without a token, is only shown', () => {
    expect(done(kinds('auto-reply', { subtype: 'left' }), { proven: false, fromLead: false })).toEqual(['show left']);
    expect(done(kinds('auto-reply', { subtype: 'left' }), { proven: false, fromLead: true })[0]).toBe(
      'stop bounced+undeliverable',
    );
  });
});

describe('doubt', () => {
  const doubtful = { needsReview: true, confidence: 0.5, returnDate: '2026-08-16' };

  test.each(['reply', 'auto-reply', 'unsubscribe', 'challenge', 'other'] as const)(
    'about a %s: the next mail waits',
    (kind) => {
      expect(done(kinds(kind, doubtful))).toEqual(['hold', 'forward unsure']);
    },
  );

  test('about a proven bounce: it is acted upon, and shown', () => {
    const doubted = { ...bounced(), needsReview: true, confidence: 0.5 };
    expect(done(doubted)).toEqual([...done(bounced()), 'show low-confidence']);
  });

  test('is over once a person has decided, or the time to decide', () => {
    expect(done(kinds('reply', doubtful), { judgedBy: 'person' })[0]).toBe('stop replied');
    expect(done(kinds('reply', doubtful), { judgedBy: 'time' })[0]).toBe('stop replied');
  });
});

describe('mail about other mail than a lead’s', () => {
  test('what comes back of a forward or an alert never stops or suppresses anybody', () => {
    for (const mail of ['forward', 'alert'] as const) {
      for (const one of [
        bounced(),
        kinds('complaint'),
        kinds('reply'),
        kinds('unsubscribe'),
        kinds('auto-reply', { subtype: 'left' }),
      ]) {
        const followed = done(one, { mail });
        expect(followed.filter((what) => /^(stop|hold|wait|count|forward)/.test(what))).toEqual([]);
      }
      expect(done(bounced(), { mail })).toContain('show staff-mail-bounced');
    }
  });

  test('mail of the shop: its dead address is suppressed, a soft bounce is only noted, an answer is shown', () => {
    expect(done(bounced(), { mail: 'shop' })[0]).toBe('stop bounced+undeliverable');
    expect(done(bounced({ severity: 'soft', cause: 'mailbox' }), { mail: 'shop' })).toEqual([
      'resolve-unknown',
      'report bounced-soft',
    ]);
    expect(done(kinds('reply'), { mail: 'shop' })).toEqual(['show answer-to-shop-mail']);
  });

  test('mail that a page asked for: the same, so that a request that comes back or is complained of has its effect', () => {
    expect(done(bounced(), { mail: 'page' })).toEqual([
      'stop bounced+undeliverable',
      'resolve-unknown',
      'report bounced-hard',
      'fault hard-bounce',
    ]);
    expect(done(kinds('complaint'), { mail: 'page' })[0]).toBe('stop complained+complaint');
    expect(done(kinds('unsubscribe'), { mail: 'page' })[0]).toBe('stop unsubscribed+objection');
    expect(done(kinds('reply'), { mail: 'page' })).toEqual(['show answer-to-shop-mail']);
    expect(done(bounced(), { mail: 'page', proven: false })).toEqual([]);
  });

  test('a test’s: nothing', () => {
    expect(done(bounced(), { mail: 'test' })).toEqual([]);
  });

  test('of a stranger: nothing, but a request about data is kept', () => {
    expect(done(kinds('reply'), { known: false, mail: null })).toEqual([]);
    expect(done(kinds('other', { requests: ['erasure'] }), { known: false, mail: null })).toEqual([
      'request erasure',
      'show request-of-stranger',
    ]);
  });
});

test('a request is due one calendar month later, at the end of that day', () => {
  const due = (at: string) => requestDueAt(new Date(at), 'Europe/Madrid').toISOString();
  expect(due('2026-01-31T09:00:00Z')).toBe('2026-02-28T22:59:59.999Z');
  expect(due('2026-03-15T23:30:00Z')).toBe('2026-04-16T21:59:59.999Z');
  expect(due('2026-12-10T12:00:00Z')).toBe('2027-01-10T22:59:59.999Z');
});

test('three soft bounces wear an address out when they lie 30 days apart or more', () => {
  const at = (...days: number[]) => days.map((day) => new Date(day * DAY));
  expect(isWornOut(at(0, 40))).toBe(false);
  expect(isWornOut(at(0, 10, 29.9))).toBe(false);
  expect(isWornOut(at(30, 0, 12))).toBe(true);
});

test('a report replaces only what says less', () => {
  expect(outweighs('delivered', 'delayed')).toBe(true);
  expect(outweighs('delayed', 'delivered')).toBe(false);
  expect(outweighs('bounced-hard', 'bounced-hard')).toBe(false);
  expect(outweighs('delayed', null)).toBe(true);
});
