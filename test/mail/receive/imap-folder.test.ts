import type { ImapFlow } from 'imapflow';
import { openImap } from '../../../mail/receive/imap';
import {
  type FolderMessage,
  type FolderPlace,
  type FolderStore,
  followFolder,
  type ReadOptions,
  readFolder,
} from '../../../mail/receive/imap-folder';
import { parseImapUrl } from '../../../mail/receive/imap-url';
import { eventually } from '../../support/waiting';
import { type FakeImap, type FakeImapOptions, type FakeMessage, fetched, startFakeImap } from './fake-imap';

// What servers do that Dovecot does not. The real ones, the database and the killed processes: test/cli/inbox.test.ts.

const MEBIBYTE = 1024 * 1024;
const never = new AbortController().signal;
const OPTIONS: ReadOptions = { signal: never, maxBytes: 25 * MEBIBYTE };

let fake: FakeImap;
let client: ImapFlow;
afterEach(async () => {
  client.close();
  await fake.close();
});

async function start(options: FakeImapOptions): Promise<void> {
  fake = await startFakeImap(options);
  await reconnect();
}

async function reconnect(): Promise<void> {
  const mailbox = parseImapUrl(`imap://ana:p@127.0.0.1:${fake.port}`);
  client = await openImap({ mailbox, tokens: null }, never);
}

const mail = (uid: number, raw = Buffer.from(`Subject: ${uid}\r\n\r\nhi\r\n`)): FakeMessage => ({ uid, raw });

interface MemoryStore extends FolderStore {
  kept: FolderMessage[];
  current: FolderPlace | null;
}

/** As the database does it, but for what a crash does. */
function memory(place: FolderPlace | null = null): MemoryStore {
  const store: MemoryStore = {
    kept: [],
    current: place,
    place: async () => store.current,
    setPlace: async (next) => {
      store.current = next;
    },
    keep: async (message, movesOn) => {
      if (movesOn && store.current !== null) store.current = { ...store.current, lastUid: message.uid };
      if (store.kept.some(({ raw }) => raw.equals(message.raw))) return false;
      store.kept.push(message);
      return true;
    },
  };
  return store;
}

const at = (lastUid: number, uidvalidity = 7n): FolderPlace => ({
  uidvalidity,
  lastUid,
  lastInternalDate: new Date('2026-03-10T00:00:00Z'),
});
const uids = (store: MemoryStore) => store.kept.map(({ uid }) => uid);

test('reads beyond its place in the order of UIDs, without a command that changes anything', async () => {
  await start({
    messages: [mail(3), mail(5), mail(9)],
    answer: (command) => (command === 'UID SEARCH' ? ['* SEARCH 9 5', 'TAG OK .'] : undefined),
  });
  const store = memory(at(3));
  expect(await readFolder(client, 'INBOX', store, new Map(), OPTIONS)).toEqual({ kept: 2, known: 0, rescanned: false });
  expect(uids(store)).toEqual([5, 9]);
  expect(store.current?.lastUid).toBe(9);
  const verbs = new Set(fake.commands.map((line) => /^(UID )?[A-Z]+/i.exec(line)?.[0].toUpperCase()));
  for (const verb of [
    'SELECT',
    'STORE',
    'UID STORE',
    'COPY',
    'UID COPY',
    'MOVE',
    'UID MOVE',
    'EXPUNGE',
    'CLOSE',
    'APPEND',
  ]) {
    expect(verbs).not.toContain(verb);
  }
  expect(fake.commands.filter((line) => /BODY(?!\.PEEK)/.test(line))).toEqual([]);
});

test('the last message is not read again and again, though n:* always names it', async () => {
  await start({ messages: [mail(3)] });
  const store = memory(at(3));
  expect(await readFolder(client, 'INBOX', store, new Map(), OPTIONS)).toMatchObject({ kept: 0, known: 0 });
  expect(fake.commands.filter((line) => line.startsWith('UID FETCH'))).toEqual([]);
});

test.each([
  ['from the newest on', {}, [], 9],
  ['from a day on', { since: new Date('2026-03-01T00:00:00Z') }, [5, 9], 9],
])('the first time it begins %s', async (_, options, expected, lastUid) => {
  await start({
    messages: [mail(3), mail(5), mail(9)],
    answer: (command, args) =>
      command === 'UID SEARCH' && args.includes('SINCE 01-Mar-2026') ? ['* SEARCH 5 9', 'TAG OK .'] : undefined,
  });
  const store = memory();
  expect((await readFolder(client, 'INBOX', store, new Map(), { ...OPTIONS, ...options })).rescanned).toBe(false);
  expect(uids(store)).toEqual(expected);
  expect(store.current).toMatchObject({ uidvalidity: 7n, lastUid });
});

