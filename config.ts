import { createPrivateKey, createPublicKey, hkdfSync, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AddressKey } from './domain/address-hash';
import { looksLikeAddress } from './domain/addresses';
import { MAIL_TOKEN_LENGTH } from './domain/mail-token';
import { STREAMS, type Stream } from './domain/streams';
import type { TokenKey } from './domain/unsubscribe-token';

/** How to get access tokens (RFC 6749), where a provider wants OAuth 2.0 in place of a password. */
export interface OAuth2Settings {
  tokenUrl: string;
  clientId: string;
  clientSecret: string;
  /** Null: the client's own credentials are the grant. */
  refreshToken: string | null;
  scope: string | null;
}

/** How the mail of one stream leaves. */
export interface SmtpSettings {
  url: string;
  /** How many SMTP connections a worker process may hold for it. */
  connections: number;
  /** Where the URL names a user and no password. */
  oauth2: OAuth2Settings | null;
  /** Mailbox that delivery reports go to, as `bounces+<token>@…` (VERP); null: the sender's own address. */
  returnPath: string | null;
}

/** A mailbox that is watched for answers. */
export interface ImapSettings {
  url: string;
  oauth2: OAuth2Settings | null;
}

/** A key that signs the mail of one domain (RFC 6376). */
export interface DkimKey {
  domain: string;
  selector: string;
  /** RSA of 2048 bits or more; made once, since reading the PEM costs more than signing. */
  privateKey: KeyObject;
}

/** What proves that a webhook comes from the provider. Null: its webhook is switched off. */
export interface WebhookSettings {
  /** ARNs of the SNS topics that are ours. */
  sesTopics: readonly string[] | null;
  /** `user:password` of HTTP basic authentication. */
  postmark: string | null;
  /** The verification key of the signed event webhook, base64 DER. */
  sendgrid: string | null;
  /** The HTTP webhook signing key. */
  mailgun: string | null;
  /** The secret of the generic webhook's HMAC. */
  generic: string | null;
}

