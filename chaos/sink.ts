import { openSync, writeSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitWithParent } from '../stack/supervisor';
import { type Fault, type FaultRates, faultFor, isAtGreeting, isAtMail, isOfMessage, UNKNOWN_PREFIX } from './faults';
import type { FromSink, ToSink } from './sink-process';
import type { SinkRecord } from './sink-records';

// A mail server that fails as it is told and writes down what it was given, in a process of its own that nobody kills.
// It speaks the protocol itself: a library would close connections politely. Usage: sink.ts PORT JOURNAL SEED

const [port = '0', journalFile = '', seedText = '1'] = process.argv.slice(2);
const seed = Number(seedText);
const journal = openSync(journalFile, 'a');
let rates: FaultRates = {};
const attempts = new Map<string, number>();
let transactions = 0;

/** Written before it is acted upon; this process is never killed, so the kernel's word is durable enough. */
function note(record: SinkRecord): void {
  writeSync(journal, `${JSON.stringify(record)}\n`);
}

function tell(message: FromSink): void {
  process.send?.(message);
}

function draw(among: (fault: Fault) => boolean, about: string): Fault | null {
  const attempt = attempts.get(about) ?? 0;
  attempts.set(about, attempt + 1);
  return faultFor(rates, among, { seed, about, attempt });
}

const END = Buffer.from('\r\n.\r\n');
const EHLO = '250-chaos.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n';
const SLOW_MS = 1_500;

/** One message, from its 354 on. */
interface Transaction {
  n: number;
  to: string;
  fault: Fault | null;
  began: number | null;
}

async function serve(socket: Socket): Promise<void> {
  let pending: Buffer = Buffer.alloc(0);
  let wake = () => {};
  let ended = false;
  let inBody: Transaction | null = null;
  /** The last message, as long as nothing was said after it. */
  let last: Transaction | null = null;
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    if (inBody !== null) inBody.began ??= Date.now();
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    wake();
  });
  socket.on('close', () => {
    ended = true;
    const at = Date.now();
    if (inBody !== null) {
      const { n, to, began, fault } = inBody;
      note({ kind: 'cut', n, to, began, at, fault });
    } else if (last !== null) note({ kind: 'gone', n: last.n, at });
    wake();
  });
  const more = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  /** Everything up to a mark, which is taken too; null when the other side has gone. */
  async function upTo(mark: Buffer | string): Promise<Buffer | null> {
    for (;;) {
      const end = pending.indexOf(mark);
      if (end >= 0) {
        const part = pending.subarray(0, end);
        pending = pending.subarray(end + mark.length);
        return part;
      }
      if (ended) return null;
      await more();
    }
  }
  const say = (line: string) => {
    if (!socket.destroyed) socket.write(line);
  };
  /** Says nothing until the other side gives up. */
  const hang = async () => {
    while (!ended) await more();
  };

  const atGreeting = draw(isAtGreeting, 'connection');
  if (atGreeting !== null) note({ kind: 'fault', fault: atGreeting, at: Date.now(), to: null });
  if (atGreeting === 'greeting-hang') return await hang();
  if (atGreeting === 'greeting-421') {
    socket.end('421 4.3.2 busy, come back later\r\n');
    return;
  }
  say('220 chaos.example ESMTP\r\n');

  let hasSender = false;
  let recipient: { to: string; fault: Fault | null } | null = null;
  for (;;) {
    const command = await upTo('\r\n');
    if (command === null) return;
    last = null;
    const text = command.toString('latin1');
    const verb = text.slice(0, 4).toUpperCase();
    if (verb === 'EHLO') say(EHLO);
    else if (verb === 'QUIT') {
      socket.end('221 2.0.0 bye\r\n');
      return;
    } else if (verb === 'MAIL') {
      recipient = null;
      const fault = draw(isAtMail, 'mail');
      if (fault !== null) note({ kind: 'fault', fault, at: Date.now(), to: null });
      say(fault === null ? '250 2.1.0 Ok\r\n' : '451 4.3.0 try again later\r\n');
      // What was pipelined behind it is refused below.
      hasSender = fault === null;
    } else if (verb === 'RCPT') {
      if (!hasSender) {
        say('503 5.5.1 no sender\r\n');
        continue;
      }
      const to = /<([^>]*)>/.exec(text)?.[1] ?? '';
      const fault: Fault | null = to.startsWith(UNKNOWN_PREFIX) ? 'rcpt-550-unknown' : draw(isOfMessage, to);
      if (fault !== null) note({ kind: 'fault', fault, at: Date.now(), to });
      if (fault === 'rcpt-hang') return await hang();
      const refusal = RCPT_REFUSALS[fault ?? 'none'];
      if (refusal === undefined) recipient = { to, fault };
      say(refusal ?? '250 2.1.5 Ok\r\n');
    } else if (verb === 'DATA') {
      if (recipient === null) {
        say('503 5.5.1 no recipient\r\n');
        continue;
      }
      if (recipient.fault === 'data-drop') {
        socket.destroy();
        return;
      }
      transactions += 1;
      const transaction: Transaction = { n: transactions, ...recipient, began: null };
      recipient = null;
      inBody = transaction;
      if (pending.length > 0) transaction.began = Date.now();
      say('354 go on\r\n');
      if (transaction.fault === 'body-drop') {
        while (transaction.began === null && !ended) await more();
        socket.destroy();
        return;
      }
      const body = await upTo(END);
      if (body === null) return;
      inBody = null;
      last = transaction;
      if (!(await take(transaction, body, socket, say, hang))) return;
    } else say('250 2.0.0 Ok\r\n');
  }
}

