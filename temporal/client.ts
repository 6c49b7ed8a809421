import { Client, Connection } from '@temporalio/client';

export interface TemporalOptions {
  /** `host:port` of the front end. */
  address: string;
  namespace: string;
}

/** How long one call may take (ms). The caller is never a lead who waits: what fails is left to the reconciler. */
const CALL_MS = 10_000;

/** A client that connects when it is first used, so that the API starts and accepts leads while Temporal is down. */
export function createTemporalClient(options: TemporalOptions): Client {
  const connection = Connection.lazy({ address: options.address, connectTimeout: CALL_MS });
  return new Client({ connection, namespace: options.namespace });
}

/** Makes one call with a deadline, so that a server that hangs is one that is down. */
export async function call<T>(client: Client, work: () => Promise<T>): Promise<T> {
  return await client.withDeadline(Date.now() + CALL_MS, work);
}
