/** What a question to the DNS was answered with. That nothing is published is an answer; that none came is not. */
export type DnsAnswer<T> = { records: readonly T[] } | { failed: string };

export interface MxRecord {
  /** Without the point at its end; empty in a null MX (RFC 7505). */
  exchange: string;
  priority: number;
}

/** How the DNS is asked. None of these throws. */
export interface Dns {
  /** Each record as one text, its strings joined. */
  txt(name: string): Promise<DnsAnswer<string>>;
  mx(name: string): Promise<DnsAnswer<MxRecord>>;
  /** IPv4 and IPv6. */
  addresses(name: string): Promise<DnsAnswer<string>>;
}

const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/**
 * A domain name in lower case and ASCII, without the point at its end.
 *
 * @returns null for what is none, or is a name without a domain above it
 */
export function domainNameOf(text: string): string | null {
  const trimmed = text.trim().replace(/\.$/, '');
  if (!URL.canParse(`http://${trimmed}/`) || /[/?#@:%\\[\]]/.test(trimmed)) return null;
  const { hostname } = new URL(`http://${trimmed}/`);
  const labels = hostname.split('.');
  const isName = hostname.length <= 253 && labels.length >= 2 && labels.every((label) => LABEL.test(label));
  return isName && !/^\d+$/.test(labels.at(-1) ?? '') ? hostname : null;
}

/** Is this the domain itself or below it? */
export function isWithin(name: string, domain: string): boolean {
  return name === domain || name.endsWith(`.${domain}`);
}

/** `v=DKIM1; p=…`: tags and values (RFC 6376, 3.2), names in lower case. Null where it is no such list. */
export function tagsOf(record: string): Map<string, string> | null {
  const tags = new Map<string, string>();
  for (const part of record.split(';')) {
    if (part.trim() === '') continue;
    const equals = part.indexOf('=');
    const name = part.slice(0, equals).trim().toLowerCase();
    if (equals < 1 || !/^[a-z][a-z0-9_]*$/.test(name) || tags.has(name)) return null;
    tags.set(name, part.slice(equals + 1).trim());
  }
  return tags;
}
