import { createPrivateKey } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeDkimKey } from '../../cli/dkim-key';
import { createDns } from '../../cli/dns';
import { type DnsCheckOptions, dnsCheck } from '../../cli/dns-check';
import { readConfig } from '../../config';
import { dkimRecord } from '../../domain/dkim-record';
import type { DomainReport } from '../../domain/sending-domain';
import { type ServedZone, startDnsServer } from '../support/dns-server';
import { runCommand } from './running-command';

let folder: string;
let complaints: string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'recuerda-dns-'));
});
afterAll(async () => await rm(folder, { recursive: true }));
beforeEach(() => {
  complaints = [];
  jest.spyOn(console, 'error').mockImplementation((text: string) => void complaints.push(text));
});
afterEach(() => jest.restoreAllMocks());

/** What a command prints. */
function paper() {
  let printed = '';
  return {
    write: (text: string) => {
      printed += text;
    },
    text: () => printed,
  };
}

async function keyFor(domain: string, file: string, env: NodeJS.ProcessEnv = {}, selector = 's1') {
  const out = paper();
  const code = await makeDkimKey(env, domain, { selector, out: join(folder, file) }, out);
  return { code, printed: out.text(), file: join(folder, file) };
}

describe('recuerda dkim-key', () => {
  test('makes a key that only its owner can read, and says what to publish and to set', async () => {
    const { code, printed, file } = await keyFor('Shop.example', 'made.pem');
    expect(code).toBe(0);
    const { mode } = await stat(file);
    expect(mode & 0o777).toBe(0o600);
    const key = createPrivateKey(await readFile(file));
    expect([key.asymmetricKeyType, key.asymmetricKeyDetails?.modulusLength]).toEqual(['rsa', 2048]);
    const record = dkimRecord(key);
    expect(printed).toContain(`s1._domainkey.shop.example\n${record}\n`);
    const zone = printed.slice(printed.indexOf('IN TXT'));
    expect([...zone.matchAll(/"([^"]*)"/g)].map(([, text]) => text).join('')).toBe(record);
    expect(printed).not.toContain('PRIVATE');
    // The line that it prints is one that the settings take.
    const line = /^RECUERDA_DKIM_KEYS=(.+)$/m.exec(printed)?.[1] ?? '';
    const { dkimKeys } = readConfig({
      DATABASE_URL: 'postgres://localhost/x',
      TEMPORAL_ADDRESS: 'localhost:7233',
      SMTP_URL: 'smtp://localhost',
      RECUERDA_PUBLIC_URL: 'http://localhost',
      RECUERDA_SECRET: 'x'.repeat(32),
      RECUERDA_DKIM_KEYS: line,
    });
    expect(dkimKeys.map(({ domain, selector }) => [domain, selector])).toEqual([['shop.example', 's1']]);
  });

  test('adds to the keys that there are, and never overwrites one', async () => {
    const first = await keyFor('shop.example', 'kept.pem');
    const before = await readFile(first.file);
    const again = await keyFor('shop.example', 'kept.pem');
    expect([again.code, again.printed, complaints.join()]).toEqual([
      1,
      '',
      expect.stringContaining('never overwritten'),
    ]);
    expect((await readFile(first.file)).equals(before)).toBe(true);
    const env = { RECUERDA_DKIM_KEYS: 'shop.example:s1:/keys/a.pem' };
    const second = await keyFor('other.example', 'second.pem', env, '2026-10');
    expect(second.printed).toContain(
      `RECUERDA_DKIM_KEYS=shop.example:s1:/keys/a.pem,other.example:2026-10:${second.file}\n`,
    );
  });

  test.each([
    ['shop', 's1', 'no domain name'],
    ['shop.example', 'S 1', 'selector'],
    ['shop.example', 'a.b', 'selector'],
  ])('%s with selector %s is refused', async (domain, selector, words) => {
    const { code } = await keyFor(domain, 'refused.pem', {}, selector);
    expect([code, complaints.join()]).toEqual([1, expect.stringContaining(words)]);
    await expect(stat(join(folder, 'refused.pem'))).rejects.toThrow('ENOENT');
  });

  test('a folder that is not there is told', async () => {
    const { code } = await keyFor('shop.example', 'nowhere/key.pem');
    expect([code, complaints.join()]).toEqual([1, expect.stringContaining('ENOENT')]);
  });
});

describe('recuerda dns-check, asking a real name server', () => {
  const SMTP: NodeJS.ProcessEnv = {
    SMTP_URL: 'smtps://user:password@smtp.office365.com:465',
    RECUERDA_PUBLIC_URL: 'https://mail.shop.example',
    RECUERDA_REPLY_ADDRESS: 'replies@shop.example',
    RECUERDA_RETURN_PATH: 'bounces@mail.shop.example',
  };
  let env: NodeJS.ProcessEnv;
  let zone: ServedZone;
  beforeAll(async () => {
    const { file } = await keyFor('shop.example', 'asked.pem');
    env = { ...SMTP, RECUERDA_DKIM_KEYS: `shop.example:s1:${file}` };
    const record = dkimRecord(createPrivateKey(await readFile(file)));
    const mx = [[10, 'mx.shop.example']] as const;
    zone = {
      'shop.example': { mx },
      'mail.shop.example': { mx, txt: [['v=spf1 include:spf.protection.outlook.com', ' -all']] },
      'spf.protection.outlook.com': { txt: [['v=spf1 ip4:192.0.2.0/24 -all']] },
      // Longer than one string may be, as such records are.
      's1._domainkey.shop.example': { txt: [[record.slice(0, 255), record.slice(255)]] },
      '_dmarc.shop.example': { txt: [['v=DMARC1; p=none; rua=mailto:d@shop.example']] },
      'mx.shop.example': { a: ['192.0.2.1'] },
    };
  });

  async function run(served: ServedZone, options: DnsCheckOptions = {}) {
    const { server, stop } = await startDnsServer(served);
    try {
      const out = paper();
      const code = await dnsCheck(env, 'shop.example', { ...options, server: [server] }, out);
      return { code, printed: out.text() };
    } finally {
      await stop();
    }
  }

  test('0 when all is well', async () => {
    const { code, printed } = await run(zone);
    expect([code, printed]).toEqual([0, expect.stringContaining('shop.example is set up for sending.')]);
    expect(printed).not.toMatch(/MISSING|WRONG|NOT ASKED/);
    expect(printed).not.toContain('password');
  });

  test('1 when something is missing, with the record to publish', async () => {
    const { code, printed } = await run({ ...zone, 's1._domainkey.shop.example': {} });
    expect(code).toBe(1);
    expect(printed).toMatch(/^MISSING {3}DKIM {2}s1\._domainkey\.shop\.example/m);
    expect(printed).toMatch(/^ +v=DKIM1; k=rsa; p=[\w+/=]{300,}$/m);
    expect(printed).toContain('s1._domainkey.shop.example. IN TXT ( "v=DKIM1');
  });

  test('2 when the DNS fails, which is not the same', async () => {
    const { code, printed } = await run({ ...zone, '_dmarc.shop.example': { rcode: 2 } });
    expect(code).toBe(2);
    expect(printed).toMatch(/^NOT ASKED DMARC/m);
    expect(printed).toContain('ESERVFAIL');
  });

  test('as JSON', async () => {
    const { printed } = await run(zone, { json: true });
    const report = JSON.parse(printed) as DomainReport;
    expect([report.domain, report.verdict]).toEqual(['shop.example', 'good']);
    expect(report.records.map(({ record, name, status }) => `${record} ${name} ${status}`)).toEqual([
      'spf mail.shop.example ok',
      'spf shop.example ok',
      'dkim s1._domainkey.shop.example ok',
      'dmarc _dmarc.shop.example ok',
      'mx shop.example ok',
      'mx mail.shop.example ok',
    ]);
  });

  test('what is no domain is refused', async () => {
    expect(await dnsCheck(env, 'http://shop.example', {}, paper(), createDns(['127.0.0.1:1']))).toBe(1);
    expect(complaints.join()).toContain('is no domain name');
  });

  test('as a command, without a database or a Temporal server', async () => {
    const { server, stop } = await startDnsServer(zone);
    try {
      const command = runCommand(['dns-check', 'shop.example', '--server', server], folder, env);
      expect([await command.ends(), command.output()]).toEqual([0, expect.stringContaining('is set up for sending')]);
    } finally {
      await stop();
    }
  });
});
