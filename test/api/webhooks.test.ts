import { createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { sql } from 'kysely';
import type { ApiContext } from '../../api/context';
import { createDb, type Db } from '../../db/client';
import { selfSigned } from '../support/certificate';
import { type ApiUnderTest, apiUnderTest } from './api-under-test';

const NOW = new Date('2026-03-02T12:00:00Z');
const TOPIC = 'arn:aws:sns:eu-west-1:123456789012:recuerda';
const CERTIFICATE_URL = 'https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem';
const YEAR = [new Date('2026-01-01T00:00:00Z'), new Date('2027-01-01T00:00:00Z')] as const;
const SECRET = 'the-secret-of-the-generic-webhook';

const snsKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const sendgrid = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const certificate = selfSigned(snsKey, YEAR);

const WEBHOOKS: ApiContext['config']['webhooks'] = {
  sesTopics: ['arn:aws:sns:eu-west-1:123456789012:another', TOPIC],
  postmark: 'recuerda:a long password: with a colon',
  sendgrid: sendgrid.publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
  mailgun: 'key-of-mailgun',
  generic: SECRET,
  stripe: null,
  woocommerce: null,
  shopify: null,
  standard: null,
};

let api: ApiUnderTest;
let app: ApiUnderTest['app'];
let fetched: string[] = [];
let internet: (url: string) => Promise<string> = async () => certificate;

const settings = {
  config: { webhooks: WEBHOOKS },
  clock: () => NOW,
  getText: async (url: string) => {
    fetched.push(url);
    return await internet(url);
  },
};

beforeAll(async () => {
  api = await apiUnderTest();
  app = await api.another(settings);
});
afterAll(async () => await api.close());
beforeEach(() => {
  fetched = [];
  internet = async () => certificate;
});
afterEach(async () => {
  await api.db.deleteFrom('inbound').execute();
});

async function send(provider: string, body: string | Buffer | object, headers: Record<string, string> = {}, to = app) {
  const payload = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const type = { 'content-type': 'application/json' };
  return await to.inject({ method: 'POST', url: `/webhooks/${provider}`, headers: { ...type, ...headers }, payload });
}

async function kept(db: Db = api.db) {
  return await db.selectFrom('inbound').selectAll().orderBy('external_id').execute();
}

// --- Amazon SES

const SNS_FIELDS: Readonly<Record<string, string[]>> = {
  Notification: ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type'],
  SubscriptionConfirmation: ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'],
  UnsubscribeConfirmation: ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'],
};

function sns(change: Record<string, string> = {}, key = snsKey): Record<string, string> {
  const message: Record<string, string> = {
    Type: 'Notification',
    MessageId: 'sns-1',
    TopicArn: TOPIC,
    Message: JSON.stringify({
      notificationType: 'Bounce',
      bounce: {
        bounceType: 'Permanent',
        bounceSubType: 'General',
        bouncedRecipients: [
          { emailAddress: 'ana@example.com', status: '5.1.1', diagnosticCode: 'smtp; 550 5.1.1 unknown' },
          { emailAddress: 'luis@example.com', status: '5.1.1', diagnosticCode: 'smtp; 550 5.1.1 unknown' },
        ],
        timestamp: '2026-03-02T10:00:05.123Z',
      },
      mail: { messageId: '0100018f-000000' },
    }),
    Timestamp: '2026-03-02T11:59:00.000Z',
    SignatureVersion: '1',
    SigningCertURL: CERTIFICATE_URL,
    ...change,
  };
  const signed = (SNS_FIELDS[message.Type ?? ''] ?? [])
    .filter((name) => message[name] !== undefined)
    .map((name) => `${name}\n${message[name]}\n`)
    .join('');
  const algorithm = message.SignatureVersion === '2' ? 'sha256' : 'sha1';
  return { ...message, Signature: sign(algorithm, Buffer.from(signed), key).toString('base64') };
}

describe('Amazon SES', () => {
  test.each(['1', '2'])(
    'signature version %s: one row for each recipient, once however often it comes',
    async (version) => {
      // SNS says that its JSON is plain text.
      const plain = { 'content-type': 'text/plain; charset=UTF-8' };
      const message = sns({ SignatureVersion: version, Subject: 'Amazon SES Email Event Notification' });
      const answer = await send('ses', message, plain);
      expect([answer.statusCode, answer.json()]).toEqual([200, { events: 2 }]);
      expect((await send('ses', message, plain)).statusCode).toBe(200);
      const rows = await kept();
      expect(rows.map(({ source, external_id, state, raw }) => [source, external_id, state, raw])).toEqual([
        ['webhook:ses', 'sns-1/0', 'new', null],
        ['webhook:ses', 'sns-1/1', 'new', null],
      ]);
      expect(rows[0]?.event).toMatchObject({ kind: 'bounced', recipient: 'ana@example.com', enhanced: '5.1.1' });
      expect(rows[0]?.received_at).toEqual(NOW);
      // The certificate is asked for once.
      expect(fetched.length).toBeLessThanOrEqual(1);
    },
  );

  test('the same told by two topics is one', async () => {
    await send('ses', sns());
    await send('ses', sns({ MessageId: 'sns-2', TopicArn: WEBHOOKS.sesTopics?.[0] ?? '' }));
    expect(await kept()).toHaveLength(2);
  });

  test.each<[string, () => Record<string, string>]>([
    ['another key', () => sns({}, generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey)],
    ['a changed message', () => ({ ...sns(), Message: '{}' })],
    ['an added subject', () => ({ ...sns(), Subject: 'x' })],
    ['a topic that is not ours', () => sns({ TopicArn: `${TOPIC}x` })],
    ['an unknown version', () => sns({ SignatureVersion: '3' })],
    ['no signature', () => ({ ...sns(), Signature: '' })],
  ])('%s is refused', async (_, message) => {
    const answer = await send('ses', message());
    expect([answer.statusCode, answer.json().type]).toEqual([401, 'https://recuerda.test/problems/bad-signature']);
    expect(answer.headers['www-authenticate']).toContain('Amazon SNS');
    expect(await kept()).toEqual([]);
  });

  test.each([
    'http://sns.eu-west-1.amazonaws.com/a.pem',
    'https://sns.eu-west-1.amazonaws.com.evil.example/a.pem',
    'https://sns.evil.example/a.pem',
    'https://s3.eu-west-1.amazonaws.com/a.pem',
    'https://evil.sns.eu-west-1.amazonaws.com/a.pem',
    'https://sns.eu-west-1.amazonaws.com:8443/a.pem',
    'https://sns.eu-west-1.amazonaws.com@evil.example/a.pem',
    'https://user@sns.eu-west-1.amazonaws.com/a.pem',
    'https://sns.eu-west-1.amazonaws.com/a.txt',
    'https://sns.eu-west-1.amazonaws.com/?Action=GetTopic.pem',
    'file:///etc/passwd.pem',
    '',
  ])('a certificate at %s is never fetched', async (SigningCertURL) => {
    expect((await send('ses', sns({ SigningCertURL }))).statusCode).toBe(401);
    expect(fetched).toEqual([]);
  });

  test('certificates of China are Amazon’s too; one that has run out is none', async () => {
    const other = { SigningCertURL: 'https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-1.pem' };
    expect((await send('ses', sns(other))).statusCode).toBe(200);
    internet = async () => selfSigned(snsKey, [new Date('2024-01-01T00:00:00Z'), new Date('2025-01-01T00:00:00Z')]);
    const old = { SigningCertURL: CERTIFICATE_URL.replace('.pem', 'f.pem') };
    expect((await send('ses', sns(old))).statusCode).toBe(401);
    internet = async () => 'no certificate';
    const none = { SigningCertURL: CERTIFICATE_URL.replace('.pem', 'e.pem') };
    expect((await send('ses', sns(none))).statusCode).toBe(401);
  });

  test('when the certificate can not be fetched, it shall come again', async () => {
    internet = async () => {
      throw new Error('no route');
    };
    const message = sns({ SigningCertURL: CERTIFICATE_URL.replace('.pem', 'd.pem') });
    const answer = await send('ses', message);
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '5']);
    internet = async () => certificate;
    expect((await send('ses', message)).statusCode).toBe(200);
  });

  const subscribe = (url: string, change: Record<string, string> = {}) =>
    sns({ Type: 'SubscriptionConfirmation', Token: 'tok', Message: 'You have chosen…', SubscribeURL: url, ...change });
  const CONFIRM = `https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=${TOPIC}&Token=tok`;

  test('a subscription is confirmed, at Amazon and nowhere else', async () => {
    const answer = await send('ses', subscribe(CONFIRM));
    expect([answer.statusCode, answer.json()]).toEqual([200, { events: 0 }]);
    expect(fetched).toContain(CONFIRM);
    expect(await kept()).toEqual([]);
    fetched = [];
    for (const url of [
      CONFIRM.replace('amazonaws.com', 'evil.example'),
      CONFIRM.replace('https:', 'http:'),
      CONFIRM.replace('ConfirmSubscription', 'Unsubscribe'),
      CONFIRM.replace(TOPIC, `${TOPIC}x`),
      'nonsense',
    ]) {
      expect([url, (await send('ses', subscribe(url))).statusCode]).toEqual([url, 400]);
    }
    expect((await send('ses', { ...subscribe(CONFIRM), Token: 'other' })).statusCode).toBe(401);
    expect(fetched.filter((url) => !url.endsWith('.pem'))).toEqual([]);
    internet = async (url) => {
      if (url.endsWith('.pem')) return certificate;
      throw new Error('no route');
    };
    expect((await send('ses', subscribe(CONFIRM))).statusCode).toBe(503);
  });

  test('the end of a subscription is taken note of by not undoing it', async () => {
    const answer = await send('ses', subscribe(CONFIRM, { Type: 'UnsubscribeConfirmation' }));
    expect([answer.statusCode, fetched.filter((url) => !url.endsWith('.pem'))]).toEqual([200, []]);
  });

  test.each([
    ['no JSON', '{'],
    ['no SNS message', '{"a":1}'],
    ['a list', '[]'],
    ['Latin-1', Buffer.from('{"é":1}', 'latin1')],
    ['', ''],
  ])('%s is not understood', async (_, body) => {
    expect((await send('ses', body)).statusCode).toBe(400);
  });
});

