import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { steadyPort } from '../stack/ports';
import type { FaultRates } from './faults';

/** What the sink tells its parent. */
export type FromSink =
  | { kind: 'listening'; port: number }
  /** A message was kept. */
  | { kind: 'mail'; to: string; messageId: string; at: number };

/** What it is told. */
export type ToSink = { kind: 'faults'; rates: FaultRates } | { kind: 'close'; ms: number };

export interface Sink {
  smtpUrl: string;
  /** From now on it fails like this. */
  fail(rates: FaultRates): void;
  /** Refuses new connections for so long. */
  closeFor(ms: number): void;
  stop(): Promise<void>;
}

export interface SinkOptions {
  seed: number;
  /** Where it writes down what it was given. */
  journal: string;
  /** Told of each message that was kept. */
  onMail?: (mail: { to: string; messageId: string; at: number }) => void;
}

/** Starts the mail server as a process of its own, which ends with this one. It has no faults until it is told. */
export async function startSinkProcess({ seed, journal, onMail }: SinkOptions): Promise<Sink> {
  // One that nobody else is given while it takes no connections.
  const wanted = await steadyPort(new Set());
  const program = path.join(__dirname, 'sink.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', program, String(wanted), journal, String(seed)], {
    cwd: path.join(__dirname, '..'),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // A Ctrl-C in the terminal is for the run, which ends this one last.
    detached: process.platform !== 'win32',
  });
  const exited = once(child, 'exit');
  const port = await new Promise<number>((resolve, reject) => {
    child.on('message', (message: FromSink) => {
      if (message.kind === 'listening') resolve(message.port);
      else onMail?.(message);
    });
    exited.then(([code]) => reject(new Error(`the mail server ended with ${code}`)), reject);
  });
  const send = (message: ToSink) => void child.send(message);
  return {
    smtpUrl: `smtp://127.0.0.1:${port}?ignoreTLS=true`,
    fail: (rates) => send({ kind: 'faults', rates }),
    closeFor: (ms) => send({ kind: 'close', ms }),
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await exited.catch(() => {});
    },
  };
}
