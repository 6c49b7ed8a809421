import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { dkimRecord, zoneLine } from '../../domain/dkim-record';
import { domainNameOf } from '../../domain/dns';
import { mailProviderOf } from '../../domain/mail-providers';
import { checkSendingDomain, type RecordReport, type SendingSetup } from '../../domain/sending-domain';
import { sendingSetup } from '../../domain/sending-setup';
import { spfRecord } from '../../domain/spf';
import { type Published, publishedDns } from '../support/published-dns';

const rsa = (bits = 2048): KeyObject => generateKeyPairSync('rsa', { modulusLength: bits }).privateKey;
const KEY = rsa();
const OTHER_KEY = rsa();
const WEAK_KEY = rsa(1024);
const DKIM = dkimRecord(KEY);

/** One server carries all streams. */
function setupFor(
  smtpHost = 'smtp.office365.com',
  change: Partial<SendingSetup> & { returnPath?: string | null; local?: boolean } = {},
): SendingSetup {
  const { returnPath = null, local = false, ...rest } = change;
  return {
    streams: (['transactional', 'requested', 'marketing'] as const).map((stream) => ({
      stream,
      smtpHost,
      local,
      returnPath,
    })),
    dkimKeys: [{ domain: 'shop.example', selector: 's1', privateKey: KEY }],
    replyAddress: null,
    ...rest,
  };
}

const GOOD: Readonly<Record<string, Published>> = {
  'shop.example': {
    txt: ['google-site-verification=abc', 'v=spf1 include:spf.protection.outlook.com -all'],
    mx: [{ exchange: 'mx.shop.example', priority: 10 }],
  },
  'spf.protection.outlook.com': { txt: ['v=spf1 ip4:40.92.0.0/15 ip6:2a01:111:f403::/48 -all'] },
  's1._domainkey.shop.example': { txt: [DKIM] },
  '_dmarc.shop.example': { txt: ['v=DMARC1; p=quarantine; rua=mailto:dmarc@shop.example'] },
  'mx.shop.example': { addresses: ['192.0.2.1'] },
};

async function check(zone: Readonly<Record<string, Published>>, setup = setupFor(), domain = 'shop.example') {
  const report = await checkSendingDomain(domain, setup, publishedDns({ ...GOOD, ...zone }));
  const of = (record: RecordReport['record'], name?: string) => {
    const found = report.records.find((one) => one.record === record && (name === undefined || one.name === name));
    if (found === undefined) throw new Error(`there is no report on ${record} ${name ?? ''}`);
    return { ...found, codes: found.findings.map(({ code }) => code) };
  };
  return { ...report, of };
}

test('a domain that is set up well', async () => {
  const report = await check({});
  expect(report.verdict).toBe('good');
  expect(report.records.map(({ record, name, status, shouldBe }) => [record, name, status, shouldBe])).toEqual([
    ['spf', 'shop.example', 'ok', null],
    ['dkim', 's1._domainkey.shop.example', 'ok', null],
    ['dmarc', '_dmarc.shop.example', 'ok', null],
    ['mx', 'shop.example', 'ok', null],
  ]);
  expect(report.of('mx').is).toEqual(['10 mx.shop.example.']);
});

test('a domain with nothing published is told all of it, word for word', async () => {
  const report = await checkSendingDomain('shop.example', setupFor(), publishedDns({}));
  expect(report.verdict).toBe('needs-work');
  expect(report.records.map(({ record, status, shouldBe }) => [record, status, shouldBe])).toEqual([
    ['spf', 'missing', 'v=spf1 include:spf.protection.outlook.com ~all'],
    ['dkim', 'missing', DKIM],
    ['dmarc', 'missing', 'v=DMARC1; p=none; rua=mailto:dmarc-reports@shop.example'],
    ['mx', 'missing', null],
  ]);
});

test('that the DNS fails is not that nothing is published', async () => {
  const failing = Object.fromEntries(
    ['shop.example', 's1._domainkey.shop.example', '_dmarc.shop.example'].map((name) => [
      name,
      { txt: 'ESERVFAIL', mx: 'ETIMEOUT' },
    ]),
  );
  const report = await check(failing);
  expect(report.verdict).toBe('incomplete');
  expect(report.records.map(({ status, shouldBe, record }) => [record, status, shouldBe])).toEqual([
    ['spf', 'unknown', null],
    ['dkim', 'unknown', DKIM],
    ['dmarc', 'unknown', null],
    ['mx', 'unknown', null],
  ]);
  expect(report.of('mx').findings[0]?.text).toContain('ETIMEOUT');
  // What is known to be wrong weighs more.
  const both = await check({ ...failing, 's1._domainkey.shop.example': { txt: [] } });
  expect(both.verdict).toBe('needs-work');
});

