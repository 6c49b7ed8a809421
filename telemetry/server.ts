import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What `/readyz` says: every check by its name, and what is wrong where it is not `ok`. */
export interface Readiness {
  ready: boolean;
  checks: Record<string, string>;
}

export interface TelemetryServer {
  /** The port it listens on. */
  port: number;
  close(): Promise<void>;
}

/**
 * Serves `/metrics`, `/healthz` and `/readyz` for machines that look after this process. It asks nobody who they are, so it
 * listens where the public can't reach it.
 *
 * @throws when the port is taken
 */
export async function serveTelemetry(
  { host, port }: { host: string; port: number },
  sources: { metrics: () => Promise<string>; ready: () => Promise<Readiness> },
): Promise<TelemetryServer> {
  const server = createServer((request, response) => {
    void answer(request, response, sources).catch(() => send(response, 500, 'text/plain', 'failed\n'));
  });
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return { port: (server.address() as AddressInfo).port, close: () => close(server) };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  sources: Parameters<typeof serveTelemetry>[1],
): Promise<void> {
  const path = (request.url ?? '').split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'text/plain', 'GET only\n');
  switch (path) {
    case '/metrics':
      return send(response, 200, 'text/plain; version=0.0.4; charset=utf-8', await sources.metrics());
    case '/healthz':
      return send(response, 200, 'application/json', '{"status":"ok"}\n');
    case '/readyz': {
      const { ready, checks } = await sources.ready();
      const body = JSON.stringify({ status: ready ? 'ready' : 'not-ready', ...checks });
      return send(response, ready ? 200 : 503, 'application/json', `${body}\n`);
    }
    default:
      return send(response, 404, 'text/plain', '/metrics, /healthz or /readyz\n');
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  if (response.headersSent) return void response.end();
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
