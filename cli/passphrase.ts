import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';

export interface PassphraseOptions {
  /** A file whose first line is the passphrase. */
  passphraseFile?: string;
}

/** The passphrase that a file holds, or why it can't be had. */
export async function passphraseFromFile(file: string): Promise<string | Error> {
  try {
    const [line = ''] = (await readFile(file, 'utf8')).split(/\r?\n/, 1);
    return line === '' ? new Error(`${file} holds no passphrase in its first line`) : line;
  } catch (error) {
    return new Error(`${file} can not be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

/** Asks at the terminal, showing nothing of what is typed. @returns null where there is no terminal */
export async function askPassphrase(question: string): Promise<string | null> {
  if (!process.stdin.isTTY) return null;
  process.stderr.write(question);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  try {
    return await lines.question('');
  } finally {
    lines.close();
    process.stderr.write('\n');
  }
}