describe('SPF', () => {
  const spfOf = async (txt: string[], others: Record<string, Published> = {}, setup = setupFor()) =>
    (await check({ 'shop.example': { txt, mx: GOOD['shop.example']?.mx ?? [] }, ...others }, setup)).of(
      'spf',
      'shop.example',
    );

  test('several records are a broken one; they are joined', async () => {
    const spf = await spfOf(['v=spf1 ip4:192.0.2.7 -all', 'v=spf1 include:spf.protection.outlook.com ~all']);
    expect(spf.status).toBe('wrong');
    expect(spf.codes).toContain('several-records');
    expect(spf.shouldBe).toBe('v=spf1 ip4:192.0.2.7 include:spf.protection.outlook.com -all');
  });

  test('who carries the mail is added before the end', async () => {
    const spf = await spfOf(['v=spf1 mx -all'], {}, setupFor('smtp-relay.gmail.com'));
    expect([spf.status, spf.codes, spf.shouldBe]).toEqual([
      'wrong',
      ['sender-not-allowed'],
      'v=spf1 mx include:_spf.google.com -all',
    ]);
  });

  test('an include further down counts too', async () => {
    const spf = await spfOf(['v=spf1 include:all.shop.example ~all'], {
      'all.shop.example': { txt: ['v=spf1 include:spf.protection.outlook.com ~all'] },
    });
    expect([spf.status, spf.codes]).toEqual(['ok', []]);
  });

  test.each([
    ['v=spf1 include:spf.protection.outlook.com +all', 'wrong', 'passes-everybody'],
    ['v=spf1 include:spf.protection.outlook.com all', 'wrong', 'passes-everybody'],
    ['v=spf1 include:spf.protection.outlook.com ?all', 'warning', 'neutral'],
    ['v=spf1 include:spf.protection.outlook.com', 'warning', 'no-all'],
  ])('%s is %s', async (record, status, code) => {
    const spf = await spfOf([record]);
    expect([spf.status, spf.codes, spf.shouldBe]).toEqual([
      status,
      [code],
      'v=spf1 include:spf.protection.outlook.com ~all',
    ]);
  });

  test.each([
    ['v=spf1 include:spf.protection.outlook.com ipv4:192.0.2.1 ~all', 'syntax'],
    ['v=spf1 include:spf.protection.outlook.com ip4:mail.shop.example ~all', 'syntax'],
    ['v=spf1 include:spf.protection.outlook.com include: ~all', 'syntax'],
    ['v=spf1 include:spf.protection.outlook.com include:gone.example ~all', 'include-without-record'],
    ['v=spf1 include:spf.protection.outlook.com include:shop.example ~all', 'loop'],
  ])('%s is broken', async (record, code) => {
    const spf = await spfOf([record]);
    expect([spf.status, spf.codes, spf.shouldBe]).toEqual(['wrong', [code], null]);
  });

  test('ptr is warned of, an unknown modifier and a macro are not', async () => {
    expect((await spfOf(['v=spf1 include:spf.protection.outlook.com ptr ~all'])).codes).toEqual(['ptr']);
    const fine = 'v=spf1 include:spf.protection.outlook.com include:%{ir}.x.example exp=why.shop.example ~all';
    expect((await spfOf([fine])).status).toBe('ok');
  });

  test('look-ups are counted through includes: ten are allowed, eleven are not', async () => {
    const many = (count: number) => ({
      'many.example': { txt: [`v=spf1 ${Array.from({ length: count }, (_, n) => `a:h${n}.example`).join(' ')} ~all`] },
    });
    const record = ['v=spf1 include:spf.protection.outlook.com include:many.example ~all'];
    expect((await spfOf(record, many(8))).status).toBe('ok');
    const eleven = await spfOf(record, many(9));
    expect([eleven.status, eleven.codes]).toEqual(['wrong', ['too-many-lookups']]);
  });

  test('a redirect is followed, and stands for the end', async () => {
    const spf = await spfOf(['v=spf1 redirect=spf.protection.outlook.com']);
    expect([spf.status, spf.codes]).toEqual(['ok', []]);
  });

  test('records that include one another hundreds of times do not keep us busy', async () => {
    const zone = Object.fromEntries(
      Array.from({ length: 30 }, (_, n) => [
        `n${n}.example`,
        { txt: [`v=spf1 include:n${n + 1}.example include:n${n + 2}.example ~all`] },
      ]),
    );
    const dns = publishedDns({ ...GOOD, ...zone, 'shop.example': { txt: ['v=spf1 include:n0.example ~all'] } });
    await checkSendingDomain('shop.example', setupFor(), dns);
    expect(dns.asked.length).toBeLessThan(80);
  });

  test('where an included name can not be asked, the record is not called wrong', async () => {
    const spf = await spfOf(['v=spf1 include:spf.protection.outlook.com ~all'], {
      'spf.protection.outlook.com': { txt: 'ETIMEOUT' },
    });
    expect([spf.status, spf.codes]).toEqual(['unknown', ['not-asked']]);
  });

  test('a provider with a return path of its own needs none of ours, but is better with it', async () => {
    const spf = await spfOf(['v=spf1 mx -all'], {}, setupFor('email-smtp.eu-west-1.amazonaws.com'));
    expect([spf.status, spf.codes, spf.shouldBe]).toEqual([
      'warning',
      ['sender-not-allowed'],
      'v=spf1 mx include:amazonses.com -all',
    ]);
  });

  test('a server of one’s own is named, and one on this machine can not be', async () => {
    const own = await spfOf([], {}, setupFor('mail.shop.example'));
    expect([own.status, own.shouldBe]).toEqual(['missing', 'v=spf1 a:mail.shop.example ~all']);
    expect((await spfOf(['v=spf1 ip4:192.0.2.9 -all'], {}, setupFor('mail.shop.example'))).status).toBe('ok');
    const local = await spfOf([], {}, setupFor('127.0.0.1', { local: true }));
    expect([local.status, local.codes, local.shouldBe]).toEqual(['ok', ['local-server'], null]);
  });

  test.each([
    [[], ['include:a.example'], 'v=spf1 include:a.example ~all'],
    [['mx', 'exp=x.example', '-all'], ['include:a.example'], 'v=spf1 mx include:a.example exp=x.example -all'],
    [['redirect=b.example'], ['include:a.example'], 'v=spf1 include:a.example redirect=b.example'],
    [['include:A.example', '~all'], ['include:a.example'], 'v=spf1 include:A.example ~all'],
  ])('%j with %j is %s', (terms, wanted, record) => {
    expect(spfRecord(terms, wanted)).toBe(record);
  });
});

