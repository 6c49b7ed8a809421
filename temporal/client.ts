import { Client, Connection, type TLSConfig, type WorkflowClientInterceptor } from '@temporalio/client';

export interface TemporalOptions {
  /** `host:port` of the front end. */
  address: string;
  namespace: string;
  tls?: TLSConfig;
  apiKey?: string;
}

/** The settings that say where Temporal is and how to talk to it; see `config.ts`. */
export interface TemporalSettings {
  temporalAddress: string;
  temporalNamespace: string;
  temporalTls: {
    serverCa: Buffer | null;
    client: { cert: Buffer; key: Buffer } | null;
    serverName: string | null;
  } | null;
  temporalApiKey: string | null;
}

/** How to connect, of clients and of workers alike: the only place that knows of TLS and keys. */
export function temporalOptions(settings: TemporalSettings): TemporalOptions {
  const { temporalAddress: address, temporalNamespace: namespace, temporalTls: tls, temporalApiKey: apiKey } = settings;
  return {
    address,
    namespace,
    ...(apiKey === null ? {} : { apiKey }),
    ...(tls === null
      ? {}
      : {
          tls: {
            ...(tls.serverCa === null ? {} : { serverRootCACertificate: tls.serverCa }),
            ...(tls.client === null ? {} : { clientCertPair: { crt: tls.client.cert, key: tls.client.key } }),
            ...(tls.serverName === null ? {} : { serverNameOverride: tls.serverName }),
          },
        }),
  };
}

/** How long one call may take (ms). The caller is never a lead who waits: what fails is left to the reconciler. */
const CALL_MS = 10_000;

/**
 * A client that connects when it is first used, so that the API starts and accepts leads while Temporal is down.
 *
 * @param interceptor of everything that workflows are asked for
 */
export function createTemporalClient(
  { namespace, ...connect }: TemporalOptions,
  interceptor?: WorkflowClientInterceptor,
): Client {
  const connection = Connection.lazy({ ...connect, connectTimeout: CALL_MS });
  const interceptors = interceptor === undefined ? {} : { interceptors: { workflow: [interceptor] } };
  return new Client({ connection, namespace, ...interceptors });
}

/** Makes one call with a deadline, so that a server that hangs is one that is down. */
export async function call<T>(client: Client, work: () => Promise<T>): Promise<T> {
  return await client.withDeadline(Date.now() + CALL_MS, work);
}
