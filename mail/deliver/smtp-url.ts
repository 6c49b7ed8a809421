import { isIPv4 } from 'node:net';

/** Where mail is handed over, and how. */
export interface SmtpServer {
  host: string;
  port: number;
  /**
   * `implicit`: TLS from the first byte (RFC 8314). `starttls`: STARTTLS or nothing (RFC 3207). `none`: in the clear, for
   * loopback and for servers whose operator has said `?ignoreTLS=true`.
   */
  tls: 'implicit' | 'starttls' | 'none';
  /** Whom to log in as; `pass` is null where access tokens stand in for it (OAuth 2.0). */
  login: { user: string; pass: string | null } | null;
}

/**
 * Reads an SMTP URL: `smtp://user:pass@host:port`, `smtps://…`, user and password percent-encoded. Ports default to 587
 * and 465. The only query parameter that counts is `ignoreTLS=true`, for a mailbox in a private network; it is refused
 * together with a login, which would travel in the clear.
 *
 * @param secret what proves who we are; with access tokens the URL names the user and no password
 * @throws TypeError that says what is wrong without quoting the URL, since that may hold a password.
 */
export function parseSmtpUrl(url: string, secret: 'password' | 'access-token' = 'password'): SmtpServer {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new TypeError('the SMTP URL is not a URL; expected smtp://user:password@host:port');
  }
  const implicit = parsed.protocol === 'smtps:';
  if (!implicit && parsed.protocol !== 'smtp:') throw new TypeError('the SMTP URL must begin with smtp:// or smtps://');
  const host = smtpHost(url);
  if (host === '') throw new TypeError('the SMTP URL has no host');
  const user = decoded(parsed.username);
  const pass = decoded(parsed.password);
  if (secret === 'access-token' && (user === '' || pass !== '')) {
    throw new TypeError('the SMTP URL needs a user and no password where OAuth 2.0 is set');
  }
  if (secret === 'password' && (user === '') !== (pass === '')) {
    throw new TypeError('the SMTP URL needs both a user and a password, or neither');
  }
  const inTheClear = parsed.searchParams.get('ignoreTLS') === 'true';
  if (inTheClear && !implicit && user !== '' && !isLoopback(host)) {
    throw new TypeError('the SMTP URL has a login and ignoreTLS=true: it would be sent in the clear');
  }
  return {
    host,
    port: parsed.port === '' ? (implicit ? 465 : 587) : Number(parsed.port),
    tls: implicit ? 'implicit' : isLoopback(host) || inTheClear ? 'none' : 'starttls',
    login: user === '' ? null : { user, pass: secret === 'password' ? pass : null },
  };
}

/** The host of a sound SMTP URL. */
export function smtpHost(url: string): string {
  return new URL(url).hostname.replace(/^\[|\]$/g, '');
}

/**
 * Does mail that is handed over here stay: on this very machine, or in a trial's mailbox? That is one without a dot in its
 * name, which nobody has outside a private network, and for which the operator has said `?ignoreTLS=true`.
 */
export function staysHere(url: string): boolean {
  const host = smtpHost(url);
  return isLoopback(host) || (!/[.:]/.test(host) && new URL(url).searchParams.get('ignoreTLS') === 'true');
}

/** Is this host this very machine? */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new TypeError('the user or password of the SMTP URL is not percent-encoded properly');
  }
}
