import type { Dns, DnsAnswer, MxRecord } from '../../domain/dns';

/** What is published under a name; a text in place of it is the code with which asking fails. */
export interface Published {
  txt?: readonly string[] | string;
  mx?: readonly MxRecord[] | string;
  addresses?: readonly string[] | string;
}

/** A DNS that holds these records and no others. `asked` tells what it was asked for. */
export function publishedDns(zone: Readonly<Record<string, Published>>): Dns & { asked: string[] } {
  const asked: string[] = [];
  const answer = <T>(name: string, type: string, found: readonly T[] | string | undefined): DnsAnswer<T> => {
    asked.push(`${type} ${name}`);
    return typeof found === 'string' ? { failed: found } : { records: found ?? [] };
  };
  return {
    asked,
    txt: async (name) => answer(name, 'TXT', zone[name]?.txt),
    mx: async (name) => answer(name, 'MX', zone[name]?.mx),
    addresses: async (name) => answer(name, 'A', zone[name]?.addresses),
  };
}
