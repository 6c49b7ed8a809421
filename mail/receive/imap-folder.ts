import type { ImapFlow } from 'imapflow';

/** How far a folder has been read. UIDs grow within one UIDVALIDITY (RFC 9051, section 2.3.1.1) and mean nothing beyond it. */
export interface FolderPlace {
  uidvalidity: bigint;
  /** Everything up to it has been dealt with. */
  lastUid: number;
  /** When the server took the newest message that was read, as it says. */
  lastInternalDate: Date;
}

/** A message as it lies in a folder. */
export interface FolderMessage {
  uidvalidity: bigint;
  uid: number;
  internalDate: Date;
  /** Its first bytes, all of them unless it is larger than `maxBytes`. */
  raw: Buffer;
  /** How large it is, as the server says, or as was read. */
  size: number;
}

/** Where the messages of one folder are kept. */
export interface FolderStore {
  place(): Promise<FolderPlace | null>;
  /** Sets the place, whatever it was before. */
  setPlace(place: FolderPlace): Promise<void>;
  /**
   * Keeps a message once and, if it `movesOn`, the place behind it, both or neither.
   *
   * @returns whether it was new
   */
  keep(message: FolderMessage, movesOn: boolean): Promise<boolean>;
}

export interface ReadOptions {
  signal: AbortSignal;
  /** Of a larger message only this much (bytes) is read. */
  maxBytes: number;
  /** A folder that was never read is read from this day on; without it, from now on. */
  since?: Date;
  /** Told of a message that the server refuses to hand over, again and again; it is passed over. */
  onUnreadable?: (uid: number) => void;
}

/** What one look into a folder brought. */
export interface FolderReading {
  kept: number;
  /** Kept before: another place of the mailbox held the same bytes, or its UIDs have changed. */
  known: number;
  /** The UIDs were given anew, so the last days were looked through again. */
  rescanned: boolean;
}

/** A message comes in pieces of this size, so that a slow line shows life and a huge one does not fill the memory. */
const CHUNK_BYTES = 4 * 1024 * 1024;
/**
 * Where UIDs were given anew, messages of this long before the newest known one are looked through: IMAP searches by day, in
 * whatever time zone, and a message can be put into a folder some time after the server took it.
 */
const RESCAN_MS = 3 * 24 * 60 * 60_000;
/** How often a server may refuse to hand over a message before it is passed over. */
const MAX_REFUSALS = 5;

/** Refusals of messages, counted across connections. */
export type Refusals = Map<string, number>;

/**
 * Reads what a folder holds beyond its place, in the order of UIDs, and keeps it. The folder is opened with EXAMINE and
 * messages are taken with BODY.PEEK: nothing in it changes, no flag either.
 *
 * - Never read before: it begins at the newest message, or at `since`.
 * - UIDVALIDITY changed, or UIDs run backwards: all that came within three days before the newest known message, or later,
 *   is read again, and the store knows what it has. The place moves only after that, so a crash begins it anew.
 *
 * @throws when the connection ends, the store fails, or the signal aborts; what was kept stays kept
 */
export async function readFolder(
  client: ImapFlow,
  folder: string,
  store: FolderStore,
  refusals: Refusals,
  options: ReadOptions,
): Promise<FolderReading> {
  const { uidValidity: uidvalidity, ...mailbox } = await client.mailboxOpen(folder, { readOnly: true });
  const reading: FolderReading = { kept: 0, known: 0, rescanned: false };
  const uidNext = mailbox.uidNext ?? ((await uidsOf(client, { uid: '*' })).at(-1) ?? 0) + 1;
  const read = async (uids: readonly number[], movesOn: boolean) => {
    for (const uid of uids) {
      options.signal.throwIfAborted();
      const message = await fetchUnlessRefused(client, { folder, uidvalidity, uid }, refusals, options);
      options.signal.throwIfAborted();
      if (message === null) continue;
      if (await store.keep(message, movesOn)) reading.kept += 1;
      else reading.known += 1;
    }
  };

  const place = await store.place();
  const isSound = place !== null && place.uidvalidity === uidvalidity && place.lastUid < uidNext;
  let lastUid = place?.lastUid ?? 0;
  if (!isSound) {
    const since = place === null ? options.since : new Date(place.lastInternalDate.getTime() - RESCAN_MS);
    reading.rescanned = place !== null;
    if (since !== undefined) {
      const uids = await uidsOf(client, { since });
      await read(
        uids.filter((uid) => uid < uidNext),
        false,
      );
    }
    lastUid = uidNext - 1;
    await store.setPlace({ uidvalidity, lastUid, lastInternalDate: new Date() });
  }
  // `n:*` names the last message even where that is older.
  const beyond = (await uidsOf(client, { uid: `${lastUid + 1}:*` })).filter((uid) => uid > lastUid);
  await read(beyond, true);
  return reading;
}

async function uidsOf(client: ImapFlow, query: { uid: string } | { since: Date }): Promise<number[]> {
  const uids = await client.search(query, { uid: true });
  // imapflow answers false where the server says no: that is not the same as nothing.
  if (!Array.isArray(uids)) throw new SearchRefused();
  return [...uids].sort((a, b) => a - b);
}

class SearchRefused extends Error {
  readonly code = 'SEARCH_REFUSED';
  constructor() {
    super('the IMAP server refused a search');
  }
}

/** The server has a message, and answered without it. */
class Incomplete extends Error {
  readonly code = 'INCOMPLETE';
  constructor() {
    super('the IMAP server left out what was asked for');
  }
}

interface Wanted {
  folder: string;
  uidvalidity: bigint;
  uid: number;
}

