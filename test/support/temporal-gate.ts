import { connect, constants, createSecureServer, type Http2Session, type IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';

/** What a front end such as Temporal Cloud's asks for before it lets anybody through to the server behind. */
export interface Gate {
  port: number;
  /** gRPC methods that were called through it. */
  calls: string[];
  close(): Promise<void>;
}

export interface GateOptions {
  /** `host:port` of the server behind, in the clear. */
  behind: string;
  key: string;
  certificate: string;
  /** PEM of the authority of those who may come in (mTLS); anybody when left out. */
  clientCa?: string;
  /** The key that every call must bring. */
  apiKey?: string;
  /** Refuses what only administrators may, as Temporal Cloud does. */
  noOperators?: boolean;
}

const UNAUTHENTICATED = '16';
const PERMISSION_DENIED = '7';

/** Puts a TLS front end before a Temporal server, which forwards gRPC calls. */
export async function putGate(options: GateOptions): Promise<Gate> {
  const { behind, key, certificate, clientCa, apiKey, noOperators = false } = options;
  const calls: string[] = [];
  const sessions = new Set<Http2Session>();
  const mutual = clientCa === undefined ? {} : { requestCert: true, rejectUnauthorized: true, ca: clientCa };
  const server = createSecureServer({ key, cert: certificate, ...mutual });
  server.on('session', (session) => {
    const inner = connect(`http://${behind}`);
    inner.on('error', () => {});
    for (const each of [session, inner]) {
      sessions.add(each);
      each.on('close', () => sessions.delete(each));
    }
    session.on('close', () => inner.destroy());
    session.on('error', () => {});
    session.on('stream', (stream, headers) => {
      const method = headers[':path'] ?? '';
      calls.push(method);
      stream.on('error', () => {});
      const refuse = (status: string, message: string) =>
        stream.respond(
          { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': status, 'grpc-message': message },
          { endStream: true },
        );
      if (apiKey !== undefined && headers.authorization !== `Bearer ${apiKey}`) {
        return refuse(UNAUTHENTICATED, 'no valid key');
      }
      if (noOperators && method.includes('OperatorService')) return refuse(PERMISSION_DENIED, 'Request unauthorized.');
      const request = inner.request(forwarded(headers));
      request.on('error', () => stream.close(constants.NGHTTP2_CANCEL));
      stream.on('aborted', () => request.close(constants.NGHTTP2_CANCEL));
      let trailers: IncomingHttpHeaders = {};
      request.on('trailers', (given) => {
        trailers = given;
      });
      request.on('response', (given) => {
        if (stream.destroyed) return;
        // A refusal by the server behind has nothing but headers.
        if (given['grpc-status'] !== undefined) return stream.respond(given, { endStream: true });
        stream.on('wantTrailers', () => stream.sendTrailers(trailers));
        stream.respond(given, { waitForTrailers: true });
        request.pipe(stream);
      });
      stream.pipe(request);
    });
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    calls,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.destroy();
      await closed;
    },
  };
}

function forwarded(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const { ':scheme': _, ':authority': __, host: ___, authorization: ____, ...rest } = headers as Record<string, string>;
  return rest;
}
