/** The ranges of IPv4 that lead to no host on the internet at large (IANA, special-purpose address registry), and multicast. */
const NOT_PUBLIC_V4: readonly (readonly [network: string, bits: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
];

/** Within 2000::/3: IETF protocol assignments (Teredo among them), documentation, 6to4, which wraps an IPv4 address. */
const NOT_PUBLIC_V6: readonly (readonly [first: number, mask: number, second: number, mask2: number])[] = [
  [0x2001, 0xffff, 0x0000, 0xfe00],
  [0x2001, 0xffff, 0x0db8, 0xffff],
  [0x2002, 0xffff, 0x0000, 0x0000],
  [0x3fff, 0xffff, 0x0000, 0xf000],
];

/**
 * Whether an address is one of a host on the internet at large: not private, loopback, link-local, shared (CGNAT), multicast,
 * reserved or for documentation. Of IPv6 only global unicast counts (2000::/3), so nothing that wraps an IPv4 address
 * (mapped, NAT64, 6to4, Teredo) does. What is no address is not public.
 *
 * @param address as a resolver gives it
 */
export function isPublicAddress(address: string): boolean {
  const v4 = v4Of(address);
  if (v4 !== null) {
    return !NOT_PUBLIC_V4.some(([network, bits]) => {
      const shift = 2 ** (32 - bits);
      return Math.floor(v4 / shift) === Math.floor((v4Of(network) ?? 0) / shift);
    });
  }
  const groups = v6Of(address);
  if (groups === null) return false;
  const [first = 0, second = 0] = groups;
  if ((first & 0xe000) !== 0x2000) return false;
  return !NOT_PUBLIC_V6.some(([a, maskA, b, maskB]) => (first & maskA) === a && (second & maskB) === b);
}

/**
 * The address that a URL names in place of a host, in whatever notation: `http://0x7f.1/` names 127.0.0.1.
 *
 * @param hostname as the class URL gives it, which has turned every notation of IPv4 into the usual one
 * @returns null for a name
 */
export function literalAddress(hostname: string): string | null {
  if (hostname.startsWith('[')) return hostname.slice(1, -1);
  return v4Of(hostname) === null ? null : hostname;
}

function v4Of(text: string): number | null {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number);
  if (parts === undefined || parts.some((part) => part > 255)) return null;
  return parts.reduce((whole, part) => whole * 256 + part, 0);
}

/** The eight groups. The class URL knows every notation of IPv6, and none of what is not one; nor a zone (`fe80::1%eth0`). */
function v6Of(text: string): number[] | null {
  if (!text.includes(':') || !URL.canParse(`http://[${text}]/`)) return null;
  const [before = '', after] = new URL(`http://[${text}]/`).hostname.slice(1, -1).split('::');
  const head = before.split(':').filter((group) => group !== '');
  const tail = (after ?? '').split(':').filter((group) => group !== '');
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...tail].map((group) => Number.parseInt(group, 16));
}
