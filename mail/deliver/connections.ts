import type { ConnectionOptions } from 'node:tls';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import type { AnswerPhase } from '../answers';
import { createTokenSource, type OAuth2Client, TokenRefusal, type TokenSource } from '../oauth2';
import { parseAnswer, refusalOf, SmtpRefusal } from './refusal';
import { parseSmtpUrl, type SmtpServer } from './smtp-url';

export interface CarrierOptions {
  /** `smtp://user:pass@host:port` or `smtps://…`; see `parseSmtpUrl`. */
  url: string;
  /** Where access tokens come from, to log in by XOAUTH2 as the user whom the URL names; null or left out: by password. */
  oauth2?: OAuth2Client | null;
  /** Most connections open at the same time; 5 unless told. */
  maxConnections?: number;
  /** Longest time from the DNS lookup to the end of AUTH; 20 s unless told. */
  connectTimeoutMs?: number;
  /** How long an unused connection is kept; 30 s unless told. Servers close theirs after about a minute or more. */
  idleTimeoutMs?: number;
  /** Messages over one connection before it is renewed, so that a balanced server gets its share; 100 unless told. */
  maxMessagesPerConnection?: number;
  /** The name given with EHLO; the machine's own where it has a full one. */
  name?: string;
  /** Extra TLS settings, such as `ca` for a private authority. */
  tls?: ConnectionOptions;
}

/** One SMTP session, lent to one delivery. */
export interface SmtpLink {
  readonly connection: SMTPConnection;
  /** Keywords of the EHLO answer, upper case. */
  readonly extensions: ReadonlySet<string>;
  /** Largest message that the server takes (RFC 1870), null where it doesn't say. */
  readonly maxSizeBytes: number | null;
  /** Gives the link back. To be called once the delivery is over, however it went; again does nothing. */
  release(): void;
  /** Cuts the connection at once; whatever was not yet handed over never is. The link must still be released. */
  discard(): void;
}

/** Every connection was in use for as long as the caller would wait. */
export class NoConnectionFree extends Error {
  override readonly name = 'NoConnectionFree';

  constructor() {
    super('no SMTP connection came free');
  }
}

interface CarrierStats {
  /** Lent out, or being opened. */
  inUse: number;
  idle: number;
  /** Callers in line for a connection. */
  waiting: number;
  /** Sessions opened since the start. */
  opened: number;
}

export interface Carrier {
  /**
   * Waits its turn (first come, first served) and lends a session that is ready for MAIL: a live idle one, else a new one.
   *
   * @param patienceMs how long to wait for a turn; for ever when left out
   * @throws SmtpRefusal when no session can be had.
   * @throws NoConnectionFree when its turn has not come in time.
   * @throws the signal's reason when it is aborted first.
   */
  acquire(signal: AbortSignal, patienceMs?: number): Promise<SmtpLink>;
  /** Turns new callers away, lets lent links finish, and resolves when every connection is closed. */
  close(): Promise<void>;
  stats(): CarrierStats;
}

interface Session {
  connection: SMTPConnection;
  extensions: ReadonlySet<string>;
  maxSizeBytes: number | null;
  uses: number;
  idleSince: number;
  idleTimer: NodeJS.Timeout | undefined;
}

interface Waiter {
  grant(): void;
  refuse(reason: unknown): void;
}

/** An idle session is asked whether it is alive (RSET) once it has been idle this long; under load nothing is asked. */
const PROBE_AFTER_MS = 1_000;
/** How long a server may take to answer such a question, or QUIT. */
const PROBE_TIMEOUT_MS = 3_000;
const QUIT_TIMEOUT_MS = 1_000;

/**
 * Keeps a few SMTP sessions to one server. nodemailer's connection does the talking; its pool is not used, because it
 * begins to read a message before the server has said 354.
 *
 * @throws TypeError when the URL is no good.
 */
