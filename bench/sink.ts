import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createConnection } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnLeashed } from '../stack/leash';
import { freePort } from '../stack/ports';

export interface Sink {
  name: string;
  url: string;
  stop(): void;
}

const STDERR = 2;
/** Postfix's own, which takes 10,000 messages a second and more. */
const POSTFIX_SINK = '/usr/sbin/smtp-sink';

/**
 * Starts a mail server that throws everything away, in a process of its own: Postfix's where it is installed, else ours.
 *
 * @param own ours in any case
 */
export async function startSink(own: boolean): Promise<Sink> {
  const port = await freePort();
  const isPostfix = !own && existsSync(POSTFIX_SINK);
  const asNobody = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const [command, args] = isPostfix
    ? [POSTFIX_SINK, [...asNobody, `127.0.0.1:${port}`, '1000']]
    : [process.execPath, ['--import', 'tsx', path.join(__dirname, 'raw-sink.ts'), String(port)]];
  const child: ChildProcess = spawnLeashed({ command, args, signal: 'SIGTERM', outputFd: STDERR });
  let ended = false;
  child.once('exit', () => {
    ended = true;
  });
  while (!(await answers(port))) {
    if (ended) throw new Error('the sink did not start');
    await sleep(50);
  }
  return {
    name: isPostfix ? 'smtp-sink of Postfix' : 'bench/raw-sink.ts',
    url: `smtp://127.0.0.1:${port}`,
    stop: () => child.kill(),
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