describe('the return path', () => {
  const setup = setupFor('smtp.office365.com', { returnPath: 'bounces@mail.shop.example' });
  const MAIL: Published = {
    txt: ['v=spf1 include:spf.protection.outlook.com -all'],
    mx: [{ exchange: 'mx.shop.example', priority: 10 }],
  };

  test('has its own SPF and MX: bounces must arrive', async () => {
    const good = await check({ 'mail.shop.example': MAIL }, setup);
    expect(good.verdict).toBe('good');
    expect(good.of('spf', 'mail.shop.example').status).toBe('ok');
    expect(good.of('mx', 'mail.shop.example').status).toBe('ok');
    const bad = await check({}, setup);
    expect(bad.of('spf', 'mail.shop.example').status).toBe('missing');
    expect(bad.of('mx', 'mail.shop.example').status).toBe('missing');
    // The name in From is then not the one that SPF is about.
    const bare = await check({ 'mail.shop.example': MAIL, 'shop.example': { mx: MAIL.mx ?? [] } }, setup);
    expect([bare.verdict, bare.of('spf', 'shop.example').codes]).toEqual(['good', ['missing']]);
  });

  test('that is not aligned leaves DMARC to DKIM', async () => {
    const strict = await check(
      {
        'mail.shop.example': MAIL,
        '_dmarc.shop.example': { txt: ['v=DMARC1; p=none; rua=mailto:d@shop.example; aspf=s'] },
      },
      setup,
    );
    expect(strict.of('spf', 'mail.shop.example').codes).toEqual(['not-aligned']);
    expect(strict.verdict).toBe('good');
    const elsewhere = setupFor('smtp.office365.com', { returnPath: 'bounces@other.example' });
    expect((await check({ 'other.example': MAIL }, elsewhere)).of('spf', 'other.example').codes).toEqual([
      'not-aligned',
    ]);
  });

  test('of a provider that puts its own needs no MX', async () => {
    const ses = setupFor('email-smtp.eu-west-1.amazonaws.com', { returnPath: 'bounces@mail.shop.example' });
    const report = await check({}, ses);
    expect(report.records.filter(({ record }) => record === 'mx').map(({ name }) => name)).toEqual(['shop.example']);
  });
});