test.each([
  ['another UIDVALIDITY', at(90, 6n)],
  ['UIDs that run backwards under the same UIDVALIDITY', at(90)],
])('%s: the last days are looked through, and the place moves only after that', async (_, place) => {
  let searched = '';
  await start({
    messages: [mail(1), mail(2), mail(3)],
    answer: (command, args) => {
      if (command !== 'UID SEARCH' || !args.includes('SINCE')) return undefined;
      searched = args;
      return ['* SEARCH 2 3', 'TAG OK .'];
    },
  });
  const store = memory(place);
  const places: (number | undefined)[] = [];
  const { keep } = store;
  store.keep = async (message, movesOn) => {
    places.push(store.current?.lastUid);
    return await keep(message, movesOn);
  };
  const reading = await readFolder(client, 'INBOX', store, new Map(), OPTIONS);
  expect(reading).toEqual({ kept: 2, known: 0, rescanned: true });
  expect(searched).toContain('SINCE 07-Mar-2026');
  expect(places).toEqual([90, 90]);
  expect(store.current).toMatchObject({ uidvalidity: 7n, lastUid: 3 });
});

test('a large message comes in pieces, whole; of a huge one the first bytes are kept, with its size', async () => {
  const large = Buffer.alloc(9 * MEBIBYTE, 'a');
  const huge = Buffer.alloc(11 * MEBIBYTE, 'b');
  const even = Buffer.alloc(8 * MEBIBYTE, 'c');
  await start({ messages: [mail(1, large), mail(2, huge), mail(3, even)] });
  const store = memory(at(0));
  await readFolder(client, 'INBOX', store, new Map(), { ...OPTIONS, maxBytes: 10 * MEBIBYTE });
  expect(store.kept.map(({ raw, size }) => [raw.length, size])).toEqual([
    [large.length, large.length],
    [10 * MEBIBYTE, huge.length],
    [even.length, even.length],
  ]);
  expect(store.kept[0]?.raw.equals(large)).toBe(true);
  expect(fake.commands.filter((line) => line.startsWith('UID FETCH 1 '))).toHaveLength(3);
});

test('a message that vanishes before it is read is passed over; one whose answer is news of flags is not', async () => {
  const third = mail(3);
  await start({
    messages: [mail(1), third, mail(4)],
    answer: (command, args) => {
      if (command === 'UID SEARCH' && args.includes('1:*')) return ['* SEARCH 1 2 3 4', 'TAG OK .'];
      if (command !== 'UID FETCH' || !args.startsWith('3 ')) return undefined;
      const news = ['* 1 FETCH (UID 1 FLAGS (\\Seen))', '* 2 FETCH (UID 3 FLAGS (\\Seen))', '* 2 FETCH (FLAGS ())'];
      return [...news, fetched(third, 2, 0, MEBIBYTE), 'TAG OK .'];
    },
  });
  const store = memory(at(0));
  await readFolder(client, 'INBOX', store, new Map(), OPTIONS);
  expect(uids(store)).toEqual([1, 3, 4]);
});

test('an answer that leaves out a message which is there is an error, and the place stays before it', async () => {
  let isMoody = true;
  await start({
    messages: [mail(1), mail(2), mail(3)],
    answer: (command, args) =>
      command === 'UID FETCH' && args.startsWith('2 ') && isMoody
        ? ['TAG NO Some of the requested messages no longer exist']
        : undefined,
  });
  const store = memory(at(0));
  await expect(readFolder(client, 'INBOX', store, new Map(), OPTIONS)).rejects.toMatchObject({ code: 'INCOMPLETE' });
  expect(store.current?.lastUid).toBe(1);
  isMoody = false;
  await readFolder(client, 'INBOX', store, new Map(), OPTIONS);
  expect(uids(store)).toEqual([1, 2, 3]);
});

test('a search that the server refuses is not taken for an empty folder', async () => {
  await start({
    messages: [mail(1)],
    answer: (command) => (command === 'UID SEARCH' ? ['TAG NO not now'] : undefined),
  });
  const store = memory(at(0));
  await expect(readFolder(client, 'INBOX', store, new Map(), OPTIONS)).rejects.toMatchObject({
    code: 'SEARCH_REFUSED',
  });
  expect(store.current?.lastUid).toBe(0);
});