export function createCarrier(options: CarrierOptions): Carrier {
  const tokens = options.oauth2 ? createTokenSource(options.oauth2) : null;
  const server = parseSmtpUrl(options.url, tokens === null ? 'password' : 'access-token');
  const maxConnections = options.maxConnections ?? 5;
  const idleTimeoutMs = options.idleTimeoutMs ?? 30_000;
  const maxMessages = options.maxMessagesPerConnection ?? 100;
  const idle: Session[] = [];
  const waiters: Waiter[] = [];
  const farewells = new Set<Promise<void>>();
  let inUse = 0;
  let opened = 0;
  let closing = false;
  let allReleased: (() => void) | undefined;

  function takeSlot(signal: AbortSignal, patienceMs: number | undefined): Promise<void> {
    if (inUse < maxConnections) {
      inUse++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
      };
      const waiter: Waiter = {
        grant: () => {
          settle();
          resolve();
        },
        refuse: (reason) => {
          settle();
          reject(reason);
        },
      };
      const leave = (reason: unknown) => {
        waiters.splice(waiters.indexOf(waiter), 1);
        waiter.refuse(reason);
      };
      const onAbort = () => leave(signal.reason);
      const timer = patienceMs === undefined ? undefined : setTimeout(() => leave(new NoConnectionFree()), patienceMs);
      signal.addEventListener('abort', onAbort, { once: true });
      waiters.push(waiter);
    });
  }

  function freeSlot(): void {
    const next = waiters.shift();
    if (next) {
      next.grant(); // the slot changes hands, so nobody can slip in between
      return;
    }
    inUse--;
    if (inUse === 0) allReleased?.();
  }

  function dropFromIdle(session: Session): boolean {
    clearTimeout(session.idleTimer);
    const at = idle.indexOf(session);
    if (at >= 0) idle.splice(at, 1);
    return at >= 0;
  }

  function retire(session: Session): Promise<void> {
    const farewell = quit(session.connection).finally(() => farewells.delete(farewell));
    farewells.add(farewell);
    return farewell;
  }

  async function reuse(signal: AbortSignal): Promise<Session | null> {
    for (let session = idle.pop(); session; session = idle.pop()) {
      clearTimeout(session.idleTimer);
      if (!isLive(session.connection)) continue;
      if (Date.now() - session.idleSince < PROBE_AFTER_MS) return session;
      if (await answersReset(session.connection, signal)) return session;
      session.connection.close();
      signal.throwIfAborted();
    }
    return null;
  }

  async function open(signal: AbortSignal): Promise<Session> {
    const session =
      tokens === null
        ? await openSession(server, server.login?.pass ?? null, options, signal)
        : await openByToken(server, tokens, options, signal);
    opened++;
    // Steady listeners: an 'error' without one would end the process, and a session that ends while idle must be forgotten.
    session.connection.on('error', () => {});
    session.connection.once('end', () => dropFromIdle(session));
    return session;
  }

  function lend(session: Session): SmtpLink {
    let lent = true;
    session.uses++;
    return {
      connection: session.connection,
      extensions: session.extensions,
      maxSizeBytes: session.maxSizeBytes,
      discard: () => session.connection.close(),
      release() {
        if (!lent) return;
        lent = false;
        if (!isLive(session.connection)) {
          session.connection.close();
          return freeSlot();
        }
        if (closing || session.uses >= maxMessages) {
          void retire(session).finally(freeSlot); // the server still counts it until then
          return;
        }
        session.idleSince = Date.now();
        session.idleTimer = setTimeout(() => {
          if (dropFromIdle(session)) void retire(session);
        }, idleTimeoutMs);
        session.idleTimer.unref();
        idle.push(session);
        freeSlot();
      },
    };
  }

  function assertOpen(): void {
    if (closing) throw new SmtpRefusal(refusalOf('connect', null), 'ECARRIERCLOSED');
  }

  return {
    async acquire(signal, patienceMs) {
      assertOpen();
      signal.throwIfAborted();
      await takeSlot(signal, patienceMs);
      try {
        return lend((await reuse(signal)) ?? (await open(signal)));
      } catch (error) {
        freeSlot();
        throw error;
      }
    },
    async close() {
      closing = true;
      for (const waiter of waiters.splice(0)) {
        waiter.refuse(new SmtpRefusal(refusalOf('connect', null), 'ECARRIERCLOSED'));
      }
      for (const session of [...idle]) {
        dropFromIdle(session);
        void retire(session);
      }
      if (inUse > 0) {
        const before = allReleased;
        await new Promise<void>((resolve) => {
          allReleased = () => {
            before?.();
            resolve();
          };
        });
      }
      await Promise.all(farewells);
    },
    stats: () => ({ inUse, idle: idle.length, waiting: waiters.length, opened }),
  };
}

