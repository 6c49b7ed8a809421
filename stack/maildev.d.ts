/** The parts of maildev 2.2 that the mailbox uses; the package has no types of its own. */

declare module 'maildev/lib/mailserver' {
  import type { EventEmitter } from 'node:events';
  import type { SMTPServer } from 'smtp-server';

  export interface StoredMail {
    id: string;
    subject?: string;
    read: boolean;
    time: Date | string;
  }

  /** One per process: the package keeps its state in the module. */
  interface MailServer {
    store: StoredMail[];
    smtp: SMTPServer;
    create(port: number, host: string, mailDir: string): void;
    loadMailsFromDirectory(): void;
    deleteEmail(id: string, done: (error: Error | null) => void): void;
    on: EventEmitter['on'];
    off: EventEmitter['off'];
  }

  const mailServer: MailServer;
  export default mailServer;
}

declare module 'maildev/lib/web' {
  import type { Server } from 'node:http';
  import type mailServer from 'maildev/lib/mailserver';

  const web: {
    server: Server | null;
    start(
      port: number,
      host: string,
      mailserver: typeof mailServer,
      user: undefined,
      password: undefined,
      basePathname: undefined,
      secure: { https: false },
    ): void;
    close(callback: () => void): void;
  };
  export default web;
}

declare module 'maildev/lib/logger' {
  const logger: { setLevel(level: 0 | 1 | 2): void };
  export default logger;
}
