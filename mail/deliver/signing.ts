import { domainToASCII } from 'node:url';
import { type DkimSigningKey, signDkim } from './dkim';
import { smtpHost, staysHere } from './smtp-url';

/** Signs a message that is From this address. @throws MissingDkimKey, or what `signDkim` throws */
export type Signer = (raw: Buffer, from: string, date: Date) => Promise<Buffer>;

/** Mail from this domain would leave unsigned. The message names our own domain only. */
export class MissingDkimKey extends Error {
  override readonly name = 'MissingDkimKey';

  constructor(domain: string) {
    super(`there is no DKIM key for ${domain}: set RECUERDA_DKIM_KEYS`);
  }
}

/** Amazon SES puts its own in place of the first two and adds a Feedback-ID of its own: a signature over ours would break. */
const REPLACED_BY_SES = ['message-id', 'date', 'feedback-id'];

/**
 * The signer for mail that leaves by this server: with the key of From's domain, or of the nearest domain above it (still
 * aligned, RFC 7489 section 3.1.1). Mail that stays on this machine may go unsigned where there is no key.
 *
 * @throws TypeError when a key is not one of RSA: the signature would not be what it says it is
 */
export function createSigner(keys: readonly DkimSigningKey[], smtpUrl: string): Signer {
  const nearestFirst = keys
    .map((key) => ({ ...key, domain: asciiDomain(key.domain) }))
    .sort((a, b) => b.domain.length - a.domain.length);
  for (const { privateKey, domain } of nearestFirst) {
    if (privateKey.asymmetricKeyType !== 'rsa') throw new TypeError(`the DKIM key of ${domain} is not RSA`);
  }
  const unsigned = /(^|\.)amazonaws\.com(\.cn)?$/i.test(smtpHost(smtpUrl)) ? REPLACED_BY_SES : [];
  const mayGoUnsigned = staysHere(smtpUrl);
  return async (raw, from, date) => {
    const domain = asciiDomain(from.slice(from.lastIndexOf('@') + 1));
    const key = nearestFirst.find((candidate) => `.${domain}`.endsWith(`.${candidate.domain}`));
    if (key !== undefined) return await signDkim(raw, key, { date, unsigned });
    if (mayGoUnsigned) return raw;
    throw new MissingDkimKey(domain);
  };
}

/** As DNS and d= know it (RFC 6376, section 3.5: A-labels). */
function asciiDomain(domain: string): string {
  return domainToASCII(domain) || domain.toLowerCase();
}
