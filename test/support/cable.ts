import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A way to a TCP server that a test can cut. */
export interface Cable {
  port: number;
  /** Ends every connection through it and turns new ones away. */
  cut(): void;
  /** From now on nothing goes through the connections there are, and neither side is told. New ones are as ever. */
  stall(): void;
  mend(): void;
  /** How many connections were turned away so far. */
  turnedAway(): number;
  close(): Promise<void>;
}

/** Lays a cable to a port of 127.0.0.1. @param port where to listen; any free one when left out */
export async function layCable(target: number, port = 0): Promise<Cable> {
  const sockets = new Set<Socket>();
  let isCut = false;
  let turnedAway = 0;
  const server = createServer((near) => {
    near.on('error', () => {});
    if (isCut) {
      turnedAway++;
      near.destroy();
      return;
    }
    const far = connect(target, '127.0.0.1');
    far.on('error', () => {});
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.setNoDelay(true);
      sockets.add(socket);
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const endAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      isCut = true;
      endAll();
    },
    stall: () => {
      for (const socket of sockets) socket.unpipe().pause();
    },
    mend: () => {
      isCut = false;
    },
    turnedAway: () => turnedAway,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      endAll();
      await closed;
    },
  };
}
