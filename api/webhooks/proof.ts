import { createHash, timingSafeEqual } from 'node:crypto';
import { Problem } from '../../domain/problem';

/** Compares in a time that tells nothing, whatever the lengths. */
export function equalSecrets(given: string | Buffer, expected: string | Buffer): boolean {
  return timingSafeEqual(digest(given), digest(expected));
}

function digest(value: string | Buffer): Buffer {
  return createHash('sha256').update(value).digest();
}

/** The one answer to whatever can't prove that it comes from the provider. */
export function badSignature(detail: string): Problem {
  return new Problem('bad-signature', detail);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** @throws Problem `invalid-request` when it is no JSON */
export function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(body));
  } catch {
    throw new Problem('invalid-request', 'The body is not JSON.');
  }
}
