import { mkdir, readdir, stat, unlink } from 'node:fs/promises';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { join, parse, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import logger from 'maildev/lib/logger';
import mailServer from 'maildev/lib/mailserver';
import web from 'maildev/lib/web';
import { freePort } from './ports';

/** How to start the local mailbox. */
export interface MailboxOptions {
  /** Port on 127.0.0.1 that takes mail for anybody, without encryption or login. */
  smtpPort: number;
  /** Port on 127.0.0.1 of the web page and its JSON (`GET /email`). */
  webPort: number;
  /** Folder that keeps each mail as a file between starts. */
  dir: string;
  /** How many mails to keep, 5,000 unless told otherwise: they are held in memory too. The oldest go first. */
  keep?: number;
}

/** A running mailbox. */
export interface Mailbox {
  smtpUrl: string;
  webUrl: string;
  /** Closes both ports; the mails stay on disk. Safe to call twice. */
  stop(): Promise<void>;
}

const DEFAULT_KEEP = 5_000;
/** How long reading the kept mails may take before the mailbox starts without the rest. */
const LOAD_TIMEOUT_MS = 30_000;
/** How long an open SMTP connection (a sender's pool) may hold up the end. */
const CLOSE_TIMEOUT_MS = 500;

let inUse = false;

/**
 * Starts a mailbox that takes every mail, shows it on a web page and passes none on. One per process. Throws when a port is
 * taken.
 */
export async function startMailbox(options: MailboxOptions): Promise<Mailbox> {
  const { smtpPort, webPort, keep = DEFAULT_KEEP } = options;
  const dir = resolve(options.dir);
  if (inUse) throw new Error('This process already has a mailbox');
  for (const port of [smtpPort, webPort]) {
    if ((await freePort(port)) !== port) throw new Error(`Port ${port} for the mailbox is already in use`);
  }
  inUse = true;
  try {
    await mkdir(dir, { recursive: true });
    logger.setLevel(0);
    // Not the package's own start: that one handles SIGTERM by ending the process, and its `listen` throws.
    mailServer.create(smtpPort, '127.0.0.1', dir);
    mailServer.smtp.options.closeTimeout = CLOSE_TIMEOUT_MS;
    // Its own handler throws what a sender's broken connection reports, out of reach of everybody.
    mailServer.smtp.removeAllListeners('error');
    mailServer.smtp.on('error', () => {});
    await load(dir, keep);
    await new Promise<void>((done, fail) => {
      mailServer.smtp.server.once('error', fail);
      mailServer.smtp.listen(smtpPort, '127.0.0.1', () => done());
    });
    web.start(webPort, '127.0.0.1', mailServer, undefined, undefined, undefined, { https: false });
    await guardAndListen(web.server as Server);
  } catch (error) {
    inUse = false;
    throw error;
  }

  const forgetOldest = (): void => {
    const oldest = mailServer.store[0];
    if (mailServer.store.length > keep && oldest !== undefined) mailServer.deleteEmail(oldest.id, () => {});
  };
  mailServer.on('new', forgetOldest);
  let stopped: Promise<void> | undefined;
  const stopOnce = async (): Promise<void> => {
    mailServer.off('new', forgetOldest);
    await new Promise<void>((done) => web.close(() => done()));
    await new Promise<void>((done) => mailServer.smtp.close(() => done()));
    mailServer.store.length = 0;
    inUse = false;
  };
  return {
    smtpUrl: `smtp://127.0.0.1:${smtpPort}`,
    webUrl: `http://127.0.0.1:${webPort}`,
    stop: () => {
      stopped ??= stopOnce();
      return stopped;
    },
  };
}

/** Reads the kept mails, in the order in which they came. */
async function load(dir: string, keep: number): Promise<void> {
  const files = (await readdir(dir)).filter((file) => file.endsWith('.eml'));
  const cameAt = new Map<string, number>();
  for (const file of files) cameAt.set(parse(file).name, (await stat(join(dir, file))).mtimeMs);
  const byAge = [...cameAt.keys()].sort((a, b) => (cameAt.get(a) ?? 0) - (cameAt.get(b) ?? 0));
  const tooOld = byAge.slice(0, Math.max(0, byAge.length - keep));
  for (const id of tooOld) {
    await unlink(join(dir, `${id}.eml`));
    cameAt.delete(id);
  }
  mailServer.store.length = 0;
  mailServer.loadMailsFromDirectory();
  const deadline = Date.now() + LOAD_TIMEOUT_MS;
  while (mailServer.store.length < cameAt.size && Date.now() < deadline) await sleep(20);
  mailServer.store.sort((a, b) => (cameAt.get(a.id) ?? 0) - (cameAt.get(b.id) ?? 0));
}

/**
 * maildev lets every web page read it (CORS `*`), and a mailbox holds people's addresses: answer only requests that were made to
 * loopback by name and come from the mailbox's own page or from no page at all.
 */
async function guardAndListen(server: Server): Promise<void> {
  const requestHandlers = server.listeners('request');
  server.removeAllListeners('request');
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    if (isForeign(request)) {
      response.writeHead(403).end();
      return;
    }
    for (const handler of requestHandlers) handler.call(server, request, response);
  });
  const upgradeHandlers = server.listeners('upgrade');
  server.removeAllListeners('upgrade');
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (isForeign(request)) {
      socket.destroy();
      return;
    }
    for (const handler of upgradeHandlers) handler.call(server, request, socket, head);
  });
  if (server.listening) return;
  await new Promise<void>((done, fail) => {
    server.once('listening', done);
    server.once('error', fail);
  });
}

function isForeign(request: IncomingMessage): boolean {
  const host = request.headers.host ?? '';
  if (!/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i.test(host)) return true;
  const { origin } = request.headers;
  return origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`;
}
