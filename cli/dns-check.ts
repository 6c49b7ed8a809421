import { readConfig } from '../config';
import { zoneLine } from '../domain/dkim-record';
import { type Dns, domainNameOf } from '../domain/dns';
import { checkSendingDomain, type DomainReport, type RecordReport, type RecordStatus } from '../domain/sending-domain';
import { sendingSetup } from '../domain/sending-setup';
import { createDns } from './dns';

export interface DnsCheckOptions {
  json?: boolean;
  /** Name servers to ask in place of this machine's, `address` or `address:port`. */
  server?: string[];
}

/** What the check does not look at, so that it also runs where only the settings of mail are known. */
const NOT_LOOKED_AT = {
  DATABASE_URL: 'postgres://localhost/recuerda',
  TEMPORAL_ADDRESS: 'localhost:7233',
  SMTP_URL: 'smtp://127.0.0.1:25',
  RECUERDA_PUBLIC_URL: 'http://localhost:3000',
  RECUERDA_SECRET: 'nothing is keyed or signed in a check of the DNS',
};

/**
 * `recuerda dns-check`: prints what is published about a domain and what should be.
 *
 * @returns the exit code: 0 all is well, 1 something is missing or wrong, 2 the DNS could not be asked
 * @throws ConfigError when the settings of mail are wrong
 */
export async function dnsCheck(
  env: NodeJS.ProcessEnv,
  text: string,
  options: DnsCheckOptions,
  out: { write(text: string): unknown },
  dns: Dns = createDns(options.server),
): Promise<number> {
  const domain = domainNameOf(text);
  if (domain === null) {
    console.error(`${text} is no domain name, such as shop.example`);
    return 1;
  }
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const setup = sendingSetup(readConfig({ ...NOT_LOOKED_AT, ...given }));
  const report = await checkSendingDomain(domain, setup, dns);
  out.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : readable(report));
  return { good: 0, 'needs-work': 1, incomplete: 2 }[report.verdict];
}

const VERDICTS: Readonly<Record<DomainReport['verdict'], string>> = {
  good: 'is set up for sending',
  'needs-work': 'is not ready for sending',
  incomplete: 'could not be checked whole: the DNS did not answer',
};

const MARKS: Readonly<Record<RecordStatus, string>> = {
  ok: 'ok',
  warning: 'WARNING',
  wrong: 'WRONG',
  missing: 'MISSING',
  unknown: 'NOT ASKED',
};

function readable({ domain, verdict, records }: DomainReport): string {
  return `${domain} ${VERDICTS[verdict]}.\n\n${records.map(recordLines).join('\n')}`;
}

function recordLines({ record, purpose, name, type, status, is, shouldBe, findings }: RecordReport): string {
  const lines = [
    `${MARKS[status].padEnd(10)}${record.toUpperCase().padEnd(6)}${name}  (${purpose})`,
    ...is.map((value) => `          is       ${value}`),
    ...findings.map(({ text }) => `          ${text}`),
  ];
  if (shouldBe !== null) {
    lines.push(`          publish  ${type} at ${name}:`, `                   ${shouldBe}`);
    if (shouldBe.length > 255) lines.push('          as a line of a zone file:', indented(zoneLine(name, shouldBe)));
  }
  return `${lines.join('\n')}\n`;
}

function indented(text: string): string {
  return text
    .split('\n')
    .map((line) => `                   ${line}`)
    .join('\n');
}