/** Opens a session with an access token, and once more with a fresh one where the server has refused it. */
async function openByToken(
  server: SmtpServer,
  tokens: TokenSource,
  options: CarrierOptions,
  signal: AbortSignal,
): Promise<Session> {
  for (let again = false; ; again = true) {
    const token = await accessToken(tokens, signal);
    try {
      return await openSession(server, token, options, signal);
    } catch (error) {
      if (!(error instanceof SmtpRefusal) || error.code !== 535) throw error;
      tokens.forget(token);
      if (again) throw error;
    }
  }
}

async function accessToken(tokens: TokenSource, signal: AbortSignal): Promise<string> {
  try {
    return await tokens.token(signal);
  } catch (error) {
    if (!(error instanceof TokenRefusal)) throw error;
    // A provider that says no to our grant says it to the sender; one that is silent or broken is a network matter.
    const ours = error.status !== null && error.status < 500;
    const judgement = { severity: 'soft', cause: ours ? 'us' : 'network', verdict: 'refused-us' } as const;
    throw new SmtpRefusal(
      { phase: 'auth', code: null, enhanced: null, judgement: { ...judgement, rule: 'no-access-token' } },
      error.message,
    );
  }
}

/**
 * Under its own name nodemailer would try other methods instead, with the token for a password, and would show a password
 * as a token to a server that knows nothing else.
 */
const BY_TOKEN = 'ACCESS-TOKEN';

/**
 * The XOAUTH2 exchange (Google's and Microsoft's, older than RFC 7628): one command. A server that explains its refusal
 * in a 334 gets the empty answer that it waits for before its 535.
 */
async function loginByToken({ auth, sendCommand }: SMTPConnection.CustomAuthenticationContext): Promise<void> {
  const { user, pass } = auth.credentials;
  const initial = Buffer.from(`user=${user}\u0001auth=Bearer ${pass}\u0001\u0001`).toString('base64');
  let reply = await sendCommand(`AUTH XOAUTH2 ${initial}`);
  if (reply.status === 334) reply = await sendCommand('');
  if (reply.status !== 235) throw new Error('the access token was refused');
}

/**
 * Connects, says EHLO, starts TLS where it must, and logs in.
 *
 * @param secret the password or access token; null where nobody logs in
 */
function openSession(
  server: SmtpServer,
  secret: string | null,
  options: CarrierOptions,
  signal: AbortSignal,
): Promise<Session> {
  const timeoutMs = options.connectTimeoutMs ?? 20_000;
  // Our own timer covers everything up to the end of AUTH, which nodemailer's timeouts don't; theirs must not come first.
  const theirTimeoutMs = timeoutMs + 5_000;
  const connection = new SMTPConnection({
    host: server.host,
    port: server.port,
    secure: server.tls === 'implicit',
    requireTLS: server.tls === 'starttls',
    ignoreTLS: server.tls === 'none',
    connectionTimeout: theirTimeoutMs,
    greetingTimeout: theirTimeoutMs,
    dnsTimeout: theirTimeoutMs,
    // Close means now: a socket that lingers for the server's goodbye is one that the process waits for.
    socketCloseTimeout: 0,
    name: options.name,
    tls: options.tls,
    customAuth: { [BY_TOKEN]: loginByToken },
  });
  return new Promise((resolve, reject) => {
    let loggingIn = false;

    const settle = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      connection.removeListener('error', onError);
      connection.removeListener('end', onEnd);
    };
    const fail = (reason: unknown) => {
      settle();
      connection.on('error', () => {}); // whatever the dying socket still has to say
      connection.close();
      reject(reason);
    };
    const onError = (error: Error) => fail(connectRefusal(connection, error, loggingIn));
    // 'end' comes just before the error that explains it.
    const onEnd = () => setImmediate(() => fail(connectRefusal(connection, { code: 'ECONNECTION' }, loggingIn)));
    const onAbort = () => fail(signal.reason);
    const timer = setTimeout(() => fail(connectRefusal(connection, { code: 'ETIMEDOUT' }, loggingIn)), timeoutMs);

    signal.addEventListener('abort', onAbort, { once: true });
    connection.on('error', onError);
    connection.once('end', onEnd);
    connection.connect((connectError) => {
      if (connectError) return onError(connectError);
      const session: Session = {
        connection,
        ...readEhlo(connection.lastServerResponse || ''),
        uses: 0,
        idleSince: 0,
        idleTimer: undefined,
      };
      const ready = () => {
        settle();
        resolve(session);
      };
      if (server.login === null || secret === null) return ready();
      loggingIn = true;
      const credentials = { user: server.login.user, pass: secret };
      const method = server.login.pass === null ? { method: BY_TOKEN } : {};
      connection.login({ ...method, credentials }, (loginError) => (loginError ? onError(loginError) : ready()));
    });
  });
}

