import { createHmac } from 'node:crypto';

/** A secret that keys address hashes. Old versions stay: a hash can't be recomputed once its address is erased. */
export interface AddressKey {
  /** 1 to 255. */
  version: number;
  secret: Buffer;
}

/**
 * The hash under which an address is known, as `<key version>.<base64url HMAC-SHA256>`, for every key, newest first.
 * Look-ups consult all of them; new rows get the first.
 *
 * @param address as `normaliseAddress` returns it
 * @param keys at least one
 */
export function hashAddress(address: string, keys: readonly AddressKey[]): [string, ...string[]] {
  const [first, ...rest] = [...keys]
    .sort((a, b) => b.version - a.version)
    .map((key) => `${key.version}.${createHmac('sha256', key.secret).update(address).digest('base64url')}`);
  if (first === undefined) throw new Error('no address key is configured');
  return [first, ...rest];
}
