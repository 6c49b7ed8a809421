import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';

// A sealed document can be read with one private key only, which is on none of our machines: for each, a key pair of its
// own is made, agrees on a secret with the reader's public key (X25519, RFC 7748), and is thrown away. The secret gives key
// and nonce (HKDF-SHA256, RFC 5869) of AES-256-GCM. Both public keys are bound in, so that a sealed document opens as it
// was sealed or not at all.
//
//   byte 0       format, 1
//   bytes 1-32   public key that was made for it
//   bytes 33-64  public key it is sealed to
//   then         the document, encrypted, and the tag of 16 bytes

const FORMAT = 1;
const KEY_BYTES = 32;
const HEADER_BYTES = 1 + 2 * KEY_BYTES;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const PURPOSE = 'recuerda sealed evidence 1';

/** Why a sealed document does not open. */
export class SealError extends Error {
  constructor(readonly reason: 'not-sealed' | 'other-key' | 'damaged') {
    super(
      {
        'not-sealed': 'this is no sealed evidence, or of a newer format than this release knows',
        'other-key': 'it is sealed to another key',
        damaged: 'it was changed or cut after it was sealed',
      }[reason],
    );
    this.name = 'SealError';
  }
}

/**
 * Encrypts a document so that only the holder of a private key can read it; whoever sealed it can not.
 *
 * @param publicKey X25519
 */
export function sealEvidence(document: Buffer, publicKey: KeyObject): Buffer {
  const own = generateKeyPairSync('x25519');
  const header = Buffer.concat([Buffer.of(FORMAT), rawPublicKey(own.publicKey), rawPublicKey(publicKey)]);
  const { key, nonce } = agreed(own.privateKey, publicKey, header);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(header);
  return Buffer.concat([header, cipher.update(document), cipher.final(), cipher.getAuthTag()]);
}

/**
 * Opens what `sealEvidence` sealed.
 *
 * @param privateKey X25519
 * @throws SealError
 */
export function unsealEvidence(sealed: Buffer, privateKey: KeyObject): Buffer {
  if (sealed.length < HEADER_BYTES + TAG_BYTES || sealed[0] !== FORMAT) throw new SealError('not-sealed');
  const header = sealed.subarray(0, HEADER_BYTES);
  if (!header.subarray(1 + KEY_BYTES).equals(rawPublicKey(createPublicKey(privateKey)))) {
    throw new SealError('other-key');
  }
  try {
    const { key, nonce } = agreed(privateKey, publicKeyOf(header.subarray(1, 1 + KEY_BYTES)), header);
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
      .setAAD(header)
      .setAuthTag(sealed.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(HEADER_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    // Also a public key of small order, which gives no secret (RFC 7748, section 6.1).
    throw new SealError('damaged');
  }
}

/** An X25519 or Ed25519 public key, base64url without padding: as settings and documents hold it. */
export function publicKeyText(key: KeyObject): string {
  const { x } = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' });
  if (x === undefined) throw new TypeError('not a key of a Curve25519 kind');
  return x;
}

function agreed(privateKey: KeyObject, publicKey: KeyObject, header: Buffer): { key: Buffer; nonce: Buffer } {
  const secret = diffieHellman({ privateKey, publicKey });
  const derived = Buffer.from(hkdfSync('sha256', secret, header, PURPOSE, 32 + NONCE_BYTES));
  return { key: derived.subarray(0, 32), nonce: derived.subarray(32) };
}

function rawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(publicKeyText(key), 'base64url');
}

function publicKeyOf(raw: Buffer): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: raw.toString('base64url') }, format: 'jwk' });
}
