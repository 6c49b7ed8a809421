import type { KeyObject } from 'node:crypto';
import { type DkimFault, dkimFaults, dkimName, dkimRecord } from './dkim-record';
import { type DmarcReading, readDmarc } from './dmarc';
import { type Dns, domainNameOf, isWithin } from './dns';
import { mailProviderOf } from './mail-providers';
import { readSpf, type SpfFault, type SpfReading, spfRecord } from './spf';
import type { Stream } from './streams';

/** How we send, as far as the DNS must know of it. */
export interface SendingSetup {
  streams: readonly {
    stream: Stream;
    smtpHost: string;
    /** Whether that host is this very machine: then the DNS can't be told who really carries the mail. */
    local: boolean;
    /** Mailbox for delivery reports; null: the From address. */
    returnPath: string | null;
  }[];
  dkimKeys: readonly { domain: string; selector: string; privateKey: KeyObject }[];
  /** Mailbox for answers; null: what each campaign names. */
  replyAddress: string | null;
}

/** `unknown`: the DNS could not be asked, which is not the same as that nothing is published. */
export type RecordStatus = 'ok' | 'warning' | 'wrong' | 'missing' | 'unknown';

export interface Finding {
  severity: 'wrong' | 'warning' | 'note';
  code: string;
  /** For a person, with what to do. */
  text: string;
}

/** One record, as it should be and as it is. */
export interface RecordReport {
  record: 'spf' | 'dkim' | 'dmarc' | 'mx';
  /** What it is for. */
  purpose: string;
  name: string;
  type: 'TXT' | 'MX';
  status: RecordStatus;
  is: string[];
  /** To be published word for word; null where what is there is right, or only the reader can know. */
  shouldBe: string | null;
  findings: Finding[];
}

export interface DomainReport {
  domain: string;
  /** `incomplete`: nothing is wrong as far as could be asked. */
  verdict: 'good' | 'needs-work' | 'incomplete';
  records: RecordReport[];
}

/**
 * What is published about a domain that mail is From, and what should be: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 9989)
 * and MX, for the domain itself and for the mailboxes that reports and answers go to.
 *
 * @param domain as `domainNameOf` gives it
 */
export async function checkSendingDomain(domain: string, setup: SendingSetup, dns: Dns): Promise<DomainReport> {
  const dmarc = await readDmarc(domain, dns);
  const returnPaths = returnPathsOf(domain, setup);
  const replyDomain = setup.replyAddress === null ? null : domainOf(setup.replyAddress);
  const mxNames = new Map([[domain, 'the domain that mail is from']]);
  for (const { name, bouncesElsewhere } of returnPaths) {
    if (name !== domain && !bouncesElsewhere) mxNames.set(name, 'delivery reports arrive');
  }
  if (replyDomain !== null && replyDomain !== domain) mxNames.set(replyDomain, 'answers arrive');
  const records = await Promise.all([
    ...returnPaths.map((path) => spfReport(path, domain, dmarc, dns)),
    ...dkimReports(domain, setup, dmarc, dns),
    dmarcReport(domain, setup, dmarc, dns),
    ...[...mxNames].map(([name, purpose]) => mxReport(name, purpose, dns)),
  ]);
  const statuses = records.map(({ status }) => status);
  const isWrong = statuses.some((status) => status === 'wrong' || status === 'missing');
  return {
    domain,
    verdict: isWrong ? 'needs-work' : statuses.includes('unknown') ? 'incomplete' : 'good',
    records,
  };
}

function domainOf(address: string): string {
  const name = address.slice(address.lastIndexOf('@') + 1).toLowerCase();
  return domainNameOf(name) ?? name;
}

function report(
  base: Omit<RecordReport, 'status' | 'findings'>,
  findings: Finding[],
  status: RecordStatus | null = null,
): RecordReport {
  const worst = findings.some(({ severity }) => severity === 'wrong')
    ? 'wrong'
    : findings.some(({ severity }) => severity === 'warning')
      ? 'warning'
      : 'ok';
  return { ...base, status: status ?? worst, findings };
}

function notAsked(base: Omit<RecordReport, 'status' | 'findings'>, name: string, code: string): RecordReport {
  const text = `${name} could not be asked for (${code}). That says nothing about what is published; try again.`;
  return report(base, [{ severity: 'note', code: 'not-asked', text }], 'unknown');
}

// --- SPF

interface ReturnPath {
  name: string;
  streams: Stream[];
  /** What its SPF record should contain. */
  mechanisms: string[];
  /** All who carry this mail put their own return path in its place. */
  bouncesElsewhere: boolean;
  local: boolean;
}