describe('DKIM', () => {
  const dkimOf = async (txt: string[], setup = setupFor()) =>
    (await check({ 's1._domainkey.shop.example': { txt } }, setup)).of('dkim');
  const p = (key: KeyObject) => dkimRecord(key).replace(/^.*p=/, '');

  test.each([
    ['another key', [dkimRecord(OTHER_KEY)], ['another-key']],
    ['another key that is short as well', [dkimRecord(WEAK_KEY)], ['another-key', 'too-short']],
    ['a revoked key', ['v=DKIM1; k=rsa; p='], ['revoked']],
    [
      'a key for another algorithm',
      ['v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo='],
      ['not-rsa'],
    ],
    ['a key for sha1 only', [`v=DKIM1; h=sha1; p=${p(KEY)}`], ['no-sha256']],
    ['a key for something else', [`v=DKIM1; s=other; p=${p(KEY)}`], ['not-for-mail']],
    ['no key at all', ['hello'], ['syntax']],
    ['a record of another version', [`v=DKIM2; p=${p(KEY)}`], ['syntax']],
    ['two records', [DKIM, dkimRecord(OTHER_KEY)], ['several-records']],
  ])('%s is wrong', async (_, txt, codes) => {
    const dkim = await dkimOf(txt);
    expect([dkim.status, dkim.codes, dkim.shouldBe]).toEqual(['wrong', codes, DKIM]);
  });

  test.each([
    ['blanks in the key', `v=DKIM1;k=rsa; p=${p(KEY).replace(/(.{60})/g, '$1 ')}`],
    ['no version and no type', `p=${p(KEY)}`],
    ['everything that is allowed', `v=DKIM1; h=sha1:sha256; s=email:*; n=ours; t=s; p=${p(KEY)}`],
  ])('%s is right', async (_, txt) => {
    expect([(await dkimOf([txt])).status]).toEqual(['ok']);
  });

  test('testing is warned of', async () => {
    const dkim = await dkimOf([`v=DKIM1; t=y; p=${p(KEY)}`]);
    expect([dkim.status, dkim.codes]).toEqual(['warning', ['testing']]);
  });

  test('without a key, it is told how to make one', async () => {
    const report = await check({}, setupFor('smtp.office365.com', { dkimKeys: [] }));
    expect(report.verdict).toBe('needs-work');
    expect(report.of('dkim').findings[0]?.text).toContain('npx recuerda dkim-key shop.example');
  });

  test('each selector of the nearest domain is looked at', async () => {
    const dkimKeys = [
      { domain: 'shop.example', selector: 's1', privateKey: KEY },
      { domain: 'shop.example', selector: 's2', privateKey: OTHER_KEY },
      { domain: 'news.shop.example', selector: 'n', privateKey: OTHER_KEY },
      { domain: 'another.example', selector: 's1', privateKey: OTHER_KEY },
    ];
    const setup = setupFor('smtp.office365.com', { dkimKeys });
    const names = async (domain: string) =>
      (await check({}, setup, domain)).records.filter(({ record }) => record === 'dkim').map(({ name }) => name);
    expect(await names('shop.example')).toEqual(['s1._domainkey.shop.example', 's2._domainkey.shop.example']);
    expect(await names('a.news.shop.example')).toEqual(['n._domainkey.news.shop.example']);
    expect(await names('nothing.example')).toEqual(['_domainkey.nothing.example']);
  });

  test('a key of the domain above counts, unless DMARC is strict', async () => {
    const relaxed = await check({}, setupFor(), 'mail.shop.example');
    expect(relaxed.of('dkim').codes).toEqual([]);
    const strict = await check(
      { '_dmarc.shop.example': { txt: ['v=DMARC1; p=none; rua=mailto:d@shop.example; adkim=s'] } },
      setupFor(),
      'mail.shop.example',
    );
    expect([strict.of('dkim').status, strict.of('dkim').codes]).toEqual(['wrong', ['not-aligned']]);
    // Where only the name below has a record, the two are organisations of their own (RFC 9989, 4.10.2).
    const apart = await check(
      {
        '_dmarc.shop.example': { txt: [] },
        '_dmarc.mail.shop.example': { txt: ['v=DMARC1; p=none; rua=mailto:d@mail.shop.example'] },
      },
      setupFor(),
      'mail.shop.example',
    );
    expect(apart.of('dkim').codes).toEqual(['not-aligned']);
  });

  test('a line for a zone file has strings of 255 characters at most', () => {
    const line = zoneLine('s1._domainkey.shop.example', DKIM);
    const strings = [...line.matchAll(/"([^"]*)"/g)].map(([, text = '']) => text);
    expect(strings.length).toBeGreaterThan(1);
    expect(Math.max(...strings.map((text) => text.length))).toBeLessThanOrEqual(255);
    expect(strings.join('')).toBe(DKIM);
    expect(zoneLine('a.example', 'say "hi"')).toBe('a.example. IN TXT "say \\"hi\\""');
  });
});

