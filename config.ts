import { hkdfSync } from 'node:crypto';
import type { AddressKey } from './domain/address-hash';
import type { TokenKey } from './domain/unsubscribe-token';

/** Everything that can be set from outside. The only reader of the environment; `.env.example` explains each setting. */
export interface Config {
  databaseUrl: string;
  databaseConnections: number;
  temporalAddress: string;
  temporalNamespace: string;
  smtpUrl: string;
  /** Why no mail may leave, in words for an operator; null when it may. */
  mailBlocked: string | null;
  /** How many SMTP connections each mail queue of a worker process may hold. */
  smtpConnections: number;
  /** Where leads reach us: the links in every mail begin with it. No trailing slash. */
  publicUrl: string;
  host: string;
  port: number;
  /** Bearer keys of the API. */
  apiKeys: readonly string[];
  addressKeys: readonly AddressKey[];
  tokenKeys: readonly TokenKey[];
  /** Planned time per real time; 1 but in demonstrations. */
  timeFactor: number;
  logLevel: string;
}

/** What is wrong with the environment: one line for each setting, naming it. */
export class ConfigError extends Error {
  constructor(readonly faults: readonly string[]) {
    super(`Recuerda can't start with these settings:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/**
 * Reads and checks the environment.
 *
 * @throws ConfigError naming every setting that is missing or wrong, not only the first
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const faults: string[] = [];
  const publicUrl = url(env, 'RECUERDA_PUBLIC_URL', ['http:', 'https:'], faults).replace(/\/+$/, '');
  const smtpUrl = url(env, 'SMTP_URL', ['smtp:', 'smtps:'], faults);
  const secret = env.RECUERDA_SECRET ?? '';
  const versioned = parseKeys(env, 'RECUERDA_ADDRESS_KEYS', faults);
  const tokens = parseKeys(env, 'RECUERDA_TOKEN_KEYS', faults);
  if (secret.length < 32 && (versioned.length === 0 || tokens.length === 0)) {
    faults.push(
      'RECUERDA_SECRET must be set, to at least 32 random characters (openssl rand -hex 32). Keep it for good: it keys ' +
        'the suppression list and the unsubscribe links',
    );
  }
  const apiKeys = (env.RECUERDA_API_KEY ?? '').split(',').filter((key) => key !== '');
  if (apiKeys.some((key) => key.length < 16)) faults.push('RECUERDA_API_KEY must have at least 16 characters');
  const config: Config = {
    databaseUrl: url(env, 'DATABASE_URL', ['postgres:', 'postgresql:'], faults),
    databaseConnections: integer(env, 'RECUERDA_DATABASE_CONNECTIONS', 10, [2, 500], faults),
    temporalAddress: required(env, 'TEMPORAL_ADDRESS', faults),
    temporalNamespace: env.TEMPORAL_NAMESPACE || 'default',
    smtpUrl,
    mailBlocked: deadLinks(smtpUrl, publicUrl),
    smtpConnections: integer(env, 'RECUERDA_SMTP_CONNECTIONS', 5, [1, 100], faults),
    publicUrl,
    host: env.HOST || '127.0.0.1',
    port: integer(env, 'PORT', 3000, [0, 65535], faults),
    apiKeys,
    addressKeys: withDerived(versioned, secret, 'address hashes'),
    tokenKeys: withDerived(tokens, secret, 'unsubscribe links'),
    timeFactor: number(env, 'RECUERDA_TIME_FACTOR', 1, [1, 1e7], faults),
    logLevel: env.LOG_LEVEL || 'info',
  };
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(config);
}

/** Mail that leaves this machine must not carry unsubscribe links that lead back to the reader's own. */
function deadLinks(smtpUrl: string, publicUrl: string): string | null {
  if (isLoopbackUrl(smtpUrl) || !isLoopbackUrl(publicUrl)) return null;
  return (
    `No mail is sent: SMTP_URL leads off this machine while RECUERDA_PUBLIC_URL is ${publicUrl}, so nobody could open ` +
    'the unsubscribe links. Set RECUERDA_PUBLIC_URL to the address under which leads reach this API'
  );
}

/** Does this URL lead to this very machine? */
export function isLoopbackUrl(text: string): boolean {
  const host = URL.canParse(text) ? new URL(text).hostname : '';
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

type Env = Readonly<Record<string, string | undefined>>;

function required(env: Env, name: string, faults: string[]): string {
  const value = env[name];
  if (value === undefined || value === '') faults.push(`${name} must be set`);
  return value ?? '';
}

function url(env: Env, name: string, protocols: string[], faults: string[]): string {
  const value = required(env, name, faults);
  if (value !== '' && !(URL.canParse(value) && protocols.includes(new URL(value).protocol))) {
    faults.push(`${name} must be a URL beginning with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`);
  }
  return value;
}

function number(env: Env, name: string, fallback: number, [min, max]: [number, number], faults: string[]): number {
  const text = env[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!(value >= min && value <= max)) faults.push(`${name} must be a number from ${min} to ${max}`);
  return value;
}

function integer(env: Env, name: string, fallback: number, range: [number, number], faults: string[]): number {
  const value = number(env, name, fallback, range, faults);
  if (!Number.isInteger(value)) faults.push(`${name} must be a whole number`);
  return value;
}

/** `2:hex,1:hex`: versioned keys, so that one can be replaced while what older ones made stays valid. */
function parseKeys(env: Env, name: string, faults: string[]): { version: number; secret: Buffer }[] {
  const text = env[name];
  if (text === undefined || text === '') return [];
  const keys = text.split(',').map((part) => {
    const [version, hex] = part.trim().split(':');
    return { version: Number(version), secret: Buffer.from(hex ?? '', 'hex') };
  });
  const versions = new Set(keys.map((key) => key.version));
  const sound = keys.every((key) => key.version >= 1 && key.version <= 255 && key.secret.length >= 16);
  if (!sound || versions.size < keys.length) {
    faults.push(
      `${name} must be a list such as 2:<hex>,1:<hex>, each with its own version (1 to 255) and 16 bytes or more`,
    );
  }
  return keys;
}

/**
 * The keys that were listed and, as version 1, the one that the secret gives. It stays when a newer one is listed:
 * otherwise nobody who objected under it would be recognised any more, and no link of an old mail would work.
 */
function withDerived(
  listed: { version: number; secret: Buffer }[],
  secret: string,
  purpose: string,
): { version: number; secret: Buffer }[] {
  if (secret === '' || listed.some((key) => key.version === 1)) return listed;
  return [...listed, { version: 1, secret: derive(secret, purpose) }];
}

function derive(secret: string, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, 'recuerda', purpose, 32));
}
