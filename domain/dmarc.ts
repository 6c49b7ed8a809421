import { type Dns, tagsOf } from './dns';

/** The DMARC record that holds for a domain (RFC 9989, formerly RFC 7489). */
export interface DmarcReading {
  /** The domain that publishes it: the one asked for, or one above; null where none does. */
  at: string | null;
  /** All that start as a DMARC record does, of that domain. */
  records: readonly string[];
  /** Null where there is none, more than one, or one that can't be read: it does not count then. */
  tags: ReadonlyMap<string, string> | null;
  /** What sub- and superdomains must have in common to be aligned. */
  organisation: string;
  failed: { name: string; code: string } | null;
}

/** Names longer than this are cut before the walk (section 4.10). */
const MOST_LABELS = 8;

/** Finds the record as receivers do: at the domain, then at each one above it. */
export async function readDmarc(domain: string, dns: Dns): Promise<DmarcReading> {
  const nothing: DmarcReading = { at: null, records: [], tags: null, organisation: domain, failed: null };
  let found: DmarcReading | null = null;
  for (const name of walkOf(domain)) {
    const answer = await dns.txt(`_dmarc.${name}`);
    if ('failed' in answer) {
      const failed = { name: `_dmarc.${name}`, code: answer.failed };
      // What stands nearest decides; that no more is known of those above matters to the organisation only.
      return found === null ? { ...nothing, failed } : found;
    }
    const records = answer.records.filter((record) => /^v *= *DMARC1 *(;|$)/.test(record));
    if (records.length === 0) continue;
    const tags = records.length === 1 ? tagsOf(records[0] ?? '') : null;
    const nearest: DmarcReading = found ?? { ...nothing, at: name, records, tags };
    const isAbovePublic = tags?.get('psd') === 'y' && name !== domain;
    if (isAbovePublic) return { ...nearest, organisation: below(name, domain) };
    found = { ...nearest, organisation: name };
    if (tags?.get('psd') === 'n') return found;
  }
  return found ?? nothing;
}

function walkOf(domain: string): string[] {
  const labels = domain.split('.');
  const names = [domain];
  const rest = labels.length > MOST_LABELS ? labels.slice(-(MOST_LABELS - 1)) : labels.slice(1);
  for (let from = 0; from < rest.length; from += 1) names.push(rest.slice(from).join('.'));
  return names;
}

/** The name one label longer than `name`, towards `domain`. */
function below(name: string, domain: string): string {
  return domain
    .split('.')
    .slice(-(name.split('.').length + 1))
    .join('.');
}
