import argon2 from 'argon2';

/** In characters, as people count them. */
export const PASSWORD_LENGTH = { min: 12, max: 256 };

/** Argon2id (RFC 9106) with at least what OWASP asks for: 19 MiB, two passes, one lane. Some 40 ms of one core. */
const ARGON2ID = { type: argon2.argon2id, memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 } as const;

/** A hash that no password has: whoever is unknown takes as long to refuse as whoever mistyped. */
let decoy: Promise<string> | null = null;

/** @returns why a password is not taken, in words; null where it is. Only its length is looked at (NIST SP 800-63B). */
export function passwordFault(password: string): string | null {
  const { min, max } = PASSWORD_LENGTH;
  const length = [...canonical(password)].length;
  if (length < min) return `must have at least ${min} characters; it has ${length}`;
  if (length > max) return `must have at most ${max} characters; it has ${length}`;
  return null;
}

/** @returns the Argon2id hash as a PHC string, with its salt and parameters */
export async function hashPassword(password: string): Promise<string> {
  return await argon2.hash(canonical(password), ARGON2ID);
}

/** Compares a password with its hash; null stands for nobody, and takes the same time. */
export async function verifyPassword(hash: string | null, password: string): Promise<boolean> {
  // Awaited by everybody, or the first unknown name would take longer than the first known one.
  decoy ??= hashPassword('');
  const ofNobody = await decoy;
  const matches = await argon2.verify(hash ?? ofNobody, canonical(password));
  return matches && hash !== null;
}

/** The same characters typed on another keyboard are the same password. */
function canonical(password: string): string {
  return password.normalize('NFKC');
}
