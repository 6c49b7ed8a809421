import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Multipart } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import { createEncodingDetector, type Encoding } from '../domain/leads-file/encoding';
import { inspectLeadsFile } from '../domain/leads-file/inspect';
import { Problem } from '../domain/problem';
import { invalidField } from './problems';

/** A file on its way in, before any of it was read. */
export interface Upload {
  /** Form fields that came before the file; none where the file is the body. */
  fields: Record<string, string>;
  /** The file's bytes. */
  bytes: AsyncIterable<Uint8Array>;
  /** Reads what follows the file. @throws Problem when that is something that would be lost */
  end(): Promise<void>;
  /** Lets what was not read flow past, so that the sender comes to read our answer. */
  drain(): void;
}

/** How much of a file is looked at before the rest is taken. */
const HEAD_BYTES = 256 * 1024;

/** Opens the file of a request: its body, or the first file of its form. @throws Problem */
export async function openUpload(request: FastifyRequest): Promise<Upload> {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    throw new Problem('unsupported-media-type', `The body is compressed (${encoding}); send the file as it is.`);
  }
  const { raw } = request;
  const drain = () => {
    raw.unpipe();
    raw.resume();
  };
  if (!request.isMultipart()) return { fields: {}, bytes: received(raw, raw), end: async () => {}, drain };

  const parts = request.parts({ limits: { fileSize: Number.POSITIVE_INFINITY, files: 2, fields: 50 } });
  const next = () => read(raw, async () => (await parts.next()) as IteratorResult<Multipart, undefined>);
  const fields: Record<string, string> = {};
  for (;;) {
    const { done, value: part } = await next();
    if (done) {
      drain();
      throw invalidField('/file', 'is missing: the form holds no file');
    }
    if (part.type === 'file') {
      return {
        fields,
        bytes: received(raw, part.file),
        end: async () => {
          const after = await next();
          if (after.done) return;
          if (after.value.type === 'file')
            throw invalidField('', 'the form holds more than one file; send one at a time');
          throw invalidField(`/${after.value.fieldname}`, 'must stand before the file in the form');
        },
        drain,
      };
    }
    fields[part.fieldname] = String(part.value);
  }
}

/** The bytes of a stream; giving up half-way leaves the stream open, so that an answer can still be sent. */
async function* received(raw: FastifyRequest['raw'], stream: Readable): AsyncGenerator<Uint8Array> {
  const pieces = stream.iterator({ destroyOnReturn: false });
  try {
    for (;;) {
      const { done, value } = await read(raw, () => pieces.next());
      if (done) return;
      yield value as Buffer;
    }
  } finally {
    // Lets go of the stream, which would not flow past otherwise.
    await pieces.return?.();
  }
}

/** Reads on; whatever that fails of is the sender's doing: they hung up, or what they sent is no form. */
async function read<T>(raw: FastifyRequest['raw'], work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Problem) throw error;
    const why = raw.destroyed || raw.errored !== null ? 'The upload broke off.' : 'The body is not a valid form.';
    throw new Problem('invalid-request', `${why} Nothing was kept; send the file again.`);
  }
}

/** What is known of a file once all of it has passed. */
export interface LeadsFileLook {
  encoding: Encoding;
  /** SHA-256 of its bytes. */
  digest: string;
}

/**
 * Looks at a file of leads while it passes, in constant memory. One whose beginning shows that it is none is refused before
 * the rest is asked for.
 *
 * @param mapping columns named by hand
 * @returns its bytes, and what there is to tell once they have passed
 */
export function lookedAt(
  bytes: AsyncIterable<Uint8Array>,
  mapping: Record<string, string> | null,
): { bytes: AsyncIterable<Uint8Array>; look: () => LeadsFileLook } {
  const detector = createEncodingDetector();
  const hash = createHash('sha256');
  const inspect = (head: Uint8Array, whole: boolean) => {
    const seen = inspectLeadsFile(head, mapping ?? {}, whole);
    if ('problem' in seen) throw invalidField('', `this can not be read as a list of leads: ${seen.problem}`);
  };
  async function* passing(): AsyncGenerator<Uint8Array> {
    let head: Uint8Array[] | null = [];
    let size = 0;
    for await (const piece of bytes) {
      detector.push(piece);
      hash.update(piece);
      if (head === null) {
        yield piece;
        continue;
      }
      head.push(piece);
      size += piece.length;
      if (size < HEAD_BYTES) continue;
      const whole = Buffer.concat(head);
      head = null;
      inspect(whole, false);
      yield whole;
    }
    if (head === null) return;
    const whole = Buffer.concat(head);
    inspect(whole, true);
    yield whole;
  }
  return { bytes: passing(), look: () => ({ encoding: detector.result(), digest: hash.digest('base64url') }) };
}