// --- Postmark

describe('Postmark', () => {
  const bounce = { RecordType: 'Bounce', ID: 42, Type: 'HardBounce', MessageID: 'm', Email: 'ana@example.com' };
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });

  test('with user and password', async () => {
    const answer = await send('postmark', bounce, basic(WEBHOOKS.postmark ?? ''));
    expect([answer.statusCode, answer.json()]).toEqual([200, { events: 1 }]);
    expect((await kept()).map(({ external_id }) => external_id)).toEqual(['Bounce/42']);
  });

  test.each([
    {},
    basic('recuerda:wrong'),
    basic('recuerda:'),
    basic(''),
    { authorization: `Bearer ${WEBHOOKS.postmark}` },
    { authorization: 'Basic' },
  ])('%j is refused', async (headers) => {
    const answer = await send('postmark', bounce, headers as Record<string, string>);
    expect([answer.statusCode, answer.headers['www-authenticate']]).toEqual([401, 'Basic realm="recuerda webhooks"']);
    expect(await kept()).toEqual([]);
  });
});

// --- SendGrid

describe('SendGrid', () => {
  const event = (id: string, kind = 'delivered') => ({
    event: kind,
    email: 'ana@example.com',
    sg_event_id: id,
    timestamp: 1772445605,
  });
  const signed = (body: string, timestamp = '1772445605', key = sendgrid.privateKey) => ({
    'x-twilio-email-event-webhook-timestamp': timestamp,
    'x-twilio-email-event-webhook-signature': sign('sha256', Buffer.from(timestamp + body), key).toString('base64'),
  });

  test('a batch, and the same events in another one, in another order', async () => {
    const first = JSON.stringify([event('a'), event('b', 'open'), event('c', 'bounce')]);
    expect((await send('sendgrid', first, signed(first))).json()).toEqual({ events: 2 });
    const second = JSON.stringify([event('d', 'spamreport'), event('c', 'bounce'), event('a')]);
    expect((await send('sendgrid', second, signed(second))).json()).toEqual({ events: 3 });
    expect((await kept()).map(({ external_id }) => external_id)).toEqual(['a', 'c', 'd']);
  });

  test('the bytes are signed, not what they mean', async () => {
    const body = JSON.stringify([event('a')]);
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const { 'x-twilio-email-event-webhook-signature': signature } = signed(body);
    for (const [sent, headers] of [
      [`${body} `, signed(body)],
      [body, signed(body, '1772445605', other)],
      [body, { ...signed(body), 'x-twilio-email-event-webhook-timestamp': '1772445606' }],
      [body, { 'x-twilio-email-event-webhook-signature': signature }],
      [body, { ...signed(body), 'x-twilio-email-event-webhook-signature': 'bm9uc2Vuc2U=' }],
      [body, {}],
    ] as [string, Record<string, string>][]) {
      expect((await send('sendgrid', sent, headers)).statusCode).toBe(401);
    }
    expect(await kept()).toEqual([]);
  });

  test('a batch is kept wholly or not at all', async () => {
    await sql`alter table inbound add constraint fault check (external_id <> 'c')`.execute(api.db);
    const body = JSON.stringify([event('a'), event('b'), event('c'), event('d')]);
    try {
      expect((await send('sendgrid', body, signed(body))).statusCode).toBe(500);
      expect(await kept()).toEqual([]);
    } finally {
      await sql`alter table inbound drop constraint fault`.execute(api.db);
    }
    expect((await send('sendgrid', body, signed(body))).statusCode).toBe(200);
    expect(await kept()).toHaveLength(4);
  });

  test('batches that hold the same events may arrive at the same time', async () => {
    const ids = Array.from({ length: 40 }, (_, n) => `e${n}`);
    const answers = await Promise.all(
      Array.from({ length: 8 }, async (_, n) => {
        const order = n % 2 === 0 ? ids : [...ids].reverse();
        const body = JSON.stringify(
          order
            .map((id) => event(id, 'delivered'))
            .map((one, i) => ({ ...one, timestamp: 1772445605 + Number(one.sg_event_id.slice(1)), i })),
        );
        return (await send('sendgrid', body, signed(body))).statusCode;
      }),
    );
    expect(new Set(answers)).toEqual(new Set([200]));
    expect(await kept()).toHaveLength(40);
  });

  test('a large batch is taken, a larger one is not', async () => {
    const filler = 'x'.repeat(1_000);
    const body = JSON.stringify(Array.from({ length: 1_500 }, (_, n) => ({ ...event(`e${n}`, 'open'), filler })));
    expect(body.length).toBeGreaterThan(1024 * 1024);
    expect((await send('sendgrid', body, signed(body))).statusCode).toBe(200);
    const huge = `[${'1,'.repeat(2_700_000)}1]`;
    expect((await send('sendgrid', huge, signed(huge))).statusCode).toBe(413);
    expect((await send('postmark', body)).statusCode).toBe(413);
  });
});

