import { setTimeout as sleep } from 'node:timers/promises';
import type { ImapFlow } from 'imapflow';
import type { Logger } from 'pino';
import { ConfigError, type ImapSettings, readConfig } from '../config';
import { createDb, type Db, poolLoad } from '../db/client';
import { RAW_KEPT_BYTES } from '../db/inbound';
import { type MailboxLock, takeMailboxLock } from '../db/mailbox-lock';
import { findPlace, keepMessage, setPlace } from '../db/mailbox-places';
import { pingDb } from '../db/reachability';
import { createTokenSource, TokenRefusal } from '../mail/oauth2';
import { foldersToRead, type ImapAccess, imapErrorCode, LoginRefused, openImap } from '../mail/receive/imap';
import {
  type FolderReading,
  type FolderStore,
  followFolder,
  type ReadOptions,
  type Refusals,
  readFolder,
} from '../mail/receive/imap-folder';
import { parseImapUrl } from '../mail/receive/imap-url';
import { exitWithParent } from '../stack/supervisor';
import { addMailboxMetrics, addPoolMetrics } from '../telemetry/metrics';
import { checkReadiness } from '../telemetry/readiness';
import { createLog } from './log';
import { stopSignal } from './stop-signal';
import { startTelemetry } from './telemetry';

export interface InboxOptions {
  once?: boolean;
  since?: string;
}

/** One mailbox, and what reading it needs. */
interface Inbox {
  access: ImapAccess;
  /** The source of its messages, and the name of its lock. */
  source: string;
  db: Db;
  databaseUrl: string;
  /** Names the inbox by its number in IMAP_URL and its host: its user may be a person. */
  log: Logger;
  since: Date | undefined;
  refusals: Refusals;
  health: MailboxHealth;
}

interface MailboxHealth {
  /** By whom it is read, as far as this process knows. */
  reader: 'none' | 'this' | 'another';
  /** What does not work at the moment: its folders, or '' for all else. */
  failing: Set<string>;
}

/** Whether this process reads a mailbox. */
const isRead = ({ health }: Inbox) => health.reader === 'this' && health.failing.size === 0;
/** Whether this process does what it can: it reads a mailbox, or stands by while another has it. */
const isCaredFor = ({ health }: Inbox) => health.reader !== 'none' && health.failing.size === 0;

const SHUTDOWN_MS = 10_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
/** A password that was refused is tried seldom: servers lock accounts. */
const REFUSED_WAIT_MS = 5 * 60_000;
const LONGEST_REFUSED_WAIT_MS = 60 * 60_000;
/** How often a process asks whether the one that reads a mailbox is gone, ms. */
const LOCK_WAIT_MS = 2_000;
/** How often it is looked whether a mailbox has a folder for junk by now, ms. */
const FOLDERS_EVERY_MS = 60 * 60_000;

/**
 * `recuerda inbox`: keeps what comes into the mailboxes of IMAP_URL until it is told to stop, and never changes anything in
 * them. Of several such processes one reads a mailbox; another takes over within seconds when it is gone. What the messages
 * mean is found out by the workers.
 */
export async function runInbox(env: NodeJS.ProcessEnv, options: InboxOptions): Promise<void> {
  const config = readConfig(env);
  exitWithParent(SHUTDOWN_MS + 2_000);
  const since = sinceOf(options.since);
  const accesses = accessesOf(config.inboxes);
  const log = createLog('inbox', config.logLevel);
  const db = createDb({
    url: config.databaseUrl,
    maxConnections: config.databaseConnections,
    onError: (error) => log.warn({ code: (error as { code?: string }).code }, 'a database connection was lost'),
  });
  const inboxes = accesses.map((access, index): Inbox => {
    const about = { inbox: index + 1, host: access.mailbox.host };
    const source = `imap:${access.mailbox.name}`;
    return {
      access,
      source,
      db,
      databaseUrl: config.databaseUrl,
      log: log.child(about),
      since,
      refusals: new Map(),
      health: { reader: 'none', failing: new Set() },
    };
  });

  const mailboxes = async () => {
    if (!inboxes.every(isCaredFor)) throw new Error('unread');
  };
  const ready = () => checkReadiness({ postgres: (ms) => pingDb(db, ms), mailboxes });
  const telemetry = options.once ? null : await startTelemetry('inbox', config.metrics, log, { ready });
  if (telemetry !== null) {
    addPoolMetrics(telemetry, () => poolLoad(db));
    addMailboxMetrics(telemetry, () => inboxes.map(isRead));
  }
  const stopped = new AbortController();
  const signalled = stopSignal().then((signal) => {
    log.info({ signal }, 'stopping');
    stopped.abort();
  });
  const work = options.once
    ? Promise.all(inboxes.map((inbox) => readOnce(inbox, stopped.signal)))
    : Promise.all(inboxes.map((inbox) => watch(inbox, stopped.signal)));
  const finished = work.then(async (results) => {
    await db.destroy();
    return results.every((result) => result !== false);
  });
  const giveUp = signalled.then(() => sleep(SHUTDOWN_MS, false, { ref: false }));
  process.exit((await Promise.race([finished, giveUp])) ? 0 : 1);
}

