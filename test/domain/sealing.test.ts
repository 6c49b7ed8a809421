import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { publicKeyText, SealError, sealEvidence, unsealEvidence } from '../../domain/sealing';

const reader = generateKeyPairSync('x25519');

/** Why it does not open. */
function reasonFor(sealed: Buffer, key = reader.privateKey): string {
  try {
    unsealEvidence(sealed, key);
    return 'opened';
  } catch (error) {
    if (error instanceof SealError) return error.reason;
    throw error;
  }
}

test('what was sealed opens with the private key, whatever it is', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
      const document = Buffer.from(bytes);
      expect(unsealEvidence(sealEvidence(document, reader.publicKey), reader.privateKey).equals(document)).toBe(true);
    }),
  );
});

test('nothing of the document can be seen in it, and the same document is never sealed alike', () => {
  const document = Buffer.from('ana@shop.example agreed '.repeat(50));
  const sealed = [1, 2, 3].map(() => sealEvidence(document, reader.publicKey));
  for (const one of sealed) expect(one.toString('latin1')).not.toContain('shop.example');
  expect(new Set(sealed.map((one) => one.subarray(1, 33).toString('hex'))).size).toBe(3);
  expect(new Set(sealed.map((one) => one.subarray(65).toString('hex'))).size).toBe(3);
});

test('another key does not open it, and is told so', () => {
  const sealed = sealEvidence(Buffer.from('x'), reader.publicKey);
  expect(reasonFor(sealed, generateKeyPairSync('x25519').privateKey)).toBe('other-key');
});

test('whichever byte is changed, or how much is cut off: it does not open', () => {
  const sealed = sealEvidence(Buffer.from('{"leadId":"1"}'), reader.publicKey);
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed);
    changed[at] = (changed[at] as number) ^ 1;
    expect(reasonFor(changed)).toBe(at === 0 ? 'not-sealed' : at >= 33 && at < 65 ? 'other-key' : 'damaged');
    expect(reasonFor(sealed.subarray(0, at))).not.toBe('opened');
  }
  expect(reasonFor(Buffer.concat([sealed, Buffer.of(0)]))).toBe('damaged');
});

test('a document that was sealed for one reader can not be passed off as sealed for another', () => {
  const other = generateKeyPairSync('x25519');
  const sealed = sealEvidence(Buffer.from('x'), reader.publicKey);
  const redirected = Buffer.concat([
    sealed.subarray(0, 33),
    Buffer.from(publicKeyText(other.publicKey), 'base64url'),
    sealed.subarray(65),
  ]);
  expect(reasonFor(redirected, other.privateKey)).toBe('damaged');
});

test('a public key of small order gives no secret that anybody would know', () => {
  const sealed = sealEvidence(Buffer.from('x'), reader.publicKey);
  const zero = Buffer.concat([sealed.subarray(0, 1), Buffer.alloc(32), sealed.subarray(33)]);
  expect(reasonFor(zero)).toBe('damaged');
});

test('a public key reads the same from either half', () => {
  expect(publicKeyText(reader.privateKey)).toBe(publicKeyText(reader.publicKey));
  const x = publicKeyText(reader.publicKey);
  expect(x).toMatch(/^[\w-]{43}$/);
  const read = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
  expect(unsealEvidence(sealEvidence(Buffer.from('y'), read), reader.privateKey).toString()).toBe('y');
});
