import { createPublicKey, type KeyObject, sign } from 'node:crypto';

/** A certificate of a key by itself (X.509, RFC 5280), as PEM. */
export function selfSigned(privateKey: KeyObject, [from, to]: readonly [Date, Date]): string {
  const algorithm = sequence(oid(1, 2, 840, 113549, 1, 1, 11), der(0x05)); // sha256WithRSAEncryption
  const name = sequence(der(0x31, sequence(oid(2, 5, 4, 3), der(0x0c, Buffer.from('sns.amazonaws.com')))));
  const time = (at: Date) => der(0x18, Buffer.from(`${at.toISOString().replace(/[-:T]|\.\d+/g, '')}`)); // GeneralizedTime
  const version = der(0xa0, der(0x02, Buffer.from([2])));
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const body = sequence(
    version,
    der(0x02, Buffer.from([1])),
    algorithm,
    name,
    sequence(time(from), time(to)),
    name,
    publicKey,
  );
  const signature = der(0x03, Buffer.from([0]), sign('sha256', body, privateKey));
  const text = sequence(body, algorithm, signature)
    .toString('base64')
    .replace(/(.{64})/g, '$1\n');
  return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
}

/** Tag, length and value (X.690, 8.1). */
function der(tag: number, ...parts: Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  const { length } = value;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), value]);
}

function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, ...parts);
}

function oid(first: number, second: number, ...rest: number[]): Buffer {
  const base128 = (value: number): number[] =>
    value < 128 ? [value] : [...base128(value >> 7).map((byte) => byte | 128), value & 127];
  return der(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}