describe('DMARC', () => {
  const dmarcOf = async (txt: string[], zone: Record<string, Published> = {}, domain = 'shop.example') =>
    (await check({ '_dmarc.shop.example': { txt }, ...zone }, setupFor(), domain)).of('dmarc');

  test.each([
    ['v=DMARC1; p=none; rua=mailto:d@shop.example', 'ok', ['policy-none'], null],
    ['v=DMARC1; p=reject; rua=mailto:d@shop.example', 'ok', [], null],
    ['v=DMARC1; p=QUARANTINE; rua=mailto:d@reports.shop.example!10m', 'ok', [], null],
    ['v=DMARC1; p=reject', 'warning', ['no-reports'], 'v=DMARC1; p=reject; rua=mailto:dmarc-reports@shop.example'],
    ['v=DMARC1; rua=mailto:d@shop.example', 'wrong', ['no-policy'], 'v=DMARC1; rua=mailto:d@shop.example; p=none'],
    [
      'v=DMARC1; p=all; rua=mailto:d@shop.example',
      'wrong',
      ['no-policy'],
      'v=DMARC1; p=none; rua=mailto:d@shop.example',
    ],
    [
      'v=DMARC1 p=none rua=mailto:d@shop.example;',
      'missing',
      ['missing'],
      'v=DMARC1; p=none; rua=mailto:dmarc-reports@shop.example',
    ],
  ])('%s is %s', async (record, status, codes, shouldBe) => {
    const dmarc = await dmarcOf([record]);
    expect([dmarc.status, dmarc.codes, dmarc.shouldBe]).toEqual([status, codes, shouldBe]);
  });

  test('two records are none', async () => {
    const dmarc = await dmarcOf(['v=DMARC1; p=none', 'v=DMARC1; p=reject']);
    expect([dmarc.status, dmarc.codes]).toEqual(['wrong', ['several-records']]);
  });

  test('pct is told to be gone', async () => {
    expect((await dmarcOf(['v=DMARC1; p=reject; pct=20; rua=mailto:d@shop.example'])).codes).toEqual(['pct']);
  });

  test('the record of the domain above holds, with its policy for those below', async () => {
    const inherited = await dmarcOf(
      ['v=DMARC1; p=reject; sp=none; rua=mailto:d@shop.example'],
      {},
      'mail.shop.example',
    );
    expect([inherited.name, inherited.status, inherited.codes]).toEqual(['_dmarc.shop.example', 'ok', ['policy-none']]);
  });

  test('where none is published, it belongs where the key is', async () => {
    const dmarc = await dmarcOf([], {}, 'mail.shop.example');
    expect([dmarc.status, dmarc.name]).toEqual(['missing', '_dmarc.shop.example']);
  });

  test('reports to another domain need its consent', async () => {
    const record = ['v=DMARC1; p=reject; rua=mailto:d@reports.example'];
    const refused = await dmarcOf(record);
    expect([refused.status, refused.codes]).toEqual(['warning', ['reports-not-agreed']]);
    expect(refused.findings[0]?.text).toContain('shop.example._report._dmarc.reports.example');
    const consent = { 'shop.example._report._dmarc.reports.example': { txt: ['v=DMARC1'] } };
    expect((await dmarcOf(record, consent)).codes).toEqual([]);
    const failing = { 'shop.example._report._dmarc.reports.example': { txt: 'ETIMEOUT' } };
    expect((await dmarcOf(record, failing)).codes).toEqual([]);
  });
});

