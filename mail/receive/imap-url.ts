import { isIPv4 } from 'node:net';

/** A mailbox that is read for answers, and how to reach it. */
export interface ImapMailbox {
  /** `user@host`: under this name its messages are kept (`imap:<name>`). Never a password. */
  name: string;
  host: string;
  port: number;
  /** `implicit`: TLS from the first byte (RFC 8314). `starttls`: STARTTLS or nothing. `none`: in the clear, on loopback only. */
  tls: 'implicit' | 'starttls' | 'none';
  user: string;
  /** Null: an access token is given in its place (`auth=oauth2`). */
  pass: string | null;
  /** The folders to read; null: INBOX and the one for junk. */
  folders: readonly string[] | null;
}

/**
 * Reads an IMAP URL: `imaps://user:password@host:port` or `imap://…` (STARTTLS, required but on loopback), user and
 * password percent-encoded. Ports default to 993 and 143. Query parameters: `auth=oauth2` (no password then), and
 * `folders=INBOX,Archive` in place of INBOX and the folder for junk. `ignoreTLS=true` is refused for any host but this
 * machine: password or token would travel in the clear.
 *
 * @throws TypeError that says what is wrong without quoting the URL, since that may hold a password
 */
export function parseImapUrl(url: string): ImapMailbox {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new TypeError('the IMAP URL is not a URL; expected imaps://user:password@host:port');
  }
  const implicit = parsed.protocol === 'imaps:';
  if (!implicit && parsed.protocol !== 'imap:') throw new TypeError('the IMAP URL must begin with imap:// or imaps://');
  const host = parsed.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  if (host === '') throw new TypeError('the IMAP URL has no host');
  const user = decoded(parsed.username);
  if (user === '') throw new TypeError('the IMAP URL has no user');
  const query = parsed.searchParams;
  if (!implicit && query.get('ignoreTLS') === 'true' && !isLoopback(host)) {
    throw new TypeError('the IMAP URL has ignoreTLS=true: password or token would be sent in the clear');
  }
  return {
    name: `${user}@${host}`,
    host,
    port: parsed.port === '' ? (implicit ? 993 : 143) : Number(parsed.port),
    tls: implicit ? 'implicit' : isLoopback(host) ? 'none' : 'starttls',
    user,
    pass: passwordOf(parsed),
    folders: foldersOf(query),
  };
}

function passwordOf(url: URL): string | null {
  const pass = decoded(url.password);
  const auth = url.searchParams.get('auth');
  if (auth !== null && auth !== 'oauth2') throw new TypeError('the only auth= that an IMAP URL may name is oauth2');
  if (auth === 'oauth2') {
    if (pass !== '') throw new TypeError('the IMAP URL has a password and auth=oauth2; leave one of them out');
    return null;
  }
  if (pass === '') throw new TypeError('the IMAP URL has no password; with access tokens in its place add auth=oauth2');
  return pass;
}

function foldersOf(query: URLSearchParams): string[] | null {
  const names = query
    .getAll('folders')
    .flatMap((list) => list.split(','))
    .map((name) => name.trim())
    .filter((name) => name !== '')
    // The one name that knows no case (RFC 9051, section 5.1).
    .map((name) => (name.toUpperCase() === 'INBOX' ? 'INBOX' : name));
  return names.length === 0 ? null : [...new Set(names)];
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new TypeError('the user or password of the IMAP URL is not percent-encoded properly');
  }
}

/** Is this host this very machine? */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}
