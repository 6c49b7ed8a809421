import { generateKeyPair } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { dkimName, dkimRecord, zoneLine } from '../domain/dkim-record';
import { domainNameOf } from '../domain/dns';

export interface DkimKeyOptions {
  selector: string;
  /** Where to write the key; otherwise a file named after domain and selector in this folder. */
  out?: string;
}

/** What receivers expect; longer keys don't fit into one answer of the DNS, and many can't check them. */
const BITS = 2048;

/**
 * `recuerda dkim-key`: makes a key, keeps the private half in a file that only its owner can read, and prints what to publish.
 *
 * @returns the exit code
 */
export async function makeDkimKey(
  env: NodeJS.ProcessEnv,
  text: string,
  { selector, out }: DkimKeyOptions,
  output: { write(text: string): unknown },
): Promise<number> {
  const domain = domainNameOf(text);
  if (domain === null) return refuse(`${text} is no domain name, such as shop.example`);
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(selector)) {
    return refuse('The selector may have small letters, digits and hyphens, such as s1 or 2026-10');
  }
  const file = resolve(out ?? `${domain}.${selector}.pem`);
  const { privateKey, publicKey } = await promisify(generateKeyPair)('rsa', { modulusLength: BITS });
  try {
    await writeFile(file, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600, flag: 'wx' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return refuse(`${file} is there already: a key is never overwritten. Give another --out`);
    return refuse(`The key can not be written to ${file} (${code})`);
  }
  const name = dkimName(selector, domain);
  const record = dkimRecord(publicKey);
  const before = env.RECUERDA_DKIM_KEYS ? `${env.RECUERDA_DKIM_KEYS},` : '';
  output.write(`The private key is in ${file}. Keep it as you keep a password.

1. Publish this TXT record:

${name}
${record}

   or, in a zone file:

${zoneLine(name, record)}

2. Wait until it is there: npx recuerda dns-check ${domain}

3. Set, for every API, worker and inbox:

RECUERDA_DKIM_KEYS=${before}${domain}:${selector}:${file}
`);
  return 0;
}

function refuse(words: string): number {
  console.error(words);
  return 1;
}