/** Under which names mail of this domain travels, as far as receivers see them: the envelope's sender decides, not From. */
function returnPathsOf(domain: string, setup: SendingSetup): ReturnPath[] {
  const paths = new Map<string, ReturnPath>();
  for (const { stream, smtpHost, local, returnPath } of setup.streams) {
    const name = returnPath === null ? domain : domainOf(returnPath);
    const provider = mailProviderOf(smtpHost);
    const mechanism = provider === null ? `a:${smtpHost.toLowerCase()}` : `include:${provider.spfInclude}`;
    const before = paths.get(name) ?? { name, streams: [], mechanisms: [], bouncesElsewhere: true, local: false };
    paths.set(name, {
      name,
      streams: [...before.streams, stream],
      mechanisms: local ? before.mechanisms : [...new Set([...before.mechanisms, mechanism])],
      bouncesElsewhere: before.bouncesElsewhere && provider?.ownReturnPath === true,
      local: before.local || local,
    });
  }
  // Receivers look at the name in From too, if only to see whether its owner takes care of it.
  if (!paths.has(domain)) {
    paths.set(domain, { name: domain, streams: [], mechanisms: [], bouncesElsewhere: true, local: false });
  }
  return [...paths.values()];
}

async function spfReport(path: ReturnPath, domain: string, dmarc: DmarcReading, dns: Dns): Promise<RecordReport> {
  const spf = await readSpf(path.name, dns);
  const purpose =
    path.streams.length > 0
      ? `return path of ${path.streams.join(', ')} mail`
      : 'the domain itself, not a return path of ours';
  const base = { record: 'spf' as const, purpose, name: path.name, type: 'TXT' as const, is: [...spf.records] };
  const faults: Finding[] = spf.faults.map(({ fault, at }) => ({
    severity: SPF_FAULTS[fault].severity,
    code: fault,
    text: SPF_FAULTS[fault].text(at),
  }));
  const { failed } = spf;
  if (failed !== null && faults.every(({ severity }) => severity !== 'wrong')) {
    return notAsked({ ...base, shouldBe: null }, failed.name, failed.code);
  }
  const findings = [...faults, ...senderFindings(path, spf), ...(path.local ? [LOCAL_SERVER] : [])];
  if (!path.bouncesElsewhere && spf.records.length > 0 && !isAligned(path.name, domain, dmarc, 'aspf')) {
    const text = `${path.name} is not aligned with ${domain}: SPF will not count for DMARC, and DKIM alone must.`;
    findings.push({ severity: 'warning', code: 'not-aligned', text });
  }
  const isMissing = findings.some(({ severity, code }) => severity === 'wrong' && code === 'missing');
  return report({ ...base, shouldBe: mendedSpf(path, spf, findings) }, findings, isMissing ? 'missing' : null);
}

/** Whether the record lets those through who carry the mail. */
function senderFindings(path: ReturnPath, spf: SpfReading): Finding[] {
  const severity = path.bouncesElsewhere ? 'warning' : 'wrong';
  if (spf.records.length === 0) {
    if (path.local) return [];
    if (path.streams.length > 0) return [{ severity, code: 'missing', text: missingSpf(path) }];
    return [
      { severity: 'note', code: 'missing', text: 'No SPF record is published; our mail needs none at this name.' },
    ];
  }
  const absent = path.mechanisms.filter((mechanism) => !allows(spf, mechanism));
  if (absent.length === 0) return [];
  const text = `The record does not contain ${absent.join(' ')}, by which these streams leave.${elsewhere(path)}`;
  return [{ severity, code: 'sender-not-allowed', text }];
}

/** Faults that a better record can be written for without knowing more. */
const MENDABLE = ['missing', 'sender-not-allowed', 'several-records', 'passes-everybody', 'neutral', 'no-all'];

function mendedSpf(path: ReturnPath, spf: SpfReading, findings: readonly Finding[]): string | null {
  const toMend = findings.filter(({ severity, code }) => severity !== 'note' && code !== 'not-aligned');
  const nothingToSay = spf.records.length === 0 && path.mechanisms.length === 0;
  if (toMend.length === 0 || nothingToSay || !toMend.every(({ code }) => MENDABLE.includes(code))) return null;
  return spfRecord(spf.terms, path.mechanisms);
}

const LOCAL_SERVER: Finding = {
  severity: 'note',
  code: 'local-server',
  text: 'SMTP_URL leads to a server on this machine: name its public address in the SPF record, as ip4:… or ip6:….',
};

