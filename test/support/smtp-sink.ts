import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

/** One message that the sink has taken with a 250. */
export interface SunkMessage {
  to: string;
  messageId: string;
  subject: string;
  raw: string;
  at: number;
}

/** What a test may make the server say; each may wait before it answers. Throw a `smtpError` to refuse. */
export interface Faults {
  onConnect?: () => void | Promise<void>;
  onMail?: (from: string) => void | Promise<void>;
  onRcpt?: (to: string) => void | Promise<void>;
  /** The whole message has arrived; it is recorded only if this lets it pass. */
  onMessage?: (message: SunkMessage) => void | Promise<void>;
  /** The message is recorded, its 250 not yet said. */
  beforeAccept?: (message: SunkMessage) => void | Promise<void>;
}

export interface SmtpSink {
  url: string;
  /** In the order in which they were taken. */
  messages: SunkMessage[];
  faults: Faults;
  close(): Promise<void>;
}

/** An SMTP answer to throw from a fault. */
export function smtpError(code: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode: code });
}

/** A real SMTP server on loopback that keeps what it is given, and fails as it is told. */
export async function startSmtpSink(): Promise<SmtpSink> {
  const messages: SunkMessage[] = [];
  const sink: { faults: Faults } = { faults: {} };
  const answer = (work: () => void | Promise<void> | undefined, done: (error?: Error | null) => void) => {
    Promise.resolve()
      .then(work)
      .then(
        () => done(),
        (error: Error) => done(error),
      );
  };
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    logger: false,
    onConnect: (_session, done) => answer(() => sink.faults.onConnect?.(), done),
    onMailFrom: (address, _session, done) => answer(() => sink.faults.onMail?.(address.address), done),
    onRcptTo: (address, _session, done) => answer(() => sink.faults.onRcpt?.(address.address), done),
    onData: (stream, session, done) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const raw = Buffer.concat(chunks).toString('utf8');
        const message: SunkMessage = {
          to: session.envelope.rcptTo[0]?.address ?? '',
          messageId: /^Message-ID:\s*(<[^>]+>)/im.exec(raw)?.[1] ?? '',
          subject: /^Subject:\s*(.*)$/im.exec(raw)?.[1] ?? '',
          raw,
          at: Date.now(),
        };
        answer(async () => {
          await sink.faults.onMessage?.(message);
          messages.push(message);
          await sink.faults.beforeAccept?.(message);
        }, done);
      });
    },
  });
  server.on('error', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.server.address() as AddressInfo;
  return {
    url: `smtp://127.0.0.1:${port}`,
    messages,
    get faults() {
      return sink.faults;
    },
    set faults(faults: Faults) {
      sink.faults = faults;
    },
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}
