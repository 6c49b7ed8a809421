import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { publicKeyText } from '../domain/sealing';
import { askPassphrase, type PassphraseOptions, passphraseFromFile } from './passphrase';

export interface EvidenceKeyOptions extends PassphraseOptions {
  /** Where to write the private key. */
  out: string;
  /** Ask for a passphrase that protects it. */
  passphrase?: boolean;
}

/**
 * `recuerda evidence-key`: makes the pair of keys that evidence of erased people is sealed to. The private half is written to
 * a file that only its owner can read, and belongs on none of the machines that run Recuerda.
 *
 * @returns the exit code
 */
export async function makeEvidenceKey(
  { out, passphrase, passphraseFile }: EvidenceKeyOptions,
  output: { write(text: string): unknown },
): Promise<number> {
  const secret = await newPassphrase(passphrase === true, passphraseFile);
  if (secret instanceof Error) return refuse(secret.message);
  const file = resolve(out);
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  const pem = privateKey.export({
    format: 'pem',
    type: 'pkcs8',
    ...(secret === null ? {} : { cipher: 'aes-256-cbc', passphrase: secret }),
  });
  try {
    await writeFile(file, pem, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return refuse(`${file} is there already: a key is never overwritten. Give another --out`);
    return refuse(`The key can not be written to ${file} (${code})`);
  }
  output.write(`The private key is in ${file}. Move it to where none of your servers can read it, such as a safe, and keep
a copy: without it, what is sealed can never be read; with it, all of it can.

Set, for every API and worker:

RECUERDA_EVIDENCE_PUBLIC_KEY=${publicKeyText(publicKey)}
`);
  return 0;
}

async function newPassphrase(asked: boolean, file: string | undefined): Promise<string | null | Error> {
  if (file !== undefined) return await passphraseFromFile(file);
  if (!asked) return null;
  const first = await askPassphrase('Passphrase for the private key: ');
  if (first === null) return new Error('There is no terminal to ask at: give --passphrase-file');
  if (first === '') return new Error('The passphrase is empty');
  return first === (await askPassphrase('The same again: ')) ? first : new Error('The two are not the same');
}

function refuse(words: string): number {
  console.error(words);
  return 1;
}
