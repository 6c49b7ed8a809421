import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

/** Key and certificate, as PEM, and what is needed to issue others. */
export interface Identity {
  name: string;
  key: string;
  certificate: string;
  privateKey: KeyObject;
}

/** A certificate of a key by itself (X.509, RFC 5280), as PEM. */
export function selfSigned(privateKey: KeyObject, validity: readonly [Date, Date]): string {
  return certificateOf({ name: 'sns.amazonaws.com', privateKey, issuer: null, validity, extensions: [] });
}

/** An authority whose certificates are trusted by whoever is given its own. */
export function authority(name: string): Identity {
  // Basic constraints: it may issue others.
  const mayIssue = extension([2, 5, 29, 19], sequence(der(0x01, Buffer.from([255]))));
  return identity(name, null, [mayIssue]);
}

/** Somebody whom an authority vouches for, under `localhost` and that name. */
export function vouchedFor(name: string, issuer: Identity): Identity {
  const dnsName = (value: string) => der(0x82, Buffer.from(value));
  return identity(name, issuer, [extension([2, 5, 29, 17], sequence(dnsName('localhost'), dnsName(name)))]);
}

function identity(name: string, issuer: Identity | null, extensions: Buffer[]): Identity {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const validity = [new Date(Date.now() - 86_400_000), new Date(Date.now() + 86_400_000)] as const;
  const certificate = certificateOf({ name, privateKey, issuer, validity, extensions });
  return { name, certificate, privateKey, key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() };
}

interface Wanted {
  name: string;
  privateKey: KeyObject;
  /** Null: itself. */
  issuer: Identity | null;
  validity: readonly [Date, Date];
  extensions: Buffer[];
}

function certificateOf({ name, privateKey, issuer, validity: [from, to], extensions }: Wanted): string {
  const algorithm = sequence(oid(1, 2, 840, 113549, 1, 1, 11), der(0x05)); // sha256WithRSAEncryption
  const called = (what: string) => sequence(der(0x31, sequence(oid(2, 5, 4, 3), der(0x0c, Buffer.from(what)))));
  const time = (at: Date) => der(0x18, Buffer.from(`${at.toISOString().replace(/[-:T]|\.\d+/g, '')}`)); // GeneralizedTime
  const version = der(0xa0, der(0x02, Buffer.from([2])));
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const body = sequence(
    version,
    der(0x02, Buffer.from([1])),
    algorithm,
    called(issuer?.name ?? name),
    sequence(time(from), time(to)),
    called(name),
    publicKey,
    ...(extensions.length === 0 ? [] : [der(0xa3, sequence(...extensions))]),
  );
  const signature = der(0x03, Buffer.from([0]), sign('sha256', body, issuer?.privateKey ?? privateKey));
  const text = sequence(body, algorithm, signature)
    .toString('base64')
    .replace(/(.{64})/g, '$1\n');
  return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
}

function extension(id: readonly [number, number, ...number[]], value: Buffer): Buffer {
  return sequence(oid(...id), der(0x04, value));
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