test('a message that the server never hands over is passed over after five tries, told once, and the rest is read', async () => {
  await start({
    messages: [mail(1), mail(2), mail(3)],
    answer: (command, args) => (command === 'UID FETCH' && args.startsWith('2 ') ? ['TAG NO [SERVERBUG]'] : undefined),
  });
  const store = memory(at(0));
  const refusals = new Map<string, number>();
  const unreadable: number[] = [];
  const options = { ...OPTIONS, onUnreadable: (uid: number) => void unreadable.push(uid) };
  for (let tries = 1; tries < 5; tries += 1) {
    await expect(readFolder(client, 'INBOX', store, refusals, options)).rejects.toThrow();
  }
  expect(uids(store)).toEqual([1]);
  await readFolder(client, 'INBOX', store, refusals, options);
  await readFolder(client, 'INBOX', store, refusals, options);
  expect([uids(store), unreadable]).toEqual([[1, 3], [2]]);
});

test('a line that breaks within a message counts against nobody', async () => {
  await start({
    messages: [mail(1)],
    answer: (command) => {
      if (command !== 'UID FETCH') return undefined;
      fake.cut();
      return [];
    },
  });
  const store = memory(at(0));
  const refusals = new Map<string, number>();
  await expect(readFolder(client, 'INBOX', store, refusals, OPTIONS)).rejects.toThrow();
  expect([refusals.size, store.current?.lastUid]).toEqual([0, 0]);
});

function follow(store: FolderStore, signal: AbortSignal) {
  let caughtUp = 0;
  const following = followFolder(client, 'INBOX', store, new Map(), {
    ...OPTIONS,
    signal,
    onReading: () => {},
    onCaughtUp: () => {
      caughtUp += 1;
    },
  });
  const ended = following.then(
    () => null,
    (error: unknown) => error,
  );
  return { ended, caughtUp: () => caughtUp };
}

function arrive(message: FakeMessage): void {
  fake.messages.push(message);
  fake.say(`* ${fake.messages.length} EXISTS`);
}

test('new mail is read at once under IDLE, also what comes while other mail is being read', async () => {
  await start({ messages: [mail(1)] });
  const store = memory(at(1));
  const { keep } = store;
  store.keep = async (message, movesOn) => {
    // Its announcement comes while no IDLE listens.
    if (message.uid === 2) arrive(mail(3));
    return await keep(message, movesOn);
  };
  const { ended, caughtUp } = follow(store, never);
  await eventually(() => fake.commands.includes('IDLE'));
  arrive(mail(2));
  await eventually(() => store.kept.length === 2);
  for (let uid = 4; uid <= 12; uid += 1) {
    arrive(mail(uid));
    if (uid % 3 === 0) await eventually(() => store.kept.length === uid - 1);
  }
  expect(uids(store)).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  expect(caughtUp()).toBe(1);
  fake.cut();
  expect(await ended).toBeInstanceOf(Error);
});

test('a server that refuses IDLE, or ends it at once, is polled instead of being flooded', async () => {
  for (const answer of [['TAG BAD no'], ['+ go', 'TAG OK over']]) {
    await start({ messages: [mail(1)], answer: (command) => (command === 'IDLE' ? answer : undefined) });
    const stop = new AbortController();
    const store = memory(at(1));
    const { ended, caughtUp } = follow(store, stop.signal);
    await eventually(() => caughtUp() === 1 && fake.commands.filter((line) => line === 'IDLE').length === 1);
    await eventually(() => fake.commands.filter((line) => line.startsWith('EXAMINE')).length === 2);
    expect(fake.commands.filter((line) => line === 'IDLE')).toHaveLength(1);
    stop.abort(new Error('stop'));
    expect(await ended).toBeInstanceOf(Error);
    client.close();
    await fake.close();
  }
  await start({});
});

test('an abort ends the reading before the next message is kept', async () => {
  await start({ messages: [mail(1), mail(2), mail(3)] });
  const stop = new AbortController();
  const store = memory(at(0));
  const { keep } = store;
  store.keep = async (message, movesOn) => {
    if (message.uid === 2) stop.abort(new Error('stop'));
    return await keep(message, movesOn);
  };
  await expect(readFolder(client, 'INBOX', store, new Map(), { ...OPTIONS, signal: stop.signal })).rejects.toThrow(
    'stop',
  );
  expect(uids(store)).toEqual([1, 2]);
});
