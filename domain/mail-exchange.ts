import type { Dns } from './dns';

/** Whoever sends a form waits for this; a name server that is slower than that is not waited for (ms). */
const PATIENCE_MS = 2_000;

/**
 * Can mail to this domain arrive at all (RFC 5321, 5.1)? Only a domain that says itself that it takes none is refused: with a
 * null MX (RFC 7505), or with neither an MX nor an address. A DNS that fails, or takes too long, refuses nobody.
 *
 * @param domain in ASCII, as `normaliseAddress` writes it
 */
export async function takesMail(domain: string, dns: Dns, patienceMs = PATIENCE_MS): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(true), patienceMs);
    timer.unref();
  });
  try {
    return await Promise.race([published(domain, dns), tooLong]);
  } finally {
    clearTimeout(timer);
  }
}

async function published(domain: string, dns: Dns): Promise<boolean> {
  // Both at once, so that what is published makes no difference to how long the answer takes.
  const [mx, addresses] = await Promise.all([dns.mx(domain), dns.addresses(domain)]);
  if ('failed' in mx) return true;
  if (mx.records.length > 0) return mx.records.some(({ exchange }) => exchange !== '');
  return 'failed' in addresses || addresses.records.length > 0;
}
