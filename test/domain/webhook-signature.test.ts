import { Webhook } from 'standardwebhooks';
import { endpointSecret, isSignedWebhook, signWebhook } from '../../domain/webhook-signature';

// The example that the reference libraries of Standard Webhooks publish.
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const ID = 'msg_p5jXN8AQM9LWM0D4loKWxJek';
const AT = new Date(1614265330 * 1000);
const BODY = '{"test": 2432232314}';
const SIGNATURE = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=';
const HEADERS = { 'webhook-id': ID, 'webhook-timestamp': '1614265330', 'webhook-signature': SIGNATURE };

test('the published example of Standard Webhooks is signed so, and found right', () => {
  expect(signWebhook(ID, BODY, [SECRET], AT)).toEqual(HEADERS);
  expect(isSignedWebhook(HEADERS, Buffer.from(BODY), SECRET, AT)).toBe(true);
  expect(isSignedWebhook(HEADERS, BODY, SECRET.replace('whsec_', ''), AT)).toBe(true);
});

test('one right signature among several is enough, whatever else stands there', () => {
  const several = { ...HEADERS, 'webhook-signature': `v1a,abc v2,def v1,bm9wZQ== ${SIGNATURE} nonsense` };
  expect(isSignedWebhook(several, BODY, SECRET, AT)).toBe(true);
});

test.each([
  ['another body', HEADERS, `${BODY} `, SECRET, AT],
  ['another id', { ...HEADERS, 'webhook-id': 'msg_2' }, BODY, SECRET, AT],
  ['another time', { ...HEADERS, 'webhook-timestamp': '1614265331' }, BODY, SECRET, AT],
  ['another secret', HEADERS, BODY, 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD', AT],
  ['no secret', HEADERS, BODY, 'whsec_', AT],
  ['another scheme', { ...HEADERS, 'webhook-signature': SIGNATURE.replace('v1,', 'v2,') }, BODY, SECRET, AT],
  ['a fraction of a second', { ...HEADERS, 'webhook-timestamp': '1614265330.0' }, BODY, SECRET, AT],
  ['no signature', { ...HEADERS, 'webhook-signature': '' }, BODY, SECRET, AT],
  ['no id', { ...HEADERS, 'webhook-id': undefined }, BODY, SECRET, AT],
  ['six minutes ago', HEADERS, BODY, SECRET, new Date(AT.getTime() + 6 * 60_000)],
  ['in six minutes', HEADERS, BODY, SECRET, new Date(AT.getTime() - 6 * 60_000)],
])('refused: %s', (_, headers, body, secret, now) => {
  expect(isSignedWebhook(headers, Buffer.from(body), secret, now)).toBe(false);
});

test('bodies are signed as bytes, also where they are no UTF-8', () => {
  const body = Buffer.from([0x7b, 0xff, 0xfe, 0x7d]);
  const signed = signWebhook(ID, body.toString('latin1'), [SECRET], AT);
  expect(isSignedWebhook(signed, body, SECRET, AT)).toBe(false);
});

test('the library of Standard Webhooks finds our signatures right, with the old secret as with the new one', () => {
  const key = Buffer.alloc(32, 1);
  const secrets = [2, 1].map((version) => endpointSecret(key, 'e1', version));
  const headers = { ...signWebhook('d1', '{"a":"ñ"}', secrets, new Date()) };
  for (const secret of secrets) expect(new Webhook(secret).verify('{"a":"ñ"}', headers)).toEqual({ a: 'ñ' });
  expect(() => new Webhook(endpointSecret(key, 'e2', 1)).verify('{"a":"ñ"}', headers)).toThrow('No matching');
});

test('every endpoint and version has a secret of its own, which only the key gives', () => {
  const key = Buffer.alloc(32, 1);
  const secrets = [
    endpointSecret(key, 'e1', 1),
    endpointSecret(key, 'e1', 2),
    endpointSecret(key, 'e2', 1),
    endpointSecret(Buffer.alloc(32, 2), 'e1', 1),
  ];
  expect(new Set(secrets).size).toBe(4);
  for (const secret of secrets) expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
});
