import { Resolver } from 'node:dns/promises';
import type { Dns, DnsAnswer } from '../domain/dns';

/** How long one try waits for a name server, ms, and how many there are. */
const TIMEOUT_MS = 3_000;
const TRIES = 2;

/** These say that there is no such record; everything else, that nobody could say. */
const NOTHING_THERE = ['ENODATA', 'ENOTFOUND'];

/** Asks the name servers of this machine, or the ones that are given as `address` or `address:port`. */
export function createDns(servers: readonly string[] = []): Dns {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
  if (servers.length > 0) resolver.setServers(servers);
  return {
    txt: async (name) => await ask(async () => (await resolver.resolveTxt(name)).map((strings) => strings.join(''))),
    mx: async (name) => await ask(() => resolver.resolveMx(name)),
    async addresses(name) {
      const [v4, v6] = await Promise.all([ask(() => resolver.resolve4(name)), ask(() => resolver.resolve6(name))]);
      const records = [v4, v6].flatMap((answer) => ('records' in answer ? answer.records : []));
      if (records.length > 0) return { records };
      return 'failed' in v4 ? v4 : v6;
    },
  };
}

async function ask<T>(question: () => Promise<T[]>): Promise<DnsAnswer<T>> {
  try {
    return { records: await question() };
  } catch (error) {
    const code = String((error as { code?: unknown }).code ?? 'error');
    return NOTHING_THERE.includes(code) ? { records: [] } : { failed: code };
  }
}