/** Turns nodemailer's error into codes: the phase it happened in, the server's codes, and the system's code if any. */
function connectRefusal(connection: SMTPConnection, error: object, loggingIn: boolean): SmtpRefusal {
  const { code, originalCode, command, response } = error as Record<string, unknown>;
  const systemCode = String(originalCode ?? code ?? 'ECONNECTION');
  const answer = typeof response === 'string' ? parseAnswer(response) : null;
  const greeted = connection.lastServerResponse !== false && connection.lastServerResponse.startsWith('220');
  let phase: AnswerPhase;
  if (loggingIn || code === 'EAUTH') phase = 'auth';
  else if (
    code === 'ETLS' ||
    command === 'STARTTLS' ||
    connection.upgrading ||
    /^(ERR_(TLS|SSL)|CERT_|EPROTO$)|CERT|_SIGNATURE/.test(systemCode)
  )
    phase = 'tls';
  else if (command === 'EHLO' || command === 'HELO') phase = 'helo';
  else if (connection.stage === 'init') phase = 'connect';
  else phase = greeted ? 'helo' : 'greeting';
  return new SmtpRefusal(refusalOf(phase, answer), answer ? null : systemCode.replace(/[^A-Z0-9_]/g, ''));
}

/** The extensions of an EHLO answer (RFC 5321 section 4.1.1.1); none when the server only knew HELO. */
function readEhlo(response: string): { extensions: Set<string>; maxSizeBytes: number | null } {
  const extensions = new Set<string>();
  let maxSizeBytes: number | null = null;
  for (const line of response.split(/\r?\n/).slice(1)) {
    const [keyword = '', parameter] = line
      .replace(/^\d{3}[ -]/, '')
      .trim()
      .split(/\s+/);
    extensions.add(keyword.toUpperCase());
    // "SIZE 0" means no fixed limit (RFC 1870 section 4).
    if (keyword.toUpperCase() === 'SIZE' && Number(parameter) > 0) maxSizeBytes = Number(parameter);
  }
  return { extensions, maxSizeBytes };
}

function isLive(connection: SMTPConnection): boolean {
  const socket = connection._socket;
  return !connection.destroyed && !!socket && !socket.destroyed && socket.writable && !socket.readableEnded;
}

/** Asks an idle session whether anybody is there. RSET also clears what an earlier use might have left. */
function answersReset(connection: SMTPConnection, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (alive: boolean) => {
      clearTimeout(timer);
      connection.removeListener('end', onEnd);
      signal.removeEventListener('abort', onEnd);
      resolve(alive);
    };
    const onEnd = () => settle(false);
    const timer = setTimeout(onEnd, PROBE_TIMEOUT_MS);
    connection.once('end', onEnd);
    signal.addEventListener('abort', onEnd, { once: true });
    connection.reset((error) => settle(!error));
  });
}

/** Says QUIT (RFC 5321 section 4.1.1.10) and closes, with or without an answer. */
function quit(connection: SMTPConnection): Promise<void> {
  if (!isLive(connection)) {
    connection.close();
    return Promise.resolve();
  }
  return new Promise((resolve) => {
    const timer = setTimeout(() => connection.close(), QUIT_TIMEOUT_MS);
    connection.once('end', () => {
      clearTimeout(timer);
      resolve();
    });
    connection.quit();
  });
}