describe('MX', () => {
  const mxOf = async (published: Published, others: Record<string, Published> = {}) =>
    (await check({ 'shop.example': { txt: GOOD['shop.example']?.txt ?? [], ...published }, ...others })).of('mx');

  test('a null MX takes no answers', async () => {
    const mx = await mxOf({ mx: [{ exchange: '', priority: 0 }] });
    expect([mx.status, mx.codes, mx.is]).toEqual(['wrong', ['null-mx'], ['0 .']]);
  });

  test('without an MX, the address of the name stands for it', async () => {
    const implicit = await mxOf({ addresses: ['192.0.2.1'] });
    expect([implicit.status, implicit.codes]).toEqual(['warning', ['implicit-mx']]);
    expect((await mxOf({})).status).toBe('missing');
    expect((await mxOf({ addresses: 'ESERVFAIL' })).status).toBe('unknown');
  });

  test('hosts must have an address', async () => {
    const mx = [
      { exchange: 'gone.example', priority: 20 },
      { exchange: 'mx.shop.example', priority: 10 },
    ];
    const one = await mxOf({ mx });
    expect([one.status, one.is]).toEqual(['warning', ['10 mx.shop.example.', '20 gone.example.']]);
    expect((await mxOf({ mx: mx.slice(0, 1) })).status).toBe('wrong');
    expect((await mxOf({ mx }, { 'gone.example': { addresses: 'ETIMEOUT' } })).status).toBe('ok');
  });

  test('answers must arrive where they go', async () => {
    const setup = setupFor('smtp.office365.com', { replyAddress: 'replies@answers.example' });
    const report = await check({}, setup);
    expect([report.verdict, report.of('mx', 'answers.example').status]).toEqual(['needs-work', 'missing']);
  });
});

test.each([
  ['email-smtp.eu-west-1.amazonaws.com', 'Amazon SES'],
  ['smtp.sendgrid.net', 'SendGrid'],
  ['smtp.eu.mailgun.org', 'Mailgun'],
  ['smtp-broadcasts.postmarkapp.com', 'Postmark'],
  ['smtp-relay.gmail.com', 'Google'],
  ['SMTP.office365.com', 'Microsoft 365'],
  ['shop-example.mail.protection.outlook.com', 'Microsoft 365'],
  ['smtp.ionos.es', 'IONOS'],
])('%s is %s', (host, name) => {
  expect(mailProviderOf(host)?.name).toBe(name);
});

test('a host that only looks like a provider’s is none', () => {
  expect(mailProviderOf('mysendgrid.net')).toBeNull();
  expect(mailProviderOf('sendgrid.net.shop.example')).toBeNull();
});

test('the setup is read from the settings', () => {
  const at = (url: string, returnPath: string | null = null) => ({ url, returnPath });
  const { streams } = sendingSetup({
    smtp: {
      transactional: at('smtps://u:p@smtp.postmarkapp.com:465'),
      requested: at('smtp://127.0.0.1:25', 'bounces@shop.example'),
      marketing: at('smtp://mailbox:1025?ignoreTLS=true'),
    },
    dkimKeys: [],
    replyAddress: null,
  });
  expect(streams).toEqual([
    { stream: 'transactional', smtpHost: 'smtp.postmarkapp.com', local: false, returnPath: null },
    { stream: 'requested', smtpHost: '127.0.0.1', local: true, returnPath: 'bounces@shop.example' },
    { stream: 'marketing', smtpHost: 'mailbox', local: true, returnPath: null },
  ]);
});

test.each([
  ['Shop.Example.', 'shop.example'],
  ['mañana.example', 'xn--maana-pta.example'],
  ['_spf.shop.example', '_spf.shop.example'],
  ['example', null],
  ['192.0.2.1', null],
  ['shop.example/x', null],
  ['shop.example:80', null],
  ['a@shop.example', null],
  ['-x.example', null],
  ['', null],
  [`${'a'.repeat(64)}.example`, null],
])('the domain name in "%s" is %s', (text, name) => {
  expect(domainNameOf(text)).toBe(name);
});
