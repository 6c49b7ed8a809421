import type { FastifyRequest } from 'fastify';
import type { ExclusionHash } from '../db/exclusions';
import { Problem } from '../domain/problem';
import { invalidField } from './problems';

/** The most entries that a list may have; that of a whole country has a few millions. */
const MAX_ENTRIES = 20_000_000;
/** More than the hash and what may surround it; a line that is longer is none of such a list. */
const MAX_LINE = 200;

/** UTF-8's, read as Latin-1. */
const BYTE_ORDER_MARK = /^\u00ef\u00bb\u00bf/;

/**
 * The entries of a list on its way in, one a line, in constant memory.
 *
 * @throws Problem `invalid-request` naming the first line that is no SHA-256 (never quoting it: it may be an address)
 */
export async function* exclusionLines(request: FastifyRequest): AsyncGenerator<ExclusionHash> {
  let number = 0;
  let entries = 0;
  for await (const line of lines(request)) {
    number += 1;
    const text = (number === 1 ? line.replace(BYTE_ORDER_MARK, '') : line).trim();
    if (text === '') continue;
    if (!/^[0-9a-f]{64}$/i.test(text)) {
      throw invalidField(
        '',
        `line ${number} is not the SHA-256 of an address: each line must be 64 hexadecimal digits, the hash of an address in lower case`,
      );
    }
    entries += 1;
    if (entries > MAX_ENTRIES) throw new Problem('payload-too-large', `A list has at most ${MAX_ENTRIES} entries.`);
    yield Buffer.from(text, 'hex');
  }
}

async function* lines({ raw }: FastifyRequest): AsyncGenerator<string> {
  let rest = '';
  const pieces = raw.iterator({ destroyOnReturn: false });
  try {
    for (;;) {
      const { done, value } = await pieces.next().catch(() => {
        throw new Problem('invalid-request', 'The upload broke off. The list from before holds; send it again.');
      });
      if (done) break;
      // Latin-1, since all that counts is ASCII, and a character cut in two must not matter.
      const parts = (rest + (value as Buffer).toString('latin1')).split('\n');
      rest = parts.pop() ?? '';
      yield* parts;
      if (rest.length > MAX_LINE) break;
    }
  } finally {
    await pieces.return?.();
  }
  yield rest;
}