// --- Mailgun

describe('Mailgun', () => {
  const payload = (age = 0, key = WEBHOOKS.mailgun ?? '', id = 'evt-1') => {
    const timestamp = String(Math.floor(NOW.getTime() / 1000) - age);
    const token = randomBytes(25).toString('hex');
    const signature = createHmac('sha256', key)
      .update(timestamp + token)
      .digest('hex');
    return {
      signature: { timestamp, token, signature },
      'event-data': { event: 'complained', id, timestamp: 1772445605, recipient: 'ana@example.com' },
    };
  };

  test('a signature in the body, also of a repetition hours later', async () => {
    expect((await send('mailgun', payload())).json()).toEqual({ events: 1 });
    expect((await send('mailgun', payload(8 * 3600))).json()).toEqual({ events: 1 });
    expect(await kept()).toHaveLength(1);
  });

  test('another key, another token, a stale or a future one are refused', async () => {
    const good = payload();
    for (const body of [
      payload(0, 'another key'),
      { ...good, signature: { ...good.signature, token: 'x' } },
      { ...good, signature: { ...good.signature, timestamp: String(Number(good.signature.timestamp) + 1) } },
      { ...good, signature: { ...good.signature, signature: '' } },
      { 'event-data': good['event-data'] },
      payload(13 * 3600),
      payload(-3600),
      {},
      [],
    ]) {
      expect((await send('mailgun', body)).statusCode).toBe(401);
    }
    expect(await kept()).toEqual([]);
  });
});

