import { type AddressInfo, createServer, type Socket } from 'node:net';

// An IMAP server that misbehaves as a test wants. What real servers do is tried with Dovecot.

export interface FakeMessage {
  uid: number;
  raw: Buffer;
  internalDate?: string;
  flags?: string[];
}

export interface FakeImapOptions {
  capabilities?: string[];
  uidvalidity?: number;
  messages?: FakeMessage[];
  /** Answers a command in place of the usual; undefined: as usual. Lines without CRLF; `TAG` stands for the tag. */
  answer?: (command: string, args: string) => string[] | undefined;
}

export interface FakeImap {
  port: number;
  messages: FakeMessage[];
  uidvalidity: number;
  /** Every line that was sent to it, without its tag. */
  commands: string[];
  /** Says something to everybody who is connected. */
  say(line: string): void;
  /** Ends all connections. */
  cut(): void;
  close(): Promise<void>;
}

export async function startFakeImap(options: FakeImapOptions = {}): Promise<FakeImap> {
  const sockets = new Set<Socket>();
  const capabilities = options.capabilities ?? ['IMAP4rev1', 'IDLE', 'AUTH=PLAIN', 'SASL-IR'];
  const fake: FakeImap = {
    port: 0,
    messages: [...(options.messages ?? [])],
    uidvalidity: options.uidvalidity ?? 7,
    commands: [],
    say: (line) => {
      for (const socket of sockets) socket.write(`${line}\r\n`);
    },
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    close: async () => {
      fake.cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };

  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.write(`* OK [CAPABILITY ${capabilities.join(' ')}] ready\r\n`);
    let buffer = '';
    let waitsFor: ((line: string) => string[]) | null = null;
    socket.on('data', (chunk) => {
      buffer += chunk.toString('latin1');
      for (let end = buffer.indexOf('\r\n'); end >= 0; end = buffer.indexOf('\r\n')) {
        const line = buffer.slice(0, end);
        buffer = buffer.slice(end + 2);
        if (waitsFor !== null) {
          fake.commands.push(line);
          const next = waitsFor;
          waitsFor = null;
          write(next(line));
          continue;
        }
        const [, tag = '', rest = ''] = /^(\S+) (.*)$/.exec(line) ?? [];
        fake.commands.push(rest);
        serve(tag, rest);
      }
    });
    const write = (lines: readonly string[]) =>
      socket.write(Buffer.from(lines.map((l) => `${l}\r\n`).join(''), 'latin1'));
    const serve = (tag: string, rest: string) => {
      const [, command = '', args = ''] = /^((?:UID )?\S+) ?(.*)$/i.exec(rest) ?? [];
      const name = command.toUpperCase();
      const own = options.answer?.(name, args);
      const isDialogue = name === 'IDLE' || (name === 'AUTHENTICATE' && args.toUpperCase() === 'PLAIN');
      if (own !== undefined) {
        write(own.map((line) => line.replace(/^TAG/, tag)));
      } else if (isDialogue) {
        waitsFor = () => [`${tag} OK done`];
        write(['+ go on']);
      } else {
        write([...usual(name, args), `${tag} OK done`]);
      }
      if (name === 'LOGOUT') socket.end();
    };
  });

  function usual(command: string, args: string): string[] {
    switch (command) {
      case 'CAPABILITY':
        return [`* CAPABILITY ${capabilities.join(' ')}`];
      case 'NAMESPACE':
        return ['* NAMESPACE (("" "/")) NIL NIL'];
      case 'LIST':
        return ['* LIST (\\HasNoChildren) "/" INBOX', '* LIST (\\HasNoChildren) "/" Archive'];
      case 'EXAMINE':
        return [
          '* FLAGS (\\Seen)',
          `* ${fake.messages.length} EXISTS`,
          `* OK [UIDVALIDITY ${fake.uidvalidity}] valid`,
          `* OK [UIDNEXT ${(fake.messages.at(-1)?.uid ?? 0) + 1}] next`,
        ];
      case 'UID SEARCH':
        return [`* SEARCH ${found(args).join(' ')}`.trim()];
      case 'UID FETCH': {
        const [, uid, start, length] = /^(\d+) .*<(\d+)\.(\d+)>/.exec(args) ?? [];
        return fake.messages.flatMap((message, index) =>
          message.uid === Number(uid) ? [fetched(message, index + 1, Number(start), Number(length))] : [],
        );
      }
      case 'LOGOUT':
        return ['* BYE until later'];
      default:
        return [];
    }
  }

  function found(args: string): number[] {
    const uids = fake.messages.map(({ uid }) => uid);
    const range = /UID (\d+|\*)(?::(\*))?$/.exec(args);
    if (range === null) return uids;
    const last = uids.at(-1) ?? 0;
    const from = range[1] === '*' ? last : Number(range[1]);
    // As real servers do: `n:*` is the last message where n lies beyond it.
    return range[2] === '*' ? uids.filter((uid) => uid >= Math.min(from, last)) : uids.filter((uid) => uid === from);
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  fake.port = (server.address() as AddressInfo).port;
  return fake;
}

/** One FETCH answer, as BODY.PEEK[]<start.length> asks for it. */
export function fetched(message: FakeMessage, seq: number, start: number, length: number): string {
  const part = message.raw.subarray(start, start + length);
  const date = message.internalDate ?? '01-Mar-2026 10:00:00 +0000';
  const about = `UID ${message.uid} RFC822.SIZE ${message.raw.length} INTERNALDATE "${date}"`;
  return `* ${seq} FETCH (${about} BODY[]<${start}> {${part.length}}\r\n${part.toString('latin1')})`;
}
