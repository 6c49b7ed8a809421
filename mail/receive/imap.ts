import type { ConnectionOptions } from 'node:tls';
import { ImapFlow } from 'imapflow';
import type { TokenSource } from '../oauth2';
import type { ImapMailbox } from './imap-url';

/** What opening a connection needs beside the mailbox. */
export interface ImapAccess {
  mailbox: ImapMailbox;
  /** Where access tokens come from, for a mailbox without a password. */
  tokens: TokenSource | null;
  /** Extra TLS settings, such as `ca` for a private authority. */
  tls?: ConnectionOptions;
}

/** The server was reached and refused user and password, or the token. Trying again at once would only lock the account. */
export class LoginRefused extends Error {
  override readonly name = 'LoginRefused';

  /** @param code the server's own (RFC 5530), such as `AUTHENTICATIONFAILED`, where it gave one */
  constructor(readonly code: string) {
    super('the IMAP server refused the login');
  }
}

const CONNECT_MS = 30_000;
const GREETING_MS = 20_000;
/** A server from which nothing comes for this long while an answer is due is gone. */
const SILENCE_MS = 120_000;
const CLOSED_EARLY = 'connection closed';

/** Answers of a login that say nothing about the password (RFC 5530). */
const PASSING_REFUSALS = new Set(['UNAVAILABLE', 'INUSE', 'LIMIT', 'SERVERBUG']);

/**
 * Logs in over a new connection; imapflow's objects can't be used again. It is closed at once when the signal aborts.
 *
 * @throws LoginRefused, TokenRefusal, or what the network or imapflow said; the signal's reason when it is aborted first
 */
export async function openImap(access: ImapAccess, signal: AbortSignal): Promise<ImapFlow> {
  const { mailbox, tokens } = access;
  if (mailbox.pass !== null || tokens === null) return await logIn(access, { pass: mailbox.pass ?? '' }, signal);
  const token = await tokens.token(signal);
  try {
    return await logIn(access, { accessToken: token }, signal);
  } catch (error) {
    // A token may be withdrawn before its time: once, a fresh one is tried.
    if (!(error instanceof LoginRefused)) throw error;
    tokens.forget(token);
    const fresh = await tokens.token(signal);
    if (fresh === token) throw error;
    return await logIn(access, { accessToken: fresh }, signal);
  }
}

async function logIn(
  { mailbox, tls }: ImapAccess,
  secret: { pass: string } | { accessToken: string },
  signal: AbortSignal,
): Promise<ImapFlow> {
  signal.throwIfAborted();
  const client = new ImapFlow({
    host: mailbox.host,
    port: mailbox.port,
    secure: mailbox.tls === 'implicit',
    ...(mailbox.tls === 'implicit' ? {} : { doSTARTTLS: mailbox.tls === 'starttls' }),
    ...(tls === undefined ? {} : { tls }),
    auth: { user: mailbox.user, ...secret },
    clientInfo: { name: 'recuerda' },
    // Its lines hold addresses and subjects.
    logger: false,
    // Ours waits as soon as everything is read; its own begins after 15 s of silence.
    disableAutoIdle: true,
    connectionTimeout: CONNECT_MS,
    greetingTimeout: GREETING_MS,
    socketTimeout: SILENCE_MS,
  });
  // Whatever is under way on the connection fails as well; without a listener this would end the process.
  client.on('error', () => client.close());
  const close = () => client.close();
  signal.addEventListener('abort', close, { once: true });
  client.once('close', () => signal.removeEventListener('abort', close));
  try {
    await client.connect();
    if (client.isClosed) throw new Error(CLOSED_EARLY);
    return client;
  } catch (error) {
    client.close();
    signal.throwIfAborted();
    throw refusalIn(error) ?? error;
  }
}

function refusalIn(error: unknown): LoginRefused | null {
  const { authenticationFailed, responseStatus, serverResponseCode } = error as {
    authenticationFailed?: boolean;
    responseStatus?: string;
    serverResponseCode?: string;
  };
  // imapflow says "authentication failed" of a connection that broke during the login, too.
  if (authenticationFailed !== true || responseStatus !== 'NO') return null;
  const code = serverResponseCode ?? 'NO';
  return PASSING_REFUSALS.has(code) ? null : new LoginRefused(code);
}

/** The folders of a mailbox that are read: those that its URL names, or INBOX and the one for junk, where there is one. */
export async function foldersToRead(client: ImapFlow, mailbox: ImapMailbox): Promise<string[]> {
  if (mailbox.folders !== null) return [...mailbox.folders];
  // With `listOnly` imapflow would not say what a folder is for.
  const junk = (await client.list()).find(({ specialUse }) => specialUse === '\\Junk');
  return junk === undefined || junk.path === 'INBOX' ? ['INBOX'] : ['INBOX', junk.path];
}

/** A code that tells a failure without quoting what a server said. */
export function imapErrorCode(error: unknown): string {
  const { code, responseStatus, tlsFailed, name } = (error ?? {}) as {
    code?: unknown;
    responseStatus?: string;
    tlsFailed?: boolean;
    name?: string;
  };
  if (typeof code === 'string' && /^[\w-]{1,60}$/.test(code)) return code;
  if (tlsFailed === true) return 'NO_STARTTLS';
  return responseStatus ?? name ?? 'unknown';
}