/** Everything that can be set from outside. The only reader of the environment; `.env.example` explains each setting. */
export interface Config {
  databaseUrl: string;
  databaseConnections: number;
  temporalAddress: string;
  temporalNamespace: string;
  smtp: Readonly<Record<Stream, SmtpSettings>>;
  /** Why no mail may leave, in words for an operator; null when it may. */
  mailBlocked: string | null;
  /** Mailbox of ours that answers go to, as `replies+<token>@…`; null: straight to the campaign's `sender.replyTo`. */
  replyAddress: string | null;
  dkimKeys: readonly DkimKey[];
  inboxes: readonly ImapSettings[];
  webhooks: WebhookSettings;
  /** From of the mail to our own staff, `Name <address>` or an address; null: the campaign's sender. */
  staffFrom: string | null;
  /** Who is told when sending is stopped. */
  operators: readonly string[];
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
  const smtp = smtpSettings(env, faults);
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
    smtp,
    mailBlocked: deadLinks(smtp, publicUrl),
    replyAddress: mailbox(env, 'RECUERDA_REPLY_ADDRESS', faults),
    dkimKeys: dkimKeys(env, faults),
    inboxes: inboxes(env, faults),
    webhooks: {
      sesTopics: list(env, 'WEBHOOK_SES_TOPICS'),
      postmark: env.WEBHOOK_POSTMARK_AUTH || null,
      sendgrid: publicKey(env, 'WEBHOOK_SENDGRID_KEY', faults),
      mailgun: env.WEBHOOK_MAILGUN_KEY || null,
      generic: env.WEBHOOK_SECRET || null,
    },
    staffFrom: env.RECUERDA_STAFF_FROM || null,
    operators: addresses(env, 'RECUERDA_OPERATORS', faults),
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

/**
 * The keys that signed our tokens, as far as the environment has them: for commands that need nothing else of it. Empty
 * where none are set.
 *
 * @throws ConfigError when those that are set can't be read
 */
export function readTokenKeys(env: Env): readonly TokenKey[] {
  const faults: string[] = [];
  const keys = withDerived(
    parseKeys(env, 'RECUERDA_TOKEN_KEYS', faults),
    env.RECUERDA_SECRET ?? '',
    'unsubscribe links',
  );
  if (faults.length > 0) throw new ConfigError(faults);
  return keys;
}

/** A setting of one stream: `NAME_MARKETING` before `NAME`. @returns the name under which it stands, too */
function ofStream(env: Env, name: string, stream: Stream): [value: string, name: string] {
  const own = `${name}_${stream.toUpperCase()}`;
  return env[own] ? [env[own], own] : [env[name] ?? '', name];
}

function smtpSettings(env: Env, faults: string[]): Record<Stream, SmtpSettings> {
  const before = faults.length;
  const entries = STREAMS.map((stream): [Stream, SmtpSettings] => {
    const [smtpUrl, urlName] = ofStream(env, 'SMTP_URL', stream);
    const [, connectionsName] = ofStream(env, 'RECUERDA_SMTP_CONNECTIONS', stream);
    const [returnPath, returnPathName] = ofStream(env, 'RECUERDA_RETURN_PATH', stream);
    const setting = (name: string) => ofStream(env, name, stream);
    return [
      stream,
      {
        url: url(env, urlName, ['smtp:', 'smtps:'], faults),
        connections: integer(env, connectionsName, 5, [1, 100], faults),
        oauth2: smtpOAuth2(smtpUrl, urlName, setting, faults),
        returnPath: returnPath === '' ? null : mailbox(env, returnPathName, faults),
      },
    ];
  });
  // What all streams share would be told three times.
  faults.splice(before, faults.length - before, ...new Set(faults.slice(before)));
  return Object.fromEntries(entries) as Record<Stream, SmtpSettings>;
}

/** Access tokens are for a URL that names a user and no password, so that each stream may log in in its own way. */
function smtpOAuth2(smtpUrl: string, urlName: string, setting: SettingOf, faults: string[]): OAuth2Settings | null {
  const { username, password } = URL.canParse(smtpUrl) ? new URL(smtpUrl) : { username: '', password: '' };
  if (username === '' || password !== '') return null;
  const settings = oauth2('SMTP_OAUTH2', setting, faults);
  if (settings === null) {
    const [, tokenUrlName] = setting('SMTP_OAUTH2_TOKEN_URL');
    faults.push(`${urlName} names a user without a password: it needs one, or ${tokenUrlName}`);
  }
  return settings;
}

type SettingOf = (name: string) => [value: string, name: string];

function oauth2(prefix: string, setting: SettingOf, faults: string[]): OAuth2Settings | null {
  const [tokenUrl, tokenUrlName] = setting(`${prefix}_TOKEN_URL`);
  if (tokenUrl === '') return null;
  const [clientId, clientIdName] = setting(`${prefix}_CLIENT_ID`);
  if (clientId === '') faults.push(`${clientIdName} must be set together with ${tokenUrlName}`);
  if (!URL.canParse(tokenUrl) || (new URL(tokenUrl).protocol !== 'https:' && !isLoopbackUrl(tokenUrl))) {
    faults.push(`${tokenUrlName} must be a URL beginning with https://`);
  }
  return {
    tokenUrl,
    clientId,
    clientSecret: setting(`${prefix}_CLIENT_SECRET`)[0],
    refreshToken: setting(`${prefix}_REFRESH_TOKEN`)[0] || null,
    scope: setting(`${prefix}_SCOPE`)[0] || null,
  };
}

function inboxes(env: Env, faults: string[]): ImapSettings[] {
  // A comma within a URL, as in `folders=INBOX,Archive`, does not separate.
  const urls = (env.IMAP_URL ?? '').split(/,(?=\s*[a-z]+:\/\/)/i).map((part) => part.trim());
  return urls
    .filter((part) => part !== '')
    .map((imapUrl) => {
      const sound = URL.canParse(imapUrl) && ['imap:', 'imaps:'].includes(new URL(imapUrl).protocol);
      if (!sound || new URL(imapUrl).username === '') {
        faults.push('IMAP_URL must be one or more URLs such as imaps://user:password@host, separated by commas');
      }
      const byToken = sound && new URL(imapUrl).searchParams.get('auth') === 'oauth2';
      const settings = byToken ? oauth2('IMAP_OAUTH2', (name) => [env[name] ?? '', name], faults) : null;
      if (byToken && settings === null) faults.push('IMAP_OAUTH2_TOKEN_URL must be set for a mailbox with auth=oauth2');
      return { url: imapUrl, oauth2: settings };
    });
}

/** `shop.example:s1:/run/secrets/dkim.pem`, several separated by commas. */
function dkimKeys(env: Env, faults: string[]): DkimKey[] {
  return (list(env, 'RECUERDA_DKIM_KEYS') ?? []).flatMap((entry) => {
    const [, domain, selector, file] = /^([^:]+):([^:]+):(.+)$/.exec(entry) ?? [];
    if (domain === undefined || selector === undefined || file === undefined) {
      faults.push('RECUERDA_DKIM_KEYS must be a list such as shop.example:s1:/run/secrets/dkim.pem');
      return [];
    }
    try {
      const privateKey = createPrivateKey(readFileSync(file));
      if (privateKey.asymmetricKeyType === 'rsa' && (privateKey.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048) {
        return [{ domain: domain.toLowerCase(), selector, privateKey }];
      }
      faults.push(`RECUERDA_DKIM_KEYS: the key of ${domain} must be RSA with 2048 bits or more`);
    } catch {
      faults.push(`RECUERDA_DKIM_KEYS: the key of ${domain} can't be read from its file as PEM`);
    }
    return [];
  });
}

/** A public key in base64 DER, as it stands. */
function publicKey(env: Env, name: string, faults: string[]): string | null {
  const value = env[name] || null;
  try {
    if (value !== null) createPublicKey({ key: Buffer.from(value, 'base64'), format: 'der', type: 'spki' });
  } catch {
    faults.push(`${name} must be a public key in base64, as the provider shows it`);
  }
  return value;
}

/** A mailbox of ours that takes `name+anything@…`: its local part must leave room for a token. */
function mailbox(env: Env, name: string, faults: string[]): string | null {
  const value = env[name] ?? '';
  if (value === '') return null;
  if (!looksLikeAddress(value) || value.indexOf('@') > 64 - 1 - MAIL_TOKEN_LENGTH || value.includes('+')) {
    faults.push(
      `${name} must be the address of a mailbox that takes name+anything@…, with at most ${63 - MAIL_TOKEN_LENGTH} characters before the @`,
    );
  }
  return value;
}

function addresses(env: Env, name: string, faults: string[]): string[] {
  const values = list(env, name) ?? [];
  if (!values.every(looksLikeAddress)) faults.push(`${name} must be one or more addresses, separated by commas`);
  return values;
}

function list(env: Env, name: string): string[] | null {
  const values = (env[name] ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  return values.length === 0 ? null : values;
}

/** Mail that leaves this machine must not carry unsubscribe links that lead back to the reader's own. */
function deadLinks(smtp: Record<Stream, SmtpSettings>, publicUrl: string): string | null {
  if (STREAMS.every((stream) => isLoopbackUrl(smtp[stream].url)) || !isLoopbackUrl(publicUrl)) return null;
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
