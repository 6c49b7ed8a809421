import type { Dns } from './dns';

/** What is wrong with an SPF record or with one that it includes (RFC 7208). */
export type SpfFault =
  | 'several-records'
  | 'syntax'
  | 'too-many-lookups'
  | 'too-many-void-lookups'
  | 'include-without-record'
  | 'loop'
  | 'passes-everybody'
  | 'neutral'
  | 'no-all'
  | 'ptr';

export interface SpfReading {
  /** The records of the name itself. */
  records: readonly string[];
  /** What is wrong, and in or by which name. */
  faults: { fault: SpfFault; at: string }[];
  /** Terms that cost a receiver a look-up, those of included records among them; ten are allowed (section 4.6.4). */
  lookups: number;
  /** Every name that is included, directly or not. */
  includes: Set<string>;
  /** Terms of the record itself, without its version; of all, where there are several. */
  terms: readonly string[];
  /** A name that could not be asked, and why; what is said of the rest is not complete then. */
  failed: { name: string; code: string } | null;
}

/** Receivers give up beyond these (section 4.6.4). */
const MOST_LOOKUPS = 10;
const MOST_VOID_LOOKUPS = 2;

const TERM = /^([+?~-])?([a-z][a-z0-9._-]*)(?:([:=/])(.*))?$/i;
const MECHANISMS = ['all', 'include', 'a', 'mx', 'ptr', 'ip4', 'ip6', 'exists'];

/** Reads the SPF record of a name, and all that it includes, as a receiver would. */
export async function readSpf(name: string, dns: Dns): Promise<SpfReading> {
  const reading: SpfReading = {
    records: [],
    faults: [],
    lookups: 0,
    includes: new Set(),
    terms: [],
    failed: null,
  };
  const answer = await dns.txt(name);
  if ('failed' in answer) return { ...reading, failed: { name, code: answer.failed } };
  const records = answer.records.filter(isSpf);
  const [record] = records;
  if (record === undefined) return reading;
  if (records.length > 1) {
    const terms = [...new Set(records.flatMap(termsOf))];
    return { ...reading, records, terms, faults: [{ fault: 'several-records', at: name }] };
  }

  const read = { ...reading, records, terms: termsOf(record) };
  const walk: Walk = { dns, reading: read, voids: 0 };
  await follow(name, record, [name], walk);
  if (read.lookups > MOST_LOOKUPS) read.faults.push({ fault: 'too-many-lookups', at: name });
  if (walk.voids > MOST_VOID_LOOKUPS) read.faults.push({ fault: 'too-many-void-lookups', at: name });
  read.faults.push(...faultsOfAll(read.terms).map((fault) => ({ fault, at: name })));
  return read;
}

interface Walk {
  dns: Dns;
  reading: SpfReading;
  voids: number;
}

/** Far beyond what a receiver follows: a record that includes hundreds of others shall not keep us busy. */
const MOST_FOLLOWED = 40;

async function follow(name: string, record: string, path: readonly string[], walk: Walk): Promise<void> {
  const { reading } = walk;
  for (const text of termsOf(record)) {
    const term = termOf(text);
    if (term === null) reading.faults.push({ fault: 'syntax', at: name });
    if (term === null || !term.asks) continue;
    reading.lookups += 1;
    if (term.name === 'ptr') reading.faults.push({ fault: 'ptr', at: name });
    // What depends on the mail (macros) is asked anew by each receiver.
    const isFollowed = (term.name === 'include' || term.name === 'redirect') && !term.value.includes('%');
    if (!isFollowed || reading.lookups > MOST_FOLLOWED || reading.failed !== null) continue;
    await include(term.value.toLowerCase().replace(/\.$/, ''), path, walk);
  }
}

async function include(target: string, path: readonly string[], walk: Walk): Promise<void> {
  const { reading, dns } = walk;
  if (path.includes(target)) {
    reading.faults.push({ fault: 'loop', at: target });
    return;
  }
  reading.includes.add(target);
  const answer = await dns.txt(target);
  if ('failed' in answer) {
    reading.failed = { name: target, code: answer.failed };
    return;
  }
  const records = answer.records.filter(isSpf);
  if (answer.records.length === 0) walk.voids += 1;
  if (records.length === 0) reading.faults.push({ fault: 'include-without-record', at: target });
  if (records.length > 1) reading.faults.push({ fault: 'several-records', at: target });
  if (records.length === 1) await follow(target, records[0] ?? '', [...path, target], walk);
}

function isSpf(record: string): boolean {
  return /^v=spf1( |$)/i.test(record);
}

function termsOf(record: string): string[] {
  return record
    .trim()
    .split(/ +/)
    .slice(1)
    .filter((term) => term !== '');
}

interface Term {
  qualifier: string;
  name: string;
  value: string;
  /** Whether a receiver must ask the DNS for it. */
  asks: boolean;
}

/** @returns null for what is neither a mechanism nor a modifier (section 4.6.1) */
function termOf(text: string): Term | null {
  const [, qualifier = '+', given = '', separator = '', value = ''] = TERM.exec(text) ?? [];
  const name = given.toLowerCase();
  if (separator === '=') {
    // Modifiers that nobody knows are to be ignored.
    const isRedirect = name === 'redirect';
    return isRedirect && value === '' ? null : { qualifier, name, value, asks: isRedirect };
  }
  if (!MECHANISMS.includes(name)) return null;
  if (name === 'all' && separator !== '') return null;
  if (name === 'ip4' && !/^\d{1,3}(\.\d{1,3}){3}(\/\d{1,2})?$/.test(value)) return null;
  if (name === 'ip6' && !/^[0-9a-f:.]+(\/\d{1,3})?$/i.test(value)) return null;
  if ((name === 'include' || name === 'exists') && (separator !== ':' || value === '')) return null;
  return { qualifier, name, value, asks: ['include', 'a', 'mx', 'ptr', 'exists'].includes(name) };
}

/** How the record ends: what holds for servers that no term names. */
function faultsOfAll(texts: readonly string[]): SpfFault[] {
  const terms = texts.map(termOf).filter((term) => term !== null);
  const all = terms.find(({ name }) => name === 'all');
  if (all === undefined) return terms.some(({ name }) => name === 'redirect') ? [] : ['no-all'];
  return all.qualifier === '+' ? ['passes-everybody'] : all.qualifier === '?' ? ['neutral'] : [];
}

/**
 * The record that allows what the present one allows, and these as well.
 *
 * @param terms of the present record; none where there is none
 * @param wanted mechanisms, such as `include:amazonses.com`
 */
export function spfRecord(terms: readonly string[], wanted: readonly string[]): string {
  const kept = terms.filter((term) => !/^[+?~-]?all$/i.test(term));
  const all = terms.find((term) => /^[~-]all$/i.test(term));
  const redirect = kept.some((term) => /^redirect=/i.test(term));
  const added = wanted.filter((term) => !kept.some((one) => one.toLowerCase() === term));
  // A redirect holds only where no other term fits; terms go before it.
  const modifiers = kept.filter((term) => term.includes('=') && !term.includes(':'));
  const mechanisms = kept.filter((term) => !modifiers.includes(term));
  return [
    'v=spf1',
    ...mechanisms,
    ...added,
    ...modifiers,
    ...(all !== undefined || !redirect ? [all ?? '~all'] : []),
  ].join(' ');
}
