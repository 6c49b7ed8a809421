import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { SealError, unsealEvidence } from '../domain/sealing';
import { askPassphrase, type PassphraseOptions, passphraseFromFile } from './passphrase';

export interface UnsealOptions extends PassphraseOptions {
  /** The file with the private key. */
  key: string;
  /** Where to write the document; printed where it is left out. */
  out?: string;
  /** Which one, where the answer holds several: 1 is the latest. */
  item?: string;
}

/**
 * `recuerda unseal-evidence`: opens what `GET /v1/sealed-evidence` has answered, or a sealed document as it is kept. It asks
 * no server, and needs no settings.
 *
 * @param file what to open; null: standard input
 * @returns the exit code
 */
export async function openEvidence(
  file: string | null,
  options: UnsealOptions,
  input: NodeJS.ReadableStream,
  output: { write(text: string | Buffer): unknown },
): Promise<number> {
  try {
    const key = await privateKeyOf(options);
    const sealed = chosen(sealedIn(await given(file, input)), options.item);
    const document = unsealEvidence(sealed, key);
    if (options.out === undefined) {
      output.write(document);
      return 0;
    }
    const to = resolve(options.out);
    await writeFile(to, document, { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
      throw new Refusal(
        error.code === 'EEXIST' ? `${to} is there already` : `${to} can not be written (${error.code})`,
      );
    });
    output.write(`The document is in ${to}. Check it: npx recuerda verify-evidence ${to}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof SealError)) throw error;
    console.error(error.message);
    return 1;
  }
}

/** Why nothing was opened, in words for whoever called. */
class Refusal extends Error {}

async function given(file: string | null, input: NodeJS.ReadableStream): Promise<Buffer> {
  if (file === null) return await buffer(input);
  return await readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new Refusal(`${file} can not be read (${error.code})`);
  });
}

/** The sealed documents of an answer; or the one that this is, as bytes or as base64. */
function sealedIn(bytes: Buffer): Buffer[] {
  const text = bytes.toString('latin1').trim();
  if (text.startsWith('{')) {
    let items: unknown;
    try {
      items = (JSON.parse(text) as { items?: unknown }).items;
    } catch {
      items = undefined;
    }
    if (!Array.isArray(items)) throw new Refusal('this is no answer of GET /v1/sealed-evidence');
    return items.map((item: { sealed?: unknown } | null) => Buffer.from(String(item?.sealed), 'base64'));
  }
  return [/^[A-Za-z0-9+/\s]+={0,2}$/.test(text) ? Buffer.from(text, 'base64') : bytes];
}

function chosen(sealed: readonly Buffer[], item: string | undefined): Buffer {
  if (sealed.length === 0) throw new Refusal('the answer holds no sealed evidence: nothing is kept of this address');
  if (item === undefined && sealed.length > 1) {
    throw new Refusal(`there are ${sealed.length} of them: say which with --item, where 1 is the latest`);
  }
  const one = sealed[Number(item ?? 1) - 1];
  if (one === undefined) throw new Refusal(`there is no item ${item}; there are ${sealed.length}`);
  return one;
}

async function privateKeyOf({ key: file, passphraseFile }: UnsealOptions): Promise<KeyObject> {
  const pem = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new Refusal(`${file} can not be read (${error.code})`);
  });
  const passphrase = pem.includes('ENCRYPTED PRIVATE KEY') ? await passphraseFor(passphraseFile) : null;
  const key = readKey(pem, passphrase);
  if (key.asymmetricKeyType !== 'x25519') throw new Refusal(`${file} holds no key of \`recuerda evidence-key\``);
  return key;
}

function readKey(pem: Buffer, passphrase: string | null): KeyObject {
  try {
    return createPrivateKey({ key: pem, format: 'pem', ...(passphrase === null ? {} : { passphrase }) });
  } catch {
    throw new Refusal(
      passphrase === null ? 'the key file holds no private key as PEM' : 'the key does not open with this passphrase',
    );
  }
}

async function passphraseFor(file: string | undefined): Promise<string> {
  const given =
    file === undefined ? await askPassphrase('Passphrase of the private key: ') : await passphraseFromFile(file);
  if (given === null) throw new Refusal('the key wants a passphrase: give --passphrase-file');
  if (given instanceof Error) throw new Refusal(given.message);
  return given;
}
