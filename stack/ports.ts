import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Whether this process could listen on a loopback port right now. */
async function listenOnce(port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(undefined);
      else reject(error);
    });
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined));
    });
  });
}

/**
 * A TCP port on 127.0.0.1 that nobody listens on: the preferred one if it is free, otherwise any.
 * Nothing reserves it, so start the listener soon.
 */
export async function freePort(preferred?: number): Promise<number> {
  const port = (preferred === undefined ? undefined : await listenOnce(preferred)) ?? (await listenOnce(0));
  if (port === undefined) throw new Error('No free TCP port on 127.0.0.1');
  return port;
}

/** Below what Linux (32768), macOS and Windows (49152) hand out for outgoing connections. */
const STEADY_PORTS = { from: 10_000, to: 32_000 };

/**
 * A TCP port on 127.0.0.1 that stays its owner's while that is away for a moment: none that the system would give to an
 * outgoing connection meanwhile.
 *
 * @param taken ports that are spoken for already
 */
export async function steadyPort(taken: ReadonlySet<number>): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(STEADY_PORTS.from, STEADY_PORTS.to);
    if (!taken.has(port) && (await freePort(port)) === port) return port;
  }
  throw new Error(`No free TCP port on 127.0.0.1 between ${STEADY_PORTS.from} and ${STEADY_PORTS.to}`);
}