/** `a:` and `ip4:` terms may let a server of one's own through in ways that names don't show; an include can't hide. */
function allows(spf: SpfReading, mechanism: string): boolean {
  const terms = spf.terms.map((term) => term.toLowerCase().replace(/^\+/, ''));
  if (mechanism.startsWith('include:')) {
    return spf.includes.has(mechanism.slice('include:'.length)) || terms.includes(mechanism);
  }
  return terms.includes(mechanism) || terms.some((term) => /^(a|mx|ip4|ip6|exists)\b/.test(term));
}

function missingSpf(path: ReturnPath): string {
  return `No SPF record is published. Gmail, Yahoo and Microsoft ask for one from whoever sends much mail.${elsewhere(path)}`;
}

function elsewhere(path: ReturnPath): string {
  return path.bouncesElsewhere
    ? ' The provider uses a return path of its own, so this helps only once its custom return path is set up at this name.'
    : '';
}

const SPF_FAULTS: Readonly<Record<SpfFault, { severity: Finding['severity']; text: (at: string) => string }>> = {
  'several-records': {
    severity: 'wrong',
    text: (at) => `${at} has more than one SPF record: receivers then treat it as broken. Join them into one.`,
  },
  syntax: {
    severity: 'wrong',
    text: (at) => `The record of ${at} has a term that is none: receivers treat it as broken.`,
  },
  'too-many-lookups': {
    severity: 'wrong',
    text: () => 'The record costs more than 10 look-ups, those of included records among them: receivers give up.',
  },
  'too-many-void-lookups': {
    severity: 'wrong',
    text: () => 'More than 2 names that it includes do not exist: receivers give up.',
  },
  'include-without-record': {
    severity: 'wrong',
    text: (at) => `${at} is included but has no SPF record: receivers treat the whole as broken. Take it out.`,
  },
  loop: { severity: 'wrong', text: (at) => `${at} includes itself: receivers give up.` },
  'passes-everybody': {
    severity: 'wrong',
    text: () => '+all lets the whole world send in your name. End it with ~all.',
  },
  neutral: { severity: 'warning', text: () => '?all says nothing about everybody else. End it with ~all.' },
  'no-all': {
    severity: 'warning',
    text: () => 'The record does not say what holds for everybody else. End it with ~all.',
  },
  ptr: { severity: 'warning', text: (at) => `${at} uses ptr, which receivers ignore or hold against it. Take it out.` },
};

// --- DKIM

function dkimReports(domain: string, setup: SendingSetup, dmarc: DmarcReading, dns: Dns): Promise<RecordReport>[] {
  const covering = setup.dkimKeys.filter((key) => isWithin(domain, key.domain));
  // The nearest domain that has a key is the one that signs.
  const nearest = Math.max(0, ...covering.map((key) => key.domain.length));
  const keys = covering.filter((key) => key.domain.length === nearest);
  if (keys.length > 0) return keys.map((key) => dkimReport(key, domain, dmarc, dns));
  const text = `RECUERDA_DKIM_KEYS has no key for ${domain}: its mail is not sent. Make one: npx recuerda dkim-key ${domain}`;
  const base = { record: 'dkim' as const, purpose: 'signature', name: `_domainkey.${domain}`, type: 'TXT' as const };
  const finding: Finding = { severity: 'wrong', code: 'no-key', text };
  return [Promise.resolve(report({ ...base, is: [], shouldBe: null }, [finding], 'missing'))];
}

async function dkimReport(
  key: SendingSetup['dkimKeys'][number],
  domain: string,
  dmarc: DmarcReading,
  dns: Dns,
): Promise<RecordReport> {
  const name = dkimName(key.selector, key.domain);
  const shouldBe = dkimRecord(key.privateKey);
  const answer = await dns.txt(name);
  const base = { record: 'dkim' as const, purpose: `signature, selector ${key.selector}`, name, type: 'TXT' as const };
  if ('failed' in answer) return notAsked({ ...base, is: [], shouldBe }, name, answer.failed);
  const is = [...answer.records];
  const alignment: Finding[] = isAligned(key.domain, domain, dmarc, 'adkim')
    ? []
    : [
        {
          severity: 'wrong',
          code: 'not-aligned',
          text: `The key signs for ${key.domain}, which DMARC does not count for ${domain}. Make a key for ${domain}.`,
        },
      ];
  if (is.length === 0) {
    const text = 'The key is not published: what it signs can not be checked, and counts as unsigned.';
    return report({ ...base, is, shouldBe }, [{ severity: 'wrong', code: 'missing', text }, ...alignment], 'missing');
  }
  if (is.length > 1) {
    const text = 'More than one record stands there: receivers may take either. Leave one.';
    return report({ ...base, is, shouldBe }, [{ severity: 'wrong', code: 'several-records', text }, ...alignment]);
  }
  const faults = dkimFaults(is[0] ?? '', key.privateKey).map((fault) => ({ ...DKIM_FAULTS[fault], code: fault }));
  return report({ ...base, is, shouldBe: faults.length === 0 ? null : shouldBe }, [...faults, ...alignment]);
}

