import { createPrivateKey, createPublicKey, hkdfSync, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { Duration } from 'luxon';
import type { AddressKey } from './domain/address-hash';
import { looksLikeAddress } from './domain/addresses';
import { evidenceSigningKey } from './domain/evidence-document';
import type { FrequencyCap } from './domain/frequency';
import { MAIL_TOKEN_LENGTH } from './domain/mail-token';
import type { TokenKey } from './domain/signed-token';
import { STREAMS, type Stream } from './domain/streams';

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

/** How the connection to Temporal is kept private, and whom it shows to be there. */
export interface TemporalTls {
  /** PEM of the authorities that may vouch for the server; null: those that this machine trusts. */
  serverCa: Buffer | null;
  /** PEMs that show who we are (mTLS); null: nobody asks. */
  client: { cert: Buffer; key: Buffer } | null;
  /** The name that the server's certificate must have; null: the host of the address. */
  serverName: string | null;
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
  /** A shop's: each the signing secret as the shop or its payment provider shows it. */
  stripe: string | null;
  woocommerce: string | null;
  shopify: string | null;
  /** Standard Webhooks, `whsec_<base64>`. */
  standard: string | null;
}

/** How long what nobody needs any more is kept; ISO 8601 durations. */
export interface Retention {
  /** Received mail as it came. */
  rawMail: string;
  /** A request that was never confirmed, after its link has expired. */
  unconfirmed: string;
  /** Sealed evidence, after the last marketing mail or withdrawal. */
  evidence: string;
}

/** Everything that can be set from outside. The only reader of the environment; `.env.example` explains each setting. */
export interface Config {
  databaseUrl: string;
  databaseConnections: number;
  temporalAddress: string;
  temporalNamespace: string;
  /** Null: the connection is in the clear. */
  temporalTls: TemporalTls | null;
  /** Sent with every call, as Temporal Cloud wants it; null: none. */
  temporalApiKey: string | null;
  /** As which version of which worker deployment this worker takes tasks; null: versioning is off. */
  deployment: { name: string; buildId: string } | null;
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
  /** How long `/readyz` says no before the API stops listening, so that a proxy sends its requests elsewhere; ms. */
  drainMs: number;
  /** Where `/metrics`, and of a worker and the inbox `/readyz`, are served; null: nowhere. */
  metrics: { host: string; port: number } | null;
  /** Where spans go, over OTLP/HTTP; null: no traces are kept. `serviceName` null: `recuerda-<process>`. */
  tracing: {
    url: string;
    headers: Readonly<Record<string, string>>;
    serviceName: string | null;
    sampler: string;
    ratio: number;
  } | null;
  /** Bearer keys of the API. */
  apiKeys: readonly string[];
  addressKeys: readonly AddressKey[];
  tokenKeys: readonly TokenKey[];
  /** Seed of the Ed25519 key that signs evidence, and of everything else that is derived for one purpose: `deriveKey`. */
  masterKey: Buffer;
  /** X25519: what must be kept of erased leads is sealed to it. Null: nothing of them is kept. */
  evidencePublicKey: KeyObject | null;
  /** Directory of the journal of stops, suppressions and erasures; null: none is kept. */
  journal: string | null;
  retention: Retention;
  frequencyCap: FrequencyCap | null;
  /** Whose `X-Forwarded-For` is believed: addresses and CIDR ranges of our own proxies. */
  trustedProxies: readonly string[];
  /** Origins (`https://…`) whose pages may call the API from a browser. */
  corsOrigins: readonly string[];
  /** Outgoing webhooks may go to private and loopback addresses too. */
  webhooksToPrivate: boolean;
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
export function readConfig(given: Readonly<Record<string, string | undefined>>): Config {
  const faults: string[] = [];
  const env = withSecretFiles(given, faults);
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
    temporalTls: temporalTls(env, faults),
    temporalApiKey: env.TEMPORAL_API_KEY || null,
    deployment: deployment(env, faults),
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
      stripe: env.WEBHOOK_STRIPE_SECRET || null,
      woocommerce: env.WEBHOOK_WOOCOMMERCE_SECRET || null,
      shopify: env.WEBHOOK_SHOPIFY_SECRET || null,
      standard: standardSecret(env, faults),
    },
    staffFrom: env.RECUERDA_STAFF_FROM || null,
    operators: addresses(env, 'RECUERDA_OPERATORS', faults),
    publicUrl,
    host: env.HOST || '127.0.0.1',
    port: integer(env, 'PORT', 3000, [0, 65535], faults),
    drainMs: integer(env, 'RECUERDA_DRAIN_SECONDS', 0, [0, 60], faults) * 1000,
    metrics: env.RECUERDA_METRICS_PORT
      ? {
          host: env.RECUERDA_METRICS_HOST || '127.0.0.1',
          port: integer(env, 'RECUERDA_METRICS_PORT', 9464, [0, 65535], faults),
        }
      : null,
    tracing: tracing(env, faults),
    apiKeys,
    addressKeys: withDerived(versioned, secret, 'address hashes'),
    tokenKeys: withDerived(tokens, secret, 'unsubscribe links'),
    masterKey: masterKeyOf(secret, tokens),
    evidencePublicKey: sealingKey(env, faults),
    journal: env.RECUERDA_JOURNAL || null,
    retention: {
      rawMail: duration(env, 'RECUERDA_RETENTION_RAW_MAIL', 'P90D', faults),
      unconfirmed: duration(env, 'RECUERDA_RETENTION_UNCONFIRMED', 'P7D', faults),
      evidence: duration(env, 'RECUERDA_RETENTION_EVIDENCE', 'P3Y', faults),
    },
    frequencyCap: frequencyCap(env, faults),
    trustedProxies: proxies(env, faults),
    corsOrigins: origins(env, faults),
    webhooksToPrivate: env.RECUERDA_WEBHOOKS_TO_PRIVATE === 'true',
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
export function readTokenKeys(given: Env): readonly TokenKey[] {
  const faults: string[] = [];
  const env = withSecretFiles(given, faults);
  const keys = withDerived(
    parseKeys(env, 'RECUERDA_TOKEN_KEYS', faults),
    env.RECUERDA_SECRET ?? '',
    'unsubscribe links',
  );
  if (faults.length > 0) throw new ConfigError(faults);
  return keys;
}

/**
 * Reads where the database is, for commands that need nothing else. Null where neither DATABASE_URL nor DATABASE_URL_FILE is
 * set.
 *
 * @throws ConfigError when what is set can't be read
 */
export function readDatabaseUrl(given: Env): string | null {
  const faults: string[] = [];
  const env = withSecretFiles({ DATABASE_URL: given.DATABASE_URL, DATABASE_URL_FILE: given.DATABASE_URL_FILE }, faults);
  const databaseUrl = env.DATABASE_URL ? url(env, 'DATABASE_URL', ['postgres:', 'postgresql:'], faults) : null;
  if (faults.length > 0) throw new ConfigError(faults);
  return databaseUrl;
}

/**
 * The seed of the keys that are derived for one purpose each, as far as the environment has it: for commands that need
 * nothing else of it. Null where no secret is set.
 *
 * @throws ConfigError when what is set can't be read
 */
export function readMasterKey(given: Env): Buffer | null {
  const faults: string[] = [];
  const env = withSecretFiles(given, faults);
  const secret = env.RECUERDA_SECRET ?? '';
  const tokens = parseKeys(env, 'RECUERDA_TOKEN_KEYS', faults);
  if (faults.length > 0) throw new ConfigError(faults);
  return secret === '' && tokens.length === 0 ? null : masterKeyOf(secret, tokens);
}

/** Without the secret it comes from the oldest token key: a newer one that is listed later must not change what this has signed. */
function masterKeyOf(secret: string, tokens: readonly TokenKey[]): Buffer {
  const oldest = [...tokens].sort((a, b) => a.version - b.version)[0];
  return deriveKey(secret !== '' ? secret : (oldest?.secret.toString('hex') ?? ''), 'derived keys');
}

/** Settings that hold a secret: each may stand in a file, which `<NAME>_FILE` names, as container platforms mount them. */
const SECRET_SETTING =
  /^(DATABASE_URL|TEMPORAL_API_KEY|RECUERDA_(SECRET|API_KEY|ADDRESS_KEYS|TOKEN_KEYS)|SMTP_(URL|OAUTH2_CLIENT_SECRET|OAUTH2_REFRESH_TOKEN)(_[A-Z]+)?|IMAP_(URL|OAUTH2_CLIENT_SECRET|OAUTH2_REFRESH_TOKEN)|WEBHOOK_[A-Z_]+|OTEL_EXPORTER_OTLP_HEADERS)$/;

function withSecretFiles(env: Env, faults: string[]): Env {
  const read: Record<string, string | undefined> = { ...env };
  for (const [name, file] of Object.entries(env)) {
    const setting = name.replace(/_FILE$/, '');
    if (setting === name || !file || !SECRET_SETTING.test(setting)) continue;
    if (env[setting]) {
      faults.push(`${setting} and ${name} are both set: set one of them`);
      continue;
    }
    try {
      read[setting] = readFileSync(file, 'utf8').trim();
    } catch {
      faults.push(`${name} names a file that can not be read`);
    }
  }
  return read;
}

const SAMPLERS = [
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
  'always_on',
  'always_off',
  'traceidratio',
];

/** The names and their meaning are OpenTelemetry's own, so that one environment serves whatever else is traced. */
function tracing(env: Env, faults: string[]): Config['tracing'] {
  const ofTraces = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ? 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT' : null;
  const ofAll = env.OTEL_EXPORTER_OTLP_ENDPOINT ? 'OTEL_EXPORTER_OTLP_ENDPOINT' : null;
  const name = ofTraces ?? ofAll;
  if (name === null) return null;
  const given = url(env, name, ['http:', 'https:'], faults);
  const sampler = env.OTEL_TRACES_SAMPLER || 'parentbased_always_on';
  if (!SAMPLERS.includes(sampler)) faults.push(`OTEL_TRACES_SAMPLER must be one of ${SAMPLERS.join(', ')}`);
  return {
    url: name === ofTraces ? given : `${given.replace(/\/+$/, '')}/v1/traces`,
    headers: otlpHeaders(env, faults),
    serviceName: env.OTEL_SERVICE_NAME || null,
    sampler,
    ratio: number(env, 'OTEL_TRACES_SAMPLER_ARG', 1, [0, 1], faults),
  };
}

/** `name=value,name=value`, values percent-encoded. */
function otlpHeaders(env: Env, faults: string[]): Record<string, string> {
  const pairs = (env.OTEL_EXPORTER_OTLP_HEADERS ?? '').split(',').filter((pair) => pair.trim() !== '');
  try {
    return Object.fromEntries(
      pairs.map((pair) => {
        const [, name = '', value = ''] = /^\s*([\w.!#$%&'*+^`|~-]+)\s*=\s*(.*?)\s*$/.exec(pair) ?? [];
        if (name === '') throw new Error('no name');
        return [name, decodeURIComponent(value)];
      }),
    );
  } catch {
    faults.push('OTEL_EXPORTER_OTLP_HEADERS must be name=value,name=value, with values percent-encoded');
    return {};
  }
}

/**
 * The names are those that Temporal's own tools read, so one environment serves both. On whenever anything of it is set, or an
 * API key, which must not be told to whoever listens.
 */
function temporalTls(env: Env, faults: string[]): TemporalTls | null {
  const { TEMPORAL_TLS: wanted = '', TEMPORAL_API_KEY: apiKey = '', TEMPORAL_TLS_SERVER_NAME: serverName = '' } = env;
  const serverCa = pem(env, 'TEMPORAL_TLS_SERVER_CA_CERT_PATH', 'CERTIFICATE', faults);
  const cert = pem(env, 'TEMPORAL_TLS_CLIENT_CERT_PATH', 'CERTIFICATE', faults);
  const key = pem(env, 'TEMPORAL_TLS_CLIENT_KEY_PATH', 'PRIVATE KEY', faults);
  if (!['', 'true', 'false'].includes(wanted)) faults.push('TEMPORAL_TLS must be true or false');
  const given = serverCa !== null || cert !== null || key !== null || serverName !== '';
  if (wanted === 'false' && given)
    faults.push('TEMPORAL_TLS is false, while other TEMPORAL_TLS_… settings ask for TLS');
  if (wanted === 'false' && apiKey !== '')
    faults.push('TEMPORAL_API_KEY is never sent in the clear: leave TEMPORAL_TLS out');
  if (
    (env.TEMPORAL_TLS_CLIENT_CERT_PATH || '') === '' ? key !== null : (env.TEMPORAL_TLS_CLIENT_KEY_PATH || '') === ''
  ) {
    faults.push('TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH must be set together');
  }
  if (wanted !== 'true' && !given && apiKey === '') return null;
  return { serverCa, client: cert !== null && key !== null ? { cert, key } : null, serverName: serverName || null };
}

/** The PEM file that a setting names; null where it names none. */
function pem(env: Env, name: string, label: 'CERTIFICATE' | 'PRIVATE KEY', faults: string[]): Buffer | null {
  const file = env[name] ?? '';
  if (file === '') return null;
  try {
    const bytes = readFileSync(file);
    if (!new RegExp(`-----BEGIN ([A-Z ]+ )?${label}-----`).test(bytes.toString('latin1'))) {
      faults.push(`${name} names a file that is no ${label.toLowerCase()} in PEM`);
    }
    return bytes;
  } catch {
    faults.push(`${name} names a file that can not be read`);
    return null;
  }
}

/** A setting of one stream: `NAME_MARKETING` before `NAME`. @returns the name under which it stands, too */
function ofStream(env: Env, name: string, stream: Stream): [value: string, name: string] {
  const own = `${name}_${stream.toUpperCase()}`;
  return env[own] ? [env[own], own] : [env[name] ?? '', name];
}

/** What the engine takes as the name of a deployment; in a build id dots are allowed too. */
const DEPLOYMENT_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const BUILD_ID = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/;

function deployment(env: Env, faults: string[]): Config['deployment'] {
  const { RECUERDA_DEPLOYMENT: name = '', RECUERDA_BUILD_ID: buildId = '' } = env;
  if (name === '' && buildId === '') return null;
  if (name === '') faults.push('RECUERDA_DEPLOYMENT must be set together with RECUERDA_BUILD_ID');
  else if (!DEPLOYMENT_NAME.test(name)) {
    faults.push('RECUERDA_DEPLOYMENT must be a name of at most 64 letters, digits, - and _');
  }
  if (buildId === '') faults.push('RECUERDA_BUILD_ID must be set together with RECUERDA_DEPLOYMENT');
  else if (!BUILD_ID.test(buildId)) {
    faults.push('RECUERDA_BUILD_ID must have at most 64 letters, digits, dots, -, _ and +');
  }
  return { name, buildId };
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

/** X25519 as `recuerda evidence-key` prints it: the raw public key, base64url. */
function sealingKey(env: Env, faults: string[]): KeyObject | null {
  const value = env.RECUERDA_EVIDENCE_PUBLIC_KEY ?? '';
  if (value === '') return null;
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: value }, format: 'jwk' });
  } catch {
    faults.push('RECUERDA_EVIDENCE_PUBLIC_KEY must be a public key as `recuerda evidence-key` prints it');
    return null;
  }
}

/** `whsec_` and 24 to 64 bytes in base64 (Standard Webhooks). */
function standardSecret(env: Env, faults: string[]): string | null {
  const value = env.WEBHOOK_STANDARD_SECRET || null;
  const bytes = Buffer.from(value?.replace(/^whsec_/, '') ?? '', 'base64');
  if (value !== null && (bytes.length < 24 || bytes.length > 64)) {
    faults.push('WEBHOOK_STANDARD_SECRET must be `whsec_` and 24 to 64 bytes in base64, as the sender shows it');
  }
  return value;
}

function duration(env: Env, name: string, fallback: string, faults: string[]): string {
  const value = env[name] || fallback;
  if (!Duration.fromISO(value).isValid || !/^P(\d+Y)?(\d+M)?(\d+W)?(\d+D)?$/.test(value) || value === 'P') {
    faults.push(`${name} must be an ISO 8601 duration of whole days or more, such as ${fallback}`);
  }
  return value;
}

/** `4/P30D`: at most four mails in thirty days. */
function frequencyCap(env: Env, faults: string[]): FrequencyCap | null {
  const value = env.RECUERDA_FREQUENCY_CAP ?? '';
  if (value === '') return null;
  const [, mails = '', within = ''] = /^([1-9]\d{0,2})\/(P(?=\d)(?:\d+M)?(?:\d+W)?(?:\d+D)?)$/.exec(value) ?? [];
  if (mails === '') faults.push('RECUERDA_FREQUENCY_CAP must be mails/duration, such as 4/P30D');
  return { mails: Number(mails), within };
}

function proxies(env: Env, faults: string[]): string[] {
  const values = list(env, 'RECUERDA_TRUSTED_PROXIES') ?? [];
  const isRange = (value: string) => {
    const [address = '', bits, more] = value.split('/');
    const family = isIP(address);
    const isLength =
      bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) > 0 && Number(bits) <= (family === 4 ? 32 : 128));
    return family !== 0 && isLength && more === undefined;
  };
  if (!values.every(isRange)) {
    faults.push(
      'RECUERDA_TRUSTED_PROXIES must be one or more addresses or ranges such as 10.0.0.0/8, separated by commas; no /0, ' +
        'which would believe everybody',
    );
  }
  return values;
}

function origins(env: Env, faults: string[]): string[] {
  const values = list(env, 'RECUERDA_CORS_ORIGINS') ?? [];
  if (!values.every((value) => URL.canParse(value) && new URL(value).origin === value)) {
    faults.push('RECUERDA_CORS_ORIGINS must be one or more origins such as https://shop.example, separated by commas');
  }
  return values;
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
  return [...listed, { version: 1, secret: deriveKey(secret, purpose) }];
}

/** What erasing somebody takes besides the database: how their evidence is signed, sealed and kept. */
export function erasureSettings(
  config: Pick<Config, 'masterKey' | 'evidencePublicKey' | 'retention' | 'addressKeys'>,
): { sealTo: KeyObject | null; sealedFor: string; signingKey: KeyObject; addressKeys: readonly AddressKey[] } {
  return {
    sealTo: config.evidencePublicKey,
    sealedFor: config.retention.evidence,
    signingKey: evidenceSigningKey(deriveKey(config.masterKey, 'evidence signatures')),
    addressKeys: config.addressKeys,
  };
}

/** A key for one purpose, out of the master key. Different purposes give keys that tell nothing of each other. */
export function deriveKey(masterKey: Buffer | string, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', masterKey, 'recuerda', purpose, 32));
}
