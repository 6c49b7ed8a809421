import { once } from 'node:events';
import { open } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { readTokenKeys } from '../config';
import type { Classification } from '../domain/inbound';
import type { TokenKey } from '../domain/signed-token';
import { classifyRaw } from '../mail/receive/classify';
import { MAX_READ_BYTES } from '../mail/receive/read';

/**
 * `recuerda classify`: what each file, a raw message, is; one line of JSON a file, in the order given. No database is
 * asked, so only mail that carries a token of ours is matched, and only where the environment has its key. A file that
 * can't be read is `other` and says why.
 */
export async function classifyFiles(
  env: Readonly<Record<string, string | undefined>>,
  files: readonly string[],
  output: Writable,
): Promise<void> {
  const keys = readTokenKeys(env);
  for (const file of files) {
    const line = JSON.stringify(inOrder(file, await classifyFile(file, keys)));
    if (!output.write(`${line}\n`)) await once(output, 'drain');
  }
}

async function classifyFile(file: string, keys: readonly TokenKey[]): Promise<Classification> {
  const raw = await readStart(file).catch((error: NodeJS.ErrnoException) => error.code ?? 'unknown error');
  if (typeof raw !== 'string') return (await classifyRaw(raw, { keys })).classification;
  return {
    kind: 'other',
    subtype: null,
    bounce: null,
    returnDate: null,
    requests: [],
    matched: null,
    needsReview: false,
    confidence: 0,
    evidence: [`the file can't be read (${raw})`],
  };
}

/** One byte more than is looked at, so that the reader knows of the rest without its being in memory. */
async function readStart(file: string): Promise<Buffer> {
  const handle = await open(file, 'r');
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of handle.createReadStream({ end: MAX_READ_BYTES, autoClose: false })) {
      chunks.push(chunk);
      length += chunk.length;
    }
    return Buffer.concat(chunks, length);
  } finally {
    await handle.close();
  }
}

/** The keys in the order that the documentation gives them. */
function inOrder(file: string, found: Classification): { file: string } & Classification {
  const { kind, subtype, bounce, returnDate, requests, matched, needsReview, confidence, evidence } = found;
  return { file, kind, subtype, bounce, returnDate, requests, matched, needsReview, confidence, evidence };
}