const DKIM_FAULTS: Readonly<Record<DkimFault, Omit<Finding, 'code'>>> = {
  syntax: { severity: 'wrong', text: 'The record can not be read as a DKIM key.' },
  revoked: {
    severity: 'wrong',
    text: 'p= is empty: this key is revoked. Publish it again, or change to another selector.',
  },
  'another-key': {
    severity: 'wrong',
    text: 'Another key is published than the one that we sign with: no signature of ours is valid.',
  },
  'not-rsa': { severity: 'wrong', text: 'The published key is not RSA, and ours is.' },
  'no-sha256': { severity: 'wrong', text: 'h= does not allow sha256, by which we sign.' },
  'not-for-mail': { severity: 'wrong', text: 's= does not allow e-mail.' },
  testing: { severity: 'warning', text: 't=y says that you are testing: receivers may treat the mail as unsigned.' },
  'too-short': { severity: 'wrong', text: 'The published key has fewer than 2048 bits.' },
};

/** Whether a domain counts for another under DMARC: the same one, or (relaxed) the same organisation. */
function isAligned(other: string, domain: string, dmarc: DmarcReading, tag: 'adkim' | 'aspf'): boolean {
  if (other === domain) return true;
  if (dmarc.tags?.get(tag)?.toLowerCase() === 's') return false;
  if (dmarc.at === null) return isWithin(domain, other) || isWithin(other, domain);
  return isWithin(other, dmarc.organisation) && isWithin(domain, dmarc.organisation);
}

// --- DMARC

async function dmarcReport(domain: string, setup: SendingSetup, dmarc: DmarcReading, dns: Dns): Promise<RecordReport> {
  // Where a domain above signs, the record belongs there: one record then stands for both.
  const signing = setup.dkimKeys.map((key) => key.domain).filter((name) => isWithin(domain, name));
  const at = dmarc.at ?? signing.sort((a, b) => a.length - b.length)[0] ?? domain;
  const base = {
    record: 'dmarc' as const,
    purpose: 'policy and reports',
    name: `_dmarc.${at}`,
    type: 'TXT' as const,
    is: [...dmarc.records],
  };
  const start = `v=DMARC1; p=none; rua=mailto:dmarc-reports@${at}`;
  if (dmarc.failed !== null) return notAsked({ ...base, shouldBe: null }, dmarc.failed.name, dmarc.failed.code);
  if (dmarc.records.length === 0) {
    const text =
      'No DMARC record is published. Gmail and Yahoo ask for one since 2024, Microsoft since 2025, from whoever sends much ' +
      'mail; without it mail is refused or goes to junk. Begin with this one, with a mailbox that you read.';
    return report({ ...base, shouldBe: start }, [{ severity: 'wrong', code: 'missing', text }], 'missing');
  }
  if (dmarc.records.length > 1) {
    const text = 'More than one DMARC record is published: receivers ignore all of them. Leave one.';
    return report({ ...base, shouldBe: null }, [{ severity: 'wrong', code: 'several-records', text }]);
  }
  const { tags } = dmarc;
  if (tags === null) {
    const text = 'The record can not be read as DMARC: receivers ignore it.';
    return report({ ...base, shouldBe: start }, [{ severity: 'wrong', code: 'syntax', text }]);
  }
  const findings = [...policyFindings(tags, at !== domain), ...(await reportFindings(tags, at, dns))];
  const isRight = findings.every(({ severity }) => severity === 'note');
  const mended = () =>
    [
      ...new Map([
        ...tags,
        ['p', soundPolicy(tags.get('p')) ?? 'none'],
        ['rua', tags.get('rua') ?? `mailto:dmarc-reports@${at}`],
      ]),
    ]
      .map(([name, value]) => `${name}=${value}`)
      .join('; ');
  return report({ ...base, shouldBe: isRight ? null : mended() }, findings);
}

function soundPolicy(policy: string | undefined): string | null {
  const lower = policy?.toLowerCase() ?? '';
  return ['none', 'quarantine', 'reject'].includes(lower) ? lower : null;
}

