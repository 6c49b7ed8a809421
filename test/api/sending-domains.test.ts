import { generateKeyPairSync } from 'node:crypto';
import { dkimRecord } from '../../domain/dkim-record';
import { publishedDns } from '../support/published-dns';
import { type ApiUnderTest, apiUnderTest, get } from './api-under-test';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await apiUnderTest();
});
afterAll(async () => await api.close());

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const smtp = { url: 'smtps://u:p@smtp.eu.mailgun.org', connections: 1, oauth2: null, returnPath: null };
const config = {
  smtp: { transactional: smtp, requested: smtp, marketing: smtp },
  dkimKeys: [{ domain: 'shop.example', selector: 's1', privateKey }],
};

test('what is published, and what should be', async () => {
  const dns = publishedDns({
    'shop.example': { txt: ['v=spf1 include:mailgun.org ~all'], mx: 'ETIMEOUT' },
    'mailgun.org': { txt: ['v=spf1 ip4:192.0.2.0/24 ~all'] },
    '_dmarc.shop.example': { txt: ['v=DMARC1; p=none; rua=mailto:d@shop.example'] },
  });
  const app = await api.another({ config, dns });
  const answer = await get(app, '/v1/sending/domains/Shop.example');
  expect(answer.statusCode).toBe(200);
  const report = answer.json();
  expect([report.domain, report.verdict]).toEqual(['shop.example', 'needs-work']);
  expect(report.records).toEqual([
    expect.objectContaining({ record: 'spf', status: 'ok', is: ['v=spf1 include:mailgun.org ~all'], shouldBe: null }),
    expect.objectContaining({
      record: 'dkim',
      name: 's1._domainkey.shop.example',
      status: 'missing',
      shouldBe: dkimRecord(privateKey),
      findings: [{ severity: 'wrong', code: 'missing', text: expect.any(String) }],
    }),
    expect.objectContaining({ record: 'dmarc', status: 'ok' }),
    expect.objectContaining({ record: 'mx', status: 'unknown' }),
  ]);
  expect(answer.body).not.toContain('PRIVATE');
});

test.each(['shop', '192.0.2.1', 'a%20b.example', 'shop.example:80'])('%s is no domain', async (domain) => {
  const answer = await get(api.app, `/v1/sending/domains/${domain}`);
  expect([answer.statusCode, answer.json().errors]).toEqual([
    400,
    [{ pointer: '/domain', in: 'path', detail: expect.any(String) }],
  ]);
});
