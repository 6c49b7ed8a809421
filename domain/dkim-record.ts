import { createPublicKey, type KeyObject } from 'node:crypto';
import { tagsOf } from './dns';

/** Where a key stands (RFC 6376, 3.6.2.1). */
export function dkimName(selector: string, domain: string): string {
  return `${selector}._domainkey.${domain}`;
}

/** The record that lets others check what this key signs. @param key private or public, RSA */
export function dkimRecord(key: KeyObject): string {
  const publicKey = key.type === 'public' ? key : createPublicKey(key);
  return `v=DKIM1; k=rsa; p=${publicKey.export({ format: 'der', type: 'spki' }).toString('base64')}`;
}

/** The longest string that a TXT record may hold (RFC 1035, 3.3.14); longer texts are several strings in one record. */
const MOST_IN_A_STRING = 255;

/** A TXT record as a line of a zone file. */
export function zoneLine(name: string, text: string): string {
  const strings = text.match(new RegExp(`.{1,${MOST_IN_A_STRING}}`, 'g')) ?? [''];
  const quoted = strings.map((part) => `"${part.replace(/["\\]/g, '\\$&')}"`);
  const [only = ''] = quoted;
  return quoted.length === 1 ? `${name}. IN TXT ${only}` : `${name}. IN TXT ( ${quoted.join('\n    ')} )`;
}

export type DkimFault =
  | 'syntax'
  | 'revoked'
  | 'another-key'
  | 'not-rsa'
  | 'no-sha256'
  | 'not-for-mail'
  | 'testing'
  | 'too-short';

/** What is wrong with a published key, given that we sign with `key` by rsa-sha256. */
export function dkimFaults(record: string, key: KeyObject): DkimFault[] {
  const tags = tagsOf(record);
  if (tags === null || (tags.get('v') ?? 'DKIM1') !== 'DKIM1') return ['syntax'];
  const p = tags.get('p')?.replace(/\s+/g, '');
  if (p === undefined) return ['syntax'];
  if (p === '') return ['revoked'];
  const list = (name: string) =>
    tags
      .get(name)
      ?.split(':')
      .map((one) => one.trim().toLowerCase());
  const faults: DkimFault[] = [];
  if ((tags.get('k') ?? 'rsa') !== 'rsa') faults.push('not-rsa');
  else if (p !== tagsOf(dkimRecord(key))?.get('p')) faults.push('another-key', ...shortness(p));
  if (list('h')?.includes('sha256') === false) faults.push('no-sha256');
  if (list('s')?.some((service) => service === '*' || service === 'email') === false) faults.push('not-for-mail');
  if (list('t')?.includes('y')) faults.push('testing');
  return faults;
}

/** RFC 8301 wants 1024 bits at least and advises 2048, which receivers expect by now. */
const LEAST_BITS = 2048;

function shortness(p: string): DkimFault[] {
  try {
    const key = createPublicKey({ key: Buffer.from(p, 'base64'), format: 'der', type: 'spki' });
    return (key.asymmetricKeyDetails?.modulusLength ?? 0) < LEAST_BITS ? ['too-short'] : [];
  } catch {
    return ['syntax'];
  }
}