function policyFindings(tags: ReadonlyMap<string, string>, inherited: boolean): Finding[] {
  const findings: Finding[] = [];
  const policy = soundPolicy((inherited ? tags.get('sp') : undefined) ?? tags.get('p'));
  if (policy === null) {
    const text = 'p= is missing, or none of none, quarantine and reject: receivers do as with none.';
    findings.push({ severity: 'wrong', code: 'no-policy', text });
  }
  if (policy === 'none') {
    const text =
      'p=none satisfies the rules, and protects nobody: read the reports for some weeks, then go on to quarantine.';
    findings.push({ severity: 'note', code: 'policy-none', text });
  }
  if (tags.has('pct') && tags.get('pct') !== '100') {
    const text = 'pct= is not part of DMARC any more (RFC 9989): receivers do with all mail as p= says.';
    findings.push({ severity: 'warning', code: 'pct', text });
  }
  return findings;
}

/** Where the reports go, and whether they may: another domain must agree to receive them (RFC 9990, section 4). */
async function reportFindings(tags: ReadonlyMap<string, string>, at: string, dns: Dns): Promise<Finding[]> {
  const targets = (tags.get('rua') ?? '')
    .split(',')
    .map((uri) => /^mailto:[^@\s]+@([^!?\s]+)/i.exec(uri.trim())?.[1]?.toLowerCase())
    .filter((name) => name !== undefined);
  if (targets.length === 0) {
    const text = 'rua= names no mailbox: you are told nothing about who sends in your name, or what fails.';
    return [{ severity: 'warning', code: 'no-reports', text }];
  }
  const outside = [...new Set(targets)].filter((name) => !isWithin(name, at) && !isWithin(at, name));
  const checked = await Promise.all(
    outside.map(async (name): Promise<Finding[]> => {
      const consent = `${at}._report._dmarc.${name}`;
      const answer = await dns.txt(consent);
      if ('failed' in answer || answer.records.some((record) => /^v *= *DMARC1/.test(record))) return [];
      const text = `Reports to ${name} are not sent, since it does not agree: it must publish v=DMARC1 at ${consent}.`;
      return [{ severity: 'warning', code: 'reports-not-agreed', text }];
    }),
  );
  return checked.flat();
}

// --- MX

async function mxReport(name: string, purpose: string, dns: Dns): Promise<RecordReport> {
  const base = { record: 'mx' as const, purpose, name, type: 'MX' as const, shouldBe: null };
  const answer = await dns.mx(name);
  if ('failed' in answer) return notAsked({ ...base, is: [] }, name, answer.failed);
  const records = [...answer.records].sort((a, b) => a.priority - b.priority);
  const is = records.map(({ priority, exchange }) => `${priority} ${exchange === '' ? '.' : `${exchange}.`}`);
  if (records.length === 0) return await withoutMx({ ...base, is }, dns);
  if (records.some(({ exchange }) => exchange === '')) {
    const text =
      'A null MX (RFC 7505) says that this name takes no mail: no answer arrives, and receivers refuse what is from there.';
    return report({ ...base, is }, [{ severity: 'wrong', code: 'null-mx', text }]);
  }
  const hosts = await Promise.all(records.map(({ exchange }) => dns.addresses(exchange)));
  const dead = records.filter((_, index) => isEmpty(hosts[index])).map(({ exchange }) => exchange);
  const finding = (severity: Finding['severity']): Finding => ({
    severity,
    code: 'mx-without-address',
    text: `${dead.join(', ')} has no address: mail can not be delivered there.`,
  });
  return report(
    { ...base, is },
    dead.length === 0 ? [] : [finding(dead.length === records.length ? 'wrong' : 'warning')],
  );
}

function isEmpty(answer: Awaited<ReturnType<Dns['addresses']>> | undefined): boolean {
  return answer !== undefined && 'records' in answer && answer.records.length === 0;
}

/** Mail goes to the address of the name itself then (RFC 5321, 5.1), if there is one. */
async function withoutMx(base: Omit<RecordReport, 'status' | 'findings'>, dns: Dns): Promise<RecordReport> {
  const answer = await dns.addresses(base.name);
  if ('failed' in answer) return notAsked(base, base.name, answer.failed);
  if (answer.records.length > 0) {
    const text =
      'There is no MX record; mail goes to the address of the name itself. Publish one, if mail arrives there.';
    return report(base, [{ severity: 'warning', code: 'implicit-mx', text }]);
  }
  const text =
    'There is no MX record and no address: mail to it can not be delivered, and some receivers refuse its mail.';
  return report(base, [{ severity: 'wrong', code: 'missing', text }], 'missing');
}
