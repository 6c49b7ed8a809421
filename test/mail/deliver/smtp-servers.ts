import { createServer, type Server, type Socket } from 'node:net';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';

export interface RealServer {
  url: string;
  port: number;
  /** Whole messages that the server took, in order. */
  messages: Array<{ from: string; to: string[]; body: Buffer; args: Record<string, unknown> }>;
  /** Bodies that were begun and never finished. */
  broken: number;
  /** Connections made so far, and the most at one time. */
  connections: number;
  mostAtOnce: number;
  server: SMTPServer;
  close(): Promise<void>;
}

/** The `smtp-server` package on a free port of loopback. */
export async function realServer(options: SMTPServerOptions = {}): Promise<RealServer> {
  let open = 0;
  const server = new SMTPServer({
    authOptional: true,
    disableReverseLookup: true,
    logger: false,
    closeTimeout: 200,
    noDelay: true,
    onConnect(_session, done) {
      real.connections++;
      real.mostAtOnce = Math.max(real.mostAtOnce, ++open);
      done();
    },
    onClose() {
      open--;
    },
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', () => {
        real.broken++;
      });
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        real.messages.push({
          from: mailFrom ? mailFrom.address : '',
          to: rcptTo.map((rcpt) => rcpt.address),
          body: Buffer.concat(chunks),
          args: Object(mailFrom ? mailFrom.args : {}),
        });
        done(null, '2.0.0 Ok: queued as 4bQ9xY1TzQ');
      });
    },
    ...options,
  });
  server.on('error', () => {});
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.server.address() as { port: number };
  const real: RealServer = {
    url: `smtp://127.0.0.1:${port}`,
    port,
    messages: [],
    broken: 0,
    connections: 0,
    mostAtOnce: 0,
    server,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return real;
}

/** An answer line without CRLF, silence, a cut connection, or an answer after which the connection is cut. */
type Reply = string | 'hang' | 'drop' | { last: string };

export interface Script {
  greeting?: Reply;
  EHLO?: Reply;
  AUTH?: Reply;
  MAIL?: Reply;
  RCPT?: Reply;
  DATA?: Reply;
  /** As soon as the first bytes of a body arrive. */
  firstBytes?: Reply;
  /** After the final dot. */
  message?: Reply;
  RSET?: Reply;
}

export interface FaultyServer {
  url: string;
  port: number;
  /** Commands in the order they came. */
  commands: string[];
  /** Bodies that ended with a dot, as they were on the wire (dots doubled). */
  complete: Buffer[];
  /** Bytes of bodies without an end. */
  partial: Buffer;
  sockets: Set<Socket>;
  connections: number;
  /** Resolves once a command, or `body` for the first bytes of a body, has come. */
  seen(event: string): Promise<void>;
  /** What to answer from now on. */
  script: Script;
  close(): Promise<void>;
}

/** A server that follows a script, to fail at a given moment. */
export async function faultyServer(script: Script = {}): Promise<FaultyServer> {
  const waiting = new Map<string, Array<() => void>>();
  const happened = new Set<string>();
  const announce = (event: string) => {
    happened.add(event);
    for (const resolve of waiting.get(event) ?? []) resolve();
    waiting.delete(event);
  };
  const server: Server = createServer({ noDelay: true }, (socket) => {
    faulty.sockets.add(socket);
    faulty.connections++;
    socket.on('close', () => {
      faulty.sockets.delete(socket);
      announce('close');
    });
    socket.on('error', () => {});
    const reply = (what: Reply) => {
      if (what === 'hang') return;
      if (what === 'drop') socket.destroy();
      else if (typeof what === 'string') socket.write(`${what}\r\n`);
      else socket.end(`${what.last}\r\n`);
    };
    let pending = Buffer.alloc(0);
    let inBody = false;
    let body = Buffer.alloc(0);
    reply(faulty.script.greeting ?? '220 faulty.example ESMTP');
    socket.on('data', (chunk) => {
      if (inBody) return onBody(chunk);
      pending = Buffer.concat([pending, chunk]);
      for (let at = pending.indexOf('\r\n'); at >= 0 && !inBody; at = pending.indexOf('\r\n')) {
        const line = pending.subarray(0, at).toString();
        pending = pending.subarray(at + 2);
        onCommand(line);
      }
    });
    const onBody = (chunk: Buffer) => {
      const first = body.length === 0;
      body = Buffer.concat([body, chunk]);
      faulty.partial = body;
      announce('body');
      if (first && faulty.script.firstBytes !== undefined) reply(faulty.script.firstBytes);
      // The CRLF before the final dot may be the one that ended the DATA command.
      const end = body.indexOf('.\r\n') === 0 ? 0 : body.indexOf('\r\n.\r\n') + 2;
      if (end === 1) return;
      faulty.complete.push(body.subarray(0, end));
      faulty.partial = Buffer.alloc(0);
      body = Buffer.alloc(0);
      inBody = false;
      announce('message');
      reply(faulty.script.message ?? '250 2.0.0 Ok: queued as 4bQ9xY1TzQ');
    };
    const onCommand = (line: string) => {
      faulty.commands.push(line);
      const verb = line.slice(0, 4).toUpperCase();
      if (verb === 'EHLO') reply(faulty.script.EHLO ?? '250-faulty.example\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES');
      else if (verb === 'AUTH') reply(faulty.script.AUTH ?? '235 2.7.0 Ok');
      else if (verb === 'MAIL') reply(faulty.script.MAIL ?? '250 2.1.0 Ok');
      else if (verb === 'RCPT') reply(faulty.script.RCPT ?? '250 2.1.5 Ok');
      else if (verb === 'RSET') reply(faulty.script.RSET ?? '250 2.0.0 Ok');
      else if (verb === 'DATA') {
        const answer = faulty.script.DATA ?? '354 go on';
        inBody = typeof answer === 'string' && answer.startsWith('354');
        reply(answer);
      } else if (verb === 'QUIT') reply({ last: '221 2.0.0 Bye' });
      else reply('500 5.5.2 what?');
      announce(verb);
    };
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as { port: number };
  const faulty: FaultyServer = {
    url: `smtp://127.0.0.1:${port}`,
    port,
    commands: [],
    complete: [],
    partial: Buffer.alloc(0),
    sockets: new Set(),
    connections: 0,
    seen: (event) =>
      happened.has(event)
        ? Promise.resolve()
        : new Promise((resolve) => waiting.set(event, [...(waiting.get(event) ?? []), resolve])),
    script,
    close: () =>
      new Promise((resolve) => {
        for (const socket of faulty.sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
  return faulty;
}