/** @throws ConfigError */
function accessesOf(settings: readonly ImapSettings[]): ImapAccess[] {
  if (settings.length === 0) throw new ConfigError(['IMAP_URL must be set: it names the mailboxes to watch']);
  return settings.map(({ url, oauth2 }, index) => {
    try {
      return { mailbox: parseImapUrl(url), tokens: oauth2 === null ? null : createTokenSource(oauth2) };
    } catch (error) {
      throw new ConfigError([`IMAP_URL, mailbox ${index + 1}: ${(error as Error).message}`]);
    }
  });
}

/** @throws ConfigError */
function sinceOf(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const date = new Date(`${text}T00:00:00Z`);
  if (!/^\d{4}-\d\d-\d\d$/.test(text) || Number.isNaN(date.getTime()) || !date.toISOString().startsWith(text)) {
    throw new ConfigError(['--since must be a day such as 2026-03-01']);
  }
  return date;
}

/** Reads a mailbox while it has its lock, until the signal aborts. */
async function watch(inbox: Inbox, stopped: AbortSignal): Promise<void> {
  let told = false;
  while (!stopped.aborted) {
    const lock = await persist(inbox, stopped, {}, () => takeMailboxLock(inbox.databaseUrl, inbox.source));
    if (lock === null) {
      inbox.health.reader = 'another';
      if (!told) inbox.log.info({}, 'another process reads this mailbox; waiting for its end');
      told = true;
      await pause(LOCK_WAIT_MS * (0.5 + Math.random()), stopped);
    } else if (lock !== undefined) {
      told = false;
      await readUnder(lock, inbox, stopped);
    }
  }
}

async function readUnder(lock: MailboxLock, inbox: Inbox, stopped: AbortSignal): Promise<void> {
  const signal = AbortSignal.any([stopped, lock.lost]);
  const onLost = () => inbox.log.warn({}, 'the right to read this mailbox was lost; taking it again');
  lock.lost.addEventListener('abort', onLost, { once: true });
  try {
    await followFolders(inbox, signal);
  } finally {
    inbox.health.reader = 'none';
    inbox.health.failing.clear();
    lock.lost.removeEventListener('abort', onLost);
    await lock.release();
  }
}

/** Follows each folder over a connection of its own, since IDLE tells of one folder only. */
async function followFolders(inbox: Inbox, signal: AbortSignal): Promise<void> {
  const followed = new Map<string, Promise<void>>();
  while (!signal.aborted) {
    const folders = await persist(inbox, signal, {}, () => listFolders(inbox, signal));
    if (folders !== undefined) inbox.health.reader = 'this';
    for (const folder of folders ?? []) {
      if (followed.has(folder)) continue;
      followed.set(
        folder,
        follow(inbox, folder, signal).finally(() => followed.delete(folder)),
      );
    }
    await pause(FOLDERS_EVERY_MS, signal);
  }
  await Promise.all(followed.values());
}

async function listFolders(inbox: Inbox, signal: AbortSignal): Promise<string[]> {
  return await withConnection(inbox, signal, (client) => foldersToRead(client, inbox.access.mailbox));
}

/** Until the signal aborts, or the folder is gone. */
async function follow(inbox: Inbox, folder: string, signal: AbortSignal): Promise<void> {
  const { log } = inbox;
  await persist(inbox, signal, { folder }, async (worked) => {
    try {
      await withConnection(inbox, signal, (client) =>
        followFolder(client, folder, storeOf(inbox, folder), inbox.refusals, {
          ...readOptions(inbox, folder, signal),
          onReading: (reading) => tell(log, folder, reading),
          onCaughtUp: () => {
            worked();
            log.info({ folder }, 'watching');
          },
        }),
      );
    } catch (error) {
      if ((error as { mailboxMissing?: boolean }).mailboxMissing !== true) throw error;
      log.warn({ folder }, 'there is no such folder; it is looked for again every hour');
    }
  });
}