/** The message; null when it is gone by now, or was refused too often. */
async function fetchUnlessRefused(
  client: ImapFlow,
  wanted: Wanted,
  refusals: Refusals,
  { maxBytes, onUnreadable }: ReadOptions,
): Promise<FolderMessage | null> {
  const key = `${wanted.folder} ${wanted.uidvalidity} ${wanted.uid}`;
  if ((refusals.get(key) ?? 0) >= MAX_REFUSALS) return null;
  try {
    const message = await fetchWhole(client, wanted, maxBytes);
    refusals.delete(key);
    return message;
  } catch (error) {
    const { responseStatus, code } = error as { responseStatus?: string; code?: string };
    // A line that breaks says nothing about the message.
    if (code !== 'INCOMPLETE' && (responseStatus === undefined || code === 'ETHROTTLE')) throw error;
    const count = (refusals.get(key) ?? 0) + 1;
    refusals.set(key, count);
    if (count < MAX_REFUSALS) throw error;
    onUnreadable?.(wanted.uid);
    return null;
  }
}

async function fetchWhole(client: ImapFlow, wanted: Wanted, maxBytes: number): Promise<FolderMessage | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  let internalDate: Date | undefined;
  let size = 0;
  for (;;) {
    const maxLength = Math.min(CHUNK_BYTES, maxBytes - length);
    const part = await fetchPart(client, wanted.uid, length, maxLength);
    if (part === null) return null;
    chunks.push(part.bytes);
    length += part.bytes.length;
    internalDate ??= part.internalDate;
    // Some servers only guess it, so it does not tell where a message ends.
    size = Math.max(part.size, length);
    if (part.bytes.length < maxLength || length >= maxBytes) break;
  }
  const complete = length < maxBytes;
  return {
    uidvalidity: wanted.uidvalidity,
    uid: wanted.uid,
    internalDate: internalDate ?? new Date(),
    raw: Buffer.concat(chunks, length),
    size: complete ? length : size,
  };
}

async function fetchPart(
  client: ImapFlow,
  uid: number,
  start: number,
  maxLength: number,
): Promise<{ bytes: Buffer; internalDate: Date; size: number } | null> {
  const query = { uid: true, internalDate: true, size: true, source: { start, maxLength } };
  for (const message of await client.fetchAll(String(uid), query, { uid: true })) {
    // Among the answers may be news about flags, of this message or others.
    if (message.uid !== uid || message.size === undefined) continue;
    if (message.source === undefined && message.size > start) continue;
    const internalDate = new Date(message.internalDate ?? Date.now());
    return {
      bytes: message.source ?? Buffer.alloc(0),
      internalDate: Number.isNaN(internalDate.getTime()) ? new Date() : internalDate,
      size: message.size,
    };
  }
  // Without a selected folder imapflow answers with nothing, too; a search then fails.
  if ((await uidsOf(client, { uid: String(uid) })).includes(uid)) throw new Incomplete();
  return null;
}

/** How long a folder is left alone with nothing heard of it, ms: connections that are cut in silence are found that way. */
const QUIET_MS = 4 * 60_000;
/** How often a server without IDLE (RFC 2177) is asked, ms. */
const POLL_MS = 30_000;
/** How long the answer to such a question may take, ms. */
const ANSWER_MS = 30_000;

export interface FollowOptions extends ReadOptions {
  onReading: (reading: FolderReading) => void;
  /** Told once everything is read and news are waited for. */
  onCaughtUp: () => void;
}

/**
 * Reads a folder and goes on reading what comes into it, by IDLE or, where that is missing, by polling. Takes the connection
 * for itself.
 *
 * @throws when the connection ends, the store fails, or the signal aborts
 */
export async function followFolder(
  client: ImapFlow,
  folder: string,
  store: FolderStore,
  refusals: Refusals,
  options: FollowOptions,
): Promise<never> {
  let news = true;
  // imapflow's idle() does not end when mail comes, only when another command breaks it.
  client.on('exists', () => {
    news = true;
    if (client.idling) client.noop().catch(() => client.close());
  });
  let canIdle = client.capabilities.has('IDLE');
  for (let first = true; ; first = false) {
    news = false;
    options.onReading(await readFolder(client, folder, store, refusals, options));
    if (first) options.onCaughtUp();
    if (news) continue;
    if (canIdle) canIdle = await idleOnce(client, () => news);
    else await pollOnce(client, options.signal);
    options.signal.throwIfAborted();
  }
}

/** @returns whether the server does IDLE as it promised */
async function idleOnce(client: ImapFlow, hasNews: () => boolean): Promise<boolean> {
  const began = Date.now();
  const timer = setTimeout(() => void askOrClose(client), QUIET_MS);
  try {
    const answer = await client.idle();
    return answer !== false && (hasNews() || Date.now() - began > 1_000);
  } finally {
    clearTimeout(timer);
  }
}

async function pollOnce(client: ImapFlow, signal: AbortSignal): Promise<void> {
  // Who comes too late to hear it would wait for half a minute more.
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      client.off('close', done);
      resolve();
    };
    const timer = setTimeout(done, POLL_MS);
    signal.addEventListener('abort', done, { once: true });
    client.once('close', done);
  });
  await askOrClose(client);
}

/** Asks the server for a sign of life, and gives the connection up where none comes. */
async function askOrClose(client: ImapFlow): Promise<void> {
  const timer = setTimeout(() => client.close(), ANSWER_MS);
  try {
    await client.noop();
  } catch {
    client.close();
  } finally {
    clearTimeout(timer);
  }
}