// --- any other server

describe('any other server', () => {
  const body = JSON.stringify({ events: [{ type: 'bounced', id: 'e1', messageId: '<a@shop.example>' }] });
  const signed = (text: string, age = 0, secret = SECRET) => {
    const t = Math.floor(NOW.getTime() / 1000) - age;
    return { 'x-recuerda-signature': `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${text}`).digest('hex')}` };
  };

  test('with a signature of the last five minutes', async () => {
    expect((await send('generic', body, signed(body))).json()).toEqual({ events: 1 });
    expect((await send('generic', body, signed(body, 290))).statusCode).toBe(200);
    expect(await kept()).toHaveLength(1);
    const { 'x-recuerda-signature': right } = signed(body);
    // While a secret is being changed, there are two.
    const both = right.replace('v1=', 'v1=00ff,v1=');
    expect((await send('generic', body, { 'x-recuerda-signature': both })).statusCode).toBe(200);
  });

  test('anything else is refused', async () => {
    const right = signed(body)['x-recuerda-signature'];
    for (const [text, headers] of [
      [`${body} `, signed(body)],
      [body, signed(body, 301)],
      [body, signed(body, -301)],
      [body, signed(body, 0, 'another secret')],
      [body, { 'x-recuerda-signature': right.replace(/t=\d+/, 't=x') }],
      [body, { 'x-recuerda-signature': right.replace(/,.*/, '') }],
      [body, { 'x-recuerda-signature': '' }],
      [body, {}],
    ] as [string, Record<string, string>][]) {
      expect((await send('generic', text, headers)).statusCode).toBe(401);
    }
    expect(await kept()).toEqual([]);
  });

  test('what is signed but not understood is told where', async () => {
    const wrong = JSON.stringify({ events: [{ type: 'opened', messageId: 'a' }] });
    const answer = await send('generic', wrong, signed(wrong));
    expect([answer.statusCode, answer.json().errors[0].pointer]).toEqual([400, '/events/0/type']);
  });

  test('a body without a content type is read all the same', async () => {
    const answer = await app.inject({
      method: 'POST',
      url: '/webhooks/generic',
      headers: signed(body),
      payload: Buffer.from(body),
    });
    expect(answer.statusCode).toBe(200);
  });

  test('P4 while Postgres is away it is answered 503, comes again, and is kept once', async () => {
    const db = createDb({ url: 'postgres://127.0.0.1:1/none', maxConnections: 2, onError: () => {} });
    const cutOff = await api.another({ ...settings, db });
    const answer = await send('generic', body, signed(body), cutOff);
    await db.destroy();
    expect([answer.statusCode, answer.json().type]).toEqual([503, 'https://recuerda.test/problems/unavailable']);
    expect((await send('generic', body, signed(body))).statusCode).toBe(200);
    expect(await kept()).toHaveLength(1);
  });

  test('P4 when anything else fails inside, it is answered 500', async () => {
    await api.db.schema.alterTable('inbound').renameTo('inbound_away').execute();
    const answer = await send('generic', body, signed(body));
    await api.db.schema.alterTable('inbound_away').renameTo('inbound').execute();
    expect(answer.statusCode).toBe(500);
  });
});

test.each(['ses', 'postmark', 'sendgrid', 'mailgun', 'generic'])(
  '%s is switched off until it is set up',
  async (provider) => {
    const answer = await send(provider, '{}', {}, api.app);
    expect([answer.statusCode, answer.json().detail]).toEqual([
      404,
      expect.stringMatching(/WEBHOOK_[A-Z_]+ is not set/),
    ]);
  },
);

test('nothing of a person is logged', async () => {
  await send('ses', sns());
  await send('ses', sns({ TopicArn: 'another' }));
  await send('postmark', { RecordType: 'Bounce', Email: 'ana@example.com' });
  const lines = api.logged.join('');
  expect(lines).toContain('"provider":"ses","events":2');
  expect(lines).not.toMatch(/@example\.com|user unknown|SELECT|smtp; 550/);
});