/** Reads what is there. @returns false when it failed */
async function readOnce(inbox: Inbox, signal: AbortSignal): Promise<boolean> {
  try {
    const lock = await takeMailboxLock(inbox.databaseUrl, inbox.source);
    if (lock === null) {
      inbox.log.info({}, 'another process reads this mailbox');
      return true;
    }
    const either = AbortSignal.any([signal, lock.lost]);
    try {
      await withConnection(inbox, either, async (client) => {
        for (const folder of await foldersToRead(client, inbox.access.mailbox)) {
          const options = readOptions(inbox, folder, either);
          tell(inbox.log, folder, await readFolder(client, folder, storeOf(inbox, folder), inbox.refusals, options));
        }
      });
    } finally {
      await lock.release();
    }
    return true;
  } catch (error) {
    if (!signal.aborted) failureOf(error).tell(inbox.log, {});
    return false;
  }
}

async function withConnection<T>(
  inbox: Inbox,
  signal: AbortSignal,
  work: (client: ImapFlow) => Promise<T>,
): Promise<T> {
  const client = await openImap(inbox.access, signal);
  try {
    const result = await work(client);
    await client.logout().catch(() => {});
    return result;
  } finally {
    client.close();
  }
}

function storeOf({ db, source: mailbox }: Inbox, folder: string): FolderStore {
  const where = { mailbox, folder };
  return {
    place: () => findPlace(db, where),
    setPlace: (place) => setPlace(db, where, place),
    keep: (message, movesOn) => keepMessage(db, where, message, movesOn),
  };
}

function readOptions({ log, since }: Inbox, folder: string, signal: AbortSignal): ReadOptions {
  return {
    signal,
    maxBytes: RAW_KEPT_BYTES,
    ...(since === undefined ? {} : { since }),
    onUnreadable: (uid) =>
      log.error({ folder, uid }, 'the server refuses to hand over a message; it is passed over. Look at it by hand'),
  };
}

function tell(log: Logger, folder: string, { kept, known, rescanned }: FolderReading): void {
  if (rescanned)
    log.warn({ folder, kept, known }, 'the server has numbered this folder anew; the last days were read again');
  else if (kept + known > 0) log.info({ folder, kept, known }, 'mail was kept');
}

/**
 * Does something until it works, with growing pauses; a pause begins short again after `worked` was called.
 *
 * @returns undefined when the signal aborted before
 */
async function persist<T>(
  inbox: Inbox,
  signal: AbortSignal,
  about: { folder?: string },
  attempt: (worked: () => void) => Promise<T>,
): Promise<T | undefined> {
  const { failing } = inbox.health;
  const what = about.folder ?? '';
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      const result = await attempt(() => {
        failures = -1;
        failing.delete(what);
      });
      failing.delete(what);
      return result;
    } catch (error) {
      if (signal.aborted) return undefined;
      failing.add(what);
      const { firstMs, longestMs, tell: tellOf } = failureOf(error);
      const waitMs = Math.min(firstMs * 2 ** Math.max(failures, 0), longestMs) * (0.5 + Math.random() / 2);
      tellOf(inbox.log, { ...about, againInMs: Math.round(waitMs) });
      await pause(waitMs, signal);
    }
  }
  return undefined;
}

interface Failure {
  firstMs: number;
  longestMs: number;
  tell(log: Logger, fields: object): void;
}

function failureOf(error: unknown): Failure {
  const code = imapErrorCode(error);
  if (error instanceof LoginRefused) {
    const words =
      'the mail server refuses the login; its mail is not read until user and password in IMAP_URL are right';
    return refused((log, fields) => log.error({ ...fields, code }, words));
  }
  if (error instanceof TokenRefusal && error.status !== null && error.status < 500 && error.status !== 429) {
    const words = 'no access token is given out; its mail is not read until the settings IMAP_OAUTH2_… are right';
    return refused((log, fields) => log.error({ ...fields, code }, words));
  }
  return {
    firstMs: FIRST_WAIT_MS,
    longestMs: LONGEST_WAIT_MS,
    tell: (log, fields) => log.warn({ ...fields, code }, 'reading a mailbox failed; will try again'),
  };
}

function refused(tellOf: Failure['tell']): Failure {
  return { firstMs: REFUSED_WAIT_MS, longestMs: LONGEST_REFUSED_WAIT_MS, tell: tellOf };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}