const RCPT_REFUSALS: Partial<Record<Fault | 'none', string>> = {
  'rcpt-452': '452 4.3.1 system storage is short\r\n',
  'rcpt-450-greylisted': '450 4.2.0 greylisted, try again\r\n',
  'rcpt-550-unknown': '550 5.1.1 no such user\r\n',
};

/** Decides what becomes of a whole message, and answers. @returns false when the connection is over */
async function take(
  { n, to, fault, began }: Transaction,
  body: Buffer,
  socket: Socket,
  say: (line: string) => void,
  hang: () => Promise<void>,
): Promise<boolean> {
  const messageId = /^Message-ID:\s*(<[^>]+>)/im.exec(body.toString('latin1'))?.[1] ?? '';
  const ended = Date.now();
  const fate =
    fault === 'message-452' || fault === 'message-554-content'
      ? 'refused'
      : fault === 'message-drop-lost'
        ? 'lost'
        : 'kept';
  note({ kind: 'received', n, messageId, to, began: began ?? ended, ended, fate, fault });
  if (fate === 'kept') tell({ kind: 'mail', to, messageId, at: ended });
  if (fault === 'message-drop-kept' || fault === 'message-drop-lost') {
    socket.destroy();
    return false;
  }
  if (fault === 'message-hang-kept') {
    await hang();
    return false;
  }
  if (fault === 'message-slow') await sleep(SLOW_MS);
  const code = fault === 'message-452' ? 452 : fault === 'message-554-content' ? 554 : 250;
  // Nobody is there any more to hear it.
  if (socket.destroyed) return false;
  note({ kind: 'answered', n, code, at: Date.now() });
  say(
    code === 250
      ? `250 2.0.0 Ok: queued as CHAOS${n}\r\n`
      : code === 452
        ? '452 4.3.1 system storage is short\r\n'
        : '554 5.6.0 that can not be read\r\n',
  );
  return true;
}

const server = createServer({ noDelay: true }, (socket) => void serve(socket));
server.on('error', (error) => {
  throw error;
});
server.listen(Number(port), '127.0.0.1', () => {
  const address = server.address();
  tell({ kind: 'listening', port: typeof address === 'object' && address !== null ? address.port : 0 });
});

process.on('message', (message: ToSink) => {
  if (message.kind === 'faults') rates = message.rates;
  else void closeFor(message.ms);
});

/** Refuses new connections for a while; those that are open go on. */
async function closeFor(ms: number): Promise<void> {
  const address = server.address();
  if (typeof address !== 'object' || address === null) return;
  const from = Date.now();
  server.close();
  await sleep(ms);
  server.listen(address.port, '127.0.0.1');
  note({ kind: 'closed', from, until: Date.now() });
}

exitWithParent(1_000);
